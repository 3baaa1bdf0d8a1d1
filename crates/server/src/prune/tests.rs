#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use serde_json::{Value, json};

use super::plan::{Options, Why};
use super::run::prune;
use crate::image::testing::TestServer;

mod races;

const STREAMS: &str = "/apis/image.openshift.io/v1/namespaces/n/imagestreams";
const IMAGES: &str = "/apis/image.openshift.io/v1/images";

/// A name as manifests have.
fn digest(number: u32) -> String {
    format!("sha256:{number:064}")
}

async fn make_image(server: &TestServer, number: u32) {
    let image = json!({"metadata": {"name": digest(number)}, "dockerImageReference": format!("r.example/a@{}", digest(number)),
                       "dockerImageMetadata": {"Size": 10}});
    let (code, body) = server.send("admin", "POST", IMAGES, Some(&image)).await;
    assert_eq!(code, 201, "{body}");
}

/// A stream whose tag `latest` had these images, newest first.
async fn make_stream(server: &TestServer, name: &str, history: &[u32]) {
    let stream = json!({"metadata": {"name": name}});
    let (code, body) = server.send("admin", "POST", STREAMS, Some(&stream)).await;
    assert_eq!(code, 201, "{body}");
    let items: Vec<Value> = history
        .iter()
        .map(|number| json!({"created": "2020-01-01T00:00:00Z", "dockerImageReference": format!("r.example/a@{}", digest(*number)),
                             "image": digest(*number), "generation": 1}))
        .collect();
    let mut stored = body;
    stored["status"] = json!({"dockerImageRepository": "", "tags": [{"tag": "latest", "items": items}]});
    let target = format!("{STREAMS}/{name}/status");
    let (code, body) = server.send("admin", "PUT", &target, Some(&stored)).await;
    assert_eq!(code, 200, "{body}");
}

fn everything_old() -> Options {
    serde_json::from_value(json!({"keepTagRevisions": 2, "keepYoungerThanSeconds": 0})).unwrap()
}

async fn names(server: &TestServer) -> Vec<String> {
    let (code, list) = server.send("admin", "GET", IMAGES, None).await;
    assert_eq!(code, 200, "{list}");
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_dry_run_says_what_goes_and_a_prune_removes_exactly_that_once() {
    let server = TestServer::start().await;
    for number in 1..=5 {
        make_image(&server, number).await;
    }
    make_stream(&server, "s", &[1, 2, 3, 4]).await;
    make_stream(&server, "other", &[4]).await;
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);

    let mut options = everything_old();
    let said = prune(&server.context, &options, now).await.unwrap();
    assert!(said.dry_run && said.failures.is_empty());
    assert_eq!(names(&server).await.len(), 5, "a dry run changes nothing");
    options.confirm = true;
    let done = prune(&server.context, &options, now).await.unwrap();
    assert!(!done.dry_run);
    for report in [&said, &done] {
        assert_eq!(report.streams.len(), 1);
        assert_eq!(
            (
                report.streams[0].namespace.as_str(),
                report.streams[0].name.as_str()
            ),
            ("n", "s")
        );
        let items: Vec<_> = report.streams[0]
            .items
            .iter()
            .map(|item| (item.revision, item.image.clone(), item.why))
            .collect();
        assert_eq!(
            items,
            [(2, digest(3), Why::Superseded), (3, digest(4), Why::Superseded)]
        );
        let images: Vec<_> = report.images.iter().map(|image| image.name.clone()).collect();
        // The fourth is in the history of another stream.
        assert_eq!(images, [digest(3), digest(5)]);
        assert_eq!(report.kept_images, 3);
    }
    assert_eq!(names(&server).await, [digest(1), digest(2), digest(4)]);
    let (_, stream) = server.send("admin", "GET", &format!("{STREAMS}/s"), None).await;
    assert_eq!(stream["status"]["tags"][0]["items"].as_array().unwrap().len(), 2);

    let again = prune(&server.context, &options, now).await.unwrap();
    assert!(again.streams.is_empty() && again.images.is_empty() && again.failures.is_empty());
}

#[tokio::test]
async fn a_tag_that_loses_all_its_history_goes_with_it() {
    let server = TestServer::start().await;
    // Its image was never there.
    make_stream(&server, "s", &[9]).await;
    let options = Options {
        confirm: true,
        ..everything_old()
    };
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);
    let report = prune(&server.context, &options, now).await.unwrap();
    assert_eq!(report.streams[0].items[0].why, Why::ImageMissing);
    let (_, stream) = server.send("admin", "GET", &format!("{STREAMS}/s"), None).await;
    assert_eq!(stream["status"].get("tags"), None, "{stream}");
}

#[tokio::test]
async fn an_image_with_finalizers_is_told_that_it_is_to_go_and_stays_until_they_are_gone() {
    let server = TestServer::start().await;
    make_image(&server, 1).await;
    let target = format!("{IMAGES}/{}", digest(1));
    let hold = json!({"metadata": {"finalizers": ["example.org/copied"]}});
    let (code, body) = server.send("admin", "PATCH", &target, Some(&hold)).await;
    assert_eq!(code, 200, "{body}");
    let options = Options {
        confirm: true,
        ..everything_old()
    };
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);
    let report = prune(&server.context, &options, now).await.unwrap();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(report.images.len(), 1);
    let (code, held) = server.send("admin", "GET", &target, None).await;
    assert_eq!(code, 200, "{held}");
    assert!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    // It is going already.
    let again = prune(&server.context, &options, now).await.unwrap();
    assert!(again.images.is_empty() && again.failures.is_empty());

    let release = json!({"metadata": {"finalizers": null}});
    let (code, body) = server.send("admin", "PATCH", &target, Some(&release)).await;
    assert_eq!(code, 200, "{body}");
    assert_eq!(names(&server).await, [""; 0]);
}
