//! Streams follow what scheduled tags come from: with the real program, a real registry, and one that counts.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use imagestream_testkit::content::Content;
use imagestream_testkit::image::Image;
use imagestream_testkit::real::{Options, RealRegistry, tools_are_installed};
use imagestream_testkit::registry::TestRegistry;
use imagestream_tests::client::{Client, imports, streams};
use imagestream_tests::program;
use imagestream_tests::server::{ADMIN, NOBODY, Place, Server};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// A place whose servers look at every source in an interval as short as can be.
fn place() -> Place {
    Place::new().config(&json!({"scheduled": {"interval": "2s", "minimumInterval": "1s"}}))
}

fn content(build: &str) -> Content {
    Content::new().image("team/app", "v1", Image::new().distinct(build))
}

async fn import(client: &Client, stream: &str, from: &str) {
    let import = json!({"kind": "ImageStreamImport", "apiVersion": "image.openshift.io/v1",
        "metadata": {"name": stream}, "spec": {"import": true, "images": [
            {"from": {"kind": "DockerImage", "name": from}, "to": {"name": "t"},
             "importPolicy": {"insecure": true, "scheduled": true}}]}});
    let imported = client.post(&imports("team"), &import).await.ok();
    assert_eq!(
        imported["status"]["images"][0]["status"]["status"], "Success",
        "{imported:#}"
    );
}

async fn stream(client: &Client, name: &str) -> Value {
    client.get(&format!("{}/{name}", streams("team"))).await.ok()
}

fn image(stream: &Value) -> &Value {
    &stream["status"]["tags"][0]["items"][0]["image"]
}

/// What is at a path, as soon as it is as it must be.
async fn eventually(client: &Client, path: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let found = client.get(path).await.ok();
        if is_right(&found) {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{path}: {found:#}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn eventually_stream(client: &Client, name: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    eventually(client, &format!("{}/{name}", streams("team")), is_right).await
}

/// Runs `imagestream status`; code, standard output and standard error.
fn status(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(program::path())
        .arg("status")
        .args(arguments)
        .arg("--kubeconfig")
        .arg(server.place().path("data/admin.kubeconfig"))
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[tokio::test]
async fn a_tag_of_a_real_registry_is_followed_also_by_the_next_server() {
    if !tools_are_installed() {
        return;
    }
    let registry = RealRegistry::start(Options::default());
    registry.fill(&content("first"));
    let server = place().start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    import(&client, "s", &format!("{}/team/app:v1", registry.host())).await;
    let first = stream(&client, "s").await;
    registry.fill(&content("second"));
    let second = eventually_stream(&client, "s", |stream| image(stream) != image(&first)).await;
    let server = server.stop().start();
    let client = Client::new(&server, ADMIN);
    registry.fill(&content("third"));
    let third = eventually_stream(&client, "s", |stream| image(stream) != image(&second)).await;
    assert_eq!(
        third["status"]["tags"][0]["items"].as_array().unwrap().len(),
        3,
        "{third:#}"
    );
}

#[tokio::test]
async fn streams_that_share_a_source_cost_one_request_and_nothing_is_written_while_it_stays() {
    let registry = TestRegistry::start(content("first"));
    let server = place().start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    for number in 0..20 {
        import(
            &client,
            &format!("s{number}"),
            &format!("{}/team/app:v1", registry.host()),
        )
        .await;
    }
    let is_followed = |report: &Value| report["tags"] == 20 && report["sources"] == 1;
    eventually(&client, "/imagestream/v1/status", is_followed).await;
    let before = stream(&client, "s0").await;
    // Whatever is counted falls after this moment.
    let begun = Instant::now();
    registry.clear_requests();
    while registry.request_count() < 3 {
        assert!(begun.elapsed() < PATIENCE, "it is not looked at");
        sleep(Duration::from_millis(50)).await;
    }
    let lines = registry.request_lines();
    assert!(
        lines.iter().all(|line| line == "HEAD /v2/team/app/manifests/v1"),
        "{lines:?}"
    );
    let most = begun.elapsed().as_secs() / 2 + 2;
    assert!(
        u64::try_from(lines.len()).unwrap() <= most,
        "{lines:?} in {:?}",
        begun.elapsed()
    );
    let after = stream(&client, "s0").await;
    assert_eq!(
        after["metadata"]["resourceVersion"],
        before["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn the_status_is_shown_to_whoever_may_see_it() {
    let registry = TestRegistry::start(content("first"));
    let server = place().start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    import(&client, "app", &format!("{}/team/app:v1", registry.host())).await;
    let checked = |report: &Value| report["items"][0]["lastCheck"].is_string();
    eventually(&client, "/imagestream/v1/status/streams", checked).await;
    let (code, shown, noted) = status(&server, &["-n", "team"]);
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!((code, rows.len(), &*noted), (0, 2, ""), "{shown}");
    assert_eq!(rows[1][..3], ["team", "app", "1"], "{shown}");
    let (code, shown, _) = status(&server, &[]);
    assert!(
        code == 0 && shown.contains("Sources:") && shown.contains(&registry.host()),
        "{shown}"
    );
    let (code, shown, _) = status(&server, &["--hosts", "-o", "json"]);
    let hosts: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &hosts["items"][0]["tags"]), (0, &json!(1)), "{shown}");
    let metrics = client.get("/metrics").await.text;
    let counted = format!(
        "imagestream_follow_checks_total{{host=\"{}\",outcome=\"unchanged\"}}",
        registry.host()
    );
    assert!(metrics.contains(&counted), "{metrics}");
    let of_host = |name: &str| {
        let begin = format!("imagestream_follow_{name}{{host=\"{}\"}} ", registry.host());
        let line = metrics.lines().find_map(|line| line.strip_prefix(&begin));
        line.map(|value| value.parse::<f64>().unwrap())
    };
    for (name, expected) in [
        ("tags", Some(1.0)),
        ("sources", Some(1.0)),
        ("repositories", Some(0.0)),
        ("waiting_to_fetch", Some(0.0)),
        ("throttled_until_seconds", None),
    ] {
        assert_eq!(of_host(name), expected, "{name}: {metrics}");
    }
    assert!(
        of_host("checks_per_minute").is_some_and(|checks| checks >= 1.0),
        "{metrics}"
    );
    assert!(of_host("lag_seconds").is_some_and(|lag| lag < 60.0), "{metrics}");
    let refused = Client::new(&server, NOBODY).get("/imagestream/v1/status").await;
    assert_eq!(refused.status, 403, "{refused:?}");
}
