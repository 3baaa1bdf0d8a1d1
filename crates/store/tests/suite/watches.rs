//! What watches promise: order, no gap, no double, previous values, an honest end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imagestream_store::{Change, Precondition, Store, StoreError, WatchItem};
use tokio::time::timeout;

use super::{changes_until, delete, next_commit, put};

/// A short mixed history under `/w/`: the changes in order.
async fn history(store: &Arc<dyn Store>, commits: u32) -> Vec<Change> {
    let mut present: BTreeMap<String, imagestream_store::KeyValue> = BTreeMap::new();
    let mut changes = Vec::new();
    for number in 0..commits {
        let key = format!("/w/{}", number % 5);
        let gone = number % 7 == 6;
        let other = put(&format!("/other/{number}"), "x");
        let write = if gone {
            delete(&key)
        } else {
            put(&key, number.to_string())
        };
        let revision = store.commit(&[], &[other, write]).await.expect("commit");
        let previous = present.remove(&key);
        let current = (!gone).then(|| imagestream_store::KeyValue {
            key: key.clone(),
            value: number.to_string().into(),
            create_revision: previous.as_ref().map_or(revision, |item| item.create_revision),
            mod_revision: revision,
        });
        if let Some(current) = &current {
            present.insert(key.clone(), current.clone());
        }
        if current.is_some() || previous.is_some() {
            changes.push(Change {
                key,
                revision,
                current,
                previous,
            });
        }
    }
    changes
}

pub(crate) async fn a_watch_from_every_revision_delivers_exactly_what_followed(store: Arc<dyn Store>) {
    let start = store.current_revision().await.expect("revision");
    let mut early = store.watch("/w/", start);
    let changes = history(&store, 40).await;
    let end = changes.last().expect("changes").revision;
    assert_eq!(changes_until(&mut early, end).await, changes);
    for after in start..end {
        let mut late = store.watch("/w/", after);
        let expected: Vec<_> = changes
            .iter()
            .filter(|change| change.revision > after)
            .cloned()
            .collect();
        assert_eq!(
            changes_until(&mut late, end).await,
            expected,
            "after revision {after}"
        );
    }
}

pub(crate) async fn a_watch_delivers_each_transaction_whole_with_previous_values(store: Arc<dyn Store>) {
    let first = store
        .commit(&[], &[put("/w/b", "1"), put("/w/a", "1")])
        .await
        .expect("commit");
    let writes = [put("/w/a", "2"), delete("/w/b"), put("/other", "x")];
    let second = store.commit(&[], &writes).await.expect("commit");
    let mut watch = store.watch("/w/", first - 1);
    let (revision, changes) = next_commit(&mut watch).await;
    assert_eq!(revision, first);
    let seen: Vec<_> = changes
        .iter()
        .map(|change| (&*change.key, change.previous.is_none()))
        .collect();
    assert_eq!(
        seen,
        [("/w/b", true), ("/w/a", true)],
        "in the order of the commit"
    );
    let (revision, changes) = next_commit(&mut watch).await;
    assert_eq!(revision, second);
    let seen: Vec<_> = changes
        .iter()
        .map(|change| {
            let current = change.current.as_ref().map(|item| item.value.clone());
            let previous = change.previous.as_ref().map(|item| item.value.clone());
            (&*change.key, current, previous)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("/w/a", Some("2".into()), Some("1".into())),
            ("/w/b", None, Some("1".into()))
        ]
    );
}

pub(crate) async fn a_watch_after_a_compaction_has_all_previous_values(store: Arc<dyn Store>) {
    let changes = history(&store, 30).await;
    let middle = changes[changes.len() / 2].revision;
    let end = changes.last().expect("changes").revision;
    store.compact(middle).await.expect("compact");
    let expected: Vec<_> = changes
        .into_iter()
        .filter(|change| change.revision > middle)
        .collect();
    let mut watch = store.watch("/w/", middle);
    assert_eq!(changes_until(&mut watch, end).await, expected);
}

pub(crate) async fn a_watch_behind_a_compaction_ends_with_compacted(store: Arc<dyn Store>) {
    let first = store.commit(&[], &[put("/c", "1")]).await.expect("commit");
    store.commit(&[], &[put("/c", "2")]).await.expect("commit");
    let last = store.commit(&[], &[put("/c", "3")]).await.expect("commit");
    store.compact(last).await.expect("compact");
    for after in [first - 1, first, last - 1] {
        let mut watch = store.watch("/c", after);
        let end = watch.next().await;
        assert!(matches!(end, Some(Err(StoreError::Compacted))), "{end:?}");
        assert!(watch.next().await.is_none(), "a failed watch ends");
    }
    let mut watch = store.watch("/c", last);
    let next = store.commit(&[], &[delete("/c")]).await.expect("commit");
    let (revision, changes) = next_commit(&mut watch).await;
    assert_eq!(revision, next);
    assert_eq!(changes[0].previous.as_ref().expect("previous").mod_revision, last);
}

