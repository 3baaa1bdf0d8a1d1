//! Who owns which field of an object, and [server-side apply][1], which merges by that.
//!
//! Every object notes in `metadata.managedFields` who set which of its fields. [`track`] keeps the notes when an
//! object is created, replaced or patched; [`apply`] merges a configuration into an object and refuses to change what
//! somebody else owns.
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/server-side-apply/

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;

use imagestream_api::field::is_printable;

use crate::errors;
use crate::kind::Kind;
use crate::metadata;
use crate::schema::Schema;

mod client_side;
mod conflict;
mod managers;
mod merge;
mod set;
mod typed;

use conflict::Conflict;
use managers::{Entry, Id, Managers, Operation, differ_in_times_only, is_reset};
use set::Set;
use typed::{Changes, compare, to_set};

/// Bytes that the name of a manager may have.
pub const MAX_MANAGER: usize = 128;
/// Who owns the fields of an object that was not tracked until somebody applied to it.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Who sets fields without a name.
const UNKNOWN: &str = "unknown";

/// A write, as far as it matters who owns what afterwards.
#[derive(Debug, Clone, Copy)]
pub struct Tracking<'a> {
    /// In whose name fields are set.
    pub manager: &'a str,
    /// What is written.
    pub kind: &'static Kind,
    /// Through which subresource; empty for the object itself.
    pub subresource: &'a str,
    /// When.
    pub now: Timestamp,
    /// An object of the kind with nothing set: what a new object is compared with. Fields that every object shows,
    /// such as an empty status, are nobody's as long as they are as they are here.
    pub empty: &'a Value,
}

impl Tracking<'_> {
    fn schema(&self) -> Schema {
        Schema::Object(self.kind.schema)
    }

    fn id(&self, manager: &str, operation: Operation) -> Id {
        let manager = if manager.is_empty() { UNKNOWN } else { manager };
        Id::new(manager, operation, &self.kind.api_version(), self.subresource)
    }

    fn entry(&self, fields: Set, time: Option<String>) -> Entry {
        Entry {
            fields,
            api_version: self.kind.api_version(),
            time,
        }
    }

    fn time(&self) -> String {
        metadata::time(self.now)
    }
}

/// The name in which a client sets fields if it gives none: the beginning of what it calls itself.
#[must_use]
pub fn default_manager(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or_default();
    let mut manager = String::new();
    for character in name.chars().filter(|character| is_printable(*character)) {
        if manager.len() + character.len_utf8() > MAX_MANAGER {
            break;
        }
        manager.push(character);
    }
    manager
}

/// Notes in `object`, which takes the place of `live` or is new, who set its fields: whoever differs from what was
/// there owns what is different.
///
/// An object that nobody tracked is not tracked from then on either. Entries that the client sends replace those of
/// `live`, unless it writes through a subresource or they make no sense; a single empty entry stops the tracking.
pub fn track(live: Option<&Value>, object: &mut Value, tracking: &Tracking<'_>) {
    let given = entries_of(object).cloned();
    set_entries(object, None);
    let Some(mut managers) = entries_before(live, given.as_ref(), tracking) else {
        return;
    };
    let noted = entries_of_option(live);
    match update(
        &mut managers,
        live.unwrap_or(tracking.empty),
        object,
        tracking.manager,
        tracking,
    ) {
        Ok(()) => set_entries(object, managers.to_json()),
        // An item without a place in its list, for example. The object is fine, only nobody can say whose it is.
        Err(_) => set_entries(object, noted.cloned()),
    }
    if let Some(live) = live {
        keep_times(live, object);
    }
}

/// The entries that hold before a write; `None` if there are to be none after it.
fn entries_before(live: Option<&Value>, given: Option<&Value>, tracking: &Tracking<'_>) -> Option<Managers> {
    let is_whole = tracking.subresource.is_empty();
    let managers = match given.filter(|_| is_whole) {
        Some(given) if is_reset(given) => Managers::default(),
        given => match Managers::from_json(given) {
            Ok(managers) if !managers.0.is_empty() => managers,
            // Clients that don't know of entries leave them out; those are kept.
            _ => Managers::from_json(entries_of_option(live)).unwrap_or_default(),
        },
    };
    (live.is_none() || !managers.0.is_empty()).then_some(managers)
}

