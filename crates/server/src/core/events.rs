//! `v1` [events][1]: what happened to objects lately. They are kept for an hour.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/

use std::sync::Arc;
use std::time::Duration;

use imagestream_api::field::{FieldError, Path};
use imagestream_api::validation::metadata::NameRule;
use imagestream_apiserver::endpoint::{Endpoint, Pending, Request};
use imagestream_apiserver::form::Form;
use imagestream_apiserver::kind::{Column, Kind, Resource};
use imagestream_apiserver::metadata;
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use imagestream_apiserver::storage::Objects;
use imagestream_apiserver::stored::Stored;
use imagestream_apiserver::strategy::{Strategy, done};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Value, json};

use crate::age;
use crate::context::Context;
use crate::plain::{checked_new, checked_replacement, column, with_metadata};
use crate::schema;

/// How long an event is kept after it happened last.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// Time between two looks at what is to be forgotten.
const INTERVAL: Duration = Duration::from_secs(60);

static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    schema: &schema::core::EVENT,
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

/// The endpoint of events.
pub(super) fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    Arc::new(Stored::new(Arc::clone(&context.events), Arc::new(Events)))
}

/// Forgets events after their time, until its future is dropped.
pub(super) async fn expire(context: Arc<Context>) {
    loop {
        if let Err(status) = forget(&context.events, Timestamp::now()).await {
            tracing::warn!(message = status.message, "old events can't be forgotten yet");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn forget(events: &Objects, now: Timestamp) -> Result<(), Box<Status>> {
    let (all, _) = events
        .all("", &LabelSelector::default(), &FieldSelector::default())
        .await?;
    for encoded in all {
        let event = match encoded.to_value() {
            Ok(event) => event,
            Err(status) => {
                let why = status.message.unwrap_or_default();
                tracing::error!(why, "a stored event can't be read and is not forgotten");
                continue;
            }
        };
        let is_old = last_time(&event).is_none_or(|last| now.duration_since(last) > LIFETIME);
        if is_old {
            let (namespace, name) = (
                metadata::text(&event, "namespace"),
                metadata::text(&event, "name"),
            );
            // One that has just happened again stays.
            events.remove(namespace, name, encoded.revision()).await?;
        }
    }
    Ok(())
}

/// When an event happened last.
fn last_time(event: &Value) -> Option<Timestamp> {
    let times = [
        "/metadata/creationTimestamp",
        "/lastTimestamp",
        "/eventTime",
        "/series/lastObservedTime",
    ];
    let times = times
        .iter()
        .filter_map(|pointer| event.pointer(pointer)?.as_str()?.parse().ok());
    // Nobody keeps an event by dating it ahead.
    times.max().map(|last: Timestamp| last.min(Timestamp::now()))
}

struct Events;

impl Strategy for Events {
    /// Writes what Kubernetes always writes of an event.
    fn normalise(&self, object: Value) -> Result<Value, String> {
        let mut object = with_metadata(object)?;
        if let Value::Object(fields) = &mut object {
            for (field, empty) in [
                ("involvedObject", json!({})),
                ("source", json!({})),
                ("firstTimestamp", Value::Null),
                ("lastTimestamp", Value::Null),
                ("eventTime", Value::Null),
                ("reportingComponent", "".into()),
                ("reportingInstance", "".into()),
            ] {
                let value = fields.entry(field).or_insert(Value::Null);
                if value.is_null() {
                    *value = empty;
                }
            }
        }
        Ok(object)
    }

    fn prepare_create<'a>(&'a self, _: &'a Request, object: Value) -> Pending<'a, Value> {
        let errors = errors(&object).into_iter().collect();
        // As in Kubernetes, an event is called whatever its object is called and what follows.
        done(checked_new(&EVENTS, NameRule::PathSegment, &object, errors).map(|()| object))
    }

    fn prepare_update<'a>(&'a self, _: &'a Request, object: Value, stored: &'a Value) -> Pending<'a, Value> {
        let result = checked_replacement(&EVENTS, &object, stored, || errors(&object).into_iter().collect());
        done(result.map(|()| object))
    }

    fn creates_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> Option<&'static [Column]> {
        const fn wide(name: &'static str, description: &'static str) -> Column {
            let mut wide = column(name, "string", description);
            wide.priority = 1;
            wide
        }
        static COLUMNS: [Column; 10] = [
            column("Last Seen", "string", "How long ago it happened last."),
            column("Type", "string", "Whether it is worth a warning."),
            column("Reason", "string", "Why it happened, in a word."),
            column("Object", "string", "What it happened to."),
            wide("Subobject", "The part that it happened to."),
            wide("Source", "Who says so."),
            column("Message", "string", "What happened."),
            wide("First Seen", "How long ago it happened first."),
            wide("Count", "How often it happened."),
            Column {
                format: "name",
                priority: 1,
                ..wide("Name", "The name of the event.")
            },
        ];
        Some(&COLUMNS)
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let since = |pointers: [&str; 2]| {
            let time = pointers.into_iter().map(text).find(|time| !time.is_empty());
            age::since(time.unwrap_or_default(), now)
        };
        let kind = text("/involvedObject/kind").to_lowercase();
        let source = match (text("/source/component"), text("/source/host")) {
            ("", _) => text("/reportingComponent").to_owned(),
            (component, "") => component.to_owned(),
            (component, host) => format!("{component}, {host}"),
        };
        let count = object.get("count").and_then(Value::as_i64).unwrap_or(1);
        vec![
            since(["/lastTimestamp", "/eventTime"]).into(),
            text("/type").into(),
            text("/reason").into(),
            format!("{kind}/{}", text("/involvedObject/name")).into(),
            text("/involvedObject/fieldPath").into(),
            source.into(),
            text("/message").trim().into(),
            since(["/firstTimestamp", "/eventTime"]).into(),
            count.into(),
            metadata::text(object, "name").into(),
        ]
    }
}

