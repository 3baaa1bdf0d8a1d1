//! Objects, lists and watch events as protobuf.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::wire::{put_bytes, put_number};
use super::{MAGIC, text};
use crate::schema::meta::LIST_META;
use crate::schema::{Field, Object, Schema};

/// An object in its envelope.
#[must_use]
pub fn object(value: &Value, schema: &'static Object) -> Vec<u8> {
    enveloped(value, &message(value, schema))
}

/// A list of objects in its envelope.
#[must_use]
pub fn list(value: &Value, items: &'static Object) -> Vec<u8> {
    let mut out = Vec::new();
    let empty = Value::Object(Map::new());
    put_bytes(
        &mut out,
        1,
        &message(value.get("metadata").unwrap_or(&empty), &LIST_META),
    );
    for item in value.get("items").and_then(Value::as_array).into_iter().flatten() {
        put_bytes(&mut out, 2, &message(item, items));
    }
    enveloped(value, &out)
}

/// An event of a watch with its object, which is in its envelope, as a frame: its length comes first.
#[must_use]
pub fn event(name: &str, object: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(object.len() + 8);
    put_bytes(&mut raw, 1, object);
    let mut event = Vec::with_capacity(raw.len() + 32);
    put_bytes(&mut event, 1, name.as_bytes());
    put_bytes(&mut event, 2, &raw);
    // No object is longer than what a request may hold, many times over.
    let length = u32::try_from(event.len()).unwrap_or_default();
    [length.to_be_bytes().as_slice(), &event].concat()
}

fn enveloped(value: &Value, raw: &[u8]) -> Vec<u8> {
    let mut type_meta = Vec::new();
    put_bytes(&mut type_meta, 1, text(value, "apiVersion").as_bytes());
    put_bytes(&mut type_meta, 2, text(value, "kind").as_bytes());
    let mut out = MAGIC.to_vec();
    put_bytes(&mut out, 1, &type_meta);
    put_bytes(&mut out, 2, raw);
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    out
}

fn message(value: &Value, schema: &'static Object) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(fields) = value.as_object() else {
        return out;
    };
    let mut inlined: Vec<(u32, Vec<u8>)> = Vec::new();
    for field in schema.fields.iter().filter(|field| field.number > 0) {
        let Some(value) = fields.get(field.name).filter(|value| !value.is_null()) else {
            continue;
        };
        if field.inlined_from == 0 {
            put(&mut out, field, value);
            continue;
        }
        let inner = match inlined
            .iter_mut()
            .find(|(number, _)| *number == field.inlined_from)
        {
            Some((_, inner)) => inner,
            None => {
                inlined.push((field.inlined_from, Vec::new()));
                // It was just added.
                let Some((_, inner)) = inlined.last_mut() else {
                    continue;
                };
                inner
            }
        };
        put(inner, field, value);
    }
    for (number, inner) in inlined {
        put_bytes(&mut out, number, &inner);
    }
    out
}

fn put(out: &mut Vec<u8>, field: &Field, value: &Value) {
    match field.schema {
        Schema::List(list) => {
            let items = value.as_array().into_iter().flatten();
            if list.is_message {
                let mut inner = Vec::new();
                items.for_each(|item| put_one(&mut inner, 1, list.items, item));
                put_bytes(out, field.number, &inner);
            } else {
                items.for_each(|item| put_one(out, field.number, list.items, item));
            }
        }
        Schema::Map(values) => {
            for (key, value) in value.as_object().into_iter().flatten() {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                // A list as the value of a map is a message of its own.
                match *values {
                    Schema::List(list) => {
                        let mut inner = Vec::new();
                        let items = value.as_array().into_iter().flatten();
                        items.for_each(|item| put_one(&mut inner, 1, list.items, item));
                        put_bytes(&mut entry, 2, &inner);
                    }
                    schema => put_one(&mut entry, 2, schema, value),
                }
                put_bytes(out, field.number, &entry);
            }
        }
        schema => put_one(out, field.number, schema, value),
    }
}

fn put_one(out: &mut Vec<u8>, number: u32, schema: Schema, value: &Value) {
    let of_text = value.as_str().unwrap_or_default();
    match schema {
        Schema::Text(_) => put_bytes(out, number, of_text.as_bytes()),
        Schema::Bytes => put_bytes(out, number, &STANDARD.decode(of_text).unwrap_or_default()),
        Schema::Boolean => put_number(out, number, u64::from(value.as_bool().unwrap_or_default())),
        Schema::Integer(_) => {
            let integer = value.as_i64().unwrap_or_default();
            put_number(out, number, u64::from_ne_bytes(integer.to_ne_bytes()));
        }
        Schema::Object(object) => put_bytes(out, number, &message(value, object)),
        Schema::Raw | Schema::FieldsV1 => {
            let mut inner = Vec::new();
            put_bytes(&mut inner, 1, value.to_string().as_bytes());
            put_bytes(out, number, &inner);
        }
        Schema::Quantity => {
            let mut inner = Vec::new();
            let amount = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            put_bytes(&mut inner, 1, amount.as_bytes());
            put_bytes(out, number, &inner);
        }
        Schema::Time | Schema::MicroTime => {
            let Ok(time) = of_text.parse::<Timestamp>() else {
                return;
            };
            let mut inner = Vec::new();
            put_number(&mut inner, 1, u64::from_ne_bytes(time.as_second().to_ne_bytes()));
            let nanos = if matches!(schema, Schema::MicroTime) {
                time.subsec_nanosecond()
            } else {
                0
            };
            put_number(&mut inner, 2, u64::try_from(nanos).unwrap_or_default());
            put_bytes(out, number, &inner);
        }
        // These are never in protobuf, or dealt with by `put`.
        Schema::Untyped | Schema::Number | Schema::List(_) | Schema::Map(_) => {}
    }
}