/// Restores the times of the entries where nothing but times would differ from `live`, so that a write without
/// effect stays without effect.
pub fn keep_times(live: &Value, object: &mut Value) {
    let (Some(before), Some(after)) = (entries_of(live), entries_of(object)) else {
        return;
    };
    if before != after && differ_in_times_only(before, after) && is_same_but_entries(live, object) {
        let before = before.clone();
        set_entries(object, Some(before));
    }
}

/// The object with a configuration merged into it: what the manager applied before and does not apply any more is
/// gone, unless somebody else owns it too.
///
/// The result is not defaulted or validated. It has the new entries; see also [`keep_times`].
///
/// # Errors
/// 409 if somebody else owns a field that would change, unless `force`; 400 if the configuration is for another kind
/// or has entries itself; 500, as Kubernetes answers, if it does not fit the schema.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    tracking: &Tracking<'_>,
    force: bool,
) -> Result<Value, Box<Status>> {
    check_config(config, tracking)?;
    let mut empty = tracking.empty.clone();
    if let Value::Object(fields) = &mut empty {
        fields.insert("kind".into(), tracking.kind.kind.into());
        fields.insert("apiVersion".into(), tracking.kind.api_version().into());
    }
    let live = live.unwrap_or(&empty);
    let mut managers = Managers::from_json(entries_of(live))
        .map_err(|error| errors::untyped(format_args!("failed to decode managed fields: {error}")))?;
    if managers.0.is_empty() {
        update(&mut managers, &empty, live, BEFORE_FIRST_APPLY, tracking).map_err(|error| {
            errors::untyped(format_args!(
                "failed to create manager for existing fields: {error}"
            ))
        })?;
    }
    let id = tracking.id(tracking.manager, Operation::Apply);
    let failed = |error: String| Box::new(errors::untyped(error));
    let merged = merge::merge(live, config, tracking.schema())
        .map_err(|error| failed(format!("failed to merge config: {error}")))?;
    let set = to_set(config, tracking.schema()).map_err(failed)?;
    let last = managers
        .0
        .insert(id.clone(), tracking.entry(set.clone(), None))
        .filter(|last| last.api_version == tracking.kind.api_version());
    let mut object = prune(merged, &managers, last.as_ref(), tracking).map_err(failed)?;
    let changes = compare(live, &object, tracking.schema()).map_err(failed)?;
    let mut conflicts = take(&mut managers, &changes, Some(&id), tracking);
    if !force && tracking.manager == client_side::MANAGER {
        client_side::excuse(&mut conflicts, live, tracking);
    }
    if !force && !conflicts.is_empty() {
        return Err(conflict::status(&conflicts).into());
    }
    let fields = set.difference(&nobodys());
    managers.0.remove(&id);
    if !fields.is_empty() {
        let time = last
            .filter(|last| object == *live && last.fields == fields)
            .map_or_else(|| Some(tracking.time()), |last| last.time);
        managers.0.insert(id, tracking.entry(fields, time));
    }
    set_entries(&mut object, managers.to_json());
    if tracking.manager == client_side::MANAGER {
        client_side::renew(&mut object, config);
    }
    Ok(object)
}

fn check_config(config: &Value, tracking: &Tracking<'_>) -> Result<(), Box<Status>> {
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version != tracking.kind.api_version() || kind != tracking.kind.kind {
        let message = format!("invalid object type: {api_version}, Kind={kind}");
        return Err(errors::bad_request(message).into());
    }
    if entries_of(config).is_some_and(Value::is_array) {
        return Err(errors::bad_request("metadata.managedFields must be nil").into());
    }
    let wrong = typed::check(config, tracking.schema());
    let wrong = match wrong.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    Err(errors::untyped(format_args!(
        "failed to create typed patch object ({}/{}; {api_version}, Kind={kind}): {wrong}",
        metadata::text(config, "namespace"),
        metadata::text(config, "name"),
    ))
    .into())
}

