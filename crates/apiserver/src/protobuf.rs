//! Objects in [Kubernetes' protobuf encoding][1]: a message of the object's type, wrapped in one that says which type
//! that is. Schemas know the numbers of the fields; the messages are those of the `generated.proto` files of the types.
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding

use serde_json::Value;

use crate::schema::meta::HOME;
use crate::schema::{LIST_METADATA, Object};

mod read;
mod wire;
mod write;

use wire::{Fields, put_bytes};

/// What every encoded object begins with.
const MAGIC: &[u8] = b"k8s\0";
/// The number of `items` in every list.
const ITEMS: u32 = 2;
/// A list without its items.
static LIST_HEAD: Object = Object::new(HOME, "List", "A list.", &[LIST_METADATA]);

/// Whether objects of a schema have a form in protobuf: all their fields have numbers.
#[must_use]
pub fn has_form(schema: &Object) -> bool {
    let is_outside = |name: &str| matches!(name, "kind" | "apiVersion");
    let mut fields = schema.fields.iter();
    fields.all(|field| field.number != 0 || is_outside(field.name))
}

/// Why bytes are no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is nothing.
    #[error("empty data")]
    Empty,
    /// Something else.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// Nothing behind the beginning.
    #[error("empty body")]
    EmptyBody,
    /// An end before that of a message or number.
    #[error("unexpected EOF")]
    Truncated,
    /// A number that takes too many bytes.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field without a number.
    #[error("proto: illegal tag 0")]
    FieldNumber,
    /// A field that holds something else than fields of its type do.
    #[error("proto: wrong wireType")]
    WireType,
    /// Messages in messages in messages.
    #[error("proto: message is nested too deeply")]
    Depth,
    /// More fields than an object can need.
    #[error("proto: message has too many fields")]
    Size,
    /// A time before or after all times.
    #[error("proto: time is out of range")]
    Time,
    /// A compressed object, for example.
    #[error("unable to decode content encoding {0:?}")]
    Encoding(String),
    /// An opaque field that is not JSON.
    #[error("proto: {0}")]
    Json(String),
}

/// An encoded object that was not looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Group and version; may be empty.
    pub api_version: String,
    /// May be empty.
    pub kind: String,
    message: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Opens a body.
    ///
    /// # Errors
    /// Why it is none.
    pub fn open(body: &'a [u8]) -> Result<Self, Error> {
        if body.is_empty() {
            return Err(Error::Empty);
        }
        let unknown = body.strip_prefix(MAGIC).ok_or(Error::Magic)?;
        if unknown.is_empty() {
            return Err(Error::EmptyBody);
        }
        let mut envelope = Envelope {
            api_version: String::new(),
            kind: String::new(),
            message: &[],
        };
        for field in Fields(unknown) {
            match field? {
                (1, type_meta) => {
                    for field in Fields(type_meta.bytes()?) {
                        match field? {
                            (1, api_version) => envelope.api_version = read::text(api_version.bytes()?),
                            (2, kind) => envelope.kind = read::text(kind.bytes()?),
                            _ => {}
                        }
                    }
                }
                (2, raw) => envelope.message = raw.bytes()?,
                (3, encoding) if !encoding.bytes()?.is_empty() => {
                    return Err(Error::Encoding(read::text(encoding.bytes()?)));
                }
                _ => {}
            }
        }
        Ok(envelope)
    }

    /// The object, without `kind` and `apiVersion`. Fields that the schema does not have are left out, as are strings
    /// and times that are empty: protobuf has them where JSON has none.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(&self, schema: &'static Object) -> Result<Value, Error> {
        read::object(self.message, schema)
    }
}

/// An object or another document with `kind` and `apiVersion`, encoded. What the schema does not have is left out.
#[must_use]
pub fn object(object: &Value, schema: &'static Object) -> Vec<u8> {
    wrap(object, &write::object(object, schema))
}

/// A list, encoded, with items of a schema.
#[must_use]
pub fn list(list: &Value, items: &'static Object) -> Vec<u8> {
    let mut message = write::object(list, &LIST_HEAD);
    for item in list.get("items").and_then(Value::as_array).into_iter().flatten() {
        put_bytes(&mut message, ITEMS, &write::object(item, items));
    }
    wrap(list, &message)
}

/// One event of a watch: `object` is encoded. Events follow each other, each with its length before it.
#[must_use]
pub fn event(name: &str, object: &[u8]) -> Vec<u8> {
    let mut extension = Vec::with_capacity(object.len() + 8);
    put_bytes(&mut extension, 1, object);
    let mut event = Vec::with_capacity(extension.len() + name.len() + 16);
    put_bytes(&mut event, 1, name.as_bytes());
    put_bytes(&mut event, 2, &extension);
    // No object is larger than the store takes, which is far below 4 GiB.
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&event);
    frame
}

fn wrap(object: &Value, message: &[u8]) -> Vec<u8> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut type_meta = Vec::new();
    put_bytes(&mut type_meta, 1, text("apiVersion").as_bytes());
    put_bytes(&mut type_meta, 2, text("kind").as_bytes());
    let mut out = Vec::with_capacity(message.len() + type_meta.len() + 24);
    out.extend_from_slice(MAGIC);
    put_bytes(&mut out, 1, &type_meta);
    put_bytes(&mut out, 2, message);
    // Neither compressed nor anything but protobuf.
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    out
}

#[cfg(test)]
mod tests;
