//! Registries tell of pushes, and streams follow at once, long before they would be looked at on schedule.

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
use imagestream_testkit::real::{Listener, Options, RealRegistry, tools_are_installed};
use imagestream_tests::client::{Client, streams};
use imagestream_tests::server::{ADMIN, Place, Server};
use serde_json::{Value, json};
use tokio::time::sleep;

const SECRET: &str = "a-secret-of-the-registry";
/// How long a stream may take to follow. It is looked at once a day otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that looks at nothing by itself for a day, and a registry that tells it of pushes.
fn told() -> (Server, RealRegistry) {
    let place = Place::new();
    let secret_file = place.write("registry.secret", SECRET);
    let server = place
        .config(&json!({
            "controllers": {"quietPeriod": "100ms"},
            "scheduled": {"interval": "24h", "minimumInterval": "24h"},
            "notifications": {"receivers": [
                {"name": "local", "format": "distribution", "secretFile": secret_file}
            ]}
        }))
        .start();
    let listener = Listener {
        url: format!("{}/imagestream/v1/notifications/local", server.url()),
        authorization: format!("Bearer {SECRET}"),
        ca_file: server.place().path("data/pki/ca.crt"),
    };
    let registry = RealRegistry::start_telling(Options::default(), Some(&listener));
    (server, registry)
}

fn push(registry: &RealRegistry, tag: &str, build: &str) {
    let image = Image::new().distinct(build);
    registry.fill(&Content::new().image("team/app", tag, image));
}

/// The stream `s`, as soon as `is_there` says so.
async fn eventually(client: &Client, what: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let stream = client.get(&format!("{}/s", streams("team"))).await.ok();
        if is_there(&stream) {
            return stream;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {stream:#}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// The newest image of a tag.
fn image<'a>(stream: &'a Value, tag: &str) -> Option<&'a str> {
    let tags = stream["status"]["tags"].as_array()?;
    let history = tags.iter().find(|history| history["tag"] == tag)?;
    history["items"][0]["image"].as_str()
}

#[tokio::test]
async fn what_is_pushed_to_a_real_registry_is_in_the_stream_long_before_it_is_due() {
    if !tools_are_installed() {
        return;
    }
    let (server, registry) = told();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    push(&registry, "v1", "first");
    let stream = json!({
        "kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "s"},
        "spec": {"tags": [{"name": "app", "importPolicy": {"scheduled": true, "insecure": true},
                           "from": {"kind": "DockerImage", "name": format!("{}/team/app:v1", registry.host())}}]}
    });
    let _ = client.post(&streams("team"), &stream).await.ok();
    let first = eventually(&client, "the first import", |stream| {
        image(stream, "app").is_some()
    })
    .await;
    push(&registry, "v1", "second");
    let second = eventually(&client, "the push", |stream| {
        image(stream, "app") != image(&first, "app")
    })
    .await;
    let items = second["status"]["tags"][0]["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{second:#}");
    assert_eq!(items[1]["image"].as_str(), image(&first, "app"));
}

#[tokio::test]
async fn a_tag_that_a_rule_chooses_is_imported_as_soon_as_it_is_pushed() {
    if !tools_are_installed() {
        return;
    }
    let (server, registry) = told();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    push(&registry, "1.0.0", "first");
    push(&registry, "latest", "first");
    let rules = format!(
        "- repository: {}/team/app\n  match: {{semver: '*'}}\n  newest: 2\n  removal: prune\n  importPolicy: {{insecure: true}}\n",
        registry.host()
    );
    let stream = json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
                        "metadata": {"name": "s", "annotations": {"follow.imagestream/rules": rules}}});
    let _ = client.post(&streams("team"), &stream).await.ok();
    eventually(&client, "the first import", |stream| {
        image(stream, "1.0.0").is_some()
    })
    .await;
    for tag in ["1.1.0", "1.2.0"] {
        push(&registry, tag, tag);
        eventually(&client, tag, |stream| image(stream, tag).is_some()).await;
    }
    let stream = eventually(&client, "the oldest goes", |stream| {
        image(stream, "1.0.0").is_none()
    })
    .await;
    let tags = stream["spec"]["tags"].as_array().unwrap();
    let tags: Vec<&Value> = tags.iter().map(|tag| &tag["name"]).collect();
    assert_eq!(tags, ["1.1.0", "1.2.0"]);
}

#[tokio::test]
async fn strangers_are_told_nothing_and_no_secret_is_written_down() {
    let place = Place::new();
    let secret_file = place.write("hub.secret", SECRET);
    let audit = place.path("audit.log");
    let server = place
        .config(&json!({
            "audit": {"logFile": audit},
            "notifications": {"receivers": [{"name": "hub", "format": "dockerHub", "secretFile": secret_file}]}
        }))
        .start();
    let client = Client::new(&server, None);
    let body = json!({"push_data": {"tag": "1"}, "repository": {"repo_name": "library/nginx"}});
    let path = |name: &str, secret: &str| format!("/imagestream/v1/notifications/{name}?secret={secret}");
    assert_eq!(client.post(&path("hub", SECRET), &body).await.status, 202);
    let wrong = client.post(&path("hub", "guessed"), &body).await;
    let unknown = client.post(&path("none", SECRET), &body).await;
    assert_eq!((wrong.status, wrong.json), (401, unknown.json));
    assert_eq!(
        client
            .send(Method::GET, &path("hub", SECRET), &Value::Null)
            .await
            .status,
        405
    );
    let place = server.stop();
    let written = std::fs::read_to_string(&audit).unwrap();
    assert!(written.contains("/imagestream/v1/notifications/hub"), "{written}");
    for text in [written, place.log()] {
        assert!(!text.contains(SECRET) && !text.contains("guessed"), "{text}");
    }
}
