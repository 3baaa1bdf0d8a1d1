//! `kubectl` works with streams as it does with anything else that Kubernetes serves.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use imagestream_testkit::auth::Auth;
use imagestream_testkit::content::Content;
use imagestream_testkit::registry::TestRegistry;
use imagestream_testkit::samples;
use imagestream_tests::kubectl::{Kubectl, is_installed};
use imagestream_tests::program::list;
use imagestream_tests::server::{NOBODY, Server, VIEWER};
use serde_json::{Value, json};

/// A server with namespace `team`, and the administrator's kubectl.
fn started() -> (Server, Kubectl) {
    let server = Server::start();
    let kubectl = Kubectl::new(server.kubeconfig());
    assert_eq!(
        kubectl.ok(&["create", "namespace", "team"]),
        "namespace/team created\n"
    );
    (server, kubectl)
}

fn stream(name: &str, tags: &[&str]) -> Value {
    let tags: Vec<Value> = tags
        .iter()
        .map(|tag| json!({"name": tag, "reference": true, "from": {"kind": "DockerImage", "name": format!("registry.example.com/team/{name}:{tag}")}}))
        .collect();
    json!({
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": name, "namespace": "team"},
        "spec": {"tags": tags},
    })
}

fn create(kubectl: &Kubectl, object: &Value) {
    let _ = kubectl.ok_with(&["create", "-f", "-"], &object.to_string());
}

/// The cells of each line of a table, split where there are two spaces or more.
fn cells(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect()
}

#[test]
fn a_private_image_is_imported_and_then_seen_in_every_way() {
    if !is_installed() {
        return;
    }
    let content = Content::new()
        .image("team/app", "v1", samples::hello("1.0"))
        .image("team/app", "v2", samples::hello("2.0"));
    let digest = content.digest("team/app", "v1");
    let registry = TestRegistry::start(content);
    registry.set_auth(Auth::basic("reader", "pass word"));
    let (_server, kubectl) = started();
    let host = registry.host();
    let manifest = format!(
        "apiVersion: image.openshift.io/v1
kind: ImageStreamImport
metadata: {{name: app, namespace: team}}
spec:
  import: true
  images:
  - from: {{kind: DockerImage, name: '{host}/team/app:v1'}}
    to: {{name: v1}}
    importPolicy: {{insecure: true}}
status: {{}}
"
    );
    let import = |output: &str| kubectl.ok_with(&["create", "-f", "-", "-o", output], &manifest);
    let refused: Value = serde_json::from_str(&import("json")).unwrap();
    assert_eq!(refused["status"]["images"][0]["status"]["reason"], "Unauthorized");

    let registry_flag = format!("--docker-server={host}");
    let secret = [
        "create",
        "secret",
        "docker-registry",
        "pull",
        "-n",
        "team",
        "--docker-username=reader",
    ];
    let created = kubectl.ok(&[&secret[..], &["--docker-password=pass word", &registry_flag]].concat());
    assert_eq!(created, "secret/pull created\n");
    let yaml = import("yaml");
    assert!(
        yaml.contains("status: Success") && yaml.contains(&digest),
        "{yaml}"
    );

    let table = kubectl.ok(&["get", "is", "-n", "team"]);
    let rows = cells(&table);
    assert_eq!(rows[0][0], "NAME");
    assert_eq!(rows[1][0], "app");
    assert!(rows[1].contains(&"v1"), "{table}");
    let everywhere = kubectl.ok(&["get", "imagestreams,istag", "-A"]);
    for name in [
        "imagestream.image.openshift.io/app",
        "imagestreamtag.image.openshift.io/app:v1",
    ] {
        assert!(everywhere.contains(name), "{everywhere}");
    }
    let wide = kubectl.ok(&["get", "istag", "-n", "team", "-o", "wide"]);
    assert!(wide.contains("app:v1"), "{wide}");
    assert!(
        kubectl
            .ok(&["get", "is", "-n", "team", "-o", "yaml"])
            .contains("kind: ImageStream\n")
    );
    assert_eq!(
        kubectl.ok(&["get", "is", "-n", "team", "-o", "name"]),
        "imagestream.image.openshift.io/app\n"
    );
    let template = "-o=jsonpath={.image.dockerImageMetadata.Config.User}";
    assert_eq!(
        kubectl.ok(&["get", "istag", "app:v1", "-n", "team", template]),
        "1001"
    );
    let columns = "-o=custom-columns=STREAM:.metadata.name,TAG:.spec.tags[0].name";
    let table = kubectl.ok(&["get", "is", "-n", "team", columns]);
    assert_eq!(cells(&table), [["STREAM", "TAG"], ["app", "v1"]]);
    let by_digest = kubectl.json(&["get", "isimage", &format!("app@{digest}"), "-n", "team"]);
    assert_eq!(by_digest["image"]["metadata"]["name"], digest);
    let image = kubectl.json(&["get", &format!("images.image.openshift.io/{digest}")]);
    assert_eq!(image["dockerImageReference"], format!("{host}/team/app@{digest}"));
    // There is no list of images of streams.
    let refused = kubectl.fails(&["get", "isimage", "-n", "team"]);
    assert!(
        refused.contains("(NotFound)") && refused.contains("imagestreamimages"),
        "{refused}"
    );

    for described in ["is/app", "istag/app:v1"] {
        let text = kubectl.ok(&["describe", described, "-n", "team"]);
        assert!(text.contains("Namespace:") && text.contains(&digest), "{text}");
    }
    let raw = kubectl.ok(&[
        "get",
        "--raw",
        "/apis/image.openshift.io/v1/namespaces/team/imagestreams/app",
    ]);
    let raw: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(raw["status"]["tags"][0]["items"][0]["image"], digest);
}

