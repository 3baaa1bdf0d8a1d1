use serde_json::{Value, json};

use super::*;

fn round_trip<T: Kind + Serialize + serde::de::DeserializeOwned>(input: Value) -> Value {
    let object: T = serde_json::from_value(input).unwrap();
    serde_json::to_value(Typed::new(&object)).unwrap()
}

#[test]
fn an_empty_stream_has_the_keys_that_are_never_left_out() {
    assert_eq!(
        round_trip::<ImageStream>(json!({"unknown": 1, "spec": null})),
        json!({
            "kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {},
            "spec": {"lookupPolicy": {"local": false}},
            "status": {"dockerImageRepository": ""}
        })
    );
}

#[test]
fn tags_are_sorted_and_the_last_of_two_with_one_name_wins() {
    let stream = round_trip::<ImageStream>(json!({"spec": {"tags": [
        {"name": "b"}, {"name": "a", "reference": true}, {"name": "b", "generation": 2}
    ]}}));
    assert_eq!(
        stream["spec"]["tags"],
        json!([
            {"name": "a", "annotations": null, "reference": true, "generation": null,
             "importPolicy": {}, "referencePolicy": {"type": ""}},
            {"name": "b", "annotations": null, "generation": 2,
             "importPolicy": {}, "referencePolicy": {"type": ""}},
        ])
    );
}

#[test]
fn a_tag_without_history_has_null_items() {
    let tags =
        json!([{"tag": "v1", "items": [], "conditions": [{"type": "ImportSuccess", "status": "False"}]}]);
    let stream = round_trip::<ImageStream>(json!({"status": {"tags": tags}}));
    assert_eq!(
        stream["status"]["tags"],
        json!([{"tag": "v1", "items": null, "conditions": [
            {"type": "ImportSuccess", "status": "False", "lastTransitionTime": null, "generation": 0}]}])
    );
}

#[test]
fn the_minimal_image_has_metadata_of_kind_docker_image() {
    let minimal = json!({
        "kind": "Image", "apiVersion": "image.openshift.io/v1", "metadata": {},
        "dockerImageMetadata": {"kind": "DockerImage", "apiVersion": "image.openshift.io/1.0",
                                "Id": "", "Created": null, "ContainerConfig": {}},
        "dockerImageMetadataVersion": "1.0"
    });
    for input in [
        json!({}),
        json!({"dockerImageMetadata": null}),
        json!({"dockerImageMetadata": {}}),
        json!({"dockerImageMetadata": {"kind": "DockerImage", "apiVersion": "1.0", "OS": "linux"}}),
    ] {
        assert_eq!(round_trip::<Image>(input.clone()), minimal, "from {input}");
    }
}

#[test]
fn metadata_of_version_pre012_keeps_its_own_names() {
    let image = round_trip::<Image>(json!({
        "dockerImageMetadataVersion": "pre012",
        "dockerImageMetadata": {"id": "x", "Id": "ignored", "container_config": {"Env": ["A=b"]}}
    }));
    assert_eq!(
        image["dockerImageMetadata"],
        json!({"kind": "DockerImage", "apiVersion": "image.openshift.io/pre012", "id": "x", "created": null,
               "container_config": {"Env": ["A=b"]}})
    );
}

#[test]
fn metadata_of_an_unknown_version_is_refused_unless_it_is_empty() {
    let read = |metadata: Value| {
        serde_json::from_value::<Image>(
            json!({"dockerImageMetadataVersion": "9.9", "dockerImageMetadata": metadata}),
        )
    };
    assert!(read(json!({})).is_ok());
    let error = read(json!({"Id": "x"})).unwrap_err().to_string();
    assert!(
        error.contains("no kind \"DockerImage\" is registered for version \"image.openshift.io/9.9\""),
        "{error}"
    );
}

