//! One transaction of a group: its preconditions, its writes, the events they leave.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::row::{checksum, event_checksum, present};
use crate::model::{Change, KeyValue, Precondition, StoreError, Write};

/// Checks the preconditions and makes the changes at `revision`; returns those that were made.
///
/// After an error some changes may have been made: the caller rolls them back.
pub(super) fn apply(
    connection: &Connection,
    revision: u64,
    preconditions: &[Precondition],
    writes: &[Write],
) -> Result<Vec<Change>, StoreError> {
    let mut found: HashMap<&str, Option<KeyValue>> = HashMap::with_capacity(writes.len());
    for (index, precondition) in preconditions.iter().enumerate() {
        let key = precondition.key();
        if !found.contains_key(key) {
            found.insert(key, present(connection, key)?);
        }
        let current = found.get(key).and_then(Option::as_ref);
        if !precondition.holds(current.map(|current| current.mod_revision)) {
            return Err(StoreError::Conflict {
                key: key.to_owned(),
                index,
                current: current.cloned().map(Box::new),
            });
        }
    }
    let mut changes = Vec::with_capacity(writes.len());
    for write in writes {
        let key = write.key();
        let previous = match found.remove(key) {
            Some(previous) => previous,
            None => present(connection, key)?,
        };
        let current = match write {
            Write::Put(_, value) => Some(KeyValue {
                key: key.to_owned(),
                value: value.clone(),
                create_revision: previous.as_ref().map_or(revision, |row| row.create_revision),
                mod_revision: revision,
            }),
            Write::Delete(_) if previous.is_none() => continue,
            Write::Delete(_) => None,
        };
        let change = Change {
            key: key.to_owned(),
            revision,
            current,
            previous,
        };
        store(connection, &change)?;
        log(connection, changes.len() as u64, &change)?;
        changes.push(change);
    }
    Ok(changes)
}

fn store(connection: &Connection, change: &Change) -> rusqlite::Result<()> {
    let query = match (&change.current, &change.previous) {
        (Some(_), None) => "INSERT INTO object VALUES (?1, ?2, ?3, ?4, ?5)",
        (Some(_), Some(_)) => {
            "UPDATE object SET value = ?2, create_revision = ?3, mod_revision = ?4, checksum = ?5 WHERE key = ?1"
        }
        (None, _) => "DELETE FROM object WHERE key = ?1",
    };
    let mut statement = connection.prepare_cached(query)?;
    match &change.current {
        Some(row) => statement.execute(params![
            row.key,
            &*row.value,
            row.create_revision,
            row.mod_revision,
            checksum(row)
        ])?,
        None => statement.execute([&change.key])?,
    };
    Ok(())
}

fn log(connection: &Connection, position: u64, change: &Change) -> rusqlite::Result<()> {
    let row = change.previous.as_ref();
    let previous = row.map(checksum);
    let deleted = change.current.is_none();
    connection
        .prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
        .execute(params![
            change.revision,
            position,
            change.key,
            deleted,
            event_checksum(change.revision, position, &change.key, deleted, previous),
            row.map(|row| &*row.value),
            row.map(|row| row.create_revision),
            row.map(|row| row.mod_revision),
            previous
        ])?;
    Ok(())
}
