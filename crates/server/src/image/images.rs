//! `images`: what is known of each image, by digest. Cluster scoped; bodies stay on the disk.

use std::sync::{Arc, LazyLock};

use imagestream_api::field;
use imagestream_api::types::{GROUP, Image, Status, Time, Typed};
use imagestream_api::validation;
use imagestream_apiserver::endpoint::{Endpoint, Pending, Request};
use imagestream_apiserver::form::Form;
use imagestream_apiserver::kind::{Column, Kind, Resource};
use imagestream_apiserver::stored::Stored;
use imagestream_apiserver::strategy::{Strategy, done};
use imagestream_import::fill;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::stream_write::{complete, typed};
use super::table;
use crate::context::Context;
use crate::schema;

/// What an image is.
pub static IMAGE: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "Image",
    schema: &schema::image::IMAGE,
    package: "image",
    description: "Image is an immutable representation of a container image and its metadata at a point in time. \
                  Images are named by taking a hash of their contents (metadata and content) and any change in \
                  format, content, or metadata results in a new name.",
};

/// `images`
pub static IMAGES: Resource = Resource {
    kind: &IMAGE,
    plural: "images",
    subresource: "",
    singular: "image",
    list_kind: "ImageList",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// How images are stored.
#[must_use]
pub fn form() -> Arc<dyn Form> {
    Arc::new(ImageForm)
}

struct ImageForm;

impl Form for ImageForm {
    fn resource(&self) -> &'static Resource {
        &IMAGES
    }

    fn empty(&self) -> Value {
        json!(Image::default())
    }
}

/// The endpoint of a server.
#[must_use]
pub fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    Arc::new(Stored::new(Arc::clone(&context.images), Arc::new(ImageStrategy)))
}

/// The rules for images that clients write.
struct ImageStrategy;

impl Strategy for ImageStrategy {
    fn normalise(&self, object: Value) -> Result<Value, String> {
        let image = Image::deserialize(object).map_err(|error| error.to_string())?;
        serde_json::to_value(Typed::new(&image)).map_err(|error| error.to_string())
    }

    fn prepare_create<'a>(&'a self, request: &'a Request, object: Value) -> Pending<'a, Value> {
        let prepared = typed(object).and_then(|image| complete(&new_image(image, &Time(request.now))?));
        done(prepared)
    }

    fn prepare_update<'a>(
        &'a self,
        request: &'a Request,
        object: Value,
        stored: &'a Value,
    ) -> Pending<'a, Value> {
        let prepared = typed(stored.clone()).and_then(|stored| {
            let image = changed_image(typed(object)?, &stored, &Time(request.now))?;
            complete(&image)
        });
        done(prepared)
    }

    fn updates_blindly(&self) -> bool {
        false
    }

    /// Nothing depends on an image: streams only name it.
    fn collects_garbage(&self) -> bool {
        false
    }

    fn columns(&self) -> Option<&'static [Column]> {
        static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(table::columns::<Image>);
        Some(&COLUMNS)
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        table::cells::<Image>(object, now)
    }
}

/// The image to store for one that is created.
///
/// # Errors
/// 422 with everything that is wrong.
pub(super) fn new_image(mut image: Image, now: &Time) -> Result<Image, Box<Status>> {
    fill::prepare_create(&mut image, now);
    let errors = validation::image(&image);
    valid(image, &errors)
}

/// The image to store in place of `stored`.
///
/// # Errors
/// 422 with everything that is wrong.
pub(super) fn changed_image(mut image: Image, stored: &Image, now: &Time) -> Result<Image, Box<Status>> {
    fill::prepare_update(&mut image, stored, now);
    let errors = validation::image_update(&image, stored);
    valid(image, &errors)
}

fn valid(image: Image, errors: &[field::FieldError]) -> Result<Image, Box<Status>> {
    if errors.is_empty() {
        return Ok(image);
    }
    let name = image.metadata.name.as_deref().unwrap_or_default();
    Err(Box::new(field::invalid("Image", name, errors)))
}

/// An image with the revision of its last change.
///
/// # Errors
/// Those of the store.
pub(super) async fn read(context: &Context, name: &str) -> Result<Option<(Image, u64)>, Box<Status>> {
    let Some(stored) = context.images.get("", name).await? else {
        return Ok(None);
    };
    Ok(Some((typed(stored.object)?, stored.revision)))
}

/// An image as other objects show it: with everything that its manifest says.
///
/// # Errors
/// Those of the store.
pub(super) async fn filled(context: &Context, name: &str, now: &Time) -> Result<Option<Image>, Box<Status>> {
    let Some((mut image, _)) = read(context, name).await? else {
        return Ok(None);
    };
    if let Err(error) = fill::fill(&mut image, now) {
        tracing::debug!(image = name, %error, "an image is shown without what its manifest says");
    }
    Ok(Some(image))
}
