//! One registry host: its budget, and how it is kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use imagestream_registry::HostFeedback;

use super::{Millis, Rules, millis};
use crate::controllers::scheduled::look::Outcome;
use crate::controllers::scheduled::settled::FailureKind;
use crate::controllers::scheduled::table::SourceId;

const MINUTE: Millis = 60_000;
/// Pause after a host refused without saying for how long; doubled with each refusal.
const FIRST_PAUSE: Millis = 10_000;
/// Longest of these.
const LONGEST_PAUSE: Millis = 10 * MINUTE;
/// A host that failed so often without an answer between is tried with one look at a time.
const FAILURES: u32 = 5;
/// Time between such tries; doubled with each, up to the longest.
const FIRST_TRY: Millis = 1_000;
/// Longest time between tries of a silent host.
const LONGEST_TRY: Millis = MINUTE;
/// Room of the budget that is saved up while a host is not asked, in looks.
const BURST: f64 = 20.0;

/// Why a host is asked less than it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Why {
    /// It said that it is asked too often.
    RateLimited,
    /// It has not answered for a while.
    Unavailable,
}

/// A host that is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Throttled {
    pub(in super::super) until: Millis,
    pub(in super::super) why: Why,
}

/// One registry host.
#[derive(Debug)]
pub(in super::super) struct Host {
    pub(in super::super) name: Arc<str>,
    /// Sources at this host.
    pub(in super::super) sources: u32,
    /// What is to be looked at, by when.
    pub(super) due: BTreeSet<(Millis, SourceId)>,
    /// Where it stands among the hosts.
    pub(super) arranged: Option<Millis>,
    in_flight: u32,
    /// Looks that may be begun at once at `counted`.
    tokens: f64,
    counted: Millis,
    throttled: Option<Throttled>,
    /// No content before that.
    no_content_before: Millis,
    refusals: u32,
    failures: u32,
    /// Looks begun in this minute and in the one before.
    minutes: (Millis, u32, u32),
}

