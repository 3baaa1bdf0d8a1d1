//! [Strategic merge patch][1]: a merge patch that knows which lists are really maps.
//!
//! [1]: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::schema::{Merge, Object, Schema};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_VALUES: &str = "$deleteFromPrimitiveList/";

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StrategicError {
    #[error("Unknown patch type found: {0}")]
    UnknownDirective(String),
    #[error("map: {0} does not contain declared merge key: {1}")]
    NoMergeKey(String, &'static str),
    #[error("invalid patch format of {0}")]
    Malformed(&'static str),
    #[error("$retainKeys list does not contain key {0} of the patch")]
    NotRetained(String),
}

type Result<T> = std::result::Result<T, StrategicError>;

/// Changes `object` by `patch`.
pub(super) fn apply(object: Value, patch: &Value, schema: &'static Object) -> Result<Value> {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            let merged = map(object, patch, Schema::Object(schema))?;
            Ok(Value::Object(merged.unwrap_or_default()))
        }
        _ => Err(StrategicError::Malformed("an object")),
    }
}

fn child(schema: Schema, key: &str) -> Schema {
    match schema {
        Schema::Object(object) => object.field(key).map_or(Schema::Untyped, |field| field.schema),
        Schema::Map(values) => *values,
        _ => Schema::Untyped,
    }
}

fn is_directive(key: &str) -> bool {
    matches!(key, DIRECTIVE | RETAIN_KEYS) || key.starts_with(SET_ORDER) || key.starts_with(DELETE_VALUES)
}

/// The map after the patch; `None` if the patch deletes it.
fn map(
    mut old: Map<String, Value>,
    patch: &Map<String, Value>,
    schema: Schema,
) -> Result<Option<Map<String, Value>>> {
    match directive(patch)? {
        Some(Directive::Delete) => return Ok(None),
        Some(Directive::Replace) => {
            let rest = patch.iter().filter(|(key, _)| *key != DIRECTIVE);
            return Ok(Some(
                rest.map(|(key, value)| (key.clone(), value.clone())).collect(),
            ));
        }
        Some(Directive::Merge) | None => {}
    }
    if let Some(retained) = patch.get(RETAIN_KEYS) {
        retain_keys(&mut old, patch, retained)?;
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_VALUES) {
            delete_values(&mut old, list, value)?;
        }
    }
    for (key, value) in patch.iter().filter(|(key, _)| !is_directive(key)) {
        let schema = child(schema, key);
        let order = patch.get(&format!("{SET_ORDER}{key}"));
        match value {
            Value::Null => {
                old.remove(key);
            }
            Value::Object(changes) => {
                let before = match old.remove(key) {
                    Some(Value::Object(before)) => before,
                    _ => Map::new(),
                };
                // What is opaque to us is nobody's to merge into.
                let after = if schema.is_opaque() {
                    Some(changes.clone())
                } else {
                    map(before, changes, schema)?
                };
                if let Some(after) = after {
                    old.insert(key.clone(), Value::Object(after));
                }
            }
            Value::Array(changes) => {
                let before = match old.remove(key) {
                    Some(Value::Array(before)) => before,
                    _ => Vec::new(),
                };
                old.insert(key.clone(), Value::Array(list(before, changes, schema, order)?));
            }
            other => {
                old.insert(key.clone(), other.clone());
            }
        }
    }
    // An order may be given for a list that the patch leaves alone otherwise.
    for (key, order) in patch {
        if let Some(name) = key.strip_prefix(SET_ORDER)
            && !patch.contains_key(name)
            && let Some(Value::Array(before)) = old.remove(name)
        {
            let after = list(before, &[], child(schema, name), Some(order))?;
            old.insert(name.to_owned(), Value::Array(after));
        }
    }
    Ok(Some(old))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

fn directive(patch: &Map<String, Value>) -> Result<Option<Directive>> {
    match patch.get(DIRECTIVE) {
        None => Ok(None),
        Some(Value::String(name)) => match name.as_str() {
            "merge" => Ok(Some(Directive::Merge)),
            "replace" => Ok(Some(Directive::Replace)),
            "delete" => Ok(Some(Directive::Delete)),
            other => Err(StrategicError::UnknownDirective(other.into())),
        },
        Some(other) => Err(StrategicError::UnknownDirective(other.to_string())),
    }
}

