//! Which streams follow which sources, in memory. Streams that follow one source with equal credentials share it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use imagestream_api::stream::source::StreamKey;

use super::credentials::Fingerprint;
use super::followed::Followed;
use super::settled::Settled;

/// A source, for as long as it is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SourceId(pub(super) u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StreamId(u32);

/// A source: what is looked at with one request.
#[derive(Debug)]
pub(super) struct Source {
    /// In the form that registries are asked in.
    pub(super) name: Arc<str>,
    pub(super) insecure: bool,
    pub(super) fingerprint: Fingerprint,
    pub(super) settled: Settled,
    /// A stream that follows it, and is not settled, changed since the last look began.
    pub(super) is_touched: bool,
    /// When it was last looked at, and when it last moved; in seconds since the table began, 0 if never.
    pub(super) looked: u32,
    pub(super) moved: u32,
    /// Tags that follow it.
    pub(super) tags: u32,
    followers: Vec<StreamId>,
    /// Another source of the same name.
    sibling: Option<SourceId>,
}

#[derive(Debug)]
struct Stream {
    key: StreamKey,
    follows: Box<[Follow]>,
}

/// One tag of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Follow {
    source: SourceId,
    /// In seconds, if the tag says so.
    interval: u32,
}

/// What became of sources when a stream changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// They are followed since, or in other intervals than before.
    pub(super) planned: Vec<SourceId>,
    /// Nobody follows them any more. Their ids may be given to others.
    pub(super) ended: Vec<SourceId>,
}

/// All streams that follow something, and what they follow.
#[derive(Debug, Default)]
pub(super) struct Table {
    sources: Slab<Source>,
    streams: Slab<Stream>,
    /// The first source of each name.
    by_name: HashMap<Arc<str>, SourceId>,
    by_key: BTreeMap<StreamKey, StreamId>,
    tags: usize,
}

impl Table {
    /// A stream follows this, and nothing else any more.
    pub(super) fn set(&mut self, key: &StreamKey, followed: &[(Followed, Fingerprint)]) -> Changes {
        let mut changes = Changes::default();
        let stream = match self.by_key.get(key) {
            Some(known) => *known,
            None if followed.is_empty() => return changes,
            None => {
                let stream = Stream {
                    key: key.clone(),
                    follows: Box::default(),
                };
                let id = StreamId(self.streams.insert(stream));
                self.by_key.insert(key.clone(), id);
                id
            }
        };
        let mut follows = Vec::with_capacity(followed.len());
        for (tag, fingerprint) in followed {
            let source = self.source_of(tag, *fingerprint);
            let interval = tag.interval.map_or(0, |interval| seconds(interval).max(1));
            follows.push(Follow { source, interval });
            let entry = self.sources.get_mut(source.0);
            let recorded = &tag.recorded;
            if let Some(entry) = entry
                && !entry.settled.covers(&recorded.image, recorded.failure.as_deref())
            {
                entry.settled = Settled::Nothing;
                entry.is_touched = true;
            }
        }
        let before = match self.streams.get_mut(stream.0) {
            Some(stream) => std::mem::replace(&mut stream.follows, follows.clone().into()),
            None => Box::default(),
        };
        // First what is added, so that what stays is never without followers.
        for (position, follow) in follows.iter().enumerate() {
            // Not looked up among the followers: there may be many.
            let mut known = before.iter().chain(&follows[..position]);
            let is_known = known.any(|known| known.source == follow.source);
            if let Some(source) = self.sources.get_mut(follow.source.0) {
                source.tags += 1;
                if !is_known {
                    source.followers.push(stream);
                }
            }
            if !before.contains(follow) && !changes.planned.contains(&follow.source) {
                changes.planned.push(follow.source);
            }
        }
        for follow in &*before {
            let is_left = !follows.iter().any(|now| now.source == follow.source);
            let is_unused = self.sources.get_mut(follow.source.0).is_some_and(|source| {
                source.tags -= 1;
                if is_left {
                    source.followers.retain(|follower| *follower != stream);
                }
                source.tags == 0
            });
            if is_unused {
                self.end(follow.source);
                changes.ended.push(follow.source);
            } else if !follows.contains(follow) && !changes.planned.contains(&follow.source) {
                changes.planned.push(follow.source);
            }
        }
        self.tags = self.tags + follows.len() - before.len();
        if follows.is_empty() {
            self.streams.remove(stream.0);
            self.by_key.remove(key);
        }
        changes
    }

    fn source_of(&mut self, tag: &Followed, fingerprint: Fingerprint) -> SourceId {
        let first = self.by_name.get(&*tag.source).copied();
        let mut next = first;
        while let Some((id, source)) = next.and_then(|id| Some((id, self.sources.get(id.0)?))) {
            if source.fingerprint == fingerprint && source.insecure == tag.insecure {
                return id;
            }
            next = source.sibling;
        }
        let name = match first.and_then(|id| self.sources.get(id.0)) {
            Some(sibling) => Arc::clone(&sibling.name),
            None => tag.source.as_str().into(),
        };
        let id = SourceId(self.sources.insert(Source {
            name: Arc::clone(&name),
            insecure: tag.insecure,
            fingerprint,
            settled: Settled::Nothing,
            is_touched: true,
            looked: 0,
            moved: 0,
            tags: 0,
            followers: Vec::new(),
            sibling: first,
        }));
        self.by_name.insert(name, id);
        id
    }

