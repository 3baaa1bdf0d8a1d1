//! `imagestreamtags`: one tag of a stream each, with the image that it points at.

use std::sync::{Arc, LazyLock};

use imagestream_api::allowed_registries::AllowedRegistries;
use imagestream_api::defaults::{self, ImportMode};
use imagestream_api::field::FieldError;
use imagestream_api::names::Compound;
use imagestream_api::stream::tag_edit;
use imagestream_api::types::{GROUP, Image, ImageStream, ImageStreamTag, ObjectMeta, Status, TagReference};
use imagestream_api::{validation, views};
use imagestream_apiserver::endpoint::Endpoint;
use imagestream_apiserver::kind::{Column, Kind, Resource};

use super::table;
use super::tags::{TagObject, Tags};
use crate::context::Context;
use crate::schema;

static IMAGE_STREAM_TAG: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "ImageStreamTag",
    schema: &schema::image::IMAGE_STREAM_TAG,
    package: "image",
    description: "ImageStreamTag represents an Image that is retrieved by tag name from an ImageStream.",
};

/// `imagestreamtags`
pub static IMAGE_STREAM_TAGS: Resource = Resource {
    kind: &IMAGE_STREAM_TAG,
    plural: "imagestreamtags",
    subresource: "",
    singular: "imagestreamtag",
    list_kind: "ImageStreamTagList",
    short_names: &["istag"],
    categories: &[],
    namespaced: true,
};

/// The endpoint of a server.
#[must_use]
pub fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    Arc::new(Tags::<ImageStreamTag>::new(context))
}

impl TagObject for ImageStreamTag {
    const RESOURCE: &'static Resource = &IMAGE_STREAM_TAGS;
    const NAME: Compound = Compound::ImageStreamTag;
    // In the singular: that is what clients know.
    const TAKEN: &'static str = "imagestreamtag";
    const NEEDS_IMAGE: bool = true;

    fn find(stream: &ImageStream, tag: &str) -> Result<(), Box<Status>> {
        views::usable_event(stream, tag).map(drop)
    }

    fn view(stream: &ImageStream, tag: &str, image: Option<&Image>) -> Self {
        views::image_stream_tag(stream, tag, image)
    }

    fn views(stream: &ImageStream) -> Vec<Self> {
        views::image_stream_tags(stream).collect()
    }

    fn metadata(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn reference(&self) -> Option<TagReference> {
        self.tag.clone()
    }

    fn fill_in_defaults(&mut self, mode: ImportMode) {
        defaults::image_stream_tag(self, mode);
    }

    fn prepare_new(&mut self) {
        tag_edit::prepare_new_stream_tag(self);
    }

    fn prepare(&mut self, stored: &Self) {
        tag_edit::prepare_stream_tag(self, stored);
    }

    fn errors_of_new(&self, registries: &AllowedRegistries) -> Vec<FieldError> {
        validation::image_stream_tag(self, registries)
    }

    fn errors(&self, stored: &Self, registries: &AllowedRegistries) -> Vec<FieldError> {
        validation::image_stream_tag_update(self, stored, registries)
    }

    fn apply(&self, stream: &mut ImageStream, tag: &str) -> Result<bool, Box<Status>> {
        tag_edit::apply_stream_tag(stream, tag, self)
    }

    fn columns() -> &'static [Column] {
        static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(table::columns::<ImageStreamTag>);
        &COLUMNS
    }
}
