//! One look at a source: has it moved, and if it has, the imports into the streams that follow it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imagestream_api::defaults::ImportMode;
use imagestream_api::digest::Digest;
use imagestream_api::reference::ImageReference;
use imagestream_api::status;
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::{ImageStream, ImageStreamImport, Status};
use imagestream_follow::{Feedback, Quota};
use imagestream_import::check::{Check, CheckError, Named};
use imagestream_import::{Credentials, Platform};
use imagestream_registry::HostFeedback;
use imagestream_registry::sources::RegistryRules;
use tokio::time::Instant;

use super::followed::{Followed, Name, followed, import_of};
use super::settled::{FailureKind, Fixed, Settled};
use crate::controllers::{Origin, Shared};
use crate::image::stream_write::typed;

/// Longest check.
const CHECK: Duration = Duration::from_secs(30);
/// Longest reading of manifests for imports.
const FETCH: Duration = Duration::from_secs(120);
/// How often an import is tried again that found its stream changed.
const ATTEMPTS: usize = 5;

/// A source to look at, and what is needed for it.
pub(super) struct Look {
    pub(super) shared: Arc<Shared>,
    pub(super) reference: ImageReference,
    /// The same in the form that registries are asked in.
    pub(super) name: Name,
    pub(super) insecure: bool,
    pub(super) credentials: Arc<Credentials>,
    pub(super) rules: Arc<RegistryRules>,
    /// What is remembered of it.
    pub(super) settled: Settled,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) outcome: Outcome,
    /// What to remember.
    pub(super) settled: Settled,
    /// What the registry said of how often it may be asked.
    pub(super) feedback: HostFeedback,
    /// Manifests that were read.
    pub(super) gets: u32,
    /// Whether content was to be read, and not only whether it has moved.
    pub(super) is_fetch: bool,
}

/// How a look ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing moved.
    Unchanged,
    /// The source names this now, which not all have recorded.
    Moved(Digest),
    /// Tags were imported.
    Imported {
        /// How many.
        tags: usize,
    },
    /// The source can't be read.
    Failed(FailureKind),
    /// The registry wants to be left alone. Nothing is recorded.
    RateLimited,
}

/// What a registry said, for the scheduler.
pub(super) fn told(feedback: &HostFeedback) -> Feedback {
    Feedback {
        refused: feedback.is_refusal,
        retry_after: feedback.retry_after,
        quota: feedback.quota.map(|quota| Quota {
            limit: quota.limit,
            remaining: quota.remaining,
            window: quota.window,
            reset: quota.reset,
        }),
    }
}

/// What the registry said while content was read.
#[derive(Default)]
struct Said {
    feedback: HostFeedback,
    gets: u32,
}

/// Tags of one stream that follow the source.
struct Follower {
    stream: ImageStream,
    tags: Vec<Followed>,
}

impl Look {
    /// Asks whether the source has moved. `followers` tells which streams follow it, if that matters.
    pub(super) async fn ask(mut self, followers: impl Fn() -> Vec<StreamKey> + Send + Sync) -> Looked {
        let engine = &self.shared.context.engine;
        let checked = engine.check(&self.check(CHECK)).await;
        let outcome = match checked.found {
            Ok(digest) if self.settled.is_at(&digest) => Outcome::Unchanged,
            Ok(digest) if self.behind(&followers(), &digest).is_empty() => {
                self.settle(&digest, &digest);
                Outcome::Unchanged
            }
            Ok(digest) => Outcome::Moved(digest),
            Err(error) => self.note(&followers, &error).await,
        };
        Looked {
            outcome,
            settled: self.settled,
            feedback: checked.feedback,
            gets: checked.gets,
            is_fetch: false,
        }
    }

    /// Reads what the source was `seen` to name, and imports it into all tags that are not there.
    pub(super) async fn fetch(
        mut self,
        seen: Digest,
        followers: impl Fn() -> Vec<StreamKey> + Send + Sync,
    ) -> Looked {
        let mut said = Said::default();
        // Which member of a list a tag should have is known only when the list was read.
        let named = self.read(&seen, &[], &mut said).await;
        let outcome = self.act(&followers, named, &mut said).await;
        Looked {
            outcome,
            settled: self.settled,
            feedback: said.feedback,
            gets: said.gets,
            is_fetch: true,
        }
    }

