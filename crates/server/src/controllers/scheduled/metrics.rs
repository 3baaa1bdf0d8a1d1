//! How following goes, in figures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};

use super::board::Board;
use super::look::Outcome;
use super::report::{HostReport, hosts};
use crate::controllers::labels::HostLabels;

/// Most hosts that are counted by name.
const MAX_HOSTS: usize = 200;

/// The figures of one server. Clones count together.
#[derive(Clone)]
pub(crate) struct FollowMetrics {
    checks: IntCounterVec,
    labels: Arc<HostLabels>,
}

impl FollowMetrics {
    /// Figures that are shown with those of `registry`; those that tell the state of things are taken from the board whenever
    /// somebody asks.
    ///
    /// # Errors
    /// If there are some of their names already.
    pub(crate) fn register(registry: &Registry, board: &Arc<Board>) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            checks: IntCounterVec::new(
                Opts::new(
                    "imagestream_follow_checks_total",
                    "Looks at the sources of scheduled tags, by registry host and by what came of them",
                ),
                &["host", "outcome"],
            )?,
            labels: Arc::new(HostLabels::up_to(MAX_HOSTS)),
        };
        registry.register(Box::new(metrics.checks.clone()))?;
        registry.register(Box::new(HostGauges {
            board: Arc::downgrade(board),
            labels: Arc::clone(&metrics.labels),
            gauges: Gauges::new()?,
            filling: Mutex::default(),
        }))?;
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
        let host = self.labels.of(host);
        self.checks.with_label_values(&[host, outcome]).inc();
    }
}

/// How it goes with each host, as the board has it when the figures are asked for. Nothing at a server that does not run
/// the controllers.
struct HostGauges {
    board: Weak<Board>,
    labels: Arc<HostLabels>,
    gauges: Gauges,
    /// Held while the gauges are filled anew, for each who asks.
    filling: Mutex<()>,
}

/// What is shown of a host.
struct Gauges {
    tags: GaugeVec,
    sources: GaugeVec,
    repositories: GaugeVec,
    checks_per_minute: GaugeVec,
    lag: GaugeVec,
    waiting_to_fetch: GaugeVec,
    throttled_until: GaugeVec,
}

impl Gauges {
    fn new() -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &["host"]);
        Ok(Self {
            tags: gauge("imagestream_follow_tags", "Scheduled tags that are followed")?,
            sources: gauge(
                "imagestream_follow_sources",
                "Different sources of scheduled tags: what is looked at with one request each",
            )?,
            repositories: gauge(
                "imagestream_follow_repositories",
                "Repositories whose tags are listed for rules",
            )?,
            checks_per_minute: gauge(
                "imagestream_follow_checks_per_minute",
                "Requests of the last minute: looks, readings of what moved, pages of lists",
            )?,
            lag: gauge(
                "imagestream_follow_lag_seconds",
                "How long ago the source should have been looked at that has been waiting for longest",
            )?,
            waiting_to_fetch: gauge(
                "imagestream_follow_waiting_to_fetch",
                "Sources that have moved and wait until their content may be read",
            )?,
            throttled_until: gauge(
                "imagestream_follow_throttled_until_seconds",
                "Until when the host is left alone, or not asked for content, in seconds since 1970; absent if it is not",
            )?,
        })
    }

    fn all(&self) -> [&GaugeVec; 7] {
        [
            &self.tags,
            &self.sources,
            &self.repositories,
            &self.checks_per_minute,
            &self.lag,
            &self.waiting_to_fetch,
            &self.throttled_until,
        ]
    }

    fn set(&self, host: &str, report: &Figures) {
        let set = |gauge: &GaugeVec, value| gauge.with_label_values(&[host]).set(value);
        set(&self.tags, report.tags);
        set(&self.sources, report.sources);
        set(&self.repositories, report.repositories);
        set(&self.checks_per_minute, report.checks_per_minute);
        set(&self.lag, report.lag_seconds);
        set(&self.waiting_to_fetch, report.waiting_to_fetch);
        if let Some(until) = report.throttled_until {
            set(&self.throttled_until, until);
        }
    }
}

/// The figures of one host, or of several that are counted together.
#[derive(Debug, Default, PartialEq)]
struct Figures {
    tags: f64,
    sources: f64,
    repositories: f64,
    checks_per_minute: f64,
    /// The longest.
    lag_seconds: f64,
    waiting_to_fetch: f64,
    /// The latest.
    throttled_until: Option<f64>,
}

impl Figures {
    fn add(&mut self, report: &HostReport) {
        self.tags += f64::from(report.tags);
        self.sources += f64::from(report.sources);
        self.repositories += count(report.repositories);
        self.checks_per_minute += f64::from(report.checks_per_minute);
        self.lag_seconds = self.lag_seconds.max(report.lag.as_secs_f64());
        self.waiting_to_fetch += count(report.waiting_to_fetch);
        let until = report
            .throttled_until
            .map(|until| until.as_duration().as_secs_f64());
        self.throttled_until = [self.throttled_until, until]
            .into_iter()
            .flatten()
            .reduce(f64::max);
    }
}

fn by_label<'a>(reports: &'a [HostReport], labels: &HostLabels) -> BTreeMap<&'a str, Figures> {
    let mut figures: BTreeMap<&str, Figures> = BTreeMap::new();
    for report in reports {
        let label = labels.of(&report.host);
        figures.entry(label).or_default().add(report);
    }
    figures
}

fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

impl Collector for HostGauges {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(board) = self.board.upgrade() else {
            return Vec::new();
        };
        let reports = hosts(&board);
        let figures = by_label(&reports, &self.labels);
        let _filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        for gauge in self.gauges.all() {
            gauge.reset();
        }
        for (host, figures) in &figures {
            self.gauges.set(host, figures);
        }
        self.gauges
            .all()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    #[test]
    fn hosts_beyond_the_named_ones_are_counted_together_by_sum_longest_lag_and_latest_pause() {
        let report = |index: usize, tags: u32, lag: u64, until: Option<i64>| HostReport {
            host: format!("registry-{index:03}.example"),
            tags,
            repositories: 1,
            lag: Duration::from_secs(lag),
            throttled_until: until.map(|until| Timestamp::from_second(until).unwrap()),
            ..HostReport::default()
        };
        let mut reports: Vec<_> = (0..MAX_HOSTS).map(|index| report(index, 2, 1, None)).collect();
        reports.push(report(MAX_HOSTS, 3, 9, None));
        reports.push(report(MAX_HOSTS + 1, 4, 5, Some(700)));
        reports.push(report(MAX_HOSTS + 2, 5, 0, Some(600)));
        let labels = HostLabels::up_to(MAX_HOSTS);
        let figures = by_label(&reports, &labels);
        assert_eq!(figures.len(), MAX_HOSTS + 1);
        assert_eq!(
            (
                figures["registry-000.example"].tags,
                figures["registry-000.example"].throttled_until
            ),
            (2.0, None)
        );
        let others = Figures {
            tags: 12.0,
            repositories: 3.0,
            lag_seconds: 9.0,
            throttled_until: Some(700.0),
            ..Figures::default()
        };
        assert_eq!(figures["other"], others);
        // Who has a name keeps it.
        let (first, later) = (&reports[..1], &reports[MAX_HOSTS..=MAX_HOSTS]);
        assert!(by_label(first, &labels).contains_key("registry-000.example"));
        assert!(by_label(later, &labels).contains_key("other"));
    }
}
