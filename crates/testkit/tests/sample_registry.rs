//! The sample registry as a process: what it prints, what it holds, how it ends.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Ends the process also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(host: &str, path: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn it_serves_the_demo_repositories_until_it_is_told_to_end() {
    let mut process = Running(
        Command::new(env!("CARGO_BIN_EXE_sample-registry"))
            .arg("0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut output = BufReader::new(process.0.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let host = line
        .strip_prefix("sample registry at ")
        .expect("the line")
        .trim_end();
    for (repository, tags) in [("hello", 3), ("web", 4), ("many", 120), ("broken", 2)] {
        let (_, list) = get(host, &format!("/v2/demo/{repository}/tags/list"));
        assert_eq!(list["tags"].as_array().unwrap().len(), tags, "{repository}");
    }
    let (_, web) = get(host, "/v2/demo/web/manifests/latest");
    let architectures: Vec<&str> = web["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["platform"]["architecture"].as_str().unwrap())
        .collect();
    assert_eq!(
        architectures,
        ["amd64", "arm64", "arm", "unknown", "unknown", "unknown"]
    );
    let (status, old) = get(host, "/v2/demo/broken/manifests/old");
    assert_eq!(status, 200);
    let config = old["config"]["digest"].as_str().unwrap();
    assert_eq!(get(host, &format!("/v2/demo/broken/blobs/{config}")).0, 404);

    let id = process.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    assert!(process.0.wait().unwrap().success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}
