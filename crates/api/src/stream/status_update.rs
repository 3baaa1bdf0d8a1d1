//! A new status for a stream: what is taken from the request, and which generation new events get.

use super::repository::untagged;
use crate::types::{ImageStream, TagEvent};

/// The stream that results from a new status.
///
/// Tags and repository of the spec stay; metadata and the rest of the spec are taken from the request. Where the stream
/// can be pulled from is said without tag and digest.
#[must_use]
pub fn prepare(mut stream: ImageStream, stored: &ImageStream) -> ImageStream {
    stream.spec.tags.clone_from(&stored.spec.tags);
    stream
        .spec
        .docker_image_repository
        .clone_from(&stored.spec.docker_image_repository);
    if let Some(repository) = untagged(&stream.status.docker_image_repository) {
        stream.status.docker_image_repository = repository;
    }
    stream.metadata.generation = stored.metadata.generation;
    let of_stream = stored.metadata.generation.unwrap_or(0);
    for (tag, history) in &mut stream.status.tags {
        let Some(newest) = history.items.first_mut().filter(|event| event.generation == 0) else {
            continue;
        };
        let before = stored
            .status
            .tags
            .get(tag)
            .and_then(|history| history.items.first());
        let of_tag = stored.spec.tags.get(tag).and_then(|tag| tag.generation);
        newest.generation = if before.is_none_or(|before| is_still(before, newest)) {
            of_stream
        } else {
            of_tag.unwrap_or(of_stream)
        };
    }
    stream
}

/// Whether an event without generation is the one that was there before, which had none either.
fn is_still(before: &TagEvent, newest: &TagEvent) -> bool {
    before.image == newest.image
        && before.docker_image_reference == newest.docker_image_reference
        && before.generation == 0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stream(items: &Value, tag_generation: &Value) -> ImageStream {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "generation": 5},
            "spec": {"dockerImageRepository": "a/b", "tags": [{"name": "t", "generation": tag_generation}]},
            "status": {"tags": [{"tag": "t", "items": items}]}
        }))
        .unwrap()
    }

    #[test]
    fn an_event_without_generation_gets_that_of_the_stream_or_of_the_tag() {
        let event = |image: &str, generation: i64| json!([{"image": image, "dockerImageReference": "r", "generation": generation}]);
        for (stored, of_tag, new, expected, why) in [
            (json!([]), json!(3), event("x", 0), 5, "there was no event"),
            (event("x", 0), json!(3), event("x", 0), 5, "it is the same event"),
            (
                event("x", 2),
                json!(3),
                event("x", 0),
                3,
                "the event had a generation",
            ),
            (event("x", 0), json!(3), event("y", 0), 3, "it is another image"),
            (event("x", 2), json!(null), event("y", 0), 5, "the tag has none"),
            (event("x", 2), json!(3), event("y", 9), 9, "it has one"),
        ] {
            let prepared = prepare(stream(&new, &json!(1)), &stream(&stored, &of_tag));
            assert_eq!(prepared.status.tags["t"].items[0].generation, expected, "{why}");
        }
    }

    #[test]
    fn where_a_stream_can_be_pulled_from_is_kept_without_tag_and_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (sent, expected) in [
            ("sent/x:tag".to_owned(), "sent/x"),
            (format!("r.test:5000/n/s@{digest}"), "r.test:5000/n/s"),
            (format!("r.test/n/s:v1@{digest}"), "r.test/n/s"),
            ("docker.io/busybox:1".into(), "docker.io/busybox"),
            ("r.test:5000/n/s".into(), "r.test:5000/n/s"),
            ("NO reference:1".into(), "NO reference:1"),
            (String::new(), ""),
        ] {
            let stored = stream(&json!([]), &json!(3));
            let mut new = stored.clone();
            new.status.docker_image_repository.clone_from(&sent);
            let prepared = prepare(new, &stored);
            assert_eq!(prepared.status.docker_image_repository, expected, "{sent}");
        }
    }

    #[test]
    fn the_spec_stays_except_for_the_lookup_policy() {
        let stored = stream(&json!([]), &json!(3));
        let mut new = stored.clone();
        new.spec.tags.clear();
        new.spec.docker_image_repository.clear();
        new.spec.lookup_policy.local = true;
        new.metadata.generation = Some(99);
        new.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        new.status.docker_image_repository = "sent".into();
        let prepared = prepare(new.clone(), &stored);
        assert_eq!(prepared.spec.tags, stored.spec.tags);
        assert_eq!(prepared.spec.docker_image_repository, "a/b");
        assert!(prepared.spec.lookup_policy.local);
        assert_eq!(prepared.metadata.generation, Some(5));
        assert_eq!(prepared.metadata.labels, new.metadata.labels);
        assert_eq!(prepared.status, new.status);
    }
}
