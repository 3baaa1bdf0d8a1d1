//! Registries tell what was pushed to them, and the streams that follow it are refreshed at once.
//!
//! An event is believed no further than that it is worth a look: its tag, if a stream follows it, is noted in the store
//! ([`pending`]), and whoever runs the controllers looks at it as if it were due. What is forged, repeated or comes in
//! floods can do no more, and what gets lost is found when the tag is due anyway.

mod followed;
mod pace;
mod pending;
mod secret;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use imagestream_api::reference::ImageReference;
use imagestream_apiserver::errors;
use imagestream_apiserver::paths::{PathAnswer, PathEndpoint, PathRequest};
use imagestream_apiserver::storage::failed;
use imagestream_registry::push_events::{EventError, Format, MAX_BYTES, Pushed, parse};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio::time::Instant;

use self::followed::FollowedTags;
use self::pace::Pace;
use self::secret::Secret;
use crate::context::Context;
use crate::settings::{Receiver, ReceiverFormat};
use crate::start::StartError;

pub(crate) use self::pending::follow;

/// Where receivers are, each under its name.
const PATH: &str = "/imagestream/v1/notifications";
/// The setting that holds the receivers.
const SETTING: &str = "notifications.receivers";

/// The endpoint for registries, and the task that keeps it up to date; nothing if there is no receiver.
///
/// # Errors
/// A secret that can't be used; those of the store.
pub(crate) async fn endpoint(
    receivers: &[Receiver],
    context: &Arc<Context>,
) -> Result<Option<(Arc<dyn PathEndpoint>, BoxFuture<'static, ()>)>, StartError> {
    if receivers.is_empty() {
        return Ok(None);
    }
    let receivers = receivers
        .iter()
        .map(|receiver| Ok((receiver.name.clone(), Registry::new(receiver)?)))
        .collect::<Result<_, StartError>>()?;
    let decoys = [Format::Distribution, Format::Github];
    let decoys = decoys.map(|format| Secret::of_nobody(format).map(|secret| (format, secret)));
    let [shown, signs] = decoys.map(|decoy| {
        decoy.map_err(|error| StartError::Setting {
            name: SETTING,
            problem: error.to_string(),
        })
    });
    let (followed, events) = FollowedTags::open(context).await.map_err(StartError::Prepare)?;
    let task = Box::pin(Arc::clone(&followed).learn(events));
    let notifications = Notifications {
        receivers,
        decoys: [shown?, signs?],
        followed,
        context: Arc::clone(context),
    };
    Ok(Some((Arc::new(notifications), task)))
}

/// A registry that tells of pushes.
struct Registry {
    format: Format,
    secret: Secret,
    /// As streams name it, if not as its events do.
    host: Option<String>,
    pace: Pace,
}

impl Registry {
    fn new(receiver: &Receiver) -> Result<Self, StartError> {
        let format = match receiver.format {
            ReceiverFormat::Distribution => Format::Distribution,
            ReceiverFormat::DockerHub => Format::DockerHub,
            ReceiverFormat::Quay => Format::Quay,
            ReceiverFormat::Harbor => Format::Harbor,
            ReceiverFormat::Github => Format::Github,
        };
        let wrong = |problem: String| StartError::Setting {
            name: SETTING,
            problem: format!("{}: {problem}", receiver.name),
        };
        let secret = Secret::read(&receiver.secret_file, format)
            .map_err(|error| wrong(format!("{}: {error}", receiver.secret_file.display())))?;
        if let Some(host) = &receiver.registry
            && tag_at(host, "a", "b").is_none()
        {
            return Err(wrong(format!("registry: {host:?}: expected HOST or HOST:PORT")));
        }
        Ok(Self {
            format,
            secret,
            host: receiver.registry.clone(),
            pace: Pace::new(),
        })
    }

    /// The tags that were pushed, in the one form that all spellings have; without those whose registry is not told.
    fn tags(&self, pushes: &BTreeSet<Pushed>) -> BTreeSet<ImageReference> {
        let tag = |pushed: &Pushed| {
            let host = self.host.as_deref().or(pushed.registry.as_deref())?;
            tag_at(host, &pushed.repository, &pushed.tag)
        };
        pushes.iter().filter_map(tag).collect()
    }
}

