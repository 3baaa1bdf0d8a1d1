//! What became of a request, as the one who made it reports.

use std::time::Duration;

use crate::time::Millis;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that is followed is as the streams have it.
    Unchanged,
    /// It is not: somebody has to fetch it. The source comes back from `poll` as a fetch.
    Moved,
    /// It can't be said.
    Failed(FailureKind),
}

/// Why a check or a fetch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// 404: no such repository or tag.
    NotFound,
    /// 401 or 403.
    Unauthorized,
    /// No connection, no answer, or 502 to 504: the host as a whole is in trouble.
    Unreachable,
    /// 429.
    RateLimited,
    /// Anything else.
    Other,
}

/// What the registry's answer said about its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// `RateLimit` and its older forms.
    pub limit: Option<RateLimit>,
}

/// How much is left of a registry's limit
/// ([draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/),
/// [Docker Hub](https://docs.docker.com/docker-hub/usage/pulls/)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How much there is at most, if said.
    pub limit: Option<u64>,
    /// How much is left.
    pub remaining: u64,
    /// The length of the time that the limit is for, if said.
    pub window: Option<Duration>,
    /// When there will be more, if said.
    pub reset: Option<Duration>,
}

/// Whether a manifest may be fetched from a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayFetch {
    /// Yes.
    Allowed,
    /// Not before then.
    At(Millis),
}
