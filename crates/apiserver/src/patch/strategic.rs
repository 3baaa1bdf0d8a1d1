//! [Strategic merge patch][1]: a merge patch that knows which lists are really maps.
//!
//! [1]: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md

use std::collections::HashSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Map, Value};

use super::go_value::{GoValue, as_text, type_name};
use crate::errors;
use crate::schema::{Merge, Object, Schema};

mod lists;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_VALUES: &str = "$deleteFromPrimitiveList/";

/// Why a patch cannot be applied, in the words of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StrategicError {
    #[error("unknown patch type: {0} in map: {1}")]
    UnknownDirective(String, String),
    #[error("merging lists cannot yet be specified in the patch")]
    MergesList,
    #[error("map: {0} does not contain declared merge key: {1}")]
    NoMergeKey(String, &'static str),
    #[error("expected a {0}, but received a {1}")]
    WrongType(&'static str, &'static str),
    #[error("list element types are not identical: [{0} {1}]")]
    MixedTypes(String, String),
    #[error("cannot merge lists without merge key for {0}")]
    NoKeyToMergeBy(String),
    #[error("value for key {0} is not a map.")]
    NotInAMap(usize),
    #[error("The order in patch list:\n{0}\n doesn't match $setElementOrder list:\n{1}\n")]
    OtherOrder(String, String),
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
}

impl StrategicError {
    /// What a client is told: Kubernetes takes only some of the errors for the client's.
    pub(super) fn status(&self) -> Box<Status> {
        match self {
            Self::RetainKeys => errors::bad_request(self.to_string()).into(),
            Self::ListOfLists => errors::unprocessable().into(),
            _ => errors::untyped(self).into(),
        }
    }

    fn unknown_directive(directive: &Value, map: &Map<String, Value>) -> Self {
        Self::UnknownDirective(as_text(directive), shown(map))
    }

    fn no_merge_key(map: &Map<String, Value>, key: &'static str) -> Self {
        Self::NoMergeKey(shown(map), key)
    }

    fn no_object(found: &Value) -> Self {
        Self::WrongType("map[string]interface {}", type_name(found))
    }

    fn no_list(found: &Value) -> Self {
        Self::WrongType("[]interface {}", type_name(found))
    }
}

type Result<T> = std::result::Result<T, StrategicError>;

fn shown(map: &Map<String, Value>) -> String {
    GoValue(&Value::Object(map.clone())).to_string()
}

/// Changes `object` by `patch`, and leaves in `patch` what error texts show of it: not what was only said about lists,
/// nor what was to be removed where there was nothing.
pub(super) fn apply(object: Value, patch: &mut Value, schema: &'static Object) -> Result<Value> {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            map(object, patch, Schema::Object(schema)).map(Value::Object)
        }
        (_, patch) => Err(StrategicError::no_object(patch)),
    }
}

fn child(schema: Schema, key: &str) -> Schema {
    match schema {
        Schema::Object(object) => object.field(key).map_or(Schema::Untyped, |field| field.schema),
        Schema::Map(values) => *values,
        _ => Schema::Untyped,
    }
}

/// The map after the patch.
fn map(
    mut old: Map<String, Value>,
    patch: &mut Map<String, Value>,
    schema: Schema,
) -> Result<Map<String, Value>> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch.clone())
            }
            Some("delete") => Ok(Map::new()),
            _ => Err(StrategicError::unknown_directive(directive, patch)),
        };
    }
    if let Some(retained) = patch.remove(RETAIN_KEYS) {
        retain_keys(&mut old, patch, &retained)?;
    }
    order_lists(&mut old, patch, schema)?;
    for (key, value) in patch.iter() {
        if let Some(list) = key.strip_prefix(DELETE_VALUES) {
            delete_values(&mut old, list, value);
        }
    }
    for (key, value) in patch.iter_mut() {
        if key.starts_with(DELETE_VALUES) {
            continue;
        }
        let schema = child(schema, key);
        let after = match (old.remove(key), &mut *value) {
            (_, Value::Null) => continue,
            // What is opaque to us is nobody's to merge into.
            (Some(Value::Object(_)), changes @ Value::Object(_)) if schema.is_opaque() => changes.clone(),
            (Some(Value::Object(before)), Value::Object(changes)) => {
                Value::Object(map(before, changes, schema)?)
            }
            (Some(Value::Array(before)), Value::Array(changes)) => {
                Value::Array(lists::merge(before, changes, schema)?)
            }
            (_, new) => match taken(new) {
                Some(new) => new,
                None => continue,
            },
        };
        old.insert(key.clone(), after);
    }
    Ok(old)
}

/// A value of the patch for which there is nothing of its type to merge it into. What asks to be deleted, or to
/// replace something, is not there then.
fn taken(value: &mut Value) -> Option<Value> {
    discard_nulls(value);
    discard_directives(value).then(|| value.clone())
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// Whether the value remains.
fn discard_directives(value: &mut Value) -> bool {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => return false,
        Value::Object(map) => map.retain(|_, value| discard_directives(value)),
        Value::Array(items) => items.retain_mut(discard_directives),
        _ => {}
    }
    true
}

fn retain_keys(old: &mut Map<String, Value>, patch: &Map<String, Value>, retained: &Value) -> Result<()> {
    let retained = retained.as_array().ok_or(StrategicError::RetainKeys)?;
    let retained: HashSet<&str> = retained.iter().filter_map(Value::as_str).collect();
    let is_retained = |key: &str| retained.contains(key);
    let is_about_list = |key: &str| key.starts_with(SET_ORDER) || key.starts_with(DELETE_VALUES);
    if patch
        .iter()
        .any(|(key, value)| !is_about_list(key) && !value.is_null() && !is_retained(key))
    {
        return Err(StrategicError::RetainKeys);
    }
    old.retain(|key, _| is_retained(key));
    Ok(())
}

/// Merges the lists for which the patch gives an order. It need not say anything else about them.
fn order_lists(old: &mut Map<String, Value>, patch: &mut Map<String, Value>, schema: Schema) -> Result<()> {
    let names = patch.keys().filter_map(|key| key.strip_prefix(SET_ORDER));
    let names: Vec<String> = names.map(str::to_owned).collect();
    for name in names {
        let order = match patch.remove(&format!("{SET_ORDER}{name}")) {
            Some(Value::Array(order)) => order,
            Some(other) => return Err(StrategicError::no_list(&other)),
            None => continue,
        };
        let before = match old.remove(&name) {
            Some(Value::Array(before)) => Some(before),
            Some(other) => return Err(StrategicError::no_list(&other)),
            None => None,
        };
        let changes = match patch.remove(&name) {
            Some(Value::Array(changes)) => Some(changes),
            Some(other) => return Err(StrategicError::no_list(&other)),
            None => None,
        };
        if before.is_some() || changes.is_some() {
            let merged = lists::merge_in_order(before, changes, &order, child(schema, &name))?;
            old.insert(name, Value::Array(merged));
        }
    }
    Ok(())
}

fn delete_values(old: &mut Map<String, Value>, name: &str, values: &Value) {
    if let (Some(Value::Array(list)), Value::Array(values)) = (old.get_mut(name), values) {
        let values: HashSet<&Value> = values.iter().collect();
        list.retain(|value| !values.contains(value));
    }
}
