//! Asking whether a manifest is still the one that it was, and for what it is made of, as politely as can be.

use bytes::Bytes;
use http::Method;
use imagestream_api::digest::Digest;

use crate::blob;
use crate::error::Error;
use crate::feedback::HostFeedback;
use crate::manifest::{FetchedManifest, ManifestAt, named_digest, verified};
use crate::repository::Repository;

/// What came of a probe.
#[derive(Clone, Debug)]
pub struct Probed<T> {
    /// What was asked for, or why it is not known.
    pub found: Result<T, Error>,
    /// What the host said of how often it may be asked.
    pub feedback: HostFeedback,
}

impl Repository {
    /// Asks for the digest of a manifest; `None` if the registry answers without one. If the host wants to be left
    /// alone this does not wait for it, but says so.
    pub async fn probe_digest(&self, at: &ManifestAt) -> Probed<Option<Digest>> {
        let request = self.manifest_request(Method::HEAD, at);
        let (answer, feedback) = self.transport.fetch_if_welcome(self, &request).await;
        Probed {
            found: answer.map(|answer| named_digest(&answer)),
            feedback,
        }
    }

    /// Reads a manifest. If the host wants to be left alone this does not wait for it, but says so.
    pub async fn probe_manifest(&self, at: &ManifestAt) -> Probed<FetchedManifest> {
        let request = self.manifest_request(Method::GET, at);
        let (answer, feedback) = self.transport.fetch_if_welcome(self, &request).await;
        Probed {
            found: answer.and_then(|answer| verified(at, answer)),
            feedback,
        }
    }

    /// Reads a small blob, such as an image configuration. If the host wants to be left alone this does not wait for it,
    /// but says so.
    pub async fn probe_blob(&self, digest: &Digest) -> Probed<Bytes> {
        let request = self.blob_request(Method::GET, digest);
        let (answer, feedback) = self.transport.fetch_if_welcome(self, &request).await;
        Probed {
            found: answer.and_then(|answer| blob::verified(digest, answer)),
            feedback,
        }
    }

    /// Asks for the size of a blob, in bytes. If the host wants to be left alone this does not wait for it, but says so.
    pub async fn probe_blob_size(&self, digest: &Digest) -> Probed<u64> {
        let request = self.blob_request(Method::HEAD, digest);
        let (answer, feedback) = self.transport.fetch_if_welcome(self, &request).await;
        Probed {
            found: answer.and_then(|answer| blob::said_size(digest, &answer)),
            feedback,
        }
    }
}
