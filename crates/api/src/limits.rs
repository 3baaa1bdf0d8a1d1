//! What a [LimitRange][1] of the image group limits: how many images and tags a stream refers to, and how large a
//! pushed image is.
//!
//! [1]: https://docs.openshift.com/container-platform/latest/nodes/clusters/nodes-cluster-limit-ranges.html

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};

use crate::field::quoted;
use crate::names::{Compound, join_tag};
use crate::quantity::Quantity;
use crate::reference::ImageReference;
use crate::types::{GROUP, ImageStream, ObjectReference};
use crate::validation::tag::{DOCKER_IMAGE, IMAGE_STREAM_IMAGE, IMAGE_STREAM_TAG};

/// The type of limits of a whole stream.
const STREAM: &str = "openshift.io/ImageStream";
/// The type of limits of one image.
const IMAGE: &str = "openshift.io/Image";
/// Distinct images in the history of a stream.
const IMAGES: &str = "openshift.io/images";
/// Distinct references in the spec tags of a stream.
const IMAGE_TAGS: &str = "openshift.io/image-tags";
/// Bytes of an image.
const STORAGE: &str = "storage";

/// What of a stream is limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Usage {
    images: BTreeSet<String>,
    references: BTreeSet<String>,
}

impl Usage {
    fn of(stream: &ImageStream) -> Self {
        let namespace = stream.metadata.namespace.as_deref().unwrap_or_default();
        let events = stream.status.tags.values().flat_map(|history| &history.items);
        let tags = stream.spec.tags.values();
        Self {
            images: events
                .map(|event| event.image.clone())
                .filter(|image| !image.is_empty())
                .collect(),
            references: tags
                .filter_map(|tag| reference_key(tag.from.as_ref()?, namespace))
                .collect(),
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        self.images.is_subset(&other.images) && self.references.is_subset(&other.references)
    }
}

/// One text for all ways to refer to the same image or tag from a stream in `namespace`; nothing for a reference that
/// does not count, because it is malformed or of an unknown kind.
fn reference_key(from: &ObjectReference, namespace: &str) -> Option<String> {
    let name = from.name.as_deref().unwrap_or_default();
    let namespace = match from.namespace.as_deref() {
        None | Some("") => namespace,
        Some(given) => given,
    };
    match from.kind.as_deref() {
        Some(DOCKER_IMAGE) => Some(ImageReference::parse(name).ok()?.defaulted().minimal().exact()),
        Some(IMAGE_STREAM_TAG) => {
            let (stream, tag) = Compound::ImageStreamTag.parse(name).ok()?;
            Some(format!("{namespace}/{}", join_tag(stream, tag)))
        }
        Some(IMAGE_STREAM_IMAGE) => {
            let mut reference = ImageReference::parse(name).ok()?;
            if reference.id.is_empty() {
                return None;
            }
            if reference.namespace.is_empty() {
                namespace.clone_into(&mut reference.namespace);
            }
            Some(reference.minimal().exact())
        }
        _ => None,
    }
}

/// Which limits of its namespace a stream exceeds, as the text of an error.
///
/// `compared_with` is the stream as it is: a stream that refers to nothing new is not held to limits, so that what
/// exceeds them already can still be reduced.
#[must_use]
pub fn stream_violation(
    stream: &ImageStream,
    compared_with: Option<&ImageStream>,
    limits: &[LimitRange],
) -> Option<String> {
    let most = |resource| smallest(limits, STREAM, resource);
    let (images, references) = (most(IMAGES), most(IMAGE_TAGS));
    if images.is_none() && references.is_none() {
        return None;
    }
    let usage = Usage::of(stream);
    if compared_with.is_some_and(|before| usage.is_within(&Usage::of(before))) {
        return None;
    }
    let violations: Vec<String> = [
        (IMAGES, usage.images.len(), images),
        (IMAGE_TAGS, usage.references.len(), references),
    ]
    .into_iter()
    .filter_map(|(resource, used, most)| exceeded(STREAM, resource, Quantity::count(used), most?))
    .collect();
    let why = match violations.as_slice() {
        [] => return None,
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    let name = quoted(stream.metadata.name.as_deref().unwrap_or_default());
    Some(format!("ImageStream.{GROUP} {name} is forbidden: {why}"))
}

/// Whether any of the limits is about single images.
#[must_use]
pub fn limit_images(limits: &[LimitRange]) -> bool {
    items(limits, IMAGE).next().is_some()
}

/// The limit that an image of `size` bytes exceeds, as the text of an error.
#[must_use]
pub fn image_violation(size: i64, limits: &[LimitRange]) -> Option<String> {
    let most = smallest(limits, IMAGE, STORAGE)?;
    exceeded(IMAGE, STORAGE, Quantity::bytes(size), most)
}

fn items<'a>(limits: &'a [LimitRange], of_type: &'a str) -> impl Iterator<Item = &'a LimitRangeItem> {
    limits
        .iter()
        .filter_map(|range| range.spec.as_ref())
        .flat_map(|spec| &spec.limits)
        .filter(move |item| item.type_ == of_type)
}

fn smallest(limits: &[LimitRange], of_type: &str, resource: &str) -> Option<Quantity> {
    items(limits, of_type)
        // What is no quantity is refused when the limit is written.
        .filter_map(|item| Quantity::parse(&item.max.as_ref()?.get(resource)?.0).ok())
        .min()
}

fn exceeded(of_type: &str, resource: &str, used: Quantity, most: Quantity) -> Option<String> {
    (used > most).then(|| {
        format!("requested usage of {resource} exceeds the maximum limit per {of_type} ({used} > {most})")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn limits(of_type: &str, max: &Value) -> LimitRange {
        serde_json::from_value(json!({"metadata": {}, "spec": {"limits": [{"type": of_type, "max": max}]}}))
            .unwrap()
    }

    fn stream(references: &[&str], images: &[&str]) -> ImageStream {
        let tags: Vec<Value> = references
            .iter()
            .enumerate()
            .map(|(number, name)| json!({"name": number.to_string(), "from": {"kind": "DockerImage", "name": name}}))
            .collect();
        let items: Vec<Value> = images.iter().map(|image| json!({"image": image})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n"}, "spec": {"tags": tags},
            "status": {"tags": [{"tag": "t", "items": items}]}
        }))
        .unwrap()
    }

    #[test]
    fn references_to_the_same_thing_count_once() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (kind, name, namespace, key) in [
            (DOCKER_IMAGE, "is:latest", "", Some("docker.io/is".to_owned())),
            (
                DOCKER_IMAGE,
                "docker.io/library/is",
                "",
                Some("docker.io/is".into()),
            ),
            (
                DOCKER_IMAGE,
                "index.docker.io/foo/bar",
                "",
                Some("docker.io/foo/bar".into()),
            ),
            (
                DOCKER_IMAGE,
                "quay.io/foo/bar:1",
                "",
                Some("quay.io/foo/bar:1".into()),
            ),
            (DOCKER_IMAGE, "BAD NAME", "", None),
            (
                IMAGE_STREAM_TAG,
                "is:latest",
                "shared",
                Some("shared/is:latest".into()),
            ),
            (
                IMAGE_STREAM_TAG,
                "other:tag",
                "fallback",
                Some("fallback/other:tag".into()),
            ),
            (
                IMAGE_STREAM_TAG,
                "other:tag",
                "",
                Some("fallback/other:tag".into()),
            ),
            (IMAGE_STREAM_TAG, "is", "", None),
            (IMAGE_STREAM_IMAGE, "is:tag", "", None),
            (
                IMAGE_STREAM_IMAGE,
                &format!("is@{digest}"),
                "",
                Some(format!("fallback/is@{digest}")),
            ),
            (
                IMAGE_STREAM_IMAGE,
                &format!("is@{digest}"),
                "shared",
                Some(format!("shared/is@{digest}")),
            ),
            ("Other", "is", "", None),
        ] {
            let from = ObjectReference {
                kind: Some(kind.into()),
                name: Some(name.into()),
                namespace: Some(namespace.into()),
                ..ObjectReference::default()
            };
            assert_eq!(reference_key(&from, "fallback"), key, "{kind} {name} {namespace}");
        }
    }

    #[test]
    fn a_stream_may_not_grow_beyond_its_limits() {
        let limit = [
            limits(STREAM, &json!({IMAGES: "1", IMAGE_TAGS: "1"})),
            limits(STREAM, &json!({IMAGES: "5"})),
        ];
        let text = |why: &str| {
            Some(format!(
                "ImageStream.image.openshift.io \"s\" is forbidden: {why}"
            ))
        };
        let images = "requested usage of openshift.io/images exceeds the maximum limit per openshift.io/ImageStream \
                      (2 > 1)";
        let tags = "requested usage of openshift.io/image-tags exceeds the maximum limit per \
                    openshift.io/ImageStream (2 > 1)";
        for (stream, expected) in [
            (stream(&["x/y:1"], &["a", "a", ""]), None),
            (stream(&["x/y", "x/y:latest"], &[]), None),
            (stream(&[], &["a", "b"]), text(images)),
            (stream(&["x/y:1", "x/y:2"], &[]), text(tags)),
            (
                stream(&["x/y:1", "x/y:2"], &["a", "b"]),
                text(&format!("[{images}, {tags}]")),
            ),
        ] {
            assert_eq!(stream_violation(&stream, None, &limit), expected);
            assert_eq!(stream_violation(&stream, None, &[]), None);
        }
    }

    #[test]
    fn what_exceeds_a_limit_already_may_stay_and_shrink_but_not_change() {
        let limit = [limits(STREAM, &json!({IMAGES: "1"}))];
        let before = stream(&[], &["a", "b", "c"]);
        for (images, is_refused) in [
            (&["a", "b", "c"][..], false),
            (&["a", "b"], false),
            (&["a", "x"], true),
            (&["a", "b", "c", "d"], true),
            (&["x"], false),
        ] {
            let violation = stream_violation(&stream(&[], images), Some(&before), &limit);
            assert_eq!(violation.is_some(), is_refused, "{images:?}");
        }
    }

    #[test]
    fn images_are_limited_by_their_size() {
        let limit = |max: &str| [limits(IMAGE, &json!({STORAGE: max}))];
        let text = |sizes: &str| {
            Some(format!(
                "requested usage of storage exceeds the maximum limit per openshift.io/Image ({sizes})"
            ))
        };
        assert_eq!(image_violation(5120, &limit("5Ki")), None);
        assert_eq!(image_violation(5121, &limit("5Ki")), text("5121 > 5Ki"));
        assert_eq!(image_violation(5120, &limit("4096")), text("5Ki > 4096"));
        let other = [limits(IMAGE, &json!({"cpu": "1"}))];
        assert_eq!(image_violation(i64::MAX, &other), None);
        assert_eq!(image_violation(i64::MAX, &[]), None);
        assert!(limit_images(&other) && !limit_images(&[limits(STREAM, &json!({IMAGES: "1"}))]));
    }
}
