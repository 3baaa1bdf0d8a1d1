//! What the scheduled import controller knows, where others see it: those who report it, and those who have heard that
//! something was pushed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imagestream_api::stream::source::StreamKey;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::credentials::Fingerprint;
use super::followed::Followed;
use super::look::{Looked, Outcome};
use super::metrics::FollowMetrics;
use super::plan::{Millis, Plan, Rules, millis};
use super::settled::Settled;
use super::table::{SourceId, Table};

/// Pokes that wait to be heard. More say no more than that a look is due anyway.
const POKES: usize = 1_024;

/// Where something was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Poke {
    /// The image's name in the form that registries are asked in.
    pub(super) source: String,
}

/// What is known while the controller runs.
pub(super) struct State {
    pub(super) table: Table,
    pub(super) plan: Plan,
    pub(super) began: Instant,
    pub(super) began_at: Timestamp,
    /// Looks that have ended.
    pub(super) looks: u64,
    default_interval: Duration,
    metrics: Option<FollowMetrics>,
}

/// A look that is to be made.
pub(super) struct Begun {
    pub(super) look: (SourceId, u32),
    pub(super) source: Arc<str>,
    pub(super) insecure: bool,
    pub(super) settled: Settled,
    /// One whose credentials are used.
    pub(super) namespace: String,
}

/// The board of one server. Empty while another server runs the controllers.
#[derive(Default)]
pub(crate) struct Board {
    running: Mutex<Option<Running>>,
    metrics: Mutex<Option<FollowMetrics>>,
}

struct Running {
    state: Handle,
    #[allow(dead_code, reason = "see Board::poke")]
    pokes: mpsc::Sender<Poke>,
}

/// The state, for whoever needs it for a moment.
#[derive(Clone)]
pub(super) struct Handle(Arc<Mutex<State>>);

impl Handle {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a running controller on the board, which it leaves when it ends.
pub(super) struct Place {
    board: Arc<Board>,
    state: Handle,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.board.running();
        // Its successor may already be there.
        if running
            .as_ref()
            .is_some_and(|running| Arc::ptr_eq(&running.state.0, &self.state.0))
        {
            *running = None;
        }
    }
}

impl Place {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn handle(&self) -> Handle {
        self.state.clone()
    }
}

impl Board {
    /// Counts what is done from now on.
    pub(crate) fn count_with(&self, metrics: FollowMetrics) {
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = Some(metrics);
    }

    /// A controller begins.
    pub(super) fn begin(
        self: &Arc<Self>,
        rules: Rules,
        default_interval: Duration,
    ) -> (Place, mpsc::Receiver<Poke>) {
        let metrics = self
            .metrics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let state = Handle(Arc::new(Mutex::new(State {
            table: Table::default(),
            plan: Plan::new(rules),
            began: Instant::now(),
            began_at: Timestamp::now(),
            looks: 0,
            default_interval,
            metrics,
        })));
        let (pokes, poked) = mpsc::channel(POKES);
        *self.running() = Some(Running {
            state: state.clone(),
            pokes,
        });
        let board = Arc::clone(self);
        (Place { board, state }, poked)
    }

    /// Something was pushed to a tag: `name` is a reference in any form. Whoever follows it looks at it soon. Whether
    /// anybody can: otherwise the server that runs the controllers finds out by itself, later.
    pub(crate) fn poke(&self, name: &str) -> bool {
        let Some(reference) = imagestream_import::check::reference(name) else {
            return false;
        };
        let Ok(source) = reference.normalised() else {
            return false;
        };
        let running = self.running();
        // When too many wait, those look at it that are due.
        running
            .as_ref()
            .is_some_and(|running| running.pokes.try_send(Poke { source }).is_ok())
    }

    /// Whether pokes are taken.
    pub(crate) fn is_running(&self) -> bool {
        self.running().is_some()
    }

    /// What is known, if this server runs the controllers.
    pub(super) fn state(&self) -> Option<Handle> {
        self.running().as_ref().map(|running| running.state.clone())
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn now(&self) -> Millis {
        millis(self.began.elapsed())
    }

    /// A stream follows these, and nothing else. `place` tells the host of a source and its phase.
    pub(super) fn set(
        &mut self,
        key: &StreamKey,
        tags: &[(Followed, Fingerprint)],
        place: impl Fn(&str) -> (String, u64),
    ) {
        let now = self.now();
        let changes = self.table.set(key, tags);
        for id in changes.ended {
            self.plan.remove(id);
        }
        for id in changes.planned {
            let Some(source) = self.table.source(id) else {
                continue;
            };
            let (host, phase) = place(&source.name);
            let interval = self.table.interval(id, self.default_interval);
            self.plan.set(id, &host, interval, phase, now);
        }
    }

    /// A stream follows nothing.
    pub(super) fn forget(&mut self, key: &StreamKey) {
        let now = self.now();
        let changes = self.table.set(key, &[]);
        for id in changes.ended {
            self.plan.remove(id);
        }
        for id in changes.planned {
            let interval = self.table.interval(id, self.default_interval);
            self.plan.set_interval(id, interval, now);
        }
    }

    /// A look that is due.
    pub(super) fn start(&mut self) -> Option<Begun> {
        let now = self.now();
        loop {
            let (id, look) = self.plan.start(now)?;
            let namespace = self.table.a_follower(id).map(|key| key.namespace.clone());
            // There is no source without followers.
            if let (Some(source), Some(namespace)) = (self.table.source_mut(id), namespace) {
                source.is_touched = false;
                return Some(Begun {
                    look: (id, look),
                    source: Arc::clone(&source.name),
                    insecure: source.insecure,
                    settled: source.settled,
                    namespace,
                });
            }
            self.plan.remove(id);
        }
    }

    /// When the next look is due.
    pub(super) fn next_start(&self) -> Option<Instant> {
        let at = self.plan.next_start()?;
        Some(self.began + Duration::from_millis(at))
    }

    pub(super) fn may_fetch(&self, host: &str) -> bool {
        self.plan.may_fetch(host, self.now())
    }

    /// A look has ended.
    pub(super) fn ended(&mut self, look: (SourceId, u32), host: &str, looked: &Looked) {
        let now = self.now();
        self.looks += 1;
        if let Some(metrics) = &self.metrics {
            metrics.looked(host, looked.outcome);
        }
        let is_current = self
            .plan
            .ended(look, host, looked.outcome, looked.feedback, looked.gets, now);
        let Some(source) = self.table.source_mut(look.0).filter(|_| is_current) else {
            return;
        };
        // A stream that changed meanwhile may not be where the others are.
        source.settled = if source.is_touched {
            Settled::Nothing
        } else {
            looked.settled
        };
        let seconds = u32::try_from(now / 1000).unwrap_or(u32::MAX).max(1);
        source.looked = seconds;
        if matches!(looked.outcome, Outcome::Moved { .. }) {
            source.moved = seconds;
        }
    }

    /// Something was pushed.
    pub(super) fn poke(&mut self, poke: &Poke) {
        let now = self.now();
        for id in self.table.named(&poke.source) {
            self.plan.poke(id, now);
        }
    }

    /// Brings the gauges up to date.
    pub(super) fn show(&self) {
        let Some(metrics) = &self.metrics else {
            return;
        };
        let now = self.now();
        let lag = self
            .plan
            .hosts()
            .map(|host| host.lag(now))
            .max()
            .unwrap_or_default();
        let throttled = self.plan.hosts().filter(|host| host.throttled(now).is_some());
        metrics.show(
            self.table.tags(),
            self.table.source_count(),
            Duration::from_millis(lag),
            throttled.count(),
        );
    }
}
