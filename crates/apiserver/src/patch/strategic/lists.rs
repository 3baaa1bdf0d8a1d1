//! Lists in a strategic merge patch: which items belong together, and in which order they are afterwards.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{DIRECTIVE, Merge, Result, Schema, StrategicError, map, taken};
use crate::patch::go_value::{GoList, type_name};

/// The field by which the items of a list are told apart, or nothing for values and for lists that are not merged.
fn key_of(schema: Schema) -> Option<&'static str> {
    match schema {
        Schema::List(list) => match list.merge {
            Merge::ByKey(key) => Some(key),
            Merge::Values | Merge::Replace => None,
        },
        _ => None,
    }
}

/// The list after the patch. Items that the patch names are in its order.
pub(super) fn merge(old: Vec<Value>, patch: &mut [Value], schema: Schema) -> Result<Vec<Value>> {
    let Schema::List(list) = schema else {
        return Ok(patch.to_vec());
    };
    if list.merge == Merge::Replace {
        return Ok(patch.to_vec());
    }
    if old.is_empty() && patch.is_empty() {
        return Ok(old);
    }
    let key = key_of(schema);
    if !are_objects(&old, patch)? {
        let (named, before) = (ranks(&*patch, key), ranks(&old, key));
        let mut present: HashSet<Value> = old.iter().cloned().collect();
        let mut merged = old;
        let added = patch.iter().filter(|value| present.insert((*value).clone()));
        merged.extend(added.cloned());
        return arranged(merged, &named, &before, key);
    }
    match key {
        Some(key) => by_key(old, patch, key, list.items),
        None => Err(StrategicError::NoKeyToMergeBy(list.items.type_name())),
    }
}

/// The list after a patch that gives an order for it: of the items that the order names.
pub(super) fn merge_in_order(
    old: Option<Vec<Value>>,
    patch: Option<Vec<Value>>,
    order: &[Value],
    schema: Schema,
) -> Result<Vec<Value>> {
    let key = key_of(schema);
    if let Some(patch) = &patch {
        check_order(patch, order, key)?;
    }
    let before = ranks(old.as_deref().unwrap_or_default(), key);
    let merged = match (old, patch) {
        (Some(old), Some(mut patch)) => merge(old, &mut patch, schema)?,
        (Some(only), None) => only,
        (None, patch) => patch.unwrap_or_default().iter_mut().filter_map(taken).collect(),
    };
    if let Some(key) = key.filter(|_| !merged.is_empty()) {
        for (position, listed) in order.iter().enumerate() {
            let listed = listed.as_object().ok_or(StrategicError::NotInAMap(position))?;
            if !listed.contains_key(key) {
                return Err(StrategicError::no_merge_key(listed, key));
            }
        }
    }
    arranged(merged, &ranks(order, key), &before, key)
}

/// Whether the items of both lists are objects; they are all of one type.
fn are_objects(old: &[Value], patch: &[Value]) -> Result<bool> {
    let mut items = old.iter().chain(patch);
    let first = items.next().unwrap_or(&Value::Null);
    if first.is_array() {
        return Err(StrategicError::ListOfLists);
    }
    if items.any(|item| type_name(item) != type_name(first)) {
        let shown = |list| GoList(list).to_string();
        return Err(StrategicError::MixedTypes(shown(old), shown(patch)));
    }
    Ok(first.is_object())
}

