//! The one writer: a thread that commits transactions in groups, so that many share one sync of the log.
//!
//! Every transaction has its own revision and preconditions. All of a group are answered after the group's COMMIT,
//! refused ones too: what they were refused for is then as durable as what was accepted.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::directory::Directory;
use super::error::of_commit;
use super::feed::Feed;
use super::history::History;
use super::past::Commit;
use super::readers::{Readers, closed};
use super::row::Tip;
use super::transaction::apply;
use crate::model::{Precondition, StoreError, Write};

/// Most transactions of a group.
const GROUP_TRANSACTIONS: usize = 512;
/// Bytes of values from which a group is full.
const GROUP_BYTES: usize = 8 << 20;
/// Longest wait for the transactions that are likely to come.
const LONGEST_GATHERING: Duration = Duration::from_millis(1);

/// What the writer is asked for. The permit bounds how many requests wait.
pub(super) enum Request {
    Commit(Submission),
    Compact(u64, oneshot::Sender<Result<(), StoreError>>),
    Probe(oneshot::Sender<Result<(), StoreError>>),
    Close,
}

/// A transaction that waits for its group.
pub(super) struct Submission {
    pub(super) preconditions: Vec<Precondition>,
    pub(super) writes: Vec<Write>,
    pub(super) reply: oneshot::Sender<Result<u64, StoreError>>,
    pub(super) _permit: OwnedSemaphorePermit,
}

/// The state of the writer's thread.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) requests: Receiver<Request>,
    pub(super) feed: Arc<Feed>,
    pub(super) readers: Arc<Readers>,
    /// Tells the watches that the feed has news; they end when it is dropped.
    pub(super) news: watch::Sender<()>,
    pub(super) history: History,
    pub(super) directory: Directory,
}

