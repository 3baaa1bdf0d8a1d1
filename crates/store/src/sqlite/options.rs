//! How much history a SQLite store keeps, and what a transaction may hold.

use std::time::Duration;

use crate::model::Limits;

/// Bounds of a store in a directory. The defaults suit any directory.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// Age from which events are compacted away.
    pub history_age: Duration,
    /// Events (changes of one key) from which the oldest are compacted away, whatever their age.
    pub history_events: u64,
    /// How much one transaction may hold.
    pub limits: Limits,
    /// Connections for reading; as many reads run at once.
    pub readers: usize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            history_age: Duration::from_secs(600),
            history_events: 100_000,
            limits: Limits {
                operations: 10_000,
                bytes: 64 << 20,
            },
            readers: 4,
        }
    }
}
