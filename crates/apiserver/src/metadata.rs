//! The metadata that the server, not the client, decides about: [what is set on every object][1], and what of it a
//! client cannot change.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Map, Value};

use crate::endpoint::Request;
use crate::errors;
use crate::kind::Resource;

/// What a client cannot say of a new object.
const NOT_THE_CLIENTS: [&str; 5] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];
/// The characters of generated suffixes: no vowels, so that no words come out.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// What remains for the prefix of a generated name.
const MAX_PREFIX: usize = 58;

/// The time that Go takes for none: the beginning of the year 1, in seconds since the epoch.
pub(crate) const ZERO_SECONDS: i64 = -62_135_596_800;

/// An object's metadata, created if there is none.
pub fn of(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let fields = object.as_object_mut()?;
    let metadata = fields
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut()
}

/// A text of an object's metadata; empty if it is not there.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    let found = object.get("metadata").and_then(|metadata| metadata.get(field));
    found.and_then(Value::as_str).unwrap_or_default()
}

/// A time as objects hold it: RFC 3339, UTC, whole seconds.
pub fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Clears what a client cannot say of a new object, and sees to it that it is in the namespace of the request.
///
/// # Errors
/// 400 if it names another namespace.
pub fn accept_new(object: &mut Value, resource: &Resource, request: &Request) -> Result<(), Box<Status>> {
    let Some(metadata) = of(object) else {
        return Ok(());
    };
    for field in NOT_THE_CLIENTS {
        metadata.remove(field);
    }
    if !resource.namespaced {
        return Ok(());
    }
    let namespace = &request.info.namespace;
    match metadata
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        "" => {
            metadata.insert("namespace".into(), namespace.as_str().into());
        }
        same if same == namespace => {}
        _ => {
            let message =
                "the namespace of the provided object does not match the namespace sent on the request";
            return Err(errors::bad_request(message).into());
        }
    }
    Ok(())
}

/// Gives a new object its uid and the time of its creation.
pub fn identify(object: &mut Value, now: Timestamp) {
    if let Some(metadata) = of(object) {
        metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
        metadata.insert("creationTimestamp".into(), time(now).into());
    }
}

/// Makes a name of `generateName` if there is no name. Whether one was made.
pub fn generate_name(object: &mut Value) -> bool {
    let prefix = text(object, "generateName").to_owned();
    if prefix.is_empty() || !text(object, "name").is_empty() {
        return false;
    }
    let kept = (0..=MAX_PREFIX.min(prefix.len()))
        .rev()
        .find(|end| prefix.is_char_boundary(*end))
        .unwrap_or(0);
    let random = uuid::Uuid::new_v4();
    let suffix: String = random
        .as_bytes()
        .iter()
        .take(SUFFIX_LENGTH)
        .map(|byte| char::from(SUFFIX_ALPHABET[usize::from(*byte) % SUFFIX_ALPHABET.len()]))
        .collect();
    if let Some(metadata) = of(object) {
        metadata.insert("name".into(), format!("{}{suffix}", &prefix[..kept]).into());
    }
    true
}

/// The error for an object whose resource generates no names, asked for once everything else is valid.
///
/// # Errors
/// 500 if the object has a `generateName` and no name.
pub fn refuse_generated_name(object: &Value) -> Result<(), Box<Status>> {
    if text(object, "name").is_empty() && !text(object, "generateName").is_empty() {
        return Err(errors::internal_error("metadata.name was not generated").into());
    }
    Ok(())
}