impl Writer {
    /// Serves requests until it is told to close or nobody can ask any more.
    pub(super) fn run(mut self) {
        let mut group = Vec::new();
        let mut gathering = Gathering::default();
        // Why the last write failed.
        let mut failing = None;
        let mut tick = Instant::now();
        loop {
            let wait = if self.history.unswept() {
                Duration::ZERO
            } else {
                tick.saturating_duration_since(Instant::now())
            };
            let mut other = None;
            match self.requests.recv_timeout(wait) {
                Ok(Request::Commit(first)) => other = gathering.fill(&mut group, first, &self.requests),
                Ok(request) => other = Some(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if !group.is_empty() {
                let begun = Instant::now();
                let answered = group.len();
                failing = self.commit(std::mem::take(&mut group));
                gathering.committed(answered, begun.elapsed());
            }
            match other {
                None | Some(Request::Commit(_)) => {}
                Some(Request::Close) => break,
                Some(Request::Compact(revision, reply)) => {
                    let done = self.compact(revision);
                    // A caller that has gone needs no answer; so below.
                    let _ = reply.send(done);
                }
                Some(Request::Probe(reply)) => {
                    if failing.is_some() {
                        failing = self.probe().err();
                    }
                    let _ = reply.send(failing.clone().map_or(Ok(()), Err));
                }
            }
            if let Err(error) = self.tidy(&mut tick) {
                tracing::warn!(%error, "can't drop old history, trying again later");
            }
        }
        self.close();
    }

    /// Commits a group and answers it; returns why that failed.
    fn commit(&mut self, group: Vec<Submission>) -> Option<StoreError> {
        // Savepoints cost a copy of each page that changes, so they are taken only to tell apart who fails.
        let done = self.execute(&group, false).or_else(|error| {
            if group.len() > 1 && is_own(&error) {
                self.execute(&group, true)
            } else {
                Err(error)
            }
        });
        match done {
            Ok((tip, commits, answers)) => {
                let changes = commits.iter().map(|(_, changes)| changes.len()).sum();
                if changes > 0 {
                    self.readers.saw(tip);
                    self.feed.publish(commits, tip);
                    self.news.send_replace(());
                }
                for (submission, answer) in group.into_iter().zip(answers) {
                    let _ = submission.reply.send(answer);
                }
                self.history.added(changes);
                None
            }
            Err(error) => {
                tracing::error!(%error, transactions = group.len(), "commit failed");
                for submission in group {
                    let _ = submission.reply.send(Err(error.clone()));
                }
                Some(error)
            }
        }
    }

    /// Carries out a group in one SQLite transaction: the newest revision, the commits, each one's answer.
    #[allow(clippy::type_complexity, reason = "used once, right above")]
    fn execute(
        &mut self,
        group: &[Submission],
        savepoints: bool,
    ) -> Result<(u64, Vec<Commit>, Vec<Result<u64, StoreError>>), StoreError> {
        let transaction = begin(&mut self.connection)?;
        // Read again each time: after a COMMIT whose outcome was unknown only the file knows.
        let mut revision = Tip::read(&transaction)?.revision;
        let mut commits = Vec::with_capacity(group.len());
        let mut answers = Vec::with_capacity(group.len());
        for submission in group {
            let next = revision + 1;
            if savepoints {
                run(&transaction, "SAVEPOINT one")?;
            }
            match apply(&transaction, next, &submission.preconditions, &submission.writes) {
                Ok(changes) => {
                    if savepoints {
                        run(&transaction, "RELEASE one")?;
                    }
                    if !changes.is_empty() {
                        revision = next;
                        commits.push((next, changes));
                    }
                    answers.push(Ok(revision));
                }
                // Nothing was written for it yet.
                Err(error @ StoreError::Conflict { .. }) => {
                    if savepoints {
                        run(&transaction, "RELEASE one")?;
                    }
                    answers.push(Err(error));
                }
                // The last: SQLite gave up the whole transaction.
                Err(error) if !savepoints || transaction.is_autocommit() => return Err(error),
                Err(error) => {
                    run(&transaction, "ROLLBACK TO one")?;
                    run(&transaction, "RELEASE one")?;
                    answers.push(Err(error));
                }
            }
        }
        if !commits.is_empty() {
            transaction
                .prepare_cached("UPDATE meta SET revision = ?1")?
                .execute([revision])?;
        }
        transaction.commit().map_err(of_commit)?;
        Ok((revision, commits, answers))
    }

    fn compact(&mut self, revision: u64) -> Result<(), StoreError> {
        let transaction = begin(&mut self.connection)?;
        let tip = Tip::read(&transaction)?;
        if revision > tip.revision {
            return Err(StoreError::FutureRevision);
        }
        if revision <= tip.compacted {
            return Err(StoreError::Compacted);
        }
        transaction
            .prepare_cached("UPDATE meta SET compacted = ?1")?
            .execute([revision])?;
        transaction.commit().map_err(of_commit)?;
        self.history.compacted();
        Ok(())
    }

    /// Whether writing works: it takes more space than a small commit.
    fn probe(&mut self) -> Result<(), StoreError> {
        let transaction = begin(&mut self.connection)?;
        transaction.execute("REPLACE INTO probe VALUES (0, randomblob(8192))", ())?;
        transaction.commit().map_err(of_commit)
    }

    /// Compacts what is due, and sweeps a little of what was compacted.
    fn tidy(&mut self, tick: &mut Instant) -> Result<(), StoreError> {
        let now = Instant::now();
        if now >= *tick {
            *tick = now + self.history.interval();
            let tip = Tip::read(&self.connection)?;
            if let Some(revision) = self.history.due(&self.connection, now, tip)? {
                self.compact(revision)?;
            }
        }
        if self.history.unswept() {
            self.history.sweep(&self.connection)?;
        }
        Ok(())
    }

    /// Moves the log into the database and lets go of the directory.
    fn close(self) {
        let Self {
            connection,
            requests,
            directory,
            news,
            ..
        } = self;
        while let Ok(request) = requests.try_recv() {
            match request {
                Request::Commit(submission) => drop(submission.reply.send(Err(closed()))),
                Request::Compact(_, reply) | Request::Probe(reply) => drop(reply.send(Err(closed()))),
                Request::Close => {}
            }
        }
        let checkpoint = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
        if let Err(error) = checkpoint {
            tracing::warn!(%error, "the log stays beside the database until the next start");
        }
        if let Err((_, error)) = connection.close() {
            tracing::warn!(%error, "the database was not closed cleanly");
        }
        drop(directory);
        drop(news);
    }
}

/// Decides how long to wait for more transactions before a group is committed.
///
/// A sync takes milliseconds. Writers that were just answered are about to come back: waiting a small part of a sync
/// for them saves some of them a whole one.
#[derive(Default)]
struct Gathering {
    /// Transactions of the last group.
    last: usize,
    /// A running mean of the time that a group takes.
    taken: Duration,
}

impl Gathering {
    /// Fills `group`, starting with `first`; returns a request that is none of its kind.
    fn fill(
        &self,
        group: &mut Vec<Submission>,
        first: Submission,
        requests: &Receiver<Request>,
    ) -> Option<Request> {
        let deadline = Instant::now() + (self.taken / 4).min(LONGEST_GATHERING);
        let mut bytes = 0;
        let mut next = first;
        loop {
            bytes += next.writes.iter().map(size).sum::<usize>();
            group.push(next);
            if group.len() >= GROUP_TRANSACTIONS || bytes >= GROUP_BYTES {
                return None;
            }
            let request = if group.len() >= self.last {
                requests.try_recv().ok()
            } else {
                let wait = deadline.saturating_duration_since(Instant::now());
                requests.recv_timeout(wait).ok()
            };
            match request? {
                Request::Commit(submission) => next = submission,
                other => return Some(other),
            }
        }
    }

    fn committed(&mut self, transactions: usize, taken: Duration) {
        self.last = transactions;
        self.taken = (self.taken * 7 + taken) / 8;
    }
}

/// Whether the error may come from one transaction of a group, so that the others can do without it.
fn is_own(error: &StoreError) -> bool {
    !matches!(error, StoreError::OutcomeUnknown(_))
}

fn size(write: &Write) -> usize {
    match write {
        Write::Put(_, value) => value.len(),
        Write::Delete(_) => 0,
    }
}

fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute(()).map(|_| ())
}
