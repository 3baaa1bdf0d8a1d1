//! Editing one tag of a stream through the objects that are computed from it: what of such an object counts, and what
//! it makes of the stream.

use std::collections::BTreeMap;

use crate::names::StreamTag;
use crate::status;
use crate::types::{Image, ImageStream, ImageStreamTag, ImageTag, Status, TagReference};

/// Prepares a stream tag that is created: what the server computes does not count, and its tag has its name.
pub fn prepare_new_stream_tag(object: &mut ImageStreamTag) {
    if let Some(tag) = &mut object.tag {
        name_after(tag, object.metadata.name.as_deref());
    }
    object.conditions.clear();
    object.image = Image::default();
}

/// Prepares a stream tag that replaces `stored`, the view of the tag as it is.
pub fn prepare_stream_tag(object: &mut ImageStreamTag, stored: &ImageStreamTag) {
    let has_labels = object.metadata.labels.iter().flatten().next().is_some();
    if !has_labels {
        // Clients from before the labels of streams were shown send none.
        object.metadata.labels.clone_from(&stored.metadata.labels);
    }
    // Who reads and writes back need not change the annotations in both places.
    if let Some(tag) = &mut object.tag {
        tag.annotations = annotations(object.metadata.annotations.clone());
    }
    object.conditions.clone_from(&stored.conditions);
    object.image.clone_from(&stored.image);
}

/// Prepares an image tag that is created.
pub fn prepare_new_image_tag(object: &mut ImageTag) {
    if let Some(spec) = &mut object.spec {
        name_after(spec, object.metadata.name.as_deref());
    }
    object.status = None;
    object.image = None;
}

fn name_after(tag: &mut TagReference, name: Option<&str>) {
    if tag.name.is_empty() {
        StreamTag::split(name.unwrap_or_default())
            .tag
            .clone_into(&mut tag.name);
    }
}

/// No annotations are none, not an empty map of them.
fn annotations(annotations: Option<BTreeMap<String, String>>) -> Option<BTreeMap<String, String>> {
    annotations.filter(|annotations| !annotations.is_empty())
}

/// The stream has the tag in its spec already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagExists;

/// Adds a tag to the spec; nothing if there is no `reference`.
///
/// # Errors
/// [`TagExists`]
pub fn add(stream: &mut ImageStream, tag: &str, reference: Option<TagReference>) -> Result<(), TagExists> {
    if stream.spec.tags.contains_key(tag) {
        return Err(TagExists);
    }
    if let Some(reference) = reference {
        set(stream, tag, reference);
    }
    Ok(())
}

/// What an update of a stream tag makes of the stream: its tag replaces the one in the spec, if it has one, and its
/// annotations do anyway. Whether the tag is new in the spec.
///
/// # Errors
/// 400 if neither the object nor the spec has the tag.
pub fn apply_stream_tag(
    stream: &mut ImageStream,
    tag: &str,
    object: &ImageStreamTag,
) -> Result<bool, Box<Status>> {
    let before = stream.spec.tags.get(tag);
    let is_new = before.is_none();
    let Some(reference) = object.tag.as_ref().or(before) else {
        let namespace = stream.metadata.namespace.as_deref().unwrap_or_default();
        let name = stream.metadata.name.as_deref().unwrap_or_default();
        let message = format!(
            "imagestreamtag {tag} is not a spec tag in imagestream {namespace}/{name}, cannot be updated"
        );
        return Err(status::bad_request(message).into());
    };
    let reference = TagReference {
        annotations: object.metadata.annotations.clone(),
        ..reference.clone()
    };
    set(stream, tag, reference);
    Ok(is_new)
}

/// What an update of an image tag makes of the stream: its spec replaces the one of the tag, which goes if there is
/// none; the history stays. Whether the spec had no such tag.
pub fn apply_image_tag(stream: &mut ImageStream, tag: &str, spec: Option<TagReference>) -> bool {
    let is_new = !stream.spec.tags.contains_key(tag);
    match spec {
        Some(spec) => set(stream, tag, spec),
        None => {
            stream.spec.tags.remove(tag);
        }
    }
    is_new
}

fn set(stream: &mut ImageStream, tag: &str, mut reference: TagReference) {
    tag.clone_into(&mut reference.name);
    reference.annotations = annotations(reference.annotations);
    stream.spec.tags.insert(tag.to_owned(), reference);
}

