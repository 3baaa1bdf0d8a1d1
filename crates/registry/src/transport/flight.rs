//! One attempt at a time to learn something that many wait for.
//!
//! The first who comes leads; the others wait for the outcome of that attempt, good or bad. A leader that gives up
//! without an outcome (its caller went away, or ran out of time) leaves the lead to the next one waiting. Failures
//! are told to those who waited and then forgotten.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Duration, timeout};

use crate::error::Error;

/// Something to be learned once.
#[derive(Debug)]
pub(super) struct Flight<T> {
    state: Mutex<State<T>>,
    lead: Semaphore,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    failure: Option<Error>,
    /// Attempts that had an outcome.
    outcomes: u64,
}

/// What a caller gets to do.
pub(super) enum Turn<'a, T> {
    /// It is known already, or has just become so.
    Known(T),
    /// The attempt this caller waited for failed.
    Failed(Error),
    /// This caller makes the attempt.
    Lead(Lead<'a, T>),
}

/// The right to make the attempt.
pub(super) struct Lead<'a, T> {
    flight: &'a Flight<T>,
    _permit: Option<SemaphorePermit<'a>>,
}

impl<T: Clone> Flight<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                value: None,
                failure: None,
                outcomes: 0,
            }),
            lead: Semaphore::new(1),
        }
    }

    /// Waits for a `usable` value, the failure of the attempt under way, or the lead.
    pub(super) async fn join(&self, usable: impl Fn(&T) -> bool) -> Turn<'_, T> {
        self.join_within(Duration::MAX, usable).await
    }

    /// As [`Flight::join`], but who has waited for `patience` makes an attempt beside the one under way.
    pub(super) async fn join_within(&self, patience: Duration, usable: impl Fn(&T) -> bool) -> Turn<'_, T> {
        let joined = {
            let state = self.state();
            if let Some(value) = state.value.as_ref().filter(|value| usable(value)) {
                return Turn::Known(value.clone());
            }
            state.outcomes
        };
        // The semaphore is never closed, so there is a permit unless patience ended.
        let permit = timeout(patience, self.lead.acquire())
            .await
            .ok()
            .and_then(Result::ok);
        let state = self.state();
        if let Some(value) = state.value.as_ref().filter(|value| usable(value)) {
            return Turn::Known(value.clone());
        }
        if let Some(failure) = state.failure.as_ref().filter(|_| state.outcomes != joined) {
            return Turn::Failed(failure.clone());
        }
        Turn::Lead(Lead {
            flight: self,
            _permit: permit,
        })
    }

    /// The value, if it is known.
    pub(super) fn known(&self) -> Option<T> {
        self.state().value.clone()
    }

    /// Forgets the value if it still is an `outdated` one.
    pub(super) fn forget(&self, outdated: impl Fn(&T) -> bool) {
        let mut state = self.state();
        if state.value.as_ref().is_some_and(outdated) {
            state.value = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Lead<'_, T> {
    /// Ends the attempt with a value for all.
    pub(super) fn settle(self, value: T) {
        let mut state = self.flight.state();
        state.value = Some(value);
        state.failure = None;
        state.outcomes += 1;
    }

    /// Ends the attempt with a failure for those who wait.
    pub(super) fn fail(self, error: Error) {
        let mut state = self.flight.state();
        state.failure = Some(error);
        state.outcomes += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    async fn outcome(flight: &Flight<u32>) -> Result<u32, Option<Error>> {
        match flight.join(|_| true).await {
            Turn::Known(value) => Ok(value),
            Turn::Failed(error) => Err(Some(error)),
            Turn::Lead(_) => Err(None),
        }
    }

    async fn lead(flight: &Flight<u32>) -> Lead<'_, u32> {
        match flight.join(|_| true).await {
            Turn::Lead(lead) => lead,
            _ => panic!("somebody else leads"),
        }
    }

    #[tokio::test]
    async fn those_who_wait_share_the_outcome() {
        let flight = Arc::new(Flight::new());
        let first = lead(&flight).await;
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let flight = flight.clone();
                tokio::spawn(async move { outcome(&flight).await })
            })
            .collect();
        tokio::task::yield_now().await;
        first.fail(Error::UnknownBlob);
        for waiter in waiting {
            assert_eq!(waiter.await.unwrap(), Err(Some(Error::UnknownBlob)));
        }
        lead(&flight).await.settle(7);
        assert_eq!(outcome(&flight).await, Ok(7), "a failure is not remembered");
    }

    #[tokio::test(start_paused = true)]
    async fn who_loses_patience_makes_an_attempt_and_its_value_is_for_all() {
        let flight = Flight::new();
        let slow = lead(&flight).await;
        let patience = Duration::from_secs(1);
        let Turn::Lead(impatient) = flight.join_within(patience, |_| true).await else {
            panic!("the slow leader has no outcome yet");
        };
        impatient.settle(5);
        assert_eq!(outcome(&flight).await, Ok(5));
        drop(slow);
        assert_eq!(outcome(&flight).await, Ok(5));
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_is_replaced_by_a_waiter() {
        let flight = Arc::new(Flight::new());
        let first = lead(&flight).await;
        let waiter = tokio::spawn({
            let flight = flight.clone();
            async move { lead(&flight).await.settle(3) }
        });
        tokio::task::yield_now().await;
        drop(first);
        waiter.await.unwrap();
        assert_eq!(outcome(&flight).await, Ok(3));
    }
}
