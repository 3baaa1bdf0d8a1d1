//! `v1` events: what happened to objects lately.

use std::sync::Arc;

use imagestream_apiserver::form::Form;
use imagestream_apiserver::kind::{Kind, Resource};
use serde_json::{Value, json};

use crate::pending_schema::ANY;

static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    schema: &ANY,
    package: "v1",
    description: "Something that happened to an object.",
};

/// Events.
pub static EVENTS: Resource = Resource {
    kind: &KIND,
    plural: "events",
    subresource: "",
    singular: "event",
    list_kind: "EventList",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
};

/// How they are stored.
#[must_use]
pub fn form() -> Arc<dyn Form> {
    Arc::new(EventForm)
}

struct EventForm;

impl Form for EventForm {
    fn resource(&self) -> &'static Resource {
        &EVENTS
    }

    fn selectable(&self) -> &'static [&'static str] {
        &[
            "metadata.name",
            "metadata.namespace",
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }

    fn field<'v>(&self, stored: &'v Value, field: &str) -> &'v str {
        let text = |pointer: &str| {
            stored
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        match field {
            // Whoever reports in the newer way names no source.
            "source" if text("/source/component").is_empty() => text("/reportingComponent"),
            "source" => text("/source/component"),
            _ => text(&format!("/{}", field.replace('.', "/"))),
        }
    }

    fn empty(&self) -> Value {
        json!({"metadata": {}, "involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null,
            "eventTime": null, "reportingComponent": "", "reportingInstance": ""})
    }
}
