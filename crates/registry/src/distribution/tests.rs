#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const HEX: &str = "3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25";

fn digest() -> String {
    format!("sha256:{HEX}")
}

fn blob(media_type: &str, size: i64) -> Value {
    json!({"mediaType": media_type, "digest": digest(), "size": size})
}

fn image(media_type: Option<&str>) -> Value {
    let mut image = json!({
        "schemaVersion": 2,
        "config": blob("application/vnd.oci.image.config.v1+json", 330),
        "layers": [blob("application/vnd.oci.image.layer.v1.tar+gzip", 121)],
    });
    if let Some(media_type) = media_type {
        image["mediaType"] = media_type.into();
    }
    image
}

fn list(media_type: Option<&str>) -> Value {
    let mut list = json!({"schemaVersion": 2, "manifests": [blob(OCI_MANIFEST, 401)]});
    if let Some(media_type) = media_type {
        list["mediaType"] = media_type.into();
    }
    list
}

fn parse_value(content_type: &str, document: &Value) -> Result<Manifest, ManifestError> {
    parse(content_type, document.to_string().as_bytes())
}

fn refusal(content_type: &str, document: &Value) -> String {
    parse_value(content_type, document).unwrap_err().to_string()
}

/// `payload`, which must end in `}`, with signatures in it the way Docker wrote them.
fn sign(payload: &str, protected: &[Value]) -> String {
    let head = payload.strip_suffix('}').unwrap().trim_end();
    let signatures: Vec<Value> = protected
        .iter()
        .map(|header| {
            json!({"header": {"alg": "ES256"}, "signature": "c2ln", "protected": URL_SAFE_NO_PAD.encode(header.to_string())})
        })
        .collect();
    format!("{head},\n   \"signatures\": {}\n}}", Value::from(signatures))
}

fn protected(length: usize, tail: &str) -> Value {
    json!({"formatLength": length, "formatTail": URL_SAFE_NO_PAD.encode(tail), "time": "2016-01-01T00:00:00Z"})
}

fn schema1_payload() -> String {
    let payload = json!({
        "schemaVersion": 1, "name": "library/x", "tag": "v1", "architecture": "amd64",
        "fsLayers": [{"blobSum": digest()}], "history": [{"v1Compatibility": "{\"id\":\"a\"}"}],
    });
    serde_json::to_string_pretty(&payload).unwrap()
}

#[test]
fn the_content_type_decides_the_format_whatever_its_case_and_parameters() {
    let docker = image(Some(DOCKER_MANIFEST));
    for content_type in [
        DOCKER_MANIFEST.to_owned(),
        format!("{DOCKER_MANIFEST}; charset=utf-8"),
        DOCKER_MANIFEST.to_uppercase(),
        format!(" {DOCKER_MANIFEST} ;"),
    ] {
        let manifest = parse_value(&content_type, &docker).unwrap();
        assert!(
            matches!(&manifest, Manifest::Image(image) if image.media_type == DOCKER_MANIFEST),
            "{manifest:?}"
        );
    }
    for content_type in [
        "",
        "application/json",
        "text/html",
        DOCKER_SCHEMA1_SIGNED,
        DOCKER_SCHEMA1,
        "application/vnd.example+json",
    ] {
        assert_eq!(
            refusal(content_type, &docker),
            "missing signature key",
            "{content_type}"
        );
    }
}

#[test]
fn a_manifest_must_not_name_another_type_than_it_is_served_as() {
    let cases = [
        (
            DOCKER_MANIFEST,
            image(None),
            format!("mediaType in manifest should be '{DOCKER_MANIFEST}' not ''"),
        ),
        (
            DOCKER_MANIFEST,
            image(Some(OCI_MANIFEST)),
            format!("mediaType in manifest should be '{DOCKER_MANIFEST}' not '{OCI_MANIFEST}'"),
        ),
        (
            DOCKER_LIST,
            list(None),
            format!("mediaType in manifest list should be '{DOCKER_LIST}' not ''"),
        ),
        (
            DOCKER_LIST,
            list(Some(OCI_INDEX)),
            format!("mediaType in manifest list should be '{DOCKER_LIST}' not '{OCI_INDEX}'"),
        ),
        (
            OCI_MANIFEST,
            image(Some(DOCKER_MANIFEST)),
            format!("if present, mediaType in manifest should be '{OCI_MANIFEST}' not '{DOCKER_MANIFEST}'"),
        ),
        (
            OCI_INDEX,
            list(Some(DOCKER_LIST)),
            format!("if present, mediaType in image index should be '{OCI_INDEX}' not '{DOCKER_LIST}'"),
        ),
        (
            OCI_MANIFEST,
            list(None),
            "ocimanifest: expected manifest but found index".into(),
        ),
        (
            OCI_INDEX,
            image(None),
            "index: expected index but found manifest".into(),
        ),
    ];
    for (content_type, document, text) in cases {
        assert_eq!(refusal(content_type, &document), text);
    }
}

