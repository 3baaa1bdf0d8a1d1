//! What the watch cache promises, over both backends.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod suite;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imagestream_store::cache::{Cache, CacheError, CacheOptions};
use imagestream_store::etcd::{EtcdOptions, EtcdStore};
use imagestream_store::sqlite::{SqliteOptions, SqliteStore};
use imagestream_store::{Store, Write};
use imagestream_testkit::etcd as etcd_server;
use suite::put;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The backend under a cache.
#[derive(Clone, Copy)]
enum Backend {
    Sqlite,
    Etcd,
}

/// Each promise over both backends.
macro_rules! over_both {
    ($($name:ident),* $(,)?) => {
        mod over_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(super::Backend::Sqlite).await;
                }
            )*
        }
        mod over_etcd {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if super::etcd_server::installed() {
                        super::$name(super::Backend::Etcd).await;
                    }
                }
            )*
        }
    };
}

over_both!(
    a_read_at_a_revision_waits_until_the_cache_has_seen_it,
    an_exact_read_sees_every_earlier_commit_though_other_keys_move_the_revision,
    a_cache_of_metadata_keeps_no_values,
    a_watcher_that_is_too_slow_is_told_and_a_new_list_helps,
    watchers_of_a_stopped_cache_are_told,
    a_cache_shows_what_its_backend_holds_through_compactions,
);

struct Fixture {
    members: Vec<etcd_server::Member>,
    _directory: Option<tempfile::TempDir>,
    store: Arc<dyn Store>,
    cache: Cache<usize>,
    follower: JoinHandle<()>,
}

async fn fixture(backend: Backend, ring_capacity: usize, metadata_only: bool) -> Fixture {
    let mut members = Vec::new();
    let mut directory = None;
    let store: Arc<dyn Store> = match backend {
        Backend::Etcd => {
            members.push(etcd_server::single().await);
            let options = EtcdOptions::new([members[0].url()]);
            Arc::new(EtcdStore::connect(options).await.expect("connect"))
        }
        Backend::Sqlite => {
            let path = directory
                .insert(tempfile::tempdir().expect("temporary directory"))
                .path();
            let options = SqliteOptions::default();
            Arc::new(SqliteStore::open(path, options).await.expect("open"))
        }
    };
    store
        .commit(&[], &[put("/c/first", "1"), put("/other", "x")])
        .await
        .expect("commit");
    let options = CacheOptions {
        prefix: "/c/".into(),
        ring_capacity,
        metadata_only,
    };
    let (cache, follower) = Cache::follow(Arc::clone(&store), options, |_, value: &[u8]| value.len());
    let follower = tokio::spawn(follower.run());
    cache.wait_for(0, soon()).await.expect("loaded");
    Fixture {
        members,
        _directory: directory,
        store,
        cache,
        follower,
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn a_read_at_a_revision_waits_until_the_cache_has_seen_it(backend: Backend) {
    let fixture = fixture(backend, 100, false).await;
    let (store, cache) = (&fixture.store, &fixture.cache);
    for number in 0..50 {
        let revision = store
            .commit(&[], &[put("/c/k", number.to_string())])
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

async fn an_exact_read_sees_every_earlier_commit_though_other_keys_move_the_revision(backend: Backend) {
    let fixture = fixture(backend, 100, false).await;
    let (store, cache) = (&fixture.store, &fixture.cache);
    for number in 0..20 {
        let written = store
            .commit(&[], &[put("/c/k", number.to_string())])
            .await
            .expect("commit");
        let elsewhere = store.commit(&[], &[put("/other", "y")]).await.expect("commit");
        let seen = cache.wait_until_current(soon()).await.expect("current");
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

async fn a_cache_of_metadata_keeps_no_values(backend: Backend) {
    let fixture = fixture(backend, 100, true).await;
    let (store, cache) = (&fixture.store, &fixture.cache);
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
    if !etcd_server::installed() {
        return;
    }
    let mut fixture = fixture(Backend::Etcd, 10_000, false).await;
    let (store, cache, members) = (&fixture.store, &fixture.cache, &mut fixture.members);
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
        let writes = [put("/c/n", number.to_string()), put("/c/not-watched", "")];
        committed.push(store.commit(&[], &writes[..]).await.expect("commit"));
    }
    for watcher in watchers {
        let seen = tokio::time::timeout(Duration::from_secs(60), watcher)
            .await
            .expect("in time");
        assert_eq!(seen.expect("watcher"), committed);
    }
}

async fn a_watcher_that_is_too_slow_is_told_and_a_new_list_helps(backend: Backend) {
    let fixture = fixture(backend, 4, false).await;
    let (store, cache) = (&fixture.store, &fixture.cache);
    let start = cache.list("").revision;
    let mut slow = cache.watch("/c/", start, soon()).await.expect("watch");
    let mut last = start;
    for number in 0..10 {
        last = store
            .commit(&[], &[put("/c/k", number.to_string())])
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

async fn watchers_of_a_stopped_cache_are_told(backend: Backend) {
    let fixture = fixture(backend, 4, false).await;
    let (follower, cache) = (&fixture.follower, &fixture.cache);
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

/// A reader of the cache that follows a watcher and lists again when it must ends up with what the backend holds.
async fn a_cache_shows_what_its_backend_holds_through_compactions(backend: Backend) {
    const ROUNDS: u32 = 120;
    let fixture = fixture(backend, 16, false).await;
    let (store, cache) = (&fixture.store, fixture.cache.clone());
    let reader = tokio::spawn(async move {
        'list: loop {
            let snapshot = cache.list("/c/");
            let mut state: BTreeMap<String, u64> = snapshot
                .entries
                .iter()
                .map(|entry| (entry.key.to_string(), entry.mod_revision))
                .collect();
            let mut watcher = match cache.watch("/c/", snapshot.revision, soon()).await {
                Ok(watcher) => watcher,
                Err(CacheError::TooOld) => continue,
                Err(error) => panic!("{error}"),
            };
            loop {
                if state.contains_key("/c/end") {
                    return state;
                }
                let commit = match watcher.next().await {
                    Ok(commit) => commit,
                    Err(CacheError::TooOld) => continue 'list,
                    Err(error) => panic!("{error}"),
                };
                for change in &commit.changes {
                    let previous = change.previous.as_ref().map(|entry| entry.mod_revision);
                    let before = match &change.current {
                        Some(entry) => state.insert(change.key().to_owned(), entry.mod_revision),
                        None => state.remove(change.key()),
                    };
                    assert_eq!(before, previous, "what was there before {}", change.key());
                }
            }
        }
    });
    for number in 0..ROUNDS {
        let key = format!("/c/{}", number % 7);
        let write = if number % 5 == 4 {
            Write::Delete(key)
        } else {
            put(&key, number.to_string())
        };
        let revision = store
            .commit(&[], &[write, put("/other", "x")])
            .await
            .expect("commit");
        if number % 10 == 9 {
            store.compact(revision).await.expect("compact");
        }
    }
    store.commit(&[], &[put("/c/end", "")]).await.expect("commit");
    let seen = tokio::time::timeout(Duration::from_secs(60), reader)
        .await
        .expect("in time");
    let held: BTreeMap<String, u64> = store
        .list("/c/", None, 0, None)
        .await
        .expect("list")
        .items
        .into_iter()
        .map(|item| (item.key, item.mod_revision))
        .collect();
    assert_eq!(seen.expect("reader"), held);
}
