//! When to ask again: what registries say about it, and how long to wait if they say nothing.
//!
//! `Retry-After` is [RFC 9110, section 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3); the
//! `RateLimit` fields are those of the
//! [IETF draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/) and of
//! [Docker Hub](https://docs.docker.com/docker-hub/usage/pulls/).

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

/// Repetitions of a request that failed for a moment: a lost connection, a gateway without its server.
pub(super) const QUICK_RETRIES: u32 = 2;
/// Longest time between two attempts at a registry that asks for patience without saying how much.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Whether the same request may well succeed in a moment. A plain 500 is a mistake, not a moment.
pub(super) fn is_momentary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

/// The wait before quick repetition number `attempt` (from 0).
pub(super) fn quick(attempt: u32) -> Duration {
    jittered(Duration::from_millis(100) * 3u32.saturating_pow(attempt.min(4)))
}

/// The wait before repetition number `attempt` (from 0) at a registry that is asked too much.
pub(super) fn backoff(attempt: u32) -> Duration {
    jittered(Duration::from_millis(500) * 2u32.saturating_pow(attempt.min(10))).min(MAX_BACKOFF)
}

/// Between half and one and a half of `wait`, so that those who failed together do not come back together.
fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 1000;
    wait / 2 + wait * u32::try_from(random).unwrap_or_default() / 1000
}

/// Longest wait that is taken seriously; nobody's deadline is that far away.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// How long the registry asks to wait, at most a day.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            date.duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// What is left of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// Requests that may still be made.
    pub(crate) remaining: u64,
    /// When the quota is full again, if that is known.
    pub(crate) reset: Option<Duration>,
}

/// How many requests a registry allows in which time, if it says so.
pub(crate) fn policy(headers: &HeaderMap) -> Option<(u64, Option<Duration>)> {
    let field = headers.get("ratelimit-limit")?.to_str().ok()?;
    let limit = field.split([';', ',']).next()?.trim().parse().ok()?;
    let window = parameter(field, "w").map(Duration::from_secs);
    Some((limit, window.map(|window| window.min(LONGEST_WAIT))))
}

/// The quota a registry reports.
pub(crate) fn rate_limit(headers: &HeaderMap) -> Option<RateLimit> {
    let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(combined) = field("ratelimit") {
        let remaining = parameter(combined, "r").or_else(|| parameter(combined, "remaining"))?;
        let reset = parameter(combined, "t").or_else(|| parameter(combined, "reset"));
        return Some(RateLimit {
            remaining,
            reset: reset
                .map(Duration::from_secs)
                .map(|reset| reset.min(LONGEST_WAIT)),
        });
    }
    let remaining = field("ratelimit-remaining")?
        .split(';')
        .next()?
        .trim()
        .parse()
        .ok()?;
    let reset = field("ratelimit-reset").and_then(|value| value.split(';').next()?.trim().parse().ok());
    Some(RateLimit {
        remaining,
        reset: reset
            .map(Duration::from_secs)
            .map(|reset| reset.min(LONGEST_WAIT)),
    })
}

fn parameter(field: &str, name: &str) -> Option<u64> {
    let mut parameters = field
        .split([';', ','])
        .filter_map(|parameter| parameter.split_once('='));
    parameters
        .find(|(known, _)| known.trim() == name)
        .and_then(|(_, value)| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_wait_without_end_is_cut_to_a_day() {
        let mut headers = HeaderMap::new();
        for value in ["18446744073709551615", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(
                retry_after(&headers, SystemTime::UNIX_EPOCH),
                Some(LONGEST_WAIT),
                "{value}"
            );
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("date");
        let table = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ];
        for (value, seconds) in table {
            let headers = headers(&[("retry-after", value)]);
            assert_eq!(
                retry_after(&headers, now),
                seconds.map(Duration::from_secs),
                "{value}"
            );
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn quotas_are_read_in_each_of_their_forms() {
        let limit = |remaining, reset: Option<u64>| {
            Some(RateLimit {
                remaining,
                reset: reset
                    .map(Duration::from_secs)
                    .map(|reset| reset.min(LONGEST_WAIT)),
            })
        };
        let table: &[(&[(&'static str, &'static str)], _)] = &[
            (&[("ratelimit-remaining", "3;w=21600")], limit(3, None)),
            (
                &[("ratelimit-remaining", "0"), ("ratelimit-reset", "17")],
                limit(0, Some(17)),
            ),
            (&[("ratelimit", "\"default\";r=50;t=30")], limit(50, Some(30))),
            (
                &[("ratelimit", "limit=10, remaining=4, reset=9")],
                limit(4, Some(9)),
            ),
            (&[("ratelimit-remaining", "many")], None),
            (&[("ratelimit-reset", "17")], None),
        ];
        for (fields, expected) in table {
            assert_eq!(rate_limit(&headers(fields)), *expected, "{fields:?}");
        }
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        for attempt in 0..40 {
            assert!(backoff(attempt) <= MAX_BACKOFF);
            assert!(quick(attempt) < Duration::from_secs(13));
        }
        assert!(backoff(5) > backoff(0));
        assert!(quick(0) >= Duration::from_millis(50));
    }

    #[test]
    fn gateways_without_a_server_are_asked_again_and_broken_servers_are_not() {
        let momentary: Vec<u16> = [429, 500, 501, 502, 503, 504, 505]
            .into_iter()
            .filter(|status| is_momentary(StatusCode::from_u16(*status).expect("status")))
            .collect();
        assert_eq!(momentary, [502, 503, 504]);
    }
}
