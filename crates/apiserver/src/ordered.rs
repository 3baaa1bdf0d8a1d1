//! JSON whose objects begin with what says what they are: kind, version and metadata, the name first.
//!
//! Order means nothing to programs. People read the beginning first, and tools that sort or diff texts see objects
//! by their names.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

/// The keys that come first, in this order; all others follow in theirs.
const FIRST: [&str; 10] = [
    "kind",
    "apiVersion",
    "metadata",
    "name",
    "generateName",
    "namespace",
    "uid",
    "reason",
    "message",
    "field",
];

/// A value that is written in this order.
pub struct Ordered<'a>(pub &'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in sorted(fields) {
                    map.serialize_entry(key, &Self(value))?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Self(item))?;
                }
                list.end()
            }
            other => other.serialize(serializer),
        }
    }
}

/// The fields of an object in the order in which they are written.
pub fn sorted(fields: &serde_json::Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    let first = FIRST
        .iter()
        .filter_map(|key| fields.get(*key).map(|value| (*key, value)));
    let rest = fields
        .iter()
        .map(|(key, value)| (key.as_str(), value))
        .filter(|(key, _)| !FIRST.contains(key));
    first.chain(rest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_identifies_an_object_comes_first() {
        let value =
            json!({"a": 1, "metadata": {"labels": {"x": "1", "name": "n"}, "name": "b"}, "kind": "K"});
        let text = serde_json::to_string(&Ordered(&value)).unwrap_or_default();
        let expected = r#"{"kind":"K","metadata":{"name":"b","labels":{"name":"n","x":"1"}},"a":1}"#;
        assert_eq!(text, expected);
    }
}
