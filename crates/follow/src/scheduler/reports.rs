//! How it goes with hosts and streams, read off a scheduler.

use super::Scheduler;
use crate::report::{HostReport, TagReport, Throttled};
use crate::table::{NONE, State};
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
    pub fn stream_report(&self, stream: &str) -> impl Iterator<Item = TagReport> {
        let stream = self.table.find_stream(stream);
        let followers = stream.map_or(&[][..], |id| &self.table.streams[id as usize].followers[..]);
        followers.iter().filter_map(|id| {
            let follower = self.table.followers.get(*id as usize)?;
            let source = self.table.source(follower.source)?;
            let host = self.hosts.get(self.table.host_of(follower.source)? as usize)?;
            Some(TagReport {
                tag: follower.tag.to_string(),
                last_check: Millis::of_seconds(source.last_check),
                next_check: if source.state == State::Held {
                    source.due.max(host.paused_until)
                } else {
                    source.due
                },
                last_change: Millis::of_seconds(source.last_change),
                last: source.outcome,
            })
        })
    }
}
