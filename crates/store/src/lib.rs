//! A revisioned key-value store with watch: one interface ([`Store`]) over [SQLite](sqlite) in a directory or an
//! [etcd](etcd) cluster, and a [watch cache](cache) over either.
//!
//! # Promises
//!
//! One behaviour suite holds both backends to these.
//!
//! - **Revisions.** Every commit that changes something gets a revision greater than all before it. A key remembers
//!   the revision of its creation and of its last change. A fresh store is at revision 1.
//! - **Durability.** A commit that was acknowledged survives the end of the process at any moment and the loss of
//!   power: SQLite has synced its log by then, etcd has the commit in the log of a majority of members.
//! - **Atomicity.** All writes of a transaction happen, at one revision, or none does. A transaction beyond
//!   [`Store::limits`] is refused with [`StoreError::TooLarge`] and never split. The limits differ: etcd's are
//!   those of its server (by default 128 operations and 1.5 MiB), SQLite's are wider.
//! - **Linearizable commits and reads.** Transactions happen one after the other, each between its call and its
//!   answer, and preconditions are checked in that order. A read without a revision shows every commit
//!   acknowledged before it began. What failed did not happen, save [`StoreError::OutcomeUnknown`], which says that
//!   nobody knows: read the keys to learn which.
//! - **Snapshot lists.** All pages of a list that pass on the revision of the first show exactly that revision, in
//!   byte order of the keys, however long reading takes, until a compaction: then [`StoreError::Compacted`].
//! - **Watches.** A watch delivers every commit after its revision once, whole, in order, with the value before
//!   and after each change; or it ends with [`StoreError::Compacted`] and the consumer lists again. It never skips.
//!   Progress marks say how far it has come when other keys change. Disconnects from etcd are bridged.
//! - **Compaction.** After `compact(r)`, reads at revisions `r` and later and watches after `r` and later work,
//!   previous values included; earlier ones answer [`StoreError::Compacted`]. SQLite also compacts on its own
//!   ([`sqlite::SqliteOptions`]); etcd's own `--auto-compaction-retention` does the same there.
//! - **No space left.** Commits answer [`StoreError::Full`] and leave nothing behind, reads and watches go on, and
//!   commits work again as soon as there is space.
//! - **Damage.** SQLite checks the structure of its file when it opens it and the checksum of every row it reads: a
//!   damaged row is reported as [`StoreError::Corrupt`], never returned.

pub mod cache;
pub mod etcd;
mod limits;
mod model;
pub mod sqlite;
mod store;
mod watch;

pub use model::{Change, KeyValue, Limits, Page, Precondition, StoreError, WatchItem, Write};
pub use store::{Answer, Store};
pub use watch::Watch;
