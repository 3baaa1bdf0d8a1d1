//! [Docker Hub's webhooks][1]: one push of one tag.
//!
//! [1]: https://docs.docker.com/docker-hub/repos/manage/webhooks/#example-webhook-payload

use serde::Deserialize;

use super::Pushes;
use crate::json::null_is_default;

/// What is posted.
#[derive(Deserialize)]
pub(super) struct Payload {
    #[serde(default, deserialize_with = "null_is_default")]
    push_data: PushData,
    #[serde(default, deserialize_with = "null_is_default")]
    repository: Repository,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PushData {
    #[serde(deserialize_with = "null_is_default")]
    tag: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Repository {
    /// `user/name`, or `name` alone for what is called `library/name` elsewhere.
    #[serde(deserialize_with = "null_is_default")]
    repo_name: String,
}

pub(super) fn read(payload: &Payload, pushes: &mut Pushes) {
    pushes.add(
        Some("docker.io"),
        &payload.repository.repo_name,
        &payload.push_data.tag,
    );
}
