//! Measures the store against bare etcd on the same machine and disk, both with fsync on.
//!
//! Prints a table for people and, as the last line, one JSON object of figures. `BENCH_DIR` names the directory for data (a real disk; default: the current directory).

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use imagestream_bench::latency::{measure, quantile};
use imagestream_bench::{Result, directory};
use imagestream_store::cache::{Cache, CacheOptions};
use imagestream_store::etcd::{EtcdOptions, EtcdStore};
use imagestream_store::sqlite::{SqliteOptions, SqliteStore};
use imagestream_store::{Store, Write};
use peak_alloc::PeakAlloc;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Bytes of each value.
const VALUE: usize = 2048;
/// Objects that the cache loads.
const OBJECTS: usize = 100_000;
/// Watchers in the fan-out.
const WATCHERS: usize = 1000;
/// How long each number of writers puts.
const PUT_TIME: Duration = Duration::from_secs(4);

/// Counts live bytes, so that memory per object is measured rather than estimated.
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// An etcd server on free ports; killed on drop.
struct Server {
    process: Child,
    url: String,
    _directory: tempfile::TempDir,
}

impl Server {
    async fn start() -> Result<Self> {
        let directory = directory()?;
        let listeners = [
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
        ];
        let url = format!("http://{}", listeners[0].local_addr()?);
        let peer = format!("http://{}", listeners[1].local_addr()?);
        drop(listeners);
        let process = Command::new("etcd")
            .args(["--name", "bench", "--log-level", "error", "--logger", "zap"])
            .arg("--data-dir")
            .arg(directory.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args([
                "--initial-cluster",
                &format!("bench={peer}"),
                "--quota-backend-bytes",
                "4294967296",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self {
            process,
            url,
            _directory: directory,
        };
        EtcdStore::connect(EtcdOptions::new([server.url.clone()]))
            .await?
            .health()
            .await?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether writers go on putting.
fn until_put_time(elapsed: Duration, _: usize) -> bool {
    elapsed < PUT_TIME
}

/// Puts from 1, 16 and 64 writers into SQLite, our etcd backend and bare etcd; with 64, SQLite over bare etcd.
async fn puts(server: &Server, etcd: &Arc<dyn Store>, sqlite: &Arc<dyn Store>) -> Result<f64> {
    let bare = etcd_client::Client::connect([&server.url], None).await?;
    let mut ratio = 0.0;
    for writers in [1, 16, 64] {
        let client = bare.clone();
        let theirs = measure(writers, until_put_time, move |writer, number| {
            let mut client = client.clone();
            async move {
                client
                    .put(format!("/bare/{writer}/{number}"), vec![b'x'; VALUE], None)
                    .await?;
                Ok(())
            }
        })
        .await?;
        theirs.row(&format!("put, bare etcd, {writers} writers"));
        for (name, store) in [("our etcd backend", etcd), ("SQLite", sqlite)] {
            let store = Arc::clone(store);
            let ours = measure(writers, until_put_time, move |writer, number| {
                let store = Arc::clone(&store);
                async move {
                    let put = Write::Put(format!("/puts/{writer}/{number}"), Bytes::from(vec![b'x'; VALUE]));
                    store.commit(&[], &[put]).await?;
                    Ok(())
                }
            })
            .await?;
            ours.row(&format!("put, {name}, {writers} writers"));
            ratio = ours.per_second / theirs.per_second;
        }
    }
    Ok(ratio)
}

/// Stores the objects and returns their keys.
async fn fill(store: &dyn Store) -> Result<Vec<String>> {
    let mut keys = Vec::with_capacity(OBJECTS);
    for batch in 0..OBJECTS / 100 {
        let writes: Vec<Write> = (0..100)
            .map(|index| {
                let key = format!("/objects/namespace-{batch:03}/object-{index:03}");
                Write::Put(key, Bytes::from(vec![b'x'; VALUE]))
            })
            .collect();
        keys.extend(writes.iter().map(|write| write.key().to_owned()));
        store.commit(&[], &writes).await?;
    }
    Ok(keys)
}

/// Makes a cache, waits until it is loaded, and returns it with the time and the live bytes that took.
async fn load(
    store: &Arc<dyn Store>,
    metadata_only: bool,
) -> Result<(Cache<()>, JoinHandle<()>, Duration, usize)> {
    let before = ALLOCATOR.current_usage();
    let begun = Instant::now();
    let options = CacheOptions {
        prefix: "/objects/".into(),
        ring_capacity: 10_000,
        metadata_only,
    };
    let (cache, follower) = Cache::follow(Arc::clone(store), options, |_, _| ());
    let follower = tokio::spawn(follower.run());
    cache
        .wait_for(0, tokio::time::Instant::now() + Duration::from_secs(120))
        .await?;
    let elapsed = begun.elapsed();
    Ok((
        cache,
        follower,
        elapsed,
        ALLOCATOR.current_usage().saturating_sub(before),
    ))
}

/// The 99th percentile of the time from the start of a commit until each watcher has its event.
async fn fan_out(store: &dyn Store, cache: &Cache<()>) -> Result<Duration> {
    const COMMITS: usize = 50;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let revision = cache.list("/objects/none").revision;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    for _ in 0..WATCHERS {
        let mut watcher = cache.watch("/objects/", revision, deadline).await?;
        let sender = sender.clone();
        tokio::spawn(
            async move { while watcher.next().await.is_ok() && sender.send(Instant::now()).is_ok() {} },
        );
    }
    let mut latencies = Vec::with_capacity(COMMITS * WATCHERS);
    for number in 0..COMMITS {
        let begun = Instant::now();
        let put = Write::Put(format!("/objects/fan/{number}"), Bytes::from(vec![b'x'; VALUE]));
        store.commit(&[], &[put]).await?;
        for _ in 0..WATCHERS {
            let seen = receiver.recv().await.ok_or("watchers are gone")?;
            latencies.push(seen.duration_since(begun));
        }
    }
    latencies.sort_unstable();
    Ok(quantile(&latencies, 99))
}

#[tokio::main]
async fn main() -> Result<()> {
    let server = Server::start().await?;
    let etcd: Arc<dyn Store> = Arc::new(EtcdStore::connect(EtcdOptions::new([server.url.clone()])).await?);
    let place = directory()?;
    let opened = SqliteStore::open(place.path(), SqliteOptions::default()).await?;
    let sqlite: Arc<dyn Store> = Arc::new(opened.clone());
    let put64 = puts(&server, &etcd, &sqlite).await?;
    opened.close().await;
    drop((opened, sqlite, place));

    let keys = fill(&*etcd).await?;
    let (cache, follower, from_etcd, _) = load(&etcd, false).await?;
    follower.abort();
    drop(cache);
    // The follower holds the cache too: its memory is free only when the task has ended.
    let _ = follower.await;

    let place = directory()?;
    let opened = SqliteStore::open(place.path(), SqliteOptions::default()).await?;
    fill(&opened).await?;
    opened.close().await;
    drop(opened);
    let begun = Instant::now();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(place.path(), SqliteOptions::default()).await?);
    let opened = begun.elapsed();
    let (cache, _follower, loaded, bytes) = load(&store, false).await?;
    let (_metadata, _metadata_follower, _, metadata_bytes) = load(&store, true).await?;
    let objects = cache.list("/objects/").entries.len();
    let encoded: usize = keys.iter().map(|key| key.len() + VALUE).sum();
    let overhead = bytes
        .checked_sub(encoded)
        .ok_or("less memory than the objects themselves need")?
        / objects;
    let metadata_bytes = metadata_bytes / objects;

    let keys = Arc::new(keys);
    let (ours, names) = (Arc::clone(&etcd), Arc::clone(&keys));
    let direct = measure(1, until_put_time, move |_, number| {
        let (ours, names) = (ours.clone(), Arc::clone(&names));
        async move {
            ours.get(&names[number % names.len()], None)
                .await?
                .map(|_| ())
                .ok_or("a key is missing".into())
        }
    })
    .await?;
    direct.row("get, etcd, 1 reader");
    let begun = Instant::now();
    let reads = 1_000_000;
    for number in 0..reads {
        // A stride that is coprime to the number of keys, so that reads jump about.
        let key = &keys[number * 7919 % keys.len()];
        std::hint::black_box(cache.get(key).ok_or("a key is missing")?);
    }
    let cached = f64::from(u32::try_from(reads)?) / begun.elapsed().as_secs_f64();
    println!("{:<34} {cached:>12.0}/s", "get, cache, 1 reader");
    let begun = Instant::now();
    std::hint::black_box(cache.list("/objects/"));
    println!("{:<34} {:>12.1?}", "list of 100,000, cache", begun.elapsed());
    println!("{:<34} {from_etcd:>12.1?}", "load of 100,000, from etcd");
    println!("{:<34} {opened:>12.1?}", "open and check 100,000, SQLite");
    println!("{:<34} {loaded:>12.1?}", "load of 100,000, from SQLite");
    println!("{:<34} {overhead:>12} bytes", "memory over key and value");
    println!(
        "{:<34} {metadata_bytes:>12} bytes",
        "memory per object, metadata only"
    );
    let watched = fan_out(&*store, &cache).await?;
    println!("{:<34} {watched:>12.1?}", "commit seen by 1,000 watchers, p99");

    println!(
        "{}",
        json!({
            "put64_over_etcd": put64,
            "cached_get_over_etcd": cached / direct.per_second,
            "watch1000_p99_ms": watched.as_secs_f64() * 1e3,
            "load100k_s": (opened + loaded).as_secs_f64(),
            "overhead_bytes": overhead,
            "metadata_only_bytes": metadata_bytes,
        })
    );
    Ok(())
}
