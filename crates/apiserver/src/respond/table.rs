//! [Tables](https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables): rows of cells
//! instead of objects, for clients that only show them.

use imagestream_api::field::{FieldError, Path};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Value, json};

use super::{partial, untyped};
use crate::endpoint::{Endpoint, ObjectList, Request};
use crate::errors;
use crate::kind::Column;
use crate::metadata::text;
use crate::negotiation::MetaVersion;

/// The columns of a resource that has none of its own.
const DEFAULT: [Column; 2] = [
    Column {
        name: "Name",
        column_type: "string",
        format: "name",
        description: "Name must be unique within a namespace. Is required when creating resources, although some \
            resources may allow a client to request the generation of an appropriate name automatically. Name is \
            primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: \
            https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
        priority: 0,
    },
    Column {
        name: "Created At",
        column_type: "date",
        format: "",
        description: "When the object was created.",
        priority: 0,
    },
];

/// How much of the object a row holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Include {
    Nothing,
    Metadata,
    Object,
}

/// Makes tables of one resource's objects; the columns are sent with the first alone.
pub(super) struct Tables<'a> {
    endpoint: &'a dyn Endpoint,
    now: jiff::Timestamp,
    version: MetaVersion,
    include: Include,
    sends_columns: bool,
}

impl<'a> Tables<'a> {
    pub(super) fn new(
        endpoint: &'a dyn Endpoint,
        request: &Request,
        version: MetaVersion,
    ) -> Result<Self, Box<Status>> {
        let include =
            form_urlencoded::parse(request.query.as_bytes()).find(|(key, _)| key == "includeObject");
        let include = match include.as_ref().map_or("", |(_, value)| &**value) {
            "" | "Metadata" => Include::Metadata,
            "None" => Include::Nothing,
            "Object" => Include::Object,
            other => {
                let detail = "must be 'Metadata', 'Object', 'None', or empty";
                let error = FieldError::invalid(&Path::root("includeObject"), other, detail);
                let message = format!("Unable to convert to Table as requested: {error}");
                return Err(errors::bad_request(message).into());
            }
        };
        Ok(Self {
            endpoint,
            now: request.now,
            version,
            include,
            sends_columns: true,
        })
    }

    /// The tables of a watch go on without columns, and tell times as of the event.
    pub(super) fn following(endpoint: &'a dyn Endpoint, state: &FollowingTables) -> Self {
        Self {
            endpoint,
            now: jiff::Timestamp::now(),
            version: state.version,
            include: state.include,
            sends_columns: state.sends_columns,
        }
    }

    /// What the next table of a watch needs to know.
    pub(super) fn state(&self) -> FollowingTables {
        FollowingTables {
            version: self.version,
            include: self.include,
            sends_columns: self.sends_columns,
        }
    }

    pub(super) fn of_object(&mut self, object: &Value) -> Value {
        let version = text(object, "resourceVersion");
        let metadata = if version.is_empty() {
            json!({})
        } else {
            json!({"resourceVersion": version})
        };
        let row = self.row(object);
        self.table(&metadata, &[row])
    }

    pub(super) fn of_list(&mut self, list: ObjectList, metadata: &Value) -> Result<Value, Box<Status>> {
        let rows = list.items.into_iter().map(|item| {
            let object = item.into_value()?;
            Ok(self.row(&object))
        });
        let rows = rows.collect::<Result<Vec<_>, Box<Status>>>()?;
        Ok(self.table(metadata, &rows))
    }

    /// The table of a bookmark: no rows.
    pub(super) fn of_bookmark(&mut self, object: &Value) -> Value {
        let metadata = object.get("metadata").cloned().unwrap_or_else(|| json!({}));
        self.table(
            &json!({"resourceVersion": metadata.get("resourceVersion")}),
            &[json!({
                "cells": [],
                "object": partial(object, self.version.api_version()),
            })],
        )
    }

    fn table(&mut self, metadata: &Value, rows: &[Value]) -> Value {
        let columns =
            std::mem::take(&mut self.sends_columns).then(|| self.endpoint.columns().unwrap_or(&DEFAULT));
        json!({
            "kind": "Table",
            "apiVersion": self.version.api_version(),
            "metadata": metadata,
            "columnDefinitions": columns,
            "rows": rows,
        })
    }

    fn row(&self, object: &Value) -> Value {
        let cells = if self.endpoint.columns().is_some() {
            self.endpoint.cells(object, self.now)
        } else {
            vec![
                text(object, "name").into(),
                text(object, "creationTimestamp").into(),
            ]
        };
        let mut row = json!({"cells": cells});
        let shown = match self.include {
            Include::Nothing => return with(row, Value::Null),
            Include::Metadata => partial(object, self.version.api_version()),
            Include::Object => {
                let mut whole = untyped(object.clone());
                let kind = self.endpoint.resource().kind;
                whole["kind"] = kind.kind.into();
                whole["apiVersion"] = kind.api_version().into();
                whole
            }
        };
        row["object"] = shown;
        row
    }
}

fn with(mut row: Value, object: Value) -> Value {
    row["object"] = object;
    row
}

/// See [`Tables::state`].
pub(super) struct FollowingTables {
    version: MetaVersion,
    include: Include,
    sends_columns: bool,
}
