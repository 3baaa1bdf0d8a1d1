use imagestream_api::allowed_registries::{AllowedRegistries, RegistryLocation};
use imagestream_api::follow_rules::{PROBLEMS_ANNOTATION, RULE_ANNOTATION};
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::registry::TestRegistry;
use serde_json::{Value, json};

use super::*;
use crate::image::testing::{Options, Rival, TestServer};

fn key() -> StreamKey {
    StreamKey {
        namespace: "n".into(),
        name: "s".into(),
    }
}

/// A registry whose repository `a/b` has these tags.
fn registry(tags: &[&str]) -> TestRegistry {
    let content = tags
        .iter()
        .fold(Content::new(), |content, tag| content.dangling_tag("a/b", tag));
    TestRegistry::start(content)
}

/// A rule for the repository `a/b` of a registry.
fn rule(registry: &TestRegistry, fields: &str) -> String {
    let host = registry.host();
    format!("[{{name: r, repository: {host}/a/b, importPolicy: {{insecure: true}}, {fields}}}]")
}

/// Makes the stream `s` with these rules.
async fn make(server: &TestServer, rules: &str) {
    let stream = json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
        "metadata": {"name": "s", "annotations": {RULES_ANNOTATION: rules}},
        "spec": {"tags": [{"name": "hand", "from": {"kind": "DockerImage", "name": "quay.io/x/y:z"}}]}});
    server.post("admin", "imagestreams", &stream, 201).await;
}

/// Changes the rules of the stream `s`.
async fn change(server: &TestServer, rules: &str) {
    let patch = json!({"metadata": {"annotations": {RULES_ANNOTATION: rules}}});
    let path = "/apis/image.openshift.io/v1/namespaces/n/imagestreams/s";
    let (code, body) = server.send("admin", "PATCH", path, Some(&patch)).await;
    assert_eq!(code, 200, "{body}");
}

async fn stream(server: &TestServer) -> Value {
    server.get("imagestreams/s").await.1
}

fn tags(stream: &Value) -> Vec<&str> {
    let tags = stream["spec"]["tags"].as_array().unwrap();
    tags.iter().map(|tag| tag["name"].as_str().unwrap()).collect()
}

fn problems(stream: &Value) -> Value {
    let noted = stream["metadata"]["annotations"].get(PROBLEMS_ANNOTATION);
    noted.map_or(Value::Null, |noted| {
        serde_json::from_str(noted.as_str().unwrap()).unwrap()
    })
}

async fn follow(server: &TestServer) -> Followed {
    apply_rules(&server.context, &key(), |_| true).await.unwrap()
}

