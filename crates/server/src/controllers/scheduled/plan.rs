//! When each source is looked at. Pure: it is told the time, in milliseconds since the plan began.
//!
//! Each source is due once in its interval, at a moment that its name decides, so that sources are spread evenly also
//! after a start. Each host has a budget of its own: so many looks a minute, so many at once, none while it wants to be
//! left alone, and ever fewer tries while it does not answer. A host that is slow or silent holds up no other.

mod host;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use imagestream_registry::HostFeedback;

pub(super) use self::host::{Host, Why};
use super::look::Outcome;
use super::table::SourceId;

/// A moment, in milliseconds since the plan began.
pub(super) type Millis = u64;

/// Shortest time between two looks at a source, however often it is poked.
const LEAST_GAP: Millis = 5_000;

/// What the administrator decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Shortest interval that is obeyed.
    pub(super) minimum_interval: Duration,
    /// Most looks at one host in a minute.
    pub(super) per_minute: u32,
    /// Most looks at one host at once.
    pub(super) at_once: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Planned {
    host: u32,
    /// In milliseconds; 0 if nothing is planned under this id.
    interval: Millis,
    due: Millis,
    /// When it was last begun to look at; 0 if never.
    begun: Millis,
    is_under_way: bool,
    /// Which look was begun last.
    look: u32,
    /// It was poked while it was being looked at.
    is_poked: bool,
}

/// The plan of all sources.
#[derive(Debug)]
pub(super) struct Plan {
    rules: Rules,
    sources: Vec<Planned>,
    hosts: Vec<Host>,
    by_name: HashMap<Arc<str>, u32>,
    /// Hosts by when the next look at them may begin.
    next: BTreeSet<(Millis, u32)>,
    /// Looks that were begun.
    looks: u32,
}

