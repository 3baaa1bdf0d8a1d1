//! One look at a source: has it moved, and if it has, the imports into the streams that follow it.

use std::sync::Arc;
use std::time::Duration;

use imagestream_api::defaults::ImportMode;
use imagestream_api::digest::Digest;
use imagestream_api::reference::ImageReference;
use imagestream_api::status;
use imagestream_api::stream::source::StreamKey;
use imagestream_follow::{Feedback, Quota};
use imagestream_import::Credentials;
use imagestream_import::check::{Check, CheckError, Checked, Named, Sighting};
use imagestream_registry::HostFeedback;
use imagestream_registry::sources::RegistryRules;
use tokio::time::Instant;

use super::bring::{How, bring, follower};
use super::followed::{Followed, Name, Recorded};
use super::settled::{FailureKind, Fixed, Followers, Settled};
use super::{host, lists};
use crate::controllers::Shared;

/// Longest check.
pub(super) const CHECK: Duration = Duration::from_secs(30);

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

/// What is to be done with a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// See whether it has moved.
    Ask,
    /// Import what it was seen to name.
    Fetch(Seen),
    /// Say that its host can't be reached, for this reason.
    Tell(String),
}

/// What a source was seen to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) sighting: Sighting,
    /// When.
    pub(super) at: Instant,
}

impl Seen {
    pub(super) fn now(sighting: Sighting) -> Self {
        let at = Instant::now();
        Self { sighting, at }
    }
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
    /// All requests.
    pub(super) requests: u32,
    /// Why the host could not be reached, if it could not.
    pub(super) cause: Option<String>,
}

impl Looked {
    /// By a mistake of ours: nobody knows how far it came. It is tried again, ever more rarely.
    pub(super) fn by_mistake(before: Settled) -> Self {
        Self {
            outcome: Outcome::Failed(FailureKind::Other),
            settled: before.unknown(),
            feedback: HostFeedback::default(),
            gets: 0,
            requests: 0,
            cause: None,
        }
    }
}

/// How a look ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing moved.
    Unchanged,
    /// The source names this now, which not all have recorded.
    Moved(Sighting),
    /// The source names this, which must be read to know whether all have recorded it.
    Unsure(Sighting),
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

/// What the registry said.
#[derive(Default)]
pub(super) struct Said {
    feedback: HostFeedback,
    gets: u32,
    requests: u32,
    cause: Option<String>,
}

impl Said {
    /// Takes in what was said by the way; returns what was found.
    pub(super) fn by<T>(&mut self, checked: Checked<T>) -> Result<T, CheckError> {
        self.gets += checked.gets;
        self.requests += checked.requests;
        if checked.requests > 0 || checked.feedback.is_refusal {
            self.feedback = checked.feedback;
        }
        checked.found
    }
}

/// The streams that follow a source.
pub(super) trait Following: Fn() -> Vec<StreamKey> + Send + Sync {}
impl<F: Fn() -> Vec<StreamKey> + Send + Sync> Following for F {}

impl Look {
    /// Does what is to be done. `followers` tells which streams follow the source, if that matters.
    pub(super) async fn work(mut self, work: Work, followers: impl Following) -> Looked {
        let mut said = Said::default();
        let outcome = match work {
            Work::Ask => self.ask(&followers, &mut said).await,
            Work::Fetch(seen) => Box::pin(self.fetch(seen, &followers, &mut said)).await,
            Work::Tell(cause) => self.tell(&cause, &followers).await,
        };
        Looked {
            outcome,
            settled: self.settled,
            feedback: said.feedback,
            gets: said.gets,
            requests: said.requests,
            cause: said.cause,
        }
    }

    /// Asks whether the source has moved.
    async fn ask(&mut self, followers: &impl Following, said: &mut Said) -> Outcome {
        let engine = &self.shared.context.engine;
        let found = said.by(engine.check(&self.check(CHECK)).await);
        let sighting = match found {
            Ok(Sighting { digest, .. }) if self.settled.is_at(&digest) && self.is_stored(&digest) => {
                return Outcome::Unchanged;
            }
            Ok(sighting) => sighting,
            Err(error) => return self.note(followers, &error, said).await,
        };
        let digest = sighting.digest.clone();
        let keys = followers();
        let mut behind = self.behind(&keys, &digest).await;
        if behind.iter().any(|tag| tag.recorded.failure.is_some()) {
            // What they had before the failure is what the source names: nothing is to be read.
            let is_confirmed =
                |tag: &Followed| self.is_mine(tag) && self.names_what_is_recorded(tag, &digest);
            bring(&self.shared, &keys, is_confirmed, How::Confirm).await;
            behind = self.behind(&keys, &digest).await;
        }
        if behind.is_empty() {
            let member = self.settled.member_of(&digest).unwrap_or((&digest).into());
            let keeps_lists = self.settled.keeps_lists;
            self.settled = Settled::current((&digest).into(), member).keeping_lists(keeps_lists);
            return Outcome::Unchanged;
        }
        // A tag that records an image by one member of a list that was not read yet may well be where it should be.
        let may_be_current = |tag: &Followed| {
            let Recorded { image, failure } = &tag.recorded;
            failure.is_none() && !image.is_empty() && self.wanted_of(tag, &digest).is_none()
        };
        let has_moved = self.settled.manifest.is_some() && self.settled.member_of(&digest).is_none();
        if !has_moved && behind.iter().all(may_be_current) {
            Outcome::Unsure(sighting)
        } else {
            Outcome::Moved(sighting)
        }
    }

