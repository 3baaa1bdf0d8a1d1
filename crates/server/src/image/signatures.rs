//! `imagesignatures`: signatures of images, which are stored inside of the images. Cluster scoped.

use std::sync::Arc;

use imagestream_api::field;
use imagestream_api::names::Compound;
use imagestream_api::types::{GROUP, Image, ImageSignature, Status, Time, Typed};
use imagestream_api::validation;
use imagestream_apiserver::endpoint::{Endpoint, Outcome, Reply, Request};
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::kind::{Kind, Resource, Verb};
use imagestream_apiserver::metadata;
use imagestream_apiserver::options::{DeleteOptions, WriteOptions};
use serde::Deserialize;
use serde_json::Value;

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

    fn normalise(&self, object: Value) -> Result<Value, String> {
        let signature = ImageSignature::deserialize(object).map_err(|error| error.to_string())?;
        serde_json::to_value(Typed::new(&signature)).map_err(|error| error.to_string())
    }

    fn create<'a>(&'a self, request: &'a Request, object: Value, options: WriteOptions) -> Reply<'a> {
        Box::pin(self.create_one(request, object, options))
    }

    fn delete<'a>(&'a self, request: &'a Request, options: DeleteOptions) -> Reply<'a> {
        Box::pin(self.delete_one(request, options))
    }
}
