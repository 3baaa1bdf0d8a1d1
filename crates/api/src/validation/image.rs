//! What makes an Image invalid.

use serde::Serialize;

use super::at;
use super::metadata::{self, NameRule, Scope};
use super::signature::signature_at;
use crate::digest::algorithm_is_well_formed;
use crate::field::{FieldError, FieldValue, Path};
use crate::reference::ImageReference;
use crate::types::{Image, ImageLayer, ImageManifest};

/// The fewest hex digits that make a text look like a digest.
const HEX_MIN: usize = 32;
/// The longest type and subtype of a [media type](https://www.rfc-editor.org/rfc/rfc6838#section-4.2), in bytes.
const MEDIA_TYPE_PART_MAX: usize = 127;

/// What is wrong with an image that is created.
#[must_use]
pub fn image(image: &Image) -> Vec<FieldError> {
    image_at(image, None)
}

/// What is wrong with an image that replaces `stored`.
#[must_use]
pub fn image_update(image: &Image, stored: &Image) -> Vec<FieldError> {
    let path = Path::root("metadata");
    let mut errors = metadata::before_update(&image.metadata, &stored.metadata, Scope::Cluster);
    errors.extend(metadata::update(&image.metadata, &stored.metadata, &path));
    errors.extend(image_at(image, None));
    errors
}

/// What is wrong with an image, alone or inside another object.
pub(super) fn image_at(image: &Image, path: Option<&Path>) -> Vec<FieldError> {
    let mut errors = metadata::create(
        &image.metadata,
        Scope::Cluster,
        NameRule::PathSegment,
        &at(path, "metadata"),
    );
    let reference_path = at(path, "dockerImageReference");
    let reference = image.docker_image_reference.as_str();
    if reference.is_empty() {
        errors.push(FieldError::required(&reference_path, ""));
    } else if let Err(error) = ImageReference::parse(reference) {
        errors.push(FieldError::invalid(&reference_path, reference, error.to_string()));
    }
    let signatures = at(path, "signatures");
    for (index, signature) in image.signatures.iter().enumerate() {
        errors.extend(signature_at(signature, Some(&signatures.index(index))));
    }
    let manifests = at(path, "dockerImageManifests");
    for (index, member) in image.docker_image_manifests.iter().enumerate() {
        errors.extend(manifest(member, &manifests.index(index)));
    }
    if !image.docker_image_manifests.is_empty() && !image.docker_image_layers.is_empty() {
        let layers: Vec<ShownLayer<'_>> = image.docker_image_layers.iter().map(ShownLayer::from).collect();
        let detail = "dockerImageLayers should not be set when dockerImageManifests is set";
        errors.push(FieldError::invalid(
            &at(path, "dockerImageLayers"),
            FieldValue::json(&layers),
            detail,
        ));
    }
    errors
}

/// A layer as messages show it: with the names that servers of this API have inside.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownLayer<'a> {
    name: &'a str,
    layer_size: i64,
    media_type: &'a str,
}

impl<'a> From<&'a ImageLayer> for ShownLayer<'a> {
    fn from(layer: &'a ImageLayer) -> Self {
        Self {
            name: &layer.name,
            layer_size: layer.size,
            media_type: &layer.media_type,
        }
    }
}

fn manifest(member: &ImageManifest, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !contains_digest(&member.digest) {
        let detail = "digest does not conform with OCI image specification";
        errors.push(FieldError::invalid(
            &path.child("digest"),
            member.digest.as_str(),
            detail,
        ));
    }
    if !is_media_type(&member.media_type) {
        let detail = "media type does not conform to RFC6838";
        errors.push(FieldError::invalid(
            &path.child("mediaType"),
            member.media_type.as_str(),
            detail,
        ));
    }
    if member.architecture.is_empty() {
        errors.push(FieldError::required(&path.child("architecture"), ""));
    }
    if member.os.is_empty() {
        errors.push(FieldError::required(&path.child("os"), ""));
    }
    if member.manifest_size < 0 {
        let detail = "manifest size cannot be negative";
        errors.push(FieldError::invalid(
            &path.child("size"),
            member.manifest_size,
            detail,
        ));
    }
    errors
}

