//! What imports did stands in events of the stream, for `kubectl` to show.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::time::{Duration, Instant};

use imagestream_testkit::content::Content;
use imagestream_testkit::registry::TestRegistry;
use imagestream_testkit::samples;
use imagestream_tests::client::{Client, imports};
use imagestream_tests::kubectl::{Kubectl, is_installed};
use imagestream_tests::server::{ADMIN, Place, Server};
use serde_json::{Value, json};

const EVENTS: &str = "/api/v1/namespaces/team/events";
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that imports only what it is asked to.
fn started() -> Server {
    Place::new()
        .config(&json!({"controllers": {"enabled": false}}))
        .start()
}

fn import(host: &str, tags: &[&str]) -> Value {
    let image = |tag: &&str| {
        json!({"from": {"kind": "DockerImage", "name": format!("{host}/team/app:{tag}")}, "to": {"name": tag},
               "importPolicy": {"insecure": true}})
    };
    let images: Vec<Value> = tags.iter().map(image).collect();
    json!({"kind": "ImageStreamImport", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "app"},
           "spec": {"import": true, "images": images}, "status": {}})
}

/// The events, once they are as they should be: they are written after the import is answered.
async fn events(client: &Client, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let list = client.get(EVENTS).await.ok();
        let found = list["items"].as_array().unwrap().clone();
        if is_so(&found) {
            return found;
        }
        assert!(Instant::now() < end, "{found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn of<'e>(events: &'e [Value], reason: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["reason"] == reason).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_tells_what_moved_and_what_failed_and_counts_what_fails_again() {
    let content = Content::new().image("team/app", "v1", samples::hello("1.0"));
    let digest = content.digest("team/app", "v1");
    let registry = TestRegistry::start(content);
    let host = registry.host();
    let server = started();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;

    let tried = format!("{}?dryRun=All", imports("team"));
    let _ = client.post(&tried, &import(&host, &["v1", "none"])).await.ok();
    let _ = client
        .post(&imports("team"), &import(&host, &["v1", "none"]))
        .await
        .ok();
    let found = events(&client, |events| events.len() >= 2).await;
    assert_eq!(found.len(), 2, "a dry run tells nothing: {found:?}");
    let stream = client
        .get("/apis/image.openshift.io/v1/namespaces/team/imagestreams/app")
        .await
        .ok();
    let moved = of(&found, "ImportSucceeded")[0];
    assert_eq!(moved["type"], "Normal");
    assert_eq!(
        moved["message"],
        format!("imported: v1 is {host}/team/app@{digest}")
    );
    assert_eq!(
        moved["involvedObject"],
        json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "namespace": "team", "name": "app",
               "uid": stream["metadata"]["uid"], "resourceVersion": stream["metadata"]["resourceVersion"]})
    );
    assert_eq!(moved["source"], json!({"component": "imagestream"}));
    let failed = of(&found, "ImportFailed")[0];
    assert_eq!(
        (&failed["type"], &failed["count"]),
        (&json!("Warning"), &json!(1))
    );
    let message = failed["message"].as_str().unwrap();
    assert!(message.starts_with("tag none: "), "{message}");

    // The same again: nothing moved, and the failure is the one that was.
    let _ = client
        .post(&imports("team"), &import(&host, &["v1", "none"]))
        .await
        .ok();
    let found = events(&client, |events| {
        of(events, "ImportFailed").iter().any(|event| event["count"] == 2)
    })
    .await;
    assert_eq!(found.len(), 2, "{found:?}");
    let again = of(&found, "ImportFailed")[0];
    assert_eq!(again["metadata"]["uid"], failed["metadata"]["uid"]);
    assert_eq!(again["firstTimestamp"], failed["firstTimestamp"]);
    let metrics = client.get("/metrics").await.text;
    assert!(
        metrics.contains("imagestream_events_dropped_total 0"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_the_events_of_a_stream() {
    if !is_installed() {
        return;
    }
    let registry = TestRegistry::start(Content::new().image("team/app", "v1", samples::hello("1.0")));
    let server = started();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    let body = import(&registry.host(), &["v1", "none"]);
    let _ = client.post(&imports("team"), &body).await.ok();
    let _ = events(&client, |events| events.len() == 2).await;
    let kubectl = Kubectl::new(server.kubeconfig());
    let described = kubectl.ok(&["describe", "is", "app", "-n", "team"]);
    let listed = kubectl.ok(&["get", "events", "-n", "team"]);
    for shown in [&described, &listed] {
        for word in ["ImportSucceeded", "ImportFailed", "Warning", "tag none: "] {
            assert!(shown.contains(word), "{word}: {shown}");
        }
    }
    assert!(listed.contains("imagestream/app"), "{listed}");
}
