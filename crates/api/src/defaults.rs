//! What the API fills in before anything else looks at an object.

use crate::reference::ImageReference;
use crate::types::{
    ImageStream, ImageStreamImport, ImageStreamTag, ImageTag, LocalObjectReference, TagImportPolicy,
    TagReference, TagReferencePolicy,
};

/// How images are imported when a request does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ImportMode {
    /// Of a manifest list, the member for one platform.
    #[default]
    Legacy,
    /// A manifest list as it is, and all its members.
    PreserveOriginal,
}

impl ImportMode {
    /// The mode as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "Legacy",
            Self::PreserveOriginal => "PreserveOriginal",
        }
    }

    /// The mode that the API writes like this; the empty string is `Legacy`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Legacy" => Some(Self::Legacy),
            "PreserveOriginal" => Some(Self::PreserveOriginal),
            _ => None,
        }
    }
}

/// Defaults an import and the stream inside its status.
pub fn image_stream_import(import: &mut ImageStreamImport, mode: ImportMode) {
    for image in &mut import.spec.images {
        if image.to.is_none() {
            image.to = default_target(image.from.name.as_deref().unwrap_or_default());
        }
        policies(&mut image.import_policy, &mut image.reference_policy, mode);
    }
    if let Some(repository) = &mut import.spec.repository {
        policies(
            &mut repository.import_policy,
            &mut repository.reference_policy,
            mode,
        );
    }
    if let Some(stream) = &mut import.status.import {
        image_stream(stream, mode);
    }
}

/// Defaults the tags of a stream.
pub fn image_stream(stream: &mut ImageStream, mode: ImportMode) {
    for tag in stream.spec.tags.values_mut() {
        tag_reference(tag, mode);
    }
}

/// Defaults the tag of a stream tag.
pub fn image_stream_tag(object: &mut ImageStreamTag, mode: ImportMode) {
    if let Some(tag) = &mut object.tag {
        tag_reference(tag, mode);
    }
}

/// Defaults the spec of an image tag.
pub fn image_tag(object: &mut ImageTag, mode: ImportMode) {
    if let Some(tag) = &mut object.spec {
        tag_reference(tag, mode);
    }
}

fn tag_reference(tag: &mut TagReference, mode: ImportMode) {
    policies(&mut tag.import_policy, &mut tag.reference_policy, mode);
}

fn policies(import: &mut TagImportPolicy, reference: &mut TagReferencePolicy, mode: ImportMode) {
    if import.import_mode.is_empty() {
        mode.as_str().clone_into(&mut import.import_mode);
    }
    if reference.policy_type.is_empty() {
        "Source".clone_into(&mut reference.policy_type);
    }
}

/// The tag in the stream for an image whose reference has a tag.
fn default_target(from: &str) -> Option<LocalObjectReference> {
    let reference = ImageReference::parse(from).ok()?;
    (!reference.tag.is_empty()).then_some(LocalObjectReference { name: reference.tag })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_target_tag_is_that_of_the_reference_if_it_has_one() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (from, to) in [
            ("foo:v1".to_owned(), Some("v1")),
            ("foo".to_owned(), None),
            (format!("foo@{digest}"), None),
            (format!("foo:v1@{digest}"), Some("v1")),
            ("*".to_owned(), None),
            ("quay.io:443".to_owned(), None),
        ] {
            assert_eq!(default_target(&from).map(|to| to.name).as_deref(), to, "{from}");
        }
    }

    #[test]
    fn policies_are_filled_in_where_they_are_empty_and_kept_where_they_are_not() {
        let mut import: ImageStreamImport = serde_json::from_value(json!({
            "spec": {
                "images": [{"from": {"name": "a:b"}, "to": {"name": "c"}},
                           {"importPolicy": {"importMode": "Legacy"}, "referencePolicy": {"type": "Local"}}],
                "repository": {}
            },
            "status": {"import": {"spec": {"tags": [{"name": "t"}]}}}
        }))
        .unwrap();
        image_stream_import(&mut import, ImportMode::PreserveOriginal);
        let filled = serde_json::to_value(&import).unwrap();
        let (preserve, source) = (
            json!({"importMode": "PreserveOriginal"}),
            json!({"type": "Source"}),
        );
        assert_eq!(filled["spec"]["images"][0]["importPolicy"], preserve);
        assert_eq!(filled["spec"]["images"][0]["to"], json!({"name": "c"}));
        assert_eq!(
            filled["spec"]["images"][1]["importPolicy"],
            json!({"importMode": "Legacy"})
        );
        assert_eq!(
            filled["spec"]["images"][1]["referencePolicy"],
            json!({"type": "Local"})
        );
        assert_eq!(filled["spec"]["repository"]["importPolicy"], preserve);
        assert_eq!(filled["spec"]["repository"]["referencePolicy"], source);
        assert_eq!(
            filled["status"]["import"]["spec"]["tags"][0]["importPolicy"],
            preserve
        );
    }
}
