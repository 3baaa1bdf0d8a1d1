use serde_json::{Value, json};

use super::*;
use crate::allowed_registries::RegistryLocation;
use crate::defaults::{self, ImportMode};

fn stream(value: Value) -> ImageStream {
    let mut stream: ImageStream = serde_json::from_value(value).unwrap();
    let metadata = &mut stream.metadata;
    metadata.name.get_or_insert_with(|| "s".into());
    metadata.namespace.get_or_insert_with(|| "n".into());
    metadata.resource_version = Some("7".into());
    defaults::image_stream(&mut stream, ImportMode::Legacy);
    stream
}

fn with_spec(reference: &str) -> Value {
    json!({"tags": [{"name": "latest", "from": {"kind": "DockerImage", "name": reference}}]})
}

fn with_status(reference: &str) -> Value {
    json!({"tags": [{"tag": "latest", "items": [{"dockerImageReference": reference, "image": "x"}]}]})
}

fn allowed(patterns: &[&str]) -> AllowedRegistries {
    let location = |pattern: &&str| RegistryLocation {
        domain_name: (*pattern).into(),
        insecure: false,
    };
    AllowedRegistries::new(&patterns.iter().map(location).collect::<Vec<_>>()).unwrap()
}

fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(FieldError::to_string).collect()
}

fn errors(value: Value) -> Vec<String> {
    texts(&image_stream(&stream(value), &AllowedRegistries::all()))
}

fn update_errors(new: Value, stored: Value, patterns: &[&str]) -> Vec<String> {
    let [common, rest] = image_stream_update(&stream(new), &stream(stored), &allowed(patterns), |_| false);
    texts(&[common, rest].concat())
}

