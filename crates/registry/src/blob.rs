//! Blobs: `GET` and `HEAD` of `/v2/<name>/blobs/<digest>`.
//!
//! See [pulling blobs](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-blobs).

use bytes::Bytes;
use http::Method;
use imagestream_api::digest::Digest;

use crate::error::Error;
use crate::repository::Repository;
use crate::transport::{Answer, Request};

/// Largest blob that is read: only image configurations are, and they are JSON documents.
const MAX_BLOB_BYTES: usize = 8 << 20;

impl Repository {
    /// Reads a small blob, such as an image configuration, and verifies it.
    ///
    /// # Errors
    /// [`Error::UnknownBlob`] when the registry does not have it, [`Error::TooLarge`] beyond 8 MiB,
    /// [`Error::Integrity`] when the content is not what the digest says, or what went wrong on the way.
    pub async fn blob(&self, digest: &Digest) -> Result<Bytes, Error> {
        let answer = self
            .transport
            .fetch(self, &self.blob_request(Method::GET, digest))
            .await?;
        verified(digest, answer)
    }

    /// Asks for the size of a blob, in bytes.
    ///
    /// # Errors
    /// [`Error::UnknownBlob`] when the registry does not have it, [`Error::Malformed`] when it does not say the
    /// size, or what went wrong on the way.
    pub async fn blob_size(&self, digest: &Digest) -> Result<u64, Error> {
        let answer = self
            .transport
            .fetch(self, &self.blob_request(Method::HEAD, digest))
            .await?;
        said_size(digest, &answer)
    }

    pub(crate) fn blob_request(&self, method: Method, digest: &Digest) -> Request {
        Request {
            method,
            path: format!("/v2/{}/blobs/{digest}", self.name),
            accept: &[],
            not_found: Some(Error::UnknownBlob),
            what: "blob",
            limit: MAX_BLOB_BYTES,
        }
    }
}

/// The size that an answer to a `HEAD` says.
pub(crate) fn said_size(digest: &Digest, answer: &Answer) -> Result<u64, Error> {
    let size = answer
        .header("content-length")
        .and_then(|length| length.parse().ok());
    size.ok_or_else(|| Error::Malformed(format!("the registry does not say the size of blob {digest}")))
}

/// The blob of an answer, which is the one asked for.
pub(crate) fn verified(digest: &Digest, answer: Answer) -> Result<Bytes, Error> {
    if digest.verifies(&answer.body) {
        return Ok(answer.body);
    }
    let calculated = Digest::sha256_of(&answer.body);
    Err(Error::Integrity {
        what: "blob",
        asked: digest.clone(),
        calculated,
    })
}
