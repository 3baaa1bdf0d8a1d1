//! What makes an ImageStreamTag invalid.

use super::accepted::{Accepted, is_insecure};
use super::metadata::{self, NameRule, Scope};
use super::tag::tag_reference;
use crate::allowed_registries::AllowedRegistries;
use crate::field::{FieldError, Path};
use crate::types::{ImageStreamTag, ObjectMeta, TagReference};

/// What is wrong with a stream tag that is created.
#[must_use]
pub fn image_stream_tag(object: &ImageStreamTag, registries: &AllowedRegistries) -> Vec<FieldError> {
    let path = Path::root("metadata");
    let mut errors = metadata::create(&object.metadata, Scope::Namespaced, NameRule::PathSegment, &path);
    errors.extend(tag(object, &Accepted::new(registries)));
    errors
}

/// What is wrong with a stream tag that replaces `stored`, the view of the tag as it is.
///
/// What a client cannot change is expected to be copied from `stored` before.
#[must_use]
pub fn image_stream_tag_update(
    object: &ImageStreamTag,
    stored: &ImageStreamTag,
    registries: &AllowedRegistries,
) -> Vec<FieldError> {
    let path = Path::root("metadata");
    let mut errors = metadata::before_update(&object.metadata, &stored.metadata, Scope::Namespaced);
    errors.extend(metadata::update(&object.metadata, &stored.metadata, &path));
    let mut accepted = Accepted::new(registries);
    if let Some(tag) = &stored.tag {
        accepted = accepted.with_tag(tag);
    }
    errors.extend(tag(object, &accepted));
    let same = is_same_metadata(&object.metadata, &stored.metadata, Annotations::MayDiffer)
        && object.conditions == stored.conditions
        && object.image == stored.image;
    if !same {
        let detail = "may not update fields other than metadata.annotations";
        errors.push(FieldError::invalid(&path, "", detail));
    }
    errors
}

fn tag(object: &ImageStreamTag, accepted: &Accepted<'_>) -> Vec<FieldError> {
    let Some(tag) = &object.tag else {
        return Vec::new();
    };
    let path = Path::root("tag");
    let mut errors = tag_reference(tag, is_insecure(&object.metadata), accepted, &path);
    if tag.annotations.is_some() && !same_annotations(tag, &object.metadata) {
        let detail = "tag annotations must not be provided or must be equal to the object meta annotations";
        errors.push(FieldError::invalid(&path.child("annotations"), "<map>", detail));
    }
    errors
}

fn same_annotations(tag: &TagReference, metadata: &ObjectMeta) -> bool {
    tag.annotations
        .iter()
        .flatten()
        .eq(metadata.annotations.iter().flatten())
}

/// Whether annotations count when metadata is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Annotations {
    MayDiffer,
    MustBeEqual,
}