    fn check(&self, patience: Duration) -> Check<'_> {
        Check {
            reference: &self.reference,
            insecure: self.insecure,
            rules: &self.rules,
            credentials: &self.credentials,
            deadline: Instant::now() + patience,
        }
    }

    /// The tags that have not recorded this manifest. Which member of a list they should have is not known yet.
    fn behind(&self, followers: &[StreamKey], digest: &Digest) -> Vec<Followed> {
        let tags = followers.iter().filter_map(|key| self.follower(key));
        tags.flat_map(|follower| follower.tags)
            .filter(|tag| tag.recorded.failure.is_some() || tag.recorded.image != digest.as_str())
            .collect()
    }

    /// Reads the manifests that imports will need.
    async fn read(
        &self,
        digest: &Digest,
        wanted: &[(ImportMode, Platform)],
        said: &mut Said,
    ) -> Result<Named, CheckError> {
        let engine = &self.shared.context.engine;
        let fetched = engine.fetch(&self.check(FETCH), digest, wanted).await;
        if fetched.gets > 0 {
            said.gets += fetched.gets;
            said.feedback = fetched.feedback;
        }
        fetched.found
    }

    /// Imports into all tags that are not where they should be.
    async fn act(
        &mut self,
        followers: &(impl Fn() -> Vec<StreamKey> + Send + Sync),
        named: Result<Named, CheckError>,
        said: &mut Said,
    ) -> Outcome {
        let named = match named {
            Ok(named) => named,
            Err(error) => return self.note(followers, &error).await,
        };
        let is_behind = |tag: &Followed, named: &Named| {
            let wanted = named.recorded(tag.mode, &tag.platform);
            tag.recorded.failure.is_some() || tag.recorded.image != wanted.as_str()
        };
        let keys = followers();
        let mut behind = self.behind(&keys, &named.digest);
        behind.retain(|tag| is_behind(tag, &named));
        let named = match self.read(&named.digest, &wanted(&behind), said).await {
            Ok(named) => named,
            Err(error) => return self.note(followers, &error).await,
        };
        let imported = self.import_into(&keys, |tag| is_behind(tag, &named)).await;
        if imported.is_complete {
            let context = &self.shared.context;
            let recorded = named.recorded(context.import_mode, context.engine.platform());
            self.settle(&named.digest, recorded);
        } else {
            self.settled = Settled::Nothing;
        }
        match imported.tags {
            0 => Outcome::Unchanged,
            tags => Outcome::Imported { tags },
        }
    }

    /// Has those who follow the source know why it can't be read.
    async fn note(
        &mut self,
        followers: &(impl Fn() -> Vec<StreamKey> + Send + Sync),
        error: &CheckError,
    ) -> Outcome {
        let Some(kind) = FailureKind::of(error) else {
            return Outcome::RateLimited;
        };
        if self.settled != Settled::Failed(kind) {
            let does_not_know = |tag: &Followed| {
                let failure = tag.recorded.failure.as_deref();
                !failure.is_some_and(|reason| kind.is_recorded_as(reason))
            };
            self.import_into(&followers(), does_not_know).await;
            // Whatever came of it is in the streams; what is not will be noticed when the source can be read again.
            self.settled = Settled::Failed(kind);
        }
        Outcome::Failed(kind)
    }

    fn settle(&mut self, named: &Digest, recorded: &Digest) {
        self.settled = Settled::At {
            named: named.into(),
            recorded: Fixed::from(recorded),
        };
    }

    /// Imports into the chosen tags, one stream after the other: what one reads the next finds read.
    async fn import_into(&self, followers: &[StreamKey], is_chosen: impl Fn(&Followed) -> bool) -> Imported {
        let mut all = Imported {
            tags: 0,
            is_complete: true,
        };
        for key in followers {
            match self.import(key, &is_chosen).await {
                Ok(imported) => {
                    all.tags += imported.tags;
                    all.is_complete &= imported.is_complete;
                }
                Err(status) => {
                    all.is_complete = false;
                    let StreamKey { namespace, name } = key;
                    let why = status.message.unwrap_or_default();
                    tracing::warn!(%namespace, %name, %why, "a stream can't be brought to where its source is");
                }
            }
        }
        all
    }

    async fn import(
        &self,
        key: &StreamKey,
        is_chosen: &impl Fn(&Followed) -> bool,
    ) -> Result<Imported, Box<Status>> {
        let mut attempts = 0;
        loop {
            let tags: Vec<String>;
            let import = match self.follower(key) {
                Some(follower) => {
                    let chosen = follower.tags.into_iter().filter(is_chosen);
                    tags = chosen.map(|tag| tag.tag).collect();
                    import_of(&follower.stream, &tags)
                }
                None => return Ok(Imported::nothing()),
            };
            if import.spec.images.is_empty() {
                return Ok(Imported::nothing());
            }
            attempts += 1;
            match self.shared.importer.import(import, Origin::Scheduled).await {
                Ok(import) => return Ok(Imported::of(&import)),
                Err(status) if status.code == Some(409) && attempts < ATTEMPTS => {
                    self.shared.context.streams.ready().await?;
                }
                // It is gone.
                Err(status) if status.code == Some(404) => return Ok(Imported::nothing()),
                Err(status) => return Err(status),
            }
        }
    }

    /// A stream as it is now, with those of its tags that follow the source.
    fn follower(&self, key: &StreamKey) -> Option<Follower> {
        let context = &self.shared.context;
        let stored = context.streams.in_memory(&key.namespace, &key.name);
        let stream = stored.and_then(|stored| stored.map(|stored| typed(stored.object)).transpose());
        let stream: ImageStream = match stream {
            Ok(stream) => stream?,
            Err(status) => {
                let why = status.message.unwrap_or_default();
                tracing::error!(namespace = key.namespace, name = key.name, %why, "a stored stream can't be read");
                return None;
            }
        };
        let mut tags = followed(&stream, context.import_mode, context.engine.platform());
        tags.retain(|tag| tag.name == self.name && tag.insecure == self.insecure);
        Some(Follower { stream, tags })
    }
}

/// What imports came to.
struct Imported {
    /// Tags that were imported.
    tags: usize,
    /// Whether all that were to be are.
    is_complete: bool,
}

impl Imported {
    fn nothing() -> Self {
        Self {
            tags: 0,
            is_complete: true,
        }
    }

    fn of(import: &ImageStreamImport) -> Self {
        let images = &import.status.images;
        let succeeded = images.iter().filter(|image| status::is_success(&image.status));
        let tags = succeeded.count();
        Self {
            tags,
            is_complete: tags == images.len(),
        }
    }
}

/// In which ways the tags want to have the image, each once.
fn wanted(tags: &[Followed]) -> Vec<(ImportMode, Platform)> {
    let mut wanted = BTreeMap::new();
    for tag in tags {
        let preserves = tag.mode == ImportMode::PreserveOriginal;
        wanted.insert(
            (preserves, tag.platform.to_string()),
            (tag.mode, tag.platform.clone()),
        );
    }
    wanted.into_values().collect()
}
