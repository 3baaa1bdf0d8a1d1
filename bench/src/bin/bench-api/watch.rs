//! One change, and a thousand clients who wait for it.

use std::time::Instant;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use imagestream_bench::Result;
use imagestream_bench::latency::Figures;
use imagestream_tests::client::{Connector, streams};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::connection::Connection;

/// Clients who watch, each on a connection of its own.
const WATCHERS: usize = 1_000;
/// Changes that they see.
const CHANGES: usize = 50;

/// Raises the limit of open files, for this process and the server.
pub(crate) fn allow_many_connections() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(())
}

/// The time from the start of a change until each watcher has its event.
pub(crate) async fn fan_out(connector: &Connector, namespace: &str) -> Result<Figures> {
    let mut writer = Connection::open(connector).await?;
    let path = streams(namespace);
    let list = writer
        .ask(Method::GET, &format!("{path}?limit=1"), Bytes::new())
        .await?;
    let list: Value = serde_json::from_slice(&list)?;
    let revision = list["metadata"]["resourceVersion"].as_str().ok_or("a revision")?;
    let mut changed = list["items"][0].clone();
    let name = changed["metadata"]["name"].as_str().ok_or("a name")?.to_owned();
    // Members of a list don't say what they are.
    changed["apiVersion"] = "image.openshift.io/v1".into();
    changed["kind"] = "ImageStream".into();
    let watch = format!("{path}?watch=true&resourceVersion={revision}");
    let (sender, mut seen) = mpsc::unbounded_channel();
    for _ in 0..WATCHERS {
        let mut connection = Connection::open(connector).await?;
        let mut events = connection
            .send(Method::GET, &watch, Bytes::new())
            .await?
            .into_body();
        let sender = sender.clone();
        tokio::spawn(async move {
            // The connection lives as long as its events are read.
            let _connection = connection;
            while let Some(Ok(frame)) = events.frame().await {
                let lines = frame
                    .data_ref()
                    .map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count());
                for _ in 0..lines {
                    if sender.send(Instant::now()).is_err() {
                        return;
                    }
                }
            }
        });
    }
    drop(sender);
    let mut latencies = Vec::with_capacity(WATCHERS * CHANGES);
    let start = Instant::now();
    for number in 0..CHANGES {
        changed["metadata"]["labels"] = json!({"change": number.to_string()});
        let body = changed.to_string().into();
        let begun = Instant::now();
        let stored = writer.ask(Method::PUT, &format!("{path}/{name}"), body).await?;
        for _ in 0..WATCHERS {
            let seen = seen.recv().await.ok_or("the watchers are gone")?;
            latencies.push(seen.duration_since(begun));
        }
        changed = serde_json::from_slice(&stored)?;
    }
    Ok(Figures::of(latencies, start.elapsed()))
}
