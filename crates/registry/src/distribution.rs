//! Manifests of images and lists of images, decoded and checked; nothing is fetched here.
//!
//! The formats are those of the [OCI image specification][oci] and of Docker's [schema 2][s2]; the choice between
//! them by content type, and the texts of the refusals, are those of the [distribution client][client].
//!
//! [oci]: https://github.com/opencontainers/image-spec/blob/main/manifest.md
//! [s2]: https://distribution.github.io/distribution/spec/manifest-v2-2/
//! [client]: https://pkg.go.dev/github.com/distribution/distribution/v3

mod schema1;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use imagestream_api::digest::Digest;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::json::{self, JsonError, null_is_default};

pub use schema1::{Schema1, SignatureError};

/// Media type of a Docker schema 2 manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of a Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a Docker schema 1 manifest with signatures.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// Media type of a Docker schema 1 manifest without signatures: what an imported schema 1 image is labelled with.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";

/// The `Accept` header of a manifest request: every type that [`parse`] understands.
pub const ACCEPT: [&str; 6] = [
    DOCKER_MANIFEST,
    DOCKER_LIST,
    OCI_MANIFEST,
    OCI_INDEX,
    DOCKER_SCHEMA1_SIGNED,
    "application/json",
];

/// The most layers of an image. Overlay file systems stop at a few hundred.
pub const MAX_LAYERS: usize = 10_000;
/// The most members of a list.
pub const MAX_MEMBERS: usize = 10_000;

/// A decoded manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// An image in Docker's first format.
    Schema1(Schema1),
    /// An image: configuration and layers.
    Image(ImageManifest),
    /// A list of images, usually one per platform.
    Index(Index),
}

/// Manifest of one image, Docker schema 2 or OCI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageManifest {
    /// Media type named by the manifest itself, or the OCI type when it names none.
    pub media_type: String,
    /// Configuration blob.
    pub config: Descriptor,
    /// Layers, base first.
    pub layers: Vec<Descriptor>,
    /// What the artifact is, when it is no image (OCI 1.1).
    pub artifact_type: Option<String>,
    /// The manifest that this one says something about (OCI 1.1).
    pub subject: Option<Descriptor>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Docker manifest list or OCI index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Media type named by the list itself, or the OCI type when it names none.
    pub media_type: String,
    /// Members in their order. A member may be a list again.
    pub manifests: Vec<IndexEntry>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Where a blob or manifest is and how large it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes, never negative.
    pub size: i64,
}

/// One member of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Media type of the member.
    pub media_type: String,
    /// Digest of the member.
    pub digest: Digest,
    /// Size of the member's manifest in bytes, never negative.
    pub size: i64,
    /// What the member runs on, when the list says so.
    pub platform: Option<Platform>,
    /// What the member is, when it is no image (OCI 1.1).
    pub artifact_type: Option<String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What an image runs on. A part that is not given is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// Processor architecture, as Go names it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// Operating system, as Go names it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// Variant of the architecture, for example `v7`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub variant: String,
    /// Version of the operating system.
    #[serde(default, rename = "os.version", deserialize_with = "null_is_default")]
    pub os_version: String,
    /// Features of the operating system that the image needs.
    #[serde(default, rename = "os.features", deserialize_with = "null_is_default")]
    pub os_features: Vec<String>,
}

/// Why a manifest is refused. The texts are those of the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The manifest could not be decoded.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The signatures of a schema 1 manifest could not be read.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The manifest names another type than the one it was served as, or none where one is required.
    #[error("mediaType in {kind} should be '{expected}' not '{actual}'")]
    MediaType {
        /// What the document is, in words.
        kind: &'static str,
        /// The type it was served as.
        expected: &'static str,
        /// The type it names.
        actual: String,
    },
    /// The manifest names another type than the one it was served as; naming none would do.
    #[error("if present, mediaType in {kind} should be '{expected}' not '{actual}'")]
    OptionalMediaType {
        /// What the document is, in words.
        kind: &'static str,
        /// The type it was served as.
        expected: &'static str,
        /// The type it names.
        actual: String,
    },
    /// A list was served as a manifest.
    #[error("ocimanifest: expected manifest but found index")]
    IndexServedAsManifest,
    /// A manifest was served as a list.
    #[error("index: expected index but found manifest")]
    ManifestServedAsIndex,
    /// The configuration is missing or its digest is none.
    #[error("invalid digest format")]
    ConfigDigest,
    /// Another digest is none.
    #[error("invalid digest format of {0}")]
    Digest(String),
    /// A size is negative.
    #[error("negative size of {0}")]
    NegativeSize(String),
    /// There are more layers or members than anyone needs.
    #[error("manifest has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much of it is accepted.
        limit: usize,
    },
}

/// Decodes a manifest that was served with `content_type` (the whole header; empty when there was none).
///
/// The type decides the format, not the content: a document that fits two formats must not be read as the one in one
/// place and as the other elsewhere ([CVE-2021-41190](https://github.com/advisories/GHSA-77vh-xpmg-72qh)). Every type
/// but the four modern ones, also none, means a signed schema 1 manifest.
///
/// # Errors
/// [`ManifestError`], with the API's text.
pub fn parse(content_type: &str, body: &[u8]) -> Result<Manifest, ManifestError> {
    match essence(content_type).as_str() {
        DOCKER_MANIFEST => ManifestDocument::decode(body)?.docker(),
        DOCKER_LIST => IndexDocument::decode(body)?.docker(),
        OCI_MANIFEST => ManifestDocument::decode(body)?.oci(),
        OCI_INDEX => IndexDocument::decode(body)?.oci(),
        _ => Schema1::from_signed(body).map(Manifest::Schema1),
    }
}

