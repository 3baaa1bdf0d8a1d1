//! A span of time in a few words, as [Docker's command line][1] says it: `About an hour`, `3 weeks`.
//!
//! [1]: https://pkg.go.dev/github.com/docker/go-units#HumanDuration

use crate::types::Time;

/// The longest span that clients of this API know, in seconds: 292 years.
const LONGEST: i64 = i64::MAX / 1_000_000_000;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// How long ago `then` was, `… ago`. No time is very long ago.
#[must_use]
pub fn ago(then: Option<&Time>, now: &Time) -> String {
    let seconds = then.map_or(LONGEST, |then| now.0.duration_since(then.0).as_secs());
    format!("{} ago", in_words(seconds))
}

/// A span in words; of a negative one only that it is short.
#[must_use]
pub fn in_words(seconds: i64) -> String {
    let seconds = seconds.min(LONGEST);
    let minutes = seconds / MINUTE;
    let rounded_hours = seconds.saturating_add(HOUR / 2) / HOUR;
    match (seconds, minutes, rounded_hours) {
        (..1, ..) => "Less than a second".into(),
        (1, ..) => "1 second".into(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".into(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".into(),
        (_, _, hours @ ..48) => format!("{hours} hours"),
        (_, _, hours @ ..336) => format!("{} days", hours / 24),
        (_, _, hours @ ..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, hours @ ..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / HOUR / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_the_unit_that_fits() {
        const DAY: i64 = 24 * HOUR;
        for (seconds, text) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (2, "2 seconds"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (HOUR - 1, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR + HOUR / 2 - 1, "About an hour"),
            (HOUR + HOUR / 2, "2 hours"),
            (47 * HOUR, "47 hours"),
            (2 * DAY - HOUR / 2, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (60 * DAY, "2 months"),
            (729 * DAY, "24 months"),
            (730 * DAY - HOUR / 2, "1 years"),
            (730 * DAY, "2 years"),
            (i64::MAX, "292 years"),
        ] {
            assert_eq!(in_words(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn no_time_is_as_long_ago_as_can_be() {
        let at = |text: &str| Time(text.parse().unwrap());
        let now = at("2024-06-01T00:00:00Z");
        assert_eq!(ago(None, &now), "292 years ago");
        assert_eq!(ago(Some(&at("2024-05-31T22:00:00Z")), &now), "2 hours ago");
        assert_eq!(ago(Some(&at("0001-01-01T00:00:00Z")), &now), "292 years ago");
        assert_eq!(
            ago(Some(&at("2024-06-02T00:00:00Z")), &now),
            "Less than a second ago"
        );
    }
}
