//! Recording an image that was pushed: what a mapping makes of a stream.

use super::follow::follow;
use super::resolve::add;
use crate::names::join_image;
use crate::reference::ImageReference;
use crate::types::{Image, ImageStream, TagEvent, Time};

/// An image whose content is in the integrated registry.
const MANAGED: &str = "openshift.io/image.managed";

/// Completes the image of a mapping to the stream `namespace`/`stream`: where it can be pulled from, if it is pushed to
/// the registry `internal` and does not say. Signatures are not part of a push.
pub fn complete(image: &mut Image, namespace: &str, stream: &str, internal: Option<&str>) {
    if let Some(host) = internal.filter(|_| image.docker_image_reference.is_empty()) {
        let name = image.metadata.name.as_deref().unwrap_or_default();
        image.docker_image_reference = join_image(&format!("{host}/{namespace}/{stream}"), name);
    }
    image.signatures.clear();
}

/// The event of a pushed image, to be added to a tag of the stream. `existed`: there was such an image before.
#[must_use]
pub fn event(stream: &ImageStream, image: &Image, existed: bool, now: &Time) -> TagEvent {
    let name = image.metadata.name.clone().unwrap_or_default();
    // What is stored says where the first push went; this one went to the stream's own repository.
    let own = own_repository(stream).filter(|_| existed && is_managed(image));
    let reference = own.map(|repository| {
        let reference = ImageReference {
            tag: String::new(),
            id: name.clone(),
            ..repository
        };
        reference.exact()
    });
    TagEvent {
        created: Some(now.clone()),
        docker_image_reference: reference.unwrap_or_else(|| image.docker_image_reference.clone()),
        image: name,
        generation: stream.metadata.generation.unwrap_or(0),
    }
}

fn is_managed(image: &Image) -> bool {
    let annotations = image.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(MANAGED))
        .is_some_and(|managed| managed == "true")
}

fn own_repository(stream: &ImageStream) -> Option<ImageReference> {
    let computed = stream.status.docker_image_repository.as_str();
    let text = if computed.is_empty() {
        stream.spec.docker_image_repository.as_str()
    } else {
        computed
    };
    ImageReference::parse(text).ok()
}

/// Adds the event to a tag and to those that track it. Whether that changed anything.
pub fn record(stream: &mut ImageStream, tag: &str, event: &TagEvent) -> bool {
    let is_changed = add(stream, tag, event.clone());
    if is_changed {
        follow(stream, tag, event);
    }
    is_changed
}

/// Whether others left a tag alone: its newest event is the same in both streams, apart from when it was added and with
/// which generation, or there was none before.
#[must_use]
pub fn is_undisturbed(before: &ImageStream, now: &ImageStream, tag: &str) -> bool {
    let newest = |stream: &ImageStream| {
        let event = stream.status.tags.get(tag)?.items.first()?;
        Some((event.image.clone(), event.docker_image_reference.clone()))
    };
    newest(before).is_none_or(|before| newest(now) == Some(before))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn now() -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(1_700_000_000).unwrap())
    }

    fn stream(spec: &str, status: &str) -> ImageStream {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "generation": 7},
            "spec": {"dockerImageRepository": spec,
                     "tags": [{"name": "tracking", "from": {"kind": "ImageStreamTag", "name": "t"}}]},
            "status": {"dockerImageRepository": status}
        }))
        .unwrap()
    }

    fn image(reference: &str, annotations: &Value) -> Image {
        serde_json::from_value(json!({
            "metadata": {"name": DIGEST, "annotations": annotations}, "dockerImageReference": reference,
            "signatures": [{"metadata": {"name": "x@y"}}]
        }))
        .unwrap()
    }

    #[test]
    fn an_image_without_reference_is_in_the_integrated_registry() {
        for (given, internal, expected) in [
            ("", Some("r:5000"), format!("r:5000/n/s@{DIGEST}")),
            ("", None, String::new()),
            ("a/b", Some("r:5000"), "a/b".into()),
        ] {
            let mut image = image(given, &Value::Null);
            complete(&mut image, "n", "s", internal);
            assert_eq!(image.docker_image_reference, expected);
            assert_eq!(image.signatures, []);
        }
    }

    #[test]
    fn a_managed_image_that_existed_is_referred_to_through_the_stream() {
        let managed = json!({MANAGED: "true"});
        let own = |repository: &str| format!("{repository}@{DIGEST}");
        for (annotations, existed, spec, status, expected) in [
            (&managed, true, "x/y", "r:5000/n/s", own("r:5000/n/s")),
            (&managed, true, "x/y", "", own("x/y")),
            (&managed, true, "", "", "a/b".into()),
            (&managed, true, "", "BAD NAME", "a/b".into()),
            (&managed, false, "x/y", "r:5000/n/s", "a/b".into()),
            (&Value::Null, true, "x/y", "r:5000/n/s", "a/b".into()),
        ] {
            let event = event(&stream(spec, status), &image("a/b", annotations), existed, &now());
            assert_eq!(
                event.docker_image_reference, expected,
                "{annotations} {existed} {spec} {status}"
            );
            assert_eq!((event.image.as_str(), event.generation), (DIGEST, 7));
        }
    }

    #[test]
    fn a_push_reaches_the_tags_that_track_its_tag_and_counts_once() {
        let mut stream = stream("", "");
        let event = event(&stream, &image("a/b", &Value::Null), false, &now());
        assert!(record(&mut stream, "t", &event));
        assert_eq!(
            stream.status.tags["tracking"].items,
            stream.status.tags["t"].items
        );
        let before = stream.clone();
        let later = TagEvent {
            created: None,
            ..event
        };
        assert!(!record(&mut stream, "t", &later));
        assert_eq!(stream, before);
    }

    #[test]
    fn a_tag_is_undisturbed_while_it_points_at_the_same() {
        let empty = stream("", "");
        let mut pushed = empty.clone();
        record(
            &mut pushed,
            "t",
            &event(&empty, &image("a/b", &Value::Null), false, &now()),
        );
        let mut moved = pushed.clone();
        record(&mut moved, "t", &TagEvent::default());
        let mut touched = pushed.clone();
        if let Some(history) = touched.status.tags.get_mut("t") {
            history.items[0].generation = 99;
            history.items[0].created = None;
        }
        for (before, now, expected) in [
            (&empty, &pushed, true),
            (&pushed, &touched, true),
            (&pushed, &moved, false),
            (&pushed, &empty, false),
        ] {
            assert_eq!(is_undisturbed(before, now, "t"), expected);
        }
    }
}
