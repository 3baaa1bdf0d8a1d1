//! What registries tell when something is pushed to them: one file for each way in which they word it.
//!
//! Whoever sends an event may be lying, so that nothing is taken from one but where to look. Only pushes of tags count:
//! not pulls, deletions or blobs. What an event says beside that, and events that make no sense, are passed over, since
//! a registry that is refused sends the same again.

mod distribution;
mod docker_hub;
mod github;
mod harbor;
mod quay;

use std::collections::BTreeSet;

use imagestream_api::reference::ImageReference;

use crate::json::{self, JsonError};

/// Largest body with events, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Most tags that one body may tell of.
pub const MAX_PUSHES: usize = 1_000;
/// Longest host with port, in bytes.
const MAX_HOST_BYTES: usize = 255 + ":65535".len();

/// How a registry words its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// [CNCF distribution's notifications](https://distribution.github.io/distribution/about/notifications/).
    Distribution,
    /// [Docker Hub's webhooks](https://docs.docker.com/docker-hub/repos/manage/webhooks/).
    DockerHub,
    /// [Quay's repository notifications](https://docs.quay.io/guides/notifications.html).
    Quay,
    /// [Harbor's webhooks](https://goharbor.io/docs/latest/working-with-projects/project-configuration/configure-webhooks/).
    Harbor,
    /// GitHub's [`package`][1] and `registry_package` events.
    ///
    /// [1]: https://docs.github.com/en/webhooks/webhook-events-and-payloads#package
    Github,
}

/// A tag that was pushed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pushed {
    /// Where it was pushed to, as far as the event says: host and optional port.
    pub registry: Option<String>,
    /// The repository, as the registry knows it.
    pub repository: String,
    /// The tag.
    pub tag: String,
}

/// Why a body tells nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It is larger than [`MAX_BYTES`].
    #[error("the events are larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// It tells of more than [`MAX_PUSHES`] tags.
    #[error("the events tell of more than {MAX_PUSHES} tags")]
    TooMany,
    /// It is not worded in the format.
    #[error(transparent)]
    Malformed(#[from] JsonError),
}

/// The tags whose push a body tells of, each once.
///
/// # Errors
/// [`EventError`]
pub fn parse(format: Format, body: &[u8]) -> Result<BTreeSet<Pushed>, EventError> {
    if body.len() > MAX_BYTES {
        return Err(EventError::TooLarge);
    }
    let mut pushes = Pushes::default();
    match format {
        Format::Distribution => distribution::read(&json::decode(body)?, &mut pushes),
        Format::DockerHub => docker_hub::read(&json::decode(body)?, &mut pushes),
        Format::Quay => quay::read(&json::decode(body)?, &mut pushes),
        Format::Harbor => harbor::read(&json::decode(body)?, &mut pushes),
        Format::Github => github::read(&json::decode(body)?, &mut pushes),
    }
    if pushes.has_too_many {
        return Err(EventError::TooMany);
    }
    Ok(pushes.tags)
}

/// The tags that were found so far.
#[derive(Default)]
struct Pushes {
    tags: BTreeSet<Pushed>,
    has_too_many: bool,
}

impl Pushes {
    /// Takes notice of a tag if it is one.
    fn add(&mut self, registry: Option<&str>, repository: &str, tag: &str) {
        let registry = registry.filter(|host| !host.is_empty());
        if tag.is_empty() || !is_tag_of(registry, repository, tag) {
            return;
        }
        if self.tags.len() >= MAX_PUSHES {
            self.has_too_many = true;
            return;
        }
        self.tags.insert(Pushed {
            registry: registry.map(str::to_owned),
            repository: repository.to_owned(),
            tag: tag.to_owned(),
        });
    }
}

/// Whether the three parts of a reference are what they should be, and not more than that.
fn is_tag_of(registry: Option<&str>, repository: &str, tag: &str) -> bool {
    let host = registry.unwrap_or("localhost");
    if host.len() > MAX_HOST_BYTES {
        return false;
    }
    // A host without dot and port would be read as the beginning of the repository.
    let host = if host.contains(['.', ':']) || host == "localhost" {
        host.to_owned()
    } else {
        format!("{host}:443")
    };
    let parsed = ImageReference::parse(&format!("{host}/{repository}:{tag}"));
    parsed.is_ok_and(|parsed| {
        parsed.registry == host
            && parsed.repository_name() == repository
            && parsed.tag == tag
            && parsed.id.is_empty()
    })
}

/// The host of `host[:port]/path`.
fn host_of(reference: &str) -> Option<&str> {
    reference.split_once('/').map(|(host, _)| host)
}

#[cfg(test)]
mod tests;
