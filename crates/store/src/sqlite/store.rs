//! Opening, closing and copying a store in a directory, and its operations.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::spawn_blocking;

use super::directory::{DATABASE, Directory, private_file, sync};
use super::error::OpenError;
use super::feed::Feed;
use super::history::History;
use super::options::SqliteOptions;
use super::past;
use super::readers::{Readers, closed};
use super::row::Tip;
use super::schema::open_for_writing;
use super::watch::follow;
use super::writer::{Request, Submission, Writer};
use crate::model::{KeyValue, Limits, Page, Precondition, StoreError, Write};
use crate::store::{Answer, Store};
use crate::watch::Watch;

/// Transactions that may wait for the writer; further callers wait for their turn to submit one.
const WAITING: usize = 4096;

/// A store in a directory. Cheap to clone; clones share everything.
///
/// The directory stays locked until [`SqliteStore::close`] or the end of the process. When the last clone is dropped,
/// the store closes in the background.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    database: PathBuf,
    limits: Limits,
    requests: mpsc::Sender<Request>,
    waiting: Arc<Semaphore>,
    feed: Arc<Feed>,
    readers: Arc<Readers>,
    news: watch::Receiver<()>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens the store in a directory, which is created if it does not exist.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the directory or the database; nothing was changed then.
    pub async fn open(directory: impl Into<PathBuf>, options: SqliteOptions) -> Result<Self, OpenError> {
        let directory = directory.into();
        let path = directory.clone();
        match spawn_blocking(move || Self::open_blocking(&directory, &options)).await {
            Ok(opened) => opened,
            Err(error) => Err(OpenError::io(path)(io::Error::other(error))),
        }
    }

    fn open_blocking(path: &Path, options: &SqliteOptions) -> Result<Self, OpenError> {
        let mut directory = Directory::lock(path)?;
        let initialised = directory.prepare()?;
        let database = directory.database();
        let connection = open_for_writing(&database, initialised)?;
        directory.initialised()?;
        let sqlite = |error| OpenError::sqlite(&database)(error);
        let tip = Tip::read(&connection).map_err(sqlite)?;
        let history = History::open(&connection, options).map_err(sqlite)?;
        let readers = Readers::open(&database, options.readers, tip.revision).map_err(sqlite)?;
        let (feed, readers) = (Arc::new(Feed::new(tip.revision)), Arc::new(readers));
        let (sender, requests) = mpsc::channel();
        let (news_sender, news) = watch::channel(());
        let writer = Writer {
            connection,
            requests,
            feed: Arc::clone(&feed),
            readers: Arc::clone(&readers),
            news: news_sender,
            history,
            directory,
        };
        let writer = thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || writer.run())
            .map_err(OpenError::io(path))?;
        Ok(Self {
            shared: Arc::new(Shared {
                database,
                limits: options.limits,
                requests: sender,
                waiting: Arc::new(Semaphore::new(WAITING)),
                feed,
                readers,
                news,
                writer: Mutex::new(Some(writer)),
            }),
        })
    }

    /// Finishes what was submitted, ends all watches, closes the database and unlocks the directory.
    ///
    /// Everything asked of a closed store answers [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.shared.readers.close().await;
        // The writer is gone if it was closed before.
        let _ = self.shared.requests.send(Request::Close);
        let writer = self
            .shared
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer {
            let joined = spawn_blocking(move || writer.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the writer of the store panicked");
            }
        }
    }

    /// Copies the store, as it is at one moment, to `directory`, while it is used. The copy is a store itself.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the directory holds a database already or can't be written;
    /// [`StoreError::Full`], [`StoreError::Corrupt`], [`StoreError::Unavailable`].
    pub async fn backup(&self, directory: impl Into<PathBuf>) -> Result<(), StoreError> {
        copied(self.shared.database.clone(), directory.into()).await
    }

    /// Copies the store in `source`, as it is at one moment, to `directory`, whether another process has it open or
    /// none. The copy is a store itself.
    ///
    /// # Errors
    /// Those of [`SqliteStore::backup`]; [`StoreError::Unavailable`] if there is no store in `source`.
    pub async fn backup_of(
        source: impl Into<PathBuf>,
        directory: impl Into<PathBuf>,
    ) -> Result<(), StoreError> {
        copied(source.into().join(DATABASE), directory.into()).await
    }

    /// Has the writer answer a request; `lost` is the answer when the writer ends without one.
    async fn ask<T>(
        &self,
        lost: fn() -> StoreError,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.shared.requests.send(request(reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| lost())?
    }

    async fn submit(&self, preconditions: &[Precondition], writes: &[Write]) -> Result<u64, StoreError> {
        self.shared
            .limits
            .check(preconditions, writes, str::len, str::len)?;
        let permit = Arc::clone(&self.shared.waiting).acquire_owned();
        let permit = permit.await.map_err(|_| closed())?;
        let lost = || StoreError::OutcomeUnknown("the store was closed".into());
        self.ask(lost, |reply| {
            Request::Commit(Submission {
                preconditions: preconditions.to_vec(),
                writes: writes.to_vec(),
                reply,
                _permit: permit,
            })
        })
        .await
    }
}

