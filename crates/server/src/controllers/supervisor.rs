//! Runs the controllers while this server leads.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use prometheus::IntGauge;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::lease::{Lease, Term};

/// Pause before a controller that failed is started again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Whoever ran that long begins with the first pause again.
const STEADY: Duration = Duration::from_secs(5 * 60);
/// Longest time that controllers may take to end before their lease is not given back. Less than others wait after this
/// server has stopped to act, and than a server that is asked to end waits for its controllers.
const ENDING: Duration = Duration::from_secs(2);

type Run = Box<dyn Fn() -> BoxFuture<'static, Result<(), Box<Status>>> + Send + Sync>;

/// One controller: how it is called and how it is started, as often as it must be.
pub(crate) struct Controller {
    name: &'static str,
    run: Run,
}

impl Controller {
    /// A controller that is an `async fn` of what it shares with others.
    pub(crate) fn new<S, F>(
        name: &'static str,
        shared: &Arc<S>,
        run: impl Fn(Arc<S>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        S: Send + Sync + 'static,
        F: Future<Output = Result<(), Box<Status>>> + Send + 'static,
    {
        let shared = Arc::clone(shared);
        Self {
            name,
            run: Box::new(move || Box::pin(run(Arc::clone(&shared)))),
        }
    }
}

/// The controllers of a server.
pub(crate) struct Controllers {
    pub(crate) all: Vec<Controller>,
    /// Counts whatever acts for them, beside themselves.
    pub(crate) acting: TaskTracker,
}

impl Controllers {
    /// Waits until nothing acts any more, for a bounded time; whether it does not.
    async fn end(&self) -> bool {
        self.acting.close();
        let has_ended = timeout(ENDING, self.acting.wait()).await.is_ok();
        self.acting.reopen();
        has_ended
    }
}

/// How it is decided which server acts.
pub(crate) enum Election {
    /// There is no other on the store.
    Alone,
    /// Whoever holds it.
    Lease(Lease),
}

impl Election {
    async fn win(&self) -> Option<Term> {
        match self {
            Self::Alone => None,
            Self::Lease(lease) => Some(lease.acquire().await),
        }
    }

    /// Returns when another server may act.
    async fn lose(&self, term: Option<Term>) {
        match (self, term) {
            (Self::Lease(lease), Some(term)) => lease.keep(term).await,
            _ => std::future::pending().await,
        }
    }

    async fn give_up(&self) {
        if let Self::Lease(lease) = self {
            lease.release().await;
        }
    }
}

/// Runs the controllers whenever this server leads, until `stop`; then lets another server lead, once nothing that acts
/// for them is left. `leads` is 1 while it does, else 0.
pub(crate) async fn supervise(
    election: Election,
    controllers: Controllers,
    leads: IntGauge,
    stop: CancellationToken,
) {
    let controllers = Arc::new(controllers);
    loop {
        let won = stop.run_until_cancelled(election.win()).await;
        let Some(term) = won else {
            // A commit that was under way may have come through.
            election.give_up().await;
            return;
        };
        tracing::info!("this server runs the controllers");
        leads.set(1);
        let mut running = JoinSet::new();
        for number in 0..controllers.all.len() {
            running.spawn(keep_running(Arc::clone(&controllers), number));
        }
        let lost = stop.run_until_cancelled(election.lose(term)).await;
        running.shutdown().await;
        let mut has_ended = controllers.end().await;
        while !has_ended && lost.is_some() {
            tracing::warn!("something that the controllers began does not end");
            has_ended = controllers.end().await;
        }
        leads.set(0);
        tracing::info!("this server no longer runs the controllers");
        if lost.is_none() {
            if has_ended {
                election.give_up().await;
            } else {
                // It runs out by itself, and until then no other server acts.
                tracing::warn!(
                    "the lease is not given back: something that the controllers began does not end"
                );
            }
            return;
        }
    }
}

/// Starts a controller again and again.
async fn keep_running(controllers: Arc<Controllers>, number: usize) {
    let Some(controller) = controllers.all.get(number) else {
        return;
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        // In a task of its own, so that a panic ends nothing else.
        let task = tokio::spawn(controllers.acting.track_future((controller.run)()));
        let ended = AbortOnDropHandle::new(task).await;
        if begun.elapsed() >= STEADY {
            pause = FIRST_PAUSE;
        }
        let name = controller.name;
        match ended {
            Ok(Ok(())) => tracing::info!(name, ?pause, "a controller has ended and is started again"),
            Ok(Err(status)) => {
                let why = status.message.unwrap_or_default();
                tracing::warn!(name, why, ?pause, "a controller has failed and is started again");
            }
            Err(error) if error.is_panic() => {
                tracing::error!(name, ?pause, "a controller has panicked and is started again");
            }
            // The runtime is shutting down.
            Err(_) => return,
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "controllers that panic are what is tested")]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use imagestream_apiserver::errors;

    use super::super::lease::tests::{Slate, candidate};
    use super::*;

    /// How often it was started, and how many run.
    #[derive(Default)]
    struct Counts {
        starts: AtomicUsize,
        running: AtomicUsize,
    }

    fn controllers(all: Vec<Controller>) -> Controllers {
        Controllers {
            all,
            acting: TaskTracker::new(),
        }
    }

    fn gauge() -> IntGauge {
        IntGauge::new("leads", "Whether it leads.").unwrap()
    }

    struct Running(Arc<Counts>);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.running.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn begin(counts: &Arc<Counts>) -> (Running, usize) {
        counts.running.fetch_add(1, Ordering::SeqCst);
        let start = counts.starts.fetch_add(1, Ordering::SeqCst);
        (Running(Arc::clone(counts)), start)
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_fails_or_panics_is_started_again_after_pauses_that_grow() {
        let counts = Arc::new(Counts::default());
        let controller = Controller::new("failing", &counts, |counts| async move {
            let (_running, start) = begin(&counts);
            match start % 3 {
                0 => Err(errors::internal_error("no luck").into()),
                1 => panic!("a mistake"),
                _ => Ok(()),
            }
        });
        let stop = CancellationToken::new();
        let task = tokio::spawn(supervise(
            Election::Alone,
            controllers(vec![controller]),
            gauge(),
            stop.clone(),
        ));
        sleep(Duration::from_millis(500)).await;
        assert_eq!(counts.starts.load(Ordering::SeqCst), 1);
        // After 1, 3, 7, 15, 31, 63 and then each 60 seconds.
        sleep(Duration::from_secs(64)).await;
        assert_eq!(counts.starts.load(Ordering::SeqCst), 7);
        sleep(Duration::from_secs(600)).await;
        assert_eq!(counts.starts.load(Ordering::SeqCst), 17);
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_of_one_does_not_touch_another_and_all_end_when_the_server_stops() {
        let (failing, steady) = (Arc::new(Counts::default()), Arc::new(Counts::default()));
        let all = vec![
            Controller::new("failing", &failing, |counts| async move {
                begin(&counts);
                Err(errors::internal_error("no luck").into())
            }),
            Controller::new("steady", &steady, |counts| async move {
                let _running = begin(&counts);
                std::future::pending().await
            }),
        ];
        let stop = CancellationToken::new();
        let leads = gauge();
        let task = tokio::spawn(supervise(
            Election::Alone,
            controllers(all),
            leads.clone(),
            stop.clone(),
        ));
        sleep(Duration::from_secs(100)).await;
        assert!(failing.starts.load(Ordering::SeqCst) > 3);
        let of_steady = |of: &AtomicUsize| of.load(Ordering::SeqCst);
        assert_eq!((of_steady(&steady.starts), of_steady(&steady.running)), (1, 1));
        assert_eq!(leads.get(), 1);
        stop.cancel();
        task.await.unwrap();
        assert_eq!(leads.get(), 0);
        assert_eq!(of_steady(&steady.running), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_is_given_back_when_nothing_that_was_begun_acts_any_more() {
        let slate = Arc::new(Slate::default());
        let lead = || {
            let (stop, all) = (CancellationToken::new(), controllers(Vec::new()));
            let acting = all.acting.clone();
            let lease = Election::Lease(candidate(&slate).0);
            let task = tokio::spawn(supervise(lease, all, gauge(), stop.clone()));
            (stop, acting, task)
        };
        let (stop, acting, task) = lead();
        sleep(Duration::from_secs(5)).await;
        let begun = acting.token();
        stop.cancel();
        sleep(ENDING / 2).await;
        assert!(slate.value().is_some(), "something acts still");
        drop(begun);
        task.await.unwrap();
        assert_eq!(slate.value(), None, "it is given back");

        // What never ends keeps nobody from ending, but others from acting until the lease has run out.
        let (stop, acting, task) = lead();
        sleep(Duration::from_secs(5)).await;
        let _begun = acting.token();
        stop.cancel();
        timeout(2 * ENDING, task).await.unwrap().unwrap();
        assert!(slate.value().is_some());
    }
}
