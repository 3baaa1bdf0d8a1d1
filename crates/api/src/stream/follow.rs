//! Tags that track another tag of the same stream: what the one gets, the others get.

use super::resolve::add;
use super::source::namespace;
use crate::types::{ImageStream, TagEvent, TagReference};
use crate::validation::tag::IMAGE_STREAM_TAG;

/// Hands `event`, the newest of `tag`, on to all tags that track it. How many changed.
pub fn follow(stream: &mut ImageStream, tag: &str, event: &TagEvent) -> usize {
    let trackers: Vec<String> = stream
        .spec
        .tags
        .iter()
        .filter(|(_, candidate)| tracks(stream, candidate, tag))
        .map(|(name, _)| name.clone())
        .collect();
    let added = trackers.iter().filter(|name| add(stream, name, event.clone()));
    added.count()
}

/// Hands on the newest events that differ from those in `stored`; all of them for a new stream.
pub fn follow_changes(stream: &mut ImageStream, stored: Option<&ImageStream>) -> usize {
    let newest = |stream: &ImageStream, tag: &str| -> Option<TagEvent> {
        stream.status.tags.get(tag)?.items.first().cloned()
    };
    let tags: Vec<String> = stream.status.tags.keys().cloned().collect();
    let mut changes = 0;
    for tag in tags {
        let Some(event) = newest(stream, &tag) else {
            continue;
        };
        if stored.and_then(|stored| newest(stored, &tag)).as_ref() != Some(&event) {
            changes += follow(stream, &tag, &event);
        }
    }
    changes
}

fn tracks(stream: &ImageStream, candidate: &TagReference, tag: &str) -> bool {
    let Some(from) = &candidate.from else {
        return false;
    };
    let home = &stream.metadata;
    let is_here = namespace(from).is_none_or(|namespace| Some(namespace) == home.namespace.as_deref());
    let name = from.name.as_deref().unwrap_or_default();
    let followed = match name.split_once(':') {
        None => Some(name),
        Some((of_stream, followed)) => (Some(of_stream) == home.name.as_deref()).then_some(followed),
    };
    from.kind.as_deref() == Some(IMAGE_STREAM_TAG) && is_here && followed == Some(tag)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stream(tags: &Value, status: &Value) -> ImageStream {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n"}, "spec": {"tags": tags}, "status": {"tags": status}
        }))
        .unwrap()
    }

    fn tracker(name: &str, from: &Value) -> Value {
        json!({"name": name, "from": from})
    }

    fn history(tag: &str, image: &str) -> Value {
        json!({"tag": tag, "items": [{"created": "2024-01-02T03:04:05Z", "dockerImageReference": format!("a/b@{image}"),
                                      "image": image, "generation": 3}]})
    }

    #[test]
    fn a_tag_tracks_a_tag_of_its_own_stream_by_either_form() {
        for (from, expected) in [
            (json!({"kind": "ImageStreamTag", "name": "t"}), 1),
            (json!({"kind": "ImageStreamTag", "name": "s:t"}), 1),
            (
                json!({"kind": "ImageStreamTag", "name": "s:t", "namespace": "n"}),
                1,
            ),
            (
                json!({"kind": "ImageStreamTag", "name": "s:t", "namespace": "m"}),
                0,
            ),
            (json!({"kind": "ImageStreamTag", "name": "o:t"}), 0),
            (json!({"kind": "ImageStreamTag", "name": ":t"}), 0),
            (json!({"kind": "ImageStreamTag", "name": "other"}), 0),
            (json!({"kind": "ImageStreamImage", "name": "t"}), 0),
            (json!({"kind": "DockerImage", "name": "t"}), 0),
            (Value::Null, 0),
        ] {
            let mut stream = stream(&json!([tracker("u", &from)]), &json!([history("t", "x")]));
            let event = stream.status.tags["t"].items[0].clone();
            assert_eq!(follow(&mut stream, "t", &event), expected, "{from}");
            let followed = stream
                .status
                .tags
                .get("u")
                .map(|history| history.items[0].clone());
            assert_eq!(followed, (expected == 1).then_some(event), "{from}");
        }
    }

    #[test]
    fn only_changes_are_handed_on() {
        let tags = json!([
            tracker("u", &json!({"kind": "ImageStreamTag", "name": "t"})),
            tracker("v", &json!({"kind": "ImageStreamTag", "name": "o"})),
        ]);
        let stored = stream(&tags, &json!([history("t", "x"), history("o", "y")]));
        let mut new = stream(&tags, &json!([history("t", "z"), history("o", "y")]));
        assert_eq!(follow_changes(&mut new, Some(&stored)), 1);
        assert_eq!(new.status.tags["u"].items, new.status.tags["t"].items);
        assert!(!new.status.tags.contains_key("v"));
        let mut created = stored.clone();
        assert_eq!(follow_changes(&mut created, None), 2);
        let mut emptied = stream(&tags, &json!([{"tag": "t"}]));
        assert_eq!(follow_changes(&mut emptied, Some(&stored)), 0);
    }

    #[test]
    fn failures_of_a_tag_are_its_own() {
        let tags = json!([tracker("u", &json!({"kind": "ImageStreamTag", "name": "t"}))]);
        let mut failed = history("t", "x");
        failed["conditions"] = json!([{"type": "ImportSuccess", "status": "False", "generation": 3}]);
        let never = json!({"tag": "t", "conditions": failed["conditions"]});
        for (history, followed) in [(failed, true), (never, false)] {
            let mut stream = stream(&tags, &json!([history]));
            follow_changes(&mut stream, None);
            assert!(!stream.status.tags["t"].conditions.is_empty());
            let tracking = stream.status.tags.get("u");
            assert_eq!(
                tracking.map(|tracking| tracking.conditions.len()),
                followed.then_some(0)
            );
        }
    }

    #[test]
    fn tags_that_track_each_other_come_to_rest() {
        let tags = json!([
            tracker("a", &json!({"kind": "ImageStreamTag", "name": "b"})),
            tracker("b", &json!({"kind": "ImageStreamTag", "name": "a"})),
        ]);
        let mut stream = stream(&tags, &json!([history("a", "x"), history("b", "y")]));
        follow_changes(&mut stream, None);
        let newest = |tag: &str| stream.status.tags[tag].items[0].image.clone();
        assert_eq!(newest("a"), newest("b"));
    }
}
