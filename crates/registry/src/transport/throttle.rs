//! How hard one host is asked: a window of requests in flight that widens while the host keeps up and narrows when it
//! says that it does not, as [TCP does for a path](https://www.rfc-editor.org/rfc/rfc5681#section-3.1); and pauses that
//! the host asks for.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::client::Activity;
use crate::credential::Credential;
use crate::error::Error;

/// Longest pause for everybody. Quotas are often per caller, so one caller's long wait is not imposed on the others.
const MAX_SHARED_PAUSE: Duration = Duration::from_secs(60);

/// What is going on, for all hosts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) retries: AtomicU64,
    in_flight: AtomicU64,
    waiting: AtomicU64,
}

impl Counters {
    pub(super) fn snapshot(&self) -> Activity {
        Activity {
            requests: self.requests.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            waiting_for_rate_limit: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// Waits as a registry asked.
    pub(super) async fn wait_for_rate_limit(&self, until: Instant) {
        let _waiting = Gauge::raise(&self.waiting);
        sleep_until(until).await;
    }
}

/// Counts something for as long as it lives.
struct Gauge<'a>(&'a AtomicU64);

impl<'a> Gauge<'a> {
    fn raise(gauge: &'a AtomicU64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The limits of one host.
#[derive(Debug)]
pub(super) struct Throttle {
    state: Mutex<State>,
    changed: Notify,
    max_window: usize,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct State {
    window: usize,
    in_flight: usize,
    /// Answers since the window last changed.
    answers: usize,
    narrowed: Option<Instant>,
    /// For everything.
    pause: Option<Pause>,
    /// For everything but questions whether something is there, which many hosts do not count.
    reads_pause: Option<Pause>,
}

impl State {
    /// The pause that this kind of request must keep, if there is one.
    fn pause_of(&mut self, kind: Kind) -> Option<Pause> {
        let now = Instant::now();
        for pause in [&mut self.pause, &mut self.reads_pause] {
            pause.take_if(|pause| pause.until <= now);
        }
        let reads = self.reads_pause.as_ref().filter(|_| kind == Kind::Read);
        let pauses = [self.pause.as_ref(), reads].into_iter().flatten();
        pauses.max_by_key(|pause| pause.until).cloned()
    }
}

/// What a request asks for, as far as hosts count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whether something is there: a `HEAD`.
    Check,
    /// Anything else.
    Read,
}

impl Kind {
    pub(super) fn of(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Check,
            _ => Self::Read,
        }
    }
}

#[derive(Clone, Debug)]
struct Pause {
    until: Instant,
    /// To whom the host said so, and in which words; nobody if it is only a hint.
    told: Option<(Caller, Error)>,
}

/// Those who show the same credential. Hosts count requests by it, and what they tell one caller is not for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller(u64);

impl Caller {
    pub(super) fn with(credential: Option<&Credential>) -> Self {
        Self(BuildHasherDefault::<DefaultHasher>::default().hash_one(credential))
    }
}

/// Room for one request; given back when dropped.
pub(super) struct Slot<'a> {
    throttle: &'a Throttle,
    entered: Instant,
    _in_flight: Gauge<'a>,
}

enum Entry {
    Room,
    Full,
    Paused(Instant),
    TooLate(Error),
}

impl Throttle {
    pub(super) fn new(first_window: usize, max_window: usize, counters: Arc<Counters>) -> Self {
        let max_window = max_window.max(1);
        let window = first_window.clamp(1, max_window);
        let state = State {
            window,
            in_flight: 0,
            answers: 0,
            narrowed: None,
            pause: None,
            reads_pause: None,
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            max_window,
            counters,
        }
    }

