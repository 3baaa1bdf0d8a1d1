//! What makes a tag of a stream's spec invalid, wherever it stands.

use super::accepted::{Accepted, transport};
use crate::defaults::ImportMode;
use crate::field::{FieldError, Path};
use crate::reference::ImageReference;
use crate::types::TagReference;

/// A tag that follows an image in a registry.
pub(crate) const DOCKER_IMAGE: &str = "DockerImage";
/// A tag that points at one image of a stream's history.
pub(crate) const IMAGE_STREAM_IMAGE: &str = "ImageStreamImage";
/// A tag that points at another tag.
pub(crate) const IMAGE_STREAM_TAG: &str = "ImageStreamTag";

/// What is wrong with a tag at `path`, in a stream that may be imported insecurely or not.
pub(super) fn tag_reference(
    tag: &TagReference,
    insecure_stream: bool,
    accepted: &Accepted<'_>,
    path: &Path,
) -> Vec<FieldError> {
    let mut errors = from(tag, insecure_stream, accepted, path);
    let policy = tag.reference_policy.policy_type.as_str();
    if !matches!(policy, "Source" | "Local") {
        let path = path.child("referencePolicy").child("type");
        let detail = r#"valid values are "Source", "Local""#;
        errors.push(FieldError::invalid(&path, policy, detail));
    }
    errors.extend(import_mode(&tag.import_policy.import_mode, path));
    errors
}

fn from(tag: &TagReference, insecure_stream: bool, accepted: &Accepted<'_>, path: &Path) -> Vec<FieldError> {
    let Some(from) = &tag.from else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    let from_path = path.child("from");
    let name_path = from_path.child("name");
    let name = from.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        errors.push(FieldError::required(&name_path, ""));
    }
    match from.kind.as_deref().unwrap_or_default() {
        DOCKER_IMAGE => {
            let reference = match ImageReference::parse(name) {
                Ok(reference) => reference,
                // Said above; the registry of nothing is Docker Hub.
                Err(_) if name.is_empty() => ImageReference::default(),
                Err(error) => {
                    errors.push(FieldError::invalid(&name_path, name, error.to_string()));
                    return errors;
                }
            };
            let transport = transport(insecure_stream || tag.import_policy.insecure);
            if let Err(refusal) = accepted.check(&reference, transport) {
                errors.push(FieldError::forbidden(&name_path, refusal.to_string()));
            }
        }
        IMAGE_STREAM_IMAGE | IMAGE_STREAM_TAG => {
            if tag.import_policy.scheduled {
                let path = path.child("importPolicy").child("scheduled");
                let detail =
                    "only tags pointing to Docker repositories may be scheduled for background import";
                errors.push(FieldError::invalid(&path, true, detail));
            }
        }
        _ => {
            let detail = "valid values are 'DockerImage', 'ImageStreamImage', 'ImageStreamTag'";
            errors.push(FieldError::required(&from_path.child("kind"), detail));
        }
    }
    errors
}

