//! How many streams are being imported from each host, and from how many at once one may be.
//!
//! A registry that never answers holds a place for as long as an import may take. So that such hosts, however many there
//! are and however many streams name them, never keep the others waiting, a host gets few places until it has answered,
//! fewer still once it has failed to several times in a row, and the last places are for hosts that answer and have none.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::answers::Answer;

/// Most streams that are imported at once.
pub(super) const PLACES: usize = 50;
/// Of these, those that only hosts get that answer and from which nothing is being imported.
const KEPT: usize = 10;
/// Most streams that are imported from one host at once.
const OF_A_HOST: usize = 25;
/// The same of one that has not answered yet.
pub(super) const OF_A_STRANGER: usize = 5;
/// Imports in a row in which a host did not answer, or wanted to be left alone, that make it one that fails.
const FAILING: u32 = 3;
/// Most streams that are imported from one that fails, as long as few hosts do.
const OF_A_FAILING_HOST: usize = 4;
/// Places of all hosts that fail from which each of them gets only one.
const FEW: usize = 10;
/// Most places of all hosts that fail.
const OF_FAILING_HOSTS: usize = 20;
/// Hosts that are remembered though nothing is being imported from them.
const REMEMBERED: usize = 4_096;

/// One host.
#[derive(Debug, Default, Clone, Copy)]
struct Host {
    taken: usize,
    /// Whether it ever answered an import.
    has_answered: bool,
    /// Imports in a row in which it did not.
    failures: u32,
}

impl Host {
    fn is_failing(self) -> bool {
        self.failures >= FAILING
    }

    /// Whether it answers.
    fn is_proven(self) -> bool {
        self.has_answered && !self.is_failing()
    }

    fn taken_as_unproven(self) -> usize {
        if self.is_proven() { 0 } else { self.taken }
    }

    fn taken_as_failing(self) -> usize {
        if self.is_failing() { self.taken } else { 0 }
    }
}

/// The places that imports take at hosts.
#[derive(Debug, Default)]
pub(super) struct Places {
    hosts: HashMap<String, Host>,
    /// Streams that are being imported.
    taken: usize,
    /// Places taken at hosts that fail.
    of_failing: usize,
    /// Places taken at hosts that fail or have not answered yet.
    of_unproven: usize,
}

impl Places {
    /// Whether one more stream may be imported from a host.
    pub(super) fn has_place(&self, host: &str) -> bool {
        let host = self.hosts.get(host).copied().unwrap_or_default();
        if host.taken > 0 && self.taken >= PLACES - KEPT {
            return false;
        }
        if !host.is_proven() && self.of_unproven >= PLACES - KEPT {
            return false;
        }
        match host.taken {
            0 if host.is_failing() => self.of_failing < OF_FAILING_HOSTS,
            taken if host.is_failing() => taken < OF_A_FAILING_HOST && self.of_failing < FEW,
            taken if host.has_answered => taken < OF_A_HOST,
            taken => taken < OF_A_STRANGER,
        }
    }

    /// Takes a place at each host, for one stream.
    pub(super) fn take(&mut self, hosts: &BTreeSet<String>) {
        self.taken += 1;
        for host in hosts {
            self.change(host, |host| host.taken += 1);
        }
    }

