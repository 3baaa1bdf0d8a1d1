//! What an administrator decides about following.

use std::time::Duration;

/// How often sources are asked, and how many at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How often a source is asked unless who follows it says otherwise; at most [`Options::LONGEST`].
    pub interval: Duration,
    /// The most often that who follows may ask for.
    pub minimum_interval: Duration,
    /// The most often that pokes may have a source asked.
    pub poke_interval: Duration,
    /// What each host is burdened with.
    pub host: HostBudget,
}

/// The most that one host is burdened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostBudget {
    /// Checks, fetches and visits that may begin in any minute, evenly spread over it; at least 1. What takes more than
    /// one request counts as so many.
    pub checks_per_minute: u32,
    /// Checks that are under way at once; at least 1.
    pub checks_in_flight: u32,
    /// Fetches that are under way at once; at least 1.
    pub fetches_in_flight: u32,
}

impl Options {
    /// Longest interval.
    pub const LONGEST: Duration = Duration::from_secs(31 * 24 * 60 * 60);
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15 * 60),
            minimum_interval: Duration::from_secs(60),
            poke_interval: Duration::from_secs(10),
            host: HostBudget::default(),
        }
    }
}

impl Default for HostBudget {
    fn default() -> Self {
        Self {
            checks_per_minute: 1_200,
            checks_in_flight: 32,
            fetches_in_flight: 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Asked, Feedback, Followed, Millis, Poll, Scheduler, Source, What};

    #[test]
    fn an_interval_out_of_bounds_counts_as_the_bound() {
        let day = Duration::from_secs(24 * 60 * 60);
        for (wanted, counts) in [
            (Duration::from_secs(1), Duration::from_secs(60)),
            (366 * day, 31 * day),
            (day, day),
        ] {
            let mut scheduler = Scheduler::new(Options::default());
            let source = Source {
                host: "h",
                repository: "a",
                what: What::Tag("1"),
                credential: 0,
                insecure: false,
            };
            let followed = Followed {
                tag: "t",
                source,
                interval: Some(wanted),
            };
            let mut now = Millis(1_000_000_000_000);
            scheduler.set_stream("n/s", [followed], now);
            let mut asked = Vec::new();
            while asked.len() < 2 {
                match scheduler.poll(now) {
                    Poll::Ask(id) => {
                        asked.push(now);
                        scheduler.asked(id, now, Asked::Unchanged, &Feedback::default());
                    }
                    Poll::Wait(Some(until)) => now = until,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(asked[1].since(asked[0]), counts, "{wanted:?}");
        }
    }
}
