#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]
use std::time::Duration;

use imagestream_apiserver::metadata;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::image::testing::TestServer;

mod creations;
mod limits;
mod namespaces;
mod projects;
mod roles;

/// How long something may take that a task does.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Sends an object that must be taken.
#[allow(clippy::needless_pass_by_value, reason = "callers make it in place")]
async fn post(server: &TestServer, collection: &str, object: Value) -> Value {
    let (code, body) = server.send("admin", "POST", collection, Some(&object)).await;
    assert_eq!(code, 201, "{collection}: {body}");
    body
}

/// Sends an object as a user; code and message of the answer.
async fn refused(
    server: &TestServer,
    user: &str,
    method: &str,
    target: &str,
    object: &Value,
) -> (u16, String) {
    let (code, body) = server.send(user, method, target, Some(object)).await;
    (code, text(&body, "/message").to_owned())
}

async fn get(server: &TestServer, target: &str) -> (u16, Value) {
    server.send("admin", "GET", target, None).await
}

async fn make_namespace(server: &TestServer, name: &str) -> Value {
    post(server, "/api/v1/namespaces", json!({"metadata": {"name": name}})).await
}

fn stream(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {}})
}

const STREAMS: &str = "/apis/image.openshift.io/v1/namespaces/n/imagestreams";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Asks until the answer is good.
async fn eventually(server: &TestServer, target: &str, is_good: impl Fn(u16, &Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let (code, body) = get(server, target).await;
        if is_good(code, &body) {
            return body;
        }
        assert!(Instant::now() < end, "{target} stays at {code}: {body}");
        sleep(PAUSE).await;
    }
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn name(object: &Value) -> &str {
    metadata::text(object, "name")
}