impl Plan {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            sources: Vec::new(),
            hosts: Vec::new(),
            by_name: HashMap::new(),
            next: BTreeSet::new(),
            looks: 0,
        }
    }

    /// Plans a source, or plans it anew with another interval. `phase` is a number that its name decides.
    pub(super) fn set(&mut self, id: SourceId, host: &str, interval: Duration, phase: u64, now: Millis) {
        let interval = millis(interval.max(self.rules.minimum_interval)).max(1);
        let position = id.0 as usize;
        if position >= self.sources.len() {
            self.sources.resize(position + 1, Planned::default());
        }
        let host = self.host(host);
        let known = self.sources[position];
        if known.interval == interval && known.host == host {
            return;
        }
        if known.interval > 0 {
            self.hosts[known.host as usize].sources -= 1;
        }
        self.hosts[host as usize].sources += 1;
        // The next moment of its own in the interval.
        let offset = phase % interval;
        let mut due = now - now % interval + offset;
        if due < now {
            due += interval;
        }
        if known.interval > 0 && !known.is_under_way {
            due = due.min(known.due);
        }
        self.unschedule(id);
        let source = &mut self.sources[position];
        source.host = host;
        source.interval = interval;
        source.due = due;
        if !source.is_under_way {
            self.hosts[host as usize].due.insert((due, id));
        }
        self.arrange(host);
    }

    /// Plans a source that is planned with another interval.
    pub(super) fn set_interval(&mut self, id: SourceId, interval: Duration, now: Millis) {
        let planned = self
            .sources
            .get(id.0 as usize)
            .filter(|source| source.interval > 0);
        let Some(host) = planned.map(|source| Arc::clone(&self.hosts[source.host as usize].name)) else {
            return;
        };
        self.set(id, &host, interval, u64::from(id.0), now);
    }

    /// Plans a source no more.
    pub(super) fn remove(&mut self, id: SourceId) {
        self.unschedule(id);
        let Some(source) = self.sources.get_mut(id.0 as usize) else {
            return;
        };
        let planned = std::mem::take(source);
        if planned.interval == 0 {
            return;
        }
        // What is under way ends under an id that may be another's by then: it counts for the host only.
        let host = &mut self.hosts[planned.host as usize];
        host.sources -= 1;
        self.arrange(planned.host);
    }

    /// A source that is to be looked at now, which is under way from now on, and a number that tells this look from
    /// others.
    pub(super) fn start(&mut self, now: Millis) -> Option<(SourceId, u32)> {
        loop {
            let (at, position) = self.next.first().copied()?;
            if at > now {
                return None;
            }
            let rules = self.rules;
            let host = &mut self.hosts[position as usize];
            let begun = host.begin(now, &rules);
            self.arrange(position);
            if let Some((due, id)) = begun {
                let source = &mut self.sources[id.0 as usize];
                source.is_under_way = true;
                source.begun = now.max(1);
                source.due = due;
                self.looks = self.looks.wrapping_add(1);
                source.look = self.looks;
                return Some((id, self.looks));
            }
        }
    }

    /// When [`Plan::start`] may have something, if not before.
    pub(super) fn next_start(&self) -> Option<Millis> {
        self.next.first().map(|(at, _)| *at)
    }

    /// A look has ended. `host` is that of the source when it was begun. Whether it was still of interest.
    pub(super) fn ended(
        &mut self,
        (id, look): (SourceId, u32),
        host: &str,
        outcome: Outcome,
        feedback: HostFeedback,
        gets: u32,
        now: Millis,
    ) -> bool {
        let position = self.host(host);
        self.hosts[position as usize].ended(outcome, feedback, gets, now);
        let mut is_current = false;
        if let Some(source) = self.sources.get_mut(id.0 as usize)
            && source.is_under_way
            && source.look == look
        {
            is_current = true;
            source.is_under_way = false;
            let poked = std::mem::take(&mut source.is_poked);
            // From when it was due, so that being late once does not shift it for ever; but not twice in short.
            let mut due = source.due + source.interval;
            if due < now + source.interval / 2 {
                due = now + source.interval - jitter(id, source.interval / 8);
            }
            match outcome {
                // It is looked at as soon as the host bears it.
                Outcome::RateLimited | Outcome::Postponed => due = due.min(now + source.interval / 4),
                _ if poked => due = now + LEAST_GAP,
                _ => {}
            }
            source.due = due;
            let host = source.host;
            self.hosts[host as usize].due.insert((due, id));
            self.arrange(host);
        }
        self.arrange(position);
        is_current
    }

    /// Something happened at a source: it is looked at soon, within the budget of its host.
    pub(super) fn poke(&mut self, id: SourceId, now: Millis) {
        let Some(source) = self.sources.get_mut(id.0 as usize) else {
            return;
        };
        if source.interval == 0 {
            return;
        }
        if source.is_under_way {
            source.is_poked = true;
            return;
        }
        let earliest = match source.begun {
            0 => now,
            begun => now.max(begun + LEAST_GAP),
        };
        if earliest >= source.due {
            return;
        }
        self.unschedule(id);
        let source = &mut self.sources[id.0 as usize];
        source.due = earliest;
        let host = source.host;
        self.hosts[host as usize].due.insert((earliest, id));
        self.arrange(host);
    }

    /// Whether content may be read from a host now.
    pub(super) fn may_fetch(&self, host: &str, now: Millis) -> bool {
        let host = self.by_name.get(host);
        host.is_none_or(|host| self.hosts[*host as usize].may_fetch(now))
    }

    /// When a source is looked at next, unless its host is late.
    pub(super) fn due(&self, id: SourceId) -> Option<Millis> {
        let source = self.sources.get(id.0 as usize)?;
        (source.interval > 0).then_some(source.due)
    }

    /// The host of a source.
    pub(super) fn host_of(&self, id: SourceId) -> Option<&Arc<str>> {
        let source = self
            .sources
            .get(id.0 as usize)
            .filter(|source| source.interval > 0)?;
        Some(&self.hosts[source.host as usize].name)
    }

    /// All hosts that anything is planned for, or that wanted to be left alone.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.sources > 0)
    }

    fn host(&mut self, name: &str) -> u32 {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let name: Arc<str> = name.into();
        let position = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        self.hosts.push(Host::new(Arc::clone(&name)));
        self.by_name.insert(name, position);
        position
    }

    fn unschedule(&mut self, id: SourceId) {
        let Some(source) = self.sources.get(id.0 as usize) else {
            return;
        };
        if source.interval > 0 && !source.is_under_way {
            let (due, host) = (source.due, source.host);
            self.hosts[host as usize].due.remove(&(due, id));
            self.arrange(host);
        }
    }

    /// Puts a host where it belongs among the others.
    fn arrange(&mut self, position: u32) {
        let host = &mut self.hosts[position as usize];
        let next = host.next(&self.rules);
        if next == host.arranged {
            return;
        }
        if let Some(before) = std::mem::replace(&mut host.arranged, next) {
            self.next.remove(&(before, position));
        }
        if let Some(next) = next {
            self.next.insert((next, position));
        }
    }
}

/// So much that a source is looked at earlier, different for each: what was late together is not always due together.
fn jitter(id: SourceId, most: Millis) -> Millis {
    let mixed = u64::from(id.0).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    mixed % most.max(1)
}

pub(super) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