/// Merges lists of objects.
fn by_key(mut old: Vec<Value>, patch: &mut [Value], key: &'static str, items: Schema) -> Result<Vec<Value>> {
    let mut kept = Vec::with_capacity(patch.len());
    let mut deleted = HashSet::new();
    let mut replaces = false;
    for item in patch {
        let Value::Object(fields) = &*item else {
            return Err(StrategicError::no_object(item));
        };
        let Some(directive) = fields.get(DIRECTIVE) else {
            kept.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => match fields.get(key) {
                Some(value) => {
                    deleted.insert(value.clone());
                }
                None => return Err(StrategicError::no_merge_key(fields, key)),
            },
            // Wherever it stands, it is about the list.
            Some("replace") => replaces = true,
            Some("merge") => return Err(StrategicError::MergesList),
            _ => return Err(StrategicError::unknown_directive(directive, fields)),
        }
    }
    if replaces {
        let new = kept.into_iter().map(|item| item.clone()).collect();
        return arranged(new, &HashMap::new(), &HashMap::new(), Some(key));
    }
    if !deleted.is_empty() {
        old.retain(|item| item.get(key).is_none_or(|value| !deleted.contains(value)));
    }
    let before = ranks(&old, Some(key));
    let named = ranks(kept.iter().map(|item| &**item), Some(key));
    let mut places = before.clone();
    let mut merged = old;
    for item in kept {
        let Value::Object(fields) = &mut *item else {
            return Err(StrategicError::no_object(item));
        };
        let Some(wanted) = fields.get(key).cloned() else {
            return Err(StrategicError::no_merge_key(fields, key));
        };
        if let Some(present) = places.get(&wanted).and_then(|place| merged.get_mut(*place)) {
            let before = match present.take() {
                Value::Object(before) => before,
                _ => serde_json::Map::new(),
            };
            *present = Value::Object(map(before, fields, items)?);
        } else if let Some(new) = taken(item) {
            places.insert(wanted, merged.len());
            merged.push(new);
        }
    }
    arranged(merged, &named, &before, Some(key))
}

/// What tells an item from others: its key, or all of it. An item without its key has none.
fn identity<'v>(item: &'v Value, key: Option<&str>) -> Option<&'v Value> {
    match key {
        Some(key) => item.get(key),
        None => Some(item),
    }
}

/// The place of each item in a list.
fn ranks<'v>(items: impl IntoIterator<Item = &'v Value>, key: Option<&str>) -> HashMap<Value, usize> {
    let mut ranks = HashMap::new();
    for (rank, item) in items.into_iter().enumerate() {
        if let Some(identity) = identity(item, key) {
            ranks.entry(identity.clone()).or_insert(rank);
        }
    }
    ranks
}

/// Puts the items that the patch names in its order, and each of the others before the first of them that it came
/// before: new items of the patch come first.
fn arranged(
    merged: Vec<Value>,
    named: &HashMap<Value, usize>,
    before: &HashMap<Value, usize>,
    key: Option<&'static str>,
) -> Result<Vec<Value>> {
    let mut of_patch = Vec::new();
    let mut others = Vec::new();
    for item in merged {
        if let Some(key) = key {
            let fields = item.as_object().ok_or_else(|| StrategicError::no_object(&item))?;
            if !fields.contains_key(key) {
                return Err(StrategicError::no_merge_key(fields, key));
            }
        }
        let Some(identity) = identity(&item, key) else {
            continue;
        };
        let was = before.get(identity).copied();
        match named.get(identity) {
            Some(rank) => of_patch.push((*rank, was, item)),
            None => others.push((was, item)),
        }
    }
    of_patch.sort_by_key(|(rank, ..)| *rank);
    others.sort_by_key(|(was, _)| *was);
    let mut arranged = Vec::with_capacity(of_patch.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, was, item) in of_patch {
        let came_first = |(other, _): &(Option<usize>, Value)| matches!((other, was), (Some(other), Some(was)) if *other < was);
        while let Some((_, other)) = others.next_if(came_first) {
            arranged.push(other);
        }
        arranged.push(item);
    }
    arranged.extend(others.map(|(_, other)| other));
    Ok(arranged)
}

/// Refuses a patch whose items are in another order than the one that it gives.
fn check_order(patch: &[Value], order: &[Value], key: Option<&'static str>) -> Result<()> {
    if order.is_empty() {
        return Ok(());
    }
    let identified = |item| match key {
        Some(key) => {
            let fields = Value::as_object(item).ok_or_else(|| StrategicError::no_object(item))?;
            fields
                .get(key)
                .ok_or_else(|| StrategicError::no_merge_key(fields, key))
        }
        None => Ok(item),
    };
    let mut listed = order.iter();
    for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        loop {
            let Some(listed) = listed.next() else {
                let shown = |list| GoList(list).to_string();
                return Err(StrategicError::OtherOrder(shown(patch), shown(order)));
            };
            if identified(item)? == identified(listed)? {
                break;
            }
        }
    }
    Ok(())
}
