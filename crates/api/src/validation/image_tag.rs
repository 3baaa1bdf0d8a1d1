//! What makes an ImageTag invalid.

use super::accepted::{Accepted, is_insecure};
use super::image_stream_tag::{Annotations, is_same_metadata};
use super::metadata::{self, NameRule, Scope};
use super::tag::tag_reference;
use crate::allowed_registries::AllowedRegistries;
use crate::field::{FieldError, Path};
use crate::names::StreamTag;
use crate::types::ImageTag;

/// What is wrong with an image tag that is created.
#[must_use]
pub fn image_tag(object: &ImageTag, registries: &AllowedRegistries) -> Vec<FieldError> {
    let path = Path::root("metadata");
    let mut errors = metadata::create(&object.metadata, Scope::Namespaced, NameRule::PathSegment, &path);
    if object.spec.is_none() {
        let detail = "spec is a required field during creation";
        errors.push(FieldError::required(&Path::root("spec"), detail));
    }
    errors.extend(spec(object, &Accepted::new(registries)));
    errors
}

/// What is wrong with an image tag that replaces `stored`, the view of the tag as it is. Without spec it removes it.
#[must_use]
pub fn image_tag_update(
    object: &ImageTag,
    stored: &ImageTag,
    registries: &AllowedRegistries,
) -> Vec<FieldError> {
    let path = Path::root("metadata");
    let mut errors = metadata::before_update(&object.metadata, &stored.metadata, Scope::Namespaced);
    errors.extend(metadata::update(&object.metadata, &stored.metadata, &path));
    let mut accepted = Accepted::new(registries);
    if let Some(tag) = &stored.spec {
        accepted = accepted.with_tag(tag);
    }
    errors.extend(spec(object, &accepted));
    let detail = "may not update fields other than spec";
    if !is_same_metadata(&object.metadata, &stored.metadata, Annotations::MustBeEqual) {
        errors.push(FieldError::invalid(&path, "", detail));
    }
    if object.status != stored.status {
        errors.push(FieldError::invalid(&Path::root("status"), "", detail));
    }
    errors
}

fn spec(object: &ImageTag, accepted: &Accepted<'_>) -> Vec<FieldError> {
    let Some(tag) = &object.spec else {
        return Vec::new();
    };
    let path = Path::root("spec");
    let mut errors = Vec::new();
    let name = StreamTag::split(object.metadata.name.as_deref().unwrap_or_default());
    if !name.has_tag || name.tag != tag.name {
        let detail = "must match image tag name";
        errors.push(FieldError::invalid(
            &path.child("name"),
            tag.name.as_str(),
            detail,
        ));
    }
    errors.extend(tag_reference(tag, is_insecure(&object.metadata), accepted, &path));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::allowed_registries::RegistryLocation;
    use crate::defaults::{self, ImportMode};

    fn object(name: &str, spec: &Value) -> ImageTag {
        let mut object: ImageTag = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "n", "uid": "u", "resourceVersion": "7"},
            "spec": spec,
            "status": {"tag": "bar", "items": [{"image": "sha256:a", "dockerImageReference": "a/b", "generation": 1}]}
        }))
        .unwrap();
        defaults::image_tag(&mut object, ImportMode::Legacy);
        object
    }

    fn docker(name: &str) -> Value {
        json!({"name": "bar", "from": {"kind": "DockerImage", "name": name}})
    }

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(FieldError::to_string).collect()
    }

    #[test]
    fn a_new_image_tag_has_a_spec_of_its_own_name() {
        let mismatch =
            |name: &str| format!("spec.name: Invalid value: \"{name}\": must match image tag name");
        for (name, spec, expected) in [
            ("foo:bar", docker("a/b"), None),
            ("foo:", json!({"name": "latest"}), None),
            (
                "foo:bar",
                Value::Null,
                Some("spec: Required value: spec is a required field during creation".to_owned()),
            ),
            ("foo:bar", json!({"name": "baz"}), Some(mismatch("baz"))),
            ("foo:bar", json!({}), Some(mismatch(""))),
            ("foo", json!({"name": "latest"}), Some(mismatch("latest"))),
            (
                "foo:bar",
                docker("A//b"),
                Some("spec.from.name: Invalid value: \"A//b\": invalid reference format".into()),
            ),
        ] {
            let found = texts(&image_tag(&object(name, &spec), &AllowedRegistries::all()));
            assert_eq!(found, Vec::from_iter(expected), "{name} {spec}");
        }
    }

    #[test]
    fn an_update_changes_the_spec_only() {
        let stored = object("foo:bar", &docker("a/b"));
        let errors_of = |change: &dyn Fn(&mut ImageTag)| {
            let mut object = stored.clone();
            change(&mut object);
            texts(&image_tag_update(&object, &stored, &AllowedRegistries::all()))
        };
        let some = || Some([("x".to_owned(), "y".to_owned())].into());
        let metadata = ["metadata: Invalid value: \"\": may not update fields other than spec"];
        let status = ["status: Invalid value: \"\": may not update fields other than spec"];
        assert_eq!(errors_of(&|_| ()), [""; 0]);
        assert_eq!(errors_of(&|object| object.spec = None), [""; 0]);
        assert_eq!(
            errors_of(&|object| object.image = Some(crate::types::Image::default())),
            [""; 0]
        );
        assert_eq!(errors_of(&|object| object.metadata.labels = some()), metadata);
        assert_eq!(
            errors_of(&|object| object.metadata.annotations = some()),
            metadata
        );
        assert_eq!(
            errors_of(&|object| object.metadata.managed_fields = Some(Vec::new())),
            [""; 0]
        );
        assert_eq!(errors_of(&|object| object.status = None), status);
        assert_eq!(
            errors_of(&|object| object.status.as_mut().unwrap().items.clear()),
            status
        );
    }

    #[test]
    fn a_new_uid_is_refused_twice_and_as_a_change() {
        let stored = object("foo:bar", &docker("a/b"));
        let mut changed = stored.clone();
        changed.metadata.uid = Some("v".into());
        let immutable = "metadata.uid: Invalid value: \"v\": field is immutable";
        assert_eq!(
            texts(&image_tag_update(&changed, &stored, &AllowedRegistries::all())),
            [
                immutable,
                immutable,
                "metadata: Invalid value: \"\": may not update fields other than spec"
            ]
        );
    }

    #[test]
    fn the_repository_of_the_stored_tag_stays_accepted() {
        let registries = AllowedRegistries::new(&[RegistryLocation {
            domain_name: "example.com".into(),
            insecure: false,
        }])
        .unwrap();
        let stored = object("foo:bar", &docker("foo/bar:biz"));
        let errors_of = |reference: &str| {
            texts(&image_tag_update(
                &object("foo:bar", &docker(reference)),
                &stored,
                &registries,
            ))
        };
        assert_eq!(errors_of("foo/bar:baz"), [""; 0]);
        assert_eq!(
            errors_of("foo/other"),
            [
                r#"spec.from.name: Forbidden: registry "docker.io:443" not allowed by whitelist: "example.com:443""#
            ]
        );
    }
}