    /// Has those who follow the source know that its host can't be reached.
    ///
    /// All tags of their streams that come from that host are told at once: that is one write for each stream.
    async fn tell(&mut self, cause: &str, followers: &impl Following) -> Outcome {
        let kind = FailureKind::Unreachable;
        let outcome = Outcome::Failed(kind);
        if self.settled.followers == Followers::Failed(kind) {
            return outcome;
        }
        let Some(down) = self.only_host(&self.reference) else {
            // It may be found at a mirror, which only asking can tell.
            return outcome;
        };
        let comes_from_there = |tag: &Followed| self.only_host(&tag.reference).as_ref() == Some(&down);
        let does_not_know = |tag: &Followed| !tag.recorded.says(kind) && comes_from_there(tag);
        let why = |tag: &Followed| {
            let name = tag
                .reference
                .normalised()
                .unwrap_or_else(|_| tag.reference.exact());
            status::internal_error(&format!("{name}: registry {down} does not answer: {cause}"))
        };
        let told = bring(&self.shared, &followers(), does_not_know, How::Fail(&why)).await;
        if told.is_complete {
            self.settled = self.settled.failed(kind);
        }
        outcome
    }

    /// Has those who follow the source know why it can't be read.
    pub(super) async fn note(
        &mut self,
        followers: &impl Following,
        error: &CheckError,
        said: &mut Said,
    ) -> Outcome {
        if let CheckError::Unreachable { cause, .. } = error {
            said.cause = Some(cause.clone());
        }
        let (Some(kind), Some(status)) = (FailureKind::of(error), error.status(&self.reference)) else {
            return Outcome::RateLimited;
        };
        if self.settled.followers != Followers::Failed(kind) {
            let does_not_know = |tag: &Followed| self.is_mine(tag) && !tag.recorded.says(kind);
            let why = |_: &Followed| status.clone();
            let noted = bring(&self.shared, &followers(), does_not_know, How::Fail(&why)).await;
            self.settled = match noted.is_complete {
                true => self.settled.failed(kind),
                false => self.settled.unknown(),
            };
        }
        Outcome::Failed(kind)
    }

    pub(super) fn check(&self, patience: Duration) -> Check<'_> {
        Check {
            reference: &self.reference,
            insecure: self.insecure,
            rules: &self.rules,
            credentials: &self.credentials,
            deadline: Instant::now() + patience,
        }
    }

    /// Whether a tag follows this source.
    pub(super) fn is_mine(&self, tag: &Followed) -> bool {
        tag.name == self.name && tag.insecure == self.insecure
    }

    /// The host that a reference is asked for, if there is only one.
    fn only_host(&self, reference: &ImageReference) -> Option<String> {
        let candidates = super::candidates(reference, &self.rules);
        (candidates.len() < 2).then(|| host(reference, &self.rules))
    }

    /// The image that a tag should have recorded of this manifest, if that is known without reading it.
    fn wanted_of(&self, tag: &Followed, digest: &Digest) -> Option<Fixed> {
        match tag.mode {
            ImportMode::PreserveOriginal => Some(digest.into()),
            ImportMode::Legacy if tag.platform == *self.shared.context.engine.platform() => {
                self.settled.member_of(digest)
            }
            ImportMode::Legacy => None,
        }
    }

    fn names_what_is_recorded(&self, tag: &Followed, digest: &Digest) -> bool {
        let recorded = &tag.recorded.image;
        *recorded == digest.as_str() || self.wanted_of(tag, digest) == Some(Fixed::of(recorded))
    }

    /// Whether the images are stored that those who are where the source is have recorded.
    fn is_stored(&self, digest: &Digest) -> bool {
        let images = &self.shared.context.images;
        self.settled.is_stored(digest, |name| images.contains("", name))
    }

    /// The tags that fail, or have not recorded this manifest. Which member of a list they should have may not be known
    /// yet.
    async fn behind(&mut self, followers: &[StreamKey], digest: &Digest) -> Vec<Followed> {
        let (mut behind, mut keeps_lists) = (Vec::new(), false);
        for key in followers {
            let Some((_, tags)) = follower(&self.shared, key).await else {
                continue;
            };
            for tag in tags.into_iter().filter(|tag| self.is_mine(tag)) {
                keeps_lists |= tag.mode == ImportMode::PreserveOriginal;
                if tag.recorded.failure.is_some() || !self.names_what_is_recorded(&tag, digest) {
                    behind.push(tag);
                }
            }
        }
        self.settled.keeps_lists = keeps_lists;
        behind
    }

    /// Remembers what the source names, also after a restart if it is a list.
    pub(super) async fn remember(&mut self, named: &Named) {
        let context = &self.shared.context;
        let platform = context.engine.platform();
        let member = named.recorded(ImportMode::Legacy, platform);
        let Settled {
            manifest: before,
            keeps_lists,
            ..
        } = self.settled;
        self.settled = Settled::current((&named.digest).into(), member.into()).keeping_lists(keeps_lists);
        let was_list = before.is_some_and(|before| before.digest != before.member);
        let is_list = *member != named.digest;
        if self.settled.manifest == before || !(was_list || is_list) {
            return;
        }
        if let Err(error) = lists::keep(&context.store, &self.name, &named.digest, member, platform).await {
            // After a restart it is read once more.
            tracing::warn!(image = self.reference.exact(), %error, "the list that was read can't be noted");
        }
    }
}
