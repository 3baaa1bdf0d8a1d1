//! What one reference names, read once for all who import it: in the same way, with the same credentials.

use std::sync::Arc;

use imagestream_api::defaults::ImportMode;
use imagestream_api::digest::Digest;
use imagestream_api::reference::ImageReference;
use imagestream_api::types::{ImageImportSpec, ImageImportStatus, ImageStream, ImageStreamImportSpec, Time};
use imagestream_registry::FetchedManifest;
use tokio::time::Instant;

use crate::check::{Check, CheckError, Checked, Named};
use crate::courtesy::Courtesy;
use crate::engine::{Engine, Request, is_wrong_password, settled};
use crate::plan::{self, Item, Planned, normalised};
use crate::progress::Progress;
use crate::reader::{Reader, Source, held, parse};

/// Most bytes of copies of one result that are held at the same time. Several sources may move at once.
const MAX_COPIES_BYTES: usize = 32 << 20;

/// How many copies of a result may be held at the same time: one at least.
#[must_use]
pub fn most_copies(result: &ImageImportStatus) -> usize {
    let bytes = held(result.image.iter().chain(&result.manifests));
    (MAX_COPIES_BYTES / bytes.max(1)).max(1)
}

/// The manifest that a reference names, and where it was read.
#[derive(Debug)]
pub struct Reading<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) check: &'a Check<'a>,
    /// Where it was found.
    pub(crate) candidate: ImageReference,
    /// Whether the secrets counted.
    pub(crate) with_secrets: bool,
    pub(crate) manifest: Arc<FetchedManifest>,
    pub(crate) named: Named,
}

/// What an import needs of a manifest. The result is the same for all who need the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    item: Item,
    /// The member of a list that is imported for the whole, if one is.
    member: Option<Digest>,
}

impl Reading<'_> {
    /// What was read.
    #[must_use]
    pub fn named(&self) -> &Named {
        &self.named
    }

    /// What an import of these images, defaulted, into this stream needs of the manifest, in their order; nothing where
    /// they name another one, or are refused before anybody is asked.
    #[must_use]
    pub fn wanted(&self, specs: &[ImageImportSpec], stream: &ImageStream) -> Vec<Option<Wanted>> {
        let (rules, own) = (self.check.rules, self.engine.platform());
        let planned = plan::images(specs, Some(stream), rules, own);
        planned
            .into_iter()
            .map(|planned| self.wanted_of(planned))
            .collect()
    }

    fn wanted_of(&self, planned: Planned) -> Option<Wanted> {
        let Planned::Read(mut item) = planned else {
            return None;
        };
        let name = item.reference.normalised().ok()?;
        if self.check.reference.normalised().ok()? != name || item.insecure != self.insecure() {
            return None;
        }
        let preferred = item.preferred.take();
        let member = match item.mode {
            ImportMode::Legacy => {
                let preferred = preferred.as_ref().unwrap_or(self.engine.platform());
                self.named.member(preferred).cloned()
            }
            ImportMode::PreserveOriginal => None,
        };
        Some(Wanted { item, member })
    }

    fn insecure(&self) -> bool {
        self.check.insecure || self.check.rules.insecure(self.check.reference)
    }

    /// Reads what is missing of it: the result of an import. It is the same for all who want the same, who then need not
    /// ask. [`CheckError::RateLimited`] is the only error: all else that is wrong is the result.
    pub async fn read(
        &self,
        wanted: &Wanted,
        now: &Time,
        deadline: Instant,
    ) -> Checked<Box<ImageImportStatus>> {
        let courtesy = Courtesy::default();
        let mut result = self
            .read_once(wanted, now, deadline, &courtesy, self.with_secrets)
            .await;
        // Wrong secrets must not keep anyone from what is public: the manifest may have been shown without a look at them.
        if self.with_secrets && is_wrong_password(&result.status) {
            let second = self.read_once(wanted, now, deadline, &courtesy, false).await;
            if second.status.reason.as_deref() != Some("Unauthorized") {
                result = second;
            }
        }
        let said = courtesy.said();
        let is_refused = said.feedback.is_refusal && !imagestream_api::status::is_success(&result.status);
        Checked {
            found: match is_refused {
                true => Err(CheckError::RateLimited),
                false => Ok(Box::new(result)),
            },
            host: self.candidate.contacted_host().to_owned(),
            feedback: said.feedback,
            gets: said.gets,
            requests: said.requests,
        }
    }

    async fn read_once(
        &self,
        wanted: &Wanted,
        now: &Time,
        deadline: Instant,
        courtesy: &Courtesy,
        with_secrets: bool,
    ) -> ImageImportStatus {
        let Check {
            rules, credentials, ..
        } = *self.check;
        let request = Request {
            spec: &ImageStreamImportSpec::default(),
            stream: None,
            rules,
            credentials,
            now,
            deadline,
            patience: deadline,
            progress: &Progress::default(),
        };
        let (client, cache, platform) = (self.engine.client(), &self.engine.cache, self.engine.platform());
        let reader = Reader::new(client, cache, &request, platform, with_secrets).courteous(courtesy);
        let outcome = async {
            let name = normalised(&self.candidate)?;
            let session = reader.session(&self.candidate, self.insecure()).await;
            let session = session.map_err(|error| error.of_image(&name))?;
            let source = Source { session, name };
            let parsed = parse(&source, &self.manifest)?;
            let member = wanted.member.as_ref();
            let image = reader.image_of(&wanted.item, &source, &self.manifest, parsed, member);
            Ok(Arc::new(image.await?))
        };
        settled(wanted.item.tag(), Box::pin(outcome).await)
    }
}

#[cfg(test)]
mod tests {
    use imagestream_api::types::Image;

    use super::*;

    #[test]
    fn the_more_a_result_holds_the_fewer_copies_of_it_there_may_be() {
        let of = |bytes: usize, members: usize| {
            let image = Image {
                docker_image_manifest: "m".repeat(bytes),
                ..Image::default()
            };
            most_copies(&ImageImportStatus {
                manifests: vec![image.clone(); members],
                image: Some(image),
                ..ImageImportStatus::default()
            })
        };
        assert!(of(20 << 10, 0) > 1_000);
        assert_eq!(of(4 << 20, 0), 7);
        assert_eq!(of(1 << 20, 9), 3);
        assert_eq!(of(20 << 20, 2), 1, "one may be as large as it is");
        assert!(most_copies(&ImageImportStatus::default()) > 1_000_000);
    }
}
