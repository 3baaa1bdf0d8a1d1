//! What SQLite's errors mean to the users of a store (<https://www.sqlite.org/rescode.html>).

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_WRITE;

use crate::model::StoreError;

/// Why a directory can't be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store in this one, has the directory open.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// The database was written by a newer version of this program.
    #[error(
        "{path} has schema version {found}, but this version knows only versions up to {known}: use a newer one"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The version of its schema.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The file is a database of some other program.
    #[error("{0} is the database of another program")]
    Foreign(PathBuf),
    /// The database is damaged.
    #[error("{path} is damaged ({reason}): restore a backup")]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory or a file in it can't be created, read or written.
    #[error("can't open {path}: {source}")]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// SQLite can't open the database for another reason.
    #[error("can't open {path}: {source}")]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl OpenError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }

    pub(super) fn sqlite(path: impl Into<PathBuf>) -> impl FnOnce(rusqlite::Error) -> Self {
        let path = path.into();
        |source| {
            if is_damage(&source) {
                let reason = source.to_string();
                Self::Corrupt { path, reason }
            } else {
                Self::Sqlite { path, source }
            }
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    ) || is_malformed_row(error)
}

/// Whether a column holds what this program never writes there.
fn is_malformed_row(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..)
    )
}

impl From<rusqlite::Error> for StoreError {
    /// The meaning of an error before a transaction's COMMIT: whatever it was, nothing was written.
    fn from(error: rusqlite::Error) -> Self {
        let reason = error.to_string();
        match error.sqlite_error_code() {
            _ if is_damage(&error) => Self::Corrupt(reason),
            Some(ErrorCode::DiskFull) => Self::Full(reason),
            Some(ErrorCode::TooBig) => Self::TooLarge(reason),
            _ => Self::Unavailable(reason),
        }
    }
}

/// The meaning of an error that COMMIT returned.
pub(super) fn of_commit(error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error().map(|error| error.extended_code);
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => error.into(),
        // The frame that makes the transaction valid is the last to be written, so it was not.
        Some(ErrorCode::SystemIoFailure) if code == Some(SQLITE_IOERR_WRITE) => error.into(),
        // All frames may be in the log's file though syncing it failed: should the machine stop now, they count.
        _ => StoreError::OutcomeUnknown(error.to_string()),
    }
}