#[test]
fn a_stream_and_its_namespace_name_a_repository() {
    for name in ["g", "abcdefghijklmnopqrstuvwxyz-1234567890.dot_underscore-dash"] {
        assert_eq!(errors(json!({"metadata": {"name": name}})), [""; 0]);
    }
    let namespace = "n".repeat(63);
    let of_length = |length: usize| json!({"metadata": {"name": "s".repeat(length), "namespace": namespace}});
    assert_eq!(errors(of_length(191)), [""; 0]);
    assert_eq!(
        errors(of_length(192)),
        [format!(
            "metadata.name: Invalid value: \"{}\": 'namespace/name' cannot be longer than 255 characters",
            "s".repeat(192)
        )]
    );
    assert_eq!(
        errors(json!({"metadata": {"name": "Foo"}})),
        [r#"metadata.name: Invalid value: "Foo": must match "[a-z0-9]+(?:[._-][a-z0-9]+)*""#]
    );
}

#[test]
fn a_repository_is_named_without_tag_and_digest() {
    let path = "spec.dockerImageRepository: Invalid value";
    let digest = "1".repeat(64);
    for (repository, details) in [
        ("a/b".to_owned(), vec![]),
        ("a-|///bbb".into(), vec!["invalid reference format"]),
        ("a/b@sha256:something".into(), vec!["invalid reference format"]),
        (
            "a/b:tag".into(),
            vec!["the repository name may not contain a tag"],
        ),
        (
            format!("a/b@sha256:{digest}"),
            vec!["the repository name may not contain an ID"],
        ),
        (
            format!("a/b:tag@sha256:{digest}"),
            vec![
                "the repository name may not contain a tag",
                "the repository name may not contain an ID",
            ],
        ),
    ] {
        let expected: Vec<String> = details
            .iter()
            .map(|detail| format!("{path}: \"{repository}\": {detail}"))
            .collect();
        assert_eq!(
            errors(json!({"spec": {"dockerImageRepository": repository}})),
            expected
        );
    }
}

#[test]
fn the_registry_of_a_repository_is_allowed() {
    let found = image_stream(
        &stream(json!({"spec": {"dockerImageRepository": "example.com/a/b"}})),
        &allowed(&["*.example.com"]),
    );
    assert_eq!(
        texts(&found),
        [
            r#"spec.dockerImageRepository: Forbidden: registry "example.com" not allowed by whitelist: "*.example.com:443""#
        ]
    );
}

#[test]
fn the_name_of_a_tag_may_be_anything() {
    assert_eq!(
        errors(json!({"spec": {"tags": [{"name": "a/b %"}, {"name": ""}]}})),
        [""; 0]
    );
}

#[test]
fn events_have_references() {
    let path = "status.tags[latest].items[0].dockerImageReference";
    assert_eq!(
        errors(json!({"status": with_status("")})),
        [format!("{path}: Required value")]
    );
    assert_eq!(
        errors(json!({"status": with_status("A//b")})),
        [format!(
            "{path}: Invalid value: \"A//b\": invalid reference format"
        )]
    );
}

#[test]
fn the_spec_decides_how_the_registry_of_an_event_is_spoken_to() {
    let patterns = ["dev.null.io:80"];
    let check = |metadata: Value, insecure: bool| {
        let mut spec = with_spec("dev.null.io:80/app");
        spec["tags"][0]["importPolicy"] = json!({"insecure": insecure});
        let object =
            stream(json!({"metadata": metadata, "spec": spec, "status": with_status("dev.null.io/app")}));
        image_stream(&object, &allowed(&patterns)).len()
    };
    assert_eq!(check(json!({}), false), 1);
    assert_eq!(check(json!({}), true), 0);
    let annotated = |value: &str| json!({"annotations": {"openshift.io/image.insecureRepository": value}});
    assert_eq!(check(annotated("true"), false), 0);
    assert_eq!(check(annotated("yes"), false), 1);
}

#[test]
fn what_a_stream_refers_to_already_stays_accepted() {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let spec_path = "spec.tags[latest].from.name";
    let status_path = "status.tags[latest].items[0].dockerImageReference";
    let both = |reference: &str| json!({"spec": with_spec(reference), "status": with_status(reference)});
    let repository = |repository: &str| json!({"spec": {"dockerImageRepository": repository}});
    for (stored, new, forbidden) in [
        (json!({}), both("example.com/repo"), vec![spec_path, status_path]),
        (
            json!({"spec": with_spec("example.com/repo")}),
            both("example.com/repo"),
            vec![],
        ),
        (
            json!({"status": with_status("abcd.com/repo/myapp:latest")}),
            json!({"spec": with_spec("abcd.com/repo/myapp:latest"),
                   "status": with_status(&format!("abcd.com/repo/myapp@{}", digest("1")))}),
            vec![],
        ),
        (
            repository("example.com/my/app"),
            repository("docker.io/my/newapp"),
            vec![],
        ),
        (
            repository("docker.io/my/app"),
            repository("example.com/my/newapp"),
            vec!["spec.dockerImageRepository"],
        ),
        (
            json!({"spec": with_spec("example.com/foo:tag")}),
            json!({"spec": with_spec(&format!("example.com/bar@{}", digest("1")))}),
            vec![spec_path],
        ),
        (
            json!({"spec": with_spec(&format!("example.com/image@{}", digest("1")))}),
            json!({"spec": with_spec(&format!("example.com/image@{}", digest("2")))}),
            vec![],
        ),
        (json!({"status": with_status("A//b")}), json!({}), vec![]),
    ] {
        let found = update_errors(new.clone(), stored, &["docker.io"]);
        let expected: Vec<String> = forbidden
            .iter()
            .map(|path| {
                format!(
                    "{path}: Forbidden: registry \"example.com\" not allowed by whitelist: \"docker.io:443\""
                )
            })
            .collect();
        assert_eq!(found, expected, "{new}");
    }
}

#[test]
fn events_that_the_server_resolved_are_not_held_to_the_list() {
    let (new, stored) = (
        stream(json!({"status": with_status("example.com/a")})),
        stream(json!({})),
    );
    let registries = allowed(&["docker.io"]);
    let count = |resolved: bool| {
        image_stream_update(&new, &stored, &registries, |_| resolved)
            .concat()
            .len()
    };
    assert_eq!((count(true), count(false)), (0, 1));
}

#[test]
fn an_update_keeps_what_identifies_the_stream() {
    let found = update_errors(
        json!({"metadata": {"uid": "v"}}),
        json!({"metadata": {"uid": "u"}}),
        &[],
    );
    let immutable = "metadata.uid: Invalid value: \"v\": field is immutable";
    assert_eq!(found, [immutable, immutable]);
}

#[test]
fn a_new_status_is_checked_where_it_says_something_new() {
    let path = "status.tags[latest].items[0].dockerImageReference";
    let check = |new: Value, stored: Value, limit: Option<&str>| {
        let registries = allowed(&["docker.io"]);
        texts(&image_stream_status_update(
            &stream(new),
            &stream(stored),
            &registries,
            limit,
        ))
    };
    let status = |reference: &str| json!({"status": with_status(reference)});
    assert_eq!(
        check(status(""), json!({}), None),
        [format!(
            "{path}: Invalid value: \"\": repository name must have at least one component"
        )]
    );
    assert_eq!(
        check(status("A//b"), json!({}), None),
        [format!(
            "{path}: Invalid value: \"A//b\": invalid reference format"
        )]
    );
    let forbidden = [format!(
        "{path}: Forbidden: registry \"example.com\" not allowed by whitelist: \"docker.io:443\""
    )];
    assert_eq!(check(status("example.com/a"), json!({}), None), forbidden);
    assert_eq!(
        check(status("example.com/a:2"), status("example.com/a:1"), None),
        forbidden,
        "references, not repositories, are compared"
    );
    for known in ["", "A//b", "example.com/a"] {
        assert_eq!(check(status(known), status(known), None), [""; 0]);
    }
    assert_eq!(
        check(json!({"spec": with_spec("A//b")}), json!({}), None),
        [""; 0]
    );
    assert_eq!(
        check(json!({}), json!({}), Some("too many images")),
        ["imageStream: Forbidden: too many images"]
    );
}

#[test]
fn one_insecure_position_makes_a_reference_insecure_everywhere() {
    let count = |insecure: bool| {
        let object = stream(json!({
            "spec": {"tags": [{"name": "b", "importPolicy": {"insecure": insecure}}]},
            "status": {"tags": [{"tag": "a", "items": [{"dockerImageReference": "dev.null.io/a"}]},
                                {"tag": "b", "items": [{"dockerImageReference": "dev.null.io/a"}]}]}
        }));
        image_stream_status_update(&object, &stream(json!({})), &allowed(&["dev.null.io:80"]), None).len()
    };
    assert_eq!((count(false), count(true)), (2, 0));
}
