//! One registry host: its queues, its budget, and whether it is left alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::options::HostBudget;
use crate::quota::Allowance;
use crate::report::Why;
use crate::scheduler::Visit;
use crate::table::{State, Table};
use crate::time::{Millis, millis};

/// Failures to reach a host in a row from which it is asked with one request at a time.
const OPEN: u32 = 3;
/// First pause of a host that can't be reached; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// Longest pause of a host that can't be reached.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Part of the interval that such a pause may take, so that sources are looked at again within one interval.
const PART_OF_INTERVAL: u32 = 3;
/// Shortest such pause, however short the interval is.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// First pause of a host that refuses and does not say for how long; doubled each time.
const FIRST_REFUSAL: Duration = Duration::from_secs(5);
/// Longest such pause.
const LONGEST_REFUSAL: Duration = Duration::from_secs(15 * 60);
/// Pause of visits to a host that is asked with one request at a time, while that is under way.
const BUSY: Duration = Duration::from_secs(1);
/// Longest pause that a host may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);
/// Entries of the queue that may be out of date before it is made anew.
const SPARE: usize = 64;

/// A registry host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: Box<str>,
    pub(crate) sources: u32,
    pub(crate) followers: u32,
    /// Sources that wait, by the moment at which they may be asked. Holds entries that are out of date, too.
    due: BinaryHeap<Reverse<(Millis, u32)>>,
    moved: VecDeque<u32>,
    /// Sources that must be read to know whether they have moved. They come after those that have.
    unsure: VecDeque<u32>,
    /// Sources that are asked when the host answers again. Holds entries that are out of date, too.
    held: VecDeque<u32>,
    pub(crate) asking: u32,
    pub(crate) fetching: u32,
    pub(crate) telling: u32,
    /// Visits under way.
    pub(crate) visiting: u32,
    pace: Pace,
    pub(crate) allowance: Allowance,
    pub(crate) paused_until: Millis,
    why: Option<Why>,
    refusals: u32,
    unreachable: u32,
    pub(crate) checks: LastMinute,
    pub(crate) failures: u64,
    /// Its place among the hosts: when it is to be looked at.
    pub(crate) place: Option<(Millis, u64)>,
}

/// What a host has to do.
pub(crate) enum Next {
    Ask(u32),
    Fetch(u32),
    Tell(u32),
    /// Nothing before that; nothing at all until something changes.
    At(Option<Millis>),
}

impl Host {
    pub(crate) fn new(name: &str, budget: &HostBudget) -> Self {
        Self {
            name: name.into(),
            sources: 0,
            followers: 0,
            due: BinaryHeap::new(),
            moved: VecDeque::new(),
            unsure: VecDeque::new(),
            held: VecDeque::new(),
            asking: 0,
            fetching: 0,
            telling: 0,
            visiting: 0,
            pace: Pace::new(budget.checks_per_minute),
            allowance: Allowance::default(),
            paused_until: Millis(0),
            why: None,
            refusals: 0,
            unreachable: 0,
            checks: LastMinute::default(),
            failures: 0,
            place: None,
        }
    }

    /// Queues a source under its present key.
    pub(crate) fn wait(&mut self, id: u32, key: Millis, table: &Table, host: u32) {
        if self.due.len() > 2 * self.sources as usize + SPARE {
            self.due
                .retain(|Reverse((key, id))| is_waiting(table, host, *id, *key));
        }
        self.due.push(Reverse((key, id)));
    }

    /// Queues a source that has moved, or may have.
    pub(crate) fn queue_moved(&mut self, id: u32, is_unsure: bool, first: bool) {
        let queue = if is_unsure {
            &mut self.unsure
        } else {
            &mut self.moved
        };
        if first {
            queue.push_front(id);
        } else {
            queue.push_back(id);
        }
    }

    /// Takes it out again.
    pub(crate) fn drop_moved(&mut self, id: u32) {
        self.moved.retain(|queued| *queued != id);
        self.unsure.retain(|queued| *queued != id);
    }

    pub(crate) fn moved(&self) -> usize {
        self.moved.len() + self.unsure.len()
    }

