//! What a registry says of how often it may be asked.
//!
//! `Retry-After` is [RFC 9110, section 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3); the quota is that of
//! [Docker Hub](https://docs.docker.com/docker-hub/usage/pulls/), `100;w=21600`, and of the
//! [IETF draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};

use crate::transport::retry;

/// What a host said with one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostFeedback {
    /// It refuses to be asked now: 429, or 503 with a time to come back.
    pub is_refusal: bool,
    /// How long it wants to be left alone, at most a day.
    pub retry_after: Option<Duration>,
    /// How much may still be asked of it.
    pub quota: Option<Quota>,
}

/// How many requests a host allows. Which requests count is its secret: at Docker Hub, `GET` of manifests but not
/// `HEAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests allowed in `window`.
    pub limit: Option<u64>,
    /// Requests that are left.
    pub remaining: u64,
    /// The time that `limit` is for, at most a day.
    pub window: Option<Duration>,
    /// When the quota is full again, at most in a day.
    pub reset: Option<Duration>,
}

/// What a host said last, apart by method: what it counts for one it need not count for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostFeedbacks {
    /// With its last answer to a `HEAD`.
    pub head: HostFeedback,
    /// With its last answer to a `GET`.
    pub get: HostFeedback,
}

impl HostFeedbacks {
    /// Whether it refuses to be asked by either.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.get.is_refusal || self.head.is_refusal
    }

    /// How long it wants to be left alone: the longest that it said.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.get.retry_after.max(self.head.retry_after)
    }
}

impl HostFeedback {
    pub(crate) fn of_answer(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Self {
        let asked = retry::retry_after(headers, now);
        let is_refusal = match status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::SERVICE_UNAVAILABLE => asked.is_some(),
            _ => false,
        };
        let policy = retry::policy(headers);
        Self {
            is_refusal,
            retry_after: asked.filter(|_| is_refusal),
            quota: retry::rate_limit(headers).map(|left| Quota {
                limit: policy.map(|(limit, _)| limit),
                remaining: left.remaining,
                window: policy.and_then(|(_, window)| window),
                reset: left.reset,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, headers: &[(&'static str, &'static str)]) -> HostFeedback {
        let pairs = headers.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, http::HeaderValue::from_static(value))
        });
        let status = StatusCode::from_u16(status).unwrap();
        HostFeedback::of_answer(status, &pairs.collect(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn docker_hub_names_a_quota_and_its_window() {
        let feedback = of(
            200,
            &[
                ("ratelimit-limit", "100;w=21600"),
                ("ratelimit-remaining", "7;w=21600"),
            ],
        );
        let quota = Quota {
            limit: Some(100),
            remaining: 7,
            window: Some(Duration::from_secs(21_600)),
            reset: None,
        };
        assert_eq!(feedback.quota, Some(quota));
        assert!(!feedback.is_refusal);
    }

    #[test]
    fn a_refusal_is_a_429_or_a_503_that_says_when_to_come_back() {
        let later = [("retry-after", "90")];
        let wait = Some(Duration::from_secs(90));
        for (status, headers, is_refusal, retry_after) in [
            (429, &later[..], true, wait),
            (429, &[][..], true, None),
            (503, &later[..], true, wait),
            (503, &[][..], false, None),
            (200, &later[..], false, None),
        ] {
            let feedback = of(status, headers);
            let found = (feedback.is_refusal, feedback.retry_after);
            assert_eq!(found, (is_refusal, retry_after), "{status} {headers:?}");
        }
    }
}
