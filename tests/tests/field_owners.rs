//! Server-side apply with the real `kubectl`: who owns which field, and what happens when two want the same one.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use imagestream_tests::kubectl::{Kubectl, Output, is_installed};
use imagestream_tests::server::Server;
use serde_json::{Value, json};

/// A server with namespace `team`, and the administrator's kubectl.
fn started() -> (Server, Kubectl) {
    let server = Server::start();
    let kubectl = Kubectl::new(server.kubeconfig());
    let _ = kubectl.ok(&["create", "namespace", "team"]);
    (server, kubectl)
}

/// Applies an object as a manager.
fn apply(kubectl: &Kubectl, manager: &str, object: &Value, more: &[&str]) -> Output {
    let manager = format!("--field-manager={manager}");
    let all = [&["apply", "--server-side", &manager, "-f", "-"][..], more].concat();
    kubectl.run_with(&all, &object.to_string())
}

/// The managers of an object, and what each owns.
fn owners(kubectl: &Kubectl, what: &[&str]) -> Vec<(String, String, Value)> {
    let all = [
        &["get", "-n", "team", "--show-managed-fields", "-o", "json"][..],
        what,
    ]
    .concat();
    let object = kubectl.json(&all);
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap().to_owned();
            (text("manager"), text("operation"), entry["fieldsV1"].clone())
        })
        .collect()
}

/// Applies an object as `first`, then another value of one of its fields as `second`, who has to force it.
fn contested(kubectl: &Kubectl, what: &[&str], first: &Value, second: &Value, field: &str, owned: &str) {
    let applied = apply(kubectl, "first", first, &[]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert!(applied.stdout.ends_with("serverside-applied\n"), "{applied:?}");
    let again = apply(kubectl, "first", first, &[]);
    assert_eq!(again.code, 0, "{again:?}");

    let refused = apply(kubectl, "second", second, &[]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let conflict = format!("Apply failed with 1 conflict: conflict with \"first\": {field}");
    assert!(refused.stderr.contains(&conflict), "{refused:?}");

    let forced = apply(kubectl, "second", second, &["--force-conflicts"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    let found = owners(kubectl, what);
    let of = |manager: &str| {
        found
            .iter()
            .find(|(name, operation, _)| name == manager && operation == "Apply")
    };
    let has = |manager: &str| of(manager).is_some_and(|(_, _, fields)| fields.pointer(owned).is_some());
    assert!(has("second") && !has("first"), "{found:#?}");
}

#[test]
fn an_applied_stream_has_owners_and_a_conflict_names_them() {
    if !is_installed() {
        return;
    }
    let (_server, kubectl) = started();
    let stream = |local: bool| {
        json!({"apiVersion": "image.openshift.io/v1", "kind": "ImageStream",
               "metadata": {"name": "app", "namespace": "team"},
               "spec": {"lookupPolicy": {"local": local},
                        "tags": [{"name": "v1", "reference": true, "from": {"kind": "DockerImage", "name": "r.example.com/a:1"}}]}})
    };
    let mut second = stream(true);
    second["spec"].as_object_mut().unwrap().remove("tags");
    contested(
        &kubectl,
        &["imagestream", "app"],
        &stream(false),
        &second,
        ".spec.lookupPolicy.local",
        "/f:spec/f:lookupPolicy/f:local",
    );
    // What is not applied any more goes, if nobody else wants it.
    let without = json!({"apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": {"name": "app", "namespace": "team"}});
    assert_eq!(apply(&kubectl, "first", &without, &[]).code, 0);
    let left = kubectl.json(&["get", "is", "app", "-n", "team", "-o", "json"]);
    assert_eq!(left["spec"].get("tags"), None, "{left:#}");
    assert_eq!(left["spec"]["lookupPolicy"]["local"], true);
    assert_eq!(
        left["metadata"].get("managedFields"),
        None,
        "kubectl hides them unless asked"
    );
    // Who edits owns what was edited.
    let _ = kubectl.ok(&["label", "--field-manager=labeller", "is/app", "-n", "team", "a=b"]);
    let found = owners(&kubectl, &["imagestream", "app"]);
    let labeller = found.iter().find(|(name, ..)| name == "labeller");
    assert!(
        labeller.is_some_and(|(_, operation, fields)| operation == "Update"
            && fields.pointer("/f:metadata/f:labels/f:a").is_some()),
        "{found:#?}"
    );
}

#[test]
fn secrets_and_limits_are_applied_the_same_way() {
    if !is_installed() {
        return;
    }
    let (_server, kubectl) = started();
    let secret = |value: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "team"}, "type": "Opaque",
               "data": {"key": value}})
    };
    contested(
        &kubectl,
        &["secret", "s"],
        &secret("YQ=="),
        &secret("Yg=="),
        ".data.key",
        "/f:data/f:key",
    );
    let limit = |most: &str| {
        json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l", "namespace": "team"},
               "spec": {"limits": [{"type": "openshift.io/Image", "max": {"storage": most}}]}})
    };
    contested(
        &kubectl,
        &["limitrange", "l"],
        &limit("1Gi"),
        &limit("2Gi"),
        ".spec.limits",
        "/f:spec/f:limits",
    );
}
