//! Reading JSON into what a [`Schema`] knows: other fields are left out and reported, so are keys that occur
//! twice and values of a wrong type. The reports are worded as [Kubernetes' strict decoder][1] words them.
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::metadata;
use crate::schema::Schema;

/// Strict findings that are reported; a hostile body could have millions.
const MAX_FINDINGS: usize = 100;

/// What was wrong with what was read.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Unknown and duplicate fields, each once.
    pub(super) strict: Vec<String>,
    /// The first value of a wrong type.
    pub(super) mismatch: Option<String>,
    path: Vec<Step>,
    types: Vec<&'static str>,
}

#[derive(Debug)]
enum Step {
    Field(&'static str),
    Key(String),
    Index(usize),
}

impl Findings {
    /// `spec.images[0].from`, with `last` at its end.
    fn path_to(&self, last: &str) -> String {
        let mut path = String::new();
        let keys = self.path.iter().map(|step| match step {
            Step::Field(name) => (Cow::Borrowed(*name), false),
            Step::Key(key) => (Cow::Borrowed(key.as_str()), false),
            Step::Index(index) => (Cow::Owned(format!("[{index}]")), true),
        });
        for (step, is_index) in keys.chain([(Cow::Borrowed(last), false)]) {
            if !path.is_empty() && !is_index {
                path.push('.');
            }
            path.push_str(&step);
        }
        path
    }

    fn strict(&mut self, what: &str, name: &str) {
        if self.strict.len() < MAX_FINDINGS {
            let finding = format!("{what} field \"{}\"", self.path_to(name));
            if !self.strict.contains(&finding) {
                self.strict.push(finding);
            }
        }
    }

    fn mismatched(&mut self, found: &str, schema: Schema) {
        if self.mismatch.is_some() {
            return;
        }
        let target = match self.types.last() {
            Some(innermost) => {
                let fields: Vec<&str> = self
                    .path
                    .iter()
                    .filter_map(|step| match step {
                        Step::Field(name) => Some(*name),
                        Step::Key(_) | Step::Index(_) => None,
                    })
                    .collect();
                format!("struct field {innermost}.{}", fields.join("."))
            }
            None => "value".into(),
        };
        self.mismatch = Some(format!(
            "json: cannot unmarshal {found} into Go {target} of type {}",
            schema.type_name()
        ));
    }
}

/// Whether a text is the time that Go takes for none.
fn is_zero_time(text: &str) -> bool {
    // It may be written in another zone, where it is in the year before.
    text.starts_with("000")
        && text
            .parse()
            .is_ok_and(|time: jiff::Timestamp| time.as_second() == metadata::ZERO_SECONDS)
}

/// One value to read, of this schema.
pub(super) struct Node<'a> {
    pub(super) schema: Schema,
    pub(super) findings: &'a mut Findings,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Node<'_> {
    fn mismatch(self, found: &str) -> Value {
        self.findings.mismatched(found, self.schema);
        Value::Null
    }

    fn number<E>(self, number: Number) -> Result<Value, E> {
        match self.schema {
            Schema::Raw | Schema::FieldsV1 | Schema::Untyped | Schema::Number => Ok(Value::Number(number)),
            Schema::Quantity => Ok(Value::String(number.to_string())),
            // Past what 64 bits hold, an integer is read as a float.
            Schema::Integer(_) if number.is_i64() => Ok(Value::Number(number)),
            Schema::Integer(_) => Ok(self.mismatch(&format!("number {number}"))),
            _ => Ok(self.mismatch("number")),
        }
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        match self.schema {
            Schema::Raw | Schema::FieldsV1 | Schema::Untyped | Schema::Boolean => Ok(Value::Bool(value)),
            _ => Ok(self.mismatch("bool")),
        }
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        self.number(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        self.number(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => self.number(number),
            None => Ok(self.mismatch("number")),
        }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        match self.schema {
            Schema::Bytes => {
                if let Some(offset) = not_base64(&value) {
                    let message = format!("illegal base64 data at input byte {offset}");
                    self.findings.mismatch.get_or_insert(message);
                }
                Ok(Value::String(value))
            }
            Schema::Time | Schema::MicroTime if is_zero_time(&value) => Ok(Value::Null),
            Schema::Raw
            | Schema::FieldsV1
            | Schema::Untyped
            | Schema::Text(_)
            | Schema::Time
            | Schema::MicroTime
            | Schema::Quantity => Ok(Value::String(value)),
            _ => Ok(self.mismatch("string")),
        }
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let schema = match self.schema {
            Schema::Raw | Schema::FieldsV1 | Schema::Untyped => self.schema,
            Schema::List(list) => list.items,
            _ => {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(self.mismatch("array"));
            }
        };
        let mut list = Vec::new();
        loop {
            self.findings.path.push(Step::Index(list.len()));
            let findings = &mut *self.findings;
            let item = items.next_element_seed(Node { schema, findings })?;
            self.findings.path.pop();
            match item {
                Some(item) => list.push(present(item, schema)),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let findings = self.findings;
        let mut map = Map::new();
        let mut seen: HashSet<String> = HashSet::new();
        let object = match self.schema {
            Schema::Object(object) => Some(object),
            Schema::Raw | Schema::FieldsV1 | Schema::Untyped | Schema::Map(_) => None,
            schema => {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                findings.mismatched("object", schema);
                return Ok(Value::Null);
            }
        };
        if let Some(object) = object {
            findings.types.push(object.name);
        }
        while let Some(key) = entries.next_key::<String>()? {
            let field = match self.schema {
                Schema::Object(object) => object
                    .field(&key)
                    .map(|field| (Step::Field(field.name), field.schema)),
                Schema::Map(values) => Some((Step::Key(key.clone()), *values)),
                schema => Some((Step::Key(key.clone()), schema)),
            };
            let Some((step, schema)) = field else {
                findings.strict("unknown", &key);
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            if !seen.insert(key.clone()) && !self.schema.is_opaque() {
                findings.strict("duplicate", &key);
            }
            findings.path.push(step);
            let value = entries.next_value_seed(Node {
                schema,
                findings: &mut *findings,
            })?;
            findings.path.pop();
            if object.is_some() && value.is_null() && !schema.is_opaque() {
                // A field without a value is a field that is not there.
                map.remove(&key);
            } else {
                map.insert(key, present(value, schema));
            }
        }
        if object.is_some() {
            findings.types.pop();
        }
        Ok(Value::Object(map))
    }
}

/// Where a text stops being padded base64 of the standard alphabet, if it does. Line breaks are no part of it.
fn not_base64(text: &str) -> Option<usize> {
    use base64::Engine;
    let compact: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let error = base64::engine::general_purpose::STANDARD.decode(&compact).err()?;
    Some(match error {
        base64::DecodeError::InvalidByte(offset, _)
        | base64::DecodeError::InvalidLastSymbol { offset, .. } => offset,
        _ => compact.len(),
    })
}

/// In lists and maps `null` keeps its place and stands for the empty value of the type.
fn present(value: Value, schema: Schema) -> Value {
    match (&value, schema) {
        (Value::Null, Schema::Text(_) | Schema::Bytes) => Value::String(String::new()),
        (Value::Null, Schema::Boolean) => Value::Bool(false),
        (Value::Null, Schema::Integer(_) | Schema::Number) => Value::Number(0.into()),
        (Value::Null, Schema::Object(_)) => Value::Object(Map::new()),
        _ => value,
    }
}
