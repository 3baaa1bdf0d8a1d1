//! Reads of the present and of the past: one key, a range at a revision, the commits after a revision.
//!
//! The past is told backwards: a row that was changed after revision R is, at R, what the first event after R replaced.
//! That is the one event after R whose previous row is not newer than R.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::row::{Tip, event_checksum, item, present};
use crate::model::{Change, KeyValue, Page, StoreError};

/// Changes after which a batch of the past ends, at the end of a commit.
const BATCH_CHANGES: usize = 256;
/// Bytes of values after which a batch of the past ends, at the end of a commit.
const BATCH_BYTES: usize = 4 << 20;

/// All changes of one commit under a prefix.
pub(super) type Commit = (u64, Vec<Change>);

/// The key as it was at a revision.
pub(super) fn get(
    connection: &Connection,
    tip: Tip,
    key: &str,
    revision: Option<u64>,
) -> Result<Option<KeyValue>, StoreError> {
    let at = tip.at(revision)?;
    let now = present(connection, key)?;
    if at == tip.revision || now.as_ref().is_some_and(|now| now.mod_revision <= at) {
        return Ok(now);
    }
    let mut statement = connection.prepare_cached(
        "SELECT previous_value, previous_create_revision, previous_mod_revision, previous_checksum
         FROM event WHERE key = ?1 AND revision > ?2 AND previous_mod_revision <= ?2",
    )?;
    let found = statement
        .query_row(params![key, at], |row| Ok(item(key.to_owned(), row, 0)))
        .optional()?;
    found.transpose().map(Option::flatten)
}

/// Up to `limit` (0: all) keys under `prefix` after the key `after`, as they were at a revision.
pub(super) fn list(
    connection: &Connection,
    tip: Tip,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    revision: Option<u64>,
) -> Result<Page, StoreError> {
    let at = tip.at(revision)?;
    // The smallest key greater than `after` is `after` with a zero character appended.
    let start = match after {
        Some(after) if after >= prefix => format!("{after}\0"),
        _ => prefix.to_owned(),
    };
    // One more than asked for, to learn whether there are more.
    let rows_wanted = match limit {
        0 => -1,
        limit => i64::try_from(limit).map_or(-1, |limit| limit.saturating_add(1)),
    };
    let query = if at == tip.revision {
        "SELECT key, value, create_revision, mod_revision, checksum
         FROM object WHERE key >= ?1 AND key < ?2 AND ?3 >= mod_revision ORDER BY key LIMIT ?4"
    } else {
        "SELECT key, value, create_revision, mod_revision, checksum
         FROM object WHERE key >= ?1 AND key < ?2 AND mod_revision <= ?3
         UNION ALL
         SELECT key, previous_value, previous_create_revision, previous_mod_revision, previous_checksum
         FROM event WHERE key >= ?1 AND key < ?2 AND revision > ?3 AND previous_mod_revision <= ?3
         ORDER BY key LIMIT ?4"
    };
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(params![start, end_of_prefix(prefix), at, rows_wanted])?;
    let mut items: Vec<KeyValue> = Vec::new();
    let mut more = false;
    while let Some(row) = rows.next()? {
        if limit > 0 && items.len() == limit {
            more = true;
            break;
        }
        let key: String = row.get(0)?;
        if items.last().is_some_and(|last| last.key >= key) {
            return Err(StoreError::Corrupt(format!("{key:?} is not in order")));
        }
        items.extend(item(key, row, 1)?);
    }
    Ok(Page {
        items,
        revision: at,
        more,
    })
}

