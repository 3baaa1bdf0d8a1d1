//! What makes an object's [metadata][1] invalid when the object is replaced.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/

use super::{
    NameRule, Scope, annotations, label, managed_fields, of_any_object, owner_references,
    unqualified_finalizers,
};
use crate::field::{FieldError, FieldValue, Path, quoted};
use crate::types::ObjectMeta;

/// What is wrong with the metadata of an object that replaces `stored`, before the rules of its kind are looked at.
#[must_use]
pub fn before_update(metadata: &ObjectMeta, stored: &ObjectMeta, scope: Scope) -> Vec<FieldError> {
    let path = Path::root("metadata");
    let mut errors = of_any_object(metadata, scope, NameRule::PathSegment, &path);
    errors.extend(of_any_replacement(metadata, stored, &path));
    errors
}

/// What is wrong with the metadata, at `path`, of an object that replaces `stored`.
#[must_use]
pub fn update(metadata: &ObjectMeta, stored: &ObjectMeta, path: &Path) -> Vec<FieldError> {
    let mut errors = of_any_replacement(metadata, stored, path);
    errors.extend(unqualified_finalizers(metadata, path));
    errors
}

fn of_any_replacement(metadata: &ObjectMeta, stored: &ObjectMeta, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    errors.extend(new_finalizers(metadata, stored, &path.child("finalizers")));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    if text(&metadata.resource_version).is_empty() {
        let detail = "must be specified for an update";
        errors.push(FieldError::invalid(&path.child("resourceVersion"), "", detail));
    }
    let generation = metadata.generation.unwrap_or(0);
    if generation < stored.generation.unwrap_or(0) {
        let detail = "must not be decremented";
        errors.push(FieldError::invalid(&path.child("generation"), generation, detail));
    }
    for (name, new, old) in [
        ("name", &metadata.name, &stored.name),
        ("namespace", &metadata.namespace, &stored.namespace),
        ("uid", &metadata.uid, &stored.uid),
    ] {
        let (new, old) = (text(new), text(old));
        errors.extend((new != old).then(|| immutable(&path.child(name), FieldValue::Text(new))));
    }
    for (name, new, old) in [
        (
            "creationTimestamp",
            &metadata.creation_timestamp,
            &stored.creation_timestamp,
        ),
        (
            "deletionTimestamp",
            &metadata.deletion_timestamp,
            &stored.deletion_timestamp,
        ),
    ] {
        errors.extend((new != old).then(|| immutable(&path.child(name), value_or_null(new.as_ref()))));
    }
    let (new, old) = (
        metadata.deletion_grace_period_seconds,
        stored.deletion_grace_period_seconds,
    );
    let name = "deletionGracePeriodSeconds";
    errors.extend((new != old).then(|| immutable(&path.child(name), value_or_null(new.as_ref()))));

    let labels = metadata.labels.iter().flatten();
    errors.extend(labels.flat_map(|(key, value)| label(key, value, &path.child("labels"))));
    if let Some(all) = &metadata.annotations {
        errors.extend(annotations(all, &path.child("annotations")));
    }
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    errors.extend(owner_references(owners, &path.child("ownerReferences")));
    let entries = metadata.managed_fields.iter().flatten().enumerate();
    errors.extend(
        entries.flat_map(|(index, entry)| managed_fields(entry, &path.child("managedFields").index(index))),
    );
    errors
}

fn immutable(path: &Path, value: FieldValue) -> FieldError {
    FieldError::invalid(path, value, "field is immutable")
}

/// A pointer that points nowhere is shown as a text.
fn value_or_null(value: Option<&impl serde::Serialize>) -> FieldValue {
    value.map_or_else(|| "null".into(), FieldValue::json)
}

