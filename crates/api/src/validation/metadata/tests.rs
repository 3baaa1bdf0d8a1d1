use serde_json::{Value, json};

use super::*;

fn errors_in(metadata: Value, scope: Scope, rule: NameRule) -> Vec<String> {
    let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
    create(&metadata, scope, rule, &Path::root("metadata"))
        .iter()
        .map(FieldError::to_string)
        .collect()
}

/// The errors in the metadata of an image, without the leading `metadata.`.
fn image_errors(mut metadata: Value) -> Vec<String> {
    metadata["name"] = json!("x");
    errors_in(metadata, Scope::Cluster, NameRule::PathSegment)
        .iter()
        .map(|error| error.strip_prefix("metadata.").unwrap().to_owned())
        .collect()
}

#[test]
fn an_object_has_a_name_that_follows_the_rule_of_its_kind() {
    use NameRule::{PathSegment, Stream};
    let pattern = r#"must match "[a-z0-9]+(?:[._-][a-z0-9]+)*""#;
    for (metadata, rule, expected) in [
        (
            json!({}),
            Stream,
            vec!["metadata.name: Required value: name or generateName is required".to_owned()],
        ),
        (
            json!({"name": "."}),
            PathSegment,
            vec![r#"metadata.name: Invalid value: ".": may not be '.'"#.into()],
        ),
        (
            json!({"name": "foo/bar"}),
            Stream,
            vec![r#"metadata.name: Invalid value: "foo/bar": may not contain '/'"#.into()],
        ),
        (
            json!({"name": "foo bar"}),
            Stream,
            vec![format!(r#"metadata.name: Invalid value: "foo bar": {pattern}"#)],
        ),
        (json!({"name": "foo bar"}), PathSegment, vec![]),
        (
            json!({"name": "foo-abcde", "generateName": "foo-"}),
            Stream,
            vec![format!(
                r#"metadata.generateName: Invalid value: "foo-": {pattern}"#
            )],
        ),
        (
            json!({"name": "foo-abcde", "generateName": "foo-"}),
            PathSegment,
            vec![],
        ),
        (
            json!({"name": "a/abcde", "generateName": "a/"}),
            PathSegment,
            vec![
                r#"metadata.generateName: Invalid value: "a/": may not contain '/'"#.into(),
                r#"metadata.name: Invalid value: "a/abcde": may not contain '/'"#.into(),
            ],
        ),
    ] {
        assert_eq!(
            errors_in(metadata.clone(), Scope::Cluster, rule),
            expected,
            "{metadata}"
        );
    }
}

#[test]
fn an_object_has_a_namespace_if_its_kind_is_namespaced() {
    let in_namespace = |namespace: &str, scope| {
        let metadata = json!({"name": "x", "namespace": namespace});
        errors_in(metadata, scope, NameRule::Stream)
    };
    assert_eq!(in_namespace("ns", Scope::Namespaced), [""; 0]);
    assert_eq!(in_namespace("", Scope::Cluster), [""; 0]);
    assert_eq!(
        in_namespace("", Scope::Namespaced),
        ["metadata.namespace: Required value"]
    );
    assert_eq!(
        in_namespace("ns", Scope::Cluster),
        ["metadata.namespace: Forbidden: not allowed on this type"]
    );
    let [error] = &in_namespace("!$", Scope::Namespaced)[..] else {
        panic!("one error");
    };
    assert!(
        error.starts_with("metadata.namespace: Invalid value: \"!$\": a lowercase RFC 1123 label must"),
        "{error}"
    );
}

#[test]
fn labels_have_valid_keys_and_values() {
    let errors = image_errors(json!({"labels": {"-a": "b b", "ok": "ok"}}));
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("labels: Invalid value: \"-a\": name part must consist"));
    assert!(errors[1].starts_with("labels: Invalid value: \"b b\": a valid label must be"));
}

#[test]
fn annotations_have_valid_keys_in_any_case_and_a_bounded_size() {
    let errors = image_errors(json!({"annotations": {"a b": "c", "Example.COM/A": "any \n value"}}));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("annotations: Invalid value: \"a b\": name part must consist"));
    assert_eq!(
        image_errors(json!({"annotations": {"k": "x".repeat(262_143)}})),
        [""; 0]
    );
    assert_eq!(
        image_errors(json!({"annotations": {"k": "x".repeat(262_144)}})),
        ["annotations: Too long: may not be more than 262144 bytes"]
    );
}

#[test]
fn an_owner_is_named_in_full() {
    let owner = |version: &str| json!({"ownerReferences": [{"apiVersion": version, "kind": "K", "name": "n", "uid": "u"}]});
    assert_eq!(
        image_errors(json!({"ownerReferences": [{}]})),
        [
            r#"ownerReferences.apiVersion: Invalid value: "": version must not be empty"#,
            r#"ownerReferences.kind: Invalid value: "": must not be empty"#,
            r#"ownerReferences.name: Invalid value: "": must not be empty"#,
            r#"ownerReferences.uid: Invalid value: "": must not be empty"#,
        ]
    );
    for version in ["v1", "apps/v1", "/v1"] {
        assert_eq!(image_errors(owner(version)), [""; 0], "{version}");
    }
    for version in ["", "/", "apps/", "a/b/c"] {
        assert_eq!(
            image_errors(owner(version)),
            [format!(
                r#"ownerReferences.apiVersion: Invalid value: "{version}": version must not be empty"#
            )]
        );
    }
}

#[test]
fn an_event_owns_nothing() {
    let owner = json!({"apiVersion": "v1", "kind": "Event", "name": "n", "uid": "u", "controller": false});
    assert_eq!(
        image_errors(json!({"ownerReferences": [owner]})),
        ["ownerReferences: Invalid value: \
             {\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"n\",\"uid\":\"u\",\"controller\":false}: \
             /v1, Kind=Event is disallowed from being an owner"]
    );
}

#[test]
fn at_most_one_owner_is_the_controller() {
    let owner = |name: &str| {
        json!({"apiVersion": "v1", "kind": "K", "name": name, "uid": "u", "controller": true,
               "blockOwnerDeletion": true})
    };
    assert_eq!(image_errors(json!({"ownerReferences": [owner("a")]})), [""; 0]);
    let shown = |name: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"K","name":"{name}","uid":"u","controller":true,"blockOwnerDeletion":true}}"#
        )
    };
    assert_eq!(
        image_errors(json!({"ownerReferences": [owner("a"), owner("b")]})),
        [format!(
            "ownerReferences: Invalid value: [{},{}]: Only one reference can have Controller set to true. Found \
             \"true\" in references for K/a and K/b",
            shown("a"),
            shown("b")
        )]
    );
}

