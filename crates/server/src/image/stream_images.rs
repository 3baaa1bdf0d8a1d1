//! `imagestreamimages`: one image of a stream's history, by its digest or the start of it.

use std::sync::{Arc, LazyLock};

use imagestream_api::names::Compound;
use imagestream_api::types::{GROUP, ImageStream, ImageStreamImage, Status, Time};
use imagestream_api::views::{find_image, image_stream_image, image_stream_layers};
use imagestream_apiserver::endpoint::{Endpoint, Outcome, Reply, Request};
use imagestream_apiserver::kind::{Column, Kind, Resource, Verb};
use jiff::Timestamp;
use serde_json::Value;

use super::images::filled;
use super::stream_write::{complete, read};
use super::{stream_layers, table};
use crate::context::Context;
use crate::schema;

static IMAGE_STREAM_IMAGE: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "ImageStreamImage",
    schema: &schema::image::IMAGE_STREAM_IMAGE,
    package: "image",
    description: "ImageStreamImage represents an Image that is retrieved by image name from an ImageStream.",
};

/// `imagestreamimages`
pub static IMAGE_STREAM_IMAGES: Resource = Resource {
    kind: &IMAGE_STREAM_IMAGE,
    plural: "imagestreamimages",
    subresource: "",
    singular: "imagestreamimage",
    list_kind: "",
    short_names: &["isimage"],
    categories: &[],
    namespaced: true,
};

/// The endpoint of a server.
#[must_use]
pub fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    Arc::new(StreamImages {
        context: Arc::clone(context),
    })
}

struct StreamImages {
    context: Arc<Context>,
}

impl StreamImages {
    async fn get_one(&self, request: &Request) -> Result<Outcome, Box<Status>> {
        let (name, id) = Compound::ImageStreamImage
            .parse(&request.info.name)
            .map_err(|error| Box::new(error.into()))?;
        let Some((stream, _)) = read(&self.context, &request.info.namespace, name).await? else {
            return Err(IMAGE_STREAM_IMAGES.not_found(name).into());
        };
        let image_name = self.meant(&stream, id).await?;
        let Some(image) = filled(&self.context, &image_name, &Time(request.now)).await? else {
            return Err(IMAGE_STREAM_IMAGES.not_found(&image_name).into());
        };
        Ok(Outcome::ok(complete(&image_stream_image(&stream, id, &image))?))
    }

    /// The name of the image that is meant by an id, which may be the start of it.
    async fn meant(&self, stream: &ImageStream, id: &str) -> Result<String, Box<Status>> {
        let mut history = stream.status.tags.values().flat_map(|history| &history.items);
        if history.any(|event| event.image == id) {
            return Ok(id.to_owned());
        }
        let images = stream_layers::images(&self.context, stream).await?;
        let layers = image_stream_layers(stream, |name| images.get(name));
        find_image(&layers, id).map(str::to_owned)
    }
}

impl Endpoint for StreamImages {
    fn resource(&self) -> &'static Resource {
        &IMAGE_STREAM_IMAGES
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Get]
    }

    fn get<'a>(&'a self, request: &'a Request) -> Reply<'a> {
        Box::pin(self.get_one(request))
    }

    fn columns(&self) -> Option<&'static [Column]> {
        static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(table::columns::<ImageStreamImage>);
        Some(&COLUMNS)
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        table::cells::<ImageStreamImage>(object, now)
    }
}
