use std::sync::Mutex;

use imagestream_api::allowed_registries::{AllowedRegistries, RegistryLocation};
use imagestream_api::follow_rules::{PROBLEMS_ANNOTATION, RULE_ANNOTATION, RULES_ANNOTATION};
use imagestream_import::check::CheckError;
use imagestream_registry::HostFeedback;
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::registry::TestRegistry;
use serde_json::{Value, json};

use super::super::apply::tell;
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

/// Lets everybody ask, but leaves those alone who refuse.
#[derive(Default)]
struct Polite(Mutex<Option<Instant>>);

impl Turns for Polite {
    async fn wait(&self, _: &str, _: Instant) -> Result<(), LeftAlone> {
        match *self.0.lock().unwrap() {
            Some(until) => Err(LeftAlone { until }),
            None => Ok(()),
        }
    }

    fn asked(&self, _: &str, _: Result<(), &CheckError>, feedback: &HostFeedback) {
        if feedback.is_refusal {
            *self.0.lock().unwrap() = Some(Instant::now() + feedback.retry_after.unwrap_or_default());
        }
    }
}

/// Follows all rules of these streams.
async fn follow_all(server: &TestServer, keys: &[StreamKey]) -> Followed {
    let mut wanted = BTreeMap::<Repository, BTreeMap<StreamKey, BTreeSet<String>>>::new();
    for key in keys {
        let Some((stream, _)) = read(&server.context, &key.namespace, &key.name).await.unwrap() else {
            continue;
        };
        for rule in rules(&stream.metadata).unwrap_or_default() {
            let followers = wanted.entry(Repository::of(&rule)).or_default();
            followers.entry(key.clone()).or_default().insert(rule.name);
        }
    }
    let mut all = Followed::default();
    for (repository, followers) in wanted {
        let followed = follow_some(server, &repository, &followers).await;
        all.listed += followed.listed;
        all.failed += followed.failed;
        all.changed += followed.changed;
        all.left_alone = all.left_alone.max(followed.left_alone);
    }
    all
}

async fn follow_some(
    server: &TestServer,
    repository: &Repository,
    followers: &BTreeMap<StreamKey, BTreeSet<String>>,
) -> Followed {
    let lister = Lister {
        context: &server.context,
        turns: &Polite::default(),
        credentials: &NamespaceCredentials::new(&server.context),
    };
    let followed = lister.follow(repository, followers).await.unwrap();
    assert_eq!(followed.left_behind, 0);
    followed
}

async fn follow(server: &TestServer) -> Followed {
    follow_all(server, &[key()]).await
}

#[tokio::test]
async fn a_stream_gets_the_tags_that_its_rules_choose_and_is_left_alone_while_they_stay_the_same() {
    let server = TestServer::start().await;
    let registry = registry(&["1.0.0", "1.1.0", "1.2.0", "2.0.0-rc.1", "latest", "hand"]);
    make(&server, &rule(&registry, "match: {semver: '*'}, newest: 2")).await;
    let followed = follow(&server).await;
    assert_eq!((followed.listed, followed.changed), (1, 1), "{followed:?}");
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
    assert!(follow(&server).await.changed == 0);
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
    assert!(follow(&server).await.changed == 1);
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
    assert!(tell(&server.context, &key()).await.unwrap());
    let noted = stream(&server).await;
    let message = problems(&noted)[""].as_str().unwrap().to_owned();
    assert!(
        message.contains("[0].match.regex: Invalid value: \"(\": expected a regular expression"),
        "{message}"
    );
    assert_eq!(tags(&noted), ["hand"]);
    assert!(!tell(&server.context, &key()).await.unwrap(), "it is noted once");
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
    assert_eq!(failed.failed, 1);
    let noted = stream(&server).await;
    assert!(
        problems(&noted)["r"].as_str().unwrap().contains("not found"),
        "{noted}"
    );
    assert_eq!(tags(&noted), ["1", "2", "hand"]);
    assert!(follow(&server).await.changed == 0, "it is noted once");
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
    assert_eq!(follow(&server).await.failed, 1);
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
    assert!(follow(&server).await.changed == 1);
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
    let repository = Repository {
        name: format!("{}/a/b", registry.host()),
        insecure: true,
    };
    for (key, rule) in [(key(), "other"), (at("n", "gone"), "r")] {
        let followers = [(key, [rule.to_owned()].into())].into();
        let followed = follow_some(&server, &repository, &followers).await;
        assert_eq!((followed, registry.request_count()), (Followed::default(), 0));
    }
}

