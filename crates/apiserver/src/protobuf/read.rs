//! Messages made into the JSON that they stand for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Error;
use super::wire::{Fields, Payload};
use crate::metadata;
use crate::schema::meta::OBJECT_META;
use crate::schema::{Field, List, Object, Schema};

/// Messages in messages. No kind is nested that deeply.
const MAX_DEPTH: usize = 64;
/// Fields and items that an object may have: a few bytes each make a value of many.
const MAX_VALUES: usize = 500_000;
/// The first second that RFC 3339 can write.
const YEAR_0: i64 = -62_167_219_200;

/// Strings that are not UTF-8 lose what is not.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The object that a message is.
pub(super) fn object(message: &[u8], schema: &'static Object) -> Result<Value, Error> {
    let mut reader = Reader {
        values: MAX_VALUES,
        depth: MAX_DEPTH,
    };
    let mut fields = Map::new();
    reader.object(message, schema, 0, &mut fields)?;
    Ok(Value::Object(fields))
}

/// Whether it is the generation of an object, which begins with 1 where there is one.
fn is_generation(field: &Field) -> bool {
    OBJECT_META
        .field("generation")
        .is_some_and(|generation| std::ptr::eq(generation, field))
}

/// How much more may be read.
struct Reader {
    values: usize,
    depth: usize,
}

impl Reader {
    /// Adds to `out` the fields of a message: those of the object itself, or those that are in its field `inside`.
    fn object(
        &mut self,
        message: &[u8],
        schema: &'static Object,
        inside: u32,
        out: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        self.depth = self.depth.checked_sub(1).ok_or(Error::Depth)?;
        for field in Fields(message) {
            let (number, payload) = field?;
            self.values = self.values.checked_sub(1).ok_or(Error::Size)?;
            let of = |field: &&Field| field.number == number && field.inlined_from == inside;
            if let Some(field) = schema.fields.iter().find(of) {
                self.field(field, payload, out)?;
            } else if inside == 0 && schema.fields.iter().any(|field| field.inlined_from == number) {
                self.object(payload.bytes()?, schema, number, out)?;
            }
        }
        self.depth += 1;
        Ok(())
    }

    /// A field may come again: lists and maps grow, messages are merged, of anything else the last one counts.
    fn field(
        &mut self,
        field: &Field,
        payload: Payload<'_>,
        out: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        let before = out.remove(field.name);
        let value = match field.schema {
            Schema::List(list) if !list.is_message => {
                let mut items = match before {
                    Some(Value::Array(items)) => items,
                    _ => Vec::new(),
                };
                items.push(self.value(list.items, payload, None)?.unwrap_or_default());
                Some(Value::Array(items))
            }
            schema => self.value(schema, payload, before)?,
        };
        // Go writes what is no pointer even if it is empty, and takes it for missing. Zero may be meant where it is one;
        // metadata has the only number that every object carries along.
        let is_set = |value: &Value| {
            let is_empty = match value {
                Value::String(text) => text.is_empty(),
                Value::Number(number) => is_generation(field) && number.as_i64() == Some(0),
                _ => false,
            };
            field.required || !is_empty
        };
        if let Some(value) = value.filter(is_set) {
            out.insert(field.name.to_owned(), value);
        }
        Ok(())
    }

    /// One value; nothing if it is an empty time or an empty opaque field.
    fn value(
        &mut self,
        schema: Schema,
        payload: Payload<'_>,
        before: Option<Value>,
    ) -> Result<Option<Value>, Error> {
        let fields = |before: Option<Value>| match before {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        Ok(Some(match schema {
            Schema::Text(_) => text(payload.bytes()?).into(),
            Schema::Bytes => STANDARD.encode(payload.bytes()?).into(),
            Schema::Boolean => (payload.varint()? != 0).into(),
            // As protobuf has it, the upper half of what does not fit is lost.
            Schema::Integer("int32") => (payload.varint()? as i32).into(),
            Schema::Integer(_) => payload.varint()?.cast_signed().into(),
            Schema::Quantity => text(inner(payload)?.unwrap_or_default()).into(),
            Schema::Time | Schema::MicroTime => return time(schema, payload),
            Schema::Raw | Schema::FieldsV1 => match inner(payload)? {
                None | Some([]) => return Ok(None),
                Some(json) => match serde_json::from_slice(json) {
                    Ok(Value::Null) => return Ok(None),
                    Ok(value) => value,
                    Err(error) => return Err(Error::Json(error.to_string())),
                },
            },
            Schema::Object(schema) => {
                let mut fields = fields(before);
                self.object(payload.bytes()?, schema, 0, &mut fields)?;
                Value::Object(fields)
            }
            Schema::Map(values) => {
                let mut entries = fields(before);
                let (key, value) = self.entry(payload.bytes()?, *values)?;
                entries.insert(key, value);
                Value::Object(entries)
            }
            Schema::List(list) => self.items(list, payload)?,
            // Protobuf has neither.
            Schema::Untyped | Schema::Number => return Ok(None),
        }))
    }

    /// A list that is a message.
    fn items(&mut self, list: &'static List, payload: Payload<'_>) -> Result<Value, Error> {
        self.depth = self.depth.checked_sub(1).ok_or(Error::Depth)?;
        let mut items = Vec::new();
        for field in Fields(payload.bytes()?) {
            self.values = self.values.checked_sub(1).ok_or(Error::Size)?;
            if let (1, payload) = field? {
                items.push(self.value(list.items, payload, None)?.unwrap_or_default());
            }
        }
        self.depth += 1;
        Ok(Value::Array(items))
    }

    fn entry(&mut self, message: &[u8], values: Schema) -> Result<(String, Value), Error> {
        let mut key = String::new();
        let mut value = None;
        for field in Fields(message) {
            self.values = self.values.checked_sub(1).ok_or(Error::Size)?;
            match field? {
                (1, payload) => key = text(payload.bytes()?),
                (2, payload) => value = self.value(values, payload, value)?,
                _ => {}
            }
        }
        // An entry may leave out a value that is empty.
        let empty = match values {
            Schema::Object(_) | Schema::Map(_) => Value::Object(Map::new()),
            Schema::List(_) => Value::Array(Vec::new()),
            Schema::Boolean => false.into(),
            Schema::Integer(_) => 0.into(),
            Schema::Text(_) | Schema::Bytes | Schema::Quantity => "".into(),
            _ => Value::Null,
        };
        Ok((key, value.unwrap_or(empty)))
    }
}

/// The bytes in field 1 of a message.
fn inner(payload: Payload<'_>) -> Result<Option<&[u8]>, Error> {
    let mut found = None;
    for field in Fields(payload.bytes()?) {
        if let (1, payload) = field? {
            found = Some(payload.bytes()?);
        }
    }
    Ok(found)
}

fn time(schema: Schema, payload: Payload<'_>) -> Result<Option<Value>, Error> {
    let message = payload.bytes()?;
    if message.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanoseconds) = (0, 0);
    for field in Fields(message) {
        match field? {
            (1, payload) => seconds = payload.varint()?.cast_signed(),
            (2, payload) => nanoseconds = payload.varint()? as i32,
            _ => {}
        }
    }
    if seconds < YEAR_0 {
        return Err(Error::Time);
    }
    if seconds == metadata::ZERO_SECONDS {
        return Ok(None);
    }
    let time = Timestamp::new(seconds, nanoseconds).map_err(|_| Error::Time)?;
    Ok(Some(match schema {
        Schema::MicroTime => time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into(),
        _ => metadata::time(time).into(),
    }))
}