/// Nothing may hold on to an object that is being deleted already.
fn new_finalizers(metadata: &ObjectMeta, stored: &ObjectMeta, path: &Path) -> Option<FieldError> {
    stored.deletion_timestamp.as_ref()?;
    let held = stored.finalizers.as_deref().unwrap_or_default();
    let added: Vec<String> = metadata
        .finalizers
        .iter()
        .flatten()
        .filter(|finalizer| !held.contains(finalizer))
        .map(|finalizer| quoted(finalizer))
        .collect();
    let added_text = format!("[]string{{{}}}", added.join(", "));
    (!added.is_empty()).then(|| {
        FieldError::forbidden(
            path,
            format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added_text}"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(new: Value, stored: Value) -> Vec<String> {
        let read = |value| serde_json::from_value::<ObjectMeta>(value).unwrap();
        update(&read(new), &read(stored), &Path::root("metadata"))
            .iter()
            .map(FieldError::to_string)
            .collect()
    }

    fn stored() -> Value {
        json!({"name": "s", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 2,
               "creationTimestamp": "2024-01-02T03:04:05Z"})
    }

    #[test]
    fn what_identifies_an_object_cannot_be_changed() {
        for (field, value, expected) in [
            (
                "name",
                json!("t"),
                r#"metadata.name: Invalid value: "t": field is immutable"#,
            ),
            (
                "namespace",
                json!("m"),
                r#"metadata.namespace: Invalid value: "m": field is immutable"#,
            ),
            (
                "uid",
                json!("v"),
                r#"metadata.uid: Invalid value: "v": field is immutable"#,
            ),
            (
                "creationTimestamp",
                json!("2001-01-01T00:00:00Z"),
                r#"metadata.creationTimestamp: Invalid value: "2001-01-01T00:00:00Z": field is immutable"#,
            ),
            (
                "creationTimestamp",
                Value::Null,
                r#"metadata.creationTimestamp: Invalid value: "null": field is immutable"#,
            ),
            (
                "deletionTimestamp",
                json!("2001-01-01T00:00:00Z"),
                r#"metadata.deletionTimestamp: Invalid value: "2001-01-01T00:00:00Z": field is immutable"#,
            ),
            (
                "deletionGracePeriodSeconds",
                json!(30),
                "metadata.deletionGracePeriodSeconds: Invalid value: 30: field is immutable",
            ),
            (
                "generation",
                json!(1),
                "metadata.generation: Invalid value: 1: must not be decremented",
            ),
            (
                "resourceVersion",
                json!(""),
                r#"metadata.resourceVersion: Invalid value: "": must be specified for an update"#,
            ),
        ] {
            let mut new = stored();
            new[field] = value;
            assert_eq!(errors(new, stored()), [expected], "{field}");
        }
        assert_eq!(errors(stored(), stored()), [""; 0]);
    }

    #[test]
    fn an_object_that_is_being_deleted_gets_no_new_finalizers() {
        let mut old = stored();
        old["deletionTimestamp"] = json!("2024-01-02T03:04:05Z");
        old["finalizers"] = json!(["a.example/x", "b.example/y"]);
        let mut new = old.clone();
        new["finalizers"] = json!(["b.example/y"]);
        assert_eq!(errors(new.clone(), old.clone()), [""; 0]);
        new["finalizers"] = json!(["b.example/y", "c.example/z"]);
        assert_eq!(
            errors(new, old),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, \
                 found new finalizers []string{\"c.example/z\"}"
            ]
        );
    }

    #[test]
    fn what_may_change_follows_the_same_rules_as_when_the_object_was_created() {
        let mut new = stored();
        new["labels"] = json!({"-a": "b"});
        new["annotations"] = json!({"a b": "c"});
        new["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "K", "name": "n"}]);
        let found = errors(new.clone(), stored());
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("metadata.labels: ") && found[1].starts_with("metadata.annotations: "));
        assert_eq!(
            found[2],
            r#"metadata.ownerReferences.uid: Invalid value: "": must not be empty"#
        );
        let read = |value| serde_json::from_value::<ObjectMeta>(value).unwrap();
        let all = before_update(&read(new), &read(stored()), Scope::Namespaced);
        assert_eq!(all.len(), 2 * found.len(), "every check is made twice");
    }
}
