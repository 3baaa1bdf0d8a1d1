//! Values merged into others and fields taken out of them, as their schemas say.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::set::{Set, Step};
use super::typed::{Parts, field_schema, fields, items, step};
use crate::schema::{List, Schema};

/// `old` with everything that `new` has in place of what it had.
///
/// # Errors
/// Which item has no place in its list.
pub(super) fn merge(old: &Value, new: &Value, schema: Schema) -> Result<Value, String> {
    match Parts::of(schema) {
        Parts::None => Ok(new.clone()),
        Parts::Fields => match (old, new) {
            (Value::Object(old), Value::Object(new)) => merge_fields(old, new, schema),
            // Whoever applies `null` for what has parts of its own takes no part away from others.
            (Value::Object(fields), Value::Null) if !fields.is_empty() => Ok(old.clone()),
            _ => Ok(new.clone()),
        },
        Parts::Items(list) => match (old, new) {
            (Value::Array(_), Value::Array(_)) => merge_items(old, new, list),
            (Value::Array(items), Value::Null) if !items.is_empty() => Ok(old.clone()),
            _ => Ok(new.clone()),
        },
    }
}

fn merge_fields(old: &Map<String, Value>, new: &Map<String, Value>, schema: Schema) -> Result<Value, String> {
    let mut merged = old.clone();
    for (name, value) in new {
        let value = match old.get(name) {
            Some(before) => merge(before, value, field_schema(schema, name))?,
            None => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    Ok(Value::Object(merged))
}

/// The items of both lists: those of `new` in the order that they have there, the others where they were between
/// those that both have.
fn merge_items(old: &Value, new: &Value, list: &List) -> Result<Value, String> {
    let (old, new) = (items(list, Some(old))?, items(list, Some(new))?);
    // Nothing can be merged into an item that is there twice; it is replaced.
    let mut before: HashMap<&Step, Option<&Value>> = HashMap::new();
    for (step, item) in &old {
        before
            .entry(step)
            .and_modify(|found| *found = None)
            .or_insert(Some(*item));
    }
    let applied: HashSet<&Step> = new.iter().map(|(step, _)| step).collect();
    let merged = |(step, item): &(Step, &Value)| match before.get(step).copied().flatten() {
        Some(before) => merge(before, item, list.items),
        None => Ok((*item).clone()),
    };
    let mut common = new
        .iter()
        .map(|(step, _)| step)
        .filter(|step| before.contains_key(step))
        .peekable();
    let mut done: HashSet<&Step> = HashSet::new();
    let mut out = Vec::with_capacity(old.len() + new.len());
    let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
    loop {
        if let (Some((step, _)), Some((wanted, _))) = (olds.peek(), news.peek())
            && step != wanted
            && applied.contains(step)
            && common.peek().is_some_and(|next| *next != step)
        {
            // Both have it, but something else that both have comes first.
            olds.next();
            continue;
        }
        match olds.peek() {
            Some((step, item)) if !applied.contains(step) => {
                out.push((*item).clone());
                olds.next();
                continue;
            }
            Some((step, _)) if done.contains(step) => {
                olds.next();
            }
            _ => {}
        }
        let Some(next) = news.next() else {
            if olds.peek().is_none() {
                return Ok(Value::Array(out));
            }
            continue;
        };
        out.push(merged(next)?);
        done.insert(&next.0);
        common.next_if(|step| **step == next.0);
        olds.next_if(|(step, _)| *step == next.0);
    }
}

/// `value` without the fields of a set; nothing if nothing is left of it.
pub(super) fn without(value: &Value, set: &Set, schema: Schema) -> Option<Value> {
    match Parts::of(schema) {
        Parts::None => Some(value.clone()),
        Parts::Fields => {
            let kept = fields(Some(value))
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| {
                    let kept = part(value, set, &Step::field(name), field_schema(schema, name))?;
                    Some((name.clone(), kept))
                });
            let kept: Map<String, Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Parts::Items(list) => {
            let items = value.as_array().into_iter().flatten();
            let kept = items.filter_map(|item| match step(list, item) {
                Ok(step) => part(item, set, &step, list.items),
                // What has no place in the list can't be in the set.
                Err(_) => Some(item.clone()),
            });
            let kept: Vec<Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
    }
}

fn part(value: &Value, set: &Set, step: &Step, schema: Schema) -> Option<Value> {
    if set.has(step) {
        return None;
    }
    match set.below(step) {
        Some(below) => without(value, below, schema),
        None => Some(value.clone()),
    }
}