/// The next commits under `prefix` after `position`, and the position after them.
pub(super) fn commits_after(
    connection: &Connection,
    tip: Tip,
    prefix: &str,
    position: u64,
) -> Result<(Vec<Commit>, u64), StoreError> {
    if position < tip.compacted {
        return Err(StoreError::Compacted);
    }
    // In the order of the primary key, whatever the planner thinks of the other index: rows are not all read.
    let mut statement = connection.prepare_cached(
        "SELECT revision, position, key, deleted, checksum,
                previous_value, previous_create_revision, previous_mod_revision, previous_checksum
         FROM event WHERE revision > ?1 AND +key >= ?2 AND +key < ?3 ORDER BY revision, position",
    )?;
    let mut rows = statement.query(params![position, prefix, end_of_prefix(prefix)])?;
    let mut commits: Vec<Commit> = Vec::new();
    let (mut changes, mut bytes) = (0, 0);
    while let Some(row) = rows.next()? {
        let revision: u64 = row.get(0)?;
        let full = changes >= BATCH_CHANGES || bytes >= BATCH_BYTES;
        if let Some((last, _)) = commits.last().filter(|(last, _)| full && *last != revision) {
            let reached = *last;
            return Ok((commits, reached));
        }
        let change = change(connection, row)?;
        changes += 1;
        bytes += size(&change);
        match commits.last_mut() {
            Some((last, whole)) if *last == revision => whole.push(change),
            _ => commits.push((revision, vec![change])),
        }
    }
    Ok((commits, tip.revision.max(position)))
}

/// The change that a row of the event table tells of, if all that is known of it agrees.
fn change(connection: &Connection, row: &Row<'_>) -> Result<Change, StoreError> {
    let (revision, position, key): (u64, u64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (deleted, checksum): (bool, u32) = (row.get(3)?, row.get(4)?);
    let whole = event_checksum(revision, position, &key, deleted, row.get(8)?) == checksum;
    let current = if deleted {
        None
    } else {
        left_by(connection, &key, revision)?
    };
    if !whole || current.is_none() != deleted {
        return Err(StoreError::Corrupt(format!(
            "the event at revision {revision} does not match"
        )));
    }
    Ok(Change {
        revision,
        previous: item(key.clone(), row, 5)?,
        current,
        key,
    })
}

/// The bytes of a change's key and values.
pub(super) fn size(change: &Change) -> usize {
    let value = |item: &Option<KeyValue>| item.as_ref().map_or(0, |item| item.value.len());
    change.key.len() + value(&change.current) + value(&change.previous)
}

/// The row that the commit at `revision` left: what a later event replaced, or what is there now.
fn left_by(connection: &Connection, key: &str, revision: u64) -> Result<Option<KeyValue>, StoreError> {
    let now = present(connection, key)?;
    if now.as_ref().is_some_and(|now| now.mod_revision == revision) {
        return Ok(now);
    }
    let mut statement = connection.prepare_cached(
        "SELECT previous_value, previous_create_revision, previous_mod_revision, previous_checksum
         FROM event WHERE key = ?1 AND revision > ?2 AND previous_mod_revision = ?2",
    )?;
    let replaced = statement
        .query_row(params![key, revision], |row| Ok(item(key.to_owned(), row, 0)))
        .optional()?;
    replaced.transpose().map(Option::flatten)
}

/// What is greater than every key with this prefix and not greater than any other key behind them.
fn end_of_prefix(prefix: &str) -> Value {
    let mut start = prefix.to_owned();
    while let Some(last) = start.pop() {
        // The range skips the surrogates, as UTF-8 does.
        if let Some(next) = (last..=char::MAX).nth(1) {
            start.push(next);
            return Value::Text(start);
        }
    }
    // SQLite sorts every blob after every text.
    Value::Blob(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_its_successor_in_byte_order() {
        let text = |end: &str| Value::Text(end.into());
        assert_eq!(end_of_prefix("/a/"), text("/a0"));
        assert_eq!(end_of_prefix("a\u{d7ff}"), text("a\u{e000}"));
        assert_eq!(end_of_prefix("a\u{10ffff}"), text("b"));
        assert_eq!(end_of_prefix(""), Value::Blob(Vec::new()));
        assert_eq!(end_of_prefix("\u{10ffff}"), Value::Blob(Vec::new()));
    }
}
