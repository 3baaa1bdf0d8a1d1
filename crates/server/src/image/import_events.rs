//! What an import did to a stream, as events of the stream: tags that moved, and items that could not be imported.

use imagestream_api::types::{GROUP, ImageStream, ImageStreamImport, Status, TagEvent};
use jiff::Timestamp;
use serde_json::json;

use crate::core::recorder::{EventRecorder, Happening};

/// Tags that one event names.
const NAMED: usize = 3;
/// Failures of one import that have an event each.
const FAILURES: usize = 5;

/// An import that was recorded.
pub(super) struct Told<'a> {
    /// With what was found.
    pub(super) import: &'a ImageStreamImport,
    /// The stream before; nothing if there was none.
    pub(super) before: Option<&'a ImageStream>,
    /// The stream after.
    pub(super) after: &'a ImageStream,
    /// Whether failures are told that are noted in the stream already.
    pub(super) tells_old_failures: bool,
    /// Whether the stream was written.
    pub(super) is_written: bool,
    /// When.
    pub(super) at: Timestamp,
}

/// Tells of an import. What changed nothing is not told, except failures to whom asked for the import.
pub(super) fn tell(recorder: &EventRecorder, told: &Told<'_>) {
    let metadata = &told.after.metadata;
    let object = json!({
        "kind": "ImageStream",
        "apiVersion": format!("{GROUP}/v1"),
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
    });
    let tell = |is_warning, reason, message| {
        recorder.tell(Happening {
            object: object.clone(),
            is_warning,
            reason,
            message,
            at: told.at,
        });
    };
    if let Some(message) = moved(told.before, told.after) {
        tell(false, "ImportSucceeded", message);
    }
    if told.is_written || told.tells_old_failures {
        for message in failures(told.import) {
            tell(true, "ImportFailed", message);
        }
    }
}

/// Which tags point elsewhere than before, if any does.
fn moved(before: Option<&ImageStream>, after: &ImageStream) -> Option<String> {
    fn newest<'s>(stream: &'s ImageStream, tag: &str) -> Option<&'s TagEvent> {
        stream.status.tags.get(tag)?.items.first()
    }
    let mut moved = after.status.tags.keys().filter_map(|tag| {
        let now = newest(after, tag)?;
        let was = before.and_then(|before| newest(before, tag));
        let place = |event: &TagEvent| (event.image.clone(), event.docker_image_reference.clone());
        (was.map(place) != Some(place(now))).then(|| format!("{tag} is {}", now.docker_image_reference))
    });
    let named: Vec<String> = moved.by_ref().take(NAMED).collect();
    if named.is_empty() {
        return None;
    }
    Some(format!(
        "imported: {}{}",
        named.join(", "),
        and_more(moved.count())
    ))
}

/// What could not be imported, each with why.
fn failures(import: &ImageStreamImport) -> Vec<String> {
    let (spec, status) = (&import.spec, &import.status);
    let is_failure = |status: &Status| status.status.as_deref() == Some("Failure");
    let why = |status: &Status| {
        let message = status.message.clone().unwrap_or_default();
        if message.is_empty() {
            "unknown error prevented import".into()
        } else {
            message
        }
    };
    let listing = status.repository.iter().filter_map(|repository| {
        let is_listed = !repository.images.is_empty();
        let failed = is_failure(&repository.status) && !is_listed;
        failed.then(|| format!("repository: {}", why(&repository.status)))
    });
    let members = status
        .repository
        .iter()
        .flat_map(|repository| &repository.images)
        .map(|result| (result.tag.as_str(), &result.status));
    let single = spec
        .images
        .iter()
        .zip(&status.images)
        .filter_map(|(spec, result)| {
            // What goes into no tag is not recorded.
            let to = spec.to.as_ref()?;
            Some((to.name.as_str(), &result.status))
        });
    let tags = members
        .chain(single)
        .filter(|(_, status)| is_failure(status))
        .map(|(tag, status)| format!("tag {tag}: {}", why(status)));
    let mut all = listing.chain(tags);
    let mut messages: Vec<String> = all.by_ref().take(FAILURES).collect();
    let more = all.count();
    if more > 0 {
        messages.push(format!("{more} more tags could not be imported"));
    }
    messages
}

fn and_more(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(" and {count} more"),
    }
}

#[cfg(test)]
mod tests {
    use imagestream_api::types::{
        ImageImportSpec, ImageImportStatus, LocalObjectReference, NamedTagEventList, RepositoryImportStatus,
    };

    use super::*;

    fn stream(tags: &[(&str, &str)]) -> ImageStream {
        let mut stream = ImageStream::default();
        for (tag, image) in tags {
            let event = TagEvent {
                image: (*image).into(),
                docker_image_reference: format!("r/a@{image}"),
                ..TagEvent::default()
            };
            let history = NamedTagEventList {
                tag: (*tag).into(),
                items: vec![event],
                ..NamedTagEventList::default()
            };
            stream.status.tags.insert((*tag).into(), history);
        }
        stream
    }

    fn failure(message: &str) -> Status {
        Status {
            status: Some("Failure".into()),
            message: Some(message.into()),
            ..Status::default()
        }
    }

    #[test]
    fn only_tags_that_moved_are_told_and_only_a_few_by_name() {
        let before = stream(&[("a", "1"), ("b", "1")]);
        assert_eq!(moved(Some(&before), &before), None);
        let after = stream(&[("a", "1"), ("b", "2")]);
        assert_eq!(moved(Some(&before), &after).unwrap(), "imported: b is r/a@2");
        let many = stream(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")]);
        assert_eq!(
            moved(None, &many).unwrap(),
            "imported: a is r/a@1, b is r/a@1, c is r/a@1 and 2 more"
        );
    }

    #[test]
    fn failures_name_their_tags_and_the_rest_is_counted() {
        let mut import = ImageStreamImport::default();
        for number in 0..7 {
            import.spec.images.push(ImageImportSpec {
                to: Some(LocalObjectReference {
                    name: format!("t{number}"),
                }),
                ..ImageImportSpec::default()
            });
            import.status.images.push(ImageImportStatus {
                status: failure("not found"),
                ..ImageImportStatus::default()
            });
        }
        import.spec.images[0].to = None;
        import.status.images[1].status = Status::default();
        import.status.repository = Some(RepositoryImportStatus {
            status: failure("nobody is there"),
            ..RepositoryImportStatus::default()
        });
        assert_eq!(
            failures(&import),
            [
                "repository: nobody is there",
                "tag t2: not found",
                "tag t3: not found",
                "tag t4: not found",
                "tag t5: not found",
                "1 more tags could not be imported"
            ]
        );
    }

    #[test]
    fn a_failure_that_is_noted_already_is_told_to_who_asks_only() {
        let mut import = ImageStreamImport::default();
        import.status.repository = Some(RepositoryImportStatus {
            status: failure("nobody is there"),
            ..RepositoryImportStatus::default()
        });
        let stream = stream(&[("a", "1")]);
        let mut told = Told {
            import: &import,
            before: Some(&stream),
            after: &stream,
            tells_old_failures: false,
            is_written: false,
            at: Timestamp::UNIX_EPOCH,
        };
        let recorder = EventRecorder::new().unwrap();
        tell(&recorder, &told);
        assert_eq!(recorder.waiting(), 0);
        told.tells_old_failures = true;
        tell(&recorder, &told);
        assert_eq!(recorder.waiting(), 1);
    }
}