/// Whether a digest stands anywhere in the text.
fn contains_digest(text: &str) -> bool {
    text.match_indices(':').any(|(colon, _)| {
        let (before, after) = (&text[..colon], &text[colon + 1..]);
        let hex = after.bytes().take(HEX_MIN).filter(u8::is_ascii_hexdigit).count();
        // The shortest algorithm that could end here is the letters and digits before the colon, from a letter on.
        let word = before
            .rsplit(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default();
        let algorithm = word.trim_start_matches(|c: char| c.is_ascii_digit());
        hex == HEX_MIN && algorithm_is_well_formed(algorithm)
    })
}

/// `type/subtype`, with spaces around.
fn is_media_type(text: &str) -> bool {
    let is_part = |part: &str, more: &[u8]| {
        let bytes = part.as_bytes();
        (1..=MEDIA_TYPE_PART_MAX).contains(&bytes.len())
            && bytes[0].is_ascii_alphanumeric()
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&^_-".contains(b) || more.contains(b))
    };
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    text.split_once('/')
        .is_some_and(|(kind, subtype)| is_part(kind, b"") && is_part(subtype, b".+"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Image {
        serde_json::from_value(value).unwrap()
    }

    fn errors(change: &dyn Fn(&mut Value)) -> Vec<String> {
        let mut object = json!({"metadata": {"name": "sha256:a"}, "dockerImageReference": "a/b:c"});
        change(&mut object);
        image(&read(object)).iter().map(FieldError::to_string).collect()
    }

    fn errors_of_member(change: &dyn Fn(&mut Value)) -> Vec<String> {
        errors(&|object| {
            let mut member = json!({
                "digest": format!("sha256:{}", "a".repeat(64)), "architecture": "arm", "os": "linux",
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "manifestSize": 0
            });
            change(&mut member);
            object["dockerImageManifests"] = json!([member]);
        })
    }

    #[test]
    fn an_image_has_a_name_and_a_reference() {
        assert_eq!(errors(&|_| ()), [""; 0]);
        assert_eq!(
            errors(&|object| object["metadata"] = json!({"name": "x", "namespace": "n"})),
            ["metadata.namespace: Forbidden: not allowed on this type"]
        );
        assert_eq!(
            errors(&|object| object["metadata"]["name"] = json!("foo%%bar")),
            [r#"metadata.name: Invalid value: "foo%%bar": may not contain '%'"#]
        );
        assert_eq!(
            errors(&|object| object["dockerImageReference"] = json!("")),
            ["dockerImageReference: Required value"]
        );
        assert_eq!(
            errors(&|object| object["dockerImageReference"] = json!("A//b")),
            [r#"dockerImageReference: Invalid value: "A//b": invalid reference format"#]
        );
    }

    #[test]
    fn a_member_of_a_list_is_described_in_full() {
        assert_eq!(errors_of_member(&|_| ()), [""; 0]);
        for (field, value, expected) in [
            (
                "digest",
                json!("abc"),
                r#"digest: Invalid value: "abc": digest does not conform with OCI image specification"#,
            ),
            (
                "mediaType",
                json!("foobar"),
                r#"mediaType: Invalid value: "foobar": media type does not conform to RFC6838"#,
            ),
            ("architecture", json!(""), "architecture: Required value"),
            ("os", json!(""), "os: Required value"),
            (
                "manifestSize",
                json!(-2),
                "size: Invalid value: -2: manifest size cannot be negative",
            ),
        ] {
            let found = errors_of_member(&|member| member[field] = value.clone());
            assert_eq!(found, [format!("dockerImageManifests[0].{expected}")]);
        }
    }

    #[test]
    fn a_list_has_no_layers_of_its_own() {
        let found = errors(&|object| {
            object["dockerImageLayers"] = json!([{"name": "x", "size": 1, "mediaType": "y"}]);
            object["dockerImageManifests"] = json!([{
                "digest": format!("sha256:{}", "a".repeat(64)), "architecture": "arm", "os": "linux",
                "mediaType": "a/b"
            }]);
        });
        let layers = r#"[{"Name":"x","LayerSize":1,"MediaType":"y"}]"#;
        let why = "dockerImageLayers should not be set when dockerImageManifests is set";
        assert_eq!(
            found,
            [format!("dockerImageLayers: Invalid value: {layers}: {why}")]
        );
    }

    #[test]
    fn signatures_are_checked_where_they_stand() {
        let found = errors(&|object| {
            object["signatures"] = json!([{"metadata": {"name": "a@b"}, "content": "AA=="}]);
        });
        assert_eq!(found, ["signatures[0].type: Required value"]);
    }

    #[test]
    fn a_digest_may_stand_anywhere_in_the_text() {
        let hex = "0123456789abcdefABCDEF0123456789";
        for (text, expected) in [
            (format!("sha256:{hex}"), true),
            (format!("  x/y@sha256+b64:{hex}0 and so on"), true),
            (format!("256a:{hex}"), true),
            (format!("éa:{hex}"), true),
            (format!("256:{hex}"), false),
            (format!("é:{hex}"), false),
            (format!(":{hex}"), false),
            (format!("sha256:{}", &hex[1..]), false),
            (hex.to_owned(), false),
        ] {
            assert_eq!(contains_digest(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_media_type_has_a_type_and_a_subtype() {
        let long = "a".repeat(127);
        for (text, expected) in [
            (" application/vnd.oci.image.manifest.v1+json ", true),
            ("a/b", true),
            (&format!("{long}/{long}"), true),
            (&format!("a{long}/b"), false),
            ("a.b/c", false),
            ("a/b/c", false),
            ("/b", false),
            ("a/", false),
            ("a/-b", false),
            ("a/b; c=d", false),
        ] {
            assert_eq!(is_media_type(text), expected, "{text}");
        }
    }

    #[test]
    fn an_update_is_held_to_the_same_rules_and_to_those_of_metadata() {
        let stored =
            read(json!({"metadata": {"name": "a", "resourceVersion": "1"}, "dockerImageReference": "a/b"}));
        let mut changed = stored.clone();
        changed.docker_image_reference = "BAD".into();
        changed.metadata.resource_version = None;
        let found: Vec<_> = image_update(&changed, &stored)
            .iter()
            .map(FieldError::to_string)
            .collect();
        let revision = r#"metadata.resourceVersion: Invalid value: "": must be specified for an update"#;
        let reference = r#"dockerImageReference: Invalid value: "BAD": repository name must be lowercase"#;
        assert_eq!(found, [revision, revision, reference]);
    }
}
