//! Turns at registry hosts for those who ask them for something else than scheduled tags: they share the budgets of the
//! hosts, and the times for which these are left alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imagestream_follow::{Failure, Millis, Visit};
use imagestream_import::check::CheckError;
use imagestream_import::{LeftAlone, Turns};
use imagestream_registry::HostFeedback;
use tokio::time::{Instant, sleep_until};

use super::board::{Board, Handle, State};
use super::look::told;
use super::settled::FailureKind;

/// Pause while the controller that knows the hosts begins.
const BEGINNING: Duration = Duration::from_millis(100);

/// The turns of one list.
pub(in crate::controllers) struct HostTurns {
    board: Arc<Board>,
    /// The visit that has been granted and has not ended.
    visit: Mutex<Option<Granted>>,
}

struct Granted {
    state: Handle,
    host: String,
}

impl HostTurns {
    pub(in crate::controllers) fn new(board: &Arc<Board>) -> Self {
        Self {
            board: Arc::clone(board),
            visit: Mutex::default(),
        }
    }

    fn visit(&self) -> MutexGuard<'_, Option<Granted>> {
        self.visit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a turn: when it is, or until when the host is left alone.
    fn ask(&self, host: &str) -> Result<Instant, LeftAlone> {
        let Some(handle) = self.board.state() else {
            let until = Instant::now() + BEGINNING;
            return Err(LeftAlone { until });
        };
        let mut state = handle.lock();
        let now = state.clock.now();
        match state.scheduler.visit(host, now) {
            Visit::At(at) => {
                drop(state);
                *self.visit() = Some(Granted {
                    state: handle,
                    host: host.to_owned(),
                });
                Ok(Instant::now() + at.since(now))
            }
            Visit::LeftAlone(until) => Err(left_alone(&state, until)),
        }
    }

    /// Begins the visit whose turn it is.
    fn begin(&self) -> Result<(), LeftAlone> {
        let mut visit = self.visit();
        let Some(granted) = visit.as_ref() else {
            return Ok(());
        };
        let mut state = granted.state.lock();
        let now = state.clock.now();
        let begun = state.scheduler.begin_visit(&granted.host, now);
        let begun = begun.map_err(|until| left_alone(&state, until));
        drop(state);
        if begun.is_err() {
            // It is over.
            *visit = None;
        }
        begun
    }
}

fn left_alone(state: &State, until: Millis) -> LeftAlone {
    // A moment later, so that it is over then.
    let span = until.since(state.clock.now()) + Duration::from_millis(1);
    LeftAlone {
        until: Instant::now() + span,
    }
}

impl Turns for HostTurns {
    async fn wait(&self, host: &str, patience: Instant) -> Result<(), LeftAlone> {
        loop {
            let turn = match self.ask(host) {
                Ok(at) => {
                    sleep_until(at).await;
                    self.begin()
                }
                Err(left_alone) => Err(left_alone),
            };
            match turn {
                Ok(()) => return Ok(()),
                Err(LeftAlone { until }) if until < patience => sleep_until(until).await,
                Err(left_alone) => return Err(left_alone),
            }
        }
    }

    fn asked(&self, _: &str, outcome: Result<(), &CheckError>, feedback: &HostFeedback) {
        let Some(granted) = self.visit().take() else {
            return;
        };
        let failure = outcome
            .err()
            .map(|error| FailureKind::of(error).map_or(Failure::RateLimited, FailureKind::scheduled));
        let mut state = granted.state.lock();
        let now = state.clock.now();
        state
            .scheduler
            .visited(&granted.host, now, failure, &told(feedback));
    }
}

impl Drop for HostTurns {
    fn drop(&mut self) {
        if let Some(granted) = self.visit().take() {
            granted.state.lock().scheduler.not_visited(&granted.host);
        }
    }
}
