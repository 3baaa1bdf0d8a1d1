//! What the scheduled import controller knows, where others see it: those who report it, and those who have heard that
//! something was pushed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imagestream_api::defaults::ImportMode;
use imagestream_api::stream::source::StreamKey;
use imagestream_follow::{
    Asked, Fetched, Followed as Follow, Millis, Options, Poll, Scheduler, Source, SourceId, What,
};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::clock::Clock;
use super::credentials::Fingerprint;
use super::followed::{Followed, Name};
use super::lists::Lists;
use super::look::{Looked, Outcome, Seen, Work};
use super::metrics::FollowMetrics;
use super::pushed::Pushed;
use super::settled::{Manifest, Settled};
use crate::controllers::rules::RuleBoard;

/// Pokes that wait to be heard. Others wait in the store.
const POKES: usize = 1_024;
/// Sources that may be remembered beside those that are followed.
const SPARE: usize = 4_096;

/// A source without the host that is asked for it, which may change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SourceKey {
    pub(super) name: Name,
    pub(super) insecure: bool,
    pub(super) fingerprint: Fingerprint,
}

/// What is remembered of a source.
#[derive(Debug, Default)]
struct Memory {
    settled: Settled,
    /// A stream that follows it, and is not where the others are, changed since the last look began.
    is_touched: bool,
}

/// What is known while the controller runs.
pub(super) struct State {
    pub(super) scheduler: Scheduler,
    /// What the scheduler counts in.
    pub(super) clock: Clock,
    /// Streams that follow something.
    pub(super) streams: BTreeSet<StreamKey>,
    pub(super) began: Timestamp,
    /// Looks that have ended.
    pub(super) looks: u64,
    /// By the hash of their key: there is one for each source, and names are long.
    memories: HashMap<u64, Memory>,
    hasher: RandomState,
    /// What sources that have moved were seen to name.
    moved: HashMap<SourceId, Seen>,
    /// Why hosts could not be reached.
    pub(super) causes: HashMap<String, String>,
    /// What earlier controllers have read, until it is known who follows what.
    lists: Lists,
    /// What was pushed a short while ago.
    pub(super) pushed: Pushed,
    metrics: Option<FollowMetrics>,
}

/// Something that is to be done.
pub(super) struct Begun {
    pub(super) id: SourceId,
    pub(super) key: SourceKey,
    pub(super) host: String,
    pub(super) settled: Settled,
    pub(super) work: Work,
    /// One of the namespaces whose credentials are used.
    pub(super) namespace: String,
}

/// Which kind of work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Ask,
    Fetch,
    Tell,
}

impl Done {
    pub(super) fn of(work: &Work) -> Self {
        match work {
            Work::Ask => Self::Ask,
            Work::Fetch(_) => Self::Fetch,
            Work::Tell(_) => Self::Tell,
        }
    }
}

/// What there is to do.
pub(super) enum Next {
    Look(Box<Begun>),
    Wait(Option<Duration>),
}

/// The board of one server. Empty while another server runs the controllers.
#[derive(Default)]
pub(crate) struct Board {
    running: Mutex<Option<Running>>,
    /// The lists that rules of streams are followed by.
    pub(in crate::controllers) rules: RuleBoard,
    metrics: Mutex<Option<FollowMetrics>>,
}

struct Running {
    state: Handle,
    pokes: mpsc::Sender<Name>,
}

/// The state, for whoever needs it for a moment.
#[derive(Clone)]
pub(super) struct Handle(Arc<Mutex<State>>);

impl Handle {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a running controller on the board, which it leaves when it ends.
pub(super) struct Place {
    board: Arc<Board>,
    state: Handle,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.board.running();
        // Its successor may already be there.
        if running
            .as_ref()
            .is_some_and(|running| Arc::ptr_eq(&running.state.0, &self.state.0))
        {
            *running = None;
        }
    }
}

impl Place {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn handle(&self) -> Handle {
        self.state.clone()
    }
}

impl Board {
    /// Counts what is done from now on.
    pub(crate) fn count_with(&self, metrics: FollowMetrics) {
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = Some(metrics);
    }

