//! A watch: the event table up to where the feed begins, then the feed, and the table again after falling behind.

use std::sync::Arc;

use tokio::sync::watch::Receiver;

use super::feed::Feed;
use super::past::commits_after;
use super::readers::{Readers, closed};
use crate::model::{Change, StoreError, WatchItem};
use crate::watch::{Watch, WatchSender};

/// Commits that may wait for a slow consumer.
const BUFFERED_ITEMS: usize = 64;

/// Starts a watch of `prefix` after the revision `after`.
pub(super) fn follow(
    feed: Arc<Feed>,
    readers: Arc<Readers>,
    news: Receiver<()>,
    prefix: &str,
    after: u64,
) -> Watch {
    let (sender, watch) = Watch::channel(BUFFERED_ITEMS);
    let follower = Follower {
        feed,
        readers,
        news,
        prefix: prefix.to_owned(),
        position: after,
        delivered: after,
    };
    tokio::spawn(follower.run(sender));
    watch
}

struct Follower {
    feed: Arc<Feed>,
    readers: Arc<Readers>,
    news: Receiver<()>,
    prefix: String,
    /// Everything up to and including this revision was looked at.
    position: u64,
    /// The revision of the last item that was delivered.
    delivered: u64,
}

/// The consumer is gone.
struct Gone;

impl Follower {
    async fn run(mut self, sender: WatchSender) {
        let end = tokio::select! {
            end = self.follow(&sender) => end,
            () = sender.closed() => Ok(Gone),
        };
        if let Err(error) = end {
            // A consumer that is gone needs no error.
            let _ = sender.send(Err(error)).await;
        }
    }

    async fn follow(&mut self, sender: &WatchSender) -> Result<Gone, StoreError> {
        // Also tells whether the position was compacted, which the feed does not know.
        if self.replay(sender).await?.is_some() {
            return Ok(Gone);
        }
        loop {
            // Marked before reading, so that a commit in between wakes us again.
            self.news.mark_unchanged();
            let delivered = match self.feed.after(self.position) {
                None => self.replay(sender).await?,
                Some((commits, reached)) => {
                    let before = self.position;
                    let mut gone = None;
                    for published in &commits {
                        let (revision, changes) = &published.commit;
                        let changes: Vec<Change> = changes
                            .iter()
                            .filter(|change| change.key.starts_with(&self.prefix))
                            .cloned()
                            .collect();
                        gone = gone.or(self.deliver(sender, *revision, changes).await);
                    }
                    gone = gone.or(self.reach(sender, reached).await);
                    if self.position == before && gone.is_none() {
                        self.news.changed().await.map_err(|_| closed())?;
                    }
                    gone
                }
            };
            if delivered.is_some() {
                return Ok(Gone);
            }
        }
    }

    /// Delivers one batch of the event table.
    async fn replay(&mut self, sender: &WatchSender) -> Result<Option<Gone>, StoreError> {
        let (prefix, position) = (self.prefix.clone(), self.position);
        let (commits, reached) = self
            .readers
            .read(move |connection, tip| commits_after(connection, tip, &prefix, position))
            .await?;
        for (revision, changes) in commits {
            if let Some(gone) = self.deliver(sender, revision, changes).await {
                return Ok(Some(gone));
            }
        }
        Ok(self.reach(sender, reached).await)
    }

    async fn deliver(&mut self, sender: &WatchSender, revision: u64, changes: Vec<Change>) -> Option<Gone> {
        if changes.is_empty() {
            return None;
        }
        let sent = sender.send(Ok(WatchItem::Commit { revision, changes })).await;
        self.delivered = revision;
        sent.err().map(|_| Gone)
    }

    /// Notes that everything up to `reached` was delivered, and says so if no commit did.
    async fn reach(&mut self, sender: &WatchSender, reached: u64) -> Option<Gone> {
        self.position = reached;
        if reached <= self.delivered {
            return None;
        }
        self.delivered = reached;
        let sent = sender.send(Ok(WatchItem::Progress(reached))).await;
        sent.err().map(|_| Gone)
    }
}
