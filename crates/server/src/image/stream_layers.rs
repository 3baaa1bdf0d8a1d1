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
        self.context.streams.check_read(name, &request.query).await?;
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::TestServer;

    const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

    fn image(name: &str, layer: &str, config: &str) -> Value {
        json!({"metadata": {"name": name}, "dockerImageReference": "a/b", "dockerImageMetadata": {"Id": config},
               "dockerImageLayers": [{"name": layer, "size": 10, "mediaType": "layer"}],
               "dockerImageManifestMediaType": MANIFEST})
    }

    fn list(name: &str, members: &[&str]) -> Value {
        let members: Vec<Value> = members.iter().map(|member| json!({"digest": member})).collect();
        json!({"metadata": {"name": name}, "dockerImageReference": "a/b", "dockerImageManifests": members,
               "dockerImageManifestMediaType": "list"})
    }

    /// A server with a stream of these images, of which those in `stored` exist.
    async fn serving(images: &[&str], stored: Vec<Value>) -> TestServer {
        let server = TestServer::start().await;
        for image in stored {
            server.store(&server.context.images, image).await;
        }
        let items: Vec<Value> = images
            .iter()
            .map(|image| json!({"image": image, "dockerImageReference": "a/b"}))
            .collect();
        let stream = json!({"metadata": {"name": "s", "namespace": "n", "managedFields": [{"manager": "m"}]},
            "status": {"tags": [{"tag": "t", "items": items}]}});
        server.store(&server.context.streams, stream).await;
        server
    }

    #[tokio::test]
    async fn all_images_of_the_history_and_the_members_of_lists_are_shown() {
        let stored = vec![
            image("old", "l1", "c1"),
            // A list that names itself is no trap.
            list("new", &["member", "new", "absent"]),
            image("member", "l2", "c2"),
            image("elsewhere", "l3", "c3"),
        ];
        let server = serving(&["new", "old", ""], stored).await;
        let (code, layers) = server.get("imagestreams/s/layers").await;
        assert_eq!(code, 200, "{layers}");
        assert_eq!(
            (&layers["kind"], &layers["metadata"]["name"]),
            (&json!("ImageStreamLayers"), &json!("s"))
        );
        assert_eq!(layers["metadata"].get("managedFields"), None);
        let of = |layers: &[&str], config: &str| json!({"imageMissing": false, "layers": layers, "config": config});
        assert_eq!(
            layers["images"],
            json!({
                "absent": {"imageMissing": true, "layers": null, "config": null},
                "member": of(&["l2"], "c2"),
                "new": {"imageMissing": false, "layers": null, "config": null,
                        "manifests": ["member", "new", "absent"]},
                "old": of(&["l1"], "c1"),
            })
        );
        assert_eq!(layers["blobs"]["l2"], json!({"size": 10, "mediaType": "layer"}));
        assert_eq!(layers["blobs"]["c2"], json!({"size": null, "mediaType": CONFIG}));
        assert_eq!(
            layers["blobs"]["old"],
            json!({"size": null, "mediaType": MANIFEST})
        );
        assert_eq!(layers["blobs"].get("l3"), None);
    }

    #[tokio::test]
    async fn layers_that_make_no_sense_are_not_answered() {
        let server = serving(&["x"], vec![image("x", "l", "")]).await;
        let (code, refused) = server.get("imagestreams/s/layers").await;
        assert_eq!(code, 422);
        assert_eq!(
            refused["message"],
            ".image.openshift.io \"\" is invalid: images[x].config: Invalid value: \"\": config cannot be an empty \
             string"
        );
    }

    #[tokio::test]
    async fn a_stream_that_is_not_there_has_no_layers() {
        let server = TestServer::start().await;
        let (code, missing) = server.get("imagestreams/s/layers").await;
        assert_eq!(code, 404);
        assert_eq!(
            missing["message"],
            "imagestreams.image.openshift.io \"s\" not found"
        );
    }
}
