//! Has an image moved? Answered with one `HEAD` as a rule, and with content only when it has.
//!
//! A check never waits for a registry that wants to be left alone: whoever plans checks decides when to come back.

use std::sync::Arc;

use imagestream_api::defaults::ImportMode;
use imagestream_api::digest::Digest;
use imagestream_api::reference::ImageReference;
use imagestream_api::status;
use imagestream_api::types::Status;
use imagestream_registry::distribution::{self, IndexEntry, Manifest};
use imagestream_registry::sources::{PullBy, RegistryRules};
use imagestream_registry::{Access, Error, FetchedManifest, HostFeedback, ManifestAt, Probed, Repository};
use tokio::time::{Instant, timeout_at};

use crate::cache::Origin;
use crate::engine::{Credentials, Engine};
use crate::plan;
use crate::platform::{self, Platform};
use crate::reading::Reading;

/// The image that is asked about, and who asks.
#[derive(Debug)]
pub struct Check<'a> {
    /// The image, by digest if it has one, else by its tag, which is set then.
    pub reference: &'a ImageReference,
    /// Whether its registry may be asked without verified TLS.
    pub insecure: bool,
    /// Mirrors, blocked and insecure registries.
    pub rules: &'a RegistryRules,
    /// Who asks.
    pub credentials: &'a Credentials,
    /// When the answer must be there.
    pub deadline: Instant,
}

/// What came of a check.
#[derive(Debug)]
pub struct Checked<T> {
    /// What was found, or why not.
    pub found: Result<T, CheckError>,
    /// The host that said so; empty if none was asked.
    pub host: String,
    /// What it said of how often it may be asked.
    pub feedback: HostFeedback,
    /// Manifests that were asked for, beside whether they are there.
    pub gets: u32,
    /// Requests, those for manifests among them.
    pub requests: u32,
}

/// Why it is not known where an image is.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// The administrator lets nobody import from there.
    #[error("its registry is blocked")]
    Blocked,
    /// The registry wants to be left alone for now. Nothing is wrong with the image.
    #[error("its registry is asked too often")]
    RateLimited,
    /// There is no such image.
    #[error("there is no such image")]
    NotFound,
    /// The registry does not let this caller see it.
    #[error("its registry refuses access: {0}")]
    Unauthorized(String),
    /// The registry does not answer, or only that it can't.
    #[error("{text}")]
    Unreachable {
        /// What went wrong.
        text: String,
        /// The same without what was asked for, so that it may be told to who follows something else there.
        cause: String,
    },
    /// Anything else: an answer that can't be read, secrets that can't be read.
    #[error("{0}")]
    Failed(String),
}

/// A manifest that an image's reference names, as far as it decides what is imported.
#[derive(Debug, Clone)]
pub struct Named {
    /// The digest of the manifest itself.
    pub digest: Digest,
    members: Vec<IndexEntry>,
}

impl Named {
    /// The digest of the image that an import in this mode records.
    #[must_use]
    pub fn recorded(&self, mode: ImportMode, preferred: &Platform) -> &Digest {
        match mode {
            ImportMode::PreserveOriginal => &self.digest,
            ImportMode::Legacy => self.member(preferred).unwrap_or(&self.digest),
        }
    }

    /// The member that is imported for the whole, if it is a list.
    pub(crate) fn member(&self, preferred: &Platform) -> Option<&Digest> {
        platform::choose(&self.members, preferred).map(|member| &member.digest)
    }
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The digest of the manifest.
    pub digest: Digest,
    from: From,
}

