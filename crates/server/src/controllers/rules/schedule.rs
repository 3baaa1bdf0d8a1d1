//! When which repository is listed for the rules of streams. Pure.
//!
//! A repository is listed for all rules that name it, as often as the most frequent of them wants.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::time::Duration;

use imagestream_api::follow_rules::{PROBLEMS_ANNOTATION, RULE_ANNOTATION, RULES_ANNOTATION, Rule, rules};
use imagestream_api::reference::ImageReference;
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::ImageStream;
use tokio::time::Instant;

use super::report::{RuleHostReport, RuleStreamReport};
use super::work::{Repository, Work};

/// Shortest time between two lists of a repository, and between two edits of a stream that are heeded at once, whatever
/// is pushed, edited, or deleted and made again; less if streams may have repositories listed more often.
const LEAST_GAP: Duration = Duration::from_secs(10);
/// Pause after rules could not be followed for a reason that is not theirs; doubled each time.
const PAUSE: Duration = Duration::from_secs(60);

/// Most repositories of one host that are listed at once, so that one that never answers keeps no other waiting.
const AT_ONCE_PER_HOST: usize = 8;
/// Pause before a repository is tried again whose host has enough to do.
const CROWDED: Duration = Duration::from_secs(1);

/// What the administrator decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// For rules that do not say.
    pub(super) interval: Duration,
    /// Shortest one that a rule may ask for.
    pub(super) minimum_interval: Duration,
}

/// How one learns of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is one of those that are there: its rules may have been followed a moment ago.
    Listed,
    /// It has changed.
    Changed,
}

/// How work went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// It was done.
    Fully,
    /// For a reason that is not that of the rules, it was not, or not all of it.
    Partly,
    /// The host has to be left alone until then.
    LeftAlone(Instant),
}

/// A stream that has rules, or had some a moment ago.
struct Stream {
    /// Tells one annotation from another; none if the stream has no rules any more.
    version: Option<u64>,
    /// What the rules list, by their names.
    rules: BTreeMap<String, (Repository, Duration)>,
    /// When its last edit counts.
    counts_at: Instant,
    /// Whether somebody tells it what is wrong with its rules.
    is_told: bool,
    /// As it stands in the order of what is due.
    due: Option<Instant>,
}

/// A repository that is listed, or was a moment ago.
#[derive(Default)]
struct Entry {
    followers: BTreeMap<StreamKey, BTreeSet<String>>,
    /// How often followers want it, and how many of them.
    intervals: BTreeMap<Duration, usize>,
    begun: Option<Instant>,
    ended: Option<Instant>,
    is_under_way: bool,
    /// When it is wanted again though it is under way.
    again: Option<Instant>,
    /// Until when its host asked to be left alone.
    left_alone: Option<Instant>,
    /// Times in a row that it could not be done for a reason that is not its own.
    failures: u32,
    /// As it stands in the order of what is due.
    due: Option<Instant>,
}

