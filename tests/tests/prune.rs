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
use std::sync::atomic::{AtomicBool, Ordering};

use imagestream_testkit::content::Content;
use imagestream_testkit::image::Image;
use imagestream_testkit::registry::TestRegistry;
use imagestream_tests::client::{Client, imports, streams};
use imagestream_tests::program;
use imagestream_tests::server::{ADMIN, DEV, Server};
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
    const BUILDS: u32 = 6;
    const IMPORTS: u32 = 40;
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
    let server = Server::start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    let is_over = Arc::new(AtomicBool::new(false));
    let pruning = tokio::task::spawn_blocking({
        let (is_over, kubeconfig) = (Arc::clone(&is_over), server.place().path("data/admin.kubeconfig"));
        move || {
            let mut deleted = 0;
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
                deleted += report["images"].as_array().unwrap().len();
            }
            deleted
        }
    });
    let mut importing = tokio::task::JoinSet::new();
    for stream in 0..3_u32 {
        let (client, host) = (client.clone(), registry.host());
        importing.spawn(async move {
            for step in 0..IMPORTS {
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
    let deleted = pruning.await.unwrap();
    assert!(deleted > 0, "nothing was deleted meanwhile");
    let there = images(&client).await;
    for image in named(&client).await {
        assert!(there.contains(&image), "{image} is gone");
    }
}