#[test]
fn what_the_server_offers_is_found_and_explained() {
    if !is_installed() {
        return;
    }
    let server = Server::start();
    let kubectl = Kubectl::new(server.kubeconfig());
    let versions = kubectl.ok(&["api-versions"]);
    for version in ["image.openshift.io/v1", "v1", "rbac.authorization.k8s.io/v1"] {
        assert!(versions.lines().any(|line| line == version), "{versions}");
    }
    let names = kubectl.ok(&["api-resources", "--api-group=image.openshift.io", "-o", "name"]);
    for name in [
        "images",
        "imagestreams",
        "imagestreamtags",
        "imagestreamimports",
        "imagetags",
    ] {
        let name = format!("{name}.image.openshift.io");
        assert!(names.lines().any(|line| line == name), "{names}");
    }
    let table = kubectl.ok(&["api-resources", "--namespaced=true", "--verbs=list,watch"]);
    let streams = table
        .lines()
        .find(|line| line.starts_with("imagestreams "))
        .expect("a line");
    let words: Vec<&str> = streams.split_whitespace().collect();
    assert_eq!(words[1], "is");
    assert_eq!(words.last(), Some(&"ImageStream"));

    let text = kubectl.ok(&["explain", "is.spec.tags"]);
    for word in ["importPolicy", "referencePolicy", "generation"] {
        assert!(text.contains(word), "{text}");
    }
    let text = kubectl.ok(&["explain", "is", "--recursive"]);
    for word in ["lookupPolicy", "importMode", "dockerImageReference"] {
        assert!(text.contains(word), "{text}");
    }
    let config = kubectl.ok(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    assert_eq!(config, server.url());
    let version: Value = serde_json::from_str(&kubectl.ok(&["version", "-o", "json"])).unwrap();
    assert!(version["serverVersion"]["gitVersion"].is_string(), "{version}");
}

#[test]
fn watched_streams_are_shown_as_they_change() {
    if !is_installed() {
        return;
    }
    let (_server, kubectl) = started();
    create(&kubectl, &stream("app", &["v1"]));
    let watched = kubectl.follow(&["get", "is", "-n", "team", "-w"]);
    let _ = watched.line_with("v1");
    let change = r#"{"spec":{"tags":[{"name":"v2","reference":true,"from":{"kind":"DockerImage","name":"registry.example.com/team/app:v2"}}]}}"#;
    let patched = kubectl.ok(&["patch", "is", "app", "-n", "team", "--type=merge", "-p", change]);
    assert_eq!(patched, "imagestream.image.openshift.io/app patched\n");
    let _ = watched.line_with("v2");
    create(&kubectl, &stream("next", &["v3"]));
    assert!(watched.line_with("v3").starts_with("next"));
}

#[test]
fn applying_twice_changes_what_changed_and_prunes_what_is_gone() {
    if !is_installed() {
        return;
    }
    let (_server, kubectl) = started();
    let mut wanted = stream("app", &["v1", "v2"]);
    wanted["metadata"]["annotations"] = json!({"example.com/owner": "one", "example.com/gone": "soon"});
    wanted["spec"]["lookupPolicy"] = json!({"local": true});
    let apply = |object: &Value| kubectl.ok_with(&["apply", "-f", "-"], &object.to_string());
    let revision = || {
        kubectl.ok(&[
            "get",
            "is/app",
            "-n",
            "team",
            "-o",
            "jsonpath={.metadata.resourceVersion}",
        ])
    };
    assert_eq!(apply(&wanted), "imagestream.image.openshift.io/app created\n");
    let created = revision();
    // Old ones don't know how tags are merged and send them all again.
    let same = if kubectl.minor_version() < 27 {
        "configured"
    } else {
        "unchanged"
    };
    assert_eq!(
        apply(&wanted),
        format!("imagestream.image.openshift.io/app {same}\n")
    );
    assert_eq!(revision(), created);

    // What another client sets stays.
    let _ = kubectl.ok(&["label", "is/app", "-n", "team", "tier=back"]);
    wanted["metadata"]["annotations"] = json!({"example.com/owner": "two"});
    wanted["spec"] = stream("app", &["v1"])["spec"].clone();
    assert_eq!(apply(&wanted), "imagestream.image.openshift.io/app configured\n");
    let stored = kubectl.json(&["get", "is", "app", "-n", "team"]);
    let annotations = &stored["metadata"]["annotations"];
    assert_eq!(annotations["example.com/owner"], "two");
    assert!(annotations["example.com/gone"].is_null(), "{stored}");
    assert_eq!(stored["metadata"]["labels"], json!({"tier": "back"}));
    assert_eq!(stored["spec"]["lookupPolicy"], json!({"local": false}));
    let tags: Vec<&Value> = list(&stored["spec"]["tags"])
        .iter()
        .map(|tag| &tag["name"])
        .collect();
    assert_eq!(json!(tags), json!(["v1"]));
    let same = kubectl.run_with(&["diff", "-f", "-"], &wanted.to_string());
    assert_eq!(same.code, 0, "{same:?}");
}

#[test]
fn applying_on_the_server_owns_fields_and_tells_of_conflicts() {
    if !is_installed() {
        return;
    }
    let (_server, kubectl) = started();
    let apply = |manager: &str, object: &Value| {
        let manager = format!("--field-manager={manager}");
        kubectl.run_with(
            &["apply", "--server-side", &manager, "-f", "-"],
            &object.to_string(),
        )
    };
    let mut wanted = stream("app", &["v1"]);
    wanted["metadata"]["annotations"] = json!({"example.com/owner": "one"});
    let created = apply("one", &wanted);
    assert_eq!(
        created.stdout, "imagestream.image.openshift.io/app serverside-applied\n",
        "{created:?}"
    );
    wanted["metadata"]["annotations"] = json!({"example.com/owner": "two"});
    let conflict = apply("two", &wanted);
    assert_ne!(conflict.code, 0);
    assert!(conflict.stderr.contains("conflict with \"one\""), "{conflict:?}");
    wanted["metadata"]["annotations"] = json!({});
    assert_eq!(apply("one", &wanted).code, 0);
    let stored = kubectl.json(&["get", "is", "app", "-n", "team"]);
    assert!(
        stored["metadata"]["annotations"]["example.com/owner"].is_null(),
        "{stored}"
    );
}

#[test]
fn streams_are_changed_by_patch_label_annotation_and_editor() {
    if !is_installed() {
        return;
    }
    let (_server, kubectl) = started();
    create(&kubectl, &stream("app", &["v1"]));
    let patch = |kind: &str, patch: &str| {
        let _ = kubectl.ok(&["patch", "is", "app", "-n", "team", "--type", kind, "-p", patch]);
        kubectl.json(&["get", "is/app", "-n", "team"])
    };
    let stored = patch(
        "json",
        r#"[{"op":"test","path":"/spec/tags/0/name","value":"v1"},{"op":"add","path":"/spec/lookupPolicy/local","value":true}]"#,
    );
    assert_eq!(stored["spec"]["lookupPolicy"]["local"], true);
    let stored = patch(
        "merge",
        r#"{"metadata":{"annotations":{"example.com/a":"b"}},"spec":{"lookupPolicy":{"local":false}}}"#,
    );
    assert_eq!(stored["spec"]["lookupPolicy"]["local"], false);
    assert_eq!(stored["metadata"]["annotations"]["example.com/a"], "b");
    // Tags have a merge key: the others stay.
    let stored = patch(
        "strategic",
        r#"{"spec":{"tags":[{"name":"v2","reference":true,"from":{"kind":"DockerImage","name":"registry.example.com/team/app:v2"}}]}}"#,
    );
    assert_eq!(list(&stored["spec"]["tags"]).len(), 2, "{stored}");

    let _ = kubectl.ok(&["label", "is/app", "-n", "team", "tier=front"]);
    assert!(
        kubectl
            .fails(&["label", "is/app", "-n", "team", "tier=back"])
            .contains("--overwrite")
    );
    let _ = kubectl.ok(&[
        "annotate",
        "is/app",
        "-n",
        "team",
        "example.com/a-",
        "example.com/c=d",
    ]);
    let stored = kubectl.json(&["get", "is/app", "-n", "team"]);
    assert_eq!(stored["metadata"]["annotations"], json!({"example.com/c": "d"}));
    let selected = |selector: &str| kubectl.ok(&["get", "is", "-n", "team", "-l", selector, "-o", "name"]);
    assert_eq!(
        selected("tier in (front, back)"),
        "imagestream.image.openshift.io/app\n"
    );
    assert_eq!(selected("tier!=front"), "");
    let field = [
        "get",
        "is",
        "-A",
        "--field-selector=metadata.name=app",
        "-o",
        "name",
    ];
    assert_eq!(kubectl.ok(&field), "imagestream.image.openshift.io/app\n");

    let edited = kubectl.run_with_editor(
        &["edit", "is/app", "-n", "team"],
        "sed -i s/tier:.front/tier:\\ edited/",
    );
    assert_eq!(edited.code, 0, "{edited:?}");
    assert_eq!(selected("tier=edited"), "imagestream.image.openshift.io/app\n");
    let wrong = kubectl.run_with(
        &[
            "patch",
            "is",
            "app",
            "-n",
            "team",
            "--type=merge",
            "-p",
            r#"{"spec":{"tags":[{"name":"v1","from":{"kind":"Nothing","name":"x"}}]}}"#,
        ],
        "",
    );
    assert!(
        wrong.code != 0 && wrong.stderr.contains("spec.tags[v1].from.kind"),
        "{wrong:?}"
    );
}

#[test]
fn what_is_deleted_is_gone_and_a_namespace_takes_all_with_it() {
    if !is_installed() {
        return;
    }
    let (_server, kubectl) = started();
    for name in ["a", "b", "c", "d", "e"] {
        create(&kubectl, &stream(name, &["v1", "v2"]));
    }
    let names = kubectl.ok(&["get", "is", "-n", "team", "--chunk-size=2", "-o", "name"]);
    assert_eq!(names.lines().count(), 5, "{names}");
    let deleted = kubectl.ok(&["delete", "is", "a", "b", "-n", "team", "--wait", "--timeout=60s"]);
    assert_eq!(deleted.lines().count(), 2, "{deleted}");
    let gone = kubectl.fails(&["get", "is", "a", "-n", "team"]);
    assert!(
        gone.contains(r#"imagestreams.image.openshift.io "a" not found"#),
        "{gone}"
    );
    let _ = kubectl.ok(&["delete", "istag", "c:v1", "-n", "team"]);
    let tags = kubectl.ok(&[
        "get",
        "is",
        "c",
        "-n",
        "team",
        "-o",
        "jsonpath={.spec.tags[*].name}",
    ]);
    assert_eq!(tags, "v2");

    let _ = kubectl.ok(&[
        "create",
        "secret",
        "generic",
        "some",
        "-n",
        "team",
        "--from-literal=a=b",
    ]);
    let _ = kubectl.ok(&["delete", "namespace", "team", "--timeout=60s"]);
    assert!(kubectl.fails(&["get", "namespace", "team"]).contains("not found"));
    assert_eq!(kubectl.ok(&["get", "is,secrets", "-A", "-o", "name"]), "");
    // Nothing comes back with a namespace of the same name.
    let _ = kubectl.ok(&["create", "namespace", "team"]);
    assert_eq!(kubectl.ok(&["get", "is", "-n", "team", "-o", "name"]), "");
}

#[test]
fn users_are_told_what_they_may_do() {
    if !is_installed() {
        return;
    }
    let (server, kubectl) = started();
    let may = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        kubectl.run_with(&[&["auth", "can-i"][..], &words].concat(), "")
    };
    for (question, answer) in [
        ("create is -n team", "yes"),
        ("create is -n team --as viewer", "no"),
        ("get is -n team --as viewer", "yes"),
        ("get is -n other --as viewer", "no"),
        ("get secrets -n team --as dev", "yes"),
        (
            "get is --subresource=status -n team --as nobody --as-group system:masters",
            "yes",
        ),
    ] {
        let output = may(question);
        let first = output.stdout.split_whitespace().next();
        assert_eq!(first, Some(answer), "{question}: {output:?}");
        assert_eq!(output.code, i32::from(answer == "no"), "{question}: {output:?}");
    }
    let rules = may("--list -n team --as viewer");
    let line = rules
        .stdout
        .lines()
        .find(|line| line.starts_with("imagestreams.image.openshift.io"));
    assert!(
        line.is_some_and(|line| line.ends_with("[get list watch]")),
        "{rules:?}"
    );

    create(&kubectl, &stream("app", &["v1"]));
    let viewer = Kubectl::new(server.kubeconfig_of(VIEWER, "team"));
    assert_eq!(
        viewer.ok(&["get", "is", "-o", "name"]),
        "imagestream.image.openshift.io/app\n"
    );
    let refused = viewer.fails(&["delete", "is", "app"]);
    assert!(
        refused.contains("(Forbidden)")
            && refused.contains(r#"User "viewer" cannot delete resource "imagestreams""#),
        "{refused}"
    );
    let nobody = Kubectl::new(server.kubeconfig_of(NOBODY, "team"));
    assert!(nobody.fails(&["get", "is"]).contains("(Forbidden)"));
    let stranger = Kubectl::new(server.kubeconfig_of("no-such-token", "team"));
    let refused = stranger.fails(&["get", "is"]);
    assert!(
        refused.contains("You must be logged in to the server") || refused.contains("Unauthorized"),
        "{refused}"
    );
}
