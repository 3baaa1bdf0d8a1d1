//! The behaviour suite over SQLite, and what only this backend promises: copies, bounds of history, one owner.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod suite;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use imagestream_store::sqlite::{OpenError, SqliteOptions, SqliteStore};
use imagestream_store::{Store, StoreError, Write};
use suite::{Fixture, delete, next_commit, put};
use tokio::time::timeout;

async fn sqlite() -> Option<Fixture> {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = SqliteStore::open(directory.path(), SqliteOptions::default())
        .await
        .expect("open");
    Some(Fixture::new(Arc::new(store), directory))
}

suite::every_promise!(sqlite);

async fn open(directory: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(directory, SqliteOptions::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reopened_store_goes_on_with_its_revisions_history_and_watches() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path()).await.expect("open");
    assert_eq!(store.current_revision().await.expect("revision"), 1);
    let first = store.commit(&[], &[put("/k", "1")]).await.expect("commit");
    let second = store.commit(&[], &[put("/k", "2")]).await.expect("commit");
    store.close().await;
    let store = open(directory.path()).await.expect("open again");
    assert_eq!(store.current_revision().await.expect("revision"), second);
    let old = store.get("/k", Some(first)).await.expect("get").expect("exists");
    assert_eq!(old.value, "1");
    let mut watch = store.watch("/", 1);
    assert_eq!(next_commit(&mut watch).await.0, first);
    assert_eq!(next_commit(&mut watch).await.0, second);
    let third = store.commit(&[], &[delete("/k")]).await.expect("commit");
    assert_eq!(third, second + 1);
    assert_eq!(next_commit(&mut watch).await.0, third);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_answers_that_it_is_and_ends_its_watches() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path()).await.expect("open");
    let mut watch = store.watch("/", 1);
    let writers: Vec<_> = (0..50)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let key = format!("/{number}");
                (store.commit(&[], &[put(&key, "x")]).await, key)
            })
        })
        .collect();
    store.close().await;
    let mut acknowledged = Vec::new();
    for writer in writers {
        match writer.await.expect("writer") {
            (Ok(_), key) => acknowledged.push(key),
            (Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)), _) => {}
            (Err(error), _) => panic!("{error}"),
        }
    }
    for answer in [
        store.get("/k", None).await.map(drop),
        store.commit(&[], &[put("/k", "v")]).await.map(drop),
        store.compact(1).await,
        store.health().await,
    ] {
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
    let ended = async { while !matches!(watch.next().await, Some(Err(StoreError::Unavailable(_)))) {} };
    timeout(Duration::from_secs(30), ended)
        .await
        .expect("the watch ends");
    let store = open(directory.path()).await.expect("unlocked");
    for key in acknowledged {
        assert!(store.get(&key, None).await.expect("get").is_some());
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_directory_is_opened_once_at_a_time() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path()).await.expect("open");
    let refused = open(directory.path()).await.expect_err("in use");
    assert!(matches!(refused, OpenError::InUse(_)), "{refused}");
    store.close().await;
    open(directory.path()).await.expect("free again").close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_while_writes_go_on_is_a_whole_store() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let copies = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path()).await.expect("open");
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0_u32..600 {
                let writes = [put("/a", number.to_string()), put("/b", number.to_string())];
                store.commit(&[], &writes).await.expect("commit");
            }
        })
    };
    for copy in 0..3 {
        let before = store.current_revision().await.expect("revision");
        let path = copies.path().join(copy.to_string());
        store.backup(&path).await.expect("backup");
        let again = store.backup(&path).await;
        assert!(
            matches!(again, Err(StoreError::Refused(_))),
            "never over another: {again:?}"
        );
        let copied = open(&path).await.expect("open the copy");
        let revision = copied.current_revision().await.expect("revision");
        assert!(revision >= before);
        let items = copied.list("/", None, 0, None).await.expect("list").items;
        if let [a, b] = &items[..] {
            assert_eq!((&a.value, a.mod_revision), (&b.value, revision), "one moment");
            let events = next_commit(&mut copied.watch("/", revision - 1)).await;
            assert_eq!(events.0, revision, "history comes with it");
        }
        copied.close().await;
    }
    writer.await.expect("writer");
    store.close().await;
}

/// Waits until reading at `revision` answers that it is compacted.
async fn until_compacted(store: &SqliteStore, revision: u64) {
    let waiting = async {
        while !matches!(store.get("/k", Some(revision)).await, Err(StoreError::Compacted)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting)
        .await
        .expect("compacted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_bounded_by_count_and_its_space_is_given_back() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let options = SqliteOptions {
        history_age: Duration::from_secs(1),
        history_events: 100,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(directory.path(), options).await.expect("open");
    let mut last = 1;
    for number in 0..400_u32 {
        let value = vec![number as u8; 50_000];
        last = store.commit(&[], &[put("/k", value)]).await.expect("commit");
    }
    until_compacted(&store, last - 100).await;
    let shrinks = async {
        while store.size().await.expect("size") > 40_000_000 {
            // Space is given back in the log too, which a commit moves along.
            store.commit(&[], &[put("/k", "small")]).await.expect("commit");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(30), shrinks)
        .await
        .expect("gives space back");
    store.close().await;
    let size = std::fs::metadata(directory.path().join("imagestream.db"))
        .expect("database")
        .len();
    assert!(size < 12_000_000, "{size} bytes for 100 events of 50 KB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_bounded_by_age() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let options = SqliteOptions {
        history_age: Duration::from_millis(200),
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(directory.path(), options).await.expect("open");
    let first = store.commit(&[], &[put("/k", "1")]).await.expect("commit");
    let second = store.commit(&[], &[put("/k", "2")]).await.expect("commit");
    until_compacted(&store, first).await;
    let now = store.get("/k", Some(second)).await.expect("the present stays");
    assert_eq!(now.expect("exists").value, "2");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_transactions_share_one_sync_and_a_refused_one_leaves_nothing_among_them() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path()).await.expect("open");
    let writers: Vec<_> = (0..200_u32)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let own = put(&format!("/own/{number}"), "x");
                // Half of them lose the race for a key that only one can create.
                let race = format!("/race/{}", number / 2);
                let absent = [imagestream_store::Precondition::Absent(race.clone())];
                store
                    .commit(&absent, &[own, Write::Put(race, number.to_string().into())])
                    .await
            })
        })
        .collect();
    let mut won = 0;
    for writer in writers {
        match writer.await.expect("writer") {
            Ok(_) => won += 1,
            Err(StoreError::Conflict {
                index: 0, current, ..
            }) => assert!(current.is_some()),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won, 100);
    for prefix in ["/own/", "/race/"] {
        let page = store.list(prefix, None, 0, None).await.expect("list");
        assert_eq!(page.items.len(), won, "{prefix}");
    }
    assert_eq!(store.current_revision().await.expect("revision"), 101);
    store.close().await;
}
