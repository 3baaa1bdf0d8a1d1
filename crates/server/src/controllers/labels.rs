//! Labels of metrics that name registries: their names come from streams, which anybody may write.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// What the others are counted under.
const OTHERS: &str = "other";

/// The hosts that are counted by name: the first that come, up to a number.
#[derive(Debug)]
pub(super) struct HostLabels {
    most: usize,
    named: Mutex<HashSet<String>>,
}

impl HostLabels {
    /// No more than `most` hosts are named.
    pub(super) fn up_to(most: usize) -> Self {
        Self {
            most,
            named: Mutex::default(),
        }
    }

    /// What a host is counted under.
    pub(super) fn of<'a>(&self, host: &'a str) -> &'a str {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let is_named = named.contains(host) || (named.len() < self.most && named.insert(host.to_owned()));
        if is_named { host } else { OTHERS }
    }
}
