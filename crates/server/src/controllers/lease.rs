//! Leader election: of several servers on one store, one holds the lease and acts.
//!
//! The lease is one key that its holder writes again and again. Whoever wants it watches, by a clock of their own that
//! only measures, for how long the key has not been written: clocks of different machines are never compared, as in
//! [Kubernetes' client library][1]. Every write depends on the state that it replaces, so that of two who take a lease
//! that has run out one succeeds. A holder that can't write stops acting well before others may take the lease.
//!
//! [1]: https://pkg.go.dev/k8s.io/client-go/tools/leaderelection

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use imagestream_store::{KeyValue, Precondition, Store, StoreError, Write};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// The lease of those who run the controllers.
pub(crate) const CONTROLLERS: &str = "/imagestream/leases/controllers";
/// Longest duration that a record may ask others to wait for, whatever is written in it.
const LONGEST: Duration = Duration::from_secs(60);
/// Longest time that giving the lease back may take: others get it without that, only later.
const PATIENCE: Duration = Duration::from_secs(2);

/// The times of a lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// How long others must have seen no renewal before they take the lease.
    pub(crate) duration: Duration,
    /// How long after the beginning of its last renewal the holder acts. Less than `duration`: the difference is what
    /// a clock may be slow, and what it may take to stop.
    pub(crate) deadline: Duration,
    /// How long after that a holder may still try to renew it that could not begin in time, as it did not run for a
    /// while. Between `deadline` and `duration`: nobody else has the lease yet.
    pub(crate) latest: Duration,
    /// Time between renewals.
    pub(crate) renewal: Duration,
    /// Pause before another try.
    pub(crate) retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(10),
            deadline: Duration::from_secs(7),
            latest: Duration::from_secs(9),
            renewal: Duration::from_secs(3),
            retry: Duration::from_secs(1),
        }
    }
}

/// What is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    holder_identity: String,
    lease_duration_seconds: u64,
    /// Tells two renewals apart for those who look at the key.
    renewals: u64,
}

/// A candidate for one lease.
pub(crate) struct Lease {
    store: Arc<dyn Store>,
    key: &'static str,
    /// Never the same for two processes.
    holder: String,
    timing: Timing,
}

/// The lease is this candidate's until a certain time, unless it is renewed.
#[derive(Debug)]
pub(crate) struct Term {
    /// Of the record.
    revision: u64,
    renewals: u64,
    /// When the last renewal began.
    renewed: Instant,
}

/// The record as others saw it last.
struct Seen {
    revision: u64,
    /// Since when.
    since: Instant,
}

enum Try {
    Won(Term),
    /// Somebody else has it, at least that long.
    Wait(Duration),
}

impl Lease {
    /// A candidate that calls itself `host` and something of its own.
    pub(crate) fn new(store: Arc<dyn Store>, key: &'static str, host: &str, timing: Timing) -> Self {
        Self {
            store,
            key,
            holder: format!("{host}_{}", uuid::Uuid::new_v4()),
            timing,
        }
    }

    /// Waits until the lease is this candidate's.
    pub(crate) async fn acquire(&self) -> Term {
        let mut seen = None;
        loop {
            let wait = match self.try_acquire(&mut seen).await {
                Ok(Try::Won(term)) => return term,
                Ok(Try::Wait(wait)) => wait.min(self.timing.retry),
                Err(error) => {
                    tracing::warn!(%error, "could not ask for the lease of the controllers");
                    self.timing.retry
                }
            };
            sleep(wait).await;
        }
    }

    async fn try_acquire(&self, seen: &mut Option<Seen>) -> Result<Try, StoreError> {
        let found = self.store.get(self.key, None).await?;
        let now = Instant::now();
        let condition = match &found {
            None => Precondition::Absent(self.key.into()),
            Some(found) => {
                let record = read(found);
                let is_own = record
                    .as_ref()
                    .is_some_and(|record| record.holder_identity == self.holder);
                if !is_own {
                    let duration = self.duration_of(record.as_ref());
                    let since = match seen {
                        Some(seen) if seen.revision == found.mod_revision => seen.since,
                        _ => {
                            let revision = found.mod_revision;
                            seen.insert(Seen { revision, since: now }).since
                        }
                    };
                    let left = duration.saturating_sub(now - since);
                    if !left.is_zero() {
                        return Ok(Try::Wait(left));
                    }
                }
                Precondition::ModRevision(self.key.into(), found.mod_revision)
            }
        };
        match self.store.commit(&[condition], &[self.record(0)]).await {
            Ok(revision) => Ok(Try::Won(Term {
                revision,
                renewals: 0,
                renewed: now,
            })),
            // Somebody was faster, or nobody knows: what is there now will tell, also whether it is this candidate's.
            Err(StoreError::Conflict { .. } | StoreError::OutcomeUnknown(_)) => {
                Ok(Try::Wait(self.timing.retry))
            }
            Err(error) => Err(error),
        }
    }