impl Store for SqliteStore {
    fn get<'a>(&'a self, key: &'a str, revision: Option<u64>) -> Answer<'a, Option<KeyValue>> {
        let key = key.to_owned();
        Box::pin(
            self.shared
                .readers
                .read(move |connection, tip| past::get(connection, tip, &key, revision)),
        )
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
        revision: Option<u64>,
    ) -> Answer<'a, Page> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        Box::pin(self.shared.readers.read(move |connection, tip| {
            past::list(connection, tip, &prefix, after.as_deref(), limit, revision)
        }))
    }

    fn commit<'a>(&'a self, preconditions: &'a [Precondition], writes: &'a [Write]) -> Answer<'a, u64> {
        Box::pin(self.submit(preconditions, writes))
    }

    fn watch(&self, prefix: &str, after: u64) -> Watch {
        let Shared {
            feed, readers, news, ..
        } = &*self.shared;
        follow(Arc::clone(feed), Arc::clone(readers), news.clone(), prefix, after)
    }

    /// Watches are told of every commit to any key at once, so there is nothing to do.
    fn request_progress<'a>(&'a self, _prefix: &'a str) -> Answer<'a, u64> {
        self.current_revision()
    }

    fn compact(&self, revision: u64) -> Answer<'_, ()> {
        Box::pin(self.ask(closed, move |reply| Request::Compact(revision, reply)))
    }

    fn current_revision(&self) -> Answer<'_, u64> {
        let revision = self.shared.readers.revision();
        Box::pin(std::future::ready(Ok(revision)))
    }

    fn health(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.shared.readers.read(|_, _| Ok(())).await?;
            self.ask(closed, Request::Probe).await
        })
    }

    fn size(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut size = 0;
            for end in ["", "-wal"] {
                let mut path = self.shared.database.clone().into_os_string();
                path.push(end);
                match tokio::fs::metadata(&path).await {
                    Ok(found) => size += found.len(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(StoreError::Unavailable(error.to_string())),
                }
            }
            Ok(size)
        })
    }

    fn limits(&self) -> Limits {
        self.shared.limits
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("database", &self.shared.database)
            .finish_non_exhaustive()
    }
}

async fn copied(source: PathBuf, directory: PathBuf) -> Result<(), StoreError> {
    spawn_blocking(move || copy(&source, &directory))
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
}

/// Copies the database at `source` into `directory`, under its final name only when it is whole and durable.
fn copy(source: &Path, directory: &Path) -> Result<(), StoreError> {
    let refused =
        |error: io::Error| StoreError::Refused(format!("can't write to {}: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(refused)?;
    let target = directory.join(DATABASE);
    if target.exists() {
        let target = target.display();
        return Err(StoreError::Refused(format!("{target} exists already")));
    }
    let partial = directory.join(format!("{DATABASE}.partial"));
    let write = || {
        let name = partial.to_str().ok_or_else(|| {
            let directory = directory.display();
            StoreError::Refused(format!("the name of {directory} is not UTF-8"))
        })?;
        // SQLite fills an empty file, and this one is readable for its owner only.
        private_file(&partial)
            .and_then(|file| file.set_len(0))
            .map_err(refused)?;
        let connection = Connection::open_with_flags(source, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.execute("VACUUM INTO ?1", [name])?;
        File::open(&partial)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&partial, &target))
            .and_then(|()| sync(directory))
            .map_err(refused)
    };
    write().inspect_err(|_| {
        // What is left of a failed copy is overwritten by the next one.
        let _ = std::fs::remove_file(&partial);
    })
}
