//! What [tables][1] of the kinds show: columns, and the cells of a row.
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables

use serde::Serialize;
use serde_json::{Value, json};

use crate::duration_text::ago;
use crate::types::{Image, ImageStream, ImageStreamImage, ImageStreamTag, ImageTag, Time};

mod image_tag;
mod tag_list;

/// A column's definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// `string` or `number`.
    #[serde(rename = "type")]
    pub column_type: &'static str,
    /// `name` for the column that names the object.
    pub format: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// 0 for columns that are always shown, 1 for those of wide tables.
    pub priority: i32,
}

/// A kind of object that tables show in columns of its own.
pub trait Row {
    /// The columns.
    const COLUMNS: &'static [Column];

    /// The cells, one for each column. `now` is what times are told in relation to.
    fn cells(&self, now: &Time) -> Vec<Value>;
}

const NAME: Column = Column {
    name: "Name",
    column_type: "string",
    format: "name",
    description: "Name must be unique within a namespace. Is required when creating resources, although some \
                  resources may allow a client to request the generation of an appropriate name automatically. Name \
                  is primarily intended for creation idempotence and configuration definition. Cannot be updated. \
                  More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
    priority: 0,
};
const IMAGE_REFERENCE: Column = column(
    "Image Reference",
    "dockerImageReference is the string that can be used to pull this image.",
);
const UPDATED: Column = column("Updated", "Last update time.");

const fn column(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        column_type: "string",
        format: "",
        description,
        priority: 0,
    }
}

const fn wide(column: Column) -> Column {
    Column {
        priority: 1,
        ..column
    }
}

impl Row for Image {
    const COLUMNS: &'static [Column] = &[NAME, IMAGE_REFERENCE];

    fn cells(&self, _now: &Time) -> Vec<Value> {
        vec![name(&self.metadata.name), json!(self.docker_image_reference)]
    }
}

impl Row for ImageStream {
    const COLUMNS: &'static [Column] = &[
        NAME,
        column(
            "Image Repository",
            "dockerImageRepository represents the effective location this stream may be accessed at. May be empty \
             until the server determines where the repository is located",
        ),
        column("Tags", "Human readable list of tags."),
        UPDATED,
    ];

    fn cells(&self, now: &Time) -> Vec<Value> {
        let repositories = [
            &self.status.public_docker_image_repository,
            &self.spec.docker_image_repository,
            &self.status.docker_image_repository,
        ];
        let repository = repositories.into_iter().find(|repository| !repository.is_empty());
        let histories = self.status.tags.values();
        let newest = histories
            .filter_map(|history| history.items.first()?.created.as_ref())
            .max_by_key(|created| created.0);
        vec![
            name(&self.metadata.name),
            json!(repository.map(String::as_str).unwrap_or_default()),
            json!(tag_list::tag_list(&self.status)),
            json!(newest.map(|created| ago(Some(created), now)).unwrap_or_default()),
        ]
    }
}

impl Row for ImageStreamTag {
    const COLUMNS: &'static [Column] = &[
        NAME,
        IMAGE_REFERENCE,
        UPDATED,
        wide(column(
            "Image Name",
            "image associated with the ImageStream and tag.",
        )),
    ];

    fn cells(&self, now: &Time) -> Vec<Value> {
        vec![
            name(&self.metadata.name),
            json!(self.image.docker_image_reference),
            json!(ago(self.metadata.creation_timestamp.as_ref(), now)),
            name(&self.image.metadata.name),
        ]
    }
}

impl Row for ImageStreamImage {
    const COLUMNS: &'static [Column] = &[
        NAME,
        UPDATED,
        wide(IMAGE_REFERENCE),
        wide(column(
            "Image Name",
            "image associated with the ImageStream and image name.",
        )),
    ];

    fn cells(&self, now: &Time) -> Vec<Value> {
        vec![
            name(&self.metadata.name),
            json!(ago(self.metadata.creation_timestamp.as_ref(), now)),
            json!(self.image.docker_image_reference),
            name(&self.image.metadata.name),
        ]
    }
}

impl Row for ImageTag {
    const COLUMNS: &'static [Column] = &[
        NAME,
        column(
            "Spec",
            "spec is the spec tag associated with this image stream tag, and it may be null if only pushes have \
             occurred to this image stream.",
        ),
        column(
            "Status",
            "status is the status tag details associated with this image stream tag, and it may be null if no push \
             or import has been performed.",
        ),
        Column {
            column_type: "number",
            ..column("History", "Number of history entries")
        },
        column("Updated", "Last updated at"),
    ];

    fn cells(&self, now: &Time) -> Vec<Value> {
        let row = image_tag::ImageTagRow::of(self);
        let updated = row.updated.map(|time| ago(Some(time), now)).unwrap_or_default();
        vec![
            name(&self.metadata.name),
            json!(row.spec),
            json!(row.status),
            row.history.map_or(Value::Null, |count| json!(count)),
            json!(updated),
        ]
    }
}

fn name(name: &Option<String>) -> Value {
    json!(name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests;