    /// A controller begins, with what earlier ones have read.
    pub(super) fn begin(self: &Arc<Self>, lists: Lists, options: Options) -> (Place, mpsc::Receiver<Name>) {
        let metrics = self
            .metrics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let state = Handle(Arc::new(Mutex::new(State {
            scheduler: Scheduler::new(options),
            clock: Clock::begin(),
            streams: BTreeSet::new(),
            began: Timestamp::now(),
            looks: 0,
            memories: HashMap::new(),
            hasher: RandomState::new(),
            moved: HashMap::new(),
            causes: HashMap::new(),
            lists,
            pushed: Pushed::default(),
            metrics,
        })));
        let (pokes, poked) = mpsc::channel(POKES);
        *self.running() = Some(Running {
            state: state.clone(),
            pokes,
        });
        let board = Arc::clone(self);
        (Place { board, state }, poked)
    }

    /// A controller begins at which a host has asked to be left alone for an hour.
    #[cfg(test)]
    pub(in crate::controllers) fn begin_with_a_host_that_refuses(
        self: &Arc<Self>,
        host: &str,
    ) -> impl Drop + use<> {
        let (place, _pokes) = self.begin(Lists::default(), Options::default());
        let mut state = place.lock();
        let now = state.clock.now();
        state.scheduler.visit(host, now);
        let said = imagestream_follow::Feedback {
            refused: true,
            retry_after: Some(Duration::from_secs(3600)),
            quota: None,
        };
        let failure = Some(imagestream_follow::Failure::RateLimited);
        state.scheduler.visited(host, now, failure, &said);
        drop(state);
        place
    }

    /// Something was pushed to a tag: `name` is a reference in any form. Whoever follows it looks at it soon. Whether that
    /// was heard; if not, the controller is not running or too many wait, and it has to be told again.
    pub(crate) fn poke(&self, name: &str) -> bool {
        let reference = imagestream_import::check::reference(name);
        let Some(name) = reference.and_then(|reference| Name::of(&reference)) else {
            // Nobody can follow it.
            return true;
        };
        let running = self.running();
        running
            .as_ref()
            .is_some_and(|running| running.pokes.try_send(name).is_ok())
    }

    /// Until when nothing is to be read from a host, as far as the schedule knows that the host does not want it.
    pub(in crate::controllers) fn reads_wait_until(&self, host: &str, now: Instant) -> Option<Instant> {
        let handle = self.state()?;
        let state = handle.lock();
        let clock = state.clock.now();
        let until = state.scheduler.reads_wait_until(host, clock)?;
        // A moment later, so that it is over then.
        Some(now + until.since(clock) + Duration::from_millis(1))
    }

