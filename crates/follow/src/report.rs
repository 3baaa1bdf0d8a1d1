//! How following goes, for those who look from outside.

use std::time::Duration;

use crate::scheduler::Failure;
use crate::time::Millis;

/// How it goes with one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReport {
    /// The registry.
    pub host: String,
    /// Tags of streams that follow something there.
    pub tags: u32,
    /// What they follow, each once.
    pub sources: u32,
    /// Requests in the last minute: checks, fetches and visits that began, and what more these sent.
    pub checks_per_minute: u32,
    /// How long what is next has been due.
    pub lag: Duration,
    /// Sources that have moved and wait to be fetched.
    pub waiting_to_fetch: usize,
    /// Until when it is left alone.
    pub throttled: Option<Throttled>,
    /// Checks and fetches that failed since it is followed.
    pub failures: u64,
}

/// Until when a host is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttled {
    /// The end of it.
    pub until: Millis,
    /// Why.
    pub why: Why,
}

/// Why a host is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It said that it is asked too often.
    Refused,
    /// It can't be reached.
    Unreachable,
    /// It allows no more requests until then.
    Quota,
}

/// How it goes with what a tag of a stream follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagReport {
    /// The tag.
    pub tag: String,
    /// When its source was last asked; not since the scheduler began if absent.
    pub last_check: Option<Millis>,
    /// When its source will be asked next, if its host's budget allows it then.
    pub next_check: Millis,
    /// When something new was recorded; not since the scheduler began if absent.
    pub last_change: Option<Millis>,
    /// How the last check went.
    pub last: Last,
}

/// How a check went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Last {
    /// There was none.
    #[default]
    Never,
    /// Nothing had moved.
    Unchanged,
    /// The source had moved, and is fetched or was.
    Moved,
    /// Whether it had moved is known when it was fetched.
    Unsure,
    /// It failed.
    Failed(Failure),
}
