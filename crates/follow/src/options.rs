//! How often, and how much of each host.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

/// How a [`Scheduler`](crate::Scheduler) behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often a source is checked. 15 minutes.
    pub interval: Duration,
    /// The least interval that a tag may ask for. One minute.
    pub minimum_interval: Duration,
    /// What each host may be asked.
    pub per_host: HostBudget,
    /// Hosts for which that is otherwise, by `host[:port]`.
    pub hosts: BTreeMap<String, HostBudget>,
    /// How long after a push that was announced the next one brings a source forward again. 10 seconds.
    pub poke_min_interval: Duration,
    /// The longest that a host is left alone because it asks for it. One hour.
    pub longest_pause: Duration,
    /// Where in its interval a source has its place depends on this too. The same at every start.
    pub seed: u64,
}

/// What one host may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostBudget {
    /// Checks in any minute; no limit if not given.
    pub checks_per_minute: Option<NonZeroU32>,
    /// Checks and fetches at a time.
    pub max_in_flight: NonZeroU32,
    /// Manifests that may be fetched in a time, where the host does not say so itself.
    pub fetches: Option<(NonZeroU32, Duration)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15 * 60),
            minimum_interval: Duration::from_secs(60),
            per_host: HostBudget::default(),
            hosts: BTreeMap::new(),
            poke_min_interval: Duration::from_secs(10),
            longest_pause: Duration::from_secs(60 * 60),
            seed: 0,
        }
    }
}

impl Default for HostBudget {
    /// 6,000 checks in a minute, 32 at a time, as many manifests as the host allows.
    fn default() -> Self {
        Self {
            checks_per_minute: NonZeroU32::new(6_000),
            max_in_flight: NonZeroU32::MIN.saturating_add(31),
            fetches: None,
        }
    }
}
