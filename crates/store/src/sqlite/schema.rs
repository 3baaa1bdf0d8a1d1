//! Connections to the database: settings, schema versions, the check at start.
//!
//! Settings follow <https://www.sqlite.org/wal.html> and <https://www.sqlite.org/pragma.html>.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::OpenError;
use super::row::Tip;

/// Marks the file as ours for `file(1)` and for ourselves: "IMST".
const APPLICATION_ID: i64 = 0x494d_5354;

/// Bytes of a page. Each commit writes whole pages to the log: small ones halve what is written for small objects.
const PAGE: usize = 2048;

/// Pages in the log after which they are moved into the database. Pages that change often are moved once.
const CHECKPOINT_PAGES: usize = 8000;

/// Step N makes version N of the schema from version N - 1. Steps are never changed, only added.
///
/// - `object` holds the present. Rows are found by key alone, and there is no second structure that could disagree.
/// - `event` holds what each change replaced, so that the past can be told from the present backwards: new values
///   are written once. Its `previous_` columns are null for a key that was new.
///   The creation of a key replaced nothing and is not in the index.
/// - `probe` is written to find out whether writing works.
/// - `checksum` covers key, value and both revisions of a row, present or previous; that of an event covers its own
///   columns and the checksum of the previous row.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        revision INTEGER NOT NULL,
        compacted INTEGER NOT NULL
    ) STRICT;
    INSERT INTO meta VALUES (0, 1, 0);
    CREATE TABLE object (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL,
        create_revision INTEGER NOT NULL,
        mod_revision INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE event (
        revision INTEGER NOT NULL,
        position INTEGER NOT NULL,
        key TEXT NOT NULL,
        deleted INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        previous_value BLOB,
        previous_create_revision INTEGER,
        previous_mod_revision INTEGER,
        previous_checksum INTEGER,
        PRIMARY KEY (revision, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE probe (id INTEGER PRIMARY KEY CHECK (id = 0), value BLOB NOT NULL) STRICT;
    CREATE INDEX event_of_key ON event (key, revision) WHERE previous_mod_revision IS NOT NULL;
"];

/// Opens the writing connection, brings the schema up to date and checks the file.
///
/// `initialised` says that the file is not a new one.
pub(super) fn open_for_writing(path: &Path, initialised: bool) -> Result<Connection, OpenError> {
    let sqlite = |error| OpenError::sqlite(path)(error);
    let mut connection = Connection::open(path).map_err(sqlite)?;
    // Before anything is written: the file may be somebody else's.
    if identify(&connection, path, MIGRATIONS)? == 0 && initialised {
        return Err(OpenError::Corrupt {
            path: path.to_owned(),
            reason: "the database is empty".into(),
        });
    }
    configure_writer(&connection).map_err(sqlite)?;
    migrate(&mut connection, path, MIGRATIONS)?;
    check(&connection, path)?;
    Ok(connection)
}

/// Opens a connection that can only read.
pub(super) fn open_for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -8192)?;
    Ok(connection)
}

fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(32);
    // Has effect on a new file only, and must come before anything is written to it.
    connection.pragma_update(None, "page_size", PAGE)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| {
        let mode: String = row.get(0)?;
        if mode == "wal" {
            Ok(())
        } else {
            Err(rusqlite::Error::InvalidQuery)
        }
    })?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -32_768)
}

/// The version of the schema of a file that is ours or empty. Changes nothing.
fn identify(connection: &Connection, path: &Path, steps: &[&str]) -> Result<usize, OpenError> {
    let sqlite = |error| OpenError::sqlite(path)(error);
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (found, application) = (
        pragma("user_version").map_err(sqlite)?,
        pragma("application_id").map_err(sqlite)?,
    );
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))
        .map_err(sqlite)?;
    if application != APPLICATION_ID && (found, application, tables) != (0, 0, 0) {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    match usize::try_from(found) {
        Ok(version) if version <= steps.len() => Ok(version),
        _ => Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: i64::try_from(steps.len()).unwrap_or(i64::MAX),
        }),
    }
}

fn migrate(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), OpenError> {
    let sqlite = |error| OpenError::sqlite(path)(error);
    let version = identify(connection, path, steps)?;
    if version == steps.len() {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sqlite)?;
    let run = || {
        for step in &steps[version..] {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", steps.len())
    };
    run().map_err(sqlite)?;
    transaction.commit().map_err(sqlite)
}

/// The definitions of all tables and indexes.
fn definitions(connection: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    connection
        .prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Checks the definitions, the structure of the file, that the index of the events agrees with them, and that the newest revision is the one of the newest event.
fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let corrupt = |reason: String| OpenError::Corrupt {
        path: path.to_owned(),
        reason,
    };
    let sqlite = |error| OpenError::sqlite(path)(error);
    let mut fresh = Connection::open_in_memory().map_err(sqlite)?;
    migrate(&mut fresh, path, MIGRATIONS)?;
    if definitions(connection).map_err(sqlite)? != definitions(&fresh).map_err(sqlite)? {
        return Err(corrupt("its tables are not defined as they should be".into()));
    }
    // Objects have no index beside them, so the quick check of them is a full one.
    for check in ["quick_check(1)", "integrity_check(event)"] {
        let verdict: String = connection
            .query_row(&format!("PRAGMA {check}"), (), |row| row.get(0))
            .map_err(sqlite)?;
        if verdict != "ok" {
            return Err(corrupt(verdict));
        }
    }
    let tip = Tip::read(connection).map_err(sqlite)?;
    let newest: Option<u64> = connection
        .query_row("SELECT max(revision) FROM event", (), |row| row.get(0))
        .map_err(sqlite)?;
    let expected = newest.unwrap_or(1).max(tip.compacted);
    if tip.revision != expected {
        return Err(corrupt(format!(
            "the store is at revision {}, its events at {expected}",
            tip.revision
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versioned(steps: &[&str]) -> (Connection, Result<(), OpenError>) {
        let mut connection = Connection::open_in_memory().unwrap();
        let migrated = migrate(&mut connection, Path::new("db"), steps);
        (connection, migrated)
    }

    #[test]
    fn an_older_schema_is_brought_forward_with_its_rows() {
        let first = "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (7)";
        let second = "ALTER TABLE t ADD COLUMN b INTEGER NOT NULL DEFAULT 1";
        let (mut connection, migrated) = versioned(&[first]);
        migrated.unwrap();
        for _ in 0..2 {
            migrate(&mut connection, Path::new("db"), &[first, second]).unwrap();
        }
        let row: (i64, i64) = connection
            .query_row("SELECT a, b FROM t", (), |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(row, (7, 1));
    }

    #[test]
    fn a_migration_that_fails_leaves_the_old_schema() {
        let first = "CREATE TABLE t (a INTEGER)";
        let (mut connection, _) = versioned(&[first]);
        let broken = "CREATE TABLE u (a INTEGER); CREATE TABLE t (a INTEGER)";
        migrate(&mut connection, Path::new("db"), &[first, broken]).unwrap_err();
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 1);
        migrate(&mut connection, Path::new("db"), &[first]).unwrap();
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let (mut connection, _) = versioned(&["CREATE TABLE t (a)", "CREATE TABLE u (a)"]);
        let refused = migrate(&mut connection, Path::new("db"), &["CREATE TABLE t (a)"]);
        assert!(matches!(
            refused,
            Err(OpenError::Newer {
                found: 2,
                known: 1,
                ..
            })
        ));
    }
}
