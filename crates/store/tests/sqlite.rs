//! The behaviour suite over SQLite.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod suite;

use std::sync::Arc;

use imagestream_store::sqlite::{SqliteOptions, SqliteStore};
use suite::Fixture;

async fn sqlite() -> Option<Fixture> {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = SqliteStore::open(directory.path(), SqliteOptions::default())
        .await
        .expect("open");
    Some(Fixture::new(Arc::new(store), directory))
}

suite::every_promise!(sqlite);
