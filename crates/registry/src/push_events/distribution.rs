//! [Notifications of CNCF distribution][1]: an envelope of events, of which a push of a manifest by tag has one.
//!
//! [1]: https://distribution.github.io/distribution/about/notifications/#events

use serde::Deserialize;

use super::Pushes;
use crate::json::null_is_default;

/// What is posted.
#[derive(Deserialize)]
pub(super) struct Envelope {
    #[serde(default, deserialize_with = "null_is_default")]
    events: Vec<Event>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(deserialize_with = "null_is_default")]
    action: String,
    #[serde(deserialize_with = "null_is_default")]
    target: Target,
    #[serde(deserialize_with = "null_is_default")]
    request: Request,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Target {
    #[serde(deserialize_with = "null_is_default")]
    repository: String,
    /// Pushes of blobs and by digest have none.
    #[serde(deserialize_with = "null_is_default")]
    tag: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Request {
    /// The host by which the client called the registry.
    #[serde(deserialize_with = "null_is_default")]
    host: String,
}

pub(super) fn read(envelope: &Envelope, pushes: &mut Pushes) {
    for event in envelope.events.iter().filter(|event| event.action == "push") {
        pushes.add(
            Some(&event.request.host),
            &event.target.repository,
            &event.target.tag,
        );
    }
}