    /// Waits for room.
    ///
    /// # Errors
    /// What the host answered this caller when it asked for a pause that lasts beyond the `deadline`.
    pub(super) async fn enter(
        &self,
        kind: Kind,
        caller: Caller,
        deadline: Instant,
    ) -> Result<Slot<'_>, Error> {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // From here on no change is missed, though the state is looked at before waiting.
            changed.as_mut().enable();
            match self.try_enter(kind, caller, deadline) {
                Entry::Room => {
                    let _in_flight = Gauge::raise(&self.counters.in_flight);
                    return Ok(Slot {
                        throttle: self,
                        entered: Instant::now(),
                        _in_flight,
                    });
                }
                Entry::Full => changed.await,
                Entry::Paused(until) => {
                    // Whoever waits for room instead must learn of the pause, too: this caller may go away in it.
                    self.changed.notify_waiters();
                    self.counters.wait_for_rate_limit(until).await;
                }
                Entry::TooLate(error) => return Err(error),
            }
        }
    }

    fn try_enter(&self, kind: Kind, caller: Caller, deadline: Instant) -> Entry {
        let mut state = self.state();
        if let Some(pause) = state.pause_of(kind) {
            if pause.until < deadline {
                return Entry::Paused(pause.until);
            } else if let Some((_, error)) = pause.told.filter(|(told, _)| *told == caller) {
                return Entry::TooLate(error);
            }
        }
        if state.in_flight >= state.window {
            return Entry::Full;
        }
        state.in_flight += 1;
        if state.in_flight < state.window {
            self.changed.notify_one();
        }
        Entry::Room
    }

    /// Keeps everybody away until then: from everything if that was the answer to a check, else from reading. Who was
    /// `told` so by the host gets that as the answer if it cannot wait as long; others may then try.
    pub(super) fn pause(&self, kind: Kind, until: Instant, told: Option<(Caller, Error)>) {
        let until = until.min(Instant::now() + MAX_SHARED_PAUSE);
        let mut state = self.state();
        let pause = match kind {
            Kind::Check => &mut state.pause,
            Kind::Read => &mut state.reads_pause,
        };
        if pause.as_ref().is_none_or(|pause| pause.until < until) {
            *pause = Some(Pause { until, told });
        }
    }

    /// How long the host still wants to be left alone with such requests.
    pub(super) fn pause_left(&self, kind: Kind) -> Option<Duration> {
        let pause = self.state().pause_of(kind)?;
        Some(pause.until.saturating_duration_since(Instant::now()))
    }

    /// Lets no more in than the host says it will still answer.
    pub(super) fn at_most(&self, remaining: u64) {
        let remaining = usize::try_from(remaining).unwrap_or(usize::MAX).max(1);
        let mut state = self.state();
        if remaining < state.window {
            state.window = remaining;
            state.answers = 0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot<'_> {
    /// The host keeps up. After a window full of answers the window doubles.
    pub(super) fn answered(&self) {
        let mut state = self.throttle.state();
        state.answers += 1;
        if state.answers >= state.window && state.window < self.throttle.max_window {
            state.window = (state.window * 2).min(self.throttle.max_window);
            state.answers = 0;
            self.throttle.changed.notify_waiters();
        }
    }

    /// The host does not keep up: the window halves, once for all requests that were in flight together.
    pub(super) fn refused(&self) {
        let mut state = self.throttle.state();
        if state.narrowed.is_none_or(|narrowed| narrowed < self.entered) {
            state.window = (state.window / 2).max(1);
            state.answers = 0;
            state.narrowed = Some(Instant::now());
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.throttle.state().in_flight -= 1;
        self.throttle.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn throttle(first: usize, max: usize) -> Throttle {
        Throttle::new(first, max, Arc::default())
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    /// How many get in without waiting.
    fn room(throttle: &Throttle) -> usize {
        let mut slots = Vec::new();
        while let Some(slot) = throttle
            .enter(Kind::Read, Caller::with(None), far())
            .now_or_never()
        {
            slots.push(slot.unwrap());
        }
        slots.len()
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_doubles_with_each_round_of_answers_up_to_the_limit() {
        let throttle = throttle(2, 7);
        let mut sizes = vec![room(&throttle)];
        for _ in 0..3 {
            for _ in 0..*sizes.last().unwrap() {
                throttle
                    .enter(Kind::Read, Caller::with(None), far())
                    .await
                    .unwrap()
                    .answered();
            }
            sizes.push(room(&throttle));
        }
        assert_eq!(sizes, [2, 4, 7, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_refusals_halves_the_window_once() {
        let throttle = throttle(8, 8);
        let slots: Vec<_> = (0..8)
            .map(|_| {
                throttle
                    .enter(Kind::Read, Caller::with(None), far())
                    .now_or_never()
                    .unwrap()
                    .unwrap()
            })
            .collect();
        tokio::time::advance(Duration::from_millis(1)).await;
        slots.iter().for_each(Slot::refused);
        drop(slots);
        assert_eq!(room(&throttle), 4);
        throttle.at_most(1);
        assert_eq!(room(&throttle), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_waited_for_if_it_ends_in_time_and_answers_for_the_host_otherwise() {
        let throttle = throttle(4, 4);
        let start = Instant::now();
        throttle.pause(
            Kind::Read,
            start + Duration::from_secs(5),
            Some((Caller::with(None), Error::UnknownBlob)),
        );
        let refusal = throttle
            .enter(Kind::Read, Caller::with(None), start + Duration::from_secs(5))
            .await
            .err();
        assert_eq!(
            (refusal, start.elapsed()),
            (Some(Error::UnknownBlob), Duration::ZERO)
        );
        let other = Caller::with(Some(&Credential::IdentityToken {
            username: None,
            token: "t".into(),
        }));
        assert!(
            throttle.enter(Kind::Read, other, start).now_or_never().is_some(),
            "what one was told is not for another"
        );
        throttle
            .enter(Kind::Read, Caller::with(None), far())
            .await
            .unwrap();
        assert!(start.elapsed() >= Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_not_read_may_still_check_unless_checks_are_refused_too() {
        let throttle = throttle(4, 4);
        let told = || Some((Caller::with(None), Error::UnknownBlob));
        let soon = Instant::now() + Duration::from_secs(5);
        let refused = async |kind| throttle.enter(kind, Caller::with(None), soon).await.is_err();
        let until = Instant::now() + Duration::from_secs(30);
        throttle.pause(Kind::Read, until, told());
        assert!(refused(Kind::Read).await && !refused(Kind::Check).await);
        assert_eq!(throttle.pause_left(Kind::Check), None);
        throttle.pause(Kind::Check, until - Duration::from_secs(10), told());
        assert!(refused(Kind::Read).await && refused(Kind::Check).await);
        assert_eq!(throttle.pause_left(Kind::Check), Some(Duration::from_secs(20)));
        assert_eq!(throttle.pause_left(Kind::Read), Some(Duration::from_secs(30)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hint_to_pause_does_not_stop_those_who_cannot_wait() {
        let throttle = throttle(4, 4);
        throttle.pause(Kind::Read, Instant::now() + Duration::from_secs(30), None);
        assert!(
            throttle
                .enter(
                    Kind::Read,
                    Caller::with(None),
                    Instant::now() + Duration::from_secs(1)
                )
                .now_or_never()
                .is_some()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_goes_away_while_waiting_leaves_its_place_to_the_next() {
        let throttle = Arc::new(throttle(1, 1));
        let held = throttle
            .enter(Kind::Read, Caller::with(None), far())
            .await
            .unwrap();
        let enter = |throttle: Arc<Throttle>| async move {
            drop(
                throttle
                    .enter(Kind::Read, Caller::with(None), far())
                    .await
                    .unwrap(),
            );
        };
        let first = tokio::spawn(enter(throttle.clone()));
        let second = tokio::spawn(enter(throttle.clone()));
        tokio::task::yield_now().await;
        throttle.pause(
            Kind::Read,
            Instant::now() + Duration::from_secs(3),
            Some((Caller::with(None), Error::UnknownBlob)),
        );
        drop(held);
        tokio::task::yield_now().await;
        first.abort();
        second.await.unwrap();
    }
}
