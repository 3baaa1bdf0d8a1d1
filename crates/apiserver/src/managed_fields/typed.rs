//! Values with their schemas: which fields a value has, and how two values differ.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::set::{Set, Step};
use crate::schema::{List, Merge, Schema};

/// What server-side apply sees in a value: [one thing, or parts with owners of their own][1].
///
/// [1]: https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
#[derive(Clone, Copy)]
pub(super) enum Parts {
    /// One thing: a scalar, or whatever is owned as a whole.
    None,
    /// Fields or entries, each with its name.
    Fields,
    /// Items that are told apart by a key or by their value.
    Items(&'static List),
}

impl Parts {
    pub(super) fn of(schema: Schema) -> Self {
        match schema {
            Schema::Object(object) if !object.atomic => Self::Fields,
            Schema::Map(_) => Self::Fields,
            Schema::List(list) if list.merge != Merge::Replace => Self::Items(list),
            _ => Self::None,
        }
    }
}

/// The schema of the field or entry called `name`.
pub(super) fn field_schema(schema: Schema, name: &str) -> Schema {
    match schema {
        Schema::Object(object) => object.field(name).map_or(Schema::Untyped, |field| field.schema),
        Schema::Map(values) => *values,
        _ => Schema::Untyped,
    }
}

/// The step from a list to one of its items; otherwise why the item has no place in such a list.
pub(super) fn step(list: &List, item: &Value) -> Result<Step, String> {
    let refused = |reason: &str| Err(reason.to_owned());
    match (list.merge, item) {
        (Merge::ByKey(_), Value::Null) => refused("associative list with keys may not have a null element"),
        (Merge::ByKey(key), Value::Object(fields)) => match fields.get(key) {
            Some(value) => Ok(Step::key(key, value)),
            None => Err(format!(
                "associative list with keys has an element that omits key field {key:?} (and doesn't have default \
                 value)"
            )),
        },
        (Merge::ByKey(_), _) => refused("associative list with keys may not have non-map elements"),
        (_, Value::Object(_)) => refused("associative list without keys has an element that's a map type"),
        (_, Value::Array(_)) => refused("not supported: associative list with lists as elements"),
        (_, Value::Null) => refused("associative list without keys has an element that's an explicit null"),
        (_, value) => Ok(Step::value(value)),
    }
}

/// The items of a list with the steps to them.
pub(super) fn items<'v>(list: &List, value: Option<&'v Value>) -> Result<Vec<(Step, &'v Value)>, String> {
    let values = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let items = values
        .iter()
        .enumerate()
        .map(|(place, item)| match step(list, item) {
            Ok(step) => Ok((step, item)),
            Err(error) => Err(format!("element {place}: {error}")),
        });
    items.collect()
}

pub(super) fn fields(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn is_nothing(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        _ => true,
    }
}

/// All fields that a value has.
///
/// # Errors
/// Which item has no place in its list.
pub(super) fn to_set(value: &Value, schema: Schema) -> Result<Set, String> {
    let mut set = Set::default();
    add_fields(value, schema, &mut Vec::new(), &mut set)?;
    Ok(set)
}