/// A tag of a registry, with everything that defaults add; nothing if the host is none.
fn tag_at(host: &str, repository: &str, tag: &str) -> Option<ImageReference> {
    let reference = ImageReference::parse(&format!("{host}/{repository}:{tag}")).ok()?;
    if reference.registry != host || !reference.id.is_empty() {
        return None;
    }
    let mut reference = reference.defaulted();
    if reference.is_docker_hub() {
        reference.registry = "docker.io".into();
    }
    Some(reference)
}

struct Notifications {
    receivers: HashMap<String, Registry>,
    /// One that shows its secret and one that signs, checked in place of receivers that do not exist or do the other, so
    /// that answers take as long.
    decoys: [(Format, Secret); 2],
    followed: Arc<FollowedTags>,
    context: Arc<Context>,
}

impl Notifications {
    async fn take(&self, request: PathRequest) -> Result<PathAnswer, Box<Status>> {
        let path = &request.request.info.path;
        let name = path.strip_prefix(PATH).and_then(|rest| rest.strip_prefix('/'));
        let Some(name) = name.filter(|name| !name.is_empty() && !name.contains('/')) else {
            return Err(errors::unknown_resource().into());
        };
        if request.method != Method::POST {
            return Err(errors::method_not_allowed().into());
        }
        if request.body.len() > MAX_BYTES {
            return Err(errors::request_entity_too_large(EventError::TooLarge).into());
        }
        let query = &request.request.query;
        let Some(registry) = self.authenticated(name, &request.headers, query, &request.body) else {
            return Err(errors::unauthorized().into());
        };
        let pushes = parse(registry.format, &request.body).map_err(|error| match error {
            EventError::TooLarge | EventError::TooMany => errors::request_entity_too_large(error),
            EventError::Malformed(_) => errors::bad_request(error.to_string()),
        })?;
        let mut tags = Vec::from_iter(registry.tags(&pushes));
        // A stream that was written a moment ago may not have been told of yet.
        if !tags.iter().all(|tag| self.followed.contains(tag)) {
            self.followed.catch_up().await?;
        }
        tags.retain(|tag| self.followed.contains(tag));
        // There are at most as many as one body may tell of.
        let count = u32::try_from(tags.len()).unwrap_or(u32::MAX);
        registry.pace.take(count, Instant::now()).map_err(|wait| {
            let seconds = u16::try_from(wait.as_secs() + 1).unwrap_or(u16::MAX);
            errors::too_many_requests("too many pushes in a short time", seconds)
        })?;
        pending::add(&self.context.store, &tags).await.map_err(failed)?;
        tracing::debug!(
            receiver = name,
            pushes = pushes.len(),
            followed = count,
            "took notifications"
        );
        let success = serde_json::to_value(errors::success(None)).map_err(errors::internal_error)?;
        Ok(PathAnswer {
            status: StatusCode::ACCEPTED,
            ..PathAnswer::json(&success)
        })
    }

    /// The receiver of this name, to whom knows its secret. To others it is not told whether there is one: a secret of
    /// each kind is checked, whatever kind it has.
    fn authenticated(&self, name: &str, headers: &HeaderMap, query: &str, body: &[u8]) -> Option<&Registry> {
        let registry = self.receivers.get(name);
        let own = registry.map(|registry| (registry.format, &registry.secret));
        let is_signed = own.is_some_and(|(format, _)| format == Format::Github);
        let [shown, signs] = &self.decoys;
        let shown = own.filter(|_| !is_signed).unwrap_or((shown.0, &shown.1));
        let signs = own.filter(|_| is_signed).unwrap_or((signs.0, &signs.1));
        let [by_secret, by_signature] =
            [shown, signs].map(|(format, secret)| secret.is_proven_by(format, headers, query, body));
        let is_proven = if is_signed { by_signature } else { by_secret };
        registry.filter(|_| is_proven)
    }
}

impl PathEndpoint for Notifications {
    fn path(&self) -> &'static str {
        PATH
    }

    fn knows_its_clients(&self) -> bool {
        true
    }

    fn answer(&self, request: PathRequest) -> BoxFuture<'_, Result<PathAnswer, Box<Status>>> {
        Box::pin(self.take(request))
    }
}

#[cfg(test)]
mod tests;
