//! Several servers on one etcd follow what scheduled tags come from, once: the one that acts, whoever is told of a push.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::collections::BTreeMap;
use std::ops::Range;
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

/// Tags that are followed.
const TAGS: usize = 20;

/// What the registry has once `moved` have moved to the build `build`, and others are as they were.
fn content(before: &BTreeMap<usize, String>, moved: Range<usize>, build: &str) -> BTreeMap<usize, String> {
    let mut builds = before.clone();
    builds.extend(moved.map(|tag| (tag, build.to_owned())));
    builds
}

fn served(builds: &BTreeMap<usize, String>) -> Content {
    builds.iter().fold(Content::new(), |content, (tag, build)| {
        let image = Image::new().distinct(&format!("{tag} {build}"));
        content.image("team/app", &format!("t{tag}"), image)
    })
}

/// The stream `s`, whose tags follow those of the same names.
fn stream(host: &str) -> Value {
    let tag = |number: usize| {
        json!({"name": format!("t{number}"), "importPolicy": {"scheduled": true, "insecure": true},
               "from": {"kind": "DockerImage", "name": format!("{host}/team/app:t{number}")}})
    };
    json!({"apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": {"name": "s"},
           "spec": {"tags": Vec::from_iter((0..TAGS).map(tag))}})
}

/// Waits until the stream has what the registry has.
async fn until_followed(client: &Client, registry: &TestRegistry) {
    let content = registry.content();
    let begun = Instant::now();
    loop {
        let stream = client.get(&format!("{}/s", streams("team"))).await.ok();
        let newest = |tag: &Value| {
            let image = tag["items"][0]["image"].as_str().unwrap_or_default();
            image == content.digest("team/app", tag["tag"].as_str().unwrap())
        };
        let tags = list(&stream["status"]["tags"]);
        if tags.len() == TAGS && tags.iter().all(newest) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{stream:#}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// How often each manifest was read, by tag or digest; those that were not are missing.
fn read(registry: &TestRegistry) -> BTreeMap<String, usize> {
    let mut read = BTreeMap::new();
    for request in registry.requests() {
        if request.method == Method::GET
            && let Some((_, name)) = request.path.split_once("/manifests/")
        {
            *read.entry(name.to_owned()).or_default() += 1;
        }
    }
    read
}

/// That each of these tags was read once, and no other.
fn once(tags: Range<usize>) -> BTreeMap<String, usize> {
    tags.map(|tag| (format!("t{tag}"), 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moves_is_followed_by_the_server_that_acts_and_after_its_end_by_another_and_read_once() {
    if !etcd::installed() {
        return;
    }
    let etcd = etcd::single().await;
    let builds = content(&BTreeMap::new(), 0..TAGS, "first");
    let registry = TestRegistry::start(served(&builds));
    let config = json!({
        "controllers": {"quietPeriod": "100ms"},
        "scheduled": {"interval": "3s", "minimumInterval": "1s"},
    });
    let (first, second) = leader::start_two(&etcd, &config).await;
    let (via_first, via_second) = (Client::new(&first, ADMIN), Client::new(&second, ADMIN));
    via_first.create_namespace("team").await;
    let _ = via_second
        .post(&streams("team"), &stream(&registry.host()))
        .await
        .ok();
    until_followed(&via_second, &registry).await;
    assert_eq!(read(&registry), once(0..TAGS));

    registry.clear_requests();
    let builds = content(&builds, 0..TAGS / 2, "second");
    registry.set_content(served(&builds));
    until_followed(&via_second, &registry).await;
    assert_eq!(read(&registry), once(0..TAGS / 2));
    until_it_acts(&via_first).await;
    assert!(!acts(&via_second).await);

    drop(first.kill());
    registry.clear_requests();
    let builds = content(&builds, TAGS / 4..3 * TAGS / 4, "third");
    registry.set_content(served(&builds));
    let killed = Instant::now();
    until_it_acts(&via_second).await;
    let took_over = Instant::now();
    until_followed(&via_second, &registry).await;
    println!(
        "took over after {:?}, had followed everything {:?} later",
        took_over - killed,
        took_over.elapsed()
    );
    // What had not moved was not read again.
    assert_eq!(read(&registry), once(TAGS / 4..3 * TAGS / 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_a_server_is_told_of_that_does_not_act_is_followed_by_the_one_that_acts() {
    const SECRET: &str = "a-secret-of-the-registry";
    if !etcd::installed() {
        return;
    }
    let etcd = etcd::single().await;
    let builds = content(&BTreeMap::new(), 0..TAGS, "first");
    let registry = TestRegistry::start(served(&builds));
    let secrets = tempfile::tempdir().unwrap();
    let secret_file = secrets.path().join("registry.secret");
    std::fs::write(&secret_file, SECRET).unwrap();
    let config = json!({
        "controllers": {"quietPeriod": "100ms"},
        // Nothing is looked at by itself for a day.
        "scheduled": {"interval": "24h", "minimumInterval": "24h"},
        "notifications": {"receivers": [
            {"name": "local", "format": "distribution", "secretFile": secret_file}
        ]},
    });
    let (first, second) = leader::start_two(&etcd, &config).await;
    let (via_first, via_second) = (Client::new(&first, ADMIN), Client::new(&second, ADMIN));
    via_first.create_namespace("team").await;
    let _ = via_first
        .post(&streams("team"), &stream(&registry.host()))
        .await
        .ok();
    until_followed(&via_first, &registry).await;
    // That the tags are in the stream is known to both now: the second has shown them.
    until_followed(&via_second, &registry).await;

    let tell = async |moved: Range<usize>| {
        let event = |tag: usize| {
            json!({"action": "push", "request": {"host": registry.host()},
                   "target": {"repository": "team/app", "tag": format!("t{tag}")}})
        };
        let events = json!({"events": Vec::from_iter(moved.map(event))});
        let request = Client::new(&second, None)
            .request(Method::POST, "/imagestream/v1/notifications/local")
            .bearer_auth(SECRET)
            .body(events.to_string());
        assert_eq!(Client::answer(request).await.unwrap().status, 202);
    };
    registry.clear_requests();
    let builds = content(&builds, 0..TAGS / 2, "second");
    registry.set_content(served(&builds));
    tell(0..TAGS / 2).await;
    until_followed(&via_second, &registry).await;
    assert_eq!(read(&registry), once(0..TAGS / 2));
    until_it_acts(&via_first).await;
    assert!(!acts(&via_second).await);

    // What is told while nobody acts is followed by whoever acts next.
    drop(first.kill());
    registry.clear_requests();
    let builds = content(&builds, TAGS / 2..TAGS, "third");
    registry.set_content(served(&builds));
    tell(TAGS / 2..TAGS).await;
    until_followed(&via_second, &registry).await;
    assert_eq!(read(&registry), once(TAGS / 2..TAGS));
}
