//! Measures the server as its clients see it: over TLS, on connections that are kept.
//!
//! Prints a table for people and, as the last line, one JSON object of figures. `BENCH_DIR` names the directory for
//! data (a real disk; default: the current directory), `BENCH_MEMORY_DIR` one in memory (default: `/dev/shm`), which tells
//! what creating costs where syncing costs nothing, `IMAGESTREAM_BIN` the program (default: `imagestream` beside this
//! one). Client, server and registry share the machine.

mod connection;
mod floor;
mod watch;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use connection::Connection;
use http::Method;
use imagestream_bench::latency::{Figures, measure, millis, quantile};
use imagestream_bench::registry::Registry;
use imagestream_bench::{Result, directory, program};
use imagestream_testkit::content::version_tag;
use imagestream_tests::client::{Connector, imports, streams};
use imagestream_tests::server::{Place, Server};
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Streams in the full store, and how many of them are in one namespace.
const STREAMS: usize = 10_000;
const PER_NAMESPACE: usize = 1_000;
/// Tags of each stream.
const TAGS: usize = 3;
/// Connections of those who create and read at the same time.
const CONNECTIONS: usize = 8;
/// Requests that share one connection with HTTP/2.
const SHARED_BY: usize = 8;
/// Starts of each kind; the median counts.
const STARTS: usize = 5;
/// Images that are imported, one after another.
const IMPORTS: usize = 300;
/// What a server does right after it is ready is over after this time.
const SETTLE: Duration = Duration::from_secs(1);
/// The group's streams of all namespaces.
const ALL_STREAMS: &str = "/apis/image.openshift.io/v1/imagestreams";

fn namespace(of_stream: usize) -> String {
    format!("bench-{}", of_stream / PER_NAMESPACE)
}

/// A stream of three tags. Its tags refer to images elsewhere, so that its status has them at once.
fn stream(number: usize) -> Bytes {
    let tags: Vec<Value> = (0..TAGS)
        .map(|tag| {
            json!({
                "name": format!("v{tag}"),
                "reference": true,
                "from": {"kind": "DockerImage", "name": format!("registry.example.com/team/app-{number}:v{tag}")},
            })
        })
        .collect();
    let stream = json!({
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": format!("app-{number}"), "labels": {"app": format!("app-{number}")}},
        "spec": {"tags": tags},
    });
    stream.to_string().into()
}

fn import(host: &str, number: usize) -> Bytes {
    let reference = format!("{host}/bench/many:{}", version_tag(number));
    let import = json!({
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStreamImport",
        "metadata": {"name": format!("imported-{number}")},
        "spec": {"import": true, "images": [{
            "from": {"kind": "DockerImage", "name": reference},
            "importPolicy": {"insecure": true},
        }]},
    });
    import.to_string().into()
}

/// A number of connections, each with a lock: one request at a time.
async fn connections(connector: &Connector, count: usize) -> Result<Arc<Vec<Mutex<Connection>>>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(Mutex::new(Connection::open(connector).await?));
    }
    Ok(Arc::new(connections))
}

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    quantile(&durations, 50)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Makes the namespaces of all streams.
async fn create_namespaces(server: &Server) -> Result<()> {
    let mut admin = Connection::open(&Connector::new(server)).await?;
    for number in (0..STREAMS).step_by(PER_NAMESPACE) {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(number)}});
        let body = body.to_string().into();
        admin.ask(Method::POST, "/api/v1/namespaces", body).await?;
    }
    Ok(())
}

/// Creates these streams from as many clients as there are connections, and returns what that took.
async fn create(connections: Vec<Connection>, streams_of: Range<usize>) -> Result<Figures> {
    let clients = connections.len();
    let each = streams_of.len() / clients;
    let connections: Arc<Vec<_>> = Arc::new(connections.into_iter().map(Mutex::new).collect());
    measure(
        clients,
        move |_, done| done < each,
        move |client, done| {
            let connections = Arc::clone(&connections);
            let number = streams_of.start + client * each + done;
            async move {
                let mut connection = connections[client].lock().await;
                let path = streams(&namespace(number));
                connection.ask(Method::POST, &path, stream(number)).await?;
                Ok(())
            }
        },
    )
    .await
}

