//! `imagestreams`: streams as their owners write them.

use std::sync::{Arc, LazyLock};

use imagestream_api::defaults::{self, ImportMode};
use imagestream_api::stream::repository::{RegistryHosts, fill_in};
use imagestream_api::stream::write::Write;
use imagestream_api::types::{GROUP, ImageStream, ObjectMeta, Typed};
use imagestream_apiserver::endpoint::{Endpoint, Pending, Request};
use imagestream_apiserver::form::Form;
use imagestream_apiserver::kind::{Column, Kind, Resource};
use imagestream_apiserver::stored::Stored;
use imagestream_apiserver::strategy::Strategy;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::stream_write::{prepare, to_value, typed};
use super::table;
use crate::context::Context;
use crate::schema;

/// What a stream is.
pub(crate) static IMAGE_STREAM: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "ImageStream",
    schema: &schema::image::IMAGE_STREAM,
    package: "image",
    description: "An ImageStream stores a mapping of tags to images, metadata overrides that are applied when images \
                  are tagged in a stream, and an optional reference to a container image repository on a registry.",
};

/// `imagestreams`
pub static IMAGE_STREAMS: Resource = Resource {
    kind: &IMAGE_STREAM,
    plural: "imagestreams",
    subresource: "",
    singular: "imagestream",
    list_kind: "ImageStreamList",
    short_names: &["is"],
    categories: &["all"],
    namespaced: true,
};

/// How streams are stored and shown: where they can be pulled from depends on the configuration, which may have changed
/// since they were written.
#[must_use]
pub fn form(hosts: RegistryHosts, mode: ImportMode) -> Arc<dyn Form> {
    Arc::new(StreamForm { hosts, mode })
}

/// The endpoint.
#[must_use]
pub fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    let strategy = StreamStrategy {
        context: Arc::clone(context),
    };
    Arc::new(Stored::new(Arc::clone(&context.streams), Arc::new(strategy)))
}

struct StreamForm {
    hosts: RegistryHosts,
    mode: ImportMode,
}

impl Form for StreamForm {
    fn resource(&self) -> &'static Resource {
        &IMAGE_STREAMS
    }

    fn shown(&self, stored: &Value) -> Option<Value> {
        if self.is_shown_as_stored(stored) {
            return None;
        }
        // One that can't be read is shown as it is.
        let before = ImageStream::deserialize(stored).ok()?;
        let mut stream = before.clone();
        fill_in(&mut stream, &self.hosts);
        defaults::image_stream(&mut stream, self.mode);
        if stream == before {
            return None;
        }
        to_value(&stream).ok()
    }

    fn selectable(&self) -> &'static [&'static str] {
        &[
            "metadata.name",
            "metadata.namespace",
            "spec.dockerImageRepository",
            "status.dockerImageRepository",
        ]
    }

    fn empty(&self) -> Value {
        // What has no namespace is shown in this one.
        json!(ImageStream {
            metadata: ObjectMeta {
                namespace: Some("default".into()),
                ..ObjectMeta::default()
            },
            ..ImageStream::default()
        })
    }
}

impl StreamForm {
    /// Whether nothing would be filled in: so it is with streams that were written under this configuration, and the
    /// stream need not be read with its type to tell.
    fn is_shown_as_stored(&self, stored: &Value) -> bool {
        let is_set = |object: &Value, field: &str| {
            let value = object.pointer(field).and_then(Value::as_str);
            value.is_some_and(|value| !value.is_empty())
        };
        let tags = stored.pointer("/spec/tags").and_then(Value::as_array);
        let has_defaults = tags
            .into_iter()
            .flatten()
            .all(|tag| is_set(tag, "/importPolicy/importMode") && is_set(tag, "/referencePolicy/type"));
        let text = |pointer: &str| {
            stored
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (repository, public) = self.hosts.repositories(
            text("/metadata/namespace"),
            text("/metadata/name"),
            text("/spec/dockerImageRepository"),
        );
        has_defaults
            && repository == text("/status/dockerImageRepository")
            && public == text("/status/publicDockerImageRepository")
    }
}

/// The rules for streams that their owners write.
struct StreamStrategy {
    context: Arc<Context>,
}

impl Strategy for StreamStrategy {
    fn normalise(&self, object: Value) -> Result<Value, String> {
        normalised(object, self.context.import_mode)
    }

    fn prepare_create<'a>(&'a self, request: &'a Request, object: Value) -> Pending<'a, Value> {
        Box::pin(async move {
            let write = Write::create(typed(object)?);
            to_value(&prepare(&self.context, request, write).await?)
        })
    }

    fn prepare_update<'a>(
        &'a self,
        request: &'a Request,
        object: Value,
        stored: &'a Value,
    ) -> Pending<'a, Value> {
        Box::pin(async move {
            let write = Write::update(typed(object)?, typed(stored.clone())?);
            to_value(&prepare(&self.context, request, write).await?)
        })
    }

    fn updates_blindly(&self) -> bool {
        false
    }

    fn columns(&self) -> Option<&'static [Column]> {
        static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(table::columns::<ImageStream>);
        Some(&COLUMNS)
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        table::cells::<ImageStream>(object, now)
    }
}

/// A stream as clients send it, defaulted, as its type writes it.
///
/// # Errors
/// Why it is none.
pub(crate) fn normalised(object: Value, mode: ImportMode) -> Result<Value, String> {
    let mut stream = ImageStream::deserialize(object).map_err(|error| error.to_string())?;
    defaults::image_stream(&mut stream, mode);
    serde_json::to_value(Typed::new(&stream)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
