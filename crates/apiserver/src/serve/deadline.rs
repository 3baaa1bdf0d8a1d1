//! How long a request may take: what the client asks for with `timeout`, within what the server allows.

use std::time::Duration;

use imagestream_api::field::quoted;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::options::ServeOptions;
use crate::errors;

/// Kinds of requests that have different times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// It ends when its own time is over, which the endpoint knows.
    Watch,
    /// It may take as long as it takes.
    LongRunning,
    /// It changes something.
    Write,
    /// It changes nothing.
    Read,
}

/// Longest watch; endpoints end theirs well before.
const LONGEST_WATCH: Duration = Duration::from_secs(24 * 60 * 60);

/// The time that a request has.
///
/// # Errors
/// 400 if the client asks for what is no duration.
pub(super) fn allowed(options: &ServeOptions, pace: Pace, query: &str) -> Result<Duration, Box<Status>> {
    let (usual, most) = match pace {
        Pace::Watch => return Ok(LONGEST_WATCH),
        Pace::LongRunning => (options.write_request_timeout, options.long_running_timeout),
        Pace::Write => (options.write_request_timeout, options.request_timeout),
        Pace::Read => (options.request_timeout, options.request_timeout),
    };
    let asked = form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == "timeout")
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty());
    let asked = match asked {
        None => None,
        Some(text) => match parse(&text) {
            Ok(asked) => asked,
            // Whatever runs long reads the parameter by itself, and falls back to what is usual.
            Err(_) if pace == Pace::LongRunning => None,
            Err(error) => {
                let message = format!("invalid timeout specified in the request URL: {error}");
                return Err(errors::bad_request(message).into());
            }
        },
    };
    Ok(asked.unwrap_or(usual).min(most))
}

/// Reads a duration [as Go writes it](https://pkg.go.dev/time#ParseDuration); nothing if it is not above zero.
fn parse(text: &str) -> Result<Option<Duration>, String> {
    let invalid = || format!("time: invalid duration {}", quoted(text));
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_negative = text.starts_with('-');
    if rest == "0" {
        return Ok(None);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
        // A lone dot is no number, nor is what has two.
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "" => return Err(format!("time: missing unit in duration {}", quoted(text))),
            unit => {
                return Err(format!(
                    "time: unknown unit {} in duration {}",
                    quoted(unit),
                    quoted(text)
                ));
            }
        };
        total += number * seconds;
        rest = after;
    }
    // Go counts nanoseconds in 63 bits.
    let duration = Duration::try_from_secs_f64(total)
        .ok()
        .filter(|duration| i64::try_from(duration.as_nanos()).is_ok())
        .ok_or_else(invalid)?;
    Ok((!is_negative && !duration.is_zero()).then_some(duration))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clients_get_the_time_they_ask_for_within_limits() {
        let options = ServeOptions::default();
        for (pace, query, expected) in [
            (Pace::Read, "", 60_000),
            (Pace::Read, "timeout=10s", 10_000),
            (Pace::Read, "timeout=1.5s&timeout=9s", 1_500),
            (Pace::Read, "timeout=2m", 60_000),
            (Pace::Read, "timeout=0", 60_000),
            (Pace::Read, "timeout=-5s", 60_000),
            (Pace::Read, "timeout=", 60_000),
            (Pace::Write, "a=b", 34_000),
            (Pace::Write, "timeout=50s", 50_000),
            (Pace::Write, "timeout=1h", 60_000),
            (Pace::LongRunning, "", 34_000),
            (Pace::LongRunning, "timeout=1m30s", 90_000),
            (Pace::LongRunning, "timeout=1h", 600_000),
            (Pace::LongRunning, "timeout=rubbish", 34_000),
            (Pace::Watch, "timeout=rubbish", 86_400_000),
        ] {
            let found = allowed(&options, pace, query).unwrap();
            assert_eq!(found, Duration::from_millis(expected), "{pace:?} {query}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_in_the_words_of_go() {
        for (value, problem) in [
            ("x", "time: invalid duration \"x\""),
            ("10", "time: missing unit in duration \"10\""),
            ("10d", "time: unknown unit \"d\" in duration \"10d\""),
            (".s", "time: invalid duration \".s\""),
            ("-", "time: invalid duration \"-\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
        ] {
            let status =
                allowed(&ServeOptions::default(), Pace::Read, &format!("timeout={value}")).unwrap_err();
            assert_eq!(status.code, Some(400));
            assert_eq!(
                status.message.as_deref(),
                Some(format!("invalid timeout specified in the request URL: {problem}").as_str())
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_asked_for(text in "[-+]?[0-9.]{0,40}[a-zµ]{0,3}") {
            let _ = parse(&text);
        }
    }
}