/// Creates all streams: half of them one after another on each connection, half with several requests in flight.
async fn create_all(server: &Server, place: &str) -> Result<(Figures, Figures)> {
    create_namespaces(server).await?;
    let (mut alone, mut shared) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        alone.push(Connection::open(&Connector::new(server)).await?);
        shared.extend(Connection::open_shared(&Connector::http2(server), SHARED_BY).await?);
    }
    let in_flight = shared.len();
    // Each client creates as many.
    let half = STREAMS - STREAMS / 2 / in_flight * in_flight;
    let alone = create(alone, 0..half).await?;
    alone.row(&format!("create, {CONNECTIONS} in flight, {place}"));
    let shared = create(shared, half..STREAMS).await?;
    shared.row(&format!("create, {in_flight} in flight, {place}"));
    Ok((alone, shared))
}

/// A server without a disk: what creating costs apart from syncing. Nothing where there is no file system in memory.
async fn create_in_memory(program: &Path) -> Result<Option<(Figures, Figures)>> {
    let place = std::env::var_os("BENCH_MEMORY_DIR").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
    if !place.is_dir() {
        println!("no {}: creating is measured on the disk only", place.display());
        return Ok(None);
    }
    let server = Place::with_program(program.to_owned(), &place).start();
    let created = create_all(&server, "memory").await?;
    let _ = server.stop();
    Ok(Some(created))
}

/// Reads single streams for two seconds.
async fn get(connector: &Connector, clients: usize) -> Result<Figures> {
    let connections = connections(connector, clients).await?;
    let go_on = |elapsed: Duration, _| elapsed < Duration::from_secs(2);
    measure(clients, go_on, move |client, done| {
        let connections = Arc::clone(&connections);
        async move {
            // A stride that is coprime to the number of streams, so that reads jump about.
            let number = (done * 7919 + client) % STREAMS;
            let path = format!("{}/app-{number}", streams(&namespace(number)));
            connections[client].lock().await.drain(&path).await?;
            Ok(())
        }
    })
    .await
}

/// Lists everything, and returns the size in bytes and the median time.
async fn list(connector: &Connector, path: &str) -> Result<(usize, Duration)> {
    let mut connection = Connection::open(connector).await?;
    let mut took = Vec::new();
    let mut bytes = 0;
    for _ in 0..11 {
        let begun = Instant::now();
        bytes = connection.drain(path).await?;
        took.push(begun.elapsed());
    }
    Ok((bytes, median(took)))
}

/// Imports images one after another, each into a stream of its own.
async fn import_one(connector: &Connector, host: &str) -> Result<Figures> {
    let connections = connections(connector, 1).await?;
    let host = host.to_owned();
    measure(
        1,
        |_, done| done < IMPORTS,
        move |_, number| {
            let (connections, body) = (Arc::clone(&connections), import(&host, number));
            async move {
                let mut connection = connections[0].lock().await;
                let answer = connection.ask(Method::POST, &imports("bench-0"), body).await?;
                let answer: Value = serde_json::from_slice(&answer)?;
                match answer["status"]["images"][0]["status"]["status"].as_str() {
                    Some("Success") => Ok(()),
                    _ => Err(format!("an import failed: {answer}").into()),
                }
            }
        },
    )
    .await
}

/// Starts a server this often, each time on what `next` makes of the one before, and returns the last one with the
/// median time until it was ready.
fn starts(mut next: impl FnMut(Option<Server>) -> Result<Place>) -> Result<(Server, Duration)> {
    let mut ready = Vec::new();
    let mut server = None;
    for _ in 0..STARTS {
        let started = next(server)?.start();
        ready.push(started.ready_after());
        server = Some(started);
    }
    Ok((server.ok_or("no start")?, median(ready)))
}

