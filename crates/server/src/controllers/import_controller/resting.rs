//! Which hosts want to be left alone, by whom and until when, as imports have found out.
//!
//! Hosts count requests by who makes them, and namespaces have secrets of their own: what a host told one namespace holds
//! for that one as long as the host said, and for others no longer than a minute, as
//! [the registry client](imagestream_registry) has it, too.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// First rest of a host that does not say for how long; doubled each time.
const FIRST: Duration = Duration::from_secs(5);
/// Longest such rest.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Longest rest that a host may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest rest for those who were not told themselves.
const SHARED: Duration = Duration::from_secs(60);
/// Hosts, or namespaces at them, that are remembered. Others are asked to find out.
const REMEMBERED: usize = 4_096;

/// A host as a namespace knows it.
type Caller = (String, String);

#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Instant,
    /// Refusals in a row.
    refusals: u32,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Resting {
    callers: HashMap<Caller, Rest>,
    hosts: HashMap<String, Instant>,
}

impl Resting {
    /// A host refused imports of a namespace, and may have asked to be left alone for this long.
    pub(super) fn refused(&mut self, host: &str, namespace: &str, asked: Option<Duration>, now: Instant) {
        make_room(&mut self.callers, |rest| rest.until > now);
        make_room(&mut self.hosts, |until| *until > now);
        let caller = self.callers.entry(caller(host, namespace));
        let rest = caller.or_insert(Rest {
            until: now,
            refusals: 0,
        });
        // What was under way when the host began to refuse tells nothing new.
        if now >= rest.until {
            rest.refusals = rest.refusals.saturating_add(1);
        }
        let span = match asked {
            Some(asked) => asked.min(LONGEST_ASKED),
            None => {
                let factor = 2u32.saturating_pow(rest.refusals.saturating_sub(1));
                FIRST.saturating_mul(factor).min(LONGEST)
            }
        };
        rest.until = rest.until.max(now + span);
        let shared = self.hosts.entry(host.to_owned()).or_insert(now);
        *shared = (*shared).max(now + span.min(SHARED));
    }

    /// A host answered an import of a namespace, and refused nothing.
    pub(super) fn answered(&mut self, host: &str, namespace: &str) {
        self.callers.remove(&caller(host, namespace));
        self.hosts.remove(host);
    }

    /// A namespace has other credentials than those that were refused. What others wait for, it still does.
    pub(super) fn forget(&mut self, namespace: &str) {
        self.callers.retain(|(_, of), _| of != namespace);
    }

    /// Until when a namespace leaves a host alone, if it does.
    pub(super) fn until(&self, host: &str, namespace: &str, now: Instant) -> Option<Instant> {
        let own = self.callers.get(&caller(host, namespace)).map(|rest| rest.until);
        let shared = self.hosts.get(host).copied();
        own.max(shared).filter(|until| *until > now)
    }
}

fn caller(host: &str, namespace: &str) -> Caller {
    (host.to_owned(), namespace.to_owned())
}

/// Makes room for one more, by those that do not matter any more if there are such.
fn make_room<K: Eq + Hash, V>(remembered: &mut HashMap<K, V>, matters: impl Fn(&V) -> bool) {
    if remembered.len() >= REMEMBERED {
        remembered.retain(|_, value| matters(value));
    }
    if remembered.len() >= REMEMBERED {
        remembered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_host_is_left_alone_as_long_as_it_asks_by_whom_it_asked_and_a_minute_by_others() {
        let (mut resting, now) = (Resting::default(), Instant::now());
        resting.refused("h", "n", Some(HOUR), now);
        assert_eq!(resting.until("h", "n", now), Some(now + HOUR));
        assert_eq!(resting.until("h", "other", now), Some(now + 60 * SECOND));
        assert_eq!(resting.until("h", "other", now + 60 * SECOND), None);
        assert_eq!(resting.until("other", "n", now), None);
        assert_eq!(resting.until("h", "n", now + HOUR), None);
    }

    #[test]
    fn a_namespace_with_new_credentials_waits_no_longer_than_others_do() {
        let (mut resting, now) = (Resting::default(), Instant::now());
        for namespace in ["n", "other"] {
            resting.refused("h", namespace, Some(HOUR), now);
        }
        resting.forget("n");
        assert_eq!(resting.until("h", "n", now), Some(now + 60 * SECOND));
        assert_eq!(resting.until("h", "other", now), Some(now + HOUR));
    }

    #[test]
    fn a_host_that_does_not_say_how_long_is_left_alone_ever_longer_until_it_answers() {
        let (mut resting, mut now) = (Resting::default(), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..10 {
            // What was under way counts once.
            for _ in 0..3 {
                resting.refused("h", "n", None, now);
            }
            let until = resting.until("h", "n", now).unwrap();
            rests.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
        resting.answered("h", "n");
        resting.refused("h", "n", None, now);
        assert_eq!(resting.until("h", "n", now), Some(now + 5 * SECOND));
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let (mut resting, now) = (Resting::default(), Instant::now());
        for number in 0..3 * REMEMBERED {
            resting.refused(&number.to_string(), "n", Some(30 * HOUR), now);
        }
        assert!(resting.callers.len() <= REMEMBERED && resting.hosts.len() <= REMEMBERED);
        let last = (3 * REMEMBERED - 1).to_string();
        assert_eq!(resting.until(&last, "n", now), Some(now + 24 * HOUR));
    }
}