/// Whether two objects have the same metadata, apart from what the server keeps itself: revision, generation and
/// who manages which field. Nothing and empty are the same.
pub(super) fn is_same_metadata(one: &ObjectMeta, other: &ObjectMeta, annotations: Annotations) -> bool {
    let text = |one: &Option<String>, other: &Option<String>| {
        one.as_deref().unwrap_or_default() == other.as_deref().unwrap_or_default()
    };
    let same_annotations = || {
        one.annotations
            .iter()
            .flatten()
            .eq(other.annotations.iter().flatten())
    };
    text(&one.name, &other.name)
        && text(&one.generate_name, &other.generate_name)
        && text(&one.namespace, &other.namespace)
        && text(&one.uid, &other.uid)
        && text(&one.self_link, &other.self_link)
        && one.creation_timestamp == other.creation_timestamp
        && one.deletion_timestamp == other.deletion_timestamp
        && one.deletion_grace_period_seconds == other.deletion_grace_period_seconds
        && one.labels.iter().flatten().eq(other.labels.iter().flatten())
        && (annotations == Annotations::MayDiffer || same_annotations())
        && one
            .owner_references
            .iter()
            .flatten()
            .eq(other.owner_references.iter().flatten())
        && one
            .finalizers
            .iter()
            .flatten()
            .eq(other.finalizers.iter().flatten())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::allowed_registries::RegistryLocation;
    use crate::defaults::{self, ImportMode};

    fn object(tag: &Value) -> ImageStreamTag {
        let mut object: ImageStreamTag = serde_json::from_value(json!({
            "metadata": {"name": "s:t", "namespace": "n", "uid": "u", "resourceVersion": "7"}, "tag": tag
        }))
        .unwrap();
        defaults::image_stream_tag(&mut object, ImportMode::Legacy);
        object
    }

    fn allowed(pattern: &str, insecure: bool) -> AllowedRegistries {
        let domain_name = pattern.to_owned();
        AllowedRegistries::new(&[RegistryLocation {
            domain_name,
            insecure,
        }])
        .unwrap()
    }

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(FieldError::to_string).collect()
    }

    fn docker(name: &str) -> Value {
        json!({"name": "t", "from": {"kind": "DockerImage", "name": name}})
    }

    #[test]
    fn annotations_of_tag_and_object_agree() {
        let differ = "tag.annotations: Invalid value: \"<map>\": tag annotations must not be provided or must be equal \
                      to the object meta annotations";
        for (on_tag, on_object, expected) in [
            (json!({"one": "three"}), json!({"one": "two"}), Some(differ)),
            (json!({"one": "two"}), Value::Null, Some(differ)),
            (json!({"one": "two"}), json!({"one": "two"}), None),
            (Value::Null, json!({"one": "two"}), None),
            (json!({}), Value::Null, None),
        ] {
            let mut tag = docker("a/b:c");
            tag["annotations"] = on_tag;
            let mut object = object(&tag);
            object.metadata.annotations = serde_json::from_value(on_object).unwrap();
            let found = texts(&image_stream_tag(&object, &AllowedRegistries::all()));
            assert_eq!(found, Vec::from_iter(expected), "{:?}", object.tag);
        }
    }

    #[test]
    fn a_stream_tag_without_tag_is_valid() {
        assert_eq!(
            image_stream_tag(&object(&Value::Null), &AllowedRegistries::all()),
            []
        );
    }

    #[test]
    fn a_new_tag_refers_to_an_allowed_registry() {
        let mut insecure = docker("example.com/foo/bar:baz");
        insecure["importPolicy"] = json!({"insecure": true});
        let integrated = || {
            allowed("example.com", false)
                .with_integrated("172.30.30.30:5000")
                .unwrap()
        };
        for (registries, tag, expected) in [
            (
                allowed("example.com:*", false),
                docker("foo/bar:biz"),
                Some(r#"registry "docker.io:443" not allowed by whitelist: "example.com:*""#),
            ),
            (
                allowed("example.com", true),
                docker("example.com/foo/bar:baz"),
                Some(r#"registry "example.com" not allowed by whitelist: "example.com:80""#),
            ),
            (allowed("example.com", false), insecure, None),
            (integrated(), docker("172.30.30.30:5000/foo/bar:baz"), None),
        ] {
            let found = texts(&image_stream_tag(&object(&tag), &registries));
            let expected = expected.map(|text| format!("tag.from.name: Forbidden: {text}"));
            assert_eq!(found, Vec::from_iter(expected), "{tag}");
        }
    }

    #[test]
    fn the_repository_of_the_stored_tag_stays_accepted() {
        let mut insecure = docker("bar:biz");
        insecure["importPolicy"] = json!({"insecure": true});
        let other_kind = json!({"name": "t", "from": {"kind": "ImageStreamTag", "name": "bar:biz"}});
        for (pattern, old, new, expected) in [
            (
                "example.com:*",
                docker("foo/bar:biz"),
                docker("foo/bar:biz"),
                None,
            ),
            (
                "example.com:*",
                docker("foo/bar:biz"),
                docker("foo/bar:baz"),
                None,
            ),
            (
                "example.com",
                other_kind,
                insecure,
                Some(
                    r#"tag.from.name: Forbidden: registry "docker.io" not allowed by whitelist: "example.com:443""#,
                ),
            ),
        ] {
            let errors = image_stream_tag_update(&object(&new), &object(&old), &allowed(pattern, false));
            assert_eq!(
                texts(&errors),
                Vec::from_iter(expected.map(str::to_owned)),
                "{new}"
            );
        }
    }

    #[test]
    fn an_update_changes_the_tag_and_annotations_only() {
        let stored = object(&docker("a/b:c"));
        let refused =
            ["metadata: Invalid value: \"\": may not update fields other than metadata.annotations"];
        let errors_of = |change: &dyn Fn(&mut ImageStreamTag)| {
            let mut object = stored.clone();
            change(&mut object);
            texts(&image_stream_tag_update(
                &object,
                &stored,
                &AllowedRegistries::all(),
            ))
        };
        let labels = || Some([("x".to_owned(), "y".to_owned())].into());
        assert_eq!(errors_of(&|object| object.metadata.labels = labels()), refused);
        assert_eq!(
            errors_of(&|object| object.image.docker_image_reference = "x".into()),
            refused
        );
        assert_eq!(
            errors_of(&|object| object.metadata.annotations = labels()),
            [""; 0]
        );
        assert_eq!(errors_of(&|object| object.generation = 9), [""; 0]);
        assert_eq!(errors_of(&|object| object.lookup_policy.local = true), [""; 0]);
        assert_eq!(errors_of(&|object| object.tag = None), [""; 0]);
    }
}