fn errors(object: &Value) -> Option<FieldError> {
    let involved = object
        .pointer("/involvedObject/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let namespace = metadata::text(object, "namespace");
    // What is in no namespace has its events in `default`.
    let fits = involved == namespace || (involved.is_empty() && namespace == "default");
    (!fits).then(|| {
        let path = Path::root("involvedObject").child("namespace");
        FieldError::invalid(&path, involved, "does not match event.namespace")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
    use super::*;

    #[test]
    fn an_event_is_in_the_namespace_of_what_it_is_about() {
        for (namespace, involved, fits) in [
            ("n", "n", true),
            ("n", "m", false),
            ("n", "", false),
            ("default", "", true),
            ("default", "m", false),
        ] {
            let event =
                json!({"metadata": {"namespace": namespace}, "involvedObject": {"namespace": involved}});
            assert_eq!(errors(&event).is_none(), fits, "{namespace} {involved}");
        }
    }

    #[test]
    fn an_event_lives_by_the_last_time_that_it_happened() {
        let last = |event: Value| last_time(&event).map(|time| time.to_string());
        let created = json!({"creationTimestamp": "2020-01-01T00:00:00Z"});
        assert_eq!(
            last(json!({"metadata": created})).unwrap(),
            "2020-01-01T00:00:00Z"
        );
        assert_eq!(
            last(json!({"metadata": created, "lastTimestamp": "2020-01-01T01:00:00Z", "eventTime": null}))
                .unwrap(),
            "2020-01-01T01:00:00Z"
        );
        let future = last_time(&json!({"lastTimestamp": "2999-01-01T00:00:00Z"})).unwrap();
        assert!(future <= Timestamp::now());
    }

    #[test]
    fn a_source_is_selected_by_whoever_reports() {
        let form = EventForm;
        let old = json!({"source": {"component": "kubelet"}, "reportingComponent": "x"});
        let new = json!({"source": {}, "reportingComponent": "x", "involvedObject": {"name": "n"}});
        assert_eq!(form.field(&old, "source"), "kubelet");
        assert_eq!(form.field(&new, "source"), "x");
        assert_eq!(form.field(&new, "involvedObject.name"), "n");
    }
}