    /// What is known, if this server runs the controllers.
    pub(super) fn state(&self) -> Option<Handle> {
        self.running().as_ref().map(|running| running.state.clone())
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a source is without its host; nothing if it is no tag.
fn key_of(source: &Source<'_>) -> Option<SourceKey> {
    let What::Tag(version) = source.what else {
        return None;
    };
    Some(SourceKey {
        name: Name {
            repository: source.repository.to_owned(),
            version: version.to_owned(),
        },
        insecure: source.insecure,
        fingerprint: Fingerprint(source.credential),
    })
}

/// A stream as the scheduler calls it.
pub(super) fn stream_name(key: &StreamKey) -> String {
    format!("{}/{}", key.namespace, key.name)
}

fn stream_key(name: &str) -> StreamKey {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    StreamKey {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

impl State {
    /// A stream follows these, and nothing else. `host` tells who is asked for a tag.
    pub(super) fn set(
        &mut self,
        key: &StreamKey,
        tags: &[(Followed, Fingerprint)],
        host: impl Fn(&Followed) -> String,
    ) {
        if tags.is_empty() {
            self.forget(key);
            return;
        }
        let hosts: Vec<String> = tags.iter().map(|(tag, _)| host(tag)).collect();
        let followed = tags.iter().zip(&hosts).map(|((tag, fingerprint), host)| Follow {
            tag: &tag.tag,
            source: Source {
                host,
                repository: &tag.name.repository,
                what: What::Tag(&tag.name.version),
                credential: fingerprint.0,
                insecure: tag.insecure,
            },
            interval: tag.interval,
        });
        let now = self.clock.now();
        let stream = stream_name(key);
        let late = self.late(&stream, tags, now);
        self.scheduler.set_stream(&stream, followed, now);
        for at in late {
            if let (Some((tag, _)), Some(host)) = (tags.get(at), hosts.get(at)) {
                let Name { repository, version } = &tag.name;
                self.scheduler.poke(host, repository, Some(version), now);
            }
        }
        self.streams.insert(key.clone());
        for (tag, fingerprint) in tags {
            let key = SourceKey {
                name: tag.name.clone(),
                insecure: tag.insecure,
                fingerprint: *fingerprint,
            };
            let hash = self.hasher.hash_one(&key);
            if let Some(Manifest { digest, member }) = self.lists.of(&tag.name) {
                // All that are seen from now on are compared with it.
                let remembered = Settled::current(digest, member);
                self.memories.entry(hash).or_insert_with(|| Memory {
                    settled: remembered,
                    is_touched: false,
                });
            }
            let recorded = &tag.recorded;
            let Some(memory) = self.memories.get_mut(&hash) else {
                continue;
            };
            memory.settled.keeps_lists |= tag.mode == ImportMode::PreserveOriginal;
            let covers = memory
                .settled
                .covers(&recorded.image, recorded.failure.as_deref());
            if !covers {
                memory.settled = memory.settled.unknown();
                memory.is_touched = true;
            }
        }
        self.forget_unfollowed();
    }

    /// Which of these tags of a stream were not followed when what they come from was pushed: what was imported may be what
    /// was there before, and nobody looks again before they are due.
    fn late(&self, stream: &str, tags: &[(Followed, Fingerprint)], now: Millis) -> Vec<usize> {
        let pushed = |(_, (tag, _)): &(usize, &(Followed, Fingerprint))| self.pushed.contains(&tag.name, now);
        let mut late: Vec<_> = tags.iter().enumerate().filter(pushed).collect();
        if !late.is_empty() {
            let known: HashSet<String> = self
                .scheduler
                .stream_report(stream, now)
                .map(|tag| tag.tag)
                .collect();
            late.retain(|(_, (tag, _))| !known.contains(&tag.tag));
        }
        late.into_iter().map(|(at, _)| at).collect()
    }

    /// Nobody says when a source is followed no more: what is remembered of it is dropped when that is a lot.
    fn forget_unfollowed(&mut self) {
        if self.memories.len() <= 2 * self.scheduler.sources() + SPARE {
            return;
        }
        let followed = self.scheduler.all_sources().filter_map(|source| key_of(&source));
        let followed: HashSet<u64> = followed.map(|key| self.hasher.hash_one(&key)).collect();
        self.memories.retain(|hash, _| followed.contains(hash));
        self.memories.shrink_to_fit();
    }

    /// Drops what is known of hosts that matter no more.
    pub(super) fn tidy(&mut self) {
        let now = self.clock.now();
        self.scheduler.tidy(now);
        let scheduler = &self.scheduler;
        self.causes.retain(|host, _| scheduler.knows(host));
    }

    /// What earlier controllers have read and nobody follows, once all streams were seen.
    pub(super) fn take_lists(&mut self) -> Lists {
        std::mem::take(&mut self.lists)
    }

    /// A stream follows nothing.
    pub(super) fn forget(&mut self, key: &StreamKey) {
        if self.streams.remove(key) {
            let now = self.clock.now();
            self.scheduler.remove_stream(&stream_name(key), now);
        }
    }

    /// The streams that follow a source.
    pub(super) fn followers(&self, id: SourceId) -> Vec<StreamKey> {
        let names: BTreeSet<&str> = self.scheduler.followers(id).map(|(stream, _)| stream).collect();
        names.into_iter().map(stream_key).collect()
    }

    /// What there is to do now.
    pub(super) fn next(&mut self) -> Next {
        let now = self.clock.now();
        let poll = self.scheduler.poll(now);
        let id = match poll {
            Poll::Ask(id) | Poll::Fetch(id) | Poll::Tell(id) => id,
            Poll::Wait(until) => return Next::Wait(until.map(|until| until.since(now))),
        };
        match self.begin(id, poll) {
            Some(begun) => Next::Look(Box::new(begun)),
            None => {
                // It is followed no more, which the scheduler finds out when it hears of it.
                let nothing = imagestream_follow::Feedback::default();
                match poll {
                    Poll::Fetch(_) => {
                        let done = Fetched::Done { changed: false };
                        self.scheduler.fetched(id, now, done, 0, &nothing);
                    }
                    Poll::Tell(_) => self.scheduler.told(id, now),
                    Poll::Ask(_) | Poll::Wait(_) => self.scheduler.asked(id, now, Asked::Unchanged, &nothing),
                }
                Next::Wait(Some(Duration::ZERO))
            }
        }
    }

    fn begin(&mut self, id: SourceId, poll: Poll) -> Option<Begun> {
        let source = self.scheduler.source(id)?;
        let (host, key) = (source.host.to_owned(), key_of(&source)?);
        let (stream, _) = self.scheduler.followers(id).next()?;
        let namespace = stream_key(stream).namespace;
        let work = match poll {
            // It stays until it is imported: a registry may want to be asked again later.
            Poll::Fetch(_) => Work::Fetch(self.moved.get(&id)?.clone()),
            Poll::Tell(_) => Work::Tell(self.causes.get(&host).cloned().unwrap_or_default()),
            Poll::Ask(_) | Poll::Wait(_) => Work::Ask,
        };
        let memory = self.memories.entry(self.hasher.hash_one(&key)).or_default();
        memory.is_touched = false;
        Some(Begun {
            id,
            key,
            host,
            settled: memory.settled,
            work,
            namespace,
        })
    }

    /// A look has ended.
    pub(super) fn ended(&mut self, id: SourceId, key: &SourceKey, host: &str, done: Done, looked: Looked) {
        let Looked {
            outcome,
            settled,
            feedback,
            gets,
            requests,
            cause,
        } = looked;
        if done != Done::Tell {
            self.looks += 1;
            if let Some(metrics) = &self.metrics {
                metrics.looked(host, &outcome);
            }
            match cause {
                Some(cause) => self.causes.insert(host.to_owned(), cause),
                None => self.causes.remove(host),
            };
        }
        if outcome != Outcome::RateLimited {
            self.moved.remove(&id);
        }
        let (now, feedback) = (self.clock.now(), super::look::told(&feedback));
        self.scheduler.sent(id, requests.saturating_sub(1), now);
        match done {
            Done::Fetch => {
                let fetched = match outcome {
                    Outcome::Imported { tags } => Fetched::Done { changed: tags > 0 },
                    Outcome::Unchanged | Outcome::Moved(_) | Outcome::Unsure(_) => {
                        Fetched::Done { changed: false }
                    }
                    Outcome::Failed(kind) => Fetched::Failed(kind.scheduled()),
                    Outcome::RateLimited => Fetched::Failed(imagestream_follow::Failure::RateLimited),
                };
                self.scheduler.fetched(id, now, fetched, gets, &feedback);
            }
            Done::Ask => {
                let asked = match outcome {
                    Outcome::Unchanged | Outcome::Imported { .. } => Asked::Unchanged,
                    Outcome::Moved(sighting) => {
                        self.moved.insert(id, Seen::now(sighting));
                        Asked::Moved
                    }
                    Outcome::Unsure(sighting) => {
                        self.moved.insert(id, Seen::now(sighting));
                        Asked::Unsure
                    }
                    Outcome::Failed(kind) => Asked::Failed(kind.scheduled()),
                    Outcome::RateLimited => Asked::Failed(imagestream_follow::Failure::RateLimited),
                };
                self.scheduler.asked(id, now, asked, &feedback);
            }
            Done::Tell => self.scheduler.told(id, now),
        }
        if let Some(memory) = self.memories.get_mut(&self.hasher.hash_one(key)) {
            // A stream that changed meanwhile may not be where the others are.
            memory.settled = if memory.is_touched {
                settled.unknown()
            } else {
                settled
            };
        }
    }

    /// Something was pushed to what is asked for at this host.
    pub(super) fn poke(&mut self, host: &str, name: &Name) {
        let now = self.clock.now();
        self.pushed.note(name, now);
        self.scheduler
            .poke(host, &name.repository, Some(&name.version), now);
    }
}
