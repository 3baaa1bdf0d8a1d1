use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use imagestream_store::{Answer, Limits, Page, Watch};

use super::*;

/// One key in memory, whose answers can be lost or fail.
#[derive(Default)]
pub(in crate::controllers) struct Slate {
    state: Mutex<(u64, Option<KeyValue>)>,
    /// Nothing is answered.
    is_away: AtomicBool,
    /// Of so many commits nobody learns what became of them; of the first of each two nothing did.
    lost: AtomicU64,
}

impl Slate {
    fn lose(&self, answers: u64) {
        self.lost.store(answers, Ordering::SeqCst);
    }

    fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    pub(in crate::controllers) fn value(&self) -> Option<KeyValue> {
        self.state.lock().unwrap().1.clone()
    }

    fn apply(&self, preconditions: &[Precondition], writes: &[Write]) -> Result<u64, StoreError> {
        let mut state = self.state.lock().unwrap();
        let current = state.1.as_ref().map(|found| found.mod_revision);
        let holds = match &preconditions[0] {
            Precondition::Absent(_) => current.is_none(),
            Precondition::ModRevision(_, revision) => current == Some(*revision),
        };
        if !holds {
            let (key, current) = (preconditions[0].key().to_owned(), None);
            return Err(StoreError::Conflict {
                key,
                index: 0,
                current,
            });
        }
        state.0 += 1;
        let revision = state.0;
        state.1 = match &writes[0] {
            Write::Put(key, value) => Some(KeyValue {
                key: key.clone(),
                value: value.clone(),
                create_revision: revision,
                mod_revision: revision,
            }),
            Write::Delete(_) => None,
        };
        Ok(revision)
    }
}

/// A slate as one server sees it.
pub(in crate::controllers) struct Link {
    slate: Arc<Slate>,
    is_cut: AtomicBool,
}

impl Link {
    async fn wait(&self) {
        if self.slate.is_away.load(Ordering::SeqCst) || self.is_cut.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

impl Store for Link {
    fn get<'a>(&'a self, _: &'a str, _: Option<u64>) -> Answer<'a, Option<KeyValue>> {
        Box::pin(async {
            self.wait().await;
            Ok(self.slate.value())
        })
    }

    fn commit<'a>(&'a self, preconditions: &'a [Precondition], writes: &'a [Write]) -> Answer<'a, u64> {
        Box::pin(async {
            self.wait().await;
            let lost = self.slate.lost.load(Ordering::SeqCst);
            if lost == 0 {
                return self.slate.apply(preconditions, writes);
            }
            self.slate.lost.store(lost - 1, Ordering::SeqCst);
            if lost % 2 == 1 {
                let _ = self.slate.apply(preconditions, writes);
            }
            Err(StoreError::OutcomeUnknown("the connection was lost".into()))
        })
    }

    fn list<'a>(&'a self, _: &'a str, _: Option<&'a str>, _: usize, _: Option<u64>) -> Answer<'a, Page> {
        panic!("a lease lists nothing")
    }

    fn watch(&self, _: &str, _: u64) -> Watch {
        panic!("a lease watches nothing")
    }

    fn request_progress<'a>(&'a self, _: &'a str) -> Answer<'a, u64> {
        panic!("a lease watches nothing")
    }

    fn compact(&self, _: u64) -> Answer<'_, ()> {
        panic!("a lease compacts nothing")
    }

    fn current_revision(&self) -> Answer<'_, u64> {
        panic!("a lease knows revisions from its key")
    }

    fn health(&self) -> Answer<'_, ()> {
        panic!("a lease finds out by itself")
    }

    fn size(&self) -> Answer<'_, u64> {
        panic!("a lease is small")
    }

    fn limits(&self) -> Limits {
        panic!("a lease is small")
    }
}

pub(in crate::controllers) fn candidate(slate: &Arc<Slate>) -> (Lease, Arc<Link>) {
    let link = Arc::new(Link {
        slate: Arc::clone(slate),
        is_cut: AtomicBool::new(false),
    });
    let store: Arc<dyn Store> = link.clone();
    let lease = Lease::new(store, CONTROLLERS, "host", Timing::default());
    (lease, link)
}