#[tokio::test]
async fn a_stream_gets_the_tags_that_its_rules_choose_and_is_left_alone_while_they_stay_the_same() {
    let server = TestServer::start().await;
    let registry = registry(&["1.0.0", "1.1.0", "1.2.0", "2.0.0-rc.1", "latest", "hand"]);
    make(&server, &rule(&registry, "match: {semver: '*'}, newest: 2")).await;
    let followed = follow(&server).await;
    assert_eq!((followed.listed, followed.is_changed), (1, true), "{followed:?}");
    let first = stream(&server).await;
    assert_eq!(tags(&first), ["1.1.0", "1.2.0", "hand"]);
    let tag = &first["spec"]["tags"][1];
    assert_eq!(tag["from"]["name"], format!("{}/a/b:1.2.0", registry.host()));
    assert_eq!(tag["annotations"], json!({RULE_ANNOTATION: "r"}));
    assert_eq!(
        tag["importPolicy"],
        json!({"insecure": true, "importMode": "Legacy"})
    );
    // So that the import controller finds something to import.
    assert_eq!(
        (&tag["generation"], &first["metadata"]["generation"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(first["spec"]["tags"][2]["generation"], 1);
    assert!(!follow(&server).await.is_changed);
    assert_eq!(
        stream(&server).await,
        first,
        "nothing is written when nothing changed"
    );
}

#[tokio::test]
async fn a_tag_that_appears_is_followed_and_one_that_is_no_longer_chosen_goes_if_the_rule_prunes() {
    let server = TestServer::start().await;
    let registry = registry(&["1", "2", "3"]);
    let fields = "match: {semver: '*'}, newest: 2, removal: prune";
    make(&server, &rule(&registry, fields)).await;
    follow(&server).await;
    assert_eq!(tags(&stream(&server).await), ["2", "3", "hand"]);
    registry.set_content(Content::new().dangling_tag("a/b", "3").dangling_tag("a/b", "4"));
    assert!(follow(&server).await.is_changed);
    assert_eq!(tags(&stream(&server).await), ["3", "4", "hand"]);
    // A rule that is changed chooses anew, by hand-made tags nobody is disturbed.
    change(&server, &rule(&registry, "match: {glob: '3'}, removal: prune")).await;
    follow(&server).await;
    assert_eq!(tags(&stream(&server).await), ["3", "hand"]);
}

#[tokio::test]
async fn rules_that_make_no_sense_are_noted_and_change_nothing_else() {
    let server = TestServer::start().await;
    make(&server, "[{repository: a/b, match: {regex: '('}}]").await;
    let followed = follow(&server).await;
    assert_eq!((followed.listed, followed.is_changed), (0, true));
    let noted = stream(&server).await;
    let message = problems(&noted)[""].as_str().unwrap().to_owned();
    assert!(
        message.contains("[0].match.regex: Invalid value: \"(\": expected a regular expression"),
        "{message}"
    );
    assert_eq!(tags(&noted), ["hand"]);
    assert!(!follow(&server).await.is_changed, "it is noted once");
    let registry = registry(&["x"]);
    change(&server, &rule(&registry, "match: {glob: '*'}")).await;
    follow(&server).await;
    let solved = stream(&server).await;
    assert_eq!(
        (problems(&solved), tags(&solved)),
        (Value::Null, vec!["hand", "x"])
    );
}

#[tokio::test]
async fn a_repository_that_cannot_be_listed_is_noted_and_takes_no_tag_along() {
    let server = TestServer::start().await;
    let registry = registry(&["1", "2"]);
    make(&server, &rule(&registry, "match: {glob: '*'}, removal: prune")).await;
    follow(&server).await;
    registry.add_fault(Fault::on(
        "*/tags/list",
        FaultKind::Status {
            status: 404,
            headers: Vec::new(),
            body: r#"{"errors": [{"code": "NAME_UNKNOWN"}]}"#.to_owned(),
        },
    ));
    let failed = follow(&server).await;
    assert_eq!(failed.failed, ["r"]);
    let noted = stream(&server).await;
    assert!(
        problems(&noted)["r"].as_str().unwrap().contains("not found"),
        "{noted}"
    );
    assert_eq!(tags(&noted), ["1", "2", "hand"]);
    assert!(!follow(&server).await.is_changed, "it is noted once");
    registry.clear_faults();
    follow(&server).await;
    assert_eq!(problems(&stream(&server).await), Value::Null);
}

#[tokio::test]
async fn no_repository_is_asked_that_images_may_not_be_imported_from() {
    let location = RegistryLocation {
        domain_name: "quay.io".into(),
        insecure: false,
    };
    let server = TestServer::start_with(Options {
        allowed_registries: AllowedRegistries::new(&[location]).unwrap(),
        ..Options::default()
    })
    .await;
    let registry = registry(&["1"]);
    make(&server, &rule(&registry, "match: {glob: '*'}")).await;
    assert_eq!(follow(&server).await.failed, ["r"]);
    let noted = stream(&server).await;
    assert!(
        problems(&noted)["r"].as_str().unwrap().contains("not allowed"),
        "{noted}"
    );
    assert_eq!(registry.request_count(), 0);
}

#[tokio::test]
async fn others_who_write_the_stream_at_the_same_time_lose_nothing() {
    let rival = Arc::new(Rival::default());
    let server = TestServer::start_with(Options {
        rival: Some(Arc::clone(&rival)),
        ..Options::default()
    })
    .await;
    let registry = registry(&["1"]);
    make(&server, &rule(&registry, "match: {glob: '*'}")).await;
    rival.forestall(3);
    assert!(follow(&server).await.is_changed);
    assert_eq!(rival.tried(), 4);
    assert_eq!(registry.request_count(), 1, "the repository is listed once");
    change(
        &server,
        &rule(&registry, "match: {glob: '*'}, newest: 1, importPolicy: {}"),
    )
    .await;
}

#[tokio::test]
async fn only_rules_that_are_due_are_followed_and_a_stream_that_is_gone_wants_nothing() {
    let server = TestServer::start().await;
    assert_eq!(follow(&server).await, Followed::default());
    let registry = registry(&["1"]);
    make(&server, &rule(&registry, "match: {glob: '*'}")).await;
    let followed = apply_rules(&server.context, &key(), |rule| rule.name == "other")
        .await
        .unwrap();
    assert_eq!((followed, registry.request_count()), (Followed::default(), 0));
}