    fn take_moved(&mut self) -> Option<u32> {
        self.moved.pop_front().or_else(|| self.unsure.pop_front())
    }

    /// Keeps a source until the host answers.
    pub(crate) fn hold(&mut self, id: u32) {
        self.held.push_back(id);
    }

    /// Queues again what was kept until the host answers, if it does.
    pub(crate) fn release(&mut self, host: u32, table: &mut Table) {
        if self.is_open() {
            return;
        }
        for id in std::mem::take(&mut self.held) {
            if is_held(table, host, id)
                && let Some(source) = table.source_mut(id)
            {
                source.state = State::Waiting;
                let key = source.key;
                self.wait(id, key, table, host);
            }
        }
    }

    /// What is to be done now, which is then under way; or when to look again.
    pub(crate) fn next(&mut self, host: u32, table: &mut Table, budget: &HostBudget, now: Millis) -> Next {
        let tell_at = self.tell_at(host, table, budget, now);
        if tell_at.is_some_and(|at| at <= now)
            && let Some(id) = self.take_moved().or_else(|| self.take_due())
        {
            if let Some(source) = table.source_mut(id) {
                source.state = State::Telling;
            }
            self.telling += 1;
            return Next::Tell(id);
        }
        let fetch_at = self.fetch_at(budget, now);
        if fetch_at.is_some_and(|at| at <= now)
            && let Some(id) = self.take_moved()
        {
            if let Some(source) = table.source_mut(id) {
                source.state = State::Fetching;
            }
            self.fetching += 1;
            self.allowance.fetch_begins(now);
            self.sends(1, now);
            return Next::Fetch(id);
        }
        let ask_at = self.ask_at(host, table, budget, now);
        if ask_at.is_some_and(|at| at <= now)
            && let Some(id) = self.take_first(host, table, now)
        {
            if let Some(source) = table.source_mut(id) {
                source.state = State::Asking;
            }
            self.asking += 1;
            self.sends(1, now);
            return Next::Ask(id);
        }
        Next::At([tell_at, fetch_at, ask_at].into_iter().flatten().min())
    }

    /// Counts requests that are sent now: others wait for their turn behind them.
    pub(crate) fn sends(&mut self, requests: u32, now: Millis) {
        for _ in 0..requests {
            self.pace.take(now);
            self.checks.count(now);
        }
    }

    fn take_due(&mut self) -> Option<u32> {
        self.due.pop().map(|Reverse((_, id))| id)
    }

    /// The first source that may be asked: one that is due, or else one that was kept until the host answers.
    fn take_first(&mut self, host: u32, table: &Table, now: Millis) -> Option<u32> {
        if self.first(host, table).is_some_and(|key| key <= now) {
            return self.take_due();
        }
        self.first_held(host, table)?;
        self.held.pop_front()
    }

    /// When those who follow the first source that is due, or has moved, are to be told that the host can't be reached.
    fn tell_at(&mut self, host: u32, table: &Table, budget: &HostBudget, now: Millis) -> Option<Millis> {
        let is_left_alone = self.paused_until > now && self.why == Some(Why::Unreachable);
        if !is_left_alone || self.telling >= budget.checks_in_flight {
            return None;
        }
        if self.moved() > 0 {
            return Some(now);
        }
        self.first(host, table)
    }

    /// When the first of what has moved may be fetched, unless that depends on what is under way.
    fn fetch_at(&self, budget: &HostBudget, now: Millis) -> Option<Millis> {
        let is_full = self.fetching >= budget.fetches_in_flight || (self.is_open() && self.is_busy());
        if self.moved() == 0 || is_full {
            return None;
        }
        let allowed = self.allowance.fetch_at(now)?;
        Some(allowed.max(self.pace.at()).max(self.paused_until))
    }

    /// When the first of what waits may be asked, unless that depends on what is under way.
    fn ask_at(&mut self, host: u32, table: &Table, budget: &HostBudget, now: Millis) -> Option<Millis> {
        let is_full = self.asking >= budget.checks_in_flight || (self.is_open() && self.is_busy());
        if is_full {
            return None;
        }
        let keys = [self.first(host, table), self.first_held(host, table)];
        let key = keys.into_iter().flatten().min()?;
        let allowed = self.allowance.check_at(now).unwrap_or_default();
        Some(key.max(self.pace.at()).max(self.paused_until).max(allowed))
    }

