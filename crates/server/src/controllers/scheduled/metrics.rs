//! How following goes, in figures.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Gauge, IntCounterVec, IntGauge, Opts, Registry};

use super::look::Outcome;

/// Most hosts that are counted by name: their names come from streams, which anybody may write.
const MAX_HOSTS: usize = 200;
/// What the others are counted under.
const OTHERS: &str = "other";

/// The figures of one server. Clones count together.
#[derive(Clone)]
pub(crate) struct FollowMetrics {
    checks: IntCounterVec,
    tags: IntGauge,
    sources: IntGauge,
    lag: Gauge,
    throttled: IntGauge,
    hosts: Arc<Mutex<HashSet<String>>>,
}

impl FollowMetrics {
    /// Figures that are shown with those of `registry`.
    ///
    /// # Errors
    /// If there are some of their names already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            checks: IntCounterVec::new(
                Opts::new(
                    "imagestream_follow_checks_total",
                    "Looks at the sources of scheduled tags, by registry host and by what came of them",
                ),
                &["host", "outcome"],
            )?,
            tags: IntGauge::new("imagestream_follow_tags", "Scheduled tags that are followed")?,
            sources: IntGauge::new(
                "imagestream_follow_sources",
                "Different sources of scheduled tags: what is looked at with one request each",
            )?,
            lag: Gauge::new(
                "imagestream_follow_lag_seconds",
                "How long ago the source should have been looked at that has been waiting for longest",
            )?,
            throttled: IntGauge::new(
                "imagestream_follow_throttled_hosts",
                "Registry hosts that are left alone for a while, or not asked for content",
            )?,
            hosts: Arc::default(),
        };
        registry.register(Box::new(metrics.checks.clone()))?;
        registry.register(Box::new(metrics.tags.clone()))?;
        registry.register(Box::new(metrics.sources.clone()))?;
        registry.register(Box::new(metrics.lag.clone()))?;
        registry.register(Box::new(metrics.throttled.clone()))?;
        Ok(metrics)
    }

    pub(super) fn looked(&self, host: &str, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Unchanged => "unchanged",
            Outcome::Moved(_) => "moved",
            Outcome::Unsure(_) => "unsure",
            Outcome::Imported { .. } => "imported",
            Outcome::Failed(kind) => kind.name(),
            Outcome::RateLimited => "rate_limited",
        };
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = hosts.contains(host) || (hosts.len() < MAX_HOSTS && hosts.insert(host.to_owned()));
        let host = if is_known { host } else { OTHERS };
        self.checks.with_label_values(&[host, outcome]).inc();
    }

    pub(super) fn show(&self, tags: usize, sources: usize, lag: Duration, throttled: usize) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.tags.set(count(tags));
        self.sources.set(count(sources));
        self.lag.set(lag.as_secs_f64());
        self.throttled.set(count(throttled));
    }
}
