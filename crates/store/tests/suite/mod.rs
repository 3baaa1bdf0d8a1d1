//! The behaviour suite: every promise of the crate as a test over any backend.

#![allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "each test binary uses its own part of this module"
)]

pub(crate) mod concurrency;
pub(crate) mod history;
pub(crate) mod model;
pub(crate) mod promises;
pub(crate) mod watches;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use imagestream_store::{Change, Store, Watch, WatchItem, Write};
use tokio::time::timeout;

/// A fresh store and whatever must live as long as it does.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    _backend: Box<dyn Any>,
}

impl Fixture {
    pub(crate) fn new(store: Arc<dyn Store>, backend: impl Any) -> Self {
        Self {
            store,
            _backend: Box::new(backend),
        }
    }
}

/// One test for each promise, over the stores that `$start` makes (none: the backend is not installed).
macro_rules! every_promise {
    ($start:path) => {
        crate::suite::each!($start:
            promises::pages_of_a_list_show_one_revision_while_writes_go_on,
            promises::a_list_is_limited_to_its_prefix_and_in_byte_order,
            promises::a_refused_commit_names_the_first_failed_precondition_and_writes_nothing,
            promises::a_commit_has_one_revision_for_all_its_writes,
            promises::a_transaction_that_changes_nothing_has_no_revision_of_its_own,
            promises::a_key_remembers_its_creation_until_it_is_deleted,
            promises::every_revision_can_be_read_until_it_is_compacted,
            promises::malformed_and_oversized_transactions_are_refused_whole,
            promises::values_of_any_bytes_come_back,
            promises::health_size_and_revision_are_told,
            watches::a_watch_from_every_revision_delivers_exactly_what_followed,
            watches::a_watch_delivers_each_transaction_whole_with_previous_values,
            watches::a_watch_after_a_compaction_has_all_previous_values,
            watches::a_watch_behind_a_compaction_ends_with_compacted,
            watches::a_deletion_at_the_compacted_revision_is_never_skipped,
            watches::progress_is_told_though_only_other_keys_change,
            watches::a_watch_of_a_future_revision_waits_for_it,
            watches::a_consumer_that_sleeps_misses_nothing,
            watches::compactions_during_reads_never_lose_a_change_silently,
            concurrency::hundreds_of_increments_of_one_key_are_all_counted,
            concurrency::hundreds_of_writers_on_many_keys_get_distinct_revisions,
            concurrency::money_moved_between_two_keys_is_never_seen_in_flight,
            concurrency::recorded_histories_are_linearizable,
            model::random_histories_match_the_model,
        );
    };
}
pub(crate) use every_promise;

macro_rules! each {
    ($start:path: $($module:ident::$name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(fixture) = $start().await {
                    Box::pin(crate::suite::$module::$name(std::sync::Arc::clone(&fixture.store))).await;
                }
            }
        )*
    };
}
pub(crate) use each;

pub(crate) fn put(key: &str, value: impl Into<Bytes>) -> Write {
    Write::Put(key.into(), value.into())
}

pub(crate) fn delete(key: &str) -> Write {
    Write::Delete(key.into())
}

/// The next item of a watch that must go on.
pub(crate) async fn next(watch: &mut Watch) -> WatchItem {
    timeout(Duration::from_secs(60), watch.next())
        .await
        .expect("an event in time")
        .expect("the watch is open")
        .expect("no error")
}

/// The next commit of a watch that must go on.
pub(crate) async fn next_commit(watch: &mut Watch) -> (u64, Vec<Change>) {
    loop {
        if let WatchItem::Commit { revision, changes } = next(watch).await {
            return (revision, changes);
        }
    }
}

/// All changes up to the commit or progress mark that reaches `end`.
pub(crate) async fn changes_until(watch: &mut Watch, end: u64) -> Vec<Change> {
    let mut all = Vec::new();
    let mut last = 0;
    while last < end {
        let revision = match next(watch).await {
            WatchItem::Progress(revision) => revision,
            WatchItem::Commit { revision, changes } => {
                assert!(changes.iter().all(|change| change.revision == revision));
                all.extend(changes);
                revision
            }
        };
        assert!(revision > last, "{revision} came after {last}");
        last = revision;
    }
    all
}
