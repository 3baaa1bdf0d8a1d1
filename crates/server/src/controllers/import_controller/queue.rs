//! Which streams are to be imported when. Knows no store and no registry; told what happens and when.
//!
//! Each stream is in the queue at most once and is never imported twice at the same time. A stream that has all that it
//! wants is not remembered at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use imagestream_api::status;
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::{ImageStream, ImageStreamImport, Status};
use tokio::time::Instant;

use super::backoff::{Delays, Kind};
use super::parked::{Obstacle, Parked};
use super::request::results;
use super::wanted::{Aim, Source, State, Wanted, Wants};

/// A stream that is written all the time is imported after so many quiet periods nevertheless.
const MOST_QUIET_PERIODS: u32 = 12;
/// First wait after an import that failed as a whole, doubled each time.
const FIRST_CALL_DELAY: Duration = Duration::from_millis(100);
/// Longest wait after such a failure.
const LONGEST_CALL_DELAY: Duration = Duration::from_secs(1000);
/// How often a source that failed before this server began counts as having failed.
const FAILURES_BEFORE: u32 = 3;

/// How patient the controller is.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// How long a stream must have been left alone before what is pending in it is imported.
    pub(super) quiet_period: Duration,
    pub(super) delays: Delays,
    /// The interval at which scheduled tags are looked at anyway, if they are: with the budgets of their hosts, which a
    /// second way of trying again what failed would only spoil.
    pub(super) schedule: Option<Duration>,
}

/// How the controller learned of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It was there when the controller began to look.
    Listed,
    /// It was written.
    Written,
    /// Its import has ended, or something else changed about when it may be imported.
    Again,
}

/// A try that failed.
#[derive(Debug)]
struct Attempt {
    aim: Aim,
    kind: Kind,
    failures: u32,
    not_before: Instant,
}

/// A stream that wants something.
#[derive(Debug)]
struct Followed {
    attempts: BTreeMap<Source, Attempt>,
    /// When it was last written by anybody else.
    written: Instant,
    /// The version of it that was last seen.
    revision: u64,
    /// What it asked for then.
    asked: Option<Aim>,
    /// Since when something is pending in it that could not be imported for want of quiet.
    pending_since: Option<Instant>,
    /// Imports in a row that failed as a whole.
    call_failures: u32,
    not_before: Instant,
    turn: Option<Turn>,
}

/// Where a stream is in the queue.
#[derive(Debug)]
enum Turn {
    /// It waits for this moment.
    At(Instant),
    /// It was due, and its hosts want to be left alone until this moment.
    PutOff(Instant),
    /// It has been due since then, and waits for something else.
    Parked(Instant, Obstacle),
    /// It was started when it was due since then.
    Running(Instant),
}

impl Followed {
    fn new(now: Instant) -> Self {
        Self {
            attempts: BTreeMap::new(),
            written: now,
            revision: 0,
            asked: None,
            pending_since: None,
            call_failures: 0,
            not_before: now,
            turn: None,
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.turn, Some(Turn::Running(_)))
    }

    /// When a source may be tried: nothing stands in the way of one that nobody has tried, and that the stream has
    /// settled on.
    fn ready(&self, source: &Source, wanted: &Wanted, quiet_period: Duration) -> Instant {
        match self.attempts.get(source) {
            Some(attempt) if attempt.aim == wanted.aim => attempt.not_before,
            _ => {
                let since = self.pending_since.unwrap_or(self.written);
                (self.written + quiet_period).min(since + quiet_period * MOST_QUIET_PERIODS)
            }
        }
    }
}

/// See the [module](self).
pub(super) struct Queue {
    pace: Pace,
    streams: HashMap<StreamKey, Followed>,
    due: BTreeSet<(Instant, StreamKey)>,
    parked: Parked,
    random: RandomState,
}

