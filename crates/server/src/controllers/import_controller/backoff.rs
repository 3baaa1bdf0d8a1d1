//! How long a source that could not be imported is left alone, by what was wrong with it.

use std::time::Duration;

use imagestream_api::types::Status;

/// What is wrong with a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is no such image or repository: perhaps it is pushed soon.
    NotFound,
    /// The registry doesn't let us in: somebody must give us a secret.
    Unauthorized,
    /// The registry wants to be left alone.
    RateLimited,
    /// Whoever administers this server or wrote the stream must change something.
    Refused,
    /// The registry, or the way to it, does not work; or anything else.
    Unreachable,
}

impl Kind {
    /// What the status of something that could not be imported tells of.
    pub(super) fn of_status(status: &Status) -> Self {
        let (reason, message) = (status.reason.as_deref(), status.message.as_deref());
        Self::of(reason.unwrap_or_default(), message.unwrap_or_default())
    }

    /// What a status or a condition with this reason and message tells of.
    pub(super) fn of(reason: &str, message: &str) -> Self {
        match reason {
            "NotFound" => Self::NotFound,
            "Unauthorized" => Self::Unauthorized,
            "Forbidden" | "Invalid" => Self::Refused,
            // The words of the distribution protocol's error code, or of a status without one.
            _ if message.contains("toomanyrequests")
                || message.contains("429 Too Many Requests")
                || message.contains("HTTP 429") =>
            {
                Self::RateLimited
            }
            _ if lets_nobody_in(message) => Self::Unauthorized,
            _ => Self::Unreachable,
        }
    }
}

/// Whether a message without a reason of its own says that a secret is wanted: registries that answer 403 to strangers
/// have the error code `DENIED`, and of several sources only the messages are left.
fn lets_nobody_in(message: &str) -> bool {
    let mut parts = message.split([':', ',', '[', ']', '\n']).map(str::trim);
    message.contains("HTTP 403")
        || message.contains("you may not have access to the container image")
        || message.contains("incorrect username or password")
        || parts.any(|part| part == "denied" || part == "unauthorized")
}

/// The first wait after a failure of each kind, which doubles with every further one, and the longest.
#[derive(Debug, Clone)]
pub(super) struct Delays {
    pub(super) not_found: Duration,
    pub(super) unauthorized: Duration,
    pub(super) rate_limited: Duration,
    pub(super) refused: Duration,
    pub(super) unreachable: Duration,
    pub(super) longest: Duration,
    /// Over how long a time that which failed before this server began is spread.
    pub(super) spread: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            not_found: Duration::from_secs(30),
            unauthorized: Duration::from_secs(60),
            rate_limited: Duration::from_secs(60),
            refused: Duration::from_secs(5 * 60),
            unreachable: Duration::from_secs(30),
            longest: Duration::from_secs(30 * 60),
            spread: Duration::from_secs(10 * 60),
        }
    }
}

impl Delays {
    /// The wait after failure number `failures` (from 1) in a row, not longer than `at_most`.
    ///
    /// `fraction` (0 to 1) says how much of it is waited, from three fifths to all, so that those who failed together do
    /// not come back together.
    /// `asked` is how much longer the registry itself wants to be left alone.
    pub(super) fn after(
        &self,
        kind: Kind,
        failures: u32,
        at_most: Duration,
        fraction: f64,
        asked: Option<Duration>,
    ) -> Duration {
        let first = match kind {
            Kind::NotFound => self.not_found,
            Kind::Unauthorized => self.unauthorized,
            Kind::RateLimited => self.rate_limited,
            Kind::Refused => self.refused,
            Kind::Unreachable => self.unreachable,
        };
        let doubled = first.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
        let wait = doubled
            .min(self.longest)
            .min(at_most)
            .mul_f64(0.6 + 0.4 * fraction);
        // Never a moment before the registry allows it; one that is overloaded or being worked on says so, too.
        let may_be_asked = matches!(kind, Kind::RateLimited | Kind::Unreachable);
        let allowed = asked.filter(|_| may_be_asked).unwrap_or_default();
        wait.max(allowed + allowed.mul_f64(0.1 * fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn what_is_wrong_is_read_from_reason_and_message() {
        for (reason, message, kind) in [
            (
                "NotFound",
                "dockerimage.image.openshift.io \"a\" not found",
                Kind::NotFound,
            ),
            ("Unauthorized", "you may not have access", Kind::Unauthorized),
            ("Forbidden", "forbidden: registry a blocked", Kind::Refused),
            ("Invalid", "exceeds the maximum limit", Kind::Refused),
            (
                "InternalError",
                "Internal error occurred: a: toomanyrequests: slow down",
                Kind::RateLimited,
            ),
            (
                "InternalError",
                "Internal error occurred: a: error parsing HTTP 429 response body: x",
                Kind::RateLimited,
            ),
            (
                "InternalError",
                "Internal error occurred: a: connection refused",
                Kind::Unreachable,
            ),
            (
                "InternalError",
                "Internal error occurred: a: denied: requested access to the resource is denied",
                Kind::Unauthorized,
            ),
            (
                "InternalError",
                "Internal error occurred: a: denied",
                Kind::Unauthorized,
            ),
            (
                "InternalError",
                "Internal error occurred: a: errors:\ndenied: no\nunauthorized: authentication required\n",
                Kind::Unauthorized,
            ),
            (
                "InternalError",
                "Internal error occurred: a: error parsing HTTP 403 response body: x",
                Kind::Unauthorized,
            ),
            (
                "InternalError",
                "Internal error occurred: [you may not have access to the container image \"m/a\", b: EOF]",
                Kind::Unauthorized,
            ),
            (
                "InternalError",
                "Internal error occurred: a: dial tcp: connect: permission denied",
                Kind::Unreachable,
            ),
            ("", "unknown error prevented import", Kind::Unreachable),
        ] {
            assert_eq!(Kind::of(reason, message), kind, "{reason} {message}");
        }
    }

    #[test]
    fn waits_double_up_to_half_an_hour_or_the_interval_of_the_schedule() {
        let delays = Delays::default();
        let wait = |failures, at_most| delays.after(Kind::NotFound, failures, at_most, 1.0, None);
        let minutes = [1, 2, 3, 7, 8, 40].map(|failures| wait(failures, DAY).as_secs() / 30);
        assert_eq!(minutes, [1, 2, 4, 60, 60, 60]);
        assert_eq!(wait(40, 15 * MINUTE), 15 * MINUTE);
        assert_eq!(delays.after(Kind::Refused, 1, DAY, 0.0, None), 3 * MINUTE);
        assert_eq!(delays.after(Kind::Refused, 1, DAY, 1.0, None), 5 * MINUTE);
    }

    #[test]
    fn a_registry_is_left_alone_for_as_long_as_it_asks_and_only_if_it_asked() {
        let delays = Delays::default();
        let asked = Some(6 * 60 * MINUTE);
        let wait = |kind, fraction| delays.after(kind, 1, DAY, fraction, asked);
        assert_eq!(wait(Kind::RateLimited, 0.0), 6 * 60 * MINUTE);
        assert_eq!(wait(Kind::Unreachable, 0.0), 6 * 60 * MINUTE);
        assert!(wait(Kind::RateLimited, 1.0) <= 6 * 66 * MINUTE + MINUTE);
        assert!(wait(Kind::NotFound, 0.0) < MINUTE);
        let soon = delays.after(Kind::RateLimited, 1, DAY, 1.0, Some(Duration::from_secs(1)));
        assert_eq!(soon, MINUTE);
    }
}