#[test]
fn oci_documents_without_a_media_type_get_that_of_their_format() {
    let Ok(Manifest::Image(image)) = parse_value(OCI_MANIFEST, &image(None)) else {
        panic!("no image")
    };
    assert_eq!(image.media_type, OCI_MANIFEST);
    let Ok(Manifest::Index(index)) = parse_value(OCI_INDEX, &list(None)) else {
        panic!("no index")
    };
    assert_eq!(index.media_type, OCI_INDEX);
}

#[test]
fn null_means_not_given() {
    let mut document = image(None);
    document["mediaType"] = Value::Null;
    document["manifests"] = Value::Null;
    document["layers"] = Value::Null;
    document["annotations"] = Value::Null;
    let Ok(Manifest::Image(image)) = parse_value(OCI_MANIFEST, &document) else {
        panic!("no image")
    };
    assert!(image.layers.is_empty() && image.annotations.is_empty());
    let mut document = list(Some(OCI_INDEX));
    document["config"] = Value::Null;
    document["manifests"] = Value::Null;
    let Ok(Manifest::Index(index)) = parse_value(OCI_INDEX, &document) else {
        panic!("no index")
    };
    assert!(index.manifests.is_empty());
}

#[test]
fn digests_and_sizes_are_checked() {
    let cases: [(&str, Value, &str); 6] = [
        ("/config", Value::Null, "invalid digest format"),
        ("/config/digest", json!("sha256:abc"), "invalid digest format"),
        (
            "/config/digest",
            json!("../../etc/passwd"),
            "invalid digest format",
        ),
        (
            "/layers/0/digest",
            json!("md5:00"),
            "invalid digest format of layer 0",
        ),
        ("/layers/0/size", json!(-1), "negative size of layer 0"),
        ("/config/size", json!(-7), "negative size of the config"),
    ];
    for (pointer, value, text) in cases {
        let mut document = image(Some(OCI_MANIFEST));
        *document.pointer_mut(pointer).unwrap() = value;
        assert_eq!(refusal(OCI_MANIFEST, &document), text, "{pointer}");
    }
    let mut document = list(None);
    document["manifests"][0]["digest"] = json!("");
    assert_eq!(refusal(OCI_INDEX, &document), "invalid digest format of member 0");
}

#[test]
fn what_is_not_json_or_of_another_shape_is_a_decoding_error() {
    let text = |body: &str| parse(DOCKER_MANIFEST, body.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        text("{\"schemaVersion\": 2, \"medi"),
        "unexpected end of JSON input"
    );
    assert_eq!(
        text("<html>"),
        "error decoding JSON: expected value at line 1 column 1"
    );
    assert!(text("{\"layers\": 3}").starts_with("error decoding JSON: invalid type"));
    assert!(text("[]").starts_with("error decoding JSON: "));
    let html = parse("text/html", b"<html>login</html>").unwrap_err().to_string();
    assert_eq!(
        html,
        "error unmarshalling content: error decoding JSON: expected value at line 1 column 1"
    );
}

#[test]
fn layers_and_members_are_counted() {
    let mut document = image(None);
    document["layers"] = vec![blob("x", 1); MAX_LAYERS].into();
    assert!(parse_value(OCI_MANIFEST, &document).is_ok());
    document["layers"].as_array_mut().unwrap().push(blob("x", 1));
    assert_eq!(
        refusal(OCI_MANIFEST, &document),
        "manifest has more than 10000 layers"
    );
    let document = json!({"manifests": vec![blob("x", 1); MAX_MEMBERS + 1]});
    assert_eq!(
        refusal(OCI_INDEX, &document),
        "manifest has more than 10000 members"
    );
}