impl Engine {
    /// The platform whose images are imported unless a tag prefers another.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.options.platform
    }

    /// The digest of the manifest that an image's reference names now: with one `HEAD`, or a `GET` where the registry
    /// answers that without a digest.
    pub async fn check(&self, check: &Check<'_>) -> Checked<Sighting> {
        let asked = self.ask(check, Question::Digest).await;
        asked.map(|(answered, from)| Sighting {
            digest: answered.named.digest,
            from,
        })
    }

    /// Reads the manifest that an image's reference names now, with one `GET`.
    pub async fn name(&self, check: &Check<'_>) -> Checked<Named> {
        let asked = self.ask(check, Question::Manifest).await;
        asked.map(|(answered, _)| answered.named)
    }

    /// Reads the manifest that an image's reference names now, with one `GET` unless it is known to be `seen`: what a
    /// check of these credentials has found a moment ago. It is looked for where it was seen first.
    pub async fn read<'a>(&'a self, check: &'a Check<'a>, seen: &Sighting) -> Checked<Reading<'a>> {
        let asked = self.ask(check, Question::Seen(seen)).await;
        asked.and_then(|(answered, from)| match answered.manifest {
            Some(manifest) => Ok(Reading {
                engine: self,
                check,
                candidate: from.candidate,
                with_secrets: from.with_secrets,
                manifest,
                named: answered.named,
            }),
            None => Err(CheckError::Failed("its manifest was not shown".into())),
        })
    }

    /// Puts a question to one source.
    async fn put(&self, source: &CheckedSource, question: Question<'_>) -> Answer {
        match question {
            Question::Digest => self.digest_of(source).await,
            Question::Manifest => self.manifest_of(source).await,
            Question::Seen(seen) => match self.known(source, &seen.digest) {
                Some(manifest) => {
                    let parsed = distribution::parse(&manifest.media_type, &manifest.body).ok();
                    Answer {
                        found: Ok(Answered::of(manifest, parsed)),
                        feedback: HostFeedback::default(),
                        gets: 0,
                        requests: 0,
                    }
                }
                None => self.manifest_of(source).await,
            },
        }
    }

    async fn digest_of(&self, source: &CheckedSource) -> Answer {
        let Probed { found, feedback } = source.repository.probe_digest(&source.at).await;
        let found = match found {
            Ok(Some(digest)) => Ok(Answered {
                named: Named {
                    digest,
                    members: Vec::new(),
                },
                manifest: None,
            }),
            Err(error) if !lacks_head(&error) => Err(error),
            // Some have no `HEAD`, or don't say the digest with it.
            Ok(None) | Err(_) => {
                let answer = self.manifest_of(source).await;
                let requests = answer.requests + 1;
                return Answer { requests, ..answer };
            }
        };
        Answer {
            found,
            feedback,
            gets: 0,
            requests: 1,
        }
    }

    /// The manifest that the source is known to name.
    fn known(&self, source: &CheckedSource, seen: &Digest) -> Option<Arc<FetchedManifest>> {
        let manifest = match &source.at {
            ManifestAt::Tag(tag) => self.cache.tagged(&source.origin, tag),
            ManifestAt::Digest(digest) => self.cache.manifest(&source.origin, digest),
        };
        manifest.filter(|manifest| manifest.digest == *seen)
    }

    async fn manifest_of(&self, source: &CheckedSource) -> Answer {
        let Probed { found, feedback } = source.repository.probe_manifest(&source.at).await;
        let found = found.map(|manifest| {
            let manifest = Arc::new(manifest);
            let parsed = distribution::parse(&manifest.media_type, &manifest.body).ok();
            // What can't be read is not kept: its registry may yet say what it is.
            if parsed.is_some() {
                let tag = match &source.at {
                    ManifestAt::Tag(tag) => Some(tag.as_str()),
                    ManifestAt::Digest(_) => None,
                };
                self.cache.keep_manifest(&source.origin, tag, &manifest);
            }
            Answered::of(manifest, parsed)
        });
        Answer {
            found,
            feedback,
            gets: 1,
            requests: 1,
        }
    }

    /// Asks the sources of an image until one answers; with the namespace's secrets, and without them if these are
    /// wrong.
    async fn ask(&self, check: &Check<'_>, question: Question<'_>) -> Checked<(Answered, From)> {
        let mut last = Checked {
            found: Err(CheckError::Failed("it has no source that may be asked".into())),
            host: String::new(),
            feedback: HostFeedback::default(),
            gets: 0,
            requests: 0,
        };
        if check.rules.blocked(check.reference) {
            last.found = Err(CheckError::Blocked);
            return last;
        }
        let by = match check.reference.id.is_empty() {
            true => PullBy::Tag,
            false => PullBy::Digest,
        };
        let mut candidates = check.rules.pull_sources(check.reference, by).candidates;
        if let Question::Seen(seen) = question {
            candidates.sort_by_key(|candidate| *candidate != seen.from.candidate);
        }
        for candidate in candidates {
            let (question, with_or_without) = question.at(&candidate);
            for &with_secrets in with_or_without {
                let source = match self.source(check, &candidate, with_secrets).await {
                    Ok(source) => source,
                    Err(error) => {
                        last.found = Err(error);
                        break;
                    }
                };
                last.host = source.origin.host.to_string();
                let answer = self.put(&source, question).await;
                last.feedback = answer.feedback;
                last.gets += answer.gets;
                last.requests += answer.requests;
                let error = match answer.found {
                    Ok(found) => {
                        let from = From {
                            candidate,
                            with_secrets,
                        };
                        last.found = Ok((found, from));
                        return last;
                    }
                    Err(error) => error,
                };
                last.found = Err(CheckError::of(&error, answer.feedback));
                // Wrong secrets must not keep anyone from what is public.
                if !error.to_string().to_lowercase().contains("username or password") {
                    break;
                }
            }
        }
        last
    }

    async fn source(
        &self,
        check: &Check<'_>,
        candidate: &ImageReference,
        with_secrets: bool,
    ) -> Result<CheckedSource, CheckError> {
        let insecure = check.insecure || check.rules.insecure(check.reference);
        let origin = Origin {
            host: candidate.contacted_host().into(),
            repository: candidate.defaulted().repository_name().into(),
            insecure,
        };
        let wanted = candidate.defaulted().with_library();
        let found = timeout_at(check.deadline, check.credentials.find(&wanted, with_secrets));
        let credential = found
            .await
            .unwrap_or_else(|_| Err("the credential helper did not answer in time".to_owned()))
            .map_err(CheckError::Failed)?;
        let access = Access {
            insecure,
            credential,
            deadline: check.deadline,
            patience: check.deadline,
        };
        let repository = self
            .client()
            .repository(&origin.host, &origin.repository, access)
            .map_err(|error| CheckError::of(&error, HostFeedback::default()))?;
        let at = match candidate.digest() {
            Some(digest) => ManifestAt::Digest(digest),
            None => ManifestAt::Tag(candidate.tag.clone()),
        };
        Ok(CheckedSource {
            origin,
            repository,
            at,
        })
    }
}

