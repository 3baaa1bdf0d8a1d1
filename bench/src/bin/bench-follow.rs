//! Measures how many sources a server can follow: looks a second at one registry, and memory for each scheduled tag.
//!
//! Every scheduled tag has a source of its own and is due each second; there are more than the server can look at in
//! that time. Prints a table for people and, as the last line, one JSON object of figures. `BENCH_DIR` names the directory
//! for data, `IMAGESTREAM_BIN` the program (default: `imagestream` beside this one). Server and registry share the
//! machine.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use http::Method;
use imagestream_bench::registry::Registry;
use imagestream_bench::{Result, directory, program};
use imagestream_testkit::content::version_tag;
use imagestream_tests::client::{Client, imports};
use imagestream_tests::server::{ADMIN, Place};
use serde_json::{Value, json};

/// Scheduled tags, each with a source of its own.
const TAGS: usize = 10_000;
/// Tags of each stream.
const PER_STREAM: usize = 100;
/// Looks at the registry that are allowed in a minute: more than there will be.
const BUDGET: u32 = 1_000_000;
/// What a server does right after its start is over after this time.
const SETTLE: Duration = Duration::from_secs(3);
/// How long looks are counted.
const MEASURED: Duration = Duration::from_secs(10);
/// Longest wait for the server to know what it follows.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    match bench().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-follow: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> Result<()> {
    let mut registry = Registry::start(TAGS)?;
    let directory = directory()?;
    let place = Place::with_program(program()?, directory.path());
    // First the streams are made, and nothing is followed.
    let server = place.config(&json!({"scheduled": {"enabled": false}})).start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("bench").await;
    for stream in 0..TAGS / PER_STREAM {
        import(&client, &registry.host, stream).await?;
    }
    // What it holds of the imports is gone with the next start.
    let server = server.stop().start();
    tokio::time::sleep(SETTLE).await;
    let without = server.resident_bytes();
    let every_second = json!({"interval": "1s", "minimumInterval": "1s", "checksPerMinutePerHost": BUDGET});
    let server = server.stop().config(&json!({"scheduled": every_second})).start();
    let client = Client::new(&server, ADMIN);
    let begun = Instant::now();
    while status(&client).await?["sources"] != TAGS {
        if begun.elapsed() > PATIENCE {
            return Err("the server does not follow what it should".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(SETTLE).await;
    registry.take()?;
    let begun = Instant::now();
    tokio::time::sleep(MEASURED).await;
    let (requests, in_flight) = registry.take()?;
    let per_second = requests as f64 / begun.elapsed().as_secs_f64();
    let lag = status(&client).await?["lagSeconds"].clone();
    let bytes_per_tag = server.resident_bytes().saturating_sub(without) as f64 / TAGS as f64;
    println!("{TAGS} scheduled tags at one registry, each due every second");
    println!("looks a second: {per_second:.0} ({in_flight} at once at most, {lag} s behind)");
    println!("memory for each tag: {bytes_per_tag:.0} bytes, connections and all");
    let figures = json!({"checks_per_s": per_second.round(), "bytes_per_tag": bytes_per_tag.round()});
    println!("{figures}");
    Ok(())
}

async fn status(client: &Client) -> Result<Value> {
    let answer = client
        .try_send(Method::GET, "/imagestream/v1/status", &Value::Null)
        .await?;
    Ok(answer.json)
}

/// Imports some tags into a stream, with a schedule.
async fn import(client: &Client, host: &str, stream: usize) -> Result<()> {
    let images = (0..PER_STREAM).map(|tag| {
        let name = version_tag(stream * PER_STREAM + tag);
        json!({"from": {"kind": "DockerImage", "name": format!("{host}/bench/many:{name}")},
               "to": {"name": name}, "importPolicy": {"insecure": true, "scheduled": true}})
    });
    let images: Vec<Value> = images.collect();
    let import = json!({"apiVersion": "image.openshift.io/v1", "kind": "ImageStreamImport",
        "metadata": {"name": format!("s{stream}")}, "spec": {"import": true, "images": images}});
    let answer = client.try_send(Method::POST, &imports("bench"), &import).await?;
    if answer.status != 201 {
        return Err(format!("an import was answered {}: {}", answer.status, answer.text).into());
    }
    Ok(())
}
