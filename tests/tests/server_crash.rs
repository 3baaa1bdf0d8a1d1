//! A server that is killed in the middle of imports has kept everything that it acknowledged, and nothing by halves.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use imagestream_testkit::content::{Content, version_tag};
use imagestream_testkit::registry::TestRegistry;
use imagestream_tests::client::{Client, imports, streams};
use imagestream_tests::program::list;
use imagestream_tests::server::{ADMIN, Server};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Streams that are imported into at the same time.
const STREAMS: usize = 6;
/// How often the server is killed.
const ROUNDS: u64 = 8;

/// Longest wait for the first import of a round.
const PATIENCE: Duration = Duration::from_secs(60);

/// Imports one more image into tag `latest` of a stream, and one into a tag of its own.
fn import(host: &str, stream: usize, at: usize) -> Value {
    let image = |to: String| {
        json!({
            "from": {"kind": "DockerImage", "name": format!("{host}/team/app:{}", version_tag(at))},
            "to": {"name": to},
            "importPolicy": {"insecure": true},
        })
    };
    json!({
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStreamImport",
        "metadata": {"name": format!("app-{stream}")},
        "spec": {"import": true, "images": [image("latest".into()), image(version_tag(at))]},
    })
}

/// What a stream has to look like after this many imports.
fn expected(content: &Content, imported: usize) -> Vec<String> {
    (0..imported)
        .rev()
        .map(|at| content.digest("team/app", &version_tag(at)))
        .collect()
}

fn digests(items: &Value) -> Vec<String> {
    list(items)
        .iter()
        .map(|item| item["image"].as_str().expect("a digest").to_owned())
        .collect()
}

/// All imports that were acknowledged.
fn sum(acknowledged: &[Arc<AtomicUsize>]) -> usize {
    acknowledged
        .iter()
        .map(|count| count.load(Ordering::SeqCst))
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_comes_back_with_whole_streams_and_all_that_it_acknowledged() {
    let content = Content::new().tags("team/app", 500);
    let registry = TestRegistry::builder(content.clone()).without_record().start();
    let mut server = Server::start();
    Client::new(&server, ADMIN).create_namespace("team").await;
    // How many imports of each stream were acknowledged.
    let acknowledged: Vec<_> = (0..STREAMS).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        let before = sum(&acknowledged);
        let importing: Vec<_> = acknowledged
            .iter()
            .enumerate()
            .map(|(stream, acknowledged)| {
                let (client, host, acknowledged) = (
                    Client::new(&server, ADMIN),
                    registry.host(),
                    Arc::clone(acknowledged),
                );
                tokio::spawn(async move {
                    loop {
                        let at = acknowledged.load(Ordering::SeqCst);
                        let body = import(&host, stream, at);
                        match client.try_send(Method::POST, &imports("team"), &body).await {
                            Ok(answer) => {
                                let answer = answer.ok();
                                for image in list(&answer["status"]["images"]) {
                                    assert_eq!(image["status"]["status"], "Success", "{answer}");
                                }
                                acknowledged.fetch_add(1, Ordering::SeqCst);
                            }
                            // The server is gone.
                            Err(_) => break,
                        }
                    }
                })
            })
            .collect();
        // Not before anything has come through, and then at another moment each time.
        let begun = Instant::now();
        while sum(&acknowledged) == before && begun.elapsed() < PATIENCE {
            sleep(Duration::from_millis(5)).await;
        }
        sleep(Duration::from_millis(150 + 37 * round)).await;
        let place = server.kill();
        for task in importing {
            task.await.unwrap();
        }
        server = place.start();
        let client = Client::new(&server, ADMIN);
        let stored = client.get(&streams("team")).await.ok();
        for (stream, acknowledged) in acknowledged.iter().enumerate() {
            let before = acknowledged.load(Ordering::SeqCst);
            let name = format!("app-{stream}");
            let found = list(&stored["items"])
                .iter()
                .find(|found| found["metadata"]["name"] == *name);
            let Some(found) = found else {
                assert_eq!(before, 0, "{name} is lost after {before} imports");
                continue;
            };
            let tags = list(&found["status"]["tags"]);
            let of = |tag: &str| tags.iter().find(|status| status["tag"] == tag);
            let history = digests(&of("latest").expect("latest")["items"]);
            // The one that was under way either came through or did not.
            let now = history.len();
            assert!(
                now == before || now == before + 1,
                "{name}: {now} imports, {before} acknowledged"
            );
            assert_eq!(history, expected(&content, now), "{name}");
            assert_eq!(tags.len(), now + 1, "{name}: latest and one tag for each import");
            assert_eq!(list(&found["spec"]["tags"]).len(), now + 1, "{name}");
            for at in 0..now {
                let tag = of(&version_tag(at)).expect("a tag for each import");
                assert_eq!(
                    digests(&tag["items"]),
                    [content.digest("team/app", &version_tag(at))]
                );
            }
            interrupted += now - before;
            acknowledged.store(now, Ordering::SeqCst);
        }
        let most = acknowledged
            .iter()
            .map(|count| count.load(Ordering::SeqCst))
            .max()
            .unwrap_or(0);
        for digest in expected(&content, most) {
            let image = client
                .get(&format!("/apis/image.openshift.io/v1/images/{digest}"))
                .await
                .ok();
            assert_eq!(image["metadata"]["name"], digest);
            assert!(image["dockerImageMetadata"]["Id"].is_string(), "{image}");
        }
    }
    let imported = sum(&acknowledged);
    println!("{imported} imports, {interrupted} of them done but not acknowledged");
    assert!(imported > STREAMS, "{imported} imports");
    // After all that it still ends gently.
    let _ = server.stop();
}