/// What is asked.
#[derive(Clone, Copy)]
enum Question<'a> {
    /// Which manifest it is.
    Digest,
    /// The manifest.
    Manifest,
    /// The manifest, unless it is known and the one that was seen.
    Seen(&'a Sighting),
}

impl Question<'_> {
    /// What is asked at one source, and whether with the secrets: in this order.
    fn at(self, candidate: &ImageReference) -> (Self, &'static [bool]) {
        match self {
            Self::Seen(seen) if seen.from.candidate != *candidate => {
                // What others have read there is only for those who may see it, and nobody was asked.
                (Self::Manifest, &[true, false])
            }
            // Its secrets are wrong there.
            Self::Seen(seen) if !seen.from.with_secrets => (self, &[false]),
            _ => (self, &[true, false]),
        }
    }
}

/// What one source answered.
struct Answer {
    found: Result<Answered, Error>,
    feedback: HostFeedback,
    gets: u32,
    requests: u32,
}

/// What was asked for.
struct Answered {
    named: Named,
    /// Unless only its digest was.
    manifest: Option<Arc<FetchedManifest>>,
}

impl Answered {
    /// A manifest, and what it says if it can be read.
    fn of(manifest: Arc<FetchedManifest>, parsed: Option<Manifest>) -> Self {
        let members = match parsed {
            Some(Manifest::Index(index)) => index.manifests,
            // What can't be read says at its import what is wrong with it.
            Some(Manifest::Image(_) | Manifest::Schema1(_)) | None => Vec::new(),
        };
        Self {
            named: Named {
                digest: manifest.digest.clone(),
                members,
            },
            manifest: Some(manifest),
        }
    }
}

/// Which source answered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct From {
    candidate: ImageReference,
    with_secrets: bool,
}

/// Where an image is looked for.
struct CheckedSource {
    origin: Origin,
    repository: Repository,
    at: ManifestAt,
}

impl<T> Checked<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Checked<U> {
        self.and_then(|found| Ok(change(found)))
    }

    fn and_then<U>(self, change: impl FnOnce(T) -> Result<U, CheckError>) -> Checked<U> {
        Checked {
            found: self.found.and_then(change),
            host: self.host,
            feedback: self.feedback,
            gets: self.gets,
            requests: self.requests,
        }
    }
}

impl CheckError {
    /// The status that an import of the image would have; none if the registry only wants to be left alone.
    #[must_use]
    pub fn status(&self, reference: &ImageReference) -> Option<Status> {
        let name = reference.normalised().unwrap_or_else(|_| reference.exact());
        let status = match self {
            Self::RateLimited => return None,
            Self::Blocked => plan::blocked(reference),
            Self::NotFound => status::not_found("dockerimage", &name),
            Self::Unauthorized(text) if text.ends_with("incorrect username or password") => {
                status::unauthorized(format!("incorrect username or password for image \"{name}\""))
            }
            Self::Unauthorized(_) => status::unauthorized(format!(
                "you may not have access to the container image \"{name}\""
            )),
            Self::Unreachable { text, .. } | Self::Failed(text) => {
                status::internal_error(&format!("{name}: {text}"))
            }
        };
        Some(status)
    }

