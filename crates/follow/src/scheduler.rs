//! Says what is to be done next, and takes in how it went.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use hashbrown::DefaultHashBuilder;
use slab::Slab;

use crate::host::{Host, Next, doubled};
use crate::options::Options;
use crate::quota::Feedback;
use crate::report::Last;
use crate::source::{Followed, Source, SourceId, What};
use crate::table::{NONE, State, Table};
use crate::time::{Millis, millis};

mod phase;
mod pokes;
mod reports;
mod visits;

/// Most requests of one import that count.
const MOST_REQUESTS: u32 = 10_000;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// Ask whether the source has moved, with one request; then call [`Scheduler::asked`].
    Ask(SourceId),
    /// The source has moved: import it for all who follow it; then call [`Scheduler::fetched`].
    Fetch(SourceId),
    /// The source is due, but its host has not been reached for a while and is left alone: tell those who follow it;
    /// then call [`Scheduler::told`]. It is asked when the host answers again.
    Tell(SourceId),
    /// Nothing before that moment; nothing at all if absent. Any other call may bring it forward.
    Wait(Option<Millis>),
}

/// How a question went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The source is where all who follow it have it.
    Unchanged,
    /// It is not.
    Moved,
    /// It must be read to know that. What is known to have moved is read first.
    Unsure,
    /// Nobody knows.
    Failed(Failure),
}

pub use visits::Visit;

/// How an import went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// All who follow the source have what it is; whether that is new to one of them.
    Done {
        /// Something was recorded.
        changed: bool,
    },
    /// It failed. After [`Failure::RateLimited`] it is tried again as soon as the host allows it.
    Failed(Failure),
}

/// Why something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There is no such tag or repository.
    NotFound,
    /// The credential does not allow it.
    Unauthorized,
    /// The host does not answer.
    Unreachable,
    /// The host is asked too often.
    RateLimited,
    /// Anything else.
    Other,
}

/// Who follows what, and what is due.
#[derive(Debug)]
pub struct Scheduler {
    options: Options,
    interval_ms: u32,
    table: Table,
    hosts: Slab<Host>,
    host_index: HashMap<Box<str>, u32, DefaultHashBuilder>,
    /// So many hosts there may be before those are forgotten that nothing is followed at.
    most_hosts: usize,
    /// Hosts by when they are to be looked at; in turn where that is the same moment.
    queue: BinaryHeap<Reverse<(Millis, u64, u32)>>,
    turn: u64,
}