#[test]
fn members_keep_platform_and_annotations_and_may_be_lists() {
    let mut document = list(None);
    let mut attestation = blob(OCI_MANIFEST, 9);
    attestation["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let mut windows = blob(DOCKER_LIST, 8);
    windows["platform"] =
        json!({"architecture": "arm", "variant": "v7", "os": "windows", "os.version": "10.0.1"});
    windows["artifactType"] = json!("application/x");
    document["manifests"] = json!([attestation, windows, blob(OCI_INDEX, 7)]);
    let Ok(Manifest::Index(index)) = parse_value(OCI_INDEX, &document) else {
        panic!("no index")
    };
    let [attestation, windows, inner] = index.manifests.as_slice() else {
        panic!("{index:?}")
    };
    assert_eq!(
        attestation.annotations["vnd.docker.reference.type"],
        "attestation-manifest"
    );
    let platform = windows.platform.as_ref().unwrap();
    assert_eq!(
        (platform.variant.as_str(), platform.os_version.as_str()),
        ("v7", "10.0.1")
    );
    assert_eq!(windows.artifact_type.as_deref(), Some("application/x"));
    assert_eq!((inner.media_type.as_str(), &inner.platform), (OCI_INDEX, &None));
}

#[test]
fn the_digest_of_a_signed_schema_1_manifest_is_that_of_its_payload() {
    let payload = schema1_payload();
    let header = protected(payload.len() - 2, "\n}");
    let signed = sign(&payload, &[header.clone(), header]);
    for content_type in ["", "application/json", DOCKER_SCHEMA1_SIGNED, DOCKER_SCHEMA1] {
        let Ok(Manifest::Schema1(manifest)) = parse(content_type, signed.as_bytes()) else {
            panic!("{content_type}")
        };
        assert_eq!(manifest.payload_digest, Digest::sha256_of(payload.as_bytes()));
        assert_eq!(
            (manifest.schema_version, manifest.architecture.as_str()),
            (1, "amd64")
        );
        assert_eq!(
            (manifest.name.as_str(), manifest.tag.as_str()),
            ("library/x", "v1")
        );
        assert_eq!(manifest.fs_layers, [digest()]);
        assert_eq!(manifest.history, ["{\"id\":\"a\"}"]);
    }
}

#[test]
fn only_what_was_signed_is_read() {
    let payload = schema1_payload();
    let signed = sign(&payload, &[protected(payload.len() - 2, "\n}")]);
    let smuggled = signed.replacen("\"signatures\"", "\"tag\": \"evil\", \"signatures\"", 1);
    let Ok(Manifest::Schema1(manifest)) = parse("", smuggled.as_bytes()) else {
        panic!("{smuggled}")
    };
    assert_eq!(manifest.tag, "v1");
    assert_eq!(manifest.payload_digest, Digest::sha256_of(payload.as_bytes()));
}

#[test]
fn an_unsigned_schema_1_manifest_can_be_decoded_on_its_own() {
    let payload = schema1_payload();
    let manifest = Schema1::from_payload(payload.as_bytes()).unwrap();
    assert_eq!(manifest.payload_digest, Digest::sha256_of(payload.as_bytes()));
    assert_eq!(
        parse(DOCKER_SCHEMA1, payload.as_bytes()),
        Err(SignatureError::Missing.into())
    );
}

#[test]
fn broken_signatures_are_named() {
    let payload = schema1_payload();
    let good = protected(payload.len() - 2, "\n}");
    let refused = |headers: &[Value]| {
        parse("", sign(&payload, headers).as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&[good.clone(), protected(3, "\n}")]),
        "conflicting format length"
    );
    assert_eq!(
        refused(&[good, protected(payload.len() - 2, "}")]),
        "conflicting format tail"
    );
    assert_eq!(refused(&[protected(1 << 40, "}")]), "invalid format length");
    assert_eq!(refused(&[]), "unexpected end of JSON input");
    assert!(refused(&[json!([])]).starts_with("error unmarshalling protected header: "));
    assert!(
        refused(&[json!({"formatLength": 1, "formatTail": "!"})])
            .starts_with("base64 decode error on tail: ")
    );
    let text = |document: &str| parse("", document.as_bytes()).unwrap_err().to_string();
    assert!(text("{\"signatures\": 1}").starts_with("error unmarshalling signatures: "));
    assert_eq!(text("{\"signatures\": null}"), "unexpected end of JSON input");
    assert!(text("{\"signatures\": [{\"protected\": \"*\"}]}").starts_with("base64 decode error: "));
}

#[test]
fn schema_1_layers_must_be_digests() {
    let payload = schema1_payload().replace(HEX, "xyz");
    assert_eq!(
        Schema1::from_payload(payload.as_bytes()).unwrap_err().to_string(),
        "invalid digest format of layer 0"
    );
}

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 4]>().prop_map(|seed| Digest::sha256_of(&seed))
}

