//! What hosts tell of how often they may be asked, and what follows from it.

use std::time::Duration;

use crate::time::{Millis, millis};

/// What a host told with an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Feedback {
    /// It refused to be asked now.
    pub refused: bool,
    /// How long it wants to be left alone.
    pub retry_after: Option<Duration>,
    /// How much may still be asked of it.
    pub quota: Option<Quota>,
}

/// How many requests a host allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests in `window`.
    pub limit: Option<u64>,
    /// Requests that are left.
    pub remaining: u64,
    /// The time that `limit` is for.
    pub window: Option<Duration>,
    /// When the quota is full again.
    pub reset: Option<Duration>,
}

/// Longest wait for a host that tells of a window.
const LONGEST_WAIT: u64 = 24 * 60 * 60 * 1000;
/// Wait for requests to be allowed again where nothing tells when.
const UNKNOWN_WAIT: u64 = 10 * 60 * 1000;
/// First wait after a host refused a fetch without saying for how long; doubled each time.
const FIRST_REFUSAL: Duration = Duration::from_secs(5);
/// Longest wait after a host refused a fetch, however long it asks for.
const LONGEST_REFUSAL: Duration = Duration::from_secs(60 * 60);
/// Fetches in a row after which a host that refused is asked for twice as many.
const TRUSTED: u32 = 8;
/// Checks in a row with ever less left after which checks are taken to count.
const EVIDENCE: u8 = 4;
/// Requests that a fetch is supposed to cost until some were seen.
const FIRST_COST: f64 = 2.0;

/// What is known of a host's quota.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowance {
    known: Option<Known>,
    /// Requests that a fetch costs, on average; 0 until one was seen.
    cost: f64,
    /// Fetches under way.
    fetching: u32,
    /// Checks in a row that left less than the one before.
    drops: u8,
    /// Something was fetched since the last check.
    fetched: bool,
    /// The host tells of a quota when it is asked for something that is neither check nor fetch.
    visits_count: bool,
    /// When the last fetch began.
    begun: Millis,
    /// Nothing is fetched before then.
    refused_until: Millis,
    /// How often fetches were refused, less what was regained by those that were not.
    refusals: u32,
    /// Fetches since then that were not refused.
    accepted: u32,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    remaining: f64,
    limit: Option<u64>,
    at: Millis,
    full_at: Option<Millis>,
    /// Milliseconds in which one more is allowed, if the host tells a window and not when it ends.
    refill: Option<f64>,
}

impl Known {
    fn new(quota: &Quota, now: Millis) -> Self {
        let bounded = |span: Duration| millis(span).min(LONGEST_WAIT);
        let window = quota.window.map(bounded);
        let rate = quota.limit.filter(|limit| *limit > 0).zip(window);
        Self {
            remaining: number(quota.remaining),
            limit: quota.limit,
            at: now,
            full_at: quota.reset.map(|reset| Millis(now.0 + bounded(reset))),
            refill: rate.map(|(limit, window)| number(window) / number(limit)),
        }
    }

    /// Requests that are left now.
    fn left(&self, now: Millis) -> f64 {
        let full = self.limit.map_or(f64::MAX, number);
        match (self.full_at, self.refill) {
            (Some(full_at), _) if now >= full_at => full,
            (Some(_), _) | (None, None) => self.remaining,
            (None, Some(refill)) => {
                (self.remaining + number(now.0.saturating_sub(self.at.0)) / refill).min(full)
            }
        }
    }

    /// When so many may be left, if they are not now.
    fn when(&self, wanted: f64, now: Millis) -> Millis {
        match (self.full_at, self.refill) {
            (Some(full_at), _) => full_at,
            (None, Some(refill)) => {
                let missing = (wanted - self.left(now)).max(1.0);
                Millis(now.0.saturating_add(whole(missing * refill).max(1)))
            }
            (None, None) => Millis(self.at.0.saturating_add(UNKNOWN_WAIT)),
        }
    }
}

impl Allowance {
    /// When a fetch may begin; now or earlier if it may. `None` if that depends on one that is under way.
    pub(crate) fn fetch_at(&self, now: Millis) -> Option<Millis> {
        let Some(gap) = self.gap() else {
            return Some(self.quota_at(now));
        };
        // A host that refused gets one at a time, and no more often than it took them since.
        let spaced = self.begun.after(gap).max(self.refused_until);
        (self.fetching == 0).then(|| self.quota_at(now).max(spaced))
    }

    /// When anybody may read, as far as the host has said; now or earlier if they may.
    pub(crate) fn reads_at(&self, now: Millis) -> Millis {
        self.quota_at(now).max(self.refused_until)
    }

