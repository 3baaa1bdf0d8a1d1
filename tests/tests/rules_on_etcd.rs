//! Several servers on one etcd follow the rules of streams: the one that acts, and after its end another.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::time::{Duration, Instant};

use http::Method;
use imagestream_testkit::content::Content;
use imagestream_testkit::etcd;
use imagestream_testkit::image::Image;
use imagestream_testkit::registry::TestRegistry;
use imagestream_tests::client::{Client, streams};
use imagestream_tests::leader::{self, PATIENCE, acts, until_it_acts};
use imagestream_tests::program::list;
use imagestream_tests::server::ADMIN;
use serde_json::{Value, json};
use tokio::time::sleep;

fn served(tags: &[&str]) -> Content {
    tags.iter().fold(Content::new(), |content, tag| {
        content.image("team/app", tag, Image::new().distinct(tag))
    })
}

/// Waits until the stream has the images of these tags, and no other.
async fn until_followed(client: &Client, registry: &TestRegistry, wanted: &[&str]) -> Value {
    let content = registry.content();
    let begun = Instant::now();
    loop {
        let stream = client.get(&format!("{}/s", streams("team"))).await.ok();
        let is_current = |tag: &Value| {
            let name = tag["tag"].as_str().unwrap_or_default();
            wanted.contains(&name) && tag["items"][0]["image"] == content.digest("team/app", name)
        };
        let tags = list(&stream["status"]["tags"]);
        let spec = list(&stream["spec"]["tags"]);
        let have = (spec.len(), tags.len());
        if have == (wanted.len(), wanted.len()) && tags.iter().all(is_current) {
            return stream;
        }
        assert!(begun.elapsed() < PATIENCE, "{stream:#}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The manifests that were read by tag, in order.
fn read(registry: &TestRegistry) -> Vec<String> {
    let requests = registry.requests();
    let manifests = requests
        .iter()
        .filter(|request| request.method == Method::GET)
        .filter_map(|request| request.path.split_once("/manifests/"));
    let mut tags: Vec<String> = manifests
        .filter(|(_, name)| !name.contains(':'))
        .map(|(_, name)| name.to_owned())
        .collect();
    tags.sort_unstable();
    tags
}

/// What the status says of the stream, if it has been listed.
async fn listed(client: &Client) -> Option<Value> {
    let report = client.get("/imagestream/v1/status/streams").await.ok();
    let found = list(&report["items"]).first()?.clone();
    (found["lastCheck"].is_string()).then_some(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_followed_by_the_server_that_acts_and_after_its_end_by_another() {
    if !etcd::installed() {
        return;
    }
    let etcd = etcd::single().await;
    let registry = TestRegistry::start(served(&["1.0.0", "1.1.0", "1.2.0", "latest"]));
    let config = json!({
        "controllers": {"quietPeriod": "100ms"},
        "scheduled": {"interval": "2s", "minimumInterval": "1s"},
    });
    let (first, second) = leader::start_two(&etcd, &config).await;
    let (via_first, via_second) = (Client::new(&first, ADMIN), Client::new(&second, ADMIN));
    via_first.create_namespace("team").await;
    let rules = format!(
        "[{{repository: {}/team/app, match: {{semver: '*'}}, newest: 2, removal: prune, \
          importPolicy: {{insecure: true}}}}]",
        registry.host()
    );
    let stream = json!({"apiVersion": "image.openshift.io/v1", "kind": "ImageStream",
        "metadata": {"name": "s", "annotations": {"follow.imagestream/rules": rules}}});
    let _ = via_second.post(&streams("team"), &stream).await.ok();
    until_followed(&via_second, &registry, &["1.1.0", "1.2.0"]).await;
    assert_eq!(read(&registry), ["1.1.0", "1.2.0"]);
    registry.set_content(served(&["1.0.0", "1.1.0", "1.2.0", "1.3.0"]));
    until_followed(&via_second, &registry, &["1.2.0", "1.3.0"]).await;
    until_it_acts(&via_first).await;
    assert!(!acts(&via_second).await);
    assert_eq!(listed(&via_first).await.unwrap()["rules"], 1);
    assert_eq!(listed(&via_second).await, None, "only the one that acts knows");

    drop(first.kill());
    registry.clear_requests();
    registry.set_content(served(&["1.2.0", "1.3.0", "2.0.0"]));
    until_it_acts(&via_second).await;
    let stream = until_followed(&via_second, &registry, &["1.3.0", "2.0.0"]).await;
    assert_eq!(
        stream["spec"]["tags"][1]["annotations"]["follow.imagestream/rule"],
        format!("{}/team/app", registry.host())
    );
    // What had been followed by the first was not read again.
    assert_eq!(read(&registry), ["2.0.0"]);
    let report = listed(&via_second).await.unwrap();
    assert!(
        report["nextCheck"].is_string() && report["lastChange"].is_string(),
        "{report}"
    );

    // A registry that can't be listed takes no tag along.
    registry.set_content(Content::new());
    let begun = Instant::now();
    loop {
        let stream = via_second.get(&format!("{}/s", streams("team"))).await.ok();
        assert_eq!(list(&stream["spec"]["tags"]).len(), 2, "{stream:#}");
        let annotations = &stream["metadata"]["annotations"];
        if annotations["follow.imagestream/problems"].is_string() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{stream:#}");
        sleep(Duration::from_millis(50)).await;
    }
}
