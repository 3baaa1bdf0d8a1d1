//! Whether ImageStreamLayers, which are computed, make sense.

use crate::field::{FieldError, FieldValue, Path};
use crate::types::{ImageBlobReferences, ImageStreamLayers};

/// What contradicts itself in the layers of a stream.
#[must_use]
pub fn image_stream_layers(layers: &ImageStreamLayers) -> Vec<FieldError> {
    let images = Path::root("images");
    let blobs = layers.images.iter();
    blobs
        .flat_map(|(name, blobs)| image(blobs, &images.key(name)))
        .collect()
}

fn image(blobs: &ImageBlobReferences, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (layers_path, config_path) = (path.child("layers"), path.child("config"));
    let layers = blobs.layers.as_deref().unwrap_or_default();
    let mut unless = |holds: bool, path: &Path, value: FieldValue, detail: &str| {
        errors.extend((!holds).then(|| FieldError::invalid(path, value, detail)));
    };
    let config = || FieldValue::from(blobs.config.as_deref().unwrap_or_default());
    if blobs.image_missing {
        unless(
            layers.is_empty(),
            &layers_path,
            FieldValue::json(&layers),
            "layers must be empty if image is missing",
        );
        unless(
            blobs.config.is_none(),
            &config_path,
            config(),
            "config must be null if image is missing",
        );
        unless(
            blobs.manifests.is_empty(),
            &path.child("manifest"),
            FieldValue::json(&blobs.manifests),
            "manifests must be empty if image is missing",
        );
    }
    for (index, layer) in layers.iter().enumerate() {
        let path = layers_path.index(index);
        unless(!layer.is_empty(), &path, "".into(), "layer cannot be empty");
    }
    unless(
        blobs.config.as_deref() != Some(""),
        &config_path,
        "".into(),
        "config cannot be an empty string",
    );
    if !blobs.manifests.is_empty() {
        unless(
            layers.is_empty(),
            &layers_path,
            FieldValue::json(&layers),
            "layers must be empty if manifests are present",
        );
        unless(
            blobs.config.is_none(),
            &config_path,
            config(),
            "config must be null if manifests are present",
        );
    }
    for (index, manifest) in blobs.manifests.iter().enumerate() {
        let path = path.child("manifests").index(index);
        unless(!manifest.is_empty(), &path, "".into(), "manifest cannot be empty");
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(image: &Value) -> Vec<String> {
        let layers = serde_json::from_value(json!({"images": {"m": image}})).unwrap();
        image_stream_layers(&layers)
            .iter()
            .map(FieldError::to_string)
            .collect()
    }

    #[test]
    fn a_missing_image_has_no_blobs() {
        assert_eq!(errors(&json!({"imageMissing": true})), [""; 0]);
        assert_eq!(
            errors(&json!({"imageMissing": true, "layers": ["l"], "config": "c"})),
            [
                r#"images[m].layers: Invalid value: ["l"]: layers must be empty if image is missing"#,
                r#"images[m].config: Invalid value: "c": config must be null if image is missing"#,
            ]
        );
        assert_eq!(
            errors(&json!({"imageMissing": true, "manifests": ["x"]})),
            [r#"images[m].manifest: Invalid value: ["x"]: manifests must be empty if image is missing"#]
        );
    }

    #[test]
    fn a_list_has_members_only() {
        assert_eq!(errors(&json!({"manifests": ["x"]})), [""; 0]);
        assert_eq!(
            errors(&json!({"manifests": ["x"], "layers": ["l"], "config": "c"})),
            [
                r#"images[m].layers: Invalid value: ["l"]: layers must be empty if manifests are present"#,
                r#"images[m].config: Invalid value: "c": config must be null if manifests are present"#,
            ]
        );
    }

    #[test]
    fn blobs_have_names() {
        assert_eq!(errors(&json!({"layers": ["l"], "config": "c"})), [""; 0]);
        assert_eq!(
            errors(&json!({"layers": ["l", ""], "config": ""})),
            [
                r#"images[m].layers[1]: Invalid value: "": layer cannot be empty"#,
                r#"images[m].config: Invalid value: "": config cannot be an empty string"#,
            ]
        );
        assert_eq!(
            errors(&json!({"manifests": [""]})),
            [r#"images[m].manifests[0]: Invalid value: "": manifest cannot be empty"#]
        );
    }
}
