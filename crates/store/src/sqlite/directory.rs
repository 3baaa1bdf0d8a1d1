//! The directory of a store: its files, and the lock that lets one process in.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// The database; SQLite keeps its write-ahead log and shared index beside it.
pub const DATABASE: &str = "imagestream.db";
/// Locked while the store is open.
const LOCK: &str = "imagestream.lock";
/// In the lock file once the database exists: a database that is missing from then on was lost.
const INITIALISED: &[u8] = b"this directory holds an imagestream store\n";

/// Every page of a database is a multiple of this many bytes, and so is the file unless a log completes it.
const SECTOR: u64 = 512;

/// A locked directory. The lock ends with this value, or with the process.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// Creates the directory if necessary, readable for its owner only, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self, OpenError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(OpenError::io(path))?;
        let lock_path = path.join(LOCK);
        let lock = private_file(&lock_path).map_err(OpenError::io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(OpenError::io(lock_path)(error)),
        }
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// The path of the database file.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Creates the database file if this is a new store; refuses to replace one that was lost.
    ///
    /// Returns whether the database must hold a store.
    pub(super) fn prepare(&mut self) -> Result<bool, OpenError> {
        let path = self.database();
        let mut content = Vec::new();
        let read = (&self.lock).take(1024).read_to_end(&mut content);
        read.map_err(OpenError::io(self.path.join(LOCK)))?;
        let initialised = content == INITIALISED;
        let length = size(&path).map_err(OpenError::io(&path))?;
        let log = self.path.join(format!("{DATABASE}-wal"));
        let logged = size(&log).map_err(OpenError::io(log))?;
        let reason = if initialised && length == 0 {
            "the file is missing or empty"
        } else if logged == 0 && length % SECTOR != 0 {
            "the file is cut off"
        } else {
            private_file(&path).map_err(OpenError::io(path))?;
            return Ok(initialised);
        };
        Err(OpenError::Corrupt {
            path,
            reason: reason.into(),
        })
    }

    /// Notes that the database exists, and makes sure that its name survives a loss of power.
    pub(super) fn initialised(&mut self) -> Result<(), OpenError> {
        let mut write = || {
            self.lock.rewind()?;
            self.lock.set_len(0)?;
            self.lock.write_all(INITIALISED)?;
            self.lock.sync_all()?;
            sync(&self.path)
        };
        write().map_err(OpenError::io(&self.path))
    }
}

/// The size of a file in bytes; one that does not exist is empty.
fn size(path: &Path) -> std::io::Result<u64> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Opens a file for reading and writing; a new one is readable for its owner only.
pub(super) fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}
