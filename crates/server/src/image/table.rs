//! Tables of this group's kinds: what `imagestream-api` says of them, in the terms of the API machinery.

use imagestream_api::tables::Row;
use imagestream_api::types::Time;
use imagestream_apiserver::kind::Column;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The columns of a kind.
pub(crate) fn columns<R: Row>() -> Vec<Column> {
    let columns = R::COLUMNS.iter();
    let column = |column: &imagestream_api::tables::Column| Column {
        name: column.name,
        column_type: column.column_type,
        format: column.format,
        description: column.description,
        priority: column.priority,
    };
    columns.map(column).collect()
}

/// The cells of an object's row; empty ones if it is none of the kind, which does not happen to what was answered.
pub(crate) fn cells<R: Row + DeserializeOwned>(object: &Value, now: Timestamp) -> Vec<Value> {
    match R::deserialize(object) {
        Ok(row) => row.cells(&Time(now)),
        Err(_) => R::COLUMNS.iter().map(|_| Value::Null).collect(),
    }
}
