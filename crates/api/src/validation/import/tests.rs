use serde_json::{Value, json};

use super::*;
use crate::allowed_registries::RegistryLocation;

fn import_of(spec: &Value) -> ImageStreamImport {
    let metadata = json!({"name": "s", "namespace": "ns"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(FieldError::to_string).collect()
}

fn errors_of(spec: &Value) -> Vec<String> {
    texts(&image_stream_import(&import_of(spec)))
}

fn docker(name: &str) -> Value {
    json!({"kind": "DockerImage", "name": name})
}

#[test]
fn an_image_is_checked_field_by_field() {
    const MODES: &str = "invalid import mode, valid modes are '', 'Legacy', 'PreserveOriginal'";
    for (image, expected) in [
        (
            json!({"from": {"kind": "ImageStreamTag", "name": "a:b"}}),
            vec![
                r#"spec.images[0].from.kind: Invalid value: "ImageStreamTag": only DockerImage is supported"#
                    .into(),
            ],
        ),
        (
            json!({"from": docker("a"), "to": {}}),
            vec![
                r#"spec.images[0].to.name: Invalid value: "": the name of the target tag must be specified"#
                    .into(),
            ],
        ),
        (
            json!({"from": docker("")}),
            vec!["spec.images[0].from.name: Required value".to_owned()],
        ),
        (
            json!({"from": docker("abc@badid")}),
            vec![r#"spec.images[0].from.name: Invalid value: "abc@badid": invalid reference format"#.into()],
        ),
        (
            json!({"from": docker("a"), "importPolicy": {"importMode": "Invalid"}}),
            vec![format!(
                r#"spec.images[0].importPolicy.importMode: Invalid value: "Invalid": {MODES}"#
            )],
        ),
        (
            json!({"from": {"kind": "Foo", "name": "A B"}, "to": {}, "importPolicy": {"importMode": "zz"}}),
            vec![
                r#"spec.images[0].from.kind: Invalid value: "Foo": only DockerImage is supported"#.into(),
                format!(r#"spec.images[0].importPolicy.importMode: Invalid value: "zz": {MODES}"#),
            ],
        ),
        (
            json!({"from": docker("*"), "importPolicy": {"importMode": "zz"}}),
            vec![],
        ),
        (
            json!({"from": docker("*"), "to": {}}),
            vec![
                r#"spec.images[0].to.name: Invalid value: "": the name of the target tag must be specified"#
                    .into(),
            ],
        ),
        (
            json!({"from": docker(&format!("a@sha256:{}", "0".repeat(64))), "importPolicy": {"scheduled": true}}),
            vec![],
        ),
        (
            json!({"from": docker("a:b"), "to": {"name": "/%"}, "referencePolicy": {"type": "Other"}}),
            vec![],
        ),
        (
            json!({"from": docker("a"), "importPolicy": {"importMode": ""}}),
            vec![],
        ),
        (
            json!({"from": docker("a"), "importPolicy": {"importMode": "Legacy"}}),
            vec![],
        ),
        (
            json!({"from": docker("a"), "importPolicy": {"importMode": "PreserveOriginal"}}),
            vec![],
        ),
    ] {
        assert_eq!(errors_of(&json!({"images": [image]})), expected, "{image}");
    }
}

#[test]
fn a_repository_is_checked_field_by_field() {
    const NOT_REPOSITORY: &str = "you must specify an image repository, not a tag or ID";
    let by_digest = format!("a/b@sha256:{}", "0".repeat(64));
    for (repository, expected) in [
        (
            json!({"from": {"kind": "ImageStream", "name": "a"}}),
            Some(r#"from.kind: Invalid value: "ImageStream": only DockerImage is supported"#.to_owned()),
        ),
        (
            json!({"from": docker("")}),
            Some("from.name: Required value: container image references require a name".into()),
        ),
        (
            json!({"from": docker("a-|///bbb")}),
            Some(r#"from.name: Invalid value: "a-|///bbb": invalid reference format"#.into()),
        ),
        (
            json!({"from": docker("a/b:tag")}),
            Some(format!(
                r#"from.name: Invalid value: "a/b:tag": {NOT_REPOSITORY}"#
            )),
        ),
        (
            json!({"from": docker(&by_digest)}),
            Some(format!(
                r#"from.name: Invalid value: "{by_digest}": {NOT_REPOSITORY}"#
            )),
        ),
        (
            json!({"from": docker("a"), "importPolicy": {"importMode": "zz"}}),
            Some(
                "importPolicy.importMode: Invalid value: \"zz\": invalid import mode, valid modes are '', \
                 'Legacy', 'PreserveOriginal'"
                    .into(),
            ),
        ),
        (
            json!({"from": docker("*")}),
            Some(r#"from.name: Invalid value: "*": invalid reference format"#.into()),
        ),
        (json!({"from": docker("registry.example.com:5000/a/b")}), None),
    ] {
        let expected: Vec<String> = expected
            .map(|text| format!("spec.repository.{text}"))
            .into_iter()
            .collect();
        assert_eq!(
            errors_of(&json!({"repository": repository})),
            expected,
            "{repository}"
        );
    }
}

#[test]
fn an_import_names_something_to_import() {
    let nothing =
        "spec.images: Invalid value: null: you must specify at least one image or a repository import";
    assert_eq!(errors_of(&json!({"import": true})), [nothing]);
    assert_eq!(errors_of(&json!({"images": []})), [nothing]);
}

#[test]
fn errors_come_in_the_order_images_repository_metadata() {
    let mut import = import_of(&json!({
        "images": [{"from": docker("A")}, {"from": docker("")}],
        "repository": {"from": docker("")}
    }));
    import.metadata.name = Some("Bad".into());
    let paths: Vec<String> = image_stream_import(&import)
        .iter()
        .map(|error| error.path.to_string())
        .collect();
    assert_eq!(
        paths,
        [
            "spec.images[0].from.name",
            "spec.images[1].from.name",
            "spec.repository.from.name",
            "metadata.name"
        ]
    );
}

#[test]
fn a_name_may_be_longer_than_a_stream_with_its_namespace() {
    let mut import = import_of(&json!({"images": [{"from": docker("a")}]}));
    import.metadata.name = Some("x".repeat(300));
    assert_eq!(image_stream_import(&import), []);
}

fn only(domain_name: &str, insecure: bool) -> AllowedRegistries {
    let location = RegistryLocation {
        domain_name: domain_name.into(),
        insecure,
    };
    AllowedRegistries::new(&[location]).unwrap()
}

#[test]
fn a_registry_that_is_not_allowed_is_told_with_its_port() {
    for (from, insecure, endpoint) in [
        ("busybox", false, "docker.io:443"),
        ("busybox", true, "docker.io:80"),
        ("docker.io/busybox", false, "registry-1.docker.io:443"),
        ("index.docker.io/busybox", true, "registry-1.docker.io:80"),
        ("example.com/a", false, "example.com:443"),
        ("example.com/a", true, "example.com:80"),
        ("example.com:5000/a", true, "example.com:5000"),
        ("*", false, "docker.io:443"),
        ("NOT A REFERENCE", true, "docker.io:80"),
    ] {
        let policy = json!({"insecure": insecure});
        let import = import_of(&json!({
            "images": [{"from": docker(from), "importPolicy": policy}],
            "repository": {"from": docker(from), "importPolicy": policy}
        }));
        let text = format!(
            "importing images from registry \"{endpoint}\" is forbidden: \
             registry \"{endpoint}\" not allowed by whitelist: \"other.com:443\""
        );
        assert_eq!(
            texts(&allowed(&import, &only("other.com", false))),
            [
                format!("spec.repository.from.name: Forbidden: {text}"),
                format!("spec.images[0].from.name: Forbidden: {text}"),
            ]
        );
        assert_eq!(allowed(&import, &AllowedRegistries::all()), []);
    }
}

#[test]
fn an_allowed_registry_is_allowed_at_its_port_only() {
    let import = import_of(&json!({"images": [
        {"from": docker("docker.io/busybox")},
        {"from": docker("busybox")},
        {"from": docker("docker.io/busybox"), "importPolicy": {"insecure": true}},
    ]}));
    let paths = |errors: Vec<FieldError>| {
        let paths: Vec<String> = errors.iter().map(|error| error.path.to_string()).collect();
        paths
    };
    assert_eq!(
        paths(allowed(&import, &only("docker.io", false))),
        ["spec.images[2].from.name"]
    );
    assert_eq!(
        paths(allowed(&import, &only("docker.io", true))),
        ["spec.images[0].from.name", "spec.images[1].from.name"]
    );
}

#[test]
fn a_repository_of_another_kind_has_no_registry() {
    let import = import_of(&json!({"repository": {"from": {"kind": "ImageStream", "name": "a"}}}));
    assert_eq!(allowed(&import, &only("other.com", false)), []);
}
