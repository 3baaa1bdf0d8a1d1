//! A store in a directory: one SQLite database in WAL mode (<https://www.sqlite.org/wal.html>).
//!
//! The files may be read with `sqlite3` and copied with [`SqliteStore::backup`] while the store is open. The
//! database and the files that SQLite keeps beside it (`-wal`, `-shm`) belong together: acknowledged commits may
//! still be in the log alone. A copy of the database made by [`SqliteStore::backup`] is whole by itself: opened in a
//! directory of its own it is a store.

mod directory;
mod error;
mod feed;
mod history;
mod options;
mod past;
mod readers;
mod row;
mod schema;
mod store;
mod transaction;
mod watch;
mod writer;

pub use directory::DATABASE;
pub use error::OpenError;
pub use options::SqliteOptions;
pub use store::SqliteStore;
