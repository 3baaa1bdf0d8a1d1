//! A registry that allows few manifests to be read is followed without one failed import.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::time::{Duration, Instant};

use http::Method;
use imagestream_testkit::content::Content;
use imagestream_testkit::image::Image;
use imagestream_testkit::rate_limit::RateLimit;
use imagestream_testkit::registry::TestRegistry;
use imagestream_tests::client::{Client, streams};
use imagestream_tests::program::list;
use imagestream_tests::server::{ADMIN, Place};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Tags that are followed.
const TAGS: usize = 50;
/// Manifests that may be read in a window; looking is free.
const LIMIT: u32 = 4;
/// The window, from its first request on.
const WINDOW: Duration = Duration::from_secs(5);
/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(240);

/// The first build of all tags, and build `build` of those that move: every fourth, `moved` of them.
fn content(build: &str, moved: usize) -> Content {
    (0..TAGS).fold(Content::new(), |content, tag| {
        let has_moved = tag % 4 == 0 && tag / 4 < moved;
        let build = if has_moved { build } else { "first" };
        let image = Image::new().distinct(&format!("{tag} {build}"));
        content.image("team/app", &format!("t{tag}"), image)
    })
}

/// A stream whose tags follow all tags of the registry.
fn stream(host: &str) -> Value {
    let tag = |tag: usize| {
        json!({"name": format!("t{tag}"), "importPolicy": {"scheduled": true, "insecure": true},
               "from": {"kind": "DockerImage", "name": format!("{host}/team/app:t{tag}")}})
    };
    json!({"apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": {"name": "s"},
           "spec": {"tags": Vec::from_iter((0..TAGS).map(tag))}})
}

/// Waits until the stream has what the registry has. Nothing may ever have failed.
async fn until_followed(client: &Client, registry: &TestRegistry) {
    let content = registry.content();
    let begun = Instant::now();
    loop {
        let stream = client.get(&format!("{}/s", streams("team"))).await.ok();
        let tags = list(&stream["status"]["tags"]);
        for tag in tags {
            assert!(tag["conditions"].is_null(), "{tag}");
        }
        let is_newest = |tag: &Value| {
            let image = tag["items"][0]["image"].as_str().unwrap_or_default();
            image == content.digest("team/app", tag["tag"].as_str().unwrap())
        };
        if tags.len() == TAGS && tags.iter().all(is_newest) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{stream:#}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// So many tags move at once. How many of the reads that this took were refused.
async fn followed_under(limit: RateLimit, moved: usize) -> usize {
    let registry = TestRegistry::start(content("first", moved));
    let server = Place::new()
        .config(&json!({
            "controllers": {"quietPeriod": "100ms"},
            "scheduled": {"interval": "5s", "minimumInterval": "1s"},
        }))
        .start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    let _ = client
        .post(&streams("team"), &stream(&registry.host()))
        .await
        .ok();
    until_followed(&client, &registry).await;
    registry.clear_requests();
    registry.set_rate_limit(limit.only("/v2/*/manifests/*").free_heads());
    registry.set_content(content("second", moved));
    let begun = Instant::now();
    until_followed(&client, &registry).await;
    let is_read = |request: &&imagestream_testkit::record::Recorded| {
        request.method == Method::GET && request.path.contains("/manifests/")
    };
    let reads = registry.requests().iter().filter(is_read).count();
    println!("{moved} moves took {reads} reads and {:?}", begun.elapsed());
    let metrics = client.get("/metrics").await.text;
    let of_registry = format!("registry=\"{}\"", registry.host());
    let errors = metrics.lines().find(|line| {
        line.starts_with("openshift_imagestreamcontroller_error_count{") && line.contains(&of_registry)
    });
    assert_eq!(errors, None, "no import failed");
    reads.checked_sub(moved).expect("each that moved was read")
}

#[tokio::test]
async fn a_registry_that_tells_what_it_allows_is_read_no_more_than_that() {
    let limit = RateLimit::new(LIMIT, WINDOW);
    let refused = followed_under(limit, 12).await;
    // As many may be under way before it has told anything.
    assert!(refused <= 8, "{refused} reads were refused");
}

#[tokio::test]
async fn a_registry_that_says_nothing_but_no_is_followed_without_a_failure_too() {
    let limit = RateLimit::new(LIMIT, WINDOW).silent();
    let refused = followed_under(limit, 8).await;
    assert!(refused <= 12, "{refused} reads were refused");
}

#[tokio::test]
async fn streams_that_are_new_wait_for_a_registry_that_allows_little_without_one_failed_import() {
    const STREAMS: usize = 12;
    let registry = TestRegistry::start(content("first", 0));
    let limit = RateLimit::new(LIMIT, WINDOW);
    registry.set_rate_limit(limit.only("/v2/*/manifests/*").free_heads());
    let server = Place::new()
        .config(&json!({
            "controllers": {"quietPeriod": "100ms"},
            // Much less than the registry asks to be left alone for.
            "import": {"requestTimeout": "1s"},
        }))
        .start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    for number in 0..STREAMS {
        let stream = json!({"apiVersion": "image.openshift.io/v1", "kind": "ImageStream",
            "metadata": {"name": format!("s{number}")},
            "spec": {"tags": [{"name": "t", "importPolicy": {"scheduled": true, "insecure": true},
                "from": {"kind": "DockerImage", "name": format!("{}/team/app:t{number}", registry.host())}}]}});
        let _ = client.post(&streams("team"), &stream).await.ok();
    }
    let begun = Instant::now();
    for number in 0..STREAMS {
        loop {
            let stream = client.get(&format!("{}/s{number}", streams("team"))).await.ok();
            let tag = &stream["status"]["tags"][0];
            assert!(tag["conditions"].is_null(), "{tag}");
            if tag["items"].is_array() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{stream:#}");
            sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(begun.elapsed() >= WINDOW, "the registry limited nothing");
    let metrics = client.get("/metrics").await.text;
    assert!(
        !metrics.contains("openshift_imagestreamcontroller_error_count{"),
        "{metrics}"
    );
}
