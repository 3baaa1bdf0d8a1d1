//! What was tried so far for one request, and for how long it goes on.

use http::Method;
use tokio::time::Instant;

use super::bearer::Token;
use super::throttle::{Caller, Kind};
use crate::feedback::HostFeedback;
use crate::repository::Repository;

/// What was tried so far for one request.
pub(super) struct Tries {
    pub(super) caller: Caller,
    pub(super) kind: Kind,
    pub(super) deadline: Instant,
    /// Until when it is waited for a host that wants to be left alone.
    pub(super) patience: Instant,
    /// What the host said of how often it may be asked.
    pub(super) feedback: HostFeedback,
    pub(super) quick: u32,
    pub(super) throttled: u32,
    /// The challenges of the registry were looked at.
    pub(super) challenged: bool,
    /// The caller has something to show.
    pub(super) has_credential: bool,
    /// A token that ended.
    pub(super) rejected: Option<Token>,
}

impl Tries {
    /// None yet. It is waited until `patience` for a host that wants to be left alone.
    pub(super) fn of(repository: &Repository, method: &Method, patience: Instant) -> Self {
        Self {
            caller: Caller::with(repository.access.credential.as_ref()),
            kind: Kind::of(method),
            deadline: repository.access.deadline,
            patience,
            feedback: HostFeedback::default(),
            quick: 0,
            throttled: 0,
            challenged: false,
            has_credential: repository.access.credential.is_some(),
            rejected: None,
        }
    }
}
