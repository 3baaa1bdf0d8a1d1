use serde_json::{Value, json};

use super::*;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn now() -> Time {
    Time(k8s_openapi::jiff::Timestamp::from_second(1_700_000_000).unwrap())
}

fn image(fields: &Value) -> Image {
    let mut object = json!({"metadata": {"name": "sha256:x"}, "dockerImageReference": "a/b"});
    object
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn digest(of: &str) -> String {
    Digest::sha256_of(of.as_bytes()).to_string()
}

fn manifest(media_type: &str, config: &str, layers: &[(&str, i64)]) -> String {
    let layers: Vec<Value> = layers
        .iter()
        .map(|(content, size)| json!({"mediaType": LAYER, "digest": digest(content), "size": size}))
        .collect();
    json!({
        "schemaVersion": 2, "mediaType": media_type, "layers": layers,
        "config": {"mediaType": "config", "digest": digest(config), "size": config.len()}
    })
    .to_string()
}

fn names(image: &Image) -> Vec<&str> {
    image
        .docker_image_layers
        .iter()
        .map(|layer| layer.name.as_str())
        .collect()
}

fn order(image: &Image) -> Option<&str> {
    image
        .metadata
        .annotations
        .as_ref()?
        .get(LAYER_ORDER.0)
        .map(String::as_str)
}

#[test]
fn an_image_without_manifest_is_left_alone() {
    let before = image(&json!({"dockerImageLayers": [{"name": "b"}, {"name": "a"}],
                               "dockerImageManifestMediaType": DOCKER_MANIFEST}));
    let mut after = before.clone();
    assert!(fill(&mut after, &now()).is_ok());
    assert_eq!(after, before);
}

#[test]
fn metadata_layers_and_size_come_from_manifest_and_configuration() {
    let config = r#"{"architecture":"arm64","Author":"me"}"#;
    let manifest = manifest(
        OCI_MANIFEST,
        config,
        &[("one", 10), ("two", 5), ("one", 10), (config, 99)],
    );
    let mut image = image(&json!({"dockerImageManifest": manifest, "dockerImageConfig": config}));
    fill(&mut image, &now()).unwrap();
    assert_eq!(
        names(&image),
        [&digest("one"), &digest("two"), &digest("one"), &digest(config)]
    );
    assert_eq!(order(&image), Some("ascending"));
    assert_eq!(image.docker_image_manifest_media_type, OCI_MANIFEST);
    let metadata = &image.docker_image_metadata;
    assert_eq!(
        (metadata.id.as_str(), metadata.architecture.as_str()),
        (digest(config).as_str(), "arm64")
    );
    let configuration = i64::try_from(config.len()).unwrap();
    assert_eq!(metadata.size, configuration + 15, "each blob counts once");
}

#[test]
fn without_configuration_only_the_layers_are_known() {
    let manifest = manifest(DOCKER_MANIFEST, "{}", &[("one", 10)]);
    let mut image = image(&json!({"dockerImageManifest": manifest}));
    let error = fill(&mut image, &now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("dockerImageConfig must not be empty for manifest type \"{DOCKER_MANIFEST}\"")
    );
    assert_eq!(names(&image), [&digest("one")]);
    assert_eq!(image.docker_image_manifest_media_type, DOCKER_MANIFEST);
    assert_eq!(image.docker_image_metadata, DockerImage::default());
}

#[test]
fn a_schema_1_manifest_lists_the_newest_layer_first() {
    let manifest = json!({
        "schemaVersion": 1,
        "fsLayers": [{"blobSum": "newest"}, {"blobSum": "same"}, {"blobSum": "same"}],
        "history": [{"v1Compatibility": r#"{"id":"i","Size":7}"#}, {"v1Compatibility": r#"{"Size":3}"#},
                    {"v1Compatibility": "no"}]
    });
    let mut image = image(&json!({"dockerImageManifest": manifest.to_string()}));
    fill(&mut image, &now()).unwrap();
    assert_eq!(names(&image), ["same", "same", "newest"]);
    assert_eq!(image.docker_image_manifest_media_type, DOCKER_SCHEMA1);
    assert_eq!(image.docker_image_metadata.id, "i");
    assert_eq!(
        image.docker_image_metadata.size, 7,
        "the first of equal layers says how large they are: nothing"
    );
}

#[test]
fn a_list_is_named_by_itself_and_dated_once() {
    let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).to_string();
    let mut image = image(&json!({"dockerImageManifest": list}));
    fill(&mut image, &now()).unwrap();
    assert_eq!(image.docker_image_metadata.id, "sha256:x");
    assert_eq!(image.docker_image_metadata.created, Some(now()));
    let later = Time(k8s_openapi::jiff::Timestamp::from_second(1_800_000_000).unwrap());
    fill(&mut image, &later).unwrap();
    assert_eq!(image.docker_image_metadata.created, Some(now()));
    assert_eq!(image.docker_image_manifest_media_type, "");
}

#[test]
fn what_is_wrong_with_a_manifest_is_said() {
    for (manifest, expected) in [
        ("nope".to_owned(), "expected ident at line 1 column 2"),
        (
            r#"{"schemaVersion": 3}"#.into(),
            r#"unrecognized container image manifest schema 3 for "sha256:x" (a/b)"#,
        ),
        (
            r#"{"schemaVersion": 1, "fsLayers": [{}]}"#.into(),
            "the image sha256:x (a/b) has mismatched history and fslayer cardinality (0 != 1)",
        ),
        (
            r#"{"schemaVersion": 1}"#.into(),
            "the image sha256:x (a/b) has a schema 1 manifest, but it doesn't have history",
        ),
    ] {
        let mut image = image(&json!({"dockerImageManifest": manifest}));
        assert_eq!(
            fill(&mut image, &now()).unwrap_err().to_string(),
            expected,
            "{manifest}"
        );
    }
}

#[test]
fn layers_are_put_in_order_by_annotation_or_by_what_registries_used_to_write() {
    for (media_type, given, reversed, result) in [
        (DOCKER_MANIFEST, None, true, Some("ascending")),
        (OCI_MANIFEST, None, true, Some("ascending")),
        (DOCKER_SCHEMA1, None, false, Some("ascending")),
        (DOCKER_SCHEMA1_SIGNED, None, false, Some("ascending")),
        ("other", None, false, None),
        (DOCKER_MANIFEST, Some("ascending"), false, Some("ascending")),
        (DOCKER_SCHEMA1, Some("descending"), true, Some("ascending")),
        ("other", Some("descending"), true, Some("ascending")),
    ] {
        let annotations = given.map(|order| json!({LAYER_ORDER.0: order}));
        let mut image = image(&json!({
            "metadata": {"name": "sha256:x", "annotations": annotations},
            "dockerImageManifest": "nope", "dockerImageManifestMediaType": media_type,
            "dockerImageMetadata": {"Size": 1},
            "dockerImageLayers": [{"name": "0"}, {"name": "1"}, {"name": "2"}]
        }));
        assert!(fill(&mut image, &now()).is_ok(), "it is filled already");
        let expected = if reversed {
            ["2", "1", "0"]
        } else {
            ["0", "1", "2"]
        };
        assert_eq!(names(&image), expected, "{media_type} {given:?}");
        assert_eq!(order(&image), result, "{media_type} {given:?}");
    }
}

#[test]
fn members_of_a_list_are_read_if_it_is_what_its_media_type_says() {
    let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": digest("m"), "size": 4,
         "platform": {"architecture": "arm64", "os": "linux", "variant": "v8"}}
    ]})
    .to_string();
    let mut created = image(
        &json!({"dockerImageManifest": list, "dockerImageManifestMediaType": OCI_INDEX,
                                    "dockerImageManifests": [{"digest": "a lie"}]}),
    );
    prepare_create(&mut created, &now());
    assert_eq!(
        serde_json::to_value(&created.docker_image_manifests).unwrap(),
        json!([{"mediaType": OCI_MANIFEST, "digest": digest("m"), "manifestSize": 4, "architecture": "arm64",
                "os": "linux", "variant": "v8"}])
    );
    let mut unlabelled = image(&json!({"dockerImageManifest": list}));
    prepare_create(&mut unlabelled, &now());
    assert_eq!(unlabelled.docker_image_manifests, []);
}

