//! A watch that survives disconnects: it resumes after the last commit it delivered.

use etcd_client::proto::{PbEvent, PbWatchResponse};
use etcd_client::{EventType, KeyValue, WatchOptions, WatchStream};
use tokio::time::{sleep, timeout};

use super::MARK;
use super::failure::Failure;
use super::store::{
    EtcdStore, FIRST_PAUSE, LARGEST_ANSWER, LONGEST_PAUSE, end_of_prefix, from_etcd, to_etcd,
};
use crate::model::{Change, StoreError, WatchItem};
use crate::watch::{Watch, WatchSender};

/// Commits that may wait for a slow consumer before etcd is no longer read.
const BUFFERED_ITEMS: usize = 256;

/// Starts a watch. A lost connection is made again with back-off, for as long as the watch is held.
pub(super) fn follow(store: &EtcdStore, prefix: &str, after: u64) -> Watch {
    let (sender, watch) = Watch::channel(BUFFERED_ITEMS);
    let follower = Follower {
        store: store.clone(),
        prefix: store.full_key(prefix),
        seen: after,
        pending: Vec::new(),
    };
    tokio::spawn(follower.run(sender));
    watch
}

/// Why following one connection ended.
enum End {
    /// The consumer is gone.
    Dropped,
    /// The connection broke, or never came to be.
    Disconnected,
    /// No later attempt can succeed.
    Failed(StoreError),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

struct Follower {
    store: EtcdStore,
    prefix: Vec<u8>,
    /// Everything up to and including this revision was delivered.
    seen: u64,
    /// Changes of one commit of which more fragments may follow.
    pending: Vec<Change>,
}

impl Follower {
    async fn run(mut self, sender: WatchSender) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.seen;
            let end = tokio::select! {
                end = self.follow(&sender) => end,
                () = sender.closed() => End::Dropped,
            };
            // A commit that was cut off by the disconnect comes again, whole.
            self.pending.clear();
            match end {
                End::Dropped => return,
                End::Failed(error) => {
                    // A consumer that is gone needs no error.
                    let _ = sender.send(Err(error)).await;
                    return;
                }
                End::Disconnected => {
                    if self.seen > before {
                        pause = FIRST_PAUSE;
                    }
                    tracing::debug!(revision = self.seen, "watch disconnected from etcd, resuming");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Follows one connection until it ends.
    async fn follow(&mut self, sender: &WatchSender) -> End {
        let mut stream = match self.open().await {
            Ok(stream) => stream,
            Err(end) => return end,
        };
        loop {
            let response = match stream.message().await {
                Ok(Some(response)) => response.0,
                Ok(None) => return End::Disconnected,
                Err(error) => return ended(&error),
            };
            if response.compact_revision > 0 {
                return End::Failed(StoreError::Compacted);
            }
            if response.canceled {
                // Without a leader the member lets go of its watches; another member may have one.
                let reason = response.cancel_reason;
                return if reason.is_empty() || reason.contains("no leader") {
                    End::Disconnected
                } else {
                    End::Failed(StoreError::Refused(reason))
                };
            }
            let items = match self.accept(response) {
                Ok(items) => items,
                Err(error) => return End::Failed(error),
            };
            for item in items {
                let revision = match &item {
                    WatchItem::Commit { revision, .. } | WatchItem::Progress(revision) => *revision,
                };
                if sender.send(Ok(item)).await.is_err() {
                    return End::Dropped;
                }
                self.seen = self.seen.max(revision);
            }
        }
    }

    async fn open(&self) -> Result<WatchStream, End> {
        // From the last revision seen, not the next: etcd may drop a deletion at the very revision that it compacts
        // (https://github.com/etcd-io/etcd/issues/19179), and does not say so to a watch that starts there.
        let options = WatchOptions::new()
            .with_range(end_of_prefix(&self.prefix))
            .with_start_revision(to_etcd(self.seen.max(1))?)
            .with_prev_key()
            .with_progress_notify()
            .with_fragment();
        let key = if self.prefix.is_empty() {
            vec![0]
        } else {
            self.prefix.clone()
        };
        let mut client = self
            .store
            .client
            .watch_client()
            .max_decoding_message_size(LARGEST_ANSWER);
        match timeout(
            self.store.options.request_deadline,
            client.watch(key, Some(options)),
        )
        .await
        {
            Err(_) => Err(End::Disconnected),
            Ok(Err(error)) => Err(ended(&error)),
            Ok(Ok(stream)) => Ok(stream),
        }
    }

    /// What can be delivered now that this response came.
    ///
    /// A commit is delivered once a later one or the last fragment shows that it is complete.
    fn accept(&mut self, response: PbWatchResponse) -> Result<Vec<WatchItem>, StoreError> {
        let mut items = Vec::new();
        if response.events.is_empty() {
            // A progress mark that etcd sent on its own, in order with the events.
            if !response.created
                && !response.fragment
                && self.pending.is_empty()
                && let Some(header) = &response.header
            {
                let revision = from_etcd(header.revision)?;
                if revision > self.seen {
                    items.push(WatchItem::Progress(revision));
                }
            }
            return Ok(items);
        }
        for event in response.events {
            let change = self.change(event)?;
            if change.revision <= self.seen {
                continue;
            }
            if self
                .pending
                .first()
                .is_some_and(|first| first.revision != change.revision)
            {
                items.extend(self.complete());
            }
            self.pending.push(change);
        }
        if !response.fragment {
            items.extend(self.complete());
        }
        Ok(items)
    }

    fn complete(&mut self) -> Option<WatchItem> {
        let revision = self.pending.first()?.revision;
        let mut changes = std::mem::take(&mut self.pending);
        changes.retain(|change| !change.key.ends_with(MARK));
        Some(if changes.is_empty() {
            WatchItem::Progress(revision)
        } else {
            WatchItem::Commit { revision, changes }
        })
    }

    fn change(&self, event: PbEvent) -> Result<Change, StoreError> {
        let deleted = event.r#type == EventType::Delete as i32;
        let item = event
            .kv
            .ok_or_else(|| StoreError::Refused("an event without a key".into()))?;
        let item = self.store.item(KeyValue(item))?;
        let previous = event
            .prev_kv
            .map(|previous| self.store.item(KeyValue(previous)))
            .transpose()?;
        Ok(Change {
            key: item.key.clone(),
            revision: item.mod_revision,
            current: (!deleted).then_some(item),
            previous,
        })
    }
}

fn ended(error: &etcd_client::Error) -> End {
    match Failure::of(error) {
        Failure::NotApplied | Failure::Unknown => End::Disconnected,
        _ => End::Failed(Failure::of_read(error)),
    }
}
