//! The time an image was built: RFC 3339, cut to whole seconds, refused in the words of Go's `time.Parse`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Deserializer};

const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
/// 0001-01-01T00:00:00Z, in seconds since the epoch.
const GO_ZERO: i64 = -62_135_596_800;

/// A time without its fraction of a second; the zero time of Go is no time.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let time = parse(&text).map_err(serde::de::Error::custom)?;
    Ok((time.as_second() != GO_ZERO).then_some(Time(time)))
}

fn parse(text: &str) -> Result<Timestamp, String> {
    let mut rest = Rest { text, left: text };
    let year = rest.number(4, "2006")?;
    rest.literal("-")?;
    let month = rest.ranged("01", 1..=12, "month")?;
    rest.literal("-")?;
    let day = rest.number(2, "02")?;
    rest.literal("T")?;
    let hour = rest.ranged("15", 0..=23, "hour")?;
    rest.literal(":")?;
    let minute = rest.ranged("04", 0..=59, "minute")?;
    rest.literal(":")?;
    let second = rest.ranged("05", 0..=59, "second")?;
    rest.skip_fraction();
    let offset = rest.zone()?;
    if !rest.left.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {:?}", rest.left));
    }
    // All numbers have at most four digits and were checked, except the day.
    let small = |number: i32| i8::try_from(number).unwrap_or_default();
    let year = i16::try_from(year).unwrap_or_default();
    let local = DateTime::new(
        year,
        small(month),
        small(day),
        small(hour),
        small(minute),
        small(second),
        0,
    )
    .map_err(|_| format!("parsing time {text:?}: day out of range"))?;
    Offset::from_seconds(offset)
        .and_then(|offset| offset.to_timestamp(local))
        .map_err(|error| format!("parsing time {text:?}: {error}"))
}

/// What of a text was not read yet.
struct Rest<'a> {
    text: &'a str,
    left: &'a str,
}

impl Rest<'_> {
    fn unexpected(&self, expected: &str) -> String {
        format!(
            "parsing time {:?} as {LAYOUT:?}: cannot parse {:?} as {expected:?}",
            self.text, self.left
        )
    }

    fn number(&mut self, digits: usize, layout: &str) -> Result<i32, String> {
        let number = self
            .left
            .get(..digits)
            .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| self.unexpected(layout))?;
        self.left = &self.left[digits..];
        Ok(number)
    }

    fn ranged(
        &mut self,
        layout: &str,
        range: std::ops::RangeInclusive<i32>,
        what: &str,
    ) -> Result<i32, String> {
        let number = self.number(2, layout)?;
        if range.contains(&number) {
            Ok(number)
        } else {
            Err(format!("parsing time {:?}: {what} out of range", self.text))
        }
    }

    fn literal(&mut self, expected: &str) -> Result<(), String> {
        self.left = self
            .left
            .strip_prefix(expected)
            .ok_or_else(|| self.unexpected(expected))?;
        Ok(())
    }

    fn skip_fraction(&mut self) {
        if let Some(fraction) = self.left.strip_prefix(['.', ',']) {
            let after = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
            if after.len() < fraction.len() {
                self.left = after;
            }
        }
    }

    /// The offset from UTC, in seconds.
    fn zone(&mut self) -> Result<i32, String> {
        if let Some(left) = self.left.strip_prefix('Z') {
            self.left = left;
            return Ok(0);
        }
        let error = self.unexpected("Z07:00");
        let sign = match self.left.chars().next() {
            Some('+') => 1,
            Some('-') => -1,
            _ => return Err(error),
        };
        self.left = &self.left[1..];
        let hours = self.number(2, "Z07:00").map_err(|_| error.clone())?;
        self.literal(":").map_err(|_| error.clone())?;
        let minutes = self.number(2, "Z07:00").map_err(|_| error.clone())?;
        if hours > 24 || minutes >= 60 {
            return Err(format!(
                "parsing time {:?}: time zone offset hour out of range",
                self.text
            ));
        }
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_second_with_any_offset() {
        for (text, expected) in [
            ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05.999999999Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05.5+02:30", "2024-01-02T00:34:05Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_time_is_refused_where_it_stops_being_one() {
        let cannot = |text: &str, rest: &str, layout: &str| {
            format!("parsing time \"{text}\" as \"{LAYOUT}\": cannot parse \"{rest}\" as \"{layout}\"")
        };
        for (text, error) in [
            ("yesterday", cannot("yesterday", "yesterday", "2006")),
            ("", cannot("", "", "2006")),
            ("2024/01/02", cannot("2024/01/02", "/01/02", "-")),
            (
                "2024-01-02 03:04:05Z",
                cannot("2024-01-02 03:04:05Z", " 03:04:05Z", "T"),
            ),
            ("2024-01-02T03:04:05", cannot("2024-01-02T03:04:05", "", "Z07:00")),
            (
                "2024-13-02T03:04:05Z",
                "parsing time \"2024-13-02T03:04:05Z\": month out of range".into(),
            ),
            (
                "2024-02-30T03:04:05Z",
                "parsing time \"2024-02-30T03:04:05Z\": day out of range".into(),
            ),
            (
                "2024-01-02T03:04:05Zx",
                "parsing time \"2024-01-02T03:04:05Zx\": extra text: \"x\"".into(),
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), error);
        }
    }
}