fn at(namespace: &str, name: &str) -> StreamKey {
    StreamKey {
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// Stores streams of these names, and with equal rules.
async fn store(server: &TestServer, keys: &[StreamKey], rules: &str) {
    for StreamKey { namespace, name } in keys {
        let stream = json!({"metadata": {"name": name, "namespace": namespace,
            "annotations": {RULES_ANNOTATION: rules}}, "spec": {}});
        server.store(&server.context.streams, stream).await;
    }
}

/// Stores a pull secret of a namespace for a registry.
async fn pull_secret(server: &TestServer, namespace: &str, host: &str, password: &str) {
    let document = json!({"auths": {host: {"username": "u", "password": password}}}).to_string();
    let secret = json!({"metadata": {"name": "pull", "namespace": namespace},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": k8s_openapi::ByteString(document.into_bytes())}});
    server.store(&server.context.secrets, secret).await;
}

async fn spec_tags(server: &TestServer, key: &StreamKey) -> Vec<String> {
    let (stream, _) = read(&server.context, &key.namespace, &key.name)
        .await
        .unwrap()
        .unwrap();
    stream.spec.tags.into_keys().collect()
}

#[tokio::test]
async fn one_list_serves_all_streams_that_would_ask_with_equal_credentials() {
    let server = TestServer::start().await;
    let registry = registry(&["1", "2"]);
    let keys: Vec<StreamKey> = ["n", "m", "private"]
        .iter()
        .flat_map(|namespace| [at(namespace, "one"), at(namespace, "two")])
        .collect();
    store(&server, &keys, &rule(&registry, "match: {glob: '*'}, newest: 1")).await;
    pull_secret(&server, "private", &registry.host(), "p").await;
    let followed = follow_all(&server, &keys).await;
    assert_eq!((followed.listed, followed.changed), (2, 6), "{followed:?}");
    let lists = registry.request_lines();
    let lists = lists.iter().filter(|line| line.contains("tags/list"));
    assert_eq!(lists.count(), 2);
    for key in &keys {
        assert_eq!(spec_tags(&server, key).await, ["2"], "{key:?}");
    }
}

#[tokio::test]
async fn a_registry_that_wants_to_be_left_alone_is_nobodys_fault() {
    let server = TestServer::start().await;
    let registry = registry(&["1", "2"]);
    make(&server, &rule(&registry, "match: {glob: '*'}, removal: prune")).await;
    follow(&server).await;
    let before = stream(&server).await;
    registry.add_fault(Fault::on(
        "*/tags/list",
        FaultKind::Status {
            status: 429,
            headers: vec![("retry-after".to_owned(), "300".to_owned())],
            body: String::new(),
        },
    ));
    registry.clear_requests();
    let followed = follow(&server).await;
    assert!(
        followed.left_alone.is_some() && followed.failed == 0,
        "{followed:?}"
    );
    assert_eq!(registry.request_count(), 1);
    assert_eq!(stream(&server).await, before, "nothing is written");
}

#[tokio::test]
async fn a_list_that_breaks_off_takes_no_tag_along() {
    let server = TestServer::start().await;
    let registry = registry(&["1", "2", "3"]);
    make(&server, &rule(&registry, "match: {glob: '*'}, removal: prune")).await;
    follow(&server).await;
    registry.set_page_size(1);
    registry.add_fault(Fault::status("*/tags/list", 500).after(1));
    assert_eq!(follow(&server).await.failed, 1);
    assert_eq!(tags(&stream(&server).await), ["1", "2", "3", "hand"]);
}

#[tokio::test]
async fn of_a_large_repository_only_what_is_chosen_is_kept() {
    let server = TestServer::start().await;
    let mut content = Content::new();
    for number in 0..100_000 {
        content = content.dangling_tag("a/b", &format!("1.{number}.0"));
    }
    let registry = TestRegistry::start(content);
    make(
        &server,
        &rule(&registry, "match: {semver: '1'}, newest: 3, removal: prune"),
    )
    .await;
    let followed = follow(&server).await;
    assert_eq!((followed.listed, followed.changed), (1, 1));
    assert_eq!(
        tags(&stream(&server).await),
        ["1.99997.0", "1.99998.0", "1.99999.0", "hand"]
    );
    let pages = registry.request_lines();
    assert_eq!(
        pages.iter().filter(|line| line.contains("tags/list")).count(),
        100
    );
    // A list that breaks off near its end has not seen the newest.
    registry.add_fault(Fault::status("*/tags/list", 500).after(90));
    assert_eq!(follow(&server).await.failed, 1);
    assert_eq!(tags(&stream(&server).await).len(), 4);
}

#[tokio::test]
async fn a_stream_that_would_exceed_a_limit_stays_as_it_is_and_says_so_once() {
    let server = TestServer::start().await;
    let limit = json!({"metadata": {"name": "l", "namespace": "n"}, "spec": {"limits": [
        {"type": "openshift.io/ImageStream", "max": {"openshift.io/image-tags": 2}}]}});
    server.store(&server.context.limit_ranges, limit).await;
    let registry = registry(&["1", "2", "3"]);
    make(&server, &rule(&registry, "match: {glob: '*'}")).await;
    assert_eq!(follow(&server).await.changed, 1);
    let noted = stream(&server).await;
    assert_eq!(tags(&noted), ["hand"]);
    assert!(
        problems(&noted)["r"].as_str().unwrap().contains("image-tags"),
        "{noted}"
    );
    assert_eq!(follow(&server).await.changed, 0, "it is noted once");
    change(&server, &rule(&registry, "match: {glob: '*'}, newest: 1")).await;
    follow(&server).await;
    let followed = stream(&server).await;
    assert_eq!(
        (tags(&followed), problems(&followed)),
        (vec!["3", "hand"], Value::Null)
    );
}

#[tokio::test]
async fn what_a_user_changes_while_a_repository_is_listed_is_heeded() {
    let server = TestServer::start().await;
    let registry = registry(&["1", "2"]);
    make(&server, &rule(&registry, "match: {glob: '*'}, removal: prune")).await;
    follow(&server).await;
    // One tag is taken away from its rule, the other one is no longer there.
    let path = "/apis/image.openshift.io/v1/namespaces/n/imagestreams/s";
    let mut edited = stream(&server).await;
    let first = edited["spec"]["tags"].as_array_mut().unwrap().iter_mut();
    for tag in first.filter(|tag| tag["name"] == "1") {
        tag["annotations"] = json!({});
    }
    let (code, body) = server.send("admin", "PUT", path, Some(&edited)).await;
    assert_eq!(code, 200, "{body}");
    registry.set_content(Content::new().dangling_tag("a/b", "3"));
    follow(&server).await;
    assert_eq!(
        tags(&stream(&server).await),
        ["1", "3", "hand"],
        "the user's tag stays"
    );
    // A list that was begun for other rules changes nothing.
    let listed = Listed {
        rule: rules(&read(&server.context, "n", "s").await.unwrap().unwrap().0.metadata)
            .unwrap()
            .remove(0),
        outcome: Ok(imagestream_import::ChosenTags {
            tags: vec!["9".to_owned()],
            has_more: false,
        }),
    };
    let is_changed = write(&server.context, &key(), Some("[]"), &[listed])
        .await
        .unwrap();
    assert!(!is_changed);
}
