//! Runs an import: all items at once, each with a status of its own.

use std::fmt;
use std::sync::Arc;

use imagestream_api::status;
use imagestream_api::types::{
    ImageImportStatus, ImageStream, ImageStreamImportSpec, ImageStreamImportStatus, Status, Time,
};
use imagestream_registry::keychain::{Keychain, Match};
use imagestream_registry::local_config::LocalConfig;
use imagestream_registry::sources::RegistryRules;
use imagestream_registry::{Client, Credential};
use tokio::time::Instant;

use crate::cache::ContentCache;
use crate::plan::{self, Planned};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::reader::{Outcome, Reader, in_order};
use crate::repository;

/// Runs imports. Made once per process: it holds the registry client and the content that was fetched before.
#[derive(Debug, Clone)]
pub struct Engine {
    client: Client,
    pub(crate) cache: ContentCache,
    pub(crate) options: EngineOptions,
}

/// What is the same for all imports.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Most tags that are read of one repository; all if absent.
    pub max_images_per_repository: Option<usize>,
    /// Which member of a manifest list is read if only one is wanted.
    pub platform: Platform,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            max_images_per_repository: Some(50),
            platform: Platform::own(),
        }
    }
}

/// Who asks the registries.
pub struct Credentials {
    /// The pull secrets of the namespace, or why they can't be read.
    pub secrets: Result<Keychain, String>,
    /// What the host itself is configured with; asked after the secrets.
    pub host: Option<Arc<LocalConfig>>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            secrets: Ok(Keychain::default()),
            host: None,
        }
    }
}

impl fmt::Debug for Credentials {
    /// Shows no credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// The first credential that fits a defaulted reference, secrets first if they count. A secret that fits is the one
    /// that counts, also if it has none.
    pub(crate) async fn find(
        &self,
        reference: &str,
        with_secrets: bool,
    ) -> Result<Option<Credential>, String> {
        if with_secrets {
            let secrets = self.secrets.as_ref().map_err(Clone::clone)?;
            match secrets.lookup(reference) {
                Some(Match::Credential(credential)) => return Ok(Some(credential)),
                Some(Match::Nobody) => return Ok(None),
                None => {}
            }
        }
        match &self.host {
            Some(host) => host
                .credential(reference)
                .await
                .map_err(|error| error.to_string()),
            None => Ok(None),
        }
    }
}

/// One import: what to read, and under which circumstances.
#[derive(Debug)]
pub struct Request<'a> {
    /// What to read; defaulted and valid.
    pub spec: &'a ImageStreamImportSpec,
    /// The stream of the same name, if it exists: its tags may prefer a platform.
    pub stream: Option<&'a ImageStream>,
    /// Mirrors, blocked and insecure registries.
    pub rules: &'a RegistryRules,
    /// Who asks.
    pub credentials: &'a Credentials,
    /// The one time of everything that this import records.
    pub now: &'a Time,
    /// When every item must be settled.
    pub deadline: Instant,
    /// Until when registries are waited for that want to be left alone. Items that would have to wait longer fail with
    /// what their registry said.
    pub patience: Instant,
    /// Told how far the import is.
    pub progress: &'a Progress,
}

impl Engine {
    /// An engine that reads through `client`.
    pub fn new(client: Client, options: EngineOptions) -> Self {
        Self {
            client,
            cache: ContentCache::default(),
            options,
        }
    }

    /// The client that registries are read with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Reads everything that is asked for. Never fails as a whole: each item has a status.
    ///
    /// Images hold their manifests and configurations; [`crate::apply::clear_manifests`] removes what was not asked
    /// for. `status.import` is left to [`crate::apply::apply`].
    pub async fn run(&self, request: &Request<'_>) -> ImageStreamImportStatus {
        let first = self.run_once(request, true).await;
        if !first.images.iter().any(|image| is_wrong_password(&image.status)) {
            return first;
        }
        if request.credentials.secrets.as_ref().is_ok_and(Keychain::is_empty) {
            return first;
        }
        // Wrong secrets must not keep anyone from what is public.
        let mut second = self.run_once(request, false).await;
        for (image, first) in second.images.iter_mut().zip(&first.images) {
            if image.status.reason.as_deref() == Some("Unauthorized") {
                image.status = first.status.clone();
                image.image = None;
            }
        }
        second
    }

    async fn run_once(&self, request: &Request<'_>, with_secrets: bool) -> ImageStreamImportStatus {
        let platform = &self.options.platform;
        let reader = Reader::new(&self.client, &self.cache, request, platform, with_secrets);
        let planned = plan::images(&request.spec.images, request.stream, request.rules, platform);
        request.progress.add_planned(planned.len());
        let (planned, reader) = (&planned, &reader);
        let images = (0..planned.len()).map(|index| async move {
            let status = match &planned[index] {
                Planned::Settled(status) => ImageImportStatus {
                    status: (**status).clone(),
                    ..ImageImportStatus::default()
                },
                Planned::Read(item) => settled(item.tag(), reader.image(item).await),
            };
            request.progress.add_done();
            (index, status)
        });
        let images = in_order(images);
        let repository = async {
            let limit = self.options.max_images_per_repository;
            match &request.spec.repository {
                Some(spec) => Some(repository::read(spec, planned, limit, reader).await),
                None => None,
            }
        };
        let (images, repository) = tokio::join!(images, repository);
        ImageStreamImportStatus {
            import: None,
            repository,
            images,
        }
    }
}

/// Whether it failed because the password is wrong, not because it lets its user see too little.
pub(crate) fn is_wrong_password(status: &Status) -> bool {
    let message = status.message.as_deref().unwrap_or_default().to_lowercase();
    status.reason.as_deref() == Some("Unauthorized") && message.contains("username or password")
}

/// What is answered for an item.
pub(crate) fn settled(tag: &str, outcome: Outcome) -> ImageImportStatus {
    let mut settled = ImageImportStatus {
        tag: tag.to_owned(),
        ..ImageImportStatus::default()
    };
    match outcome {
        Ok(read) => {
            settled.status = status::success();
            settled.image = Some(read.image.clone());
            settled.manifests.clone_from(&read.members);
        }
        Err(failure) => settled.status = failure.into_status(),
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server runs imports on any of its threads.
    #[test]
    fn an_import_may_move_between_threads() {
        fn movable<T: Send>(_: T) {}
        fn run<'a>(engine: &'a Engine, request: &'a Request<'a>) {
            movable(engine.run(request));
        }
        let _ = run;
    }
}
