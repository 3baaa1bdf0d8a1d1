//! What a cache holds: the entries in key order and a bounded ring of recent commits.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::CacheError;

/// One object in the cache.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<M> {
    /// The key as in the backend.
    pub key: Box<str>,
    /// The encoded object; none in a cache that holds metadata only.
    pub value: Option<Bytes>,
    /// Revision of the commit that created the key.
    pub create_revision: u64,
    /// Revision of the commit that last changed the key.
    pub mod_revision: u64,
    /// What selection needs to know about the object.
    pub metadata: M,
}

/// A change to one key, with the entries before and after it.
#[derive(Debug)]
pub struct CachedChange<M> {
    /// The entry before the change; none if the key is new.
    pub previous: Option<Arc<Entry<M>>>,
    /// The entry after the change; none if the key was deleted.
    pub current: Option<Arc<Entry<M>>>,
}

impl<M> CachedChange<M> {
    /// The key that changed.
    pub fn key(&self) -> &str {
        self.current
            .as_ref()
            .or(self.previous.as_ref())
            .map_or("", |entry| &entry.key)
    }
}

/// All changes of one commit under the cache's prefix.
///
/// After the backend compacted commits that the cache had not seen, one such commit sums them up.
#[derive(Debug)]
pub struct CachedCommit<M> {
    /// The revision of the (last) commit.
    pub revision: u64,
    /// Never empty.
    pub changes: Vec<CachedChange<M>>,
}

/// Entries as of one revision, in key order.
#[derive(Debug)]
pub struct Snapshot<M> {
    /// The revision that the entries show.
    pub revision: u64,
    /// The entries, shared with the cache.
    pub entries: Vec<Arc<Entry<M>>>,
}

/// What has changed after a revision, as it was then.
#[derive(Debug)]
pub struct Earlier<M> {
    /// For each key that was changed its entry at the revision; none if there was none.
    pub entries: BTreeMap<Box<str>, Option<Arc<Entry<M>>>>,
    /// The revision up to which all changes are among them.
    pub reached: u64,
}

/// An entry ordered by its key, so that the key is stored once.
struct ByKey<M>(Arc<Entry<M>>);

impl<M> Borrow<str> for ByKey<M> {
    fn borrow(&self) -> &str {
        &self.0.key
    }
}

impl<M> PartialEq for ByKey<M> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl<M> Eq for ByKey<M> {}

impl<M> PartialOrd for ByKey<M> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for ByKey<M> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

/// Commits from the ring and the position after them.
type Batch<M> = (Vec<Arc<CachedCommit<M>>>, u64);

/// The mutable state behind a cache's lock.
pub(super) struct State<M> {
    entries: BTreeSet<ByKey<M>>,
    ring: VecDeque<Arc<CachedCommit<M>>>,
    /// Changes in all commits of the ring.
    ring_changes: usize,
    ring_capacity: usize,
    /// The ring holds every commit after this revision.
    floor: u64,
    /// Everything up to and including this revision was applied.
    revision: u64,
}

