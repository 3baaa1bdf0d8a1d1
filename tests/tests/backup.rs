//! `imagestream backup` and `imagestream restore`: what is restored is what a server once was.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use imagestream_tests::client::{Client, streams};
use imagestream_tests::program::{self, list};
use imagestream_tests::server::{ADMIN, Place, Server};
use serde_json::{Value, json};

const SECRETS: &str = "/api/v1/namespaces/team/secrets";

fn run(command: &str, file: &Path, data: &Path) -> Output {
    Command::new(program::path())
        .arg(command)
        .arg(file)
        .arg("--data-dir")
        .arg(data)
        .env_clear()
        .output()
        .expect("imagestream starts")
}

fn done(command: &str, file: &Path, data: &Path) {
    let output = run(command, file, data);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(" objects at revision "), "{text}");
}

fn refused(command: &str, file: &Path, data: &Path) -> String {
    let output = run(command, file, data);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn stream(number: usize) -> Value {
    json!({
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": format!("s-{number:05}")},
    })
}

/// Creates the namespace and a secret in it.
async fn prepared(server: &Server) -> Client {
    let client = Client::new(server, ADMIN);
    client.create_namespace("team").await;
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull"}, "stringData": {"a": "b"}});
    let _ = client.post(SECRETS, &secret).await.ok();
    client
}

async fn names(client: &Client) -> Vec<String> {
    let found = client.get(&streams("team")).await.ok();
    list(&found["items"])
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// A server on what a backup holds, in a place of its own.
fn restored(file: &Path) -> Server {
    let place = Place::new();
    done("restore", file, &place.path("data"));
    place.start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_while_objects_are_written_shows_one_moment_of_them() {
    let server = Server::start();
    let client = prepared(&server).await;
    let written = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (client, written, stop) = (client.clone(), Arc::clone(&written), Arc::clone(&stop));
        async move {
            while !stop.load(Ordering::SeqCst) {
                let number = written.load(Ordering::SeqCst);
                let _ = client.post(&streams("team"), &stream(number)).await.ok();
                written.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    while written.load(Ordering::SeqCst) < 50 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (file, data) = (server.place().path("b.tar"), server.place().path("data"));
    let before = written.load(Ordering::SeqCst);
    let backup = tokio::task::spawn_blocking({
        let (file, data) = (file.clone(), data.clone());
        move || done("backup", &file, &data)
    });
    backup.await.unwrap();
    let after = written.load(Ordering::SeqCst);
    stop.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    assert!(after > before, "writes went on meanwhile");

    let copy = restored(&file);
    assert_eq!(copy.ca_pem(), server.ca_pem(), "who trusts one trusts the other");
    let client = Client::new(&copy, ADMIN);
    let found = names(&client).await;
    // One more may have been stored than was acknowledged.
    assert!(
        (before..=after + 1).contains(&found.len()),
        "{} of {before} to {after}",
        found.len()
    );
    let expected: Vec<String> = (0..found.len()).map(|number| format!("s-{number:05}")).collect();
    assert_eq!(found, expected, "no stream without those before it");
    let secret = client.get(&format!("{SECRETS}/pull")).await.ok();
    assert_eq!(secret["data"]["a"], "Yg==");
    // And it goes on from there.
    let _ = client.post(&streams("team"), &stream(99_999)).await.ok();
    let _ = copy.stop();
    let _ = server.stop();
}

#[tokio::test]
async fn what_a_killed_server_leaves_can_be_backed_up() {
    let server = Server::start();
    let client = prepared(&server).await;
    for number in 0..3 {
        let _ = client.post(&streams("team"), &stream(number)).await.ok();
    }
    let place = server.kill();
    let file = place.path("b.tar");
    done("backup", &file, &place.path("data"));
    let copy = restored(&file);
    assert_eq!(names(&Client::new(&copy, ADMIN)).await.len(), 3);
}

#[test]
fn nothing_that_is_there_is_overwritten_and_nothing_broken_is_restored() {
    let server = Server::start();
    let (file, data) = (server.place().path("b.tar"), server.place().path("data"));
    done("backup", &file, &data);
    let error = refused("backup", &file, &data);
    assert_eq!(error, format!("error: {} exists already\n", file.display()));
    let error = refused("restore", &file, &data);
    assert!(
        error.contains("is not empty"),
        "a directory in use is never restored into: {error}"
    );

    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let broken = server.place().path("broken.tar");
    std::fs::write(&broken, bytes).unwrap();
    let target = server.place().path("target");
    let error = refused("restore", &broken, &target);
    assert!(error.contains("is no whole backup"), "{error}");
    assert!(!target.exists());

    let error = refused("backup", &server.place().path("c.tar"), &target);
    assert!(error.contains("there is no store in"), "{error}");
    let _ = server.stop();
}