impl Scheduler {
    /// A scheduler of nothing.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            interval_ms: clamped(options.interval, &options),
            options,
            table: Table::default(),
            hosts: Slab::new(),
            host_index: HashMap::default(),
            most_hosts: 0,
            queue: BinaryHeap::new(),
            turn: 0,
        }
    }

    /// Says what a stream follows, in place of what it followed before. Saying the same again changes nothing. Of tags that
    /// are named twice the first counts.
    pub fn set_stream<'a>(
        &mut self,
        stream: &str,
        followed: impl IntoIterator<Item = Followed<'a>>,
        now: Millis,
    ) {
        self.forget_hosts(now);
        let known = self.table.find_stream(stream);
        let mut before: HashMap<Box<str>, u32, DefaultHashBuilder> = HashMap::default();
        if let Some(known) = known {
            for id in &self.table.streams[known as usize].followers {
                before.insert(self.table.followers[*id as usize].tag.clone(), *id);
            }
        }
        let mut after: HashMap<&'a str, u32, DefaultHashBuilder> = HashMap::default();
        let mut order = Vec::new();
        let mut changed = Vec::new();
        let mut stream_id = known.unwrap_or(NONE);
        for wanted in followed {
            if after.contains_key(wanted.tag) {
                continue;
            }
            let interval_ms = wanted
                .interval
                .map_or(0, |interval| clamped(interval, &self.options));
            let kept = before.get(wanted.tag).copied().filter(|id| {
                let follower = &self.table.followers[*id as usize];
                let host = self.host_index.get(wanted.source.host).copied();
                follower.interval_ms == interval_ms && self.table.is(follower.source, host, &wanted.source)
            });
            let id = if let Some(id) = kept {
                before.remove(wanted.tag);
                id
            } else {
                if stream_id == NONE {
                    stream_id = self.table.stream(stream);
                }
                let (source, is_new) = self.intern(&wanted.source);
                let id = self.table.follow(stream_id, source, wanted.tag, interval_ms);
                if let Some(host) = self.host_of(source) {
                    host.followers += 1;
                }
                changed.push((source, is_new, interval_ms));
                id
            };
            after.insert(wanted.tag, id);
            order.push(id);
        }
        for (source, is_new, interval_ms) in changed {
            self.adapt(source, is_new, interval_ms, now);
        }
        for id in before.into_values() {
            self.unfollow(id, now);
        }
        if order.is_empty() {
            self.table.forget_stream(stream_id);
        } else {
            self.table.streams[stream_id as usize].followers = order.into_boxed_slice();
        }
    }

    /// Forgets a stream.
    pub fn remove_stream(&mut self, stream: &str, now: Millis) {
        self.set_stream(stream, [], now);
    }

    /// What is to be done now. It counts as under way from then on.
    pub fn poll(&mut self, now: Millis) -> Poll {
        while let Some(Reverse((at, turn, id))) = self.queue.peek().copied() {
            let is_current = self
                .hosts
                .get(id as usize)
                .is_some_and(|host| host.place == Some((at, turn)));
            if is_current && at > now {
                return Poll::Wait(Some(at));
            }
            self.queue.pop();
            if !is_current {
                continue;
            }
            let host = &mut self.hosts[id as usize];
            host.place = None;
            match host.next(id, &mut self.table, &self.options.host, now) {
                Next::Ask(source) => {
                    self.look_at(id, now);
                    return Poll::Ask(SourceId(source));
                }
                Next::Fetch(source) => {
                    self.look_at(id, now);
                    return Poll::Fetch(SourceId(source));
                }
                Next::Tell(source) => {
                    self.look_at(id, now);
                    return Poll::Tell(SourceId(source));
                }
                Next::At(Some(at)) => self.look_at(id, at),
                Next::At(None) => {}
            }
        }
        Poll::Wait(None)
    }

    /// A question was answered.
    pub fn asked(&mut self, source: SourceId, now: Millis, outcome: Asked, feedback: &Feedback) {
        let SourceId(id) = source;
        let Some(entry) = self
            .table
            .source_mut(id)
            .filter(|entry| entry.state == State::Asking)
        else {
            return;
        };
        entry.state = State::Waiting;
        entry.last_check = now.seconds();
        if outcome == Asked::Unchanged {
            entry.outcome = Last::Unchanged;
        }
        let is_followed = entry.followers > 0;
        let Some(host_id) = self.table.host_of(id) else {
            return;
        };
        let host = &mut self.hosts[host_id as usize];
        host.asking -= 1;
        host.allowance.checked(feedback.quota.as_ref(), now);
        let failure = match outcome {
            Asked::Failed(failure) => Some(failure),
            Asked::Unchanged | Asked::Moved | Asked::Unsure => None,
        };
        heard(host, failure, feedback, self.options.interval, now);
        host.release(host_id, &mut self.table);
        if !is_followed {
            self.forget(id);
        } else if matches!(outcome, Asked::Moved | Asked::Unsure) {
            let is_unsure = outcome == Asked::Unsure;
            if let Some(entry) = self.table.source_mut(id) {
                entry.outcome = if is_unsure { Last::Unsure } else { Last::Moved };
                entry.state = State::Queued;
                entry.unsure = is_unsure;
            }
            host.queue_moved(id, is_unsure, false);
        } else {
            self.settle(id, failure, now);
        }
        self.look_at(host_id, now);
    }

    /// An import ended, which took so many requests that the host may count.
    pub fn fetched(
        &mut self,
        source: SourceId,
        now: Millis,
        outcome: Fetched,
        requests: u32,
        feedback: &Feedback,
    ) {
        let SourceId(id) = source;
        let Some(entry) = self
            .table
            .source_mut(id)
            .filter(|entry| entry.state == State::Fetching)
        else {
            return;
        };
        entry.state = State::Waiting;
        if outcome == (Fetched::Done { changed: true }) {
            entry.last_change = now.seconds();
        }
        let (is_followed, is_unsure) = (entry.followers > 0, entry.unsure);
        let Some(host_id) = self.table.host_of(id) else {
            return;
        };
        let host = &mut self.hosts[host_id as usize];
        host.fetching -= 1;
        host.allowance.fetch_ended(requests, feedback.quota.as_ref(), now);
        let failure = match outcome {
            Fetched::Failed(failure) => Some(failure),
            Fetched::Done { .. } => None,
        };
        if failure == Some(Failure::RateLimited) {
            host.allowance.fetch_refused(feedback.retry_after, now);
            host.reached(now);
        } else {
            host.allowance.fetch_accepted();
            heard(host, failure, feedback, self.options.interval, now);
        }
        host.release(host_id, &mut self.table);
        if !is_followed {
            self.forget(id);
        } else if failure == Some(Failure::RateLimited) {
            if let Some(entry) = self.table.source_mut(id) {
                entry.state = State::Queued;
            }
            host.queue_moved(id, is_unsure, true);
        } else {
            self.settle(id, failure, now);
        }
        self.look_at(host_id, now);
    }

    /// Something for a source took so many requests beside the one that every question and import is taken to be: they
    /// count as checks of its host, and what is next waits for as long as they would have.
    pub fn sent(&mut self, source: SourceId, more: u32, now: Millis) {
        if let Some(host) = self.host_of(source.0) {
            host.sends(more.min(MOST_REQUESTS), now);
        }
    }

    /// Those who follow a source know that its host can't be reached.
    pub fn told(&mut self, source: SourceId, now: Millis) {
        let SourceId(id) = source;
        let Some(entry) = self
            .table
            .source_mut(id)
            .filter(|entry| entry.state == State::Telling)
        else {
            return;
        };
        entry.outcome = Last::Failed(Failure::Unreachable);
        entry.state = State::Held;
        // In the queue of what is due when it was not yet.
        entry.key = entry.key.min(now);
        let is_followed = entry.followers > 0;
        let Some(host_id) = self.table.host_of(id) else {
            return;
        };
        let host = &mut self.hosts[host_id as usize];
        host.telling -= 1;
        host.hold(id);
        // It may answer again by now.
        host.release(host_id, &mut self.table);
        if !is_followed {
            self.forget(id);
        }
        self.look_at(host_id, now);
    }

    /// What a source is.
    #[must_use]
    pub fn source(&self, source: SourceId) -> Option<Source<'_>> {
        let entry = self.table.source(source.0)?;
        let repository = &self.table.repositories[entry.repository as usize];
        Some(Source {
            host: &self.hosts[repository.host as usize].name,
            repository: &repository.name,
            what: entry.tag.as_deref().map_or(What::Tags, What::Tag),
            credential: entry.credential,
            insecure: entry.insecure,
        })
    }

    /// All sources that are followed, in no particular order.
    pub fn all_sources(&self) -> impl Iterator<Item = Source<'_>> {
        let ids = self.table.sources.iter().map(|(id, _)| id);
        ids.filter_map(|id| self.source(SourceId(u32::try_from(id).ok()?)))
    }

    /// Who follows a source: streams and their tags, in no particular order.
    pub fn followers(&self, source: SourceId) -> impl Iterator<Item = (&str, &str)> {
        self.table.followers_of(source.0).map(|follower| {
            let stream = &self.table.streams[follower.stream as usize];
            (&*stream.name, &*follower.tag)
        })
    }

    /// How many tags of streams follow something.
    #[must_use]
    pub fn tags(&self) -> usize {
        self.table.followers.len()
    }

    /// How many sources they follow.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.table.sources.len()
    }

    fn host_of(&mut self, source: u32) -> Option<&mut Host> {
        let host = self.table.host_of(source)?;
        self.hosts.get_mut(host as usize)
    }

    fn intern(&mut self, source: &Source<'_>) -> (u32, bool) {
        let host = if let Some(host) = self.host_index.get(source.host) {
            *host
        } else {
            self.insert_host(source.host)
        };
        let (id, is_new) = self.table.intern(host, source);
        if is_new {
            self.hosts[host as usize].sources += 1;
        }
        (id, is_new)
    }

    fn unfollow(&mut self, follower: u32, now: Millis) {
        let interval_ms = self.table.followers[follower as usize].interval_ms;
        let source = self.table.unfollow(follower);
        if let Some(host) = self.host_of(source) {
            host.followers -= 1;
        }
        let Some(entry) = self.table.source(source) else {
            return;
        };
        match (entry.followers, entry.state) {
            (0, State::Waiting | State::Queued | State::Held) => self.forget(source),
            // It is forgotten when what is under way for it has ended.
            (0, State::Asking | State::Fetching | State::Telling) => {
                if let Some(entry) = self.table.source_mut(source) {
                    entry.interval_ms = 0;
                }
            }
            _ => self.adapt(source, false, interval_ms, now),
        }
    }

    fn forget(&mut self, id: u32) {
        let Some(host_id) = self.table.host_of(id) else {
            return;
        };
        let host = &mut self.hosts[host_id as usize];
        host.drop_moved(id);
        host.sources -= 1;
        // Who follows it anew, or visits it, leaves it alone as long as it asked for. It is forgotten in time.
        let is_last = host.sources == 0 && host.visiting == 0 && host.paused_until == Millis(0);
        self.table.forget(id);
        if is_last {
            let host = self.hosts.remove(host_id as usize);
            self.host_index.remove(&host.name);
        }
    }

    /// Takes in that one who asks for this interval (0: for none) follows a source from now on, or no more: how often it
    /// is asked, and when next.
    fn adapt(&mut self, id: u32, is_new: bool, interval_ms: u32, now: Millis) {
        let default = self.interval_ms;
        let or_default = |interval_ms: u32| if interval_ms == 0 { default } else { interval_ms };
        let Some(entry) = self.table.source(id) else {
            return;
        };
        let (one, present) = (or_default(interval_ms), entry.interval_ms);
        // There may be a hundred thousand who follow it: they are looked at only if the interval may change, and no
        // further than to the first who asks for what it is.
        let least = if present != 0 && one != present {
            one.min(present)
        } else {
            let mut least = u32::MAX;
            for follower in self.table.followers_of(id) {
                least = least.min(or_default(follower.interval_ms));
                if least <= present {
                    break;
                }
            }
            least
        };
        let Some(entry) = self.table.source_mut(id) else {
            return;
        };
        entry.interval_ms = least;
        // What is due stays due.
        if (is_new || (least != present && entry.due > now)) && entry.state == State::Waiting {
            self.due_in_turn(id, now);
        }
    }

    /// Has a source wait until it is due again after what happened to it.
    fn settle(&mut self, id: u32, failure: Option<Failure>, now: Millis) {
        let Some(entry) = self.table.source_mut(id) else {
            return;
        };
        entry.state = State::Waiting;
        if let Some(failure) = failure {
            entry.outcome = Last::Failed(failure);
            if failure == Failure::RateLimited {
                // It is still due. When, is up to its host.
                let key = entry.due;
                entry.key = key;
                self.wait(id, key);
                return;
            }
            entry.failures = entry.failures.saturating_add(1);
        } else {
            entry.failures = 0;
        }
        if std::mem::take(&mut entry.again) {
            let at = Millis(now.0.max(
                Millis::of_seconds(entry.last_poke).unwrap_or_default().0
                    + millis(self.options.poke_interval),
            ));
            entry.last_poke = at.seconds();
            (entry.due, entry.key) = (at, at);
            self.wait(id, at);
            return;
        }
        self.due_in_turn(id, now);
    }

    /// Has a source wait for its moment in the interval; for less if it failed in a way that may pass.
    fn due_in_turn(&mut self, id: u32, now: Millis) {
        let Some(entry) = self.table.source(id) else {
            return;
        };
        let repository = &self.table.repositories[entry.repository as usize];
        let host = &self.hosts[repository.host as usize].name;
        let phase = phase::of(host, &repository.name, entry.tag.as_deref());
        let mut due = phase::next(phase, u64::from(entry.interval_ms), now);
        if let Last::Failed(Failure::Unreachable | Failure::Other) = entry.outcome {
            let longest = Duration::from_millis(entry.interval_ms.into());
            let pause = doubled(self.options.minimum_interval, entry.failures.into(), longest);
            // Up to a tenth more, so that what failed together is not tried again together.
            let jitter = pause.mul_f64(phase::share(phase, entry.failures) / 10.0);
            due = due.min(now.after(pause + jitter));
        }
        if let Some(entry) = self.table.source_mut(id) {
            (entry.due, entry.key) = (due, due);
        }
        self.wait(id, due);
    }

    /// Queues a source with its host.
    fn wait(&mut self, id: u32, key: Millis) {
        let Some(host) = self.table.host_of(id) else {
            return;
        };
        self.hosts[host as usize].wait(id, key, &self.table, host);
        self.look_at(host, key);
    }

    /// Has a host be looked at, at the latest at that moment.
    fn look_at(&mut self, host_id: u32, at: Millis) {
        let Some(host) = self.hosts.get_mut(host_id as usize) else {
            return;
        };
        if host.place.is_some_and(|(place, _)| place <= at) {
            return;
        }
        self.turn += 1;
        host.place = Some((at, self.turn));
        self.queue.push(Reverse((at, self.turn, host_id)));
    }
}

/// Takes in what an answer says of its host.
fn heard(host: &mut Host, failure: Option<Failure>, feedback: &Feedback, interval: Duration, now: Millis) {
    host.failures += u64::from(failure.is_some_and(|failure| failure != Failure::RateLimited));
    if feedback.refused || failure == Some(Failure::RateLimited) {
        host.refused(feedback.retry_after, now);
    } else if failure == Some(Failure::Unreachable) {
        host.not_reached(interval, now);
    } else {
        host.reached(now);
    }
}

/// An interval in milliseconds, within the bounds of the options.
fn clamped(interval: Duration, options: &Options) -> u32 {
    let interval = interval.max(options.minimum_interval).min(Options::LONGEST);
    u32::try_from(interval.as_millis().max(1)).unwrap_or(u32::MAX)
}