#[test]
fn documents_that_a_registry_keeps_and_a_forgotten_annotation_are_dropped() {
    let config = "{}";
    let manifest = manifest(OCI_MANIFEST, config, &[("one", 10)]);
    let mut created = image(&json!({
        "metadata": {"name": "sha256:x", "annotations": {BLOB_STORED: "true"}},
        "dockerImageManifest": manifest, "dockerImageConfig": config,
        "signatures": [{"metadata": {"name": "s", "annotations": {MANAGED_SIGNATURE: "true", "other": "stays"}}}]
    }));
    prepare_create(&mut created, &now());
    assert_eq!(
        (
            created.docker_image_manifest.as_str(),
            created.docker_image_config.as_str()
        ),
        ("", "")
    );
    assert_eq!(
        created.docker_image_metadata.id,
        digest(config),
        "it was read before"
    );
    let annotations = created.signatures[0].metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["other"]);
}

/// An image with manifest and configuration, named by its digest.
fn stored(media_type: &str, config: &str) -> Image {
    let manifest = manifest(media_type, config, &[("one", 10), ("two", 20)]);
    let mut stored = image(&json!({
        "metadata": {"name": digest(&manifest)}, "dockerImageManifest": manifest, "dockerImageConfig": config,
    }));
    prepare_create(&mut stored, &now());
    stored
}

