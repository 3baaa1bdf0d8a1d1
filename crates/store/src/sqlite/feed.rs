//! The feed of commits from the writer to the watches: a bounded ring of the newest.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use super::past::{Commit, size};

/// Changes that the ring holds at most (the newest commit always stays).
const RING_CHANGES: usize = 4096;
/// Bytes of keys and values that the ring holds at most.
const RING_BYTES: usize = 16 << 20;
/// Commits taken from the ring in one visit, so that the lock is held briefly.
const BATCH: usize = 128;

/// The newest commits. A watch that falls behind them reads the event table instead.
pub(super) struct Feed {
    ring: RwLock<Ring>,
}

struct Ring {
    commits: VecDeque<Arc<Published>>,
    changes: usize,
    bytes: usize,
    /// The ring holds every commit after this revision.
    floor: u64,
    /// Everything up to and including this revision was published.
    reached: u64,
}

/// A commit and the bytes of its changes.
pub(super) struct Published {
    pub(super) commit: Commit,
    bytes: usize,
}

impl Feed {
    pub(super) fn new(revision: u64) -> Self {
        Self {
            ring: RwLock::new(Ring {
                commits: VecDeque::new(),
                changes: 0,
                bytes: 0,
                floor: revision,
                reached: revision,
            }),
        }
    }

    /// Adds commits, the last of which made `revision` current.
    pub(super) fn publish(&self, commits: Vec<Commit>, revision: u64) {
        let commits: Vec<_> = commits
            .into_iter()
            .map(|commit| {
                let bytes = commit.1.iter().map(size).sum();
                Arc::new(Published { commit, bytes })
            })
            .collect();
        let mut dropped = Vec::new();
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        for commit in commits {
            ring.changes += commit.commit.1.len();
            ring.bytes += commit.bytes;
            ring.commits.push_back(commit);
        }
        while (ring.changes > RING_CHANGES || ring.bytes > RING_BYTES)
            && ring.commits.len() > 1
            && let Some(oldest) = ring.commits.pop_front()
        {
            ring.changes -= oldest.commit.1.len();
            ring.bytes -= oldest.bytes;
            ring.floor = oldest.commit.0;
            // Freed after the lock.
            dropped.push(oldest);
        }
        ring.reached = revision;
    }

    /// The next commits after `position` and the position after them; none if the ring no longer holds them.
    pub(super) fn after(&self, position: u64) -> Option<(Vec<Arc<Published>>, u64)> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        if position < ring.floor {
            return None;
        }
        let start = ring
            .commits
            .partition_point(|published| published.commit.0 <= position);
        let commits: Vec<_> = ring.commits.range(start..).take(BATCH).map(Arc::clone).collect();
        let reached = match commits.last() {
            Some(last) if start + commits.len() < ring.commits.len() => last.commit.0,
            _ => ring.reached.max(position),
        };
        Some((commits, reached))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Change, KeyValue};

    fn commit(revision: u64, bytes: usize) -> Commit {
        let current = KeyValue {
            key: "k".into(),
            value: Bytes::from(vec![0; bytes]),
            create_revision: revision,
            mod_revision: revision,
        };
        let change = Change {
            key: "k".into(),
            revision,
            current: Some(current),
            previous: None,
        };
        (revision, vec![change])
    }

    #[test]
    fn the_ring_is_bounded_in_bytes_and_says_what_it_no_longer_holds() {
        let feed = Feed::new(1);
        for revision in 2..=11 {
            feed.publish(vec![commit(revision, RING_BYTES / 4)], revision);
        }
        assert!(feed.after(7).is_none());
        let (commits, reached) = feed.after(8).expect("held");
        let revisions: Vec<_> = commits.iter().map(|published| published.commit.0).collect();
        assert_eq!((revisions, reached), (vec![9, 10, 11], 11));
    }

    #[test]
    fn a_full_batch_does_not_skip_the_rest() {
        let feed = Feed::new(1);
        let last = 1 + 2 * BATCH as u64;
        feed.publish((2..=last).map(|revision| commit(revision, 1)).collect(), last);
        let (commits, reached) = feed.after(1).expect("held");
        assert_eq!((commits.len(), reached), (BATCH, 1 + BATCH as u64));
        let (commits, reached) = feed.after(reached).expect("held");
        assert_eq!((commits.len(), reached), (BATCH, last));
    }
}