/// What is left when everything is gone that the manager applied last time, does not apply now, and nobody owns.
fn prune(
    merged: Value,
    managers: &Managers,
    last: Option<&Entry>,
    tracking: &Tracking<'_>,
) -> Result<Value, String> {
    let Some(last) = last.map(|last| &last.fields).filter(|last| !last.is_empty()) else {
        return Ok(merged);
    };
    let schema = tracking.schema();
    let without = |set: &Set| merge::without(&merged, set, schema).unwrap_or_default();
    let all = to_set(&merged, schema)?;
    let version = tracking.kind.api_version();
    let entries = managers.0.values().filter(|entry| entry.api_version == version);
    let owned = entries.fold(Set::default(), |owned, entry| owned.union(&entry.fields));
    // First without all of it, then with what of that somebody owns, then with what was never the manager's. What is
    // inside an item that goes, goes too, whoever put it there.
    let left = to_set(&without(last), schema)?;
    let kept = to_set(&without(&all.difference(&left.union(&owned))), schema)?;
    Ok(without(&all.difference(&kept).intersection(last)))
}

/// Takes what changed from everybody but `taker`; returns from whom what is taken that still is there.
fn take(
    managers: &mut Managers,
    changes: &Changes,
    taker: Option<&Id>,
    tracking: &Tracking<'_>,
) -> Vec<Conflict> {
    let written = changes.written();
    let version = tracking.kind.api_version();
    let mut conflicts = Vec::new();
    managers.0.retain(|id, entry| {
        if Some(id) == taker {
            return true;
        }
        // There is no other version in which the fields could be named.
        if entry.api_version != version {
            return false;
        }
        let fields = entry.fields.intersection(&written);
        entry.fields = entry.fields.difference(&written).difference(&changes.removed);
        if !fields.is_empty() {
            conflicts.push(Conflict {
                owner: id.clone(),
                api_version: entry.api_version.clone(),
                fields,
            });
        }
        !entry.fields.is_empty()
    });
    conflicts
}

/// Gives `manager` everything in which `new` differs from `old`.
fn update(
    managers: &mut Managers,
    old: &Value,
    new: &Value,
    manager: &str,
    tracking: &Tracking<'_>,
) -> Result<(), String> {
    let changes = compare(old, new, tracking.schema())?;
    take(managers, &changes, None, tracking);
    let written = changes.written().difference(&nobodys());
    if !written.is_empty() {
        let id = tracking.id(manager, Operation::Update);
        let before = managers
            .0
            .get(&id)
            .map_or_else(Set::default, |entry| entry.fields.clone());
        let entry = tracking.entry(before.union(&written), Some(tracking.time()));
        managers.0.insert(id, entry);
    }
    managers.cap();
    Ok(())
}

/// Fields that nobody owns, because the server sets them or they say which object it is.
fn nobodys() -> Set {
    Set::of(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
}

fn entries_of(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

fn entries_of_option(object: Option<&Value>) -> Option<&Value> {
    object.and_then(entries_of)
}

fn set_entries(object: &mut Value, entries: Option<Value>) {
    let Some(metadata) = metadata::of(object) else {
        return;
    };
    match entries {
        Some(entries) => metadata.insert("managedFields".into(), entries),
        None => metadata.remove("managedFields"),
    };
}

/// Whether two objects differ in nothing but their entries. What is empty is as good as missing.
fn is_same_but_entries(one: &Value, other: &Value) -> bool {
    fn is_same(one: Option<&Value>, other: Option<&Value>, depth: usize) -> bool {
        let is_empty = |value: Option<&Value>| match value {
            None | Some(Value::Null) => true,
            Some(Value::Object(fields)) => fields.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            _ => false,
        };
        match (one, other) {
            (Some(Value::Object(fields)), Some(Value::Object(others))) => {
                let mut names = fields.keys().chain(others.keys());
                names.all(|name| {
                    (depth == 1 && name == "managedFields")
                        || is_same(fields.get(name), others.get(name), depth + 1)
                })
            }
            _ => one == other || (is_empty(one) && is_empty(other)),
        }
    }
    is_same(Some(one), Some(other), 0)
}

#[cfg(test)]
mod tests;
