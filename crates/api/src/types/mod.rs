//! The types of API group [image.openshift.io/v1][1], exactly as they look in JSON.
//!
//! Objects nested inside others carry neither `kind` nor `apiVersion`, so the structs here don't either;
//! [`Typed`] adds both for an object at top level. A key that the API never leaves out is always written, as
//! `null`, `""`, `0` or `{}`. On input, unknown keys are dropped and `null` stands for the empty value.
//!
//! [1]: https://docs.openshift.com/container-platform/latest/rest_api/image_apis/image-apis-index.html

mod docker_image;
mod image;
mod import;
mod layers;
mod list;
mod signature;
mod stream;
mod virtual_tags;
mod wire;

pub use docker_image::{DockerConfig, DockerImage, MetadataError, MetadataVersion};
pub use image::{Image, ImageLayer, ImageManifest};
pub use import::{
    ImageImportSpec, ImageImportStatus, ImageStreamImport, ImageStreamImportSpec, ImageStreamImportStatus,
    RepositoryImportSpec, RepositoryImportStatus,
};
pub use layers::{ImageBlobReferences, ImageLayerData, ImageStreamLayers};
pub use list::{
    EmbeddedSecret, ImageList, ImageStreamList, ImageStreamTagList, ImageTagList, List, SecretList,
};
pub use signature::{ImageSignature, SignatureCondition, SignatureIssuer, SignatureSubject};
pub use stream::{
    ImageLookupPolicy, ImageStream, ImageStreamSpec, ImageStreamStatus, NamedTagEventList, TagEvent,
    TagEventCondition, TagImportPolicy, TagReference, TagReferencePolicy,
};
pub use virtual_tags::{ImageStreamImage, ImageStreamMapping, ImageStreamTag, ImageTag};

pub use k8s_openapi::api::core::v1::{LocalObjectReference, ObjectReference, Secret};
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    ListMeta, ObjectMeta, Status, StatusCause, StatusDetails, Time,
};

use serde::Serialize;

/// The API group.
pub const GROUP: &str = "image.openshift.io";
/// The `apiVersion` of every object of the group.
pub const API_VERSION: &str = "image.openshift.io/v1";

/// A type that can stand at top level.
pub trait Kind {
    /// The value of `kind`.
    const KIND: &'static str;
}

macro_rules! kinds {
    ($($kind:ident),* $(,)?) => {
        $(impl Kind for $kind { const KIND: &'static str = stringify!($kind); })*
    };
}

kinds!(
    Image,
    ImageSignature,
    ImageStream,
    ImageStreamImage,
    ImageStreamImport,
    ImageStreamLayers,
    ImageStreamMapping,
    ImageStreamTag,
    ImageTag,
    ImageList,
    ImageStreamList,
    ImageStreamTagList,
    ImageTagList,
    SecretList,
);

/// An object with its `kind` and `apiVersion`, as it is written at top level.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Typed<'a, T> {
    kind: &'static str,
    api_version: &'static str,
    #[serde(flatten)]
    object: &'a T,
}

impl<'a, T: Kind> Typed<'a, T> {
    /// The object as it is written at top level.
    pub fn new(object: &'a T) -> Self {
        Self {
            kind: T::KIND,
            api_version: API_VERSION,
            object,
        }
    }
}

#[cfg(test)]
mod tests;
