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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::image::testing::TestServer;

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    async fn push(server: &TestServer, name: &str, members: &Value) {
        let mapping = json!({
            "kind": "ImageStreamMapping", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "s"}, "tag": "t",
            "image": {"metadata": {"name": name}, "dockerImageReference": format!("r.example/a:{}", name.len()),
                      "dockerImageManifests": members}
        });
        server.post("admin", "imagestreammappings", &mapping, 201).await;
    }

    #[tokio::test]
    async fn an_image_is_found_in_the_history_and_in_lists_by_the_start_of_its_digest() {
        let server = TestServer::start().await;
        let stream = json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
                            "metadata": {"name": "s", "annotations": {"of": "stream"}}});
        server.post("admin", "imagestreams", &stream, 201).await;
        push(&server, &digest("c"), &Value::Null).await;
        push(&server, "id", &Value::Null).await;
        let member = json!([{"digest": digest("c"), "mediaType": "a/b", "architecture": "amd64", "os": "linux"},
                            {"digest": digest("d"), "mediaType": "a/b", "architecture": "arm64", "os": "linux"}]);
        push(&server, "identity", &member).await;
        for (asked, found) in [
            (digest("c"), digest("c")),
            ("sha256:ccc".into(), digest("c")),
            ("ccc".into(), digest("c")),
            ("id".into(), "id".into()),
            ("ident".into(), "identity".into()),
            ("i".into(), "id".into()),
        ] {
            let (code, object) = server.get(&format!("imagestreamimages/s@{asked}")).await;
            assert_eq!(code, 200, "{object}");
            assert_eq!(object["metadata"]["name"], format!("s@{asked}"));
            assert_eq!(object["metadata"]["annotations"], json!({"of": "stream"}));
            assert_eq!(object["metadata"].get("uid"), None);
            assert_eq!(object["image"]["metadata"]["name"], found);
        }
        for (name, code, expected) in [
            (
                "s@x",
                404,
                r#"imagestreamimage.image.openshift.io "s@x" not found"#.to_owned(),
            ),
            (
                "s@ddd",
                404,
                format!(
                    "imagestreamimages.image.openshift.io \"{}\" not found",
                    digest("d")
                ),
            ),
            (
                "o@id",
                404,
                r#"imagestreamimages.image.openshift.io "o" not found"#.into(),
            ),
            (
                "s@a@b",
                400,
                "ImageStreamImages must be retrieved with <name>@<id>".into(),
            ),
            (
                "s",
                400,
                "ImageStreamImages must be retrieved with <name>@<id>".into(),
            ),
        ] {
            let (answered, answer) = server.get(&format!("imagestreamimages/{name}")).await;
            assert_eq!(
                (answered, answer["message"].as_str()),
                (code, Some(expected.as_str()))
            );
        }
    }
}