    /// When what is known of the quota allows another fetch.
    fn quota_at(&self, now: Millis) -> Millis {
        let Some(known) = &self.known else {
            return now;
        };
        // A host without a limit for us tells of none; a limit below the cost of one fetch still allows one at a time.
        let cost = self.cost();
        let wanted = cost * (f64::from(self.fetching) + 1.0);
        let wanted = known
            .limit
            .map_or(wanted, |limit| wanted.min(number(limit)).max(1.0));
        let is_allowed = match (known.full_at, known.refill) {
            (None, None) => {
                known.remaining >= wanted || now.since(known.at) >= Duration::from_millis(UNKNOWN_WAIT)
            }
            _ => known.left(now) >= wanted,
        };
        if is_allowed { now } else { known.when(wanted, now) }
    }

    pub(crate) fn fetch_begins(&mut self, now: Millis) {
        self.fetching += 1;
        self.begun = now;
    }

    /// The host refused a fetch. That says nothing of checks: many hosts do not count these.
    pub(crate) fn fetch_refused(&mut self, retry_after: Option<Duration>, now: Millis) {
        // What was under way when the host began to refuse tells nothing new.
        if now >= self.refused_until {
            self.refusals = (self.refusals + 1).min(9);
        }
        self.accepted = 0;
        let wait = retry_after.or(self.gap()).unwrap_or(FIRST_REFUSAL);
        self.refused_until = self.refused_until.max(now.after(wait.min(LONGEST_REFUSAL)));
    }

    /// The host did not refuse one.
    pub(crate) fn fetch_accepted(&mut self) {
        self.accepted += 1;
        if self.accepted >= TRUSTED {
            self.accepted = 0;
            self.refusals = self.refusals.saturating_sub(1);
        }
    }

    /// The least time from one fetch to the next at a host that refused.
    fn gap(&self) -> Option<Duration> {
        Some(FIRST_REFUSAL.saturating_mul(1 << self.refusals.checked_sub(1)?))
    }

    /// A fetch ended that took so many requests.
    pub(crate) fn fetch_ended(&mut self, requests: u32, quota: Option<&Quota>, now: Millis) {
        self.fetching = self.fetching.saturating_sub(1);
        self.fetched = true;
        if requests > 0 {
            let requests = f64::from(requests);
            self.cost = if self.cost == 0.0 {
                requests
            } else {
                self.cost * 0.8 + requests * 0.2
            };
        }
        match (quota, &mut self.known) {
            (Some(quota), known) => *known = Some(Known::new(quota, now)),
            // It says nothing any more: what was left is spent meanwhile.
            (None, Some(known)) => known.remaining = (known.remaining - f64::from(requests)).max(0.0),
            (None, None) => {}
        }
    }

    /// A request that is neither check nor fetch was answered.
    pub(crate) fn visited(&mut self, quota: Option<&Quota>, now: Millis) {
        let Some(quota) = quota else {
            return;
        };
        // Whether it was this or a check that left less, the next check can't tell.
        self.fetched = true;
        self.visits_count = true;
        self.known = Some(Known::new(quota, now));
    }

    /// When such a request may be made, if the host counts them and none is left.
    pub(crate) fn visit_at(&self, now: Millis) -> Option<Millis> {
        let known = self.known.as_ref().filter(|_| self.visits_count)?;
        (known.left(now) < 1.0)
            .then(|| known.when(1.0, now))
            .filter(|at| *at > now)
    }

    /// A check was answered.
    pub(crate) fn checked(&mut self, quota: Option<&Quota>, now: Millis) {
        let Some(quota) = quota else {
            return;
        };
        let known = Known::new(quota, now);
        let before = self.known.replace(known);
        // While something is fetched nobody can tell what was counted.
        let is_comparable = !std::mem::take(&mut self.fetched) && self.fetching == 0;
        self.drops = match before {
            Some(before) if is_comparable && known.remaining < before.remaining => {
                self.drops.saturating_add(1)
            }
            Some(before) if is_comparable && known.remaining == before.remaining => 0,
            _ => self.drops,
        };
    }

    /// When the next check may begin if checks count and little is left; what is left is spread over the time until
    /// there is more.
    pub(crate) fn check_at(&self, now: Millis) -> Option<Millis> {
        let known = self.known.as_ref().filter(|_| self.drops >= EVIDENCE)?;
        let left = known.left(now);
        let is_little = known
            .limit
            .map_or(left < 20.0, |limit| left * 4.0 < number(limit));
        if !is_little {
            return None;
        }
        if left < 1.0 {
            return Some(known.when(1.0, now));
        }
        let until = known
            .full_at
            .map_or(UNKNOWN_WAIT, |full| full.0.saturating_sub(known.at.0));
        let gap = known.refill.unwrap_or(number(until) / left);
        Some(Millis(known.at.0.saturating_add(whole(gap))))
    }

