//! Requests that belong to no source, such as those for the pages of a list. They take their place in the row of the
//! host's checks, and what comes of them counts as what comes of checks.

use super::{Failure, Scheduler, heard};
use crate::host::Host;
use crate::quota::Feedback;
use crate::table::NONE;
use crate::time::Millis;

/// Hosts that may come to be known before those are forgotten of which nothing matters any more.
const SPARE: usize = 64;
/// Hosts that are remembered at all though nothing is followed there: streams, which anybody may write, name them.
const REMEMBERED: usize = 4_096;

/// When a host may be visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// Then; [`Scheduler::begin_visit`] must follow.
    At(Millis),
    /// It is left alone until then: ask again.
    LeftAlone(Millis),
}

impl Scheduler {
    /// Asks for a turn to send one request to a host. It counts as a check of the host.
    pub fn visit(&mut self, host: &str, now: Millis) -> Visit {
        let known = self.host_index.get(host).copied();
        let id = match known {
            Some(id) => id,
            None => {
                self.forget_hosts(now);
                self.insert_host(host)
            }
        };
        self.hosts
            .get_mut(id as usize)
            .map_or(Visit::LeftAlone(now), |host| host.visit(now))
    }

    /// Begins a visit at the moment that [`Scheduler::visit`] gave; [`Scheduler::visited`] must follow.
    ///
    /// # Errors
    /// Until when the host is left alone, if that began meanwhile: the visit is over.
    pub fn begin_visit(&mut self, host: &str, now: Millis) -> Result<(), Millis> {
        let Some(host) = self.visited_host(host) else {
            return Ok(());
        };
        if host.paused_until > now {
            host.visiting = host.visiting.saturating_sub(1);
            return Err(host.paused_until);
        }
        host.checks.count(now);
        Ok(())
    }

    /// A visit ended: how, and what the host said.
    pub fn visited(&mut self, host: &str, now: Millis, failure: Option<Failure>, feedback: &Feedback) {
        let Some(id) = self.host_index.get(host).copied() else {
            return;
        };
        if let Some(host) = self.hosts.get_mut(id as usize) {
            host.visiting = host.visiting.saturating_sub(1);
            host.allowance.visited(feedback.quota.as_ref(), now);
            heard(host, failure, feedback, self.options.interval, now);
            host.release(id, &mut self.table);
        }
        self.look_at(id, now);
    }

    /// A visit was given up before anything was sent.
    pub fn not_visited(&mut self, host: &str) {
        if let Some(host) = self.visited_host(host) {
            host.visiting = host.visiting.saturating_sub(1);
        }
    }

    fn visited_host(&mut self, host: &str) -> Option<&mut Host> {
        let id = *self.host_index.get(host)?;
        self.hosts.get_mut(id as usize)
    }

    pub(super) fn insert_host(&mut self, name: &str) -> u32 {
        let id = self.hosts.insert(Host::new(name, &self.options.host));
        let id = u32::try_from(id).unwrap_or(NONE);
        self.host_index.insert(name.into(), id);
        id
    }

    /// Whether anything is known of a host.
    #[must_use]
    pub fn knows(&self, host: &str) -> bool {
        self.host_index.contains_key(host)
    }

    /// Forgets hosts where nothing is followed and of which nothing is known that matters any more. To be called from time
    /// to time; where many hosts come to be known, that is done without.
    pub fn tidy(&mut self, now: Millis) {
        let before = self.hosts.len();
        let mut unfollowed = 0;
        self.retain_hosts(|host| {
            let is_remembered = host.is_remembered(now);
            unfollowed += usize::from(is_remembered);
            is_remembered
        });
        if unfollowed > REMEMBERED {
            self.retain_hosts(|host| host.visiting > 0);
        }
        if self.hosts.len() < before / 2 {
            self.hosts.shrink_to_fit();
            self.host_index.shrink_to_fit();
        }
        self.most_hosts = SPARE + 2 * self.hosts.len();
    }