    /// Forgets a source that nobody follows.
    fn end(&mut self, id: SourceId) {
        let Some(source) = self.sources.remove(id.0) else {
            return;
        };
        match self.by_name.get(&source.name).copied() {
            Some(first) if first == id => match source.sibling {
                Some(sibling) => {
                    self.by_name.insert(source.name, sibling);
                }
                None => {
                    self.by_name.remove(&source.name);
                }
            },
            mut before => {
                while let Some(entry) = before.and_then(|before| self.sources.get_mut(before.0)) {
                    if entry.sibling == Some(id) {
                        entry.sibling = source.sibling;
                        break;
                    }
                    before = entry.sibling;
                }
            }
        }
    }

    pub(super) fn source(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(id.0)
    }

    pub(super) fn source_mut(&mut self, id: SourceId) -> Option<&mut Source> {
        self.sources.get_mut(id.0)
    }

    /// The sources of a name, whoever asks for them.
    pub(super) fn named(&self, name: &str) -> Vec<SourceId> {
        let mut found = Vec::new();
        let mut next = self.by_name.get(name).copied();
        while let Some((id, source)) = next.and_then(|id| Some((id, self.sources.get(id.0)?))) {
            found.push(id);
            next = source.sibling;
        }
        found
    }

    /// The streams that follow a source.
    pub(super) fn followers(&self, id: SourceId) -> Vec<StreamKey> {
        let followers = self.source(id).map(|source| &source.followers[..]);
        let streams = followers.unwrap_or_default().iter();
        streams
            .filter_map(|stream| Some(self.streams.get(stream.0)?.key.clone()))
            .collect()
    }

    /// One of the streams that follow a source.
    pub(super) fn a_follower(&self, id: SourceId) -> Option<&StreamKey> {
        let stream = self.source(id)?.followers.first()?;
        Some(&self.streams.get(stream.0)?.key)
    }

    /// How often a source is wanted to be looked at: the shortest of what its followers ask for; those who ask for
    /// nothing want `default`.
    pub(super) fn interval(&self, id: SourceId, default: Duration) -> Duration {
        let followers = self.source(id).map(|source| &source.followers[..]);
        let streams = followers
            .unwrap_or_default()
            .iter()
            .filter_map(|stream| self.streams.get(stream.0));
        let follows = streams.flat_map(|stream| stream.follows.iter());
        let wanted = follows.filter(|follow| follow.source == id).map(|follow| {
            if follow.interval == 0 {
                default
            } else {
                Duration::from_secs(u64::from(follow.interval))
            }
        });
        wanted.min().unwrap_or(default)
    }

    /// What a stream follows.
    pub(super) fn sources_of(&self, key: &StreamKey) -> Vec<SourceId> {
        let stream = self.by_key.get(key).and_then(|id| self.streams.get(id.0));
        let follows = stream.map(|stream| &stream.follows[..]).unwrap_or_default();
        follows.iter().map(|follow| follow.source).collect()
    }

    /// The streams.
    pub(super) fn keys(&self) -> BTreeSet<StreamKey> {
        self.by_key.keys().cloned().collect()
    }

    /// Streams of a namespace (all: empty) after the one that is named, in order.
    pub(super) fn streams_after<'a>(
        &'a self,
        namespace: &'a str,
        last: Option<&StreamKey>,
    ) -> impl Iterator<Item = &'a StreamKey> {
        let first = StreamKey {
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        let from = match last {
            Some(last) if *last >= first => Bound::Excluded(last.clone()),
            _ => Bound::Included(first),
        };
        self.by_key
            .range((from, Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(move |key| namespace.is_empty() || key.namespace == namespace)
    }

    /// All sources that are followed.
    pub(super) fn sources(&self) -> impl Iterator<Item = (SourceId, &Source)> {
        let slots = (0..).zip(&self.sources.slots);
        slots.filter_map(|(id, slot)| Some((SourceId(id), slot.as_ref()?)))
    }

    /// How many streams follow something.
    pub(super) fn stream_count(&self) -> usize {
        self.by_key.len()
    }

    /// How many tags follow something.
    pub(super) fn tags(&self) -> usize {
        self.tags
    }

    /// How many sources are followed.
    pub(super) fn source_count(&self) -> usize {
        self.sources.used
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Values by small numbers that are used again.
#[derive(Debug)]
struct Slab<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    used: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            used: 0,
        }
    }
}

impl<T> Slab<T> {
    fn insert(&mut self, value: T) -> u32 {
        self.used += 1;
        if let Some(id) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(id as usize)
        {
            *slot = Some(value);
            return id;
        }
        self.slots.push(Some(value));
        // There is no memory for as many.
        u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
    }

    fn remove(&mut self, id: u32) -> Option<T> {
        let removed = self.slots.get_mut(id as usize)?.take()?;
        self.free.push(id);
        self.used -= 1;
        Some(removed)
    }

    fn get(&self, id: u32) -> Option<&T> {
        self.slots.get(id as usize)?.as_ref()
    }

    fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.slots.get_mut(id as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests;
