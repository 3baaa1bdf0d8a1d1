//! `images`: what is known of each image, by digest. Cluster scoped; bodies stay on the disk.

use std::sync::{Arc, LazyLock};

use imagestream_api::field;
use imagestream_api::types::{GROUP, Image, Status, Time, Typed};
use imagestream_api::validation;
use imagestream_apiserver::endpoint::{Endpoint, Pending, Request};
use imagestream_apiserver::form::Form;
use imagestream_apiserver::kind::{Column, Kind, Resource};
use imagestream_apiserver::storage::check_name;
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

    fn unset(&self) -> Value {
        // What an image shows of nothing (metadata of version 1.0) is a client's once it is written.
        json!({"metadata": {}})
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
/// 400 for a name that no image has; those of the store.
pub(super) async fn read(context: &Context, name: &str) -> Result<Option<(Image, u64)>, Box<Status>> {
    check_name(name)?;
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::image::testing::TestServer;

    const IMAGES: &str = "/apis/image.openshift.io/v1/images";

    fn image(name: &str) -> Value {
        json!({"kind": "Image", "apiVersion": "image.openshift.io/v1", "metadata": {"name": name},
               "dockerImageReference": "a/b"})
    }

    #[tokio::test]
    async fn an_image_is_filled_in_when_it_is_stored_and_keeps_its_content() {
        let server = TestServer::start().await;
        let manifest = json!({"schemaVersion": 2, "config": {"digest": "sha256:c"},
                              "layers": [{"digest": "sha256:l", "size": 5, "mediaType": "m"}]});
        let mut sent = image("i");
        sent["dockerImageManifest"] = json!(manifest.to_string());
        sent["dockerImageConfig"] = json!(r#"{"author":"me"}"#);
        let (code, mut stored) = server.send("admin", "POST", IMAGES, Some(&sent)).await;
        assert_eq!(code, 201, "{stored}");
        assert_eq!(stored["dockerImageMetadata"]["Id"], "sha256:c");
        assert_eq!(stored["dockerImageMetadata"]["Author"], "me");
        assert_eq!(
            stored["dockerImageLayers"],
            json!([{"name": "sha256:l", "size": 5, "mediaType": "m"}])
        );
        let one = format!("{IMAGES}/i");
        assert_eq!(
            server.send("admin", "GET", &one, None).await,
            (200, stored.clone())
        );
        let mut forged = stored.clone();
        forged["dockerImageMetadata"]["Id"] = json!("forged");
        forged["dockerImageLayers"] = json!([]);
        let (code, answer) = server.send("admin", "PUT", &one, Some(&forged)).await;
        assert_eq!(code, 200, "{answer}");
        for kept in ["dockerImageMetadata", "dockerImageLayers"] {
            assert_eq!(answer[kept], stored[kept]);
        }
        stored["metadata"] = answer["metadata"].clone();
        stored["dockerImageReference"] = json!("c/d");
        let (code, answer) = server.send("admin", "PUT", &one, Some(&stored)).await;
        assert_eq!((code, &answer["dockerImageReference"]), (200, &json!("c/d")));
    }

    #[tokio::test]
    async fn what_is_wrong_with_an_image_is_told() {
        let server = TestServer::start().await;
        assert_eq!(
            server.send("admin", "POST", IMAGES, Some(&image("i"))).await.0,
            201
        );
        let mut invalid = image("j");
        invalid["dockerImageReference"] = json!("BAD");
        let mut unversioned = image("i");
        unversioned["dockerImageReference"] = json!("c/d");
        let one = format!("{IMAGES}/i");
        for (method, target, body, code, expected) in [
            (
                "POST",
                IMAGES,
                &image("i"),
                409,
                r#"images.image.openshift.io "i" already exists"#,
            ),
            (
                "POST",
                IMAGES,
                &invalid,
                422,
                "Image.image.openshift.io \"j\" is invalid: dockerImageReference: Invalid value: \"BAD\": repository \
                 name must be lowercase",
            ),
            (
                "PUT",
                one.as_str(),
                &unversioned,
                422,
                "images.image.openshift.io \"i\" is invalid: metadata.resourceVersion: Invalid value: 0: must be \
                 specified for an update",
            ),
        ] {
            let (answered, answer) = server.send("admin", method, target, Some(body)).await;
            assert_eq!((answered, answer["message"].as_str()), (code, Some(expected)));
        }
    }
}
