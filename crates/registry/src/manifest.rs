//! Manifests: `GET` and `HEAD` of `/v2/<name>/manifests/<reference>`.
//!
//! See [pulling manifests](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests).

use bytes::Bytes;
use http::Method;
use imagestream_api::digest::Digest;

use crate::distribution::{self, Manifest};
use crate::error::Error;
use crate::repository::Repository;
use crate::transport::{Answer, Request};

/// Largest manifest that is accepted; the distribution specification asks registries to accept as much.
const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// Which manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ManifestAt {
    /// The one a tag points to.
    Tag(String),
    /// The one with this digest.
    Digest(Digest),
}

/// A manifest as the registry sent it.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// `Content-Type` as sent; empty if there was none.
    pub media_type: String,
    /// The bytes of the answer.
    pub body: Bytes,
    /// The digest of the manifest: the one asked for, which was verified, or the sha256 of the content. For a
    /// signed schema 1 manifest that is its payload without signatures.
    pub digest: Digest,
}

impl Repository {
    /// Reads a manifest.
    ///
    /// # Errors
    /// What the registry answered, what went wrong on the way, or [`Error::Integrity`] when the content is not what
    /// the digest says.
    pub async fn manifest(&self, at: &ManifestAt) -> Result<FetchedManifest, Error> {
        let answer = self
            .transport
            .fetch(self, &self.manifest_request(Method::GET, at))
            .await?;
        verified(at, answer)
    }

    /// Asks for the digest of a manifest; `None` if the registry answers without one.
    ///
    /// # Errors
    /// What the registry answered or what went wrong on the way. A missing manifest is `MANIFEST_UNKNOWN`.
    pub async fn manifest_head(&self, at: &ManifestAt) -> Result<Option<Digest>, Error> {
        let answer = self
            .transport
            .fetch(self, &self.manifest_request(Method::HEAD, at))
            .await?;
        Ok(named_digest(&answer))
    }

    pub(crate) fn manifest_request(&self, method: Method, at: &ManifestAt) -> Request {
        let reference = match at {
            ManifestAt::Tag(tag) => path_segment(tag),
            ManifestAt::Digest(digest) => digest.to_string(),
        };
        Request {
            not_found: (method == Method::HEAD).then(|| Error::code("MANIFEST_UNKNOWN")),
            method,
            path: format!("/v2/{}/manifests/{reference}", self.name),
            accept: &distribution::ACCEPT,
            what: "manifest",
            limit: MAX_MANIFEST_BYTES,
        }
    }
}

/// The digest that an answer says its manifest has.
pub(crate) fn named_digest(answer: &Answer) -> Option<Digest> {
    let digest = answer.header("docker-content-digest")?;
    Digest::parse(digest).ok()
}

/// The manifest of an answer, whose digest is the one asked for.
pub(crate) fn verified(at: &ManifestAt, answer: Answer) -> Result<FetchedManifest, Error> {
    let media_type = answer.header("content-type").unwrap_or_default().to_owned();
    let digest = verified_digest(at, &media_type, &answer.body)?;
    Ok(FetchedManifest {
        media_type,
        body: answer.body,
        digest,
    })
}

/// The digest of a manifest, checked against the one asked for.
///
/// Signed schema 1 manifests are digested without their signatures, which anybody may add to. What cannot be read as
/// one has no digest: asked for by digest it is refused, asked for by tag the caller will see what is wrong with it.
fn verified_digest(at: &ManifestAt, media_type: &str, body: &[u8]) -> Result<Digest, Error> {
    let parsed = is_read_as_schema1(media_type).then(|| distribution::parse(media_type, body));
    let payload = match parsed {
        Some(Ok(Manifest::Schema1(schema1))) => Some(Ok(schema1.payload_digest)),
        Some(Err(error)) => Some(Err(Error::Malformed(error.to_string()))),
        _ => None,
    };
    match (at, payload) {
        (ManifestAt::Tag(_), Some(Ok(digest))) => Ok(digest),
        (ManifestAt::Tag(_), _) => Ok(Digest::sha256_of(body)),
        (ManifestAt::Digest(asked), None) if asked.verifies(body) => Ok(asked.clone()),
        (ManifestAt::Digest(asked), payload) => {
            let calculated = payload.unwrap_or_else(|| Ok(Digest::sha256_of(body)))?;
            if calculated == *asked {
                return Ok(calculated);
            }
            Err(Error::Integrity {
                what: "manifest",
                asked: asked.clone(),
                calculated,
            })
        }
    }
}

fn is_read_as_schema1(media_type: &str) -> bool {
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let others = [
        distribution::DOCKER_MANIFEST,
        distribution::DOCKER_LIST,
        distribution::OCI_MANIFEST,
        distribution::OCI_INDEX,
    ];
    !others.iter().any(|other| other.eq_ignore_ascii_case(media_type))
}

/// A tag as one segment of a path, whatever its characters.
fn path_segment(tag: &str) -> String {
    let mut url = String::new();
    for byte in tag.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-') {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}