/// What is wrong with the import mode in the import policy at `path`.
pub(super) fn import_mode(mode: &str, path: &Path) -> Option<FieldError> {
    let path = path.child("importPolicy").child("importMode");
    let detail = "invalid import mode, valid modes are '', 'Legacy', 'PreserveOriginal'";
    ImportMode::parse(mode)
        .is_none()
        .then(|| FieldError::invalid(&path, mode, detail))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::allowed_registries::{AllowedRegistries, RegistryLocation};

    fn errors(tag: &Value, insecure_stream: bool, patterns: &[&str]) -> Vec<String> {
        let mut tag: TagReference = serde_json::from_value(tag.clone()).unwrap();
        if tag.reference_policy.policy_type.is_empty() {
            tag.reference_policy.policy_type = "Source".into();
        }
        let locations: Vec<RegistryLocation> = patterns
            .iter()
            .map(|pattern| RegistryLocation {
                domain_name: (*pattern).into(),
                insecure: false,
            })
            .collect();
        let registries = AllowedRegistries::new(&locations).unwrap();
        let path = Path::root("spec").child("tags").key("t");
        tag_reference(&tag, insecure_stream, &Accepted::new(&registries), &path)
            .iter()
            .map(FieldError::to_string)
            .collect()
    }

    fn docker(name: &str) -> Value {
        json!({"from": {"kind": "DockerImage", "name": name}})
    }

    #[test]
    fn a_tag_is_checked_field_by_field() {
        let of_kind = |kind: &str| json!({"from": {"kind": kind, "name": "x"}});
        let scheduled =
            |kind: &str| json!({"from": {"kind": kind, "name": "x"}, "importPolicy": {"scheduled": true}});
        let kinds = "spec.tags[t].from.kind: Required value: valid values are 'DockerImage', 'ImageStreamImage', \
                     'ImageStreamTag'";
        let unscheduled = "spec.tags[t].importPolicy.scheduled: Invalid value: true: only tags pointing to Docker \
                           repositories may be scheduled for background import";
        for (tag, expected) in [
            (json!({}), None),
            (docker("a/b:c"), None),
            (
                json!({"from": {"kind": "DockerImage", "name": format!("a@sha256:{}", "1".repeat(64))},
                       "importPolicy": {"scheduled": true}}),
                None,
            ),
            (docker(""), Some("spec.tags[t].from.name: Required value")),
            (
                docker("abc@badid"),
                Some(r#"spec.tags[t].from.name: Invalid value: "abc@badid": invalid reference format"#),
            ),
            (of_kind(""), Some(kinds)),
            (of_kind("Image"), Some(kinds)),
            (of_kind("ImageStreamTag"), None),
            (of_kind("ImageStreamImage"), None),
            (scheduled("ImageStreamTag"), Some(unscheduled)),
            (scheduled("ImageStreamImage"), Some(unscheduled)),
            (
                json!({"referencePolicy": {"type": "Other"}}),
                Some(
                    r#"spec.tags[t].referencePolicy.type: Invalid value: "Other": valid values are "Source", "Local""#,
                ),
            ),
            (
                json!({"importPolicy": {"importMode": "Invalid"}}),
                Some(
                    "spec.tags[t].importPolicy.importMode: Invalid value: \"Invalid\": invalid import mode, valid \
                     modes are '', 'Legacy', 'PreserveOriginal'",
                ),
            ),
        ] {
            assert_eq!(errors(&tag, false, &[]), Vec::from_iter(expected), "{tag}");
        }
    }

    #[test]
    fn the_registry_of_an_image_is_allowed_for_the_transport_that_would_be_used() {
        let patterns = ["example.com", "localhost:5000", "dev.null.io:80"];
        for (reference, insecure, is_allowed) in [
            ("example.com/bar", false, true),
            ("example.com:443/bar", false, true),
            ("example.com:80/repo", false, false),
            ("dev.null.io/myapp", false, false),
            ("docker.io/foo/bar", false, false),
            ("dev.null.io:80/myapp", false, true),
            ("localhost:5000/baz", false, true),
            ("dev.null.io/myapp", true, true),
            ("example.com:80/bar", true, false),
            ("registry.ltd/repo", true, false),
            ("localhost/repo", false, false),
        ] {
            let mut tag = docker(reference);
            tag["importPolicy"] = json!({"insecure": insecure});
            let found = errors(&tag, false, &patterns);
            assert_eq!(found.is_empty(), is_allowed, "{reference}: {found:?}");
            let found = errors(&docker(reference), insecure, &patterns);
            assert_eq!(found.is_empty(), is_allowed, "{reference} in a stream: {found:?}");
        }
    }

    #[test]
    fn an_image_without_name_counts_as_one_on_docker_hub() {
        assert_eq!(
            errors(&docker(""), false, &["example.com"]),
            [
                "spec.tags[t].from.name: Required value",
                "spec.tags[t].from.name: Forbidden: registry \"docker.io:443\" not allowed by whitelist: \
                 \"example.com:443\""
            ]
        );
    }
}
