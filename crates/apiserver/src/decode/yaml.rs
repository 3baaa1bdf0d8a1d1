//! YAML bodies, turned into JSON before anything else looks at them, as [Kubernetes does][1].
//!
//! [1]: https://pkg.go.dev/sigs.k8s.io/yaml

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

/// What a YAML document says.
pub(super) struct Document {
    /// Its content. Of a key that occurs twice, the last value.
    pub(super) value: Value,
    /// The keys that occur twice, as one error.
    pub(super) duplicates: Option<String>,
}

/// Parts of a document that are said once and stand in many places may make it this many events longer, and
/// each be this many bytes: more is not a manifest, but an attack.
const MAX_REPLAYED_EVENTS: usize = 1_000;
const MAX_ANCHORED_BYTES: usize = 64 << 10;

/// Reads one document.
pub(super) fn parse(body: &[u8]) -> Result<Document, String> {
    let text = std::str::from_utf8(body).map_err(|_| "yaml: invalid leading UTF-8 octet".to_owned())?;
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED_EVENTS,
        },
        budget: serde_saphyr::budget! {
            max_depth: super::MAX_DEPTH,
            max_recorded_anchor_bytes: MAX_ANCHORED_BYTES,
        },
    };
    let node: Spanned<Node> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.to_string();
        // Only the first line is about the error itself; the parser's position counts differently.
        let message = error.lines().next().unwrap_or_default();
        let message = message.split(" at line ").next().unwrap_or_default();
        format!("yaml: {message}")
    })?;
    let mut duplicates = Vec::new();
    let value = json(node.value, &mut duplicates);
    let duplicates =
        (!duplicates.is_empty()).then(|| format!("yaml: unmarshal errors:\n{}", duplicates.join("\n")));
    Ok(Document { value, duplicates })
}

enum Node {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, Spanned<Node>)>),
}

fn json(node: Node, duplicates: &mut Vec<String>) -> Value {
    match node {
        Node::Scalar(value) => value,
        Node::List(items) => items.into_iter().map(|item| json(item, duplicates)).collect(),
        Node::Map(entries) => {
            let mut map = Map::new();
            for (key, node) in entries {
                // The line of the value, not of the key.
                let line = node.referenced.line();
                let value = json(node.value, duplicates);
                if map.contains_key(&key) {
                    let key = imagestream_api::field::quoted(&key);
                    duplicates.push(format!("  line {line}: key {key} already set in map"));
                }
                map.insert(key, value);
            }
            Value::Object(map)
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(
            Number::from_f64(value).map_or(Value::Null, Value::Number),
        ))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}