/// The type of a `Content-Type` header without its parameters, in lower case.
fn essence(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestDocument {
    #[serde(default, deserialize_with = "null_is_default")]
    media_type: String,
    config: Option<RawDescriptor>,
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<RawDescriptor>,
    manifests: Option<IgnoredAny>,
    artifact_type: Option<String>,
    subject: Option<RawDescriptor>,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
}

impl ManifestDocument {
    fn decode(body: &[u8]) -> Result<Self, ManifestError> {
        Ok(json::decode(body)?)
    }

    fn docker(self) -> Result<Manifest, ManifestError> {
        require_media_type("manifest", DOCKER_MANIFEST, &self.media_type)?;
        self.image(DOCKER_MANIFEST)
    }

    fn oci(self) -> Result<Manifest, ManifestError> {
        if self.manifests.is_some() {
            return Err(ManifestError::IndexServedAsManifest);
        }
        allow_media_type("manifest", OCI_MANIFEST, &self.media_type)?;
        self.image(OCI_MANIFEST)
    }

    fn image(self, media_type: &str) -> Result<Manifest, ManifestError> {
        at_most("layers", MAX_LAYERS, self.layers.len())?;
        let config = self.config.unwrap_or_default();
        let config = config.checked("the config").map_err(|error| match error {
            ManifestError::Digest(_) => ManifestError::ConfigDigest,
            other => other,
        })?;
        let layers = self.layers.into_iter().enumerate();
        Ok(Manifest::Image(ImageManifest {
            media_type: media_type.into(),
            config,
            layers: layers
                .map(|(i, layer)| layer.checked(&format!("layer {i}")))
                .collect::<Result<_, _>>()?,
            artifact_type: self.artifact_type.filter(|name| !name.is_empty()),
            subject: self
                .subject
                .map(|subject| subject.checked("the subject"))
                .transpose()?,
            annotations: self.annotations,
        }))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexDocument {
    #[serde(default, deserialize_with = "null_is_default")]
    media_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    manifests: Vec<RawEntry>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
}

impl IndexDocument {
    fn decode(body: &[u8]) -> Result<Self, ManifestError> {
        Ok(json::decode(body)?)
    }

    fn docker(self) -> Result<Manifest, ManifestError> {
        require_media_type("manifest list", DOCKER_LIST, &self.media_type)?;
        self.index(DOCKER_LIST)
    }

    fn oci(self) -> Result<Manifest, ManifestError> {
        if self.config.is_some() || self.layers.is_some() {
            return Err(ManifestError::ManifestServedAsIndex);
        }
        allow_media_type("image index", OCI_INDEX, &self.media_type)?;
        self.index(OCI_INDEX)
    }

    fn index(self, media_type: &str) -> Result<Manifest, ManifestError> {
        at_most("members", MAX_MEMBERS, self.manifests.len())?;
        let entries = self.manifests.into_iter().enumerate();
        Ok(Manifest::Index(Index {
            media_type: media_type.into(),
            manifests: entries
                .map(|(i, entry)| entry.checked(i))
                .collect::<Result<_, _>>()?,
            annotations: self.annotations,
        }))
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default, deserialize_with = "null_is_default")]
    media_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    digest: String,
    #[serde(default, deserialize_with = "null_is_default")]
    size: i64,
}

impl RawDescriptor {
    fn checked(self, what: &str) -> Result<Descriptor, ManifestError> {
        let digest = Digest::parse(&self.digest).map_err(|_| ManifestError::Digest(what.into()))?;
        if self.size < 0 {
            return Err(ManifestError::NegativeSize(what.into()));
        }
        Ok(Descriptor {
            media_type: self.media_type,
            digest,
            size: self.size,
        })
    }
}

/// `flatten` would copy the whole entry through a buffer, hence the fields of [`RawDescriptor`] again.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEntry {
    #[serde(default, deserialize_with = "null_is_default")]
    media_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    digest: String,
    #[serde(default, deserialize_with = "null_is_default")]
    size: i64,
    platform: Option<Platform>,
    artifact_type: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
}

impl RawEntry {
    fn checked(self, position: usize) -> Result<IndexEntry, ManifestError> {
        let descriptor = RawDescriptor {
            media_type: self.media_type,
            digest: self.digest,
            size: self.size,
        };
        let Descriptor {
            media_type,
            digest,
            size,
        } = descriptor.checked(&format!("member {position}"))?;
        Ok(IndexEntry {
            media_type,
            digest,
            size,
            platform: self.platform,
            artifact_type: self.artifact_type.filter(|name| !name.is_empty()),
            annotations: self.annotations,
        })
    }
}

fn require_media_type(kind: &'static str, expected: &'static str, actual: &str) -> Result<(), ManifestError> {
    if actual == expected {
        return Ok(());
    }
    Err(ManifestError::MediaType {
        kind,
        expected,
        actual: actual.into(),
    })
}

fn allow_media_type(kind: &'static str, expected: &'static str, actual: &str) -> Result<(), ManifestError> {
    if actual.is_empty() || actual == expected {
        return Ok(());
    }
    Err(ManifestError::OptionalMediaType {
        kind,
        expected,
        actual: actual.into(),
    })
}

fn at_most(what: &'static str, limit: usize, count: usize) -> Result<(), ManifestError> {
    if count > limit {
        return Err(ManifestError::TooMany { what, limit });
    }
    Ok(())
}
