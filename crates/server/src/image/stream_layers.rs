//! `imagestreams/layers`: which blobs the images of a stream are made of, for registries that decide who may pull what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use imagestream_api::field::invalid_in;
use imagestream_api::types::{GROUP, Image, ImageStream, Status};
use imagestream_api::validation;
use imagestream_api::views::{ImageBlobs, image_stream_layers};
use imagestream_apiserver::endpoint::{Endpoint, Outcome, Reply, Request};
use imagestream_apiserver::kind::{Kind, Resource, Verb};

use super::image_streams::IMAGE_STREAMS;
use super::stream_write::{complete, read, typed};
use crate::context::Context;
use crate::schema;

/// Images that are read at once. Their bodies can be large.
const AT_ONCE: usize = 16;

static IMAGE_STREAM_LAYERS: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "ImageStreamLayers",
    schema: &schema::image::IMAGE_STREAM_LAYERS,
    package: "image",
    description: "ImageStreamLayers describes information about the layers referenced by images in this image stream.",
};

/// `imagestreams/layers`
pub static STREAM_LAYERS: Resource = Resource {
    kind: &IMAGE_STREAM_LAYERS,
    plural: "imagestreams",
    subresource: "layers",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

/// The endpoint.
#[must_use]
pub fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    Arc::new(StreamLayers {
        context: Arc::clone(context),
    })
}

struct StreamLayers {
    context: Arc<Context>,
}

impl StreamLayers {
    async fn layers(&self, request: &Request) -> Result<Outcome, Box<Status>> {
        let name = &request.info.name;
        let Some((mut stream, _)) = read(&self.context, &request.info.namespace, name).await? else {
            return Err(IMAGE_STREAMS.not_found(name).into());
        };
        // Who set which field of the stream is nothing to those who pull from it.
        stream.metadata.managed_fields = None;
        let images = images(&self.context, &stream).await?;
        let layers = image_stream_layers(&stream, |name| images.get(name));
        let errors = validation::image_stream_layers(&layers);
        if !errors.is_empty() {
            return Err(invalid_in(GROUP, "", "", &errors).into());
        }
        Ok(Outcome::ok(complete(&layers)?))
    }
}

impl Endpoint for StreamLayers {
    fn resource(&self) -> &'static Resource {
        &STREAM_LAYERS
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Get]
    }

    fn get<'a>(&'a self, request: &'a Request) -> Reply<'a> {
        Box::pin(self.layers(request))
    }
}

/// What the images of a stream's whole history are made of, and the members of lists among them, as far as they exist.
///
/// # Errors
/// Those of the store.
pub(crate) async fn images(
    context: &Context,
    stream: &ImageStream,
) -> Result<BTreeMap<String, ImageBlobs>, Box<Status>> {
    let events = stream.status.tags.values().flat_map(|history| &history.items);
    let mut wanted: BTreeSet<String> = events.map(|event| event.image.clone()).collect();
    wanted.remove("");
    let mut asked = wanted.clone();
    let mut found = BTreeMap::new();
    while !wanted.is_empty() {
        let mut reading = futures::stream::iter(std::mem::take(&mut wanted))
            .map(async |name| {
                let stored = context.images.get("", &name).await?;
                let image = stored.map(|stored| typed::<Image>(stored.object)).transpose()?;
                Ok::<_, Box<Status>>((name, image.as_ref().map(ImageBlobs::from)))
            })
            .buffer_unordered(AT_ONCE);
        while let Some(read) = reading.next().await {
            let (name, Some(blobs)) = read? else {
                continue;
            };
            // A list that names itself, or one that was seen, leads nowhere new.
            let members = blobs.manifests.iter();
            wanted.extend(members.filter(|member| asked.insert((*member).clone())).cloned());
            found.insert(name, blobs);
        }
    }
    Ok(found)
}
