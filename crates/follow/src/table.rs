//! Who follows what: streams, the tags of theirs that follow something, sources and repositories. Each text is kept once.
//!
//! There may be millions of entries, so that each is small: they name each other by 32-bit numbers, and the indices
//! hold nothing but these.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;

use crate::report::Last;
use crate::source::{Source, What};
use crate::time::Millis;

/// No entry.
pub(crate) const NONE: u32 = u32::MAX;

/// A source and when it is due.
#[derive(Debug)]
pub(crate) struct SourceEntry {
    pub(crate) repository: u32,
    /// Where it is in its repository's list.
    position: u32,
    /// The tag; absent for the list of tags.
    pub(crate) tag: Option<Box<str>>,
    pub(crate) credential: u64,
    pub(crate) insecure: bool,
    /// The first of those who follow it.
    first: u32,
    pub(crate) followers: u32,
    /// When it is to be asked.
    pub(crate) due: Millis,
    /// What orders it among those of its host; not before that moment.
    pub(crate) key: Millis,
    pub(crate) interval_ms: u32,
    pub(crate) last_check: u32,
    pub(crate) last_change: u32,
    pub(crate) last_poke: u32,
    pub(crate) failures: u8,
    pub(crate) outcome: Last,
    pub(crate) state: State,
    /// It was poked while it was being asked.
    pub(crate) again: bool,
    /// It is not known whether it has moved, only that it must be read to know.
    pub(crate) unsure: bool,
}

/// What is under way for a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for its time.
    Waiting,
    /// It is being asked.
    Asking,
    /// It has moved, or may have, and waits to be fetched.
    Queued,
    /// It is being fetched.
    Fetching,
    /// Those who follow it are being told that its host can't be reached.
    Telling,
    /// They know; it is asked when its host answers again.
    Held,
}

#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) host: u32,
    pub(crate) name: Box<str>,
    pub(crate) sources: Vec<u32>,
    /// When it was asked as a whole because of a push, or will be.
    pub(crate) poked: Millis,
}

/// A tag of a stream that follows a source.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) source: u32,
    pub(crate) stream: u32,
    pub(crate) tag: Box<str>,
    /// 0 if it asks for none.
    pub(crate) interval_ms: u32,
    previous: u32,
    next: u32,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: Box<str>,
    pub(crate) followers: Box<[u32]>,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    hasher: DefaultHashBuilder,
    pub(crate) repositories: Slab<Repository>,
    repository_index: HashTable<u32>,
    pub(crate) sources: Slab<SourceEntry>,
    source_index: HashTable<u32>,
    pub(crate) followers: Slab<Follower>,
    pub(crate) streams: Slab<Stream>,
    stream_index: HashTable<u32>,
}

impl Table {
    fn hash(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(crate) fn source(&self, id: u32) -> Option<&SourceEntry> {
        self.sources.get(id as usize)
    }

    pub(crate) fn source_mut(&mut self, id: u32) -> Option<&mut SourceEntry> {
        self.sources.get_mut(id as usize)
    }

    /// The host of a source.
    pub(crate) fn host_of(&self, id: u32) -> Option<u32> {
        let source = self.source(id)?;
        self.repositories
            .get(source.repository as usize)
            .map(|repository| repository.host)
    }

    pub(crate) fn find_repository(&self, host: u32, name: &str) -> Option<u32> {
        let hash = self.hash((host, name));
        let found = self.repository_index.find(hash, |id| {
            let repository = &self.repositories[*id as usize];
            repository.host == host && *repository.name == *name
        });
        found.copied()
    }

    fn repository(&mut self, host: u32, name: &str) -> u32 {
        if let Some(found) = self.find_repository(host, name) {
            return found;
        }
        let id = number(self.repositories.insert(Repository {
            host,
            name: name.into(),
            sources: Vec::new(),
            poked: Millis(0),
        }));
        let (hasher, repositories) = (&self.hasher, &self.repositories);
        let hash = |id: &u32| {
            let repository = &repositories[*id as usize];
            hasher.hash_one((repository.host, &*repository.name))
        };
        self.repository_index.insert_unique(hash(&id), id, hash);
        id
    }

    /// Every source of a repository that is this tag, or its list of tags: one for each credential.
    pub(crate) fn sources_of(&self, repository: u32, tag: Option<&str>) -> impl Iterator<Item = u32> + '_ {
        let hash = self.hash((repository, tag));
        let tag: Option<Box<str>> = tag.map(Into::into);
        self.source_index.iter_hash(hash).copied().filter(move |id| {
            let source = &self.sources[*id as usize];
            source.repository == repository && source.tag == tag
        })
    }