    /// Forgets hosts where nothing is followed and for which this is not so.
    fn retain_hosts(&mut self, mut is_remembered: impl FnMut(&mut Host) -> bool) {
        let index = &mut self.host_index;
        self.hosts.retain(|_, host| {
            let is_kept = host.sources > 0 || is_remembered(host);
            if !is_kept {
                index.remove(&host.name);
            }
            is_kept
        });
    }

    pub(super) fn forget_hosts(&mut self, now: Millis) {
        if self.hosts.len() >= self.most_hosts {
            self.tidy(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Asked, Fetched, Followed, HostBudget, Options, Poll, Quota, Source, SourceId, What, Why};

    const START: Millis = Millis(1_000_000_000_000);

    fn scheduler(checks_per_minute: u32) -> Scheduler {
        Scheduler::new(Options {
            host: HostBudget {
                checks_per_minute,
                ..HostBudget::default()
            },
            ..Options::default()
        })
    }

    fn follow(scheduler: &mut Scheduler, host: &str) {
        let source = Source {
            host,
            repository: "a",
            what: What::Tag("1"),
            credential: 0,
            insecure: false,
        };
        let followed = Followed {
            tag: "t",
            source,
            interval: Some(Duration::from_secs(60)),
        };
        scheduler.set_stream("n/s", [followed], START);
    }

    /// When the source of the stream is asked next.
    fn asked_at(scheduler: &mut Scheduler, mut now: Millis) -> (SourceId, Millis) {
        loop {
            match scheduler.poll(now) {
                Poll::Ask(id) => return (id, now),
                Poll::Wait(Some(until)) => now = until,
                other => panic!("{other:?}"),
            }
        }
    }

    fn refusal(seconds: u64) -> Feedback {
        Feedback {
            refused: true,
            retry_after: Some(Duration::from_secs(seconds)),
            quota: None,
        }
    }

    #[test]
    fn a_host_that_refuses_a_visit_is_not_checked_and_the_other_way_round() {
        let mut scheduler = scheduler(1_200);
        follow(&mut scheduler, "h");
        assert_eq!(scheduler.visit("h", START), Visit::At(START));
        scheduler.visited("h", START, Some(Failure::RateLimited), &refusal(600));
        let end = START.after(Duration::from_secs(600));
        assert_eq!(scheduler.visit("h", START), Visit::LeftAlone(end));
        let (id, at) = asked_at(&mut scheduler, START);
        assert_eq!(at, end);
        scheduler.asked(id, at, Asked::Failed(Failure::RateLimited), &refusal(60));
        assert_eq!(
            scheduler.visit("h", at),
            Visit::LeftAlone(at.after(Duration::from_secs(60)))
        );
        assert_eq!(scheduler.visit("other", at), Visit::At(at));
    }

    #[test]
    fn visits_and_checks_together_keep_to_the_budget_of_a_host() {
        let mut scheduler = scheduler(6);
        follow(&mut scheduler, "h");
        let mut moments: Vec<u64> = Vec::new();
        for _ in 0..3 {
            let Visit::At(at) = scheduler.visit("h", START) else {
                panic!("it is not left alone");
            };
            assert_eq!(scheduler.begin_visit("h", at), Ok(()));
            moments.push(at.0);
        }
        // The source is due within a minute, and waits for its turn behind them.
        let due = START.after(Duration::from_secs(20));
        scheduler.poke("h", "a", Some("1"), due);
        let asked = asked_at(&mut scheduler, due).1;
        moments.push(asked.0);
        let gaps = moments.windows(2).map(|pair| pair[1] - pair[0]);
        assert_eq!(Vec::from_iter(gaps), [10_000; 3]);
        let reports = scheduler.host_reports(asked);
        assert_eq!(reports[0].checks_per_minute, 4);
    }

    #[test]
    fn imports_and_all_that_they_send_keep_to_the_budget_of_a_host() {
        let mut scheduler = scheduler(6);
        follow(&mut scheduler, "h");
        let (id, asked) = asked_at(&mut scheduler, START);
        scheduler.asked(id, asked, Asked::Moved, &Feedback::default());
        let gap = Duration::from_secs(10);
        assert_eq!(scheduler.poll(asked), Poll::Wait(Some(asked.after(gap))));
        let begun = asked.after(gap);
        assert_eq!(scheduler.poll(begun), Poll::Fetch(id));
        // A manifest, and two more.
        scheduler.sent(id, 2, begun);
        scheduler.fetched(
            id,
            begun,
            Fetched::Done { changed: true },
            2,
            &Feedback::default(),
        );
        let reports = scheduler.host_reports(begun);
        assert_eq!(reports[0].checks_per_minute, 4);
        assert_eq!(scheduler.visit("h", begun), Visit::At(begun.after(3 * gap)));
    }

    #[test]
    fn a_pause_that_begins_while_a_visit_waits_for_its_turn_ends_it() {
        let mut scheduler = scheduler(6);
        assert_eq!(scheduler.visit("h", START), Visit::At(START));
        let Visit::At(second) = scheduler.visit("h", START) else {
            panic!("it has a turn");
        };
        scheduler.visited("h", START, None, &refusal(60));
        let end = START.after(Duration::from_secs(60));
        assert_eq!(scheduler.begin_visit("h", second), Err(end));
        assert_eq!(scheduler.begin_visit("h", end), Ok(()));
    }

    #[test]
    fn a_host_that_cannot_be_reached_is_visited_with_one_request_at_a_time() {
        let mut scheduler = scheduler(1_200);
        for _ in 0..3 {
            assert!(matches!(scheduler.visit("h", START), Visit::At(_)));
            scheduler.visited("h", START, Some(Failure::Unreachable), &Feedback::default());
        }
        let Visit::LeftAlone(end) = scheduler.visit("h", START) else {
            panic!("it is left alone");
        };
        assert!(matches!(scheduler.visit("h", end), Visit::At(_)));
        assert!(matches!(scheduler.visit("h", end), Visit::LeftAlone(_)));
        let reports = scheduler.host_reports(START);
        assert_eq!(
            reports[0].throttled.map(|throttled| throttled.why),
            Some(Why::Unreachable)
        );
    }

    #[test]
    fn a_host_that_answers_a_visit_is_checked_again_at_once() {
        let mut scheduler = scheduler(1_200);
        for _ in 0..3 {
            assert!(matches!(scheduler.visit("h", START), Visit::At(_)));
            scheduler.visited("h", START, Some(Failure::Unreachable), &Feedback::default());
        }
        follow(&mut scheduler, "h");
        scheduler.poke("h", "a", Some("1"), START);
        let Poll::Tell(id) = scheduler.poll(START) else {
            panic!("it can't be reached");
        };
        scheduler.told(id, START);
        let now = START.after(Duration::from_secs(15));
        assert_eq!(scheduler.visit("h", now), Visit::At(now));
        scheduler.visited("h", now, None, &Feedback::default());
        assert_eq!(scheduler.poll(now), Poll::Ask(id));
    }

    #[test]
    fn a_host_that_counts_visits_is_not_visited_when_none_is_left() {
        let mut scheduler = scheduler(1_200);
        let quota = |remaining| Feedback {
            quota: Some(Quota {
                limit: Some(100),
                remaining,
                window: None,
                reset: Some(Duration::from_secs(300)),
            }),
            ..Feedback::default()
        };
        scheduler.visit("h", START);
        scheduler.visited("h", START, None, &quota(1));
        let later = START.after(Duration::from_secs(1));
        assert_eq!(scheduler.visit("h", later), Visit::At(later));
        scheduler.visited("h", later, None, &quota(0));
        let full = later.after(Duration::from_secs(300));
        assert_eq!(scheduler.visit("h", later), Visit::LeftAlone(full));
        assert_eq!(scheduler.visit("h", full), Visit::At(full));
    }

    #[test]
    fn a_host_that_refused_is_left_alone_by_those_who_follow_it_anew() {
        let mut scheduler = scheduler(1_200);
        follow(&mut scheduler, "h");
        let (id, at) = asked_at(&mut scheduler, START);
        scheduler.asked(id, at, Asked::Failed(Failure::RateLimited), &refusal(600));
        scheduler.remove_stream("n/s", at);
        follow(&mut scheduler, "h");
        assert_eq!(asked_at(&mut scheduler, at).1, at.after(Duration::from_secs(600)));
    }

    #[test]
    fn hosts_that_are_only_visited_are_forgotten_in_time_and_others_not() {
        let mut scheduler = scheduler(1_200);
        follow(&mut scheduler, "followed");
        let mut now = START;
        for number in 0..10_000 {
            let host = format!("h{number}");
            scheduler.visit(&host, now);
            scheduler.visited(&host, now, None, &Feedback::default());
            now = now.after(Duration::from_secs(1));
        }
        let reports = scheduler.host_reports(now);
        assert!(reports.len() < 400, "{}", reports.len());
        assert!(reports.iter().any(|report| report.host == "followed"));
    }

    #[test]
    fn hosts_that_could_not_be_reached_or_refused_are_forgotten_too() {
        let mut scheduler = scheduler(1_200);
        follow(&mut scheduler, "followed");
        for number in 0..1_000 {
            let host = format!("h{number}");
            for _ in 0..=number % 4 {
                if scheduler.visit(&host, START) == Visit::At(START) {
                    assert_eq!(scheduler.begin_visit(&host, START), Ok(()));
                }
                scheduler.visited(&host, START, Some(Failure::Unreachable), &Feedback::default());
            }
        }
        scheduler.visit("refusing", START);
        scheduler.visited("refusing", START, Some(Failure::RateLimited), &refusal(3600));
        scheduler.tidy(START);
        assert_eq!(
            scheduler.host_reports(START).len(),
            1_002,
            "for a while they are left alone"
        );
        let later = START.after(Duration::from_secs(15 * 60));
        scheduler.tidy(later);
        let reports = scheduler.host_reports(later);
        let hosts: Vec<_> = reports.iter().map(|report| &*report.host).collect();
        assert_eq!(hosts, ["followed", "refusing"]);
        scheduler.tidy(START.after(Duration::from_secs(2 * 3600)));
        assert!(!scheduler.knows("refusing") && scheduler.knows("followed"));
    }

    #[test]
    fn no_more_hosts_are_remembered_than_there_is_room_for_however_long_they_want_to_be_left_alone() {
        let mut scheduler = scheduler(1_200);
        follow(&mut scheduler, "followed");
        for number in 0..4 * REMEMBERED {
            let host = format!("h{number}");
            scheduler.visit(&host, START);
            scheduler.visited(&host, START, Some(Failure::RateLimited), &refusal(24 * 3600));
        }
        assert!(
            scheduler.hosts.len() <= 3 * REMEMBERED,
            "{}",
            scheduler.hosts.len()
        );
        scheduler.tidy(START);
        assert!(scheduler.hosts.len() <= REMEMBERED + 1);
        assert!(scheduler.knows("followed"));
    }

    #[test]
    fn a_host_that_refuses_or_allows_no_more_is_not_to_be_read_from_and_one_that_cannot_be_reached_may_be() {
        let mut scheduler = scheduler(1_200);
        let soon = START.after(Duration::from_secs(600));
        scheduler.visit("refuses", START);
        scheduler.visited("refuses", START, Some(Failure::RateLimited), &refusal(600));
        let none_left = Feedback {
            quota: Some(Quota {
                limit: Some(100),
                remaining: 0,
                window: None,
                reset: Some(Duration::from_secs(600)),
            }),
            ..Feedback::default()
        };
        scheduler.visit("counts", START);
        scheduler.visited("counts", START, None, &none_left);
        for _ in 0..3 {
            scheduler.visit("silent", START);
            scheduler.visited("silent", START, Some(Failure::Unreachable), &Feedback::default());
        }
        for (host, until) in [
            ("refuses", Some(soon)),
            ("counts", Some(soon)),
            ("silent", None),
            ("unknown", None),
        ] {
            assert_eq!(scheduler.reads_wait_until(host, START), until, "{host}");
            assert_eq!(scheduler.reads_wait_until(host, soon), None, "{host}");
        }
    }
}
