//! Sets of fields, and [how they are written][1] in a managed fields entry.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/#fieldsv1

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// Steps that the path of a field may have. No kind is nested that deeply.
const MAX_DEPTH: usize = 64;

/// One step on the way from an object to one of its fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    /// The field, or the entry of a map, of this name.
    Field(String),
    /// The item of a list that has these values in its key fields: a JSON object, keys sorted.
    Key(String),
    /// The item of a list that is this value: JSON.
    Value(String),
    /// The item of a list at this place.
    Index(i64),
}

/// Why a text names no step, or a value is no set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SetError {
    #[error("{0:?} names no field")]
    NotAStep(String),
    #[error("a set of fields is an object")]
    NotAnObject,
    #[error("a set of fields is nested too deeply")]
    TooDeep,
}

impl Step {
    /// The step to a field.
    pub(super) fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    /// The step to the item whose field `key` has this value.
    pub(super) fn key(key: &str, value: &Value) -> Self {
        Self::Key(sorted(&Value::Object(Map::from_iter([(
            key.to_owned(),
            value.clone(),
        )]))))
    }

    /// The step to the item that is this value.
    pub(super) fn value(value: &Value) -> Self {
        Self::Value(sorted(value))
    }

    fn parse(text: &str) -> Result<Self, SetError> {
        let unknown = || SetError::NotAStep(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(unknown)?;
        match kind {
            "f" => Ok(Self::field(rest)),
            "k" => match serde_json::from_str::<Value>(rest) {
                Ok(value @ Value::Object(_)) => Ok(Self::Key(sorted(&value))),
                _ => Err(unknown()),
            },
            "v" => serde_json::from_str::<Value>(rest)
                .map(|value| Self::value(&value))
                .map_err(|_| unknown()),
            "i" => rest.parse().map(Self::Index).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }

    fn written(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(key) => format!("k:{key}"),
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }
}

/// JSON whose keys are sorted, so that equal values are equal texts.
fn sorted(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

/// As paths in error texts: `.spec.tags[name="latest"].from`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(key) => {
                let fields: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                write!(f, "[{}]", fields.join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A set of fields. That a field is in it says nothing about the fields inside that field, nor the other way round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set(BTreeMap<Step, Node>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    is_member: bool,
    below: Set,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.is_member && self.below.is_empty()
    }
}

impl Set {
    /// A set of these paths.
    pub(super) fn of(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let steps: Vec<Step> = path.iter().map(|name| Step::field(name)).collect();
            set.insert(&steps);
        }
        set
    }

    /// Adds a field. The whole object is no field, so an empty path adds nothing.
    pub(super) fn insert(&mut self, path: &[Step]) {
        match path {
            [] => {}
            [last] => self.0.entry(last.clone()).or_default().is_member = true,
            [first, rest @ ..] => self.0.entry(first.clone()).or_default().below.insert(rest),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.values().all(Node::is_empty)
    }

    /// Whether the field at the end of one step is in it.
    pub(super) fn has(&self, step: &Step) -> bool {
        self.0.get(step).is_some_and(|node| node.is_member)
    }

    /// What of it is inside the field at the end of one step.
    pub(super) fn below(&self, step: &Step) -> Option<&Self> {
        self.0
            .get(step)
            .map(|node| &node.below)
            .filter(|below| !below.is_empty())
    }

    /// Both. It costs what `other` does, so that many small sets can be put together.
    pub(super) fn union(mut self, other: &Self) -> Self {
        self.extend(other);
        self
    }

    fn extend(&mut self, other: &Self) {
        for (step, node) in &other.0 {
            let mine = self.0.entry(step.clone()).or_default();
            mine.is_member |= node.is_member;
            mine.below.extend(&node.below);
        }
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let both = self.0.iter().filter_map(|(step, node)| {
            let theirs = other.0.get(step)?;
            let node = Node {
                is_member: node.is_member && theirs.is_member,
                below: node.below.intersection(&theirs.below),
            };
            (!node.is_empty()).then(|| (step.clone(), node))
        });
        Self(both.collect())
    }

    pub(super) fn difference(&self, other: &Self) -> Self {
        let rest = self.0.iter().filter_map(|(step, node)| {
            let node = match other.0.get(step) {
                None => node.clone(),
                Some(theirs) => Node {
                    is_member: node.is_member && !theirs.is_member,
                    below: node.below.difference(&theirs.below),
                },
            };
            (!node.is_empty()).then(|| (step.clone(), node))
        });
        Self(rest.collect())
    }

    /// The paths of all members as error texts show them; members before what is inside others.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.add_paths("", &mut paths);
        paths
    }

    fn add_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        for (step, node) in &self.0 {
            if node.is_member {
                paths.push(format!("{prefix}{step}"));
            }
        }
        for (step, node) in &self.0 {
            node.below.add_paths(&format!("{prefix}{step}"), paths);
        }
    }

    /// Reads `fieldsV1`.
    pub(super) fn from_json(value: &Value) -> Result<Self, SetError> {
        Self::read(value, MAX_DEPTH)
    }

    fn read(value: &Value, depth: usize) -> Result<Self, SetError> {
        let fields = value.as_object().ok_or(SetError::NotAnObject)?;
        let depth = depth.checked_sub(1).ok_or(SetError::TooDeep)?;
        let mut set = Self::default();
        for (name, below) in fields.iter().filter(|(name, _)| *name != ".") {
            let step = Step::parse(name)?;
            let is_leaf = below.as_object().is_some_and(Map::is_empty);
            let node = set.0.entry(step).or_default();
            node.is_member |= is_leaf || below.get(".").is_some();
            node.below.extend(&Self::read(below, depth)?);
        }
        Ok(set)
    }

    /// As `fieldsV1` has it.
    pub(super) fn to_json(&self) -> Value {
        let mut fields = Map::new();
        for (step, node) in self.0.iter().filter(|(_, node)| !node.is_empty()) {
            let mut below = node.below.to_json();
            if let (true, false, Value::Object(below)) = (node.is_member, node.below.is_empty(), &mut below) {
                below.insert(".".into(), Value::Object(Map::new()));
            }
            fields.insert(step.written(), below);
        }
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn set(value: &Value) -> Set {
        Set::from_json(value).unwrap()
    }

    #[test]
    fn a_set_is_written_as_it_was_read() {
        let written = json!({
            "f:spec": {"f:tags": {".": {}, "k:{\"name\":\"t\"}": {".": {}, "f:from": {}}}},
            "f:metadata": {"f:finalizers": {".": {}, "v:\"x/y\"": {}}, "f:a:b": {}},
            "f:list": {"i:3": {}},
        });
        assert_eq!(set(&written).to_json(), written);
    }

    #[test]
    fn keys_are_the_same_in_any_order_and_notation() {
        let one = set(&json!({"k:{\"b\": 1, \"a\":\"x\"}": {}}));
        let other = set(&json!({"k:{\"a\":\"x\",\"b\":1}": {}}));
        assert_eq!(one, other);
        assert_eq!(one.paths(), ["[a=\"x\",b=1]"]);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let mut deep = json!({});
        for _ in 0..=MAX_DEPTH {
            deep = json!({ "f:a": deep });
        }
        for (value, error) in [
            (json!([]), SetError::NotAnObject),
            (json!({"f:a": 1}), SetError::NotAnObject),
            (json!({"a": {}}), SetError::NotAStep("a".into())),
            (json!({"x:a": {}}), SetError::NotAStep("x:a".into())),
            (json!({"k:[]": {}}), SetError::NotAStep("k:[]".into())),
            (json!({"v:": {}}), SetError::NotAStep("v:".into())),
            (json!({"i:a": {}}), SetError::NotAStep("i:a".into())),
            (deep, SetError::TooDeep),
        ] {
            assert_eq!(Set::from_json(&value), Err(error));
        }
    }

    #[test]
    fn a_field_and_what_is_inside_it_are_separate_members() {
        let outer = set(&json!({"f:a": {}}));
        let inner = set(&json!({"f:a": {"f:b": {}}}));
        let both = set(&json!({"f:a": {".": {}, "f:b": {}}}));
        assert_eq!(outer.clone().union(&inner), both);
        assert_eq!(both.difference(&outer), inner);
        assert_eq!(both.difference(&inner), outer);
        assert_eq!(both.intersection(&inner), inner);
        assert!(outer.intersection(&inner).is_empty());
        assert_eq!(both.paths(), [".a", ".a.b"]);
    }

    fn any_set() -> impl Strategy<Value = Set> {
        let path = prop::collection::vec("[abc]", 1..4);
        prop::collection::vec(path, 0..8).prop_map(|paths| {
            let mut set = Set::default();
            for path in paths {
                let steps: Vec<Step> = path.iter().map(|name| Step::field(name)).collect();
                set.insert(&steps);
            }
            set
        })
    }

    proptest! {
        #[test]
        fn sets_behave_as_sets_do(a in any_set(), b in any_set()) {
            let (union, common) = (a.clone().union(&b), a.intersection(&b));
            prop_assert_eq!(&union, &b.clone().union(&a));
            prop_assert_eq!(&common, &b.intersection(&a));
            prop_assert!(a.difference(&union).is_empty());
            prop_assert!(a.difference(&b).intersection(&b).is_empty());
            prop_assert_eq!(a.difference(&b).union(&common), a);
            prop_assert_eq!(Set::from_json(&union.to_json()).unwrap(), union);
        }

        #[test]
        fn any_text_is_a_step_or_an_error(text in ".{0,24}") {
            if let Ok(step) = Step::parse(&text) {
                prop_assert_eq!(Step::parse(&step.written()), Ok(step));
            }
        }
    }
}
