//! How it goes with rules, where others see it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imagestream_api::stream::source::StreamKey;
use tokio::time::Instant;

use super::schedule::Schedule;

/// How it goes with the rules of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::controllers) struct RuleStreamReport {
    /// Rules that are followed.
    pub(in crate::controllers) rules: usize,
    /// When a repository of theirs was last listed, or could not be.
    pub(in crate::controllers) last_check: Option<Instant>,
    /// When the next one is listed; none if no rule can be followed.
    pub(in crate::controllers) next_check: Option<Instant>,
}

/// How it goes with the lists of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::controllers) struct RuleHostReport {
    /// Repositories that are listed.
    pub(in crate::controllers) repositories: usize,
    /// Until when lists wait because the host wants to be left alone.
    pub(in crate::controllers) left_alone_until: Option<Instant>,
}

/// Where the schedule of rules can be seen. Empty while another server runs the controllers.
#[derive(Default)]
pub(crate) struct RuleBoard {
    running: Mutex<Option<Handle>>,
}

#[derive(Clone)]
struct Handle(Arc<Mutex<Schedule>>);

impl RuleBoard {
    /// The controller begins.
    pub(super) fn begin(&self, schedule: Schedule) -> Place<'_> {
        let handle = Handle(Arc::new(Mutex::new(schedule)));
        *self.running() = Some(handle.clone());
        Place { board: self, handle }
    }

    /// Looks at the schedule, if this server runs the controller.
    pub(in crate::controllers) fn look<T>(&self, what: impl FnOnce(&RuleReports<'_>) -> T) -> Option<T> {
        let handle = self.running().clone()?;
        let schedule = handle.lock();
        Some(what(&RuleReports(&schedule)))
    }

    fn running(&self) -> MutexGuard<'_, Option<Handle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a running controller on the board, which it leaves when it ends.
pub(super) struct Place<'a> {
    board: &'a RuleBoard,
    handle: Handle,
}

impl Place<'_> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.handle.lock()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut running = self.board.running();
        // Its successor may already be there.
        if running
            .as_ref()
            .is_some_and(|running| Arc::ptr_eq(&running.0, &self.handle.0))
        {
            *running = None;
        }
    }
}

/// What may be seen of the schedule.
pub(in crate::controllers) struct RuleReports<'a>(&'a Schedule);

impl RuleReports<'_> {
    /// How it goes with the rules of a stream, if it has some.
    pub(in crate::controllers) fn stream(&self, key: &StreamKey) -> Option<RuleStreamReport> {
        self.0.stream_report(key, Instant::now())
    }

    /// Streams that have rules from this one on, in order.
    pub(in crate::controllers) fn streams_from(
        &self,
        first: Bound<StreamKey>,
    ) -> impl Iterator<Item = &StreamKey> {
        self.0.streams_from(first)
    }

    /// How it goes with the lists of each host, by name.
    pub(in crate::controllers) fn hosts(&self) -> BTreeMap<String, RuleHostReport> {
        self.0.host_reports(Instant::now())
    }

    /// Streams whose rules are followed.
    pub(in crate::controllers) fn count(&self) -> usize {
        self.0.count()
    }
}
