//! `imagesignatures`: signatures of images, which are stored inside of the images. Cluster scoped.

use std::sync::Arc;

use imagestream_api::field;
use imagestream_api::names::Compound;
use imagestream_api::types::{GROUP, Image, ImageSignature, Status, Time, Typed};
use imagestream_api::validation;
use imagestream_apiserver::admission::Creation;
use imagestream_apiserver::endpoint::{Endpoint, Outcome, Reply, Request};
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::kind::{Kind, Resource, Verb};
use imagestream_apiserver::metadata;
use imagestream_apiserver::options::{DeleteOptions, WriteOptions};
use serde::Deserialize;
use serde_json::{Value, json};

use super::images::{IMAGES, changed_image, read};
use super::stream_write::{complete, identify, typed};
use crate::context::Context;
use crate::schema;

/// How often the signatures of an image are written when others write it at the same time.
const ATTEMPTS: usize = 4;

static IMAGE_SIGNATURE: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "ImageSignature",
    schema: &schema::image::IMAGE_SIGNATURE,
    package: "image",
    description: "ImageSignature holds a signature of an image. It allows to verify image identity and possibly other \
                  claims as long as the signature is trusted. Based on this information it is possible to restrict \
                  runnable images to those matching cluster-wide policy.",
};

/// `imagesignatures`
pub static IMAGE_SIGNATURES: Resource = Resource {
    kind: &IMAGE_SIGNATURE,
    plural: "imagesignatures",
    subresource: "",
    singular: "imagesignature",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// Signatures as errors name them.
const IN_ERRORS: GroupResource<'static> = GroupResource {
    group: GROUP,
    resource: "imageSignatures",
};

/// The endpoint of a server.
#[must_use]
pub fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    Arc::new(Signatures {
        context: Arc::clone(context),
    })
}

struct Signatures {
    context: Arc<Context>,
}

impl Signatures {
    async fn create_one(
        &self,
        request: &Request,
        object: Value,
        options: WriteOptions,
    ) -> Result<Outcome, Box<Status>> {
        metadata::refuse_generated_name(&object)?;
        let mut signature = unverified(typed(object)?);
        identify(&mut signature.metadata, request.now);
        let problems = validation::image_signature(&signature);
        let name = signature.metadata.name.clone().unwrap_or_default();
        if !problems.is_empty() {
            return Err(Box::new(field::invalid("ImageSignature", &name, &problems)));
        }
        let (image, _) = parsed(&name)?;
        self.edit(request, image, options.dry_run, |image| {
            let is_known = image.signatures.iter().any(|known| {
                known.metadata.name == signature.metadata.name
                    || (known.signature_type == signature.signature_type
                        && known.content == signature.content)
            });
            if is_known {
                return Err(errors::already_exists(IN_ERRORS, &name).into());
            }
            image.signatures.push(signature.clone());
            Ok(())
        })
        .await?;
        Ok(Outcome::created(complete(&signature)?))
    }

    async fn delete_one(&self, request: &Request, options: DeleteOptions) -> Result<Outcome, Box<Status>> {
        let name = &request.info.name;
        let (image, _) = parsed(name)?;
        self.edit(request, image, options.dry_run, |image| {
            let before = image.signatures.len();
            image
                .signatures
                .retain(|signature| signature.metadata.name.as_ref() != Some(name));
            if image.signatures.len() == before {
                return Err(errors::not_found(IN_ERRORS, name).into());
            }
            Ok(())
        })
        .await?;
        Ok(Outcome::success())
    }

    /// Changes the signatures of an image.
    ///
    /// # Errors
    /// 404 if there is no such image, what `change` says, 409 if others keep writing the image; those of the store.
    async fn edit(
        &self,
        request: &Request,
        name: &str,
        dry_run: bool,
        change: impl Fn(&mut Image) -> Result<(), Box<Status>> + Send,
    ) -> Result<(), Box<Status>> {
        for _ in 0..ATTEMPTS {
            let Some((stored, revision)) = read(&self.context, name).await? else {
                return Err(IMAGES.not_found(name).into());
            };
            let mut image = stored.clone();
            change(&mut image)?;
            // A signature is nobody's edit of the image. As in the original, owners of fields are forgotten by it.
            image.metadata.managed_fields = None;
            let image = complete(&changed_image(image, &stored, &Time(request.now))?)?;
            if dry_run || self.context.images.replace(image, revision).await?.is_some() {
                return Ok(());
            }
        }
        Err(errors::conflict(IMAGES.group_resource(), name, errors::MODIFIED).into())
    }
}

/// A signature as a client sends it: what its verification found is not the client's to say.
fn unverified(signature: ImageSignature) -> ImageSignature {
    ImageSignature {
        metadata: signature.metadata,
        signature_type: signature.signature_type,
        content: signature.content,
        ..ImageSignature::default()
    }
}

/// The image and the signature that a name consists of.
fn parsed(name: &str) -> Result<(&str, &str), Box<Status>> {
    Compound::ImageSignature
        .parse(name)
        .map_err(|error| Box::new(error.into()))
}