impl Entry {
    fn interval(&self) -> Option<Duration> {
        self.intervals.keys().next().copied()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Repository(Repository),
    Stream(StreamKey),
}

/// The rules of all streams.
pub(super) struct Schedule {
    pace: Pace,
    gap: Duration,
    streams: BTreeMap<StreamKey, Stream>,
    repositories: HashMap<Repository, Entry>,
    order: BTreeSet<(Instant, Key)>,
    /// How many repositories are being listed at each host.
    at_work: HashMap<String, usize>,
}

impl Schedule {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            gap: LEAST_GAP.min(pace.minimum_interval),
            streams: BTreeMap::new(),
            repositories: HashMap::new(),
            order: BTreeSet::new(),
            at_work: HashMap::new(),
        }
    }

    /// Takes notice of the rules of a stream. New ones are due at once, but those of one stream not over and over again;
    /// in a list, at some moment of their interval, so that not all are when a server starts.
    pub(super) fn see(&mut self, key: &StreamKey, stream: &ImageStream, seen: Seen, now: Instant) {
        let annotations = stream.metadata.annotations.as_ref();
        let of = |name: &str| annotations.and_then(|annotations| annotations.get(name));
        // Without rules there is still to be forgotten what was wrong with them.
        let text = of(RULES_ANNOTATION).map(String::as_str);
        let text = text.or_else(|| of(PROBLEMS_ANNOTATION).map(|_| ""));
        let Some(text) = text.filter(|_| stream.metadata.deletion_timestamp.is_none()) else {
            return self.forget(key, now);
        };
        let version = hash(text);
        let before = self.streams.get(key);
        if before.is_some_and(|stream| stream.version == Some(version)) {
            return;
        }
        // Of a stream that was never seen nobody knows whether its rules were just written.
        let is_spread = seen == Seen::Listed && before.is_none() && has_followed(stream);
        let counts_at = match before {
            // Edits that come before the last one counts, count with it.
            Some(before) if before.counts_at >= now => before.counts_at,
            Some(before) => now.max(before.counts_at + self.gap),
            None => now,
        };
        let is_told = before.is_some_and(|stream| stream.is_told);
        self.let_go(key, now);
        let found: BTreeMap<String, (Repository, Duration)> = rules(&stream.metadata)
            .unwrap_or_default()
            .iter()
            .map(|rule| (rule.name.clone(), (Repository::of(rule), self.interval(rule))))
            .collect();
        for (name, (repository, interval)) in &found {
            let wanted = if is_spread {
                now + phase(repository, *interval)
            } else {
                counts_at
            };
            self.follow(repository, key, name, *interval, wanted);
        }
        let is_unreadable = found.is_empty();
        let stream = Stream {
            version: Some(version),
            rules: found,
            counts_at,
            is_told,
            due: None,
        };
        self.streams.insert(key.clone(), stream);
        if is_unreadable && !is_told {
            self.tell_at(key, counts_at);
        }
    }

    fn interval(&self, rule: &Rule) -> Duration {
        let wanted = rule.interval.unwrap_or(self.pace.interval);
        wanted.max(self.pace.minimum_interval)
    }

    /// Forgets a stream, but for when its last edit counts: it may be made again in a moment.
    pub(super) fn forget(&mut self, key: &StreamKey, now: Instant) {
        self.let_go(key, now);
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.version = None;
        stream.rules = BTreeMap::new();
        let until = stream.counts_at + self.gap;
        self.tell_at(key, until);
    }

    /// Forgets all streams but these.
    pub(super) fn retain(&mut self, keys: &BTreeSet<StreamKey>, now: Instant) {
        let gone = self.streams.keys().filter(|key| !keys.contains(*key));
        for key in gone.cloned().collect::<Vec<_>>() {
            self.forget(&key, now);
        }
    }

    /// Something was pushed to a repository.
    pub(super) fn poke(&mut self, repository: &str, now: Instant) {
        for insecure in [false, true] {
            let repository = Repository {
                name: repository.to_owned(),
                insecure,
            };
            self.want(&repository, now);
        }
    }

    /// When something is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.order.first().map(|(due, _)| *due)
    }

    /// What is to be done, if something is due whose host has not enough to do. [`Schedule::ended`] must follow.
    pub(super) fn start(&mut self, now: Instant) -> Option<Work> {
        loop {
            let (due, key) = self.order.first().cloned()?;
            if due > now {
                return None;
            }
            self.order.pop_first();
            match key {
                Key::Stream(key) => {
                    let Some(stream) = self.streams.get_mut(&key) else {
                        continue;
                    };
                    stream.due = None;
                    let Some(version) = stream.version else {
                        self.streams.remove(&key);
                        continue;
                    };
                    stream.is_told = true;
                    return Some(Work::Tell(key, version));
                }
                Key::Repository(repository) => {
                    let Some(entry) = self.repositories.get_mut(&repository) else {
                        continue;
                    };
                    entry.due = None;
                    if entry.followers.is_empty() {
                        self.repositories.remove(&repository);
                        continue;
                    }
                    let at_work = self.at_work.entry(repository.host().to_owned()).or_default();
                    if *at_work >= AT_ONCE_PER_HOST {
                        self.put_in(&repository, now + CROWDED);
                        continue;
                    }
                    *at_work += 1;
                    entry.begun = Some(now);
                    entry.is_under_way = true;
                    let followers = entry.followers.clone();
                    return Some(Work::List(repository, followers));
                }
            }
        }
    }

    /// Work ended.
    pub(super) fn ended(&mut self, work: &Work, done: Done, now: Instant) {
        match work {
            Work::Tell(key, version) => self.told(key, *version, done, now),
            Work::List(repository, _) => self.listed(repository, done, now),
        }
    }

    fn told(&mut self, key: &StreamKey, version: u64, done: Done, now: Instant) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.is_told = false;
        let again = match stream.version {
            None => stream.counts_at + self.gap,
            Some(_) if !stream.rules.is_empty() => return,
            Some(other) if other != version => stream.counts_at.max(now),
            Some(_) if done == Done::Fully => return,
            Some(_) => now + PAUSE,
        };
        self.tell_at(key, again);
    }

    fn listed(&mut self, repository: &Repository, done: Done, now: Instant) {
        if let Some(at_work) = self.at_work.get_mut(repository.host()) {
            *at_work -= 1;
            if *at_work == 0 {
                self.at_work.remove(repository.host());
            }
        }
        let gap = self.gap;
        let Some(entry) = self.repositories.get_mut(repository) else {
            return;
        };
        entry.is_under_way = false;
        let earliest = entry.begun.unwrap_or(now) + gap;
        let again = entry.again.take().map(|again| again.max(earliest));
        let Some(interval) = entry.interval() else {
            // It is kept until it may be listed again.
            self.put_in(repository, earliest);
            return;
        };
        let usual = entry.begun.unwrap_or(now) + interval;
        (entry.left_alone, entry.failures) = match done {
            Done::Fully => (None, 0),
            Done::Partly => (None, entry.failures.saturating_add(1)),
            Done::LeftAlone(until) => (Some(until), entry.failures),
        };
        if entry.left_alone.is_none() {
            entry.ended = Some(now);
        }
        let due = match done {
            Done::Fully => usual,
            Done::Partly => {
                let pause = PAUSE.saturating_mul(1 << entry.failures.saturating_sub(1).min(16));
                usual.min(now + pause)
            }
            Done::LeftAlone(until) => until,
        };
        let due = match (done, again) {
            // Asking earlier is of no use.
            (Done::LeftAlone(_), _) | (_, None) => due,
            (_, Some(again)) => due.min(again),
        };
        self.put_in(repository, due.max(now));
    }

    /// How it goes with the rules of a stream, if it has some.
    pub(super) fn stream_report(&self, key: &StreamKey, now: Instant) -> Option<RuleStreamReport> {
        let stream = self.streams.get(key).filter(|stream| stream.version.is_some())?;
        let repositories = stream.rules.values().map(|(repository, _)| repository);
        let entries = || {
            repositories
                .clone()
                .filter_map(|found| self.repositories.get(found))
        };
        Some(RuleStreamReport {
            rules: stream.rules.len(),
            last_check: entries().filter_map(|entry| entry.ended).max(),
            next_check: entries().map(|entry| entry.due.unwrap_or(now)).min(),
        })
    }

    /// Streams of a namespace (all: empty) from this one on that have rules, in order.
    pub(super) fn streams_from(&self, first: Bound<StreamKey>) -> impl Iterator<Item = &StreamKey> {
        let streams = self.streams.range((first, Bound::Unbounded));
        streams.filter_map(|(key, stream)| stream.version.is_some().then_some(key))
    }

    /// How it goes with the lists of each host, by name.
    pub(super) fn host_reports(&self, now: Instant) -> BTreeMap<String, RuleHostReport> {
        let mut reports = BTreeMap::<String, RuleHostReport>::new();
        let followed = self.repositories.iter();
        for (repository, entry) in followed.filter(|(_, entry)| !entry.followers.is_empty()) {
            let report = reports.entry(repository.host().to_owned()).or_default();
            report.repositories += 1;
            let left_alone = entry.left_alone.filter(|until| *until > now);
            report.left_alone_until = report.left_alone_until.max(left_alone);
        }
        reports
    }

    /// Streams that have rules.
    pub(super) fn count(&self) -> usize {
        let streams = self.streams.values();
        streams.filter(|stream| !stream.rules.is_empty()).count()
    }

    /// A rule follows a repository, which is to be listed for it at a moment.
    fn follow(
        &mut self,
        repository: &Repository,
        key: &StreamKey,
        rule: &str,
        interval: Duration,
        wanted: Instant,
    ) {
        let entry = self.repositories.entry(repository.clone()).or_default();
        // Such an entry waits to be forgotten.
        if entry.followers.is_empty() {
            self.take_out(repository);
        }
        let entry = self.repositories.entry(repository.clone()).or_default();
        let rules = entry.followers.entry(key.clone()).or_default();
        rules.insert(rule.to_owned());
        *entry.intervals.entry(interval).or_default() += 1;
        self.want(repository, wanted);
    }

    /// The rules of a stream follow nothing any more.
    fn let_go(&mut self, key: &StreamKey, now: Instant) {
        self.take_out_stream(key);
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        for (repository, interval) in std::mem::take(&mut stream.rules).into_values() {
            let Some(entry) = self.repositories.get_mut(&repository) else {
                continue;
            };
            entry.followers.remove(key);
            if let Some(count) = entry.intervals.get_mut(&interval) {
                *count -= 1;
                if *count == 0 {
                    entry.intervals.remove(&interval);
                }
            }
            if entry.followers.is_empty() && !entry.is_under_way {
                let until = entry.begun.map_or(now, |begun| begun + self.gap);
                self.take_out(&repository);
                self.put_in(&repository, until);
            }
        }
    }

    /// Has a repository be listed at that moment, but not too soon after it last was; later if it is due before.
    fn want(&mut self, repository: &Repository, at: Instant) {
        let Some(entry) = self.repositories.get_mut(repository) else {
            return;
        };
        if entry.followers.is_empty() {
            return;
        }
        let at = entry.begun.map_or(at, |begun| at.max(begun + self.gap));
        if entry.is_under_way {
            entry.again = Some(entry.again.map_or(at, |again| again.min(at)));
            return;
        }
        let is_left_alone = entry.left_alone.is_some_and(|until| until > at);
        if !is_left_alone && entry.due.is_none_or(|due| at < due) {
            self.take_out(repository);
            self.put_in(repository, at);
        } else if entry.due.is_none() {
            self.put_in(repository, at);
        }
    }

    fn take_out(&mut self, repository: &Repository) {
        let entry = self.repositories.get_mut(repository);
        if let Some(due) = entry.and_then(|entry| entry.due.take()) {
            self.order.remove(&(due, Key::Repository(repository.clone())));
        }
    }

    fn put_in(&mut self, repository: &Repository, at: Instant) {
        if let Some(entry) = self.repositories.get_mut(repository) {
            entry.due = Some(at);
            self.order.insert((at, Key::Repository(repository.clone())));
        }
    }

    fn take_out_stream(&mut self, key: &StreamKey) {
        if let Some(due) = self.streams.get_mut(key).and_then(|stream| stream.due.take()) {
            self.order.remove(&(due, Key::Stream(key.clone())));
        }
    }

    fn tell_at(&mut self, key: &StreamKey, at: Instant) {
        self.take_out_stream(key);
        if let Some(stream) = self.streams.get_mut(key) {
            stream.due = Some(at);
            self.order.insert((at, Key::Stream(key.clone())));
        }
    }
}

/// The repository of a reference, the same for all spellings.
pub(super) fn repository(reference: &ImageReference) -> String {
    format!(
        "{}/{}",
        reference.contacted_host(),
        reference.defaulted().repository_name()
    )
}

/// The moment of its interval at which a repository is listed after a start.
fn phase(repository: &Repository, interval: Duration) -> Duration {
    let phase = hash(repository) % 1_000;
    interval * u32::try_from(phase).unwrap_or_default() / 1_000
}

/// Whether rules of a stream were followed before: then nobody waits for it now.
fn has_followed(stream: &ImageStream) -> bool {
    let has = |annotations: &Option<BTreeMap<String, String>>, name: &str| {
        annotations
            .as_ref()
            .is_some_and(|annotations| annotations.contains_key(name))
    };
    has(&stream.metadata.annotations, PROBLEMS_ANNOTATION)
        || stream
            .spec
            .tags
            .values()
            .any(|tag| has(&tag.annotations, RULE_ANNOTATION))
}

fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