impl Host {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            sources: 0,
            due: BTreeSet::new(),
            arranged: None,
            in_flight: 0,
            tokens: BURST,
            counted: 0,
            throttled: None,
            no_content_before: 0,
            refusals: 0,
            failures: 0,
            minutes: (0, 0, 0),
        }
    }

    /// When the next look may begin.
    pub(super) fn next(&self, rules: &Rules) -> Option<Millis> {
        let (due, _) = self.due.first()?;
        if self.in_flight >= self.at_once(rules) {
            return None;
        }
        let throttled = self.throttled.map_or(0, |throttled| throttled.until);
        let missing = 1.0 - self.tokens;
        let refilled = if missing > 0.0 {
            self.counted + ceil(missing / per_milli(rules))
        } else {
            0
        };
        Some((*due).max(throttled).max(refilled))
    }

    /// Takes what is due from what is to be looked at.
    pub(super) fn begin(&mut self, now: Millis, rules: &Rules) -> Option<(Millis, SourceId)> {
        self.tokens = (self.tokens + elapsed(self.counted, now) * per_milli(rules)).min(BURST);
        self.counted = now;
        if self.tokens < 1.0 || self.next(rules).is_none_or(|next| next > now) {
            return None;
        }
        let begun = self.due.pop_first()?;
        self.tokens -= 1.0;
        self.in_flight += 1;
        self.count(now);
        Some(begun)
    }

    pub(super) fn ended(&mut self, outcome: Outcome, feedback: HostFeedback, gets: u32, now: Millis) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::RateLimited => {
                self.refusals += 1;
                let pause = feedback
                    .retry_after
                    .map_or(doubled(FIRST_PAUSE, self.refusals - 1, LONGEST_PAUSE), millis);
                if gets > 0 {
                    // Content is counted; whether something is there need not be.
                    self.no_content_before = self.no_content_before.max(now + pause);
                } else {
                    self.throttle(now + pause, Why::RateLimited);
                }
                self.failures = 0;
            }
            Outcome::Failed(FailureKind::Unavailable) => {
                self.failures += 1;
                if self.failures >= FAILURES {
                    let pause = doubled(FIRST_TRY, self.failures - FAILURES, LONGEST_TRY);
                    self.throttle(now + pause, Why::Unavailable);
                }
            }
            // It was not asked at all.
            Outcome::Failed(FailureKind::Blocked) => {}
            Outcome::Unchanged | Outcome::Moved { .. } | Outcome::Failed(_) | Outcome::Postponed => {
                self.failures = 0;
                self.refusals = 0;
                if self
                    .throttled
                    .is_some_and(|throttled| throttled.until <= now || throttled.why == Why::Unavailable)
                {
                    self.throttled = None;
                }
            }
        }
        if let Some(quota) = feedback.quota.filter(|quota| quota.remaining == 0) {
            let known = quota.reset.or(feedback.retry_after);
            // A window that slides has room again after a part of it.
            let window = quota.window.map(|window| window / 16);
            let pause = known.or(window).map_or(LONGEST_PAUSE, millis).min(LONGEST_PAUSE);
            self.no_content_before = self.no_content_before.max(now + pause);
        }
    }

    pub(super) fn may_fetch(&self, now: Millis) -> bool {
        now >= self.no_content_before
    }

    fn throttle(&mut self, until: Millis, why: Why) {
        if self.throttled.is_none_or(|throttled| throttled.until < until) {
            self.throttled = Some(Throttled { until, why });
        }
    }

    /// Most looks at once.
    fn at_once(&self, rules: &Rules) -> u32 {
        if self.failures >= FAILURES {
            1
        } else {
            rules.at_once
        }
    }

    fn count(&mut self, now: Millis) {
        let minute = now / MINUTE;
        let (counted, this, before) = &mut self.minutes;
        if minute != *counted {
            *before = if minute == *counted + 1 { *this } else { 0 };
            *this = 0;
            *counted = minute;
        }
        *this += 1;
    }

    /// Looks begun in the minute that ends now.
    pub(in super::super) fn per_minute(&self, now: Millis) -> u32 {
        let (counted, this, before) = self.minutes;
        let part = u32::try_from(now % MINUTE).unwrap_or_default();
        let of_before = |looks: u32| u64::from(looks) * u64::from(60_000 - part) / 60_000;
        let looks = match (now / MINUTE).checked_sub(counted) {
            Some(0) => u64::from(this) + of_before(before),
            Some(1) => of_before(this),
            _ => 0,
        };
        u32::try_from(looks).unwrap_or(u32::MAX)
    }

    /// How long ago that should have been looked at which is to be looked at next.
    pub(in super::super) fn lag(&self, now: Millis) -> Millis {
        self.due.first().map_or(0, |(due, _)| now.saturating_sub(*due))
    }

    /// Whether it is left alone now, for how long and why.
    pub(in super::super) fn throttled(&self, now: Millis) -> Option<Throttled> {
        let of_content = Throttled {
            until: self.no_content_before,
            why: Why::RateLimited,
        };
        let throttled = self.throttled.filter(|throttled| throttled.until > now);
        throttled.or(Some(of_content).filter(|throttled| throttled.until > now))
    }
}

fn per_milli(rules: &Rules) -> f64 {
    f64::from(rules.per_minute.max(1)) / 60_000.0
}

#[allow(
    clippy::cast_precision_loss,
    reason = "whoever waits for longer than a float counts has forgotten why"
)]
fn elapsed(since: Millis, now: Millis) -> f64 {
    now.saturating_sub(since) as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the least rate is one a minute"
)]
fn ceil(millis: f64) -> Millis {
    millis.ceil() as Millis
}

fn doubled(first: Millis, times: u32, longest: Millis) -> Millis {
    first.saturating_mul(1 << times.min(20)).min(longest)
}