#[tokio::main]
async fn main() -> Result<()> {
    watch::allow_many_connections()?;
    let (program, parent) = (program()?, directory()?);
    let (server, ready) = starts(|_| Ok(Place::with_program(program.clone(), parent.path())))?;
    tokio::time::sleep(SETTLE).await;
    let idle = server.resident_bytes();
    row("ready, empty store", &format!("{ready:.1?}"));
    row("resident, empty store", &format!("{:.1} MB", megabytes(idle)));

    let (created, created_shared) = create_all(&server, "disk").await?;
    let in_memory = create_in_memory(&program).await?;
    let (server, ready10k) = starts({
        let mut first = Some(server);
        move |server| Ok(server.or(first.take()).ok_or("a server")?.stop())
    })?;
    tokio::time::sleep(SETTLE).await;
    let full = server.resident_bytes();
    row("ready, 10,000 streams", &format!("{ready10k:.1?}"));
    row("resident, 10,000 streams", &format!("{:.1} MB", megabytes(full)));

    let connector = Connector::new(&server);
    let one = get(&connector, 1).await?;
    one.row("get, 1 connection");
    let many = get(&connector, CONNECTIONS).await?;
    many.row(&format!("get, {CONNECTIONS} connections"));
    let (bytes, listed) = list(&connector, ALL_STREAMS).await?;
    row(
        "list of 10,000",
        &format!("{listed:.1?}, {:.1} MB", megabytes(bytes as u64)),
    );
    let ready_bytes = floor::start(&server, Bytes::from(vec![b'x'; bytes]))?;
    let (_, floor) = list(&connector.clone().at(ready_bytes), "/").await?;
    let over_floor = listed.as_secs_f64() / floor.as_secs_f64();
    row("  as many bytes, ready in memory", &format!("{floor:.1?}"));
    row("  the list, in those", &format!("{over_floor:.2}"));
    let (page_bytes, page) = list(&connector, &format!("{ALL_STREAMS}?limit=500")).await?;
    row(
        "list of the first 500",
        &format!("{page:.1?}, {:.1} MB", megabytes(page_bytes as u64)),
    );

    let mut registry = Registry::start(IMPORTS)?;
    registry.set_latency(0)?;
    let fresh = import_one(&connector, &registry.host).await?;
    fresh.row("import of a new image");
    let known = import_one(&connector, &registry.host).await?;
    known.row("import of a known image");

    let watched = watch::fan_out(&connector, &namespace(0)).await?;
    watched.row("change seen by 1,000 watchers");
    let used = server.resident_bytes();
    row("resident after all that", &format!("{:.1} MB", megabytes(used)));
    let _ = server.stop();

    println!(
        "{}",
        json!({
            "ready_ms": rounded(millis(ready)),
            "ready10k_ms": rounded(millis(ready10k)),
            "idle_mb": rounded(megabytes(idle)),
            "list10k_ms": rounded(millis(listed)),
            "get_p50_ms": rounded(millis(one.p50)),
            "list10k_over_floor": rounded(over_floor),
            "create_per_s": created.per_second.round(),
            "create64_per_s": created_shared.per_second.round(),
            "create_memory_per_s": in_memory.map(|(alone, _)| alone.per_second.round()),
            "create64_memory_per_s": in_memory.map(|(_, shared)| shared.per_second.round()),
            "import1_p50_ms": rounded(millis(fresh.p50)),
            "import1_p99_ms": rounded(millis(fresh.p99)),
            "import1_known_p50_ms": rounded(millis(known.p50)),
            "full_mb": rounded(megabytes(full)),
            "used_mb": rounded(megabytes(used)),
            "get_p99_ms": rounded(millis(one.p99)),
            "get_per_s": many.per_second.round(),
            "list10k_mb": rounded(megabytes(bytes as u64)),
            "watch1000_p99_ms": rounded(millis(watched.p99)),
        })
    );
    Ok(())
}

fn row(name: &str, figure: &str) {
    println!("{name:<34} {figure:>14}");
}
