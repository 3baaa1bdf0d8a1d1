//! How many streams are being imported from each host.

use std::collections::{BTreeSet, HashMap};

/// Most streams that are imported from one host at once: one that never answers must not keep the others waiting.
pub(super) const OF_A_HOST: usize = 25;

/// The places that imports take at hosts.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: HashMap<String, usize>,
}

impl Places {
    /// Whether one more stream may be imported from a host.
    pub(super) fn has_place(&self, host: &str) -> bool {
        self.taken.get(host).is_none_or(|taken| *taken < OF_A_HOST)
    }

    /// Takes a place at each host.
    pub(super) fn take(&mut self, hosts: &BTreeSet<String>) {
        for host in hosts {
            *self.taken.entry(host.clone()).or_default() += 1;
        }
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&mut self, hosts: &BTreeSet<String>) {
        for host in hosts {
            if let Some(taken) = self.taken.get_mut(host) {
                *taken -= 1;
                if *taken == 0 {
                    self.taken.remove(host);
                }
            }
        }
    }
}