prop_compose! {
    fn any_descriptor()(media_type in "[ -~]{0,20}", digest in any_digest(), size in 0..i64::MAX) -> Descriptor {
        Descriptor { media_type, digest, size }
    }
}

fn any_annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("[a-z.]{1,8}", "\\PC{0,8}", 0..3)
}

prop_compose! {
    fn any_image()(
        config in any_descriptor(),
        layers in proptest::collection::vec(any_descriptor(), 0..5),
        artifact_type in proptest::option::of("[a-z]{1,8}"),
        subject in proptest::option::of(any_descriptor()),
        annotations in any_annotations(),
    ) -> ImageManifest {
        ImageManifest { media_type: OCI_MANIFEST.into(), config, layers, artifact_type, subject, annotations }
    }
}

prop_compose! {
    fn any_entry()(
        descriptor in any_descriptor(),
        platform in proptest::option::of(("[a-z0-9]{0,6}", "[a-z]{0,6}", "[a-z0-9]{0,3}")),
        artifact_type in proptest::option::of("[a-z]{1,8}"),
        annotations in any_annotations(),
    ) -> IndexEntry {
        let platform = platform.map(|(architecture, os, variant)| Platform { architecture, os, variant, ..Platform::default() });
        let Descriptor { media_type, digest, size } = descriptor;
        IndexEntry { media_type, digest, size, platform, artifact_type, annotations }
    }
}

fn written(descriptor: &Descriptor) -> Value {
    json!({"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size})
}

proptest! {
    #[test]
    fn image_manifests_are_read_as_they_were_written(image in any_image()) {
        let document = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": written(&image.config),
            "layers": image.layers.iter().map(written).collect::<Vec<_>>(),
            "artifactType": image.artifact_type, "subject": image.subject.as_ref().map(written),
            "annotations": image.annotations, "unknownField": {"a": [1, 2.5, null]},
        });
        prop_assert_eq!(parse_value(OCI_MANIFEST, &document), Ok(Manifest::Image(image)));
    }

    #[test]
    fn lists_are_read_as_they_were_written(manifests in proptest::collection::vec(any_entry(), 0..5)) {
        let members: Vec<Value> = manifests.iter().map(|entry| json!({
            "mediaType": entry.media_type, "digest": entry.digest, "size": entry.size,
            "artifactType": entry.artifact_type, "annotations": entry.annotations,
            "platform": entry.platform.as_ref().map(|p| json!({"architecture": p.architecture, "os": p.os, "variant": p.variant})),
        })).collect();
        let document = json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": members});
        let index = Index { media_type: DOCKER_LIST.into(), manifests, annotations: BTreeMap::new() };
        prop_assert_eq!(parse_value(DOCKER_LIST, &document), Ok(Manifest::Index(index)));
    }

    #[test]
    fn signed_manifests_are_read_as_they_were_signed(tag in "\\PC{0,20}", indent in "[ \t\n]{0,4}") {
        let payload = format!("{{{indent}\"schemaVersion\":1,\"tag\":{}{indent}}}", Value::from(tag.as_str()));
        let head = payload.strip_suffix('}').unwrap().trim_end().len();
        let signed = sign(&payload, &[protected(head, &payload[head..])]);
        let manifest = parse("", signed.as_bytes());
        prop_assert_eq!(manifest, Ok(Manifest::Schema1(Schema1::from_payload(payload.as_bytes()).unwrap())));
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for content_type in ACCEPT {
            prop_assert!(parse(content_type, &body).is_err());
        }
    }

    #[test]
    fn documents_cut_short_or_damaged_are_never_a_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(), which in 0..ACCEPT.len(),
    ) {
        let payload = schema1_payload();
        let documents = [
            image(Some(DOCKER_MANIFEST)).to_string(),
            list(Some(DOCKER_LIST)).to_string(),
            image(None).to_string(),
            list(None).to_string(),
            sign(&payload, &[protected(payload.len() - 2, "\n}")]),
            payload.clone(),
        ];
        let mut body = documents[which].clone().into_bytes();
        let at = at.index(body.len());
        if cut { body.truncate(at) } else { body[at] = byte }
        let result = parse(ACCEPT[which], &body);
        prop_assert!(!cut || result.is_err());
    }
}