/// Removes a tag and its history. Whether there was any.
pub fn remove(stream: &mut ImageStream, tag: &str) -> bool {
    let spec = stream.spec.tags.remove(tag);
    let history = stream.status.tags.remove(tag);
    spec.is_some() || history.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::types::ObjectMeta;
    use crate::views::{image_stream_tag, image_tag};

    fn stream() -> ImageStream {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "labels": {"app": "x"}},
            "spec": {"tags": [{"name": "both", "from": {"kind": "DockerImage", "name": "a/b"},
                               "annotations": {"old": "1"}},
                              {"name": "wanted"}]},
            "status": {"tags": [{"tag": "both", "items": [{"image": "i", "dockerImageReference": "a/b"}]},
                                {"tag": "pushed", "items": [{"image": "i", "dockerImageReference": "a/b"}]}]}
        }))
        .unwrap()
    }

    fn reference(name: &str, from: &str) -> TagReference {
        serde_json::from_value(json!({"name": name, "from": {"kind": "DockerImage", "name": from}})).unwrap()
    }

    fn tags(stream: &ImageStream) -> (Vec<&str>, Vec<&str>) {
        let spec = stream.spec.tags.keys().map(String::as_str).collect();
        (spec, stream.status.tags.keys().map(String::as_str).collect())
    }

    #[test]
    fn a_tag_is_added_once_under_its_name() {
        let mut stream = stream();
        assert_eq!(add(&mut stream, "both", None), Err(TagExists));
        assert_eq!(add(&mut stream, "new", None), Ok(()));
        assert_eq!(tags(&stream).0, ["both", "wanted"]);
        assert_eq!(
            add(&mut stream, "pushed", Some(reference("other", "c/d"))),
            Ok(())
        );
        assert_eq!(stream.spec.tags["pushed"], reference("pushed", "c/d"));
    }

    #[test]
    fn an_update_of_a_stream_tag_sets_tag_and_annotations() {
        for (tag, given, on_object, is_new, expected) in [
            (
                "both",
                Some(reference("x", "c/d")),
                json!({"new": "2"}),
                false,
                Some("c/d"),
            ),
            ("both", None, json!({"new": "2"}), false, Some("a/b")),
            ("pushed", Some(reference("", "c/d")), json!({}), true, Some("c/d")),
            ("wanted", None, Value::Null, false, None),
        ] {
            let mut stream = stream();
            let object = ImageStreamTag {
                metadata: ObjectMeta {
                    annotations: serde_json::from_value(on_object.clone()).unwrap(),
                    ..ObjectMeta::default()
                },
                tag: given,
                ..ImageStreamTag::default()
            };
            assert_eq!(apply_stream_tag(&mut stream, tag, &object), Ok(is_new), "{tag}");
            let after = &stream.spec.tags[tag];
            let from = after.from.as_ref().and_then(|from| from.name.as_deref());
            assert_eq!((after.name.as_str(), from), (tag, expected));
            let annotations = json!(after.annotations);
            let wanted = if on_object == json!({}) {
                Value::Null
            } else {
                on_object
            };
            assert_eq!(annotations, wanted, "{tag}");
        }
    }

    #[test]
    fn only_a_tag_of_the_spec_can_do_without_one_in_the_object() {
        let error = apply_stream_tag(&mut stream(), "pushed", &ImageStreamTag::default()).unwrap_err();
        assert_eq!(error.code, Some(400));
        assert_eq!(
            error.message.as_deref(),
            Some("imagestreamtag pushed is not a spec tag in imagestream n/s, cannot be updated")
        );
    }

    #[test]
    fn an_update_of_an_image_tag_sets_or_removes_the_spec() {
        for (tag, spec, is_new, expected) in [
            ("both", Some("c/d"), false, vec!["both", "wanted"]),
            ("both", None, false, vec!["wanted"]),
            ("pushed", Some("c/d"), true, vec!["both", "pushed", "wanted"]),
            ("pushed", None, true, vec!["both", "wanted"]),
        ] {
            let mut stream = stream();
            let spec = spec.map(|from| reference("x", from));
            assert_eq!(apply_image_tag(&mut stream, tag, spec), is_new, "{tag}");
            assert_eq!(tags(&stream), (expected, vec!["both", "pushed"]), "{tag}");
            assert!(stream.spec.tags.get(tag).is_none_or(|after| after.name == tag));
        }
    }

    #[test]
    fn a_tag_is_removed_from_spec_and_status() {
        for (tag, removed, left) in [
            ("both", true, (vec!["wanted"], vec!["pushed"])),
            ("wanted", true, (vec!["both"], vec!["both", "pushed"])),
            ("pushed", true, (vec!["both", "wanted"], vec!["both"])),
            ("none", false, (vec!["both", "wanted"], vec!["both", "pushed"])),
        ] {
            let mut stream = stream();
            assert_eq!(remove(&mut stream, tag), removed, "{tag}");
            assert_eq!(tags(&stream), left, "{tag}");
        }
    }

    #[test]
    fn what_the_server_computes_does_not_count_in_new_objects() {
        let mut object = image_stream_tag(&stream(), "both", None);
        object.metadata.name = Some("s:".into());
        object.tag = Some(reference("", "c/d"));
        object.conditions.push(crate::types::TagEventCondition::default());
        prepare_new_stream_tag(&mut object);
        assert_eq!(object.tag.unwrap().name, "latest");
        assert_eq!((object.conditions, object.image), (vec![], Image::default()));
        let mut object = image_tag(&stream(), "both", Some(&Image::default())).unwrap();
        object.spec = Some(reference("", "c/d"));
        prepare_new_image_tag(&mut object);
        assert_eq!(object.spec.unwrap().name, "both");
        assert!(object.status.is_none() && object.image.is_none());
    }

    #[test]
    fn a_stream_tag_that_comes_back_from_a_client_is_completed() {
        let stored = image_stream_tag(&stream(), "both", None);
        let mut object = ImageStreamTag {
            tag: Some(reference("both", "c/d")),
            ..ImageStreamTag::default()
        };
        object.metadata.annotations = Some([("new".to_owned(), "2".to_owned())].into());
        object.image.docker_image_reference = "forged".into();
        prepare_stream_tag(&mut object, &stored);
        assert_eq!(object.metadata.labels, stored.metadata.labels);
        assert_eq!(
            (object.conditions, object.image),
            (stored.conditions, stored.image)
        );
        assert_eq!(object.tag.unwrap().annotations, object.metadata.annotations);
        let mut labelled = ImageStreamTag::default();
        labelled.metadata.labels = Some([("other".to_owned(), "y".to_owned())].into());
        let before = labelled.metadata.labels.clone();
        prepare_stream_tag(&mut labelled, &image_stream_tag(&stream(), "both", None));
        assert_eq!(labelled.metadata.labels, before);
    }
}
