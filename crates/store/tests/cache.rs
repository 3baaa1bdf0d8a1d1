//! What the watch cache promises, over a real etcd server.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod etcd_server;

use std::time::Duration;

use bytes::Bytes;
use imagestream_store::cache::{Cache, CacheError, CacheOptions};
use imagestream_store::etcd::{EtcdOptions, EtcdStore, Write};
use tokio::task::JoinHandle;
use tokio::time::Instant;

struct Fixture {
    members: Vec<etcd_server::Member>,
    store: EtcdStore,
    cache: Cache<usize>,
    follower: JoinHandle<()>,
}

async fn fixture(ring_capacity: usize, metadata_only: bool) -> Fixture {
    let members = vec![etcd_server::single().await];
    let store = EtcdStore::connect(EtcdOptions::new([members[0].url()]))
        .await
        .expect("connect");
    store
        .commit(&[], &[put("/c/first", "1"), put("/other", "x")])
        .await
        .expect("commit");
    let options = CacheOptions {
        prefix: "/c/".into(),
        ring_capacity,
        metadata_only,
    };
    let (cache, follower) = Cache::follow(store.clone(), options, |_, value: &[u8]| value.len());
    let follower = tokio::spawn(follower.run());
    cache.wait_for(0, soon()).await.expect("loaded");
    Fixture {
        members,
        store,
        cache,
        follower,
    }
}

fn put(key: &str, value: &str) -> Write {
    Write::Put(key.into(), Bytes::copy_from_slice(value.as_bytes()))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

#[tokio::test]
async fn a_read_at_a_revision_waits_until_the_cache_has_seen_it() {
    let Fixture {
        members: _members,
        store,
        cache,
        ..
    } = fixture(100, false).await;
    for number in 0..50 {
        let revision = store
            .commit(&[], &[put("/c/k", &number.to_string())])
            .await
            .expect("commit");
        let seen = cache.wait_for(revision, soon()).await.expect("seen");
        assert!(seen >= revision);
        let entry = cache.get("/c/k").expect("exists");
        assert_eq!(
            (entry.mod_revision, entry.value.as_deref()),
            (revision, Some(number.to_string().as_bytes()))
        );
        assert_eq!(entry.metadata, number.to_string().len());
    }
    assert!(cache.get("/other").is_none(), "outside of the prefix");
    let early = Instant::now() + Duration::from_millis(50);
    assert_eq!(cache.wait_for(1_000_000, early).await, Err(CacheError::Behind));
}

#[tokio::test]
async fn an_exact_read_sees_every_earlier_commit_though_other_keys_move_the_revision() {
    let Fixture {
        members: _members,
        store,
        cache,
        ..
    } = fixture(100, false).await;
    for number in 0..20 {
        let written = store
            .commit(&[], &[put("/c/k", &number.to_string())])
            .await
            .expect("commit");
        let elsewhere = store.commit(&[], &[put("/other", "y")]).await.expect("commit");
        let seen = cache
            .wait_until_current(&store, "/c/", soon())
            .await
            .expect("current");
        assert!(seen >= elsewhere);
        assert_eq!(cache.get("/c/k").expect("exists").mod_revision, written);
    }
    let keys: Vec<_> = cache
        .list("/c/")
        .entries
        .iter()
        .map(|entry| entry.key.to_string())
        .collect();
    assert_eq!(keys, ["/c/first", "/c/k"], "the mark is not an object");
}

#[tokio::test]
async fn a_cache_of_metadata_keeps_no_values() {
    let Fixture {
        members: _members,
        store,
        cache,
        ..
    } = fixture(100, true).await;
    let revision = store
        .commit(&[], &[put("/c/k", "twelve bytes")])
        .await
        .expect("commit");
    cache.wait_for(revision, soon()).await.expect("seen");
    for (key, size) in [("/c/first", 1), ("/c/k", 12)] {
        let entry = cache.get(key).expect("exists");
        assert_eq!((entry.value.as_ref(), entry.metadata), (None, size));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_watchers_see_every_commit_once_in_order_over_a_server_restart() {
    const WATCHERS: usize = 300;
    const COMMITS: usize = 200;
    let Fixture {
        mut members,
        store,
        cache,
        ..
    } = fixture(10_000, false).await;
    let start = cache.list("").revision;
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let mut watcher = cache.watch("/c/n", start, soon()).await.expect("watch");
        watchers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            while seen.len() < COMMITS {
                let commit = watcher.next().await.expect("a commit");
                assert_eq!(commit.changes.len(), 2, "commits arrive whole");
                seen.push(commit.revision);
            }
            seen
        }));
    }
    let mut committed = Vec::new();
    for number in 0..COMMITS {
        if number == COMMITS / 2 {
            members[0].kill();
            members[0].spawn();
            members[0].wait_until_serving().await;
            store.health().await.expect("connected again");
        }
        let writes = [put("/c/n", &number.to_string()), put("/c/not-watched", "")];
        committed.push(store.commit(&[], &writes[..]).await.expect("commit"));
    }
    for watcher in watchers {
        let seen = tokio::time::timeout(Duration::from_secs(60), watcher)
            .await
            .expect("in time");
        assert_eq!(seen.expect("watcher"), committed);
    }
}

#[tokio::test]
async fn a_watcher_that_is_too_slow_is_told_and_a_new_list_helps() {
    let Fixture {
        members: _members,
        store,
        cache,
        ..
    } = fixture(4, false).await;
    let start = cache.list("").revision;
    let mut slow = cache.watch("/c/", start, soon()).await.expect("watch");
    let mut last = start;
    for number in 0..10 {
        last = store
            .commit(&[], &[put("/c/k", &number.to_string())])
            .await
            .expect("commit");
    }
    cache.wait_for(last, soon()).await.expect("seen");
    assert_eq!(slow.next().await.expect_err("evicted"), CacheError::TooOld);
    assert_eq!(
        cache.watch("/c/", start, soon()).await.map(|_| ()),
        Err(CacheError::TooOld)
    );

    let snapshot = cache.list("/c/");
    let mut watcher = cache
        .watch("/c/", snapshot.revision, soon())
        .await
        .expect("watch");
    let next = store
        .commit(&[], &[Write::Delete("/c/k".into())])
        .await
        .expect("commit");
    let commit = watcher.next().await.expect("commit");
    assert_eq!((commit.revision, watcher.position()), (next, next));
    assert!(commit.changes[0].current.is_none());
    assert_eq!(
        commit.changes[0]
            .previous
            .as_ref()
            .expect("was there")
            .mod_revision,
        last
    );
}

#[tokio::test]
async fn watchers_of_a_stopped_cache_are_told() {
    let Fixture {
        members: _members,
        cache,
        follower,
        ..
    } = fixture(4, false).await;
    let mut watcher = cache.watch("/c/", 0, soon()).await.err();
    assert_eq!(
        watcher.take(),
        Some(CacheError::TooOld),
        "the first load has no history"
    );
    let mut watcher = cache
        .watch("/c/", cache.list("").revision, soon())
        .await
        .expect("watch");
    follower.abort();
    assert_eq!(watcher.next().await.expect_err("stopped"), CacheError::Stopped);
}
