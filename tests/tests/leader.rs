//! Several servers on one etcd: each serves clients, one imports what streams want, and another takes over from it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::time::{Duration, Instant};

use imagestream_testkit::content::{Content, version_tag};
use imagestream_testkit::etcd;
use imagestream_testkit::registry::TestRegistry;
use imagestream_tests::client::{Client, imports, streams};
use imagestream_tests::leader::{self, PATIENCE, acts, until_it_acts};
use imagestream_tests::program::list;
use imagestream_tests::server::{ADMIN, Place, Server};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Streams that want something at the same time.
const STREAMS: usize = 10;
/// Starts a server that imports soon.
fn start(etcd: &etcd::Member) -> Server {
    leader::start(etcd, config())
}

fn config() -> Value {
    json!({"controllers": {"quietPeriod": "1s"}})
}

/// A stream with one tag that is to be imported.
fn stream(host: &str, name: &str, image: usize) -> Value {
    json!({
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": name},
        "spec": {"tags": [{
            "name": "t",
            "from": {"kind": "DockerImage", "name": format!("{host}/team/app:{}", version_tag(image))},
            "importPolicy": {"insecure": true},
        }]},
    })
}

/// Waits until all streams of these names have what they want; the digest of each.
async fn imported(client: &Client, names: &[String]) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let found = client.get(&streams("team")).await.ok();
        let digest = |name: &String| {
            let stream = list(&found["items"])
                .iter()
                .find(|stream| stream["metadata"]["name"] == **name)?;
            let history = &list(&stream["status"]["tags"]).first()?["items"];
            Some(list(history).first()?["image"].as_str()?.to_owned())
        };
        let digests: Vec<String> = names.iter().filter_map(digest).collect();
        if digests.len() == names.len() {
            return digests;
        }
        assert!(begun.elapsed() < PATIENCE, "{found}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Creates streams that want the images from `first` on; their names.
async fn want(client: &Client, host: &str, first: usize) -> Vec<String> {
    let mut names = Vec::new();
    for image in first..first + STREAMS {
        let name = format!("s{image}");
        let body = stream(host, &name, image);
        let _ = client.post(&streams("team"), &body).await.ok();
        names.push(name);
    }
    names
}

/// How often the manifest of each of the images was asked for.
fn asked(registry: &TestRegistry, images: std::ops::Range<usize>) -> Vec<usize> {
    let lines = registry.request_lines();
    images
        .map(|image| {
            let path = format!("/v2/team/app/manifests/{}", version_tag(image));
            lines.iter().filter(|line| line.ends_with(&path)).count()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_on_one_etcd_one_imports_and_the_other_takes_over_when_it_is_killed_or_ends() {
    if !etcd::installed() {
        return;
    }
    let etcd = etcd::single().await;
    let content = Content::new().tags("team/app", 3 * STREAMS + 1);
    let registry = TestRegistry::start(content.clone());
    let host = registry.host();
    let expected = |images: std::ops::Range<usize>| -> Vec<String> {
        images
            .map(|image| content.digest("team/app", &version_tag(image)))
            .collect()
    };

    // Both find an empty store and fill it at the same time.
    let (first, second) = leader::start_two(&etcd, &config()).await;
    let (via_first, via_second) = (Client::new(&first, ADMIN), Client::new(&second, ADMIN));
    via_first.create_namespace("team").await;

    // A client's own import, which is one transaction with its image, through the server that does not act.
    let image = 3 * STREAMS;
    let import = json!({
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStreamImport",
        "metadata": {"name": "by-hand"},
        "spec": {"import": true, "images": [{
            "from": {"kind": "DockerImage", "name": format!("{host}/team/app:{}", version_tag(image))},
            "to": {"name": "t"},
            "importPolicy": {"insecure": true},
        }]},
    });
    let answer = via_second.post(&imports("team"), &import).await.ok();
    assert_eq!(
        answer["status"]["images"][0]["status"]["status"], "Success",
        "{answer}"
    );
    assert_eq!(
        imported(&via_first, &["by-hand".to_owned()]).await,
        expected(image..image + 1)
    );

    // Streams that come in through either are imported once, by the first.
    let names = want(&via_second, &host, 0).await;
    assert_eq!(imported(&via_first, &names).await, expected(0..STREAMS));
    assert_eq!(asked(&registry, 0..STREAMS), [1; STREAMS]);
    assert!(!acts(&via_second).await);

    // The first is killed; what is wanted meanwhile is imported by the second.
    drop(first.kill());
    let killed = Instant::now();
    let names = want(&via_second, &host, STREAMS).await;
    until_it_acts(&via_second).await;
    println!("the second server took over after {:?}", killed.elapsed());
    assert_eq!(
        imported(&via_second, &names).await,
        expected(STREAMS..2 * STREAMS)
    );
    // Beyond what was imported nothing was looked at again.
    assert_eq!(asked(&registry, 0..2 * STREAMS), [1; 2 * STREAMS]);

    // One that ends by itself gives way at once.
    let third = start(&etcd);
    let via_third = Client::new(&third, ADMIN);
    assert!(!acts(&via_third).await);
    drop(second.stop());
    let ended = Instant::now();
    until_it_acts(&via_third).await;
    println!("the third server took over after {:?}", ended.elapsed());
    let names = want(&via_third, &host, 2 * STREAMS).await;
    assert_eq!(
        imported(&via_third, &names).await,
        expected(2 * STREAMS..3 * STREAMS)
    );
    assert_eq!(asked(&registry, 0..3 * STREAMS), [1; 3 * STREAMS]);
    let _ = third.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_etcd_goes_away_stops_acting_and_goes_on_when_it_is_back() {
    if !etcd::installed() {
        return;
    }
    let mut etcd = etcd::single().await;
    let content = Content::new().tags("team/app", 2 * STREAMS);
    let registry = TestRegistry::start(content);
    let server = start(&etcd);
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    until_it_acts(&client).await;
    let names = want(&client, &registry.host(), 0).await;
    imported(&client, &names).await;

    etcd.kill();
    let begun = Instant::now();
    while acts(&client).await {
        assert!(begun.elapsed() < PATIENCE, "it acts without a lease");
        sleep(Duration::from_millis(50)).await;
    }
    println!("stopped acting after {:?}", begun.elapsed());
    etcd.spawn();
    etcd.wait_until_serving().await;
    until_it_acts(&client).await;
    let begun = Instant::now();
    let names = loop {
        // The first requests may find a connection that is still broken.
        let ready = client.get(&streams("team")).await;
        if ready.status == 200 {
            break want(&client, &registry.host(), STREAMS).await;
        }
        assert!(begun.elapsed() < PATIENCE, "{ready:?}");
        sleep(Duration::from_millis(50)).await;
    };
    imported(&client, &names).await;
    assert_eq!(asked(&registry, 0..2 * STREAMS), [1; 2 * STREAMS]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_imports_what_was_left_as_soon_as_it_is_back() {
    let registry = TestRegistry::start(Content::new().tags("team/app", STREAMS));
    let config = json!({"controllers": {"quietPeriod": "1s"}});
    let server = Place::new().config(&config).start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    let names = want(&client, &registry.host(), 0).await;
    // Before it was quiet for long enough, unless the machine is very slow.
    let server = server.kill().start();
    let client = Client::new(&server, ADMIN);
    // Nobody else can have its data directory: it does not wait for a lease.
    until_it_acts(&client).await;
    imported(&client, &names).await;
}