impl<M> State<M> {
    /// An empty state whose ring holds commits of up to `ring_capacity` changes (the newest commit always stays).
    pub(super) fn new(ring_capacity: usize) -> Self {
        Self {
            entries: BTreeSet::new(),
            ring: VecDeque::new(),
            ring_changes: 0,
            ring_capacity,
            floor: 0,
            revision: 0,
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Entry<M>>> {
        self.entries.get(key).map(|entry| Arc::clone(&entry.0))
    }

    pub(super) fn list(&self, prefix: &str) -> Snapshot<M> {
        let entries = self
            .entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|entry| entry.0.key.starts_with(prefix))
            .map(|entry| Arc::clone(&entry.0))
            .collect();
        Snapshot {
            revision: self.revision,
            entries,
        }
    }

    /// Whether every commit after `position` is still in the ring, and `position` was reached.
    pub(super) fn check_position(&self, position: u64) -> Result<(), CacheError> {
        if position < self.floor || position > self.revision {
            Err(CacheError::TooOld)
        } else {
            Ok(())
        }
    }

    /// The commits after `position`, at most `limit`, and the position after them.
    pub(super) fn commits_after(&self, position: u64, limit: usize) -> Result<Batch<M>, CacheError> {
        self.check_position(position)?;
        let start = self.ring.partition_point(|commit| commit.revision <= position);
        let commits: Vec<_> = self.ring.range(start..).take(limit).map(Arc::clone).collect();
        let reached = match commits.last() {
            Some(last) if start + commits.len() < self.ring.len() => last.revision,
            _ => self.revision,
        };
        Ok((commits, reached))
    }

    /// The keys that were changed after `position` with the entries that they had then, and the revision up to which that is
    /// so.
    pub(super) fn changed_after(&self, position: u64) -> Result<Earlier<M>, CacheError> {
        self.check_position(position)?;
        let start = self.ring.partition_point(|commit| commit.revision <= position);
        let mut entries = BTreeMap::new();
        for change in self.ring.range(start..).flat_map(|commit| &commit.changes) {
            if !entries.contains_key(change.key()) {
                entries.insert(change.key().into(), change.previous.clone());
            }
        }
        Ok(Earlier {
            entries,
            reached: self.revision,
        })
    }

    /// Applies one commit: for each key its new entry, or none if it was deleted.
    pub(super) fn apply(&mut self, revision: u64, writes: Vec<(Box<str>, Option<Entry<M>>)>) {
        let mut changes = Vec::with_capacity(writes.len());
        for (key, entry) in writes {
            let current = entry.map(Arc::new);
            let previous = match &current {
                Some(entry) => self.entries.replace(ByKey(Arc::clone(entry))),
                None => self.entries.take(&*key),
            };
            if current.is_some() || previous.is_some() {
                changes.push(CachedChange {
                    previous: previous.map(|entry| entry.0),
                    current,
                });
            }
        }
        self.push(revision, changes);
    }

    /// Notes that nothing under the prefix changed up to and including `revision`.
    pub(super) fn advance(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    /// Replaces all entries by a fresh list as of `revision` (in key order), as one commit of the differences.
    ///
    /// The first load has no history: watches start at its revision. If the backend's revision went back (it was
    /// restored from a backup), all history is dropped, so that every watcher lists again.
    pub(super) fn reset(&mut self, revision: u64, entries: Vec<Entry<M>>) {
        let first_load = self.floor == 0 && self.revision == 0 && self.entries.is_empty();
        if first_load || revision < self.revision {
            self.entries = entries.into_iter().map(|entry| ByKey(Arc::new(entry))).collect();
            self.ring.clear();
            self.ring_changes = 0;
            self.floor = revision;
            self.revision = revision;
            return;
        }
        let mut old = std::mem::take(&mut self.entries);
        let mut changes = Vec::new();
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            let previous = old.take(&*entry.key);
            match previous {
                Some(previous) if previous.0.mod_revision == entry.mod_revision => kept.push(previous),
                previous => {
                    let current = Arc::new(entry);
                    kept.push(ByKey(Arc::clone(&current)));
                    changes.push(CachedChange {
                        previous: previous.map(|entry| entry.0),
                        current: Some(current),
                    });
                }
            }
        }
        changes.extend(old.into_iter().map(|gone| CachedChange {
            previous: Some(gone.0),
            current: None,
        }));
        self.entries = kept.into_iter().collect();
        self.push(revision, changes);
    }

    fn push(&mut self, revision: u64, changes: Vec<CachedChange<M>>) {
        self.advance(revision);
        if changes.is_empty() {
            return;
        }
        self.ring_changes += changes.len();
        self.ring.push_back(Arc::new(CachedCommit { revision, changes }));
        while self.ring_changes > self.ring_capacity
            && self.ring.len() > 1
            && let Some(oldest) = self.ring.pop_front()
        {
            self.ring_changes -= oldest.changes.len();
            self.floor = oldest.revision;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, revision: u64) -> Entry<()> {
        Entry {
            key: key.into(),
            value: None,
            create_revision: 1,
            mod_revision: revision,
            metadata: (),
        }
    }

    fn put(key: &str, revision: u64) -> Vec<(Box<str>, Option<Entry<()>>)> {
        vec![(key.into(), Some(entry(key, revision)))]
    }

    #[test]
    fn a_reset_after_lost_history_delivers_the_differences_as_one_commit() {
        let mut state = State::new(100);
        state.reset(5, vec![entry("a", 2), entry("b", 3), entry("c", 5)]);
        state.reset(9, vec![entry("a", 2), entry("b", 8), entry("d", 7)]);
        let (commits, reached) = state.commits_after(5, 10).unwrap();
        assert_eq!((commits.len(), commits[0].revision, reached), (1, 9, 9));
        let seen: Vec<_> = commits[0]
            .changes
            .iter()
            .map(|change| {
                let revision =
                    |entry: &Option<Arc<Entry<()>>>| entry.as_ref().map(|entry| entry.mod_revision);
                (
                    change.key(),
                    revision(&change.previous),
                    revision(&change.current),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("b", Some(3), Some(8)),
                ("d", None, Some(7)),
                ("c", Some(5), None)
            ]
        );
        assert_eq!(state.list("").entries.len(), 3);
    }

    #[test]
    fn a_position_that_fell_out_of_the_ring_is_too_old_and_one_inside_is_not() {
        let mut state = State::new(2);
        state.reset(1, Vec::new());
        for revision in 2..=5 {
            state.apply(revision, put("a", revision));
        }
        assert_eq!(state.commits_after(2, 10).unwrap_err(), CacheError::TooOld);
        let (commits, reached) = state.commits_after(3, 10).unwrap();
        assert_eq!(
            commits.iter().map(|commit| commit.revision).collect::<Vec<_>>(),
            [4, 5]
        );
        assert_eq!(reached, 5);
        let (commits, reached) = state.commits_after(3, 1).unwrap();
        assert_eq!(
            (commits.len(), reached),
            (1, 4),
            "a full batch must not skip the rest"
        );
    }

    #[test]
    fn what_has_changed_is_known_as_it_was_before_the_first_of_its_changes() {
        let mut state = State::new(3);
        state.reset(1, vec![entry("a", 1), entry("b", 1)]);
        state.apply(2, put("a", 2));
        state.apply(3, put("a", 3));
        state.apply(4, vec![("a".into(), None)]);
        let earlier = |state: &State<()>, position| {
            let earlier = state.changed_after(position)?;
            let revision = |entry: Option<Arc<Entry<()>>>| entry.map(|entry| entry.mod_revision);
            let entries = earlier.entries.into_iter();
            let entries: Vec<_> = entries
                .map(|(key, entry)| (key.to_string(), revision(entry)))
                .collect();
            Ok((entries, earlier.reached))
        };
        assert_eq!(earlier(&state, 1), Ok((vec![("a".to_owned(), Some(1))], 4)));
        assert_eq!(earlier(&state, 2), Ok((vec![("a".to_owned(), Some(2))], 4)));
        assert_eq!(earlier(&state, 4), Ok((Vec::new(), 4)));
        state.apply(5, put("c", 5));
        let after = vec![("a".to_owned(), Some(2)), ("c".to_owned(), None)];
        assert_eq!(earlier(&state, 2), Ok((after, 5)));
        assert_eq!(earlier(&state, 1), Err(CacheError::TooOld));
        assert_eq!(earlier(&state, 6), Err(CacheError::TooOld));
    }

    #[test]
    fn a_backend_whose_revision_went_back_makes_every_watcher_list_again() {
        let mut state = State::new(10);
        state.reset(5, Vec::new());
        state.apply(6, put("a", 6));
        state.reset(3, vec![entry("b", 2)]);
        assert_eq!(state.commits_after(6, 10).unwrap_err(), CacheError::TooOld);
        assert_eq!(state.list("").revision, 3);
        assert!(state.get("a").is_none());
    }

    #[test]
    fn a_list_is_limited_to_its_prefix() {
        let mut state = State::new(10);
        state.reset(
            5,
            vec![
                entry("/a/1", 1),
                entry("/a/2", 2),
                entry("/ab", 3),
                entry("/b", 4),
            ],
        );
        let keys: Vec<_> = state
            .list("/a/")
            .entries
            .iter()
            .map(|entry| entry.key.to_string())
            .collect();
        assert_eq!(keys, ["/a/1", "/a/2"]);
    }
}
