//! [Kubernetes' protobuf encoding][1]: an envelope that says what an object is, and the object's fields by the numbers
//! of its schema.
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding

use serde_json::Value;

use crate::schema::{Object, Schema};

mod read;
mod wire;
mod write;

pub use read::{ProtobufError, read};
pub use write::{event, list, object};

/// The media type of objects.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every encoded object begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Whether objects of a schema have a form in protobuf: all their fields have numbers.
#[must_use]
pub fn has_form(schema: &Object) -> bool {
    schema
        .fields
        .iter()
        .all(|field| field.number > 0 || matches!(field.name, "kind" | "apiVersion"))
}

/// The text of a field of an object; empty if there is none.
fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Whether values of a schema are messages of their own.
fn is_in_messages(schema: Schema) -> bool {
    !matches!(
        schema,
        Schema::Text(_) | Schema::Bytes | Schema::Boolean | Schema::Integer(_)
    )
}

#[cfg(test)]
mod tests;