    /// The number of a source of a host, and whether it is new. One that is new is due at once.
    pub(crate) fn intern(&mut self, host: u32, wanted: &Source<'_>) -> (u32, bool) {
        let repository = self.repository(host, wanted.repository);
        let tag = match wanted.what {
            What::Tag(tag) => Some(tag),
            What::Tags => None,
        };
        let hash = self.hash((repository, tag));
        let found = self.source_index.find(hash, |id| {
            let source = &self.sources[*id as usize];
            source.repository == repository
                && source.tag.as_deref() == tag
                && source.credential == wanted.credential
                && source.insecure == wanted.insecure
        });
        if let Some(found) = found {
            return (*found, false);
        }
        let of_repository = &mut self.repositories[repository as usize].sources;
        let id = number(self.sources.insert(SourceEntry {
            repository,
            position: number(of_repository.len()),
            tag: tag.map(Into::into),
            credential: wanted.credential,
            insecure: wanted.insecure,
            first: NONE,
            followers: 0,
            due: Millis(0),
            key: Millis(0),
            interval_ms: 0,
            last_check: 0,
            last_change: 0,
            last_poke: 0,
            failures: 0,
            outcome: Last::Never,
            state: State::Waiting,
            again: false,
            unsure: false,
        }));
        of_repository.push(id);
        let (hasher, sources) = (&self.hasher, &self.sources);
        self.source_index.insert_unique(hash, id, |id| {
            let source = &sources[*id as usize];
            hasher.hash_one((source.repository, source.tag.as_deref()))
        });
        (id, true)
    }

    /// Forgets a source that nobody follows.
    pub(crate) fn forget(&mut self, id: u32) {
        let Some(source) = self.sources.try_remove(id as usize) else {
            return;
        };
        let hash = self.hash((source.repository, source.tag.as_deref()));
        if let Ok(entry) = self.source_index.find_entry(hash, |found| *found == id) {
            entry.remove();
        }
        let repository = &mut self.repositories[source.repository as usize];
        repository.sources.swap_remove(source.position as usize);
        if let Some(moved) = repository.sources.get(source.position as usize) {
            self.sources[*moved as usize].position = source.position;
        }
        if repository.sources.is_empty() {
            let hash = self.hash((
                self.repositories[source.repository as usize].host,
                &*self.repositories[source.repository as usize].name,
            ));
            if let Ok(entry) = self
                .repository_index
                .find_entry(hash, |found| *found == source.repository)
            {
                entry.remove();
            }
            self.repositories.remove(source.repository as usize);
        }
    }

    pub(crate) fn find_stream(&self, name: &str) -> Option<u32> {
        let hash = self.hash(name);
        let found = self
            .stream_index
            .find(hash, |id| *self.streams[*id as usize].name == *name);
        found.copied()
    }

    pub(crate) fn stream(&mut self, name: &str) -> u32 {
        if let Some(found) = self.find_stream(name) {
            return found;
        }
        let id = number(self.streams.insert(Stream {
            name: name.into(),
            followers: Box::default(),
        }));
        let (hasher, streams) = (&self.hasher, &self.streams);
        let hash = |id: &u32| hasher.hash_one(&*streams[*id as usize].name);
        self.stream_index.insert_unique(hash(&id), id, hash);
        id
    }

    pub(crate) fn forget_stream(&mut self, id: u32) {
        let Some(stream) = self.streams.try_remove(id as usize) else {
            return;
        };
        let hash = self.hash(&*stream.name);
        if let Ok(entry) = self.stream_index.find_entry(hash, |found| *found == id) {
            entry.remove();
        }
    }

    /// Has a tag of a stream follow a source.
    pub(crate) fn follow(&mut self, stream: u32, source: u32, tag: &str, interval_ms: u32) -> u32 {
        let entry = &mut self.sources[source as usize];
        let next = entry.first;
        let id = number(self.followers.insert(Follower {
            source,
            stream,
            tag: tag.into(),
            interval_ms,
            previous: NONE,
            next,
        }));
        entry.first = id;
        entry.followers += 1;
        if let Some(next) = self.followers.get_mut(next as usize) {
            next.previous = id;
        }
        id
    }

    /// Ends that; returns the source.
    pub(crate) fn unfollow(&mut self, id: u32) -> u32 {
        let follower = self.followers.remove(id as usize);
        let entry = &mut self.sources[follower.source as usize];
        entry.followers -= 1;
        if let Some(previous) = self.followers.get_mut(follower.previous as usize) {
            previous.next = follower.next;
        } else {
            entry.first = follower.next;
        }
        if let Some(next) = self.followers.get_mut(follower.next as usize) {
            next.previous = follower.previous;
        }
        follower.source
    }

    /// Those who follow a source, in no particular order.
    pub(crate) fn followers_of(&self, source: u32) -> impl Iterator<Item = &Follower> {
        let first = self.source(source).map_or(NONE, |source| source.first);
        let mut next = self.followers.get(first as usize);
        std::iter::from_fn(move || {
            let follower = next?;
            next = self.followers.get(follower.next as usize);
            Some(follower)
        })
    }

    /// Whether a source that is known is the one that is meant.
    pub(crate) fn is(&self, id: u32, host: Option<u32>, wanted: &Source<'_>) -> bool {
        let Some(source) = self.source(id) else {
            return false;
        };
        let repository = &self.repositories[source.repository as usize];
        let tag = match wanted.what {
            What::Tag(tag) => Some(tag),
            What::Tags => None,
        };
        Some(repository.host) == host
            && *repository.name == *wanted.repository
            && source.tag.as_deref() == tag
            && source.credential == wanted.credential
            && source.insecure == wanted.insecure
    }
}

/// Entries are counted with 32 bits: four thousand million are more than memory holds.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}
