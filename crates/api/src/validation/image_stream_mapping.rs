//! What makes an ImageStreamMapping invalid.

use super::image::image_at;
use super::metadata::{self, NameRule, Scope};
use super::names;
use crate::field::{FieldError, Path};
use crate::types::ImageStreamMapping;

/// What is wrong with a mapping that is created.
#[must_use]
pub fn image_stream_mapping(mapping: &ImageStreamMapping) -> Vec<FieldError> {
    let path = Path::root("metadata");
    let mut errors = metadata::create(&mapping.metadata, Scope::Namespaced, NameRule::PathSegment, &path);
    if mapping.metadata.name.as_deref().unwrap_or_default().is_empty() {
        // Streams could once be named by either.
        errors.push(FieldError::required(&Path::root("name"), ""));
        errors.push(FieldError::required(&Path::root("dockerImageRepository"), ""));
    }
    let namespace = mapping.metadata.namespace.as_deref().unwrap_or_default();
    errors.extend(
        names::namespace(namespace)
            .into_iter()
            .map(|reason| FieldError::invalid(&path.child("namespace"), namespace, reason)),
    );
    if mapping.tag.is_empty() {
        errors.push(FieldError::required(&Path::root("tag"), ""));
    }
    errors.extend(image_at(&mapping.image, Some(&Path::root("image"))));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(change: &dyn Fn(&mut Value)) -> Vec<String> {
        let mut mapping = json!({
            "metadata": {"name": "s", "namespace": "n"}, "tag": "t",
            "image": {"metadata": {"name": "sha256:a"}, "dockerImageReference": "a/b@sha256"}
        });
        mapping["image"]["dockerImageReference"] = json!("a/b:c");
        change(&mut mapping);
        image_stream_mapping(&serde_json::from_value(mapping).unwrap())
            .iter()
            .map(FieldError::to_string)
            .collect()
    }

    #[test]
    fn a_mapping_names_a_stream_a_tag_and_a_valid_image() {
        assert_eq!(errors(&|_| ()), [""; 0]);
        assert_eq!(
            errors(&|mapping| mapping["metadata"]["name"] = json!("")),
            [
                "metadata.name: Required value: name or generateName is required",
                "name: Required value",
                "dockerImageRepository: Required value",
            ]
        );
        assert_eq!(
            errors(&|mapping| mapping["tag"] = json!("")),
            ["tag: Required value"]
        );
        assert_eq!(
            errors(&|mapping| mapping["image"]["metadata"] = json!({})),
            ["image.metadata.name: Required value: name or generateName is required"]
        );
        assert_eq!(
            errors(&|mapping| mapping["image"]["metadata"]["namespace"] = json!("n")),
            ["image.metadata.namespace: Forbidden: not allowed on this type"]
        );
        assert_eq!(
            errors(&|mapping| mapping["image"]["dockerImageReference"] = json!("")),
            ["image.dockerImageReference: Required value"]
        );
        assert_eq!(
            errors(&|mapping| mapping["image"]["dockerImageReference"] = json!("BAD NAME")),
            [r#"image.dockerImageReference: Invalid value: "BAD NAME": invalid reference format"#]
        );
    }

    #[test]
    fn a_bad_namespace_is_told_twice() {
        let found = errors(&|mapping| mapping["metadata"]["namespace"] = json!("!$"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], found[1]);
        assert!(
            found[0].starts_with(r#"metadata.namespace: Invalid value: "!$": a lowercase RFC 1123 label"#)
        );
    }
}