fn retain_keys(old: &mut Map<String, Value>, patch: &Map<String, Value>, retained: &Value) -> Result<()> {
    let retained = retained
        .as_array()
        .ok_or(StrategicError::Malformed("$retainKeys list"))?;
    let retained: HashSet<&str> = retained.iter().filter_map(Value::as_str).collect();
    let is_retained = |key: &str| retained.contains(key);
    if let Some((key, _)) = patch
        .iter()
        .find(|(key, value)| !is_directive(key) && !value.is_null() && !is_retained(key))
    {
        return Err(StrategicError::NotRetained(key.clone()));
    }
    old.retain(|key, _| is_retained(key));
    Ok(())
}

fn delete_values(old: &mut Map<String, Value>, name: &str, values: &Value) -> Result<()> {
    let values = values
        .as_array()
        .ok_or(StrategicError::Malformed("$deleteFromPrimitiveList"))?;
    if let Some(Value::Array(list)) = old.get_mut(name) {
        let values: HashSet<&Value> = values.iter().collect();
        list.retain(|value| !values.contains(value));
    }
    Ok(())
}

fn list(old: Vec<Value>, patch: &[Value], schema: Schema, order: Option<&Value>) -> Result<Vec<Value>> {
    let order = match order {
        None => None,
        Some(Value::Array(order)) => Some(order.as_slice()),
        Some(_) => return Err(StrategicError::Malformed("$setElementOrder list")),
    };
    let Schema::List(kind) = schema else {
        return Ok(patch.to_vec());
    };
    match kind.merge {
        Merge::Replace => Ok(patch.to_vec()),
        Merge::Values => {
            let mut present: HashSet<&Value> = old.iter().collect();
            let added: Vec<Value> = patch
                .iter()
                .filter(|value| present.insert(value))
                .cloned()
                .collect();
            let merged = old.into_iter().chain(added).collect();
            Ok(ordered(merged, order, |value| Some(value)))
        }
        Merge::ByKey(key) => {
            let merged = keyed(old, patch, key, kind.items)?;
            Ok(ordered(merged, order, |item| item.get(key)))
        }
    }
}

fn keyed(old: Vec<Value>, patch: &[Value], key: &'static str, items: Schema) -> Result<Vec<Value>> {
    // A `$patch: replace` anywhere in the list is about the list.
    let objects = patch
        .iter()
        .map(|item| {
            item.as_object()
                .ok_or(StrategicError::Malformed("a list of objects"))
        })
        .collect::<Result<Vec<_>>>()?;
    let has_key = |item: &Map<String, Value>| item.get(key).is_some_and(|value| !value.is_null());
    let mut replaces = false;
    for item in &objects {
        replaces |= directive(item)? == Some(Directive::Replace) && !has_key(item);
    }
    if replaces {
        let rest = objects.into_iter().filter(|item| !item.contains_key(DIRECTIVE));
        return Ok(rest.cloned().map(Value::Object).collect());
    }
    let mut places: HashMap<Value, usize> = HashMap::new();
    let mut merged: Vec<Option<Value>> = Vec::with_capacity(old.len());
    for item in old {
        if let Some(present) = item.get(key) {
            places.entry(present.clone()).or_insert(merged.len());
        }
        merged.push(Some(item));
    }
    for item in objects {
        let Some(wanted) = item.get(key).filter(|value| !value.is_null()) else {
            let shown = Value::Object(item.clone()).to_string();
            return Err(StrategicError::NoMergeKey(shown, key));
        };
        let place = *places.entry(wanted.clone()).or_insert_with(|| {
            merged.push(None);
            merged.len() - 1
        });
        if let Some(present) = merged.get_mut(place) {
            let before = match present.take() {
                Some(Value::Object(before)) => before,
                _ => Map::new(),
            };
            *present = map(before, item, items)?.map(Value::Object);
        }
    }
    Ok(merged.into_iter().flatten().collect())
}

/// The items that the order names, in that order; each of the others stays behind the one it followed.
fn ordered(items: Vec<Value>, order: Option<&[Value]>, key: impl Fn(&Value) -> Option<&Value>) -> Vec<Value> {
    let Some(order) = order else {
        return items;
    };
    // An order lists values, or objects with nothing but their key.
    let mut ranks: HashMap<&Value, usize> = HashMap::new();
    for (rank, listed) in order.iter().enumerate() {
        if let Some(listed) = key(listed) {
            ranks.entry(listed).or_insert(rank);
        }
    }
    let mut place = 0;
    let mut ranked: Vec<(usize, Value)> = items
        .into_iter()
        .map(|item| {
            if let Some(rank) = key(&item).and_then(|wanted| ranks.get(wanted)) {
                place = *rank;
            }
            (place, item)
        })
        .collect();
    ranked.sort_by_key(|(place, _)| *place);
    ranked.into_iter().map(|(_, item)| item).collect()
}