    /// What an answer of a registry that said this means.
    pub(crate) fn of(error: &Error, feedback: HostFeedback) -> Self {
        let text = error.to_string();
        // A token service refuses as well as a registry does.
        let error = innermost(error);
        if feedback.is_refusal {
            Self::RateLimited
        } else if is_unreachable(error) {
            let cause = error.to_string();
            Self::Unreachable { text, cause }
        } else if error.has_code("MANIFEST_UNKNOWN") || error.has_code("NAME_UNKNOWN") {
            Self::NotFound
        } else if matches!(error, Error::UnparsableBody { status: 403, .. })
            // The answer to a HEAD has no body that would say more.
            || error.has_code("UNAUTHORIZED")
            || error.has_code("DENIED")
            || text.ends_with("no basic auth credentials")
            || text.ends_with("incorrect username or password")
        {
            Self::Unauthorized(text)
        } else {
            Self::Failed(text)
        }
    }
}

/// Whether this says of the registry as a whole that it does not work now.
fn is_unreachable(error: &Error) -> bool {
    match error {
        Error::Network(_) | Error::Deadline => true,
        // Of a method or version that it does not know it may know others.
        Error::UnexpectedStatus(status) => {
            status.starts_with('5') && !status.starts_with("501") && !status.starts_with("505")
        }
        Error::UnparsableBody { status, .. } => matches!(status, 500..=599) && !matches!(status, 501 | 505),
        _ => false,
    }
}

fn innermost(error: &Error) -> &Error {
    match error {
        Error::Request { source, .. } => innermost(source),
        error => error,
    }
}

/// Whether a registry does not know the method.
fn lacks_head(error: &Error) -> bool {
    match error {
        Error::UnparsableBody { status, .. } => matches!(status, 400 | 405),
        Error::UnexpectedStatus(status) => status.starts_with("501"),
        error => error.has_code("UNSUPPORTED"),
    }
}

/// The reference of a stream's tag as imports read it: by digest, or by a tag. Nothing if it is none.
#[must_use]
pub fn reference(text: &str) -> Option<ImageReference> {
    let mut reference = plan::parse(text).ok()?;
    plan::name_one(&mut reference);
    reference.normalised().ok()?;
    Some(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_fails_as_a_whole_can_not_be_reached() {
        for (error, is_unreachable) in [
            (Error::Network("dial tcp: connection refused".into()), true),
            (Error::Deadline, true),
            (Error::UnexpectedStatus("500 Internal Server Error".into()), true),
            (Error::UnexpectedStatus("502 Bad Gateway".into()), true),
            (Error::UnexpectedStatus("503 Service Unavailable".into()), true),
            (Error::UnexpectedStatus("501 Not Implemented".into()), false),
            (Error::UnexpectedStatus("418 I'm a teapot".into()), false),
            (Error::NoBasicCredentials, false),
        ] {
            let cause = error.to_string();
            let asked = Error::Request {
                method: "Head",
                url: "https://r.test/v2/secret/manifests/1".into(),
                source: Arc::new(error),
            };
            let found = CheckError::of(&asked, HostFeedback::default());
            let expected = CheckError::Unreachable {
                text: asked.to_string(),
                cause: cause.clone(),
            };
            assert_eq!(found == expected, is_unreachable, "{found:?}");
            assert!(!cause.contains("secret"));
        }
    }

    #[test]
    fn a_check_that_failed_has_the_status_of_an_import() {
        let reference = reference("r.test/a:1").unwrap();
        let found = |error: CheckError| {
            let status = error.status(&reference)?;
            Some((status.reason?, status.message?))
        };
        let expected = |reason: &str, message: &str| Some((reason.to_owned(), message.to_owned()));
        assert_eq!(found(CheckError::RateLimited), None);
        assert_eq!(
            found(CheckError::Blocked),
            expected("Forbidden", "forbidden: registry r.test blocked")
        );
        assert_eq!(
            found(CheckError::NotFound),
            expected(
                "NotFound",
                "dockerimage.image.openshift.io \"r.test/a:1\" not found"
            )
        );
        let refused = "you may not have access to the container image \"r.test/a:1\"";
        assert_eq!(
            found(CheckError::Unauthorized("denied".into())),
            expected("Unauthorized", refused)
        );
        let wrong = "Get \"https://r.test/token\": incorrect username or password";
        assert_eq!(
            found(CheckError::Unauthorized(wrong.into())),
            expected(
                "Unauthorized",
                "incorrect username or password for image \"r.test/a:1\""
            )
        );
        let gone = CheckError::Unreachable {
            text: "Get \"https://r.test/v2/\": EOF".into(),
            cause: "EOF".into(),
        };
        let said = "Internal error occurred: r.test/a:1: Get \"https://r.test/v2/\": EOF";
        assert_eq!(found(gone), expected("InternalError", said));
    }

    /// A server makes checks on any of its threads.
    #[test]
    fn a_check_may_move_between_threads() {
        fn movable<T: Send>(_: T) {}
        fn fetch<'a>(engine: &'a Engine, check: &'a Check<'a>, seen: &'a Sighting) {
            movable(engine.check(check));
            movable(engine.read(check, seen));
        }
        let _ = fetch;
    }
}
