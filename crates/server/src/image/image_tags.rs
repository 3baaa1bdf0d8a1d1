//! `imagetags`: one tag of a stream each, with its spec, its history and the image that it points at.

use std::sync::{Arc, LazyLock};

use imagestream_api::allowed_registries::AllowedRegistries;
use imagestream_api::defaults::{self, ImportMode};
use imagestream_api::field::FieldError;
use imagestream_api::names::{Compound, join_tag};
use imagestream_api::stream::tag_edit;
use imagestream_api::types::{GROUP, Image, ImageStream, ImageTag, ObjectMeta, Status, TagReference};
use imagestream_api::{validation, views};
use imagestream_apiserver::endpoint::Endpoint;
use imagestream_apiserver::kind::{Column, Kind, Resource};

use super::table;
use super::tags::{TagObject, Tags};
use crate::context::Context;
use crate::schema;

static IMAGE_TAG: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "ImageTag",
    schema: &schema::image::IMAGE_TAG,
    package: "image",
    description: "ImageTag represents a single tag within an image stream and includes the spec, the status history, \
                  and the currently referenced image (if any) of the provided tag.",
};

/// `imagetags`
pub static IMAGE_TAGS: Resource = Resource {
    kind: &IMAGE_TAG,
    plural: "imagetags",
    subresource: "",
    singular: "imagetag",
    list_kind: "ImageTagList",
    short_names: &["itag"],
    categories: &[],
    namespaced: true,
};

/// The endpoint of a server.
#[must_use]
pub fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    Arc::new(Tags::<ImageTag>::new(context))
}

impl TagObject for ImageTag {
    const RESOURCE: &'static Resource = &IMAGE_TAGS;
    const NAME: Compound = Compound::ImageTag;
    const TAKEN: &'static str = "imagetags";
    const NEEDS_IMAGE: bool = false;

    fn find(stream: &ImageStream, tag: &str) -> Result<(), Box<Status>> {
        if stream.spec.tags.contains_key(tag) || stream.status.tags.contains_key(tag) {
            return Ok(());
        }
        let name = stream.metadata.name.as_deref().unwrap_or_default();
        Err(IMAGE_TAGS.not_found(&join_tag(name, tag)).into())
    }

    fn view(stream: &ImageStream, tag: &str, image: Option<&Image>) -> Self {
        views::image_tag(stream, tag, image).unwrap_or_else(|| {
            let mut metadata = stream.metadata.clone();
            metadata.name = Some(join_tag(metadata.name.as_deref().unwrap_or_default(), tag));
            Self {
                metadata,
                ..Self::default()
            }
        })
    }

    fn views(stream: &ImageStream) -> Vec<Self> {
        views::image_tags(stream).collect()
    }

    fn metadata(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn reference(&self) -> Option<TagReference> {
        self.spec.clone()
    }

    fn fill_in_defaults(&mut self, mode: ImportMode) {
        defaults::image_tag(self, mode);
    }

    fn prepare_new(&mut self) {
        tag_edit::prepare_new_image_tag(self);
    }

    /// What a client may not change is compared, not copied.
    fn prepare(&mut self, _: &Self) {}

    fn errors_of_new(&self, registries: &AllowedRegistries) -> Vec<FieldError> {
        validation::image_tag(self, registries)
    }

    fn errors(&self, stored: &Self, registries: &AllowedRegistries) -> Vec<FieldError> {
        validation::image_tag_update(self, stored, registries)
    }

    fn apply(&self, stream: &mut ImageStream, tag: &str) -> Result<bool, Box<Status>> {
        Ok(tag_edit::apply_image_tag(stream, tag, self.spec.clone()))
    }

    fn columns() -> &'static [Column] {
        static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(table::columns::<ImageTag>);
        &COLUMNS
    }
}
