//! [Quay's repository notifications][1]: a push of any number of tags of one repository. Other notifications name none.
//!
//! [1]: https://docs.redhat.com/en/documentation/red_hat_quay/3/html/use_red_hat_quay/repository-events

use serde::Deserialize;

use super::{Pushes, host_of};
use crate::json::null_is_default;

/// What is posted.
#[derive(Deserialize)]
pub(super) struct Payload {
    /// `namespace/name`
    #[serde(default, deserialize_with = "null_is_default")]
    repository: String,
    /// `host/namespace/name`
    #[serde(default, deserialize_with = "null_is_default")]
    docker_url: String,
    #[serde(default, deserialize_with = "null_is_default")]
    updated_tags: Vec<String>,
}

pub(super) fn read(payload: &Payload, pushes: &mut Pushes) {
    for tag in &payload.updated_tags {
        pushes.add(host_of(&payload.docker_url), &payload.repository, tag);
    }
}
