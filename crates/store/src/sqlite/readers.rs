//! The pool of reading connections. Each read sees one consistent state of the database.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::row::Tip;
use super::schema::open_for_reading;
use crate::model::StoreError;

/// Reading connections, each used by one read at a time.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    count: u32,
    /// The newest revision that anyone in this process has seen: what a read showed is never ahead of it.
    revision: AtomicU64,
}

impl Readers {
    pub(super) fn open(path: &Path, count: usize, revision: u64) -> rusqlite::Result<Self> {
        let idle = (0..count.max(1))
            .map(|_| open_for_reading(path))
            .collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Self {
            count: u32::try_from(idle.len()).unwrap_or(u32::MAX),
            permits: Semaphore::new(idle.len()),
            idle: Mutex::new(idle),
            revision: AtomicU64::new(revision),
        })
    }

    /// Runs `read` on a thread for blocking work, in one read transaction.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection, Tip) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // In the closure, so that a read whose caller has gone still returns its connection.
        let readers = Arc::clone(self);
        let permit = self.permits.acquire().await.map_err(|_| closed())?;
        permit.forget();
        let answer = spawn_blocking(move || {
            let connection = readers.idle().pop();
            let answer = match connection {
                None => Err(StoreError::Unavailable("no connection is left".into())),
                Some(mut connection) => {
                    let answer = readers.in_transaction(&mut connection, read);
                    readers.idle().push(connection);
                    answer
                }
            };
            readers.permits.add_permits(1);
            answer
        });
        answer
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    fn in_transaction<T>(
        &self,
        connection: &mut Connection,
        read: impl FnOnce(&Connection, Tip) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        let tip = Tip::read(&transaction)?;
        self.saw(tip.revision);
        let answer = read(&transaction, tip)?;
        transaction.commit()?;
        Ok(answer)
    }

    /// Notes that a revision was committed.
    pub(super) fn saw(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::SeqCst);
    }

    /// The newest revision.
    pub(super) fn revision(&self) -> u64 {
        self.revision.load(Ordering::SeqCst)
    }

    /// Waits for the reads that run, refuses later ones, closes the connections.
    pub(super) async fn close(&self) {
        // Refused only if the pool is closed already.
        if let Ok(permits) = self.permits.acquire_many(self.count).await {
            permits.forget();
            self.permits.close();
            self.idle().clear();
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // A list of connections is whole at any moment.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request to a closed store is told.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}