#[test]
fn a_configuration_is_read_whatever_the_case_of_its_keys() {
    let config = br#"{"ARCHITECTURE":"arm64","Created":"2024-01-02T03:04:05.678+02:00","rootfs":{"type":"layers"},
        "config":{"env":["A=b"],"exposedports":{"80/tcp":{"x":1}},"StopSignal":"SIGQUIT","Labels":null},"os":"linux"}"#;
    let image = DockerImage::from_config(config).unwrap();
    assert_eq!(
        serde_json::to_value(&image).unwrap(),
        json!({"kind": "DockerImage", "apiVersion": "image.openshift.io/1.0", "Id": "",
               "Created": "2024-01-02T01:04:05Z", "ContainerConfig": {},
               "Config": {"Env": ["A=b"], "ExposedPorts": {"80/tcp": {}}}, "Architecture": "arm64"})
    );
}

#[test]
fn a_configuration_with_a_value_of_the_wrong_type_is_refused() {
    for config in [
        &br#"{"architecture": 1}"#[..],
        br#"{"config": {"Env": "A=b"}}"#,
        br#"{"config": []}"#,
        br#"[]"#,
        br#"{"created": "yesterday"}"#,
        br#"{"architecture": "amd64"} trailing"#,
    ] {
        assert!(
            DockerImage::from_config(config).is_err(),
            "{}",
            String::from_utf8_lossy(config)
        );
    }
}

#[test]
fn the_zero_time_of_go_is_no_time() {
    let image = DockerImage::from_config(br#"{"created": "0001-01-01T00:00:00Z"}"#).unwrap();
    assert_eq!(image.created, None);
}

#[test]
fn a_status_inside_an_import_has_no_kind() {
    let import = round_trip::<ImageStreamImport>(json!({"status": {"images": [
        {"status": {"metadata": {}, "status": "Failure", "code": 404, "reason": "NotFound"}, "tag": "v1"}, {}
    ]}}));
    assert_eq!(
        import["status"],
        json!({"images": [
            {"status": {"metadata": {}, "status": "Failure", "code": 404, "reason": "NotFound"}, "tag": "v1"},
            {"status": {"metadata": {}}}
        ]})
    );
    assert_eq!(import["spec"], json!({"import": false}));
}

#[test]
fn virtual_objects_write_null_for_what_they_lack() {
    assert_eq!(
        round_trip::<ImageTag>(json!({})),
        json!({"kind": "ImageTag", "apiVersion": "image.openshift.io/v1", "metadata": {},
               "spec": null, "status": null, "image": null})
    );
    assert_eq!(
        round_trip::<ImageStreamLayers>(json!({"images": {"a": {}}, "blobs": {"b": {}}})),
        json!({"kind": "ImageStreamLayers", "apiVersion": "image.openshift.io/v1", "metadata": {},
               "blobs": {"b": {"size": null, "mediaType": ""}},
               "images": {"a": {"imageMissing": false, "layers": null, "config": null}}})
    );
    let tag = round_trip::<ImageStreamTag>(json!({}));
    assert_eq!(
        (&tag["tag"], &tag["generation"], &tag["lookupPolicy"]),
        (&Value::Null, &json!(0), &json!({"local": false}))
    );
}

#[test]
fn a_signature_keeps_its_bytes_and_writes_null_for_none() {
    let signature = round_trip::<ImageSignature>(json!({"type": "AtomicImageV1", "content": "AAEC"}));
    assert_eq!(signature["content"], json!("AAEC"));
    assert_eq!(round_trip::<ImageSignature>(json!({}))["content"], Value::Null);
    assert!(serde_json::from_value::<ImageSignature>(json!({"content": "?"})).is_err());
}

#[test]
fn a_list_without_objects_has_an_empty_list_of_items() {
    assert_eq!(
        round_trip::<ImageStreamList>(json!({"items": null})),
        json!({"kind": "ImageStreamList", "apiVersion": "image.openshift.io/v1", "metadata": {}, "items": []})
    );
}
