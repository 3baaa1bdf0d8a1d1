//! What the hosts that an import asked had to say. Pure.

use std::collections::BTreeMap;

use imagestream_api::status;
use imagestream_api::types::{ImageStreamImport, Status};

use super::backoff::Kind;
use super::wanted::host;

/// What an import heard of one host.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// It told of something that it was asked for, if only that there is no such thing.
    pub(super) has_answered: bool,
    /// It wants to be left alone.
    pub(super) has_refused: bool,
}

/// What an import heard, by host. `refuses` tells whether a host's last answer was that it wants to be left alone.
pub(super) fn answers(
    import: &ImageStreamImport,
    refuses: impl Fn(&str) -> bool,
) -> BTreeMap<String, Answer> {
    let images = import.spec.images.iter().zip(&import.status.images);
    let images = images.map(|(asked, result)| (&asked.from, &result.status));
    let repository = import.spec.repository.iter().zip(&import.status.repository);
    let repository = repository.map(|(asked, result)| (&asked.from, &result.status));
    let mut answers: BTreeMap<String, Answer> = BTreeMap::new();
    for (from, result) in images.chain(repository) {
        let host = host(from.name.as_deref().unwrap_or_default());
        let has_refused = is_refusal(result, || refuses(&host));
        let has_answered = status::is_success(result) || !is_silence(Kind::of_status(result));
        let answer = answers.entry(host).or_default();
        answer.has_refused |= has_refused;
        answer.has_answered |= has_answered;
    }
    answers
}

/// Whether something could not be imported because its host wants to be left alone. An import that waits for a host until
/// its time is over has nothing but that to say, so that what the host said last (`refuses`) decides.
pub(in crate::controllers) fn is_refusal(result: &Status, refuses: impl Fn() -> bool) -> bool {
    let message = result.message.as_deref().unwrap_or_default();
    !status::is_success(result)
        && match Kind::of_status(result) {
            Kind::RateLimited => true,
            Kind::Unreachable => message.contains("context deadline exceeded") && refuses(),
            _ => false,
        }
}

fn is_silence(kind: Kind) -> bool {
    matches!(kind, Kind::Unreachable | Kind::RateLimited)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn result(message: &str) -> Value {
        match message {
            "" => json!({"status": "Success"}),
            message => json!({"status": "Failure", "reason": "InternalError", "message": message}),
        }
    }

    /// What is heard of one host by an import with these messages, empty ones for successes.
    fn heard(messages: &[&str], refuses: bool) -> Answer {
        let image = |_: &&str| json!({"from": {"kind": "DockerImage", "name": "r.test/a:1"}});
        let import: ImageStreamImport = serde_json::from_value(json!({
            "spec": {"images": messages.iter().map(image).collect::<Vec<_>>(),
                     "repository": {"from": {"name": "other.test/a"}}},
            "status": {"images": messages.iter().map(|text| json!({"status": result(text)})).collect::<Vec<_>>(),
                       "repository": {"status": result("")}},
        }))
        .unwrap();
        let answers = answers(&import, |host| refuses && host == "r.test");
        assert_eq!(answers.len(), 2);
        assert!(answers["other.test"].has_answered && !answers["other.test"].has_refused);
        answers["r.test"]
    }

    #[test]
    fn hosts_answer_refuse_or_are_silent() {
        const LATE: &str = "Get \"https://r.test/v2/\": context deadline exceeded";
        for (messages, refuses, has_answered, has_refused) in [
            (&[""][..], false, true, false),
            (&["denied"], false, true, false),
            (&["dial tcp: connection refused"], false, false, false),
            (&["dial tcp: connection refused"], true, false, false),
            (&["toomanyrequests: slow down"], false, false, true),
            (&["", "toomanyrequests: slow down"], false, true, true),
            (&[LATE], false, false, false),
            (&[LATE], true, false, true),
        ] {
            let expected = Answer {
                has_answered,
                has_refused,
            };
            assert_eq!(heard(messages, refuses), expected, "{messages:?}");
        }
    }
}