    /// Renews the lease for as long as that works. When this returns the lease may soon be somebody else's: whatever
    /// depends on it must end.
    pub(crate) async fn keep(&self, mut term: Term) {
        loop {
            sleep_until(term.renewed + self.timing.renewal).await;
            let end = self.end_of_renewal(&term);
            let renewal = async {
                // What is too late is not begun.
                if Instant::now() >= end {
                    std::future::pending::<()>().await;
                }
                self.renew(&mut term).await
            };
            match timeout_at(end, renewal).await {
                Ok(Some(began)) => term.renewed = began,
                Ok(None) => {
                    tracing::warn!("another server has the lease of the controllers");
                    return;
                }
                Err(_) => {
                    tracing::warn!("the lease of the controllers could not be renewed in time");
                    return;
                }
            }
        }
    }

    /// When a renewal that begins now must have succeeded.
    fn end_of_renewal(&self, term: &Term) -> Instant {
        let deadline = term.renewed + self.timing.deadline;
        // One that begins late gets the time of one try.
        let late = (Instant::now() + self.timing.retry).min(term.renewed + self.timing.latest);
        deadline.max(late)
    }

    /// Renews the lease once, however often that has to be tried. When the successful try began; nothing if somebody
    /// else has the lease.
    async fn renew(&self, term: &mut Term) -> Option<Instant> {
        loop {
            let began = Instant::now();
            let unchanged = Precondition::ModRevision(self.key.into(), term.revision);
            let record = self.record(term.renewals + 1);
            let error = match self.store.commit(&[unchanged], &[record]).await {
                Ok(revision) => {
                    term.revision = revision;
                    term.renewals += 1;
                    return Some(began);
                }
                Err(error @ (StoreError::Conflict { .. } | StoreError::OutcomeUnknown(_))) => {
                    // A renewal whose answer was lost may have changed the record. Another one that is known to have
                    // succeeded says until when the lease is held.
                    match self.store.get(self.key, None).await {
                        Ok(found) => {
                            let found = found?;
                            let record = read(&found)?;
                            if record.holder_identity != self.holder {
                                return None;
                            }
                            term.revision = found.mod_revision;
                            term.renewals = record.renewals;
                            error
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            tracing::warn!(%error, "could not renew the lease of the controllers");
            sleep(self.timing.retry).await;
        }
    }

    /// Gives the lease back, if it is still this candidate's, so that others need not wait for its end.
    pub(crate) async fn release(&self) {
        match timeout(PATIENCE, self.try_release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "could not give back the lease of the controllers"),
            Err(_) => tracing::warn!("could not give back the lease of the controllers in time"),
        }
    }

    async fn try_release(&self) -> Result<(), StoreError> {
        let Some(found) = self.store.get(self.key, None).await? else {
            return Ok(());
        };
        if read(&found).is_none_or(|record| record.holder_identity != self.holder) {
            return Ok(());
        }
        let unchanged = Precondition::ModRevision(self.key.into(), found.mod_revision);
        let deletion = Write::Delete(self.key.into());
        match self.store.commit(&[unchanged], &[deletion]).await {
            // It ran out and somebody took it.
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How long others must wait for a holder; one that wrote something unreadable, as long as for this candidate.
    fn duration_of(&self, record: Option<&Record>) -> Duration {
        record.map_or(self.timing.duration, |record| {
            Duration::from_secs(record.lease_duration_seconds).clamp(self.timing.duration, LONGEST)
        })
    }

    fn record(&self, renewals: u64) -> Write {
        let record = Record {
            holder_identity: self.holder.clone(),
            lease_duration_seconds: self.timing.duration.as_secs(),
            renewals,
        };
        // Text and numbers can always be written as JSON.
        let value = serde_json::to_vec(&record).unwrap_or_default();
        Write::Put(self.key.into(), Bytes::from(value))
    }
}

/// Who holds a lease by what is stored; nobody if it was given back.
///
/// # Errors
/// Those of the store.
pub(crate) async fn holder(store: &dyn Store, key: &str) -> Result<Option<String>, StoreError> {
    let found = store.get(key, None).await?;
    let record = found.as_ref().and_then(read);
    Ok(record.map(|record| record.holder_identity))
}

fn read(found: &KeyValue) -> Option<Record> {
    serde_json::from_slice(&found.value).ok()
}

#[cfg(test)]
pub(super) mod tests;