#[test]
fn a_finalizer_without_a_domain_is_one_of_those_that_everybody_knows() {
    for known in ["kubernetes", "orphan", "foregroundDeletion", "example.com/f"] {
        assert_eq!(image_errors(json!({"finalizers": [known]})), [""; 0], "{known}");
    }
    assert_eq!(
        image_errors(json!({"finalizers": ["example.com/f", "foo"]})),
        [
            "finalizers[1]: Invalid value: \"foo\": name is neither a standard finalizer name nor is it fully \
             qualified"
        ]
    );
}

#[test]
fn finalizers_are_qualified_names_that_do_not_contradict() {
    let errors = image_errors(json!({"finalizers": ["example.com/a b", "example.com/f"]}));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("finalizers: Invalid value: \"example.com/a b\": name part must consist"));
    assert_eq!(image_errors(json!({"finalizers": ["orphan"]})), [""; 0]);
    assert_eq!(
        image_errors(json!({"finalizers": ["orphan", "foregroundDeletion"]})),
        [
            "finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and \
             foregroundDeletion cannot be both set"
        ]
    );
}

#[test]
fn managed_fields_say_who_did_what() {
    let long = "m".repeat(129);
    assert_eq!(
        image_errors(json!({"managedFields": [
            {"operation": "Apply", "fieldsType": "FieldsV1", "manager": "m"},
            {"operation": "X", "fieldsType": "Y", "manager": "a\u{7}", "subresource": "s".repeat(257)},
            {"operation": "Update", "manager": long, "subresource": "s".repeat(256)},
        ]})),
        [
            r#"managedFields[1].operation: Invalid value: "X": must be `Apply` or `Update`"#,
            r#"managedFields[1].fieldsType: Invalid value: "Y": must be `FieldsV1`"#,
            r#"managedFields[1].manager: Invalid value: "a\a": invalid character U+0007 (at position 1)"#,
            "managedFields[1].subresource: Too long: may not be more than 256 bytes",
            "managedFields[2].manager: Too long: may not be more than 128 bytes",
        ]
    );
}

#[test]
fn a_generation_is_not_negative() {
    assert_eq!(image_errors(json!({"generation": 0})), [""; 0]);
    assert_eq!(
        image_errors(json!({"generation": -1})),
        ["generation: Invalid value: -1: must be greater than or equal to 0"]
    );
}

#[test]
fn the_path_is_that_of_the_metadata() {
    let metadata = ObjectMeta {
        name: Some("a/b".into()),
        namespace: Some("ns".into()),
        ..ObjectMeta::default()
    };
    let path = Path::root("image").child("metadata");
    let errors = create(&metadata, Scope::Cluster, NameRule::PathSegment, &path);
    let paths: Vec<String> = errors.iter().map(|error| error.path.to_string()).collect();
    assert_eq!(paths, ["image.metadata.name", "image.metadata.namespace"]);
}