#[test]
fn what_belongs_to_the_content_does_not_change_with_an_update() {
    let stored = stored(OCI_MANIFEST, "{}");
    let mut updated = image(&json!({
        "metadata": {"name": stored.metadata.name, "labels": {"a": "b"}}, "dockerImageReference": "c/d",
        "dockerImageMetadata": {"Id": "forged"}, "dockerImageMetadataVersion": "pre012",
        "dockerImageLayers": [{"name": "forged"}], "dockerImageManifestMediaType": OCI_MANIFEST,
        "dockerImageManifest": stored.docker_image_manifest, "dockerImageConfig": stored.docker_image_config,
    }));
    prepare_update(&mut updated, &stored, &now());
    let mut expected = stored.clone();
    expected.metadata.labels = updated.metadata.labels.clone();
    expected.docker_image_reference = "c/d".into();
    assert_eq!(updated, expected, "the order of the layers is kept too");
}

#[test]
fn signatures_of_the_manifest_are_kept_once_they_are_set() {
    let with = |signature: &str| image(&json!({"dockerImageSignatures": [signature]}));
    let mut updated = with("AAAA");
    prepare_update(&mut updated, &image(&json!({})), &now());
    assert_eq!(updated, with("AAAA"));
    prepare_update(&mut updated, &with("BBBB"), &now());
    assert_eq!(updated, with("BBBB"));
}

#[test]
fn a_manifest_is_replaced_only_by_the_one_that_the_name_stands_for() {
    for media_type in [OCI_MANIFEST, DOCKER_MANIFEST] {
        let full = stored(media_type, "{}");
        let mut bare = full.clone();
        bare.docker_image_manifest.clear();
        bare.docker_image_config.clear();
        let update = |stored: &Image, manifest: &str, config: &str| {
            let mut updated = stored.clone();
            manifest.clone_into(&mut updated.docker_image_manifest);
            config.clone_into(&mut updated.docker_image_config);
            prepare_update(&mut updated, stored, &now());
            (updated.docker_image_manifest, updated.docker_image_config)
        };
        let manifest = full.docker_image_manifest.as_str();
        let nothing = (String::new(), String::new());
        let all = (manifest.to_owned(), "{}".to_owned());
        assert_eq!(update(&bare, manifest, "{}"), all, "{media_type}");
        assert_eq!(
            update(&bare, &format!("{manifest} "), "{}"),
            nothing,
            "{media_type}"
        );
        assert_eq!(update(&full, "{}", r#"{"a":1}"#), all, "{media_type}");
        assert_eq!(update(&full, "", ""), nothing, "{media_type}");
        let mut other = bare.clone();
        other.docker_image_manifest_media_type = "other".into();
        assert_eq!(update(&other, manifest, "{}"), nothing, "{media_type}");
    }
}