    /// Gives back what was taken for a stream, and learns what the hosts had to say.
    pub(super) fn give_back(&mut self, hosts: &BTreeSet<String>, answers: &BTreeMap<String, Answer>) {
        self.taken = self.taken.saturating_sub(1);
        for name in hosts {
            self.change(name, |host| {
                host.taken = host.taken.saturating_sub(1);
                match answers.get(name).map(|answer| answer.has_answered) {
                    None => {}
                    Some(false) => host.failures = host.failures.saturating_add(1),
                    Some(true) => {
                        host.has_answered = true;
                        host.failures = 0;
                    }
                }
            });
        }
        if self.hosts.len() > REMEMBERED {
            // Whoever comes back is a stranger.
            self.hosts.retain(|_, host| host.taken > 0);
        }
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Host)) {
        let host = self.hosts.entry(name.to_owned()).or_default();
        let before = *host;
        change(host);
        let now = *host;
        let moved = |total: usize, now: usize, before: usize| (total + now).saturating_sub(before);
        self.of_failing = moved(self.of_failing, now.taken_as_failing(), before.taken_as_failing());
        self.of_unproven = moved(
            self.of_unproven,
            now.taken_as_unproven(),
            before.taken_as_unproven(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(host: &str) -> BTreeSet<String> {
        BTreeSet::from([host.to_owned()])
    }

    /// Takes as many places at a host as it gets, at most so many.
    fn fill(places: &mut Places, host: &str, most: usize) -> usize {
        let mut taken = 0;
        while taken < most && places.taken < PLACES && places.has_place(host) {
            places.take(&only(host));
            taken += 1;
        }
        taken
    }

    fn end(places: &mut Places, host: &str, has_answered: bool) {
        let answer = Answer {
            has_answered,
            ..Answer::default()
        };
        places.give_back(&only(host), &BTreeMap::from([(host.to_owned(), answer)]));
    }

    /// Hosts that answer, or that do not.
    fn known(hosts: usize, have_answered: bool) -> Places {
        let mut places = Places::default();
        for number in 0..hosts {
            for _ in 0..FAILING {
                places.take(&only(&format!("h{number}.test")));
                end(&mut places, &format!("h{number}.test"), have_answered);
            }
        }
        places
    }

    #[test]
    fn a_host_gets_few_places_until_it_has_answered() {
        let mut places = Places::default();
        assert_eq!(fill(&mut places, "h0.test", PLACES), OF_A_STRANGER);
        end(&mut places, "h0.test", true);
        assert_eq!(
            fill(&mut places, "h0.test", PLACES),
            OF_A_HOST - OF_A_STRANGER + 1
        );
    }

    #[test]
    fn the_last_places_are_for_hosts_that_have_none() {
        let mut places = known(12, true);
        assert_eq!(fill(&mut places, "h0.test", PLACES), OF_A_HOST);
        assert_eq!(fill(&mut places, "h1.test", PLACES), PLACES - KEPT - OF_A_HOST);
        for number in 2..12 {
            assert_eq!(fill(&mut places, &format!("h{number}.test"), PLACES), 1);
        }
        assert_eq!(places.taken, PLACES);
    }

    #[test]
    fn hosts_that_fail_leave_places_to_the_others_however_many_they_are() {
        let mut places = known(100, false);
        let taken: Vec<usize> = (0..100)
            .map(|number| fill(&mut places, &format!("h{number}.test"), PLACES))
            .collect();
        assert_eq!(taken[..3], [4, 4, 2]);
        assert_eq!(taken.iter().sum::<usize>(), OF_FAILING_HOSTS);
        assert!(taken[3..].iter().all(|taken| *taken < 2), "{taken:?}");
        assert_eq!(fill(&mut places, "new.test", PLACES), OF_A_STRANGER);
    }

    #[test]
    fn hosts_that_have_never_answered_leave_places_to_those_that_have_however_many_they_are() {
        let mut places = known(1, true);
        for number in 1..200 {
            let _ = fill(&mut places, &format!("h{number}.test"), PLACES);
        }
        assert_eq!(places.taken, PLACES - KEPT);
        assert!(!places.has_place("new.test"));
        assert_eq!(fill(&mut places, "h0.test", PLACES), 1);
    }

    #[test]
    fn a_host_that_answers_again_is_as_any_other() {
        let mut places = known(1, false);
        assert_eq!(fill(&mut places, "h0.test", PLACES), OF_A_FAILING_HOST);
        end(&mut places, "h0.test", true);
        assert_eq!(
            fill(&mut places, "h0.test", PLACES),
            OF_A_HOST - OF_A_FAILING_HOST + 1
        );
    }

    #[test]
    fn an_import_that_tells_nothing_changes_nothing_but_the_places() {
        let mut places = known(1, false);
        places.take(&only("h0.test"));
        places.give_back(&only("h0.test"), &BTreeMap::new());
        assert_eq!(fill(&mut places, "h0.test", PLACES), OF_A_FAILING_HOST);
    }

    #[test]
    fn hosts_are_forgotten_when_there_are_many() {
        let mut places = known(2 * REMEMBERED, false);
        assert!(places.hosts.len() <= REMEMBERED);
        places.take(&only("last.test"));
        assert_eq!((places.taken, places.of_failing), (1, 0));
    }
}
