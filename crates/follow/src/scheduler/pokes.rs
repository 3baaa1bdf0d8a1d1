//! What somebody says was pushed.

use super::Scheduler;
use crate::table::State;
use crate::time::{Millis, millis};

/// A repository of which more is followed is asked as a whole, because of a push, no more often than its sources are.
const MANY: usize = 1_000;

impl Scheduler {
    /// Somebody says that something was pushed: brings forward the next check of a tag, or of all that is followed of
    /// the repository if none is named. Returns how many sources that are.
    pub fn poke(&mut self, host: &str, repository: &str, tag: Option<&str>, now: Millis) -> usize {
        let Some(host_id) = self.host_index.get(host).copied() else {
            return 0;
        };
        let Some(repository) = self.table.find_repository(host_id, repository) else {
            return 0;
        };
        let poke_interval = millis(self.options.poke_interval);
        let entry = &mut self.table.repositories[repository as usize];
        if tag.is_none() && entry.sources.len() > MANY {
            // All of them are asked soon anyway; each push that is told must not cost as much as they are.
            if entry.poked > now {
                return entry.sources.len();
            }
            entry.poked = now.max(Millis(entry.poked.0 + poke_interval));
        }
        let sources: Vec<u32> = match tag {
            Some(tag) => {
                // A new tag is news for those who follow which tags there are.
                let lists = self.table.sources_of(repository, None);
                self.table
                    .sources_of(repository, Some(tag))
                    .chain(lists)
                    .collect()
            }
            None => self.table.repositories[repository as usize].sources.clone(),
        };
        for id in &sources {
            let Some(entry) = self.table.source_mut(*id) else {
                continue;
            };
            if entry.state != State::Waiting {
                entry.again = matches!(entry.state, State::Asking | State::Fetching);
                continue;
            }
            let last = Millis::of_seconds(entry.last_poke).map_or(0, |last| last.0 + 1000);
            let at = Millis(now.0.max(last + poke_interval));
            if at >= entry.due {
                continue;
            }
            entry.last_poke = at.seconds();
            entry.due = at;
            // Before what is merely due.
            entry.key = if at > now {
                at
            } else {
                Millis(at.0.saturating_sub(u64::from(entry.interval_ms)))
            };
            let key = entry.key;
            self.wait(*id, key);
        }
        self.look_at(host_id, now);
        sources.len()
    }
}