pub(crate) async fn a_deletion_at_the_compacted_revision_is_never_skipped(store: Arc<dyn Store>) {
    store.commit(&[], &[put("/c", "1")]).await.expect("commit");
    let deleted = store.commit(&[], &[delete("/c")]).await.expect("commit");
    let end = store.commit(&[], &[put("/d", "1")]).await.expect("commit");
    store.compact(deleted).await.expect("compact");
    let mut watch = store.watch("/", deleted - 1);
    match timeout(Duration::from_secs(60), watch.next())
        .await
        .expect("in time")
    {
        Some(Err(StoreError::Compacted)) => {}
        Some(Ok(WatchItem::Commit { revision, .. })) => {
            assert_eq!(revision, deleted, "skipped the deletion");
        }
        other => panic!("{other:?}"),
    }
    let mut watch = store.watch("/", deleted);
    assert_eq!(next_commit(&mut watch).await.0, end);
}

pub(crate) async fn progress_is_told_though_only_other_keys_change(store: Arc<dyn Store>) {
    let start = store.current_revision().await.expect("revision");
    let mut watch = store.watch("/quiet/", start);
    for number in 0..5 {
        let elsewhere = store
            .commit(&[], &[put("/noise", number.to_string())])
            .await
            .expect("commit");
        let asked = store.request_progress("/quiet/").await.expect("asked");
        assert!(asked >= elsewhere);
        let nothing = changes_until(&mut watch, asked).await;
        assert_eq!(nothing, []);
    }
    let listed = store.list("/", None, 0, None).await.expect("list");
    assert_eq!(listed.items.len(), 1, "asking leaves no object");
}

pub(crate) async fn a_watch_of_a_future_revision_waits_for_it(store: Arc<dyn Store>) {
    let now = store.current_revision().await.expect("revision");
    let mut watch = store.watch("/f", now + 3);
    let mut revisions = Vec::new();
    for number in 0..5 {
        revisions.push(
            store
                .commit(&[], &[put("/f", number.to_string())])
                .await
                .expect("commit"),
        );
    }
    assert_eq!(next_commit(&mut watch).await.0, revisions[3]);
    assert_eq!(next_commit(&mut watch).await.0, revisions[4]);
}

pub(crate) async fn a_consumer_that_sleeps_misses_nothing(store: Arc<dyn Store>) {
    // More than any buffer between a store and its watch holds, in commits and in bytes.
    const COMMITS: u64 = 1200;
    let start = store.current_revision().await.expect("revision");
    let mut watch = store.watch("/s/", start);
    store.commit(&[], &[put("/s/first", "")]).await.expect("commit");
    next_commit(&mut watch).await;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for number in 0..COMMITS / 8 {
                    let value = vec![u8::try_from(number % 256).unwrap_or(0); 20_000];
                    store
                        .commit(&[], &[put(&format!("/s/{writer}"), value)])
                        .await
                        .expect("commit");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("writer");
    }
    let end = store.current_revision().await.expect("revision");
    let mut expected = start + 2;
    while expected <= end {
        let (revision, changes) = next_commit(&mut watch).await;
        assert_eq!(revision, expected, "every revision changed this prefix");
        assert_eq!(changes.len(), 1);
        expected += 1;
    }
}

pub(crate) async fn compactions_during_reads_never_lose_a_change_silently(store: Arc<dyn Store>) {
    const ROUNDS: u64 = 150;
    let start = store.commit(&[], &[put("/r/k", "0")]).await.expect("commit");
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut last = start;
            for number in 0..ROUNDS {
                let unchanged = [Precondition::ModRevision("/r/k".into(), last)];
                last = store
                    .commit(&unchanged, &[put("/r/k", number.to_string())])
                    .await
                    .expect("commit");
                if number % 5 == 4 {
                    store.compact(last - 2).await.expect("compact");
                }
            }
            last
        })
    };
    // Lists, then watches until the watch is compacted away, as any consumer does.
    let reading = async {
        'list: loop {
            let page = store.list("/r/", None, 0, None).await.expect("list");
            assert_eq!(page.items.len(), 1);
            let mut at = page.items[0].mod_revision;
            let mut watch = store.watch("/r/", page.revision);
            loop {
                if at >= start + ROUNDS {
                    return at;
                }
                match timeout(Duration::from_secs(60), watch.next())
                    .await
                    .expect("in time")
                {
                    Some(Ok(WatchItem::Commit { revision, changes })) => {
                        let previous = changes[0].previous.as_ref().expect("previous");
                        assert_eq!((previous.mod_revision, revision), (at, at + 1));
                        at = revision;
                    }
                    Some(Ok(WatchItem::Progress(_))) => {}
                    Some(Err(StoreError::Compacted)) => continue 'list,
                    other => panic!("{other:?}"),
                }
                // Pages of an old snapshot are whole or refused.
                match store.list("/r/", None, 0, Some(at - 1)).await {
                    Ok(page) => assert_eq!(page.items.len(), 1),
                    Err(StoreError::Compacted) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    let seen = reading.await;
    assert_eq!(seen, writer.await.expect("writer"));
}