fn add_fields(value: &Value, schema: Schema, path: &mut Vec<Step>, set: &mut Set) -> Result<(), String> {
    match Parts::of(schema) {
        Parts::None => set.insert(path),
        Parts::Fields => {
            for (name, value) in fields(Some(value)).into_iter().flatten() {
                path.push(Step::field(name));
                add_fields(value, field_schema(schema, name), path, set)?;
                // An entry of a map is there because somebody put it there; a field always is.
                let is_empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if is_empty || matches!(schema, Schema::Map(_)) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Parts::Items(list) => {
            let items = items(list, Some(value)).map_err(|error| at(path, &error))?;
            for (step, item) in items {
                path.push(step);
                add_fields(item, list.items, path, set)?;
                set.insert(path);
                path.pop();
            }
        }
    }
    Ok(())
}

/// A text about the field at a path.
fn at(path: &[Step], error: &str) -> String {
    let path: String = path.iter().map(Step::to_string).collect();
    if path.is_empty() {
        error.to_owned()
    } else {
        format!("{path}: {error}")
    }
}

/// How one value differs from another.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What only the first has.
    pub(super) removed: Set,
    /// What both have, with different values.
    pub(super) modified: Set,
    /// What only the second has.
    pub(super) added: Set,
}

impl Changes {
    /// What the second value sets.
    pub(super) fn written(&self) -> Set {
        self.modified.clone().union(&self.added)
    }
}

/// How `new` differs from `old`.
///
/// # Errors
/// Which item has no place in its list.
pub(super) fn compare(old: &Value, new: &Value, schema: Schema) -> Result<Changes, String> {
    let mut changes = Changes::default();
    compare_at(Some(old), Some(new), schema, &mut Vec::new(), &mut changes)?;
    Ok(changes)
}

fn compare_at(
    old: Option<&Value>,
    new: Option<&Value>,
    schema: Schema,
    path: &mut Vec<Step>,
    changes: &mut Changes,
) -> Result<(), String> {
    let parts = Parts::of(schema);
    // What has no parts on either side is one thing, so that `null` and `{}` are told apart.
    if matches!(parts, Parts::None) || (is_nothing(old) && is_nothing(new)) {
        match (old, new) {
            (None, _) => changes.added.insert(path),
            (_, None) => changes.removed.insert(path),
            (Some(old), Some(new)) if old != new => changes.modified.insert(path),
            _ => {}
        }
        return Ok(());
    }
    if let Parts::Items(list) = parts {
        compare_items(old, new, list, path, changes)?;
    } else {
        let empty = Map::new();
        let (old, new) = (fields(old).unwrap_or(&empty), fields(new).unwrap_or(&empty));
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        for name in new.keys().chain(gone) {
            path.push(Step::field(name));
            let schema = field_schema(schema, name);
            compare_at(old.get(name), new.get(name), schema, path, changes)?;
            path.pop();
        }
    }
    match (old, new) {
        (None, _) => changes.added.insert(path),
        (_, None) => changes.removed.insert(path),
        _ => {}
    }
    Ok(())
}

fn compare_items(
    old: Option<&Value>,
    new: Option<&Value>,
    list: &'static List,
    path: &mut Vec<Step>,
    changes: &mut Changes,
) -> Result<(), String> {
    // Stored objects may have an item twice, although nobody can apply one twice.
    let mut pairs: HashMap<Step, (Vec<&Value>, Vec<&Value>)> = HashMap::new();
    for (step, item) in items(list, old).map_err(|error| at(path, &error))? {
        pairs.entry(step).or_default().0.push(item);
    }
    for (step, item) in items(list, new).map_err(|error| at(path, &error))? {
        pairs.entry(step).or_default().1.push(item);
    }
    for (step, (old, new)) in pairs {
        path.push(step);
        match (old.as_slice(), new.as_slice()) {
            ([] | [_], [] | [_]) => {
                let (old, new) = (old.first().copied(), new.first().copied());
                compare_at(old, new, list.items, path, changes)?;
            }
            ([_, _, ..], [_, _, ..]) => {
                if old != new {
                    changes.modified.insert(path);
                }
            }
            ([_, _, ..], _) => {
                if let Some(new) = new.first() {
                    compare_at(None, Some(new), list.items, path, changes)?;
                }
                changes.removed.insert(path);
            }
            _ => {
                if let Some(old) = old.first() {
                    compare_at(Some(old), None, list.items, path, changes)?;
                }
                changes.added.insert(path);
            }
        }
        path.pop();
    }
    Ok(())
}

/// Everything in a value that its schema does not allow, each with its path.
pub(super) fn check(value: &Value, schema: Schema) -> Vec<String> {
    let mut errors = Vec::new();
    check_at(value, schema, &mut Vec::new(), &mut errors);
    errors
}

fn check_at(value: &Value, schema: Schema, path: &mut Vec<Step>, errors: &mut Vec<String>) {
    let expected = match (schema, value) {
        (_, Value::Null) | (Schema::Raw | Schema::FieldsV1 | Schema::Untyped, _) => return,
        (Schema::Text(_) | Schema::Bytes | Schema::Time | Schema::MicroTime, Value::String(_))
        | (Schema::Quantity, Value::String(_) | Value::Number(_))
        | (Schema::Boolean, Value::Bool(_))
        | (Schema::Integer(_) | Schema::Number, Value::Number(_)) => return,
        (Schema::Object(_) | Schema::Map(_), Value::Object(fields)) => {
            for (name, value) in fields {
                path.push(Step::field(name));
                let is_unknown = matches!(schema, Schema::Object(object) if object.field(name).is_none());
                if is_unknown {
                    errors.push(at(path, "field not declared in schema"));
                } else {
                    check_at(value, field_schema(schema, name), path, errors);
                }
                path.pop();
            }
            return;
        }
        (Schema::List(list), Value::Array(values)) => return check_items(values, list, path, errors),
        (Schema::Text(_) | Schema::Bytes | Schema::Time | Schema::MicroTime | Schema::Quantity, _) => {
            "string"
        }
        (Schema::Boolean, _) => "boolean",
        (Schema::Integer(_) | Schema::Number, _) => "numeric (int or float)",
        (Schema::Object(_) | Schema::Map(_), _) => "map",
        (Schema::List(_), _) => "list",
    };
    errors.push(at(path, &format!("expected {expected}, got {value}")));
}

fn check_items(values: &[Value], list: &'static List, path: &mut Vec<Step>, errors: &mut Vec<String>) {
    let mut seen: HashMap<Step, usize> = HashMap::new();
    for (place, item) in values.iter().enumerate() {
        let step = if list.merge == Merge::Replace {
            Step::Index(i64::try_from(place).unwrap_or(i64::MAX))
        } else {
            match step(list, item) {
                Ok(step) => step,
                Err(error) => {
                    errors.push(at(path, &format!("element {place}: {error}")));
                    continue;
                }
            }
        };
        let times = seen.entry(step.clone()).or_default();
        *times += 1;
        if *times == 2 {
            errors.push(at(path, &format!("duplicate entries for key {step}")));
        }
        path.push(step);
        check_at(item, list.items, path, errors);
        path.pop();
    }
}
