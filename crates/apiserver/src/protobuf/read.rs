//! An object from protobuf. The bytes are a client's: whatever is wrong with them is an error, and nothing is read
//! deeper or longer than a body may be.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::wire::{Content, take_field};
use super::{MAGIC, is_in_messages};
use crate::schema::{Field, List, Object, Schema};

/// Messages inside of messages: more than any schema has.
const MAX_DEPTH: usize = 32;

/// Why bytes are no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// They don't begin as every object does.
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    NoMagic,
    /// They break off, or have a field whose length or type can't be.
    #[error("proto: malformed message")]
    Malformed,
    /// A text is not UTF-8, a time not a time, JSON not JSON.
    #[error("proto: {0}: invalid value")]
    Value(&'static str),
    /// Messages are in messages without end.
    #[error("proto: messages are nested too deep")]
    TooDeep,
}

type Result<T> = std::result::Result<T, ProtobufError>;

/// Reads an object: what the envelope says it is, and the fields of `schema`. Others are left out.
///
/// # Errors
/// What is wrong with the bytes.
pub fn read(body: &[u8], schema: &'static Object) -> Result<Value> {
    let mut rest = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?;
    let (mut type_meta, mut raw): (&[u8], &[u8]) = (&[], &[]);
    while !rest.is_empty() {
        match take_field(&mut rest).ok_or(ProtobufError::Malformed)? {
            (1, Content::Bytes(bytes)) => type_meta = bytes,
            (2, Content::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut object = message(raw, schema, 0)?;
    while !type_meta.is_empty() {
        let (number, content) = take_field(&mut type_meta).ok_or(ProtobufError::Malformed)?;
        let Content::Bytes(bytes) = content else { continue };
        let name = match number {
            1 => "apiVersion",
            2 => "kind",
            _ => continue,
        };
        object.insert(name.into(), text(bytes, "envelope")?.into());
    }
    Ok(Value::Object(object))
}

fn text(bytes: &[u8], field: &'static str) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::Value(field))
}

fn message(bytes: &[u8], schema: &'static Object, depth: usize) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    read_into(&mut object, bytes, schema, 0, depth)?;
    Ok(object)
}

/// Reads the fields of a message that stand in the object itself (`from` 0) or are inlined from field `from`.
fn read_into(
    object: &mut Map<String, Value>,
    mut bytes: &[u8],
    schema: &'static Object,
    from: u32,
    depth: usize,
) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::TooDeep);
    }
    while !bytes.is_empty() {
        let (number, content) = take_field(&mut bytes).ok_or(ProtobufError::Malformed)?;
        let known = schema
            .fields
            .iter()
            .find(|field| field.number == number && field.inlined_from == from);
        if let Some(field) = known {
            add(object, field, content, depth)?;
        } else if let (0, Content::Bytes(inner)) = (from, content)
            && schema.fields.iter().any(|field| field.inlined_from == number)
        {
            read_into(object, inner, schema, number, depth + 1)?;
        }
    }
    Ok(())
}

fn add(
    object: &mut Map<String, Value>,
    field: &'static Field,
    content: Content<'_>,
    depth: usize,
) -> Result<()> {
    match field.schema {
        Schema::List(list) => {
            let items = object
                .entry(field.name)
                .or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(items) = items else {
                return Err(ProtobufError::Malformed);
            };
            if list.is_message {
                let Content::Bytes(inner) = content else {
                    return Err(ProtobufError::Malformed);
                };
                list_message(items, inner, list, field.name, depth)
            } else {
                items.push(one(list.items, content, field.name, depth)?);
                Ok(())
            }
        }
        Schema::Map(values) => {
            let Content::Bytes(entry) = content else {
                return Err(ProtobufError::Malformed);
            };
            let (key, value) = map_entry(entry, *values, field.name, depth)?;
            let map = object
                .entry(field.name)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, value);
            }
            Ok(())
        }
        schema => {
            object.insert(field.name.into(), one(schema, content, field.name, depth)?);
            Ok(())
        }
    }
}

fn list_message(
    items: &mut Vec<Value>,
    mut bytes: &[u8],
    list: &'static List,
    name: &'static str,
    depth: usize,
) -> Result<()> {
    while !bytes.is_empty() {
        if let (1, content) = take_field(&mut bytes).ok_or(ProtobufError::Malformed)? {
            items.push(one(list.items, content, name, depth)?);
        }
    }
    Ok(())
}

fn map_entry(mut entry: &[u8], values: Schema, name: &'static str, depth: usize) -> Result<(String, Value)> {
    let mut key = String::new();
    let mut value = match values {
        Schema::Text(_) | Schema::Bytes => Value::String(String::new()),
        Schema::Boolean => Value::Bool(false),
        Schema::Integer(_) => 0.into(),
        Schema::List(_) => Value::Array(Vec::new()),
        _ => Value::Object(Map::new()),
    };
    while !entry.is_empty() {
        match take_field(&mut entry).ok_or(ProtobufError::Malformed)? {
            (1, Content::Bytes(bytes)) => key = text(bytes, name)?,
            (2, content) => {
                value = match (values, content) {
                    (Schema::List(list), Content::Bytes(inner)) => {
                        let mut items = Vec::new();
                        list_message(&mut items, inner, list, name, depth)?;
                        Value::Array(items)
                    }
                    _ => one(values, content, name, depth)?,
                };
            }
            _ => {}
        }
    }
    Ok((key, value))
}

fn one(schema: Schema, content: Content<'_>, name: &'static str, depth: usize) -> Result<Value> {
    let invalid = || ProtobufError::Value(name);
    let value = match (schema, content) {
        (Schema::Boolean, Content::Varint(number)) => Value::Bool(number != 0),
        (Schema::Integer(_), Content::Varint(number)) => i64::from_ne_bytes(number.to_ne_bytes()).into(),
        (Schema::Text(_), Content::Bytes(bytes)) => text(bytes, name)?.into(),
        (Schema::Bytes, Content::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Schema::Object(object), Content::Bytes(bytes)) => Value::Object(message(bytes, object, depth + 1)?),
        (schema, Content::Bytes(bytes)) if is_in_messages(schema) => {
            let (mut first, mut numbers) = (&b""[..], [0u64; 2]);
            let mut rest = bytes;
            while !rest.is_empty() {
                match take_field(&mut rest).ok_or(ProtobufError::Malformed)? {
                    (1, Content::Bytes(bytes)) => first = bytes,
                    (number @ 1..=2, Content::Varint(value)) => numbers[number as usize - 1] = value,
                    _ => {}
                }
            }
            match schema {
                Schema::Raw | Schema::FieldsV1 if first.is_empty() => Value::Null,
                Schema::Raw | Schema::FieldsV1 => serde_json::from_slice(first).map_err(|_| invalid())?,
                Schema::Quantity => text(first, name)?.into(),
                Schema::Time | Schema::MicroTime => {
                    let seconds = i64::from_ne_bytes(numbers[0].to_ne_bytes());
                    let nanos = i32::try_from(numbers[1]).map_err(|_| invalid())?;
                    let time = Timestamp::new(seconds, nanos).map_err(|_| invalid())?;
                    if matches!(schema, Schema::Time) {
                        crate::metadata::time(time).into()
                    } else {
                        time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into()
                    }
                }
                _ => return Err(ProtobufError::Malformed),
            }
        }
        _ => return Err(ProtobufError::Malformed),
    };
    Ok(value)
}