impl Queue {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            streams: HashMap::new(),
            due: BTreeSet::new(),
            parked: Parked::default(),
            random: RandomState::new(),
        }
    }

    /// What of a stream is not as it wants it, and is for this queue to deal with.
    pub(super) fn wants(&self, stream: &ImageStream) -> Wants {
        self.pace.wants(stream)
    }

    /// Learns how a stream is now.
    pub(super) fn see(&mut self, key: &StreamKey, stream: &ImageStream, news: News, now: Instant) {
        let revision = revision(stream);
        let wants = self.wants(stream);
        let asked = Some(wants.asked_by(stream));
        if let Some(followed) = self.streams.get_mut(key) {
            if news == News::Written {
                if revision <= followed.revision {
                    // Known from the import that wrote it, or since overtaken.
                    return;
                }
                if now > followed.written + self.pace.quiet_period {
                    // It was quiet, and now is not.
                    followed.pending_since = None;
                }
                followed.written = now;
                if followed.asked != asked {
                    // What was wrong with it as a whole may be right now.
                    followed.call_failures = 0;
                    followed.not_before = now;
                }
                followed.asked = asked;
            }
            if followed.is_running() {
                // What is to be done is seen when the import has ended.
                return;
            }
        }
        if wants.sources.is_empty() {
            self.forget(key);
            return;
        }
        let fraction = self.fraction(key);
        let followed = self
            .streams
            .entry(key.clone())
            .or_insert_with(|| Followed::new(now));
        followed.revision = followed.revision.max(revision);
        followed.asked = asked;
        // Whoever wants something else now begins anew.
        followed.attempts.retain(|source, attempt| {
            let wanted = wants.sources.get(source);
            wanted.is_some_and(|wanted| wanted.aim == attempt.aim)
        });
        let mut is_pending = false;
        for (source, wanted) in &wants.sources {
            let is_known = followed.attempts.contains_key(source);
            match wanted.state {
                State::Pending => is_pending |= !is_known,
                State::Failed(_) if is_known => {}
                State::Failed(kind) => {
                    let (failures, wait) = if news == News::Listed {
                        (FAILURES_BEFORE, self.pace.delays.spread.mul_f64(fraction))
                    } else {
                        (1, self.pace.delay(kind, 1, wanted, fraction, None))
                    };
                    let attempt = Attempt {
                        aim: wanted.aim,
                        kind,
                        failures,
                        not_before: now + wait,
                    };
                    followed.attempts.insert(source.clone(), attempt);
                }
            }
        }
        if is_pending {
            followed.pending_since.get_or_insert(now);
        } else {
            followed.pending_since = None;
        }
        let ready = wants
            .sources
            .iter()
            .map(|(source, wanted)| followed.ready(source, wanted, self.pace.quiet_period));
        let due = ready.min().map(|ready| ready.max(followed.not_before));
        if let Some(before) = std::mem::replace(&mut followed.turn, due.map(Turn::At)) {
            self.leave(key, &before);
        }
        if let Some(due) = due {
            self.due.insert((due, key.clone()));
        }
    }

    /// Takes a stream out of the place where it waits.
    fn leave(&mut self, key: &StreamKey, turn: &Turn) {
        match turn {
            Turn::At(due) | Turn::PutOff(due) => {
                self.due.remove(&(*due, key.clone()));
            }
            Turn::Parked(since, obstacle) => self.parked.remove(obstacle, *since, key),
            Turn::Running(_) => {}
        }
    }

    /// Learns that a stream is gone, or to be left alone until it is written again.
    pub(super) fn forget(&mut self, key: &StreamKey) {
        if self.streams.get(key).is_none_or(Followed::is_running) {
            return;
        }
        let forgotten = self.streams.remove(key);
        if let Some(turn) = forgotten.and_then(|followed| followed.turn) {
            self.leave(key, &turn);
        }
    }

    /// Forgets what is not among the streams that there are.
    pub(super) fn retain(&mut self, are_there: &BTreeSet<StreamKey>) {
        let gone: Vec<StreamKey> = self
            .streams
            .keys()
            .filter(|key| !are_there.contains(key))
            .cloned()
            .collect();
        for key in gone {
            self.forget(&key);
        }
    }

    /// Whether this version of a stream is the one that was last seen.
    pub(super) fn is_current(&self, key: &StreamKey, stream: &ImageStream) -> bool {
        let followed = self.streams.get(key);
        followed.is_some_and(|followed| revision(stream) <= followed.revision)
    }

    /// When the next stream is to be imported, if that is a matter of time.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A stream that is to be imported now: the one that became due first, of those that wait for nothing and those that
    /// wait for a host which [has a place](super::places::Places::has_place). It counts as running until it is
    /// [ended](Self::ended), [parked](Self::park) or [put off](Self::put_off).
    pub(super) fn start(&mut self, now: Instant, has_place: impl Fn(&str) -> bool) -> Option<StreamKey> {
        let due = self.due.first().filter(|(due, _)| *due <= now);
        let parked = self.parked.first(has_place);
        let is_parked_first = match (due, &parked) {
            (Some((due, _)), Some((since, ..))) => since < due,
            (due, _) => due.is_none(),
        };
        let (since, key) = if is_parked_first {
            let (since, key, host) = parked?;
            let (key, obstacle) = (key.clone(), Obstacle::BusyHost(host.to_owned()));
            self.parked.remove(&obstacle, since, &key);
            (since, key)
        } else {
            self.due.pop_first()?
        };
        if let Some(followed) = self.streams.get_mut(&key) {
            followed.turn = Some(Turn::Running(since));
        }
        Some(key)
    }

    /// What of a stream that was started is to be imported, as it is now.
    pub(super) fn choose(&self, key: &StreamKey, wants: &Wants, now: Instant) -> BTreeSet<Source> {
        let Some(followed) = self.streams.get(key) else {
            return BTreeSet::new();
        };
        let ready = wants
            .sources
            .iter()
            .filter(|(source, wanted)| followed.ready(source, wanted, self.pace.quiet_period) <= now);
        ready.map(|(source, _)| source.clone()).collect()
    }

    /// Learns that a stream that was started was not imported after all, or how that went. It must be
    /// [seen](Self::see) again, or [forgotten](Self::forget).
    ///
    /// `asked_to_wait` tells for how much longer a host wants to be left alone.
    pub(super) fn ended(
        &mut self,
        key: &StreamKey,
        outcome: Option<&Result<ImageStreamImport, Box<Status>>>,
        asked_to_wait: impl Fn(&str) -> Option<Duration>,
        now: Instant,
    ) {
        let fraction = self.fraction(key);
        let Some(followed) = self.streams.get_mut(key) else {
            return;
        };
        followed.turn = None;
        let import = match outcome {
            None => return,
            Some(Err(_)) => {
                followed.call_failures = followed.call_failures.saturating_add(1);
                // Whoever writes it all the time has it imported no sooner than before.
                followed.pending_since = None;
                let factor = 2u32.saturating_pow(followed.call_failures - 1);
                let wait = FIRST_CALL_DELAY.saturating_mul(factor);
                followed.not_before = now + wait.min(LONGEST_CALL_DELAY).mul_f64(0.9 + 0.2 * fraction);
                return;
            }
            Some(Ok(import)) => import,
        };
        followed.call_failures = 0;
        followed.not_before = now;
        followed.pending_since = None;
        let Some(stream) = &import.status.import else {
            return;
        };
        let wants = self.pace.wants(stream);
        for (source, result) in results(import) {
            let before = followed.attempts.remove(&source);
            let Some(wanted) = wants.sources.get(&source) else {
                continue;
            };
            if status::is_success(&result) {
                continue;
            }
            let kind = Kind::of_status(&result);
            let failures = before.map_or(1, |attempt| attempt.failures.saturating_add(1));
            let asked = asked_to_wait(&wanted.host);
            let attempt = Attempt {
                aim: wanted.aim,
                kind,
                failures,
                not_before: now + self.pace.delay(kind, failures, wanted, fraction, asked),
            };
            followed.attempts.insert(source, attempt);
        }
    }

    /// Learns that a stream that was started can't be imported yet. Nothing more is to be done about it.
    pub(super) fn park(&mut self, key: &StreamKey, obstacle: Obstacle) {
        let Some(followed) = self.streams.get_mut(key) else {
            return;
        };
        if let Some(Turn::Running(since)) = followed.turn {
            self.parked.insert(&obstacle, since, key.clone());
            followed.turn = Some(Turn::Parked(since, obstacle));
        }
    }

    /// Learns that a stream that was started is not to be imported before this moment, which is to come. Nothing more is to
    /// be done about it.
    pub(super) fn put_off(&mut self, key: &StreamKey, until: Instant) {
        if let Some(followed) = self.streams.get_mut(key) {
            followed.turn = Some(Turn::PutOff(until));
            self.due.insert((until, key.clone()));
        }
    }

    /// Learns that a namespace is known.
    pub(super) fn namespace_is_known(&mut self, namespace: &str) {
        for (since, key) in self.parked.take_namespace(namespace) {
            if let Some(followed) = self.streams.get_mut(&key) {
                followed.turn = Some(Turn::At(since));
                self.due.insert((since, key));
            }
        }
    }

    /// The streams of a namespace in which something waits for a secret that lets us in, or with which a registry allows
    /// more, all of which may be tried after a quiet period: one was written. Each must be [seen](Self::see) again.
    pub(super) fn secrets_changed(&mut self, namespace: &str, now: Instant) -> Vec<StreamKey> {
        let mut changed = Vec::new();
        for (key, followed) in &mut self.streams {
            if key.namespace != namespace {
                continue;
            }
            let soon = now + self.pace.quiet_period;
            if matches!(followed.turn, Some(Turn::PutOff(_))) {
                followed.not_before = followed.not_before.max(soon);
                changed.push(key.clone());
            }
            for attempt in followed.attempts.values_mut() {
                let may_be_let_in = matches!(attempt.kind, Kind::Unauthorized | Kind::RateLimited);
                if may_be_let_in && attempt.not_before > soon {
                    attempt.not_before = soon;
                    attempt.failures = 0;
                    changed.push(key.clone());
                }
            }
        }
        changed.dedup();
        changed
    }

    /// Learns that secrets may have been written of which nobody told: what waits for one is tried some time in the next
    /// minutes. All streams must be [seen](Self::see) again.
    pub(super) fn secrets_may_have_changed(&mut self, now: Instant) {
        let (spread, random) = (self.pace.delays.spread, &self.random);
        for (key, followed) in &mut self.streams {
            let soon = now + spread.mul_f64(fraction(random, key));
            for attempt in followed.attempts.values_mut() {
                if attempt.kind == Kind::Unauthorized {
                    attempt.not_before = attempt.not_before.min(soon);
                }
            }
        }
    }

    /// Between 0 and 1; the same for all sources of a stream, so that what failed together is tried together.
    fn fraction(&self, key: &StreamKey) -> f64 {
        fraction(&self.random, key)
    }
}

fn fraction(random: &RandomState, key: &StreamKey) -> f64 {
    const STEPS: u32 = 1 << 16;
    let step = u32::try_from(random.hash_one(key) % u64::from(STEPS)).unwrap_or_default();
    f64::from(step) / f64::from(STEPS)
}

/// The version of a stream that was read.
fn revision(stream: &ImageStream) -> u64 {
    let version = stream.metadata.resource_version.as_deref();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

impl Pace {
    fn wants(&self, stream: &ImageStream) -> Wants {
        let mut wants = Wants::of(stream);
        wants.sources.retain(|_, wanted| {
            let is_left_to_schedule = wanted.is_scheduled && self.schedule.is_some();
            wanted.state == State::Pending || !is_left_to_schedule
        });
        wants
    }

    fn delay(
        &self,
        kind: Kind,
        failures: u32,
        wanted: &Wanted,
        fraction: f64,
        asked: Option<Duration>,
    ) -> Duration {
        let at_most = self.schedule.filter(|_| wanted.is_scheduled);
        let at_most = at_most.unwrap_or(Duration::MAX);
        self.delays.after(kind, failures, at_most, fraction, asked)
    }
}

#[cfg(test)]
mod tests;
