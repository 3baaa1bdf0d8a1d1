//! `imagestream prune` with the real program, alone and beside imports.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use imagestream_testkit::content::Content;
use imagestream_testkit::etcd;
use imagestream_testkit::image::Image;
use imagestream_testkit::registry::TestRegistry;
use imagestream_tests::client::{Client, imports, streams};
use imagestream_tests::program;
use imagestream_tests::server::{ADMIN, DEV, Place, Server};
use serde_json::{Value, json};

const IMAGES: &str = "/apis/image.openshift.io/v1/images";

/// Runs `imagestream prune`; code and standard output.
fn prune(kubeconfig: &PathBuf, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(program::path())
        .arg("prune")
        .args(arguments)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

fn build(number: u32) -> Content {
    Content::new().image("team/app", "v1", Image::new().distinct(&number.to_string()))
}

/// Imports the tag `v1` into `tag` of a stream; the image's name.
async fn import(client: &Client, stream: &str, tag: &str, host: &str) -> String {
    let import = json!({"kind": "ImageStreamImport", "apiVersion": "image.openshift.io/v1",
        "metadata": {"name": stream}, "spec": {"import": true, "images": [
            {"from": {"kind": "DockerImage", "name": format!("{host}/team/app:v1")}, "to": {"name": tag},
             "importPolicy": {"insecure": true}}]}});
    let imported = client.post(&imports("team"), &import).await.ok();
    let result = &imported["status"]["images"][0];
    assert_eq!(result["status"]["status"], "Success", "{imported:#}");
    result["image"]["metadata"]["name"].as_str().unwrap().to_owned()
}

/// The names of all images.
async fn images(client: &Client) -> HashSet<String> {
    let list = client.get(IMAGES).await.ok();
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The images that the history of any stream names.
async fn named(client: &Client) -> Vec<String> {
    let list = client.get(&streams("team")).await.ok();
    let tags = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|stream| stream["status"]["tags"].as_array().cloned().unwrap_or_default());
    let items = tags.flat_map(|tag| tag["items"].as_array().cloned().unwrap_or_default());
    items
        .map(|item| item["image"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_what_goes_and_why_and_confirming_it_removes_just_that() {
    let registry = TestRegistry::start(build(0));
    let server = Server::start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    let mut history = Vec::new();
    for number in 0..5 {
        registry.set_content(build(number));
        history.push(import(&client, "app", "v1", &registry.host()).await);
    }
    // The second build is also in another stream: its image stays.
    registry.set_content(build(1));
    assert_eq!(import(&client, "other", "v1", &registry.host()).await, history[1]);

    let kubeconfig = server.place().path("data/admin.kubeconfig");
    // All of it is young.
    let (code, shown) = prune(&kubeconfig, &[]);
    assert_eq!((code, shown.as_str()), (0, "Summary: deleted 0 objects\n"));
    let options = ["--keep-younger-than", "0s", "--keep-tag-revisions", "2"];
    let (code, shown) = prune(&kubeconfig, &options);
    assert_eq!(code, 0, "{shown}");
    let summary =
        "Summary: deleted 2 image object(s), deleted 3 image stream tag item(s), updated 1 image stream(s)\n";
    assert!(shown.ends_with(summary), "{shown}");
    for gone in &history[..3] {
        assert!(shown.contains(gone), "{shown}");
    }
    assert!(
        shown.contains("newer revisions are kept") && shown.contains("no stream points at it"),
        "{shown}"
    );
    assert_eq!(images(&client).await.len(), 5, "a dry run changes nothing");

    let (code, done) = prune(&kubeconfig, &[&options[..], &["--confirm"]].concat());
    assert_eq!((code, done), (0, shown));
    let expected: HashSet<String> = [1, 3, 4]
        .into_iter()
        .map(|number| history[number].clone())
        .collect();
    assert_eq!(images(&client).await, expected);
    let kept: Vec<String> = named(&client).await;
    assert_eq!(kept, [history[4].clone(), history[3].clone(), history[1].clone()]);
    let (code, again) = prune(&kubeconfig, &[&options[..], &["--confirm"]].concat());
    assert_eq!((code, again.as_str()), (0, "Summary: deleted 0 objects\n"));

    // What was deleted can be imported again, although it is remembered that it was.
    registry.set_content(build(0));
    assert_eq!(import(&client, "app", "v1", &registry.host()).await, history[0]);
    assert!(images(&client).await.contains(&history[0]));

    let refused = Client::new(&server, DEV)
        .post("/imagestream/v1/prune", &json!({}))
        .await;
    assert_eq!(refused.status, 403);
    let wrong = client
        .post("/imagestream/v1/prune", &json!({"confrim": true}))
        .await;
    assert_eq!(wrong.status, 400, "{}", wrong.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_beside_imports_leaves_no_stream_pointing_at_an_image_that_is_gone() {
    let server = Server::start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    let deleted = prune_beside_imports(&server, &client, 40).await;
    assert!(deleted > 0, "nothing was deleted meanwhile");
    let there = images(&client).await;
    for image in named(&client).await {
        assert!(there.contains(&image), "{image} is gone");
    }
}

/// Imports at least so many times into each of a few streams, while another server, or the same, prunes again and again; how many
/// images were deleted.
async fn prune_beside_imports(pruner: &Server, client: &Client, imported: u32) -> usize {
    const BUILDS: u32 = 6;
    /// If nothing is deleted for so long, that is wrong.
    const MOST: u32 = 2000;
    // The same few images come and go, so that imports rely on images that a prune is just about to delete.
    let mut content = Content::new();
    for number in 0..BUILDS {
        content = content.image(
            "team/app",
            &format!("v{number}"),
            Image::new().distinct(&number.to_string()),
        );
    }
    let registry = TestRegistry::start(content);
    let is_over = Arc::new(AtomicBool::new(false));
    let deleted = Arc::new(AtomicUsize::new(0));
    let pruning = tokio::task::spawn_blocking({
        let (is_over, deleted) = (Arc::clone(&is_over), Arc::clone(&deleted));
        let kubeconfig = pruner.kubeconfig();
        move || {
            while !is_over.load(Ordering::Relaxed) {
                let all = [
                    "--confirm",
                    "--keep-younger-than",
                    "0s",
                    "--keep-tag-revisions",
                    "1",
                    "-o",
                    "json",
                ];
                let (code, report) = prune(&kubeconfig, &all);
                assert_eq!(code, 0, "{report}");
                let report: Value = serde_json::from_str(&report).unwrap();
                deleted.fetch_add(report["images"].as_array().unwrap().len(), Ordering::Relaxed);
            }
        }
    });
    let mut importing = tokio::task::JoinSet::new();
    for stream in 0..3_u32 {
        let (client, host, deleted) = (client.clone(), registry.host(), Arc::clone(&deleted));
        importing.spawn(async move {
            for step in 0..MOST {
                if step >= imported && deleted.load(Ordering::Relaxed) > 0 {
                    break;
                }
                let from = format!("{host}/team/app:v{}", (step * 5 + stream) % BUILDS);
                let import = json!({"kind": "ImageStreamImport", "apiVersion": "image.openshift.io/v1",
                    "metadata": {"name": format!("s{stream}")}, "spec": {"import": true, "images": [
                        {"from": {"kind": "DockerImage", "name": from}, "to": {"name": "t"},
                         "importPolicy": {"insecure": true}}]}});
                let imported = client.post(&imports("team"), &import).await;
                assert_eq!(imported.status, 201, "{}", imported.text);
                // Whoever sees the answer finds the image: this stream is the only one that makes it the newest of its tag,
                // and the newest stays.
                let newest = &imported.json["status"]["import"]["status"]["tags"][0]["items"][0]["image"];
                let found = client
                    .get(&format!("{IMAGES}/{}", newest.as_str().unwrap()))
                    .await;
                assert_eq!(found.status, 200, "{}", found.text);
            }
        });
    }
    while let Some(imported) = importing.join_next().await {
        imported.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    pruning.await.unwrap();
    deleted.load(Ordering::Relaxed)
}

/// A name as manifests have.
fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

/// Makes images that nothing points at, many at a time.
async fn make_images(client: &Client, numbers: std::ops::Range<usize>) {
    let mut making = tokio::task::JoinSet::new();
    for number in numbers {
        let client = client.clone();
        let name = digest(number);
        making.spawn(async move {
            let image = json!({"kind": "Image", "apiVersion": "image.openshift.io/v1", "metadata": {"name": name},
                               "dockerImageReference": format!("r.example/team/app@{name}")});
            let _ = client.post(IMAGES, &image).await.ok();
        });
        if making.len() == 16 {
            making.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(made) = making.join_next().await {
        made.unwrap();
    }
}

/// A stream whose tags `t0`, `t1`, … each had so many images, one after the other from `first` on.
async fn make_stream(client: &Client, name: &str, first: usize, tags: usize, revisions: usize) {
    let created = client
        .post(&streams("team"), &json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": name}}))
        .await
        .ok();
    let tags: Vec<Value> = (0..tags)
        .map(|tag| {
            let items: Vec<Value> = (0..revisions)
                .map(|revision| {
                    let image = digest(first + tag * revisions + revision);
                    json!({"created": "2020-01-01T00:00:00Z", "generation": 1, "image": image,
                           "dockerImageReference": format!("r.example/team/app@{image}")})
                })
                .collect();
            json!({"tag": format!("t{tag}"), "items": items})
        })
        .collect();
    let mut stream = created;
    stream["status"] = json!({"dockerImageRepository": "", "tags": tags});
    let written = client
        .put(&format!("{}/{name}/status", streams("team")), &stream)
        .await;
    assert_eq!(written.status, 200, "{}", written.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn planning_a_prune_holds_no_more_than_one_decoded_stream_in_memory() {
    const STREAMS: usize = 100;
    const TAGS: usize = 5;
    const REVISIONS: usize = 80;
    /// Decoded, all streams together take twice as much.
    const ALLOWED: u64 = 7 << 20;
    let server = Server::start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    make_images(&client, 0..TAGS * REVISIONS).await;
    for stream in 0..STREAMS {
        make_stream(&client, &format!("s{stream}"), 0, TAGS, REVISIONS).await;
    }
    let kubeconfig = server.kubeconfig();
    let keep_all = ["--keep-younger-than", "0s", "--keep-tag-revisions", "1000"];
    let before = server.resident_bytes();
    let (code, shown) = prune(&kubeconfig, &keep_all);
    assert_eq!((code, shown.as_str()), (0, "Summary: deleted 0 objects\n"));
    let grown = server.resident_bytes().saturating_sub(before);
    println!("planning took {grown} bytes");
    assert!(grown < ALLOWED, "{grown} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_while_it_prunes_has_whole_streams_and_their_images_and_the_next_prune_ends_the_work()
 {
    const STREAMS: usize = 6;
    const TAGS: usize = 3;
    const REVISIONS: usize = 4;
    const NAMED: usize = STREAMS * TAGS * REVISIONS;
    const LOOSE: usize = 600;
    let options = [
        "--confirm",
        "--keep-younger-than",
        "0s",
        "--keep-tag-revisions",
        "1",
    ];
    let mut server = Server::start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    make_images(&client, 0..NAMED + LOOSE).await;
    for stream in 0..STREAMS {
        let first = stream * TAGS * REVISIONS;
        make_stream(&client, &format!("s{stream}"), first, TAGS, REVISIONS).await;
    }
    // Killed as soon as each of these many images are gone.
    for gone in [1, 100, 300] {
        let client = Client::new(&server, ADMIN);
        let kubeconfig = server.kubeconfig();
        let pruning = tokio::task::spawn_blocking(move || prune(&kubeconfig, &options));
        while images(&client).await.len() > NAMED + LOOSE - gone && !pruning.is_finished() {}
        server = server.kill().start();
        // It may have ended first.
        let _ = pruning.await.unwrap();
        let client = Client::new(&server, ADMIN);
        let there = images(&client).await;
        println!("killed when {} images were left", there.len());
        let list = client.get(&streams("team")).await.ok();
        let found = list["items"].as_array().unwrap();
        assert_eq!(found.len(), STREAMS);
        for stream in found {
            let tags = stream["status"]["tags"].as_array().unwrap();
            assert_eq!(tags.len(), TAGS, "{stream}");
            for tag in tags {
                let items = tag["items"].as_array().unwrap().len();
                assert!(items == 1 || items == REVISIONS, "{stream}");
            }
        }
        for image in named(&client).await {
            assert!(there.contains(&image), "{image} is gone");
        }
    }
    let (code, report) = prune(&server.kubeconfig(), &options);
    assert_eq!(code, 0, "{report}");
    let client = Client::new(&server, ADMIN);
    let newest: HashSet<String> = (0..STREAMS * TAGS).map(|tag| digest(tag * REVISIONS)).collect();
    assert_eq!(images(&client).await, newest);
    assert_eq!(named(&client).await.into_iter().collect::<HashSet<_>>(), newest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pruning_on_one_server_beside_imports_on_another_leaves_no_stream_pointing_at_an_image_that_is_gone()
{
    if !etcd::installed() {
        return;
    }
    let etcd = etcd::single().await;
    let start = || {
        let place = Place::new();
        let key_file = place.path("secret.key");
        std::fs::write(&key_file, [7; 32]).expect("a key");
        place
            .config(&json!({
                "storage": {"kind": "etcd", "endpoints": [etcd.url()], "prefix": "/test"},
                "secrets": {"keyFile": key_file},
            }))
            .start()
    };
    let (pruner, importer) = (start(), start());
    let client = Client::new(&importer, ADMIN);
    client.create_namespace("team").await;
    let deleted = prune_beside_imports(&pruner, &client, 20).await;
    assert!(deleted > 0, "nothing was deleted meanwhile");
    // Both see the same.
    for server in [&pruner, &importer] {
        let client = Client::new(server, ADMIN);
        let there = images(&client).await;
        for image in named(&client).await {
            assert!(there.contains(&image), "{image} is gone");
        }
    }
}
