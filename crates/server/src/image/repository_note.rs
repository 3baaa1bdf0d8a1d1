//! How the import of a stream's repository went, noted in the stream.
//!
//! Tags have conditions; `spec.dockerImageRepository` has none, so a repository whose tags can't be listed would leave
//! no trace. The note is an annotation that says what a condition would. It is first written by the import controller;
//! from then on by every import of the repository that the stream names.

use imagestream_api::status;
use imagestream_api::types::{ImageStream, ImageStreamImport, Status, Time};
use imagestream_import::apply::{Applied, StreamWrite};
use serde::{Deserialize, Serialize};

/// The annotation.
pub(crate) const ANNOTATION: &str = "image.openshift.io/repositoryImport";
/// Longest message that is noted, in bytes; registries word it.
const MAX_MESSAGE: usize = 1024;

/// What the annotation says, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RepositoryNote {
    /// The repository, as the stream names it.
    pub(crate) repository: String,
    /// `True` if its tags were listed and all of them could be read, else `False`.
    pub(crate) status: String,
    /// One word why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// A sentence why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    /// Since when this is so (RFC 3339).
    pub(crate) last_transition_time: String,
}

impl RepositoryNote {
    /// The note in a stream, if there is a readable one.
    pub(crate) fn of(stream: &ImageStream) -> Option<Self> {
        let annotation = stream.metadata.annotations.as_ref()?.get(ANNOTATION)?;
        serde_json::from_str(annotation).ok()
    }

    /// Whether the repository could be imported.
    pub(crate) fn is_success(&self) -> bool {
        self.status == "True"
    }

    fn new(repository: &str, result: &Status, now: &Time) -> Self {
        let is_success = status::is_success(result);
        let text = |text: &Option<String>| match text {
            Some(text) if !is_success => text.clone(),
            _ => String::new(),
        };
        let mut message = text(&result.message);
        if message.len() > MAX_MESSAGE {
            message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        }
        Self {
            repository: repository.to_owned(),
            status: if is_success { "True" } else { "False" }.into(),
            reason: text(&result.reason),
            message,
            last_transition_time: now.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }
    }

    fn says_the_same_as(&self, other: &Self) -> bool {
        let without_time = |note: &Self| Self {
            last_transition_time: String::new(),
            ..note.clone()
        };
        without_time(self) == without_time(other)
    }
}

/// Notes in the stream that is about to be written how the import of its repository went, if the import was one of the
/// repository that the stream names. Where there is no note, only if one `is_wanted`.
pub(super) fn write(applied: &mut Applied, import: &ImageStreamImport, now: &Time, is_wanted: bool) {
    let (Some(asked), Some(result)) = (&import.spec.repository, &import.status.repository) else {
        return;
    };
    let stream = &mut applied.stream;
    let repository = &stream.spec.docker_image_repository;
    if repository.is_empty() || asked.from.name.as_ref() != Some(repository) {
        return;
    }
    let known = RepositoryNote::of(stream);
    let note = RepositoryNote::new(repository, &result.status, now);
    let is_news = known.as_ref().is_none_or(|known| !known.says_the_same_as(&note));
    if !is_news || (known.is_none() && !is_wanted) {
        return;
    }
    // Text can always be written as JSON.
    let Ok(text) = serde_json::to_string(&note) else {
        return;
    };
    let annotations = stream.metadata.annotations.get_or_insert_default();
    annotations.insert(ANNOTATION.into(), text);
    if applied.write == StreamWrite::Nothing {
        applied.write = StreamWrite::Update;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REPOSITORY: &str = "r.test/a/b";

    fn applied(stream: &ImageStream) -> Applied {
        Applied {
            stream: stream.clone(),
            write: StreamWrite::Nothing,
            images: Vec::new(),
        }
    }

    fn stream() -> ImageStream {
        serde_json::from_value(json!({"spec": {"dockerImageRepository": REPOSITORY}})).unwrap()
    }

    fn import(repository: &str, status: &Status) -> ImageStreamImport {
        let mut import: ImageStreamImport = serde_json::from_value(json!({
            "spec": {"import": true, "repository": {"from": {"kind": "DockerImage", "name": repository}}},
            "status": {"repository": {"status": {}}}
        }))
        .unwrap();
        import.status.repository.as_mut().unwrap().status = status.clone();
        import
    }

    fn at(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn a_failure_is_noted_once_and_again_only_if_it_is_another_one() {
        let failure = status::unauthorized("no entry");
        let mut first = applied(&stream());
        write(&mut first, &import(REPOSITORY, &failure), &at(1), true);
        assert_eq!(first.write, StreamWrite::Update);
        let note = RepositoryNote::of(&first.stream).unwrap();
        assert_eq!(
            serde_json::to_value(&note).unwrap(),
            json!({"repository": REPOSITORY, "status": "False", "reason": "Unauthorized", "message": "no entry",
                   "lastTransitionTime": "1970-01-01T00:00:01Z"})
        );

        let mut again = applied(&first.stream);
        write(&mut again, &import(REPOSITORY, &failure), &at(2), true);
        assert_eq!(
            (again.write, &again.stream),
            (StreamWrite::Nothing, &first.stream)
        );

        // A client's own import succeeds.
        write(&mut again, &import(REPOSITORY, &status::success()), &at(3), false);
        assert_eq!(again.write, StreamWrite::Update);
        let note = RepositoryNote::of(&again.stream).unwrap();
        assert!(note.is_success() && note.reason.is_empty(), "{note:?}");
    }

    #[test]
    fn a_client_s_import_writes_no_first_note_and_one_of_another_repository_none_at_all() {
        let failure = status::unauthorized("no entry");
        for (repository, is_wanted) in [(REPOSITORY, false), ("r.test/other", true)] {
            let mut applied = applied(&stream());
            write(&mut applied, &import(repository, &failure), &at(1), is_wanted);
            assert_eq!((applied.write, applied.stream), (StreamWrite::Nothing, stream()));
        }
    }

    #[test]
    fn a_message_without_end_is_cut_between_characters() {
        let mut applied = applied(&stream());
        let failure = status::unauthorized("ä".repeat(MAX_MESSAGE));
        write(&mut applied, &import(REPOSITORY, &failure), &at(1), true);
        let note = RepositoryNote::of(&applied.stream).unwrap();
        assert_eq!(note.message.len(), MAX_MESSAGE);
    }
}