/// Checks that an object that is to replace another names what the URL names, and fills in what it leaves out.
///
/// # Errors
/// 400 if it names something else.
pub fn accept_replacement(
    object: &mut Value,
    resource: &Resource,
    request: &Request,
) -> Result<(), Box<Status>> {
    let Some(metadata) = of(object) else {
        return Ok(());
    };
    let given = |metadata: &Map<String, Value>, field: &str| {
        metadata
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let name = &request.info.name;
    match given(metadata, "name") {
        named if named.is_empty() => {
            metadata.insert("name".into(), name.as_str().into());
        }
        named if named != *name => {
            let message =
                format!("the name of the object ({named}) does not match the name on the URL ({name})");
            return Err(errors::bad_request(message).into());
        }
        _ => {}
    }
    if !resource.namespaced {
        return Ok(());
    }
    let namespace = &request.info.namespace;
    match given(metadata, "namespace") {
        named if named.is_empty() => {
            metadata.insert("namespace".into(), namespace.as_str().into());
        }
        named if named != *namespace => {
            let message = format!(
                "the namespace of the object ({named}) does not match the namespace on the request ({namespace})"
            );
            return Err(errors::bad_request(message).into());
        }
        _ => {}
    }
    Ok(())
}

/// Puts into a replacement what only the server changes: as it is in the stored object. What would begin the end of an
/// object is left for validation to refuse, as is another uid.
pub fn keep_stored(object: &mut Value, stored: &Value) {
    let kept = stored.get("metadata").and_then(Value::as_object);
    let Some(metadata) = of(object) else {
        return;
    };
    let kept = |field: &str| kept?.get(field).filter(|value| !value.is_null());
    metadata.remove("selfLink");
    for field in ["creationTimestamp", "generation"] {
        match kept(field) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
    if let Some(value) = kept("deletionTimestamp") {
        metadata.insert("deletionTimestamp".into(), value.clone());
    }
    for field in ["uid", "deletionGracePeriodSeconds"] {
        let is_given = metadata
            .get(field)
            .is_some_and(|value| !value.is_null() && value.as_str() != Some(""));
        if let (false, Some(value)) = (is_given, kept(field)) {
            metadata.insert(field.into(), value.clone());
        }
    }
}

/// Notes that an object is to go as soon as nothing holds it.
pub fn mark_deleted(object: &mut Value, now: Timestamp) {
    let Some(metadata) = of(object) else {
        return;
    };
    if metadata.contains_key("deletionTimestamp") {
        return;
    }
    metadata.insert("deletionTimestamp".into(), time(now).into());
    metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
        // Of kinds that do not count it, it is what the client made it.
        metadata.insert("generation".into(), generation.saturating_add(1).into());
    }
}

/// Removes empty maps and lists of metadata that are never written: `labels: {}` is no labels.
pub fn tidy(object: &mut Value) {
    let Some(metadata) = of(object) else {
        return;
    };
    metadata.retain(|field, value| {
        let empty = match value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Number(number) => field == "generation" && number.as_i64() == Some(0),
            Value::Bool(_) => false,
        };
        !empty
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn generated_names_have_a_suffix_without_vowels_and_fit() {
        let mut object = json!({"metadata": {"generateName": "x".repeat(100)}});
        assert!(generate_name(&mut object));
        let name = text(&object, "name");
        assert_eq!(name.len(), MAX_PREFIX + SUFFIX_LENGTH);
        assert!(
            name[MAX_PREFIX..]
                .bytes()
                .all(|byte| SUFFIX_ALPHABET.contains(&byte))
        );
        let mut named = json!({"metadata": {"generateName": "x", "name": "n"}});
        assert!(!generate_name(&mut named));
        assert_eq!(text(&named, "name"), "n");
    }

    #[test]
    fn a_generation_that_cannot_grow_does_not_keep_an_object_from_its_end() {
        let mut object = json!({"metadata": {"generation": i64::MAX}});
        mark_deleted(&mut object, Timestamp::UNIX_EPOCH);
        assert_eq!(object["metadata"]["generation"], i64::MAX);
        assert!(!text(&object, "deletionTimestamp").is_empty());
    }

    #[test]
    fn a_replacement_keeps_what_only_the_server_changes() {
        let stored = json!({"metadata": {"uid": "u", "creationTimestamp": "t", "generation": 3}});
        let mut object = json!({"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 9,
            "selfLink": "/x"}});
        keep_stored(&mut object, &stored);
        assert_eq!(
            object,
            json!({"metadata": {"uid": "u", "creationTimestamp": "t", "generation": 3}})
        );
        let mut other = json!({"metadata": {"uid": "other"}});
        keep_stored(&mut other, &stored);
        assert_eq!(text(&other, "uid"), "other");
    }

    #[test]
    fn a_replacement_cannot_undo_a_deletion_nor_hide_that_it_would_begin_one() {
        let deleted = json!({"metadata": {"deletionTimestamp": "t", "deletionGracePeriodSeconds": 0}});
        for given in [
            json!({"metadata": {}}),
            json!({"metadata": {"deletionTimestamp": null, "deletionGracePeriodSeconds": null}}),
            json!({"metadata": {"deletionTimestamp": "later"}}),
        ] {
            let mut object = given;
            keep_stored(&mut object, &deleted);
            assert_eq!(object, deleted);
        }
        let given = json!({"metadata": {"deletionTimestamp": "t", "deletionGracePeriodSeconds": 5}});
        let mut object = given.clone();
        keep_stored(&mut object, &json!({"metadata": {}}));
        assert_eq!(object, given, "validation tells what is wrong with it");
    }
}