    /// The key of the first source that waits.
    fn first(&mut self, host: u32, table: &Table) -> Option<Millis> {
        while let Some(Reverse((key, id))) = self.due.peek() {
            if is_waiting(table, host, *id, *key) {
                return Some(*key);
            }
            self.due.pop();
        }
        None
    }

    /// The key of the first source that is kept until the host answers.
    fn first_held(&mut self, host: u32, table: &Table) -> Option<Millis> {
        while let Some(id) = self.held.front() {
            if is_held(table, host, *id) {
                return table.source(*id).map(|source| source.key);
            }
            self.held.pop_front();
        }
        None
    }

    /// How long the first source that waits has been due.
    pub(crate) fn lag(&mut self, host: u32, table: &Table, now: Millis) -> Duration {
        self.first(host, table);
        self.first_held(host, table);
        let waiting = self.due.peek().map(|Reverse((_, id))| *id);
        let first = [waiting, self.held.front().copied()].into_iter().flatten();
        let due = first.filter_map(|id| table.source(id)).map(|source| source.due);
        due.min().map_or(Duration::ZERO, |due| now.since(due))
    }

    /// Whether it is asked with one request at a time, as it could not be reached several times.
    pub(crate) fn is_open(&self) -> bool {
        self.unreachable >= OPEN
    }

    fn is_busy(&self) -> bool {
        self.asking + self.fetching + self.visiting > 0
    }

    /// Takes a place in the row of checks for a request that belongs to no source.
    pub(crate) fn visit(&mut self, now: Millis) -> Visit {
        let allowed = self.allowance.visit_at(now).unwrap_or_default();
        let until = self.paused_until.max(allowed);
        if until > now {
            return Visit::LeftAlone(until);
        }
        if self.is_open() && self.is_busy() {
            return Visit::LeftAlone(now.after(BUSY));
        }
        let at = self.pace.at().max(now);
        self.pace.take(at);
        self.visiting += 1;
        Visit::At(at)
    }

    /// Whether anything is known of it that matters though nothing is followed there: for a while after it was last asked,
    /// or wanted to be left alone. Who comes back later finds out anew.
    pub(crate) fn is_remembered(&mut self, now: Millis) -> bool {
        let was_paused = self.paused_until != Millis(0) && now < self.paused_until.after(LONGEST_PAUSE);
        self.visiting > 0 || was_paused || self.checks.total(now) > 0
    }

    /// It refused.
    pub(crate) fn refused(&mut self, retry_after: Option<Duration>, now: Millis) {
        // What was under way when the host began to refuse tells nothing new.
        if now >= self.paused_until {
            self.refusals = self.refusals.saturating_add(1);
        }
        let span = match retry_after {
            Some(asked) => asked.clamp(Duration::from_secs(1), LONGEST_ASKED),
            None => doubled(FIRST_REFUSAL, self.refusals, LONGEST_REFUSAL),
        };
        self.pause(now.after(span), Why::Refused);
    }

    /// It could not be reached. Its sources are usually asked once in `interval`.
    pub(crate) fn not_reached(&mut self, interval: Duration, now: Millis) {
        if now < self.paused_until {
            return;
        }
        self.unreachable = self.unreachable.saturating_add(1);
        if self.is_open() {
            let longest = (interval / PART_OF_INTERVAL).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            let span = doubled(FIRST_PAUSE, self.unreachable - OPEN + 1, longest);
            self.pause(now.after(span), Why::Unreachable);
        }
    }

    /// It answered something else.
    pub(crate) fn reached(&mut self, now: Millis) {
        self.unreachable = 0;
        if self.why == Some(Why::Unreachable) || now >= self.paused_until {
            self.paused_until = Millis(0);
            self.refusals = 0;
            self.why = None;
        }
    }

    fn pause(&mut self, until: Millis, why: Why) {
        if until > self.paused_until {
            self.paused_until = until;
            self.why = Some(why);
        }
    }

