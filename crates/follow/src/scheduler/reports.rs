//! How it goes with hosts and streams, read off a scheduler.

use super::Scheduler;
use crate::report::{HostReport, TagReport, Throttled};
use crate::table::NONE;
use crate::time::Millis;

impl Scheduler {
    /// How it goes with each host, by name.
    pub fn host_reports(&mut self, now: Millis) -> Vec<HostReport> {
        let table = &self.table;
        let mut reports: Vec<HostReport> = self
            .hosts
            .iter_mut()
            .map(|(id, host)| HostReport {
                host: host.name.to_string(),
                tags: host.followers,
                sources: host.sources,
                checks_per_minute: host.checks.total(now),
                lag: host.lag(u32::try_from(id).unwrap_or(NONE), table, now),
                waiting_to_fetch: host.moved(),
                throttled: host.throttled(now).map(|(until, why)| Throttled { until, why }),
                failures: host.failures,
            })
            .collect();
        reports.sort_unstable_by(|one, other| one.host.cmp(&other.host));
        reports
    }

    /// Until when a host wants not to be read from, if it does: it refused, or allows no more for now. One that can't be
    /// reached has said nothing.
    #[must_use]
    pub fn reads_wait_until(&self, host: &str, now: Millis) -> Option<Millis> {
        let id = *self.host_index.get(host)?;
        self.hosts.get(id as usize)?.reads_wait_until(now)
    }

    /// How it goes with what a stream follows, in the order in which it was named.
    pub fn stream_report(&self, stream: &str, now: Millis) -> impl Iterator<Item = TagReport> {
        let stream = self.table.find_stream(stream);
        let followers = stream.map_or(&[][..], |id| &self.table.streams[id as usize].followers[..]);
        followers.iter().filter_map(move |id| {
            let follower = self.table.followers.get(*id as usize)?;
            let source = self.table.source(follower.source)?;
            let host = self.hosts.get(self.table.host_of(follower.source)? as usize)?;
            Some(TagReport {
                tag: follower.tag.to_string(),
                last_check: Millis::of_seconds(source.last_check),
                next_check: source.due.max(host.next_at(source.state, now)),
                last_change: Millis::of_seconds(source.last_change),
                last: source.outcome,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Asked, Failure, Feedback, Fetched, Followed, Options, Poll, Source, SourceId, What};

    const START: Millis = Millis(1_000_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn follow() -> Scheduler {
        let mut scheduler = Scheduler::new(Options::default());
        let followed = ["1", "2"].map(|tag| Followed {
            tag,
            source: Source {
                host: "h",
                repository: "a",
                what: What::Tag(tag),
                credential: 0,
                insecure: false,
            },
            interval: None,
        });
        scheduler.set_stream("n/s", followed, START);
        scheduler
    }

    /// The first source that is asked, and when.
    fn asked(scheduler: &mut Scheduler) -> (SourceId, Millis) {
        let mut now = START;
        loop {
            match scheduler.poll(now) {
                Poll::Ask(id) => return (id, now),
                Poll::Wait(Some(until)) => now = until,
                other => panic!("{other:?}"),
            }
        }
    }

    fn refusal() -> Feedback {
        Feedback {
            refused: true,
            retry_after: Some(HOUR),
            quota: None,
        }
    }

    fn next_checks(scheduler: &Scheduler, now: Millis) -> Vec<Millis> {
        let reports = scheduler.stream_report("n/s", now);
        reports.map(|report| report.next_check).collect()
    }

    #[test]
    fn what_is_at_a_host_that_is_left_alone_is_not_said_to_be_looked_at_before_that_is_over() {
        let mut scheduler = follow();
        let (id, now) = asked(&mut scheduler);
        scheduler.asked(id, now, Asked::Failed(Failure::RateLimited), &refusal());
        let later = now.after(HOUR / 2);
        assert_eq!(next_checks(&scheduler, later), [now.after(HOUR); 2]);
    }

    #[test]
    fn what_has_moved_at_a_host_that_refuses_to_be_read_is_said_to_be_read_when_that_is_over() {
        let mut scheduler = follow();
        let (id, now) = asked(&mut scheduler);
        scheduler.asked(id, now, Asked::Moved, &Feedback::default());
        assert_eq!(scheduler.poll(now), Poll::Fetch(id));
        scheduler.fetched(id, now, Fetched::Failed(Failure::RateLimited), 1, &refusal());
        let next_checks = next_checks(&scheduler, now);
        assert!(next_checks.contains(&now.after(HOUR)), "{next_checks:?}");
        assert!(
            next_checks.iter().any(|at| *at < now.after(HOUR)),
            "looks go on: {next_checks:?}"
        );
    }
}