impl Endpoint for Signatures {
    fn resource(&self) -> &'static Resource {
        &IMAGE_SIGNATURES
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Create, Verb::Delete]
    }

    fn empty(&self) -> Value {
        json!(ImageSignature::default())
    }

    fn normalise(&self, object: Value) -> Result<Value, String> {
        let signature = ImageSignature::deserialize(object).map_err(|error| error.to_string())?;
        serde_json::to_value(Typed::new(&signature)).map_err(|error| error.to_string())
    }

    fn create<'a>(
        &'a self,
        request: &'a Request,
        object: Value,
        options: WriteOptions,
        _: Creation<'a>,
    ) -> Reply<'a> {
        Box::pin(self.create_one(request, object, options))
    }

    fn delete<'a>(&'a self, request: &'a Request, options: DeleteOptions) -> Reply<'a> {
        Box::pin(self.delete_one(request, options))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::image::testing::TestServer;

    const IMAGES: &str = "/apis/image.openshift.io/v1/images";
    const SIGNATURES: &str = "/apis/image.openshift.io/v1/imagesignatures";

    async fn server() -> TestServer {
        let server = TestServer::start().await;
        let image = json!({"kind": "Image", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "i"},
                           "dockerImageReference": "a/b"});
        assert_eq!(server.send("admin", "POST", IMAGES, Some(&image)).await.0, 201);
        server
    }

    fn signature(name: &str, content: &str) -> Value {
        json!({"kind": "ImageSignature", "apiVersion": "image.openshift.io/v1", "metadata": {"name": name},
               "type": "atomic", "content": content})
    }

    async fn stored(server: &TestServer) -> Value {
        let (_, image) = server.send("admin", "GET", &format!("{IMAGES}/i"), None).await;
        image["signatures"].clone()
    }

    #[tokio::test]
    async fn a_signature_is_stored_in_its_image_without_what_verification_is_said_to_have_found() {
        let server = server().await;
        let mut sent = signature("i@one", "b25l");
        sent["conditions"] = json!([{"type": "Trusted", "status": "True"}]);
        sent["imageIdentity"] = json!("forged");
        sent["signedClaims"] = json!({"a": "b"});
        let (code, mut answer) = server.send("admin", "POST", SIGNATURES, Some(&sent)).await;
        assert_eq!(code, 201, "{answer}");
        let fields = answer.as_object_mut().unwrap();
        fields.remove("kind");
        fields.remove("apiVersion");
        assert_eq!(stored(&server).await, json!([answer]));
        assert!(answer["metadata"]["uid"].is_string() && answer["metadata"]["creationTimestamp"].is_string());
        for gone in ["conditions", "imageIdentity", "signedClaims"] {
            assert_eq!(answer.get(gone), None);
        }
        let (code, answer) = server
            .send("admin", "DELETE", &format!("{SIGNATURES}/i@one"), None)
            .await;
        let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        assert_eq!((code, answer), (200, success));
        assert_eq!(stored(&server).await, Value::Null);
    }

    #[tokio::test]
    async fn what_cannot_be_signed_or_unsigned_is_told() {
        let server = server().await;
        let first = signature("i@one", "b25l");
        assert_eq!(
            server.send("admin", "POST", SIGNATURES, Some(&first)).await.0,
            201
        );
        let known = |name: &str| format!("imageSignatures.image.openshift.io \"{name}\" already exists");
        let malformed = "ImageSignature.image.openshift.io \"one\" is invalid: metadata.name: Invalid value: \"one\": \
                         name must be of format <imageName>@<signatureName>";
        for (name, content, code, expected) in [
            ("i@one", "dHdv", 409, known("i@one")),
            ("i@two", "b25l", 409, known("i@two")),
            (
                "j@one",
                "b25l",
                404,
                r#"images.image.openshift.io "j" not found"#.into(),
            ),
            ("one", "b25l", 422, malformed.into()),
        ] {
            let sent = signature(name, content);
            let (answered, answer) = server.send("admin", "POST", SIGNATURES, Some(&sent)).await;
            assert_eq!(
                (answered, answer["message"].as_str()),
                (code, Some(expected.as_str()))
            );
        }
        for (name, code, expected) in [
            (
                "i@two",
                404,
                r#"imageSignatures.image.openshift.io "i@two" not found"#,
            ),
            ("j@one", 404, r#"images.image.openshift.io "j" not found"#),
            (
                "one",
                400,
                "ImageSignatures must be accessed with <imageName>@<signatureName>",
            ),
        ] {
            let target = format!("{SIGNATURES}/{name}");
            let (answered, answer) = server.send("admin", "DELETE", &target, None).await;
            assert_eq!((answered, answer["message"].as_str()), (code, Some(expected)));
        }
        assert_eq!(stored(&server).await.as_array().map(Vec::len), Some(1));
    }

    #[tokio::test]
    async fn a_dry_run_leaves_the_image_as_it_is() {
        let server = server().await;
        let one = signature("i@one", "b25l");
        let (code, _) = server
            .send("admin", "POST", &format!("{SIGNATURES}?dryRun=All"), Some(&one))
            .await;
        assert_eq!((code, stored(&server).await), (201, Value::Null));
        server.send("admin", "POST", SIGNATURES, Some(&one)).await;
        let before = stored(&server).await;
        let (code, _) = server
            .send("admin", "DELETE", &format!("{SIGNATURES}/i@one?dryRun=All"), None)
            .await;
        assert_eq!((code, stored(&server).await), (200, before));
    }
}
