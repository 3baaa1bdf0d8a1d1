//! Stands in for the schemas of the kinds around images until these are written: until then any content of their fields
//! is accepted as it is.

use imagestream_apiserver::schema::{API_VERSION, Field, KIND, METADATA, Object, Schema, field};

const fn any(name: &'static str) -> Field {
    field(name, 0, Schema::Untyped, "")
}

/// An object that may have every field that any of the kinds has.
pub(crate) static ANY: Object = Object::new(
    "io.k8s.api.core.v1",
    "Object",
    "An object.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        any("spec"),
        any("status"),
        any("data"),
        any("stringData"),
        any("type"),
        any("immutable"),
        any("rules"),
        any("aggregationRule"),
        any("roleRef"),
        any("subjects"),
        any("involvedObject"),
        any("reason"),
        any("message"),
        any("source"),
        any("firstTimestamp"),
        any("lastTimestamp"),
        any("count"),
        any("eventTime"),
        any("series"),
        any("action"),
        any("related"),
        any("reportingComponent"),
        any("reportingInstance"),
    ],
);