    fn cost(&self) -> f64 {
        if self.cost == 0.0 {
            FIRST_COST
        } else {
            self.cost.max(1.0)
        }
    }
}

/// Counts and spans are far below what a float holds exactly.
#[allow(
    clippy::cast_precision_loss,
    reason = "bounded by a day in milliseconds, or a count that need not be exact"
)]
fn number(value: u64) -> f64 {
    value as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates, and nothing here is negative"
)]
fn whole(value: f64) -> u64 {
    value.ceil().min(number(LONGEST_WAIT)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn quota(remaining: u64, reset: Option<u64>) -> Quota {
        Quota {
            limit: Some(100),
            remaining,
            window: Some(Duration::from_secs(6 * 3600)),
            reset: reset.map(Duration::from_millis),
        }
    }

    #[test]
    fn nothing_waits_for_a_host_that_tells_nothing() {
        let allowance = Allowance::default();
        assert_eq!(allowance.quota_at(Millis(5)), Millis(5));
        assert_eq!(allowance.check_at(Millis(5)), None);
    }

    #[test]
    fn a_fetch_waits_until_the_quota_is_full_again_if_it_is_told_when() {
        let mut allowance = Allowance::default();
        allowance.checked(Some(&quota(1, Some(HOUR))), Millis(1000));
        assert_eq!(allowance.quota_at(Millis(2000)), Millis(1000 + HOUR));
        assert_eq!(allowance.quota_at(Millis(1000 + HOUR)), Millis(1000 + HOUR));
    }

    #[test]
    fn a_fetch_waits_for_its_share_of_a_window_whose_end_is_unknown() {
        let mut allowance = Allowance::default();
        allowance.checked(Some(&quota(0, None)), Millis(0));
        // 100 in 6 hours: one in 216 s.
        let at = allowance.quota_at(Millis(0));
        assert_eq!(at, Millis(2 * 216_000));
        assert_eq!(allowance.quota_at(at), at);
    }

    #[test]
    fn fetches_under_way_count_as_if_they_were_paid_for() {
        let mut allowance = Allowance::default();
        allowance.checked(Some(&quota(4, Some(HOUR))), Millis(0));
        for _ in 0..2 {
            assert_eq!(allowance.quota_at(Millis(1)), Millis(1));
            allowance.fetch_begins(Millis(1));
        }
        assert_eq!(allowance.quota_at(Millis(1)), Millis(HOUR));
        allowance.fetch_ended(1, Some(&quota(3, Some(HOUR - 1))), Millis(1));
        // They cost less than supposed.
        assert_eq!(allowance.quota_at(Millis(1)), Millis(1));
    }

    #[test]
    fn checks_are_slowed_only_if_they_are_seen_to_count() {
        let mut free = Allowance::default();
        for at in 0..10 {
            free.checked(Some(&quota(5, Some(HOUR))), Millis(at));
        }
        assert_eq!(free.check_at(Millis(10)), None);
        let mut counted = Allowance::default();
        for left in (10..=20).rev() {
            counted.checked(Some(&quota(left, Some(HOUR))), Millis(1000));
        }
        let next = counted.check_at(Millis(1000)).unwrap_or_default();
        assert!(
            next >= Millis(1000 + 200_000) && next <= Millis(1000 + HOUR),
            "{next:?}"
        );
    }

    #[test]
    fn a_host_that_refuses_fetches_gets_one_at_a_time_ever_more_seldom_until_it_takes_them_again() {
        let mut allowance = Allowance::default();
        let mut now = Millis(1_000);
        let mut waits = Vec::new();
        for _ in 0..11 {
            allowance.fetch_begins(now);
            allowance.fetch_ended(0, None, now);
            allowance.fetch_refused(None, now);
            let next = allowance.fetch_at(now).unwrap_or_default();
            waits.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1280, 1280]);

        allowance.fetch_begins(now);
        assert_eq!(allowance.fetch_at(now), None, "one at a time");
        for _ in 0..9 * TRUSTED {
            allowance.fetch_ended(1, None, now);
            allowance.fetch_accepted();
            allowance.fetch_begins(now);
        }
        assert_eq!(allowance.fetch_at(now), Some(now));
        allowance.fetch_refused(Some(Duration::from_secs(1_000_000)), now);
        assert_eq!(allowance.refused_until, now.after(LONGEST_REFUSAL));
    }
}