/// A server that holds the lease until it is killed.
async fn hold(lease: Lease) {
    let term = lease.acquire().await;
    lease.keep(term).await;
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_first_gets_a_free_lease_at_once_and_keeps_it_while_others_wait() {
    let slate = Arc::new(Slate::default());
    let (first, _) = candidate(&slate);
    let (second, _) = candidate(&slate);
    let begun = Instant::now();
    let term = first.acquire().await;
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    let waited = timeout(600 * SECOND, async {
        tokio::select! {
            () = first.keep(term) => "lost",
            _ = second.acquire() => "taken",
        }
    });
    assert_eq!(waited.await.ok(), None, "nothing happens in ten minutes");
    let record = read(&slate.value().unwrap()).unwrap();
    assert!((190..=200).contains(&record.renewals), "{record:?}");
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_server_that_died_is_taken_within_15_seconds_and_not_before_it_stopped_acting() {
    let slate = Arc::new(Slate::default());
    // Died at another time after its last renewal each time.
    for millis in [10, 900, 2_900, 3_100, 4_500] {
        let (dying, _) = candidate(&slate);
        let (heir, _) = candidate(&slate);
        let holder = tokio::spawn(hold(dying));
        sleep(20 * SECOND).await;
        let heir = tokio::spawn(async move { heir.acquire().await });
        sleep(3 * SECOND + Duration::from_millis(millis)).await;
        assert!(!heir.is_finished());
        holder.abort();
        let died = Instant::now();
        heir.await.unwrap();
        let after = died.elapsed();
        assert!(after <= 15 * SECOND, "{after:?}");
        assert!(after >= Timing::default().deadline - 3 * SECOND, "{after:?}");
        *slate.state.lock().unwrap() = (1000, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_given_back_is_taken_at_once() {
    let slate = Arc::new(Slate::default());
    let (first, _) = candidate(&slate);
    let (second, _) = candidate(&slate);
    let term = first.acquire().await;
    let heir = tokio::spawn(async move { second.acquire().await });
    // Renewed for a while.
    assert!(timeout(30 * SECOND, first.keep(term)).await.is_err());
    first.release().await;
    let released = Instant::now();
    heir.await.unwrap();
    assert!(released.elapsed() <= 2 * SECOND, "{:?}", released.elapsed());
    first.release().await;
    assert!(slate.value().is_some(), "what is another's is not given back");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_reach_the_store_stops_acting_before_another_takes_over() {
    let slate = Arc::new(Slate::default());
    let (first, link) = candidate(&slate);
    let (second, _) = candidate(&slate);
    let term = first.acquire().await;
    let keeping = async {
        first.keep(term).await;
        Instant::now()
    };
    let cutting = async {
        sleep(10 * SECOND).await;
        link.is_cut.store(true, Ordering::SeqCst);
        second.acquire().await;
        Instant::now()
    };
    let (stopped, taken) = tokio::join!(keeping, cutting);
    assert!(stopped + 2 * SECOND <= taken, "{:?}", taken - stopped);
    // Back again it is one of those who wait.
    link.is_cut.store(false, Ordering::SeqCst);
    assert!(timeout(SECOND, first.acquire()).await.is_err(), "it is another's");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_moment_costs_nobody_the_lease_and_one_that_stays_away_does() {
    let slate = Arc::new(Slate::default());
    let (first, _) = candidate(&slate);
    let term = first.acquire().await;
    // Renewals that hang are not given up early; the next one begins when the last was answered.
    slate.set_away(true);
    let begun = Instant::now();
    first.keep(term).await;
    assert_eq!(
        begun.elapsed().as_secs(),
        6,
        "7 s after the beginning of the last renewal"
    );
    // Its own record does not keep it waiting.
    slate.set_away(false);
    let begun = Instant::now();
    let term = first.acquire().await;
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    assert!(timeout(60 * SECOND, first.keep(term)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_did_not_run_for_a_while_keeps_what_nobody_else_can_have_yet() {
    for (millis, keeps) in [(6_900, true), (7_500, true), (8_900, true), (9_100, false)] {
        let slate = Arc::new(Slate::default());
        let (first, _) = candidate(&slate);
        let term = first.acquire().await;
        let renewed = term.renewed;
        let keeping = tokio::spawn(async move {
            first.keep(term).await;
            Instant::now()
        });
        tokio::task::yield_now().await;
        // Its timers run out, but nothing of it ran when they did.
        tokio::time::advance(Duration::from_millis(millis)).await;
        sleep(SECOND).await;
        let record = read(&slate.value().unwrap()).unwrap();
        assert_eq!(record.renewals, u64::from(keeps), "{millis}");
        if keeps {
            sleep(60 * SECOND).await;
            assert!(!keeping.is_finished(), "{millis}");
            keeping.abort();
        } else {
            let stopped = keeping.await.unwrap() - renewed;
            assert!(stopped < Timing::default().duration, "{stopped:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_runs_again_but_cannot_reach_the_store_stops_acting_before_another_takes_over() {
    let slate = Arc::new(Slate::default());
    let (first, link) = candidate(&slate);
    let term = first.acquire().await;
    let renewed = term.renewed;
    let keeping = tokio::spawn(async move {
        first.keep(term).await;
        Instant::now()
    });
    tokio::task::yield_now().await;
    link.is_cut.store(true, Ordering::SeqCst);
    tokio::time::advance(Duration::from_millis(8_500)).await;
    let stopped = keeping.await.unwrap() - renewed;
    assert!(stopped < Timing::default().duration, "{stopped:?}");
}

#[tokio::test(start_paused = true)]
async fn commits_whose_outcome_nobody_knows_cost_nobody_the_lease() {
    let slate = Arc::new(Slate::default());
    let (first, _) = candidate(&slate);
    for lost in [1, 2] {
        slate.lose(lost);
        let term = first.acquire().await;
        slate.lose(lost);
        assert!(timeout(60 * SECOND, first.keep(term)).await.is_err(), "{lost}");
        assert_eq!(slate.lost.load(Ordering::SeqCst), 0);
    }
    // And nobody else has it by that.
    let (second, _) = candidate(&slate);
    assert!(second.acquire().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_or_asks_for_eternity_does_not_block_the_lease() {
    for value in [
        "not JSON",
        "{\"holderIdentity\":\"x\",\"leaseDurationSeconds\":18446744073709551615,\"renewals\":0}",
    ] {
        let slate = Arc::new(Slate::default());
        let put = Write::Put(CONTROLLERS.into(), Bytes::from(value));
        slate
            .apply(&[Precondition::Absent(CONTROLLERS.into())], &[put])
            .unwrap();
        let (lease, _) = candidate(&slate);
        let begun = Instant::now();
        lease.acquire().await;
        assert!(begun.elapsed() >= Timing::default().duration, "{value}");
        assert!(begun.elapsed() <= LONGEST + 2 * SECOND, "{value}");
    }
}