    /// Before when nothing is done about a source in this state, however long it has been due.
    pub(crate) fn next_at(&self, state: State, now: Millis) -> Millis {
        match state {
            State::Waiting | State::Held => self.paused_until,
            State::Queued => self.paused_until.max(self.allowance.reads_at(now)),
            State::Asking | State::Fetching | State::Telling => Millis(0),
        }
    }

    /// Until when it wants not to be read from.
    pub(crate) fn reads_wait_until(&self, now: Millis) -> Option<Millis> {
        let is_refusing = self.why == Some(Why::Refused);
        let paused = is_refusing.then_some(self.paused_until);
        paused
            .max(Some(self.allowance.reads_at(now)))
            .filter(|until| *until > now)
    }

    /// Until when it is left alone, and why.
    pub(crate) fn throttled(&self, now: Millis) -> Option<(Millis, Why)> {
        if self.paused_until > now {
            return Some((self.paused_until, self.why.unwrap_or(Why::Refused)));
        }
        // One request finds out whether it is there again. Until that has ended all others wait.
        if self.is_open() && self.why == Some(Why::Unreachable) {
            return Some((now, Why::Unreachable));
        }
        let quota = [
            self.allowance.check_at(now),
            self.allowance.fetch_at(now).filter(|_| self.moved() > 0),
        ];
        let until = quota.into_iter().flatten().max().filter(|until| *until > now)?;
        Some((until, Why::Quota))
    }
}

fn is_waiting(table: &Table, host: u32, id: u32, key: Millis) -> bool {
    table
        .source(id)
        .is_some_and(|source| source.state == State::Waiting && source.key == key)
        && table.host_of(id) == Some(host)
}

fn is_held(table: &Table, host: u32, id: u32) -> bool {
    table.source(id).is_some_and(|source| source.state == State::Held) && table.host_of(id) == Some(host)
}

/// A pause that doubles with each time, up to a longest one.
pub(crate) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 1_u32 << times.saturating_sub(1).min(16);
    first.saturating_mul(factor).min(longest)
}

/// Checks that may begin, evenly spread: no minute holds more than is allowed, and up to a tenth of a second's worth may
/// begin at once, so that nobody wakes up for each one.
#[derive(Debug)]
struct Pace {
    /// Microseconds from one to the next.
    gap: u64,
    /// How far ahead of that they may begin, in microseconds.
    ahead: u64,
    /// Microseconds at which the next would begin if all kept to the gap.
    next: u64,
}

impl Pace {
    fn new(per_minute: u32) -> Self {
        let per_minute = u64::from(per_minute.max(1));
        // What may begin at once is taken off the rate: together they are what is allowed.
        let at_once = (per_minute / 600).max(1);
        let gap = 60_000_000_u64.div_ceil(per_minute - (at_once - 1));
        Self {
            gap,
            ahead: gap * (at_once - 1),
            next: 0,
        }
    }

    fn at(&self) -> Millis {
        Millis(self.next.saturating_sub(self.ahead).div_ceil(1000))
    }

    fn take(&mut self, now: Millis) {
        self.next = self.next.max(now.0.saturating_mul(1000)) + self.gap;
    }
}

/// How many there were in the last minute, to the next tenth of it.
#[derive(Debug, Default)]
pub(crate) struct LastMinute {
    counts: [u32; LastMinute::PARTS],
    /// The part that was counted last, since the epoch.
    part: u64,
}

impl LastMinute {
    const PARTS: usize = 10;

    fn turn(&mut self, now: Millis) {
        let part = now.0 / (millis(Duration::from_secs(60)) / Self::PARTS as u64);
        let passed = part.saturating_sub(self.part).min(Self::PARTS as u64);
        for back in 0..passed {
            self.counts[((part - back) % Self::PARTS as u64) as usize] = 0;
        }
        self.part = self.part.max(part);
    }

    pub(crate) fn count(&mut self, now: Millis) {
        self.turn(now);
        self.counts[(self.part % Self::PARTS as u64) as usize] += 1;
    }

    pub(crate) fn total(&mut self, now: Millis) -> u32 {
        self.turn(now);
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests;
