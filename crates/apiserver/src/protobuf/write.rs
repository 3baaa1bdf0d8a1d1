//! JSON made into the messages that stand for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::wire::{put_bytes, put_varint};
use crate::schema::{Object, Schema};

/// The message that an object is.
pub(super) fn object(object: &Value, schema: &'static Object) -> Vec<u8> {
    let mut out = Vec::new();
    let mut inlined = Vec::new();
    for field in schema.fields.iter().filter(|field| field.number != 0) {
        if field.inlined_from == 0 {
            put(&mut out, field.number, object.get(field.name), field.schema);
        } else if !inlined.contains(&field.inlined_from) {
            inlined.push(field.inlined_from);
            let mut message = Vec::new();
            for inner in schema
                .fields
                .iter()
                .filter(|inner| inner.inlined_from == field.inlined_from)
            {
                put(&mut message, inner.number, object.get(inner.name), inner.schema);
            }
            put_bytes(&mut out, field.inlined_from, &message);
        }
    }
    out
}

/// Writes a field. What is missing, `null` or not what its schema says is not written.
fn put(out: &mut Vec<u8>, number: u32, value: Option<&Value>, schema: Schema) {
    match (schema, value) {
        (_, None | Some(Value::Null)) => {}
        (Schema::Text(_), Some(Value::String(text))) => put_bytes(out, number, text.as_bytes()),
        (Schema::Bytes, Some(Value::String(text))) => {
            if let Ok(bytes) = STANDARD.decode(text) {
                put_bytes(out, number, &bytes);
            }
        }
        (Schema::Time | Schema::MicroTime, Some(Value::String(text))) => {
            if let Ok(time) = text.parse() {
                put_bytes(out, number, &self::time(time, schema));
            }
        }
        (Schema::Quantity, Some(Value::String(text))) => put_inner(out, number, text.as_bytes()),
        (Schema::Quantity, Some(Value::Number(amount))) => {
            put_inner(out, number, amount.to_string().as_bytes());
        }
        (Schema::Boolean, Some(Value::Bool(value))) => put_varint(out, number, u64::from(*value)),
        (Schema::Integer(_), Some(Value::Number(value))) => {
            if let Some(value) = value.as_i64() {
                put_varint(out, number, value.cast_unsigned());
            }
        }
        (Schema::Raw | Schema::FieldsV1, Some(json)) => put_inner(out, number, json.to_string().as_bytes()),
        (Schema::Object(schema), Some(value @ Value::Object(_))) => {
            put_bytes(out, number, &object(value, schema));
        }
        (Schema::List(list), Some(Value::Array(items))) if list.is_message => {
            let mut message = Vec::new();
            for item in items {
                put(&mut message, 1, Some(item), list.items);
            }
            put_bytes(out, number, &message);
        }
        (Schema::List(list), Some(Value::Array(items))) => {
            for item in items {
                put(out, number, Some(item), list.items);
            }
        }
        (Schema::Map(values), Some(Value::Object(entries))) => {
            for (key, value) in entries {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                put(&mut entry, 2, Some(value), *values);
                put_bytes(out, number, &entry);
            }
        }
        _ => {}
    }
}

/// A message with nothing but bytes in field 1.
fn put_inner(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    let mut message = Vec::with_capacity(bytes.len() + 8);
    put_bytes(&mut message, 1, bytes);
    put_bytes(out, number, &message);
}

fn time(time: Timestamp, schema: Schema) -> Vec<u8> {
    // The nanoseconds of times before 1970 count forward too.
    let (mut seconds, mut nanoseconds) = (time.as_second(), i64::from(time.subsec_nanosecond()));
    if nanoseconds < 0 {
        seconds -= 1;
        nanoseconds += 1_000_000_000;
    }
    let nanoseconds = match schema {
        Schema::MicroTime => nanoseconds / 1_000 * 1_000,
        _ => 0,
    };
    let mut message = Vec::new();
    put_varint(&mut message, 1, seconds.cast_unsigned());
    put_varint(&mut message, 2, nanoseconds.cast_unsigned());
    message
}
