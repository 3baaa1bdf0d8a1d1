//! Generations of a stream and its tags: which changes count, and who gets which number.

use crate::types::{ImageStream, ImageStreamSpec, TagReference};

/// Sets all generations of a stream that is created.
pub fn on_create(stream: &mut ImageStream) {
    stream.metadata.generation = Some(1);
    for tag in stream.spec.tags.values_mut() {
        tag.generation = Some(1);
    }
}

/// Sets the generations of a stream that replaces `stored`.
///
/// A tag's generation is not the client's to choose, except 0, which asks for a new import.
pub fn on_update(stream: &mut ImageStream, stored: &ImageStream) {
    for (name, tag) in &mut stream.spec.tags {
        if tag.generation != Some(0)
            && let Some(old) = stored.spec.tags.get(name)
        {
            tag.generation = old.generation;
        }
    }
    let before = stored.metadata.generation.unwrap_or(0);
    let changed = before == 0 || !equal(&stream.spec, &stored.spec);
    let generation = if changed { before + 1 } else { before };
    stream.metadata.generation = Some(generation);
    let namespace = stream.metadata.namespace.as_deref().unwrap_or_default();
    for (name, tag) in &mut stream.spec.tags {
        let points_elsewhere = match stored.spec.tags.get(name) {
            None => true,
            Some(old) => reference_changed(tag, old, namespace),
        };
        if points_elsewhere || tag.generation.unwrap_or(0) == 0 {
            tag.generation = Some(generation);
        }
    }
}

/// Whether a tag now points at something else than its `stored` form, or is to be imported again.
pub fn reference_changed(tag: &TagReference, stored: &TagReference, namespace: &str) -> bool {
    let Some(from) = &tag.from else {
        return false;
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    if text(&from.kind).is_empty() && text(&from.name).is_empty() {
        return false;
    }
    let old = stored.from.clone().unwrap_or_default();
    let effective = |given: &Option<String>| match text(given) {
        given if given.is_empty() => namespace.to_owned(),
        given => given,
    };
    effective(&from.namespace) != effective(&old.namespace)
        || text(&from.name) != text(&old.name)
        || tag.reference != stored.reference
        || tag.import_policy.import_mode != stored.import_policy.import_mode
        || (tag.generation == Some(0) && stored.generation.is_some_and(|generation| generation != 0))
}

/// Whether two specs say the same; no annotations and empty annotations do.
fn equal(one: &ImageStreamSpec, other: &ImageStreamSpec) -> bool {
    let plain = |spec: &ImageStreamSpec| {
        let mut spec = spec.clone();
        for tag in spec.tags.values_mut() {
            if tag
                .annotations
                .as_ref()
                .is_some_and(|annotations| annotations.is_empty())
            {
                tag.annotations = None;
            }
        }
        spec
    };
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stream(generation: i64, tags: &Value) -> ImageStream {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "generation": generation}, "spec": {"tags": tags}
        }))
        .unwrap()
    }

    fn tag(name: &str, from: &str, generation: &Value) -> Value {
        json!({"name": name, "from": {"kind": "DockerImage", "name": from}, "generation": generation})
    }

    fn generations(stream: &ImageStream) -> (i64, Vec<i64>) {
        let tags = stream.spec.tags.values().map(|tag| tag.generation.unwrap());
        (stream.metadata.generation.unwrap(), tags.collect())
    }

    #[test]
    fn a_new_stream_and_its_tags_start_at_one() {
        let mut new = stream(7, &json!([tag("a", "x", &json!(9)), tag("b", "y", &json!(null))]));
        on_create(&mut new);
        assert_eq!(generations(&new), (1, vec![1, 1]));
    }

    #[test]
    fn an_update_bumps_the_stream_and_the_tags_that_point_elsewhere() {
        let stored = stream(3, &json!([tag("a", "x", &json!(1)), tag("b", "y", &json!(2))]));
        for (tags, expected, why) in [
            (
                json!([tag("a", "x", &json!(null)), tag("b", "y", &json!(99))]),
                (3, vec![1, 2]),
                "nothing changed",
            ),
            (
                json!([tag("a", "z", &json!(1)), tag("b", "y", &json!(2))]),
                (4, vec![4, 2]),
                "another name",
            ),
            (
                json!([tag("a", "x", &json!(0)), tag("b", "y", &json!(2))]),
                (4, vec![4, 2]),
                "import again",
            ),
            (
                json!([tag("a", "x", &json!(1)), tag("c", "y", &json!(2))]),
                (4, vec![1, 4]),
                "a new tag",
            ),
            (json!([tag("a", "x", &json!(1))]), (4, vec![1]), "a tag less"),
        ] {
            let mut updated = stream(3, &tags);
            on_update(&mut updated, &stored);
            assert_eq!(generations(&updated), expected, "{why}");
        }
    }

    #[test]
    fn only_what_a_tag_points_at_counts_as_a_changed_reference() {
        let old: TagReference = serde_json::from_value(tag("a", "x", &json!(2))).unwrap();
        let with = |change: &dyn Fn(&mut TagReference)| {
            let mut tag = old.clone();
            change(&mut tag);
            reference_changed(&tag, &old, "n")
        };
        assert!(!with(&|_| ()));
        assert!(!with(&|tag| tag.from = None));
        assert!(!with(
            &|tag| tag.from.as_mut().unwrap().kind = Some("ImageStreamTag".into())
        ));
        assert!(!with(
            &|tag| tag.from.as_mut().unwrap().namespace = Some("n".into())
        ));
        assert!(with(
            &|tag| tag.from.as_mut().unwrap().namespace = Some("m".into())
        ));
        assert!(with(&|tag| tag.reference = true));
        assert!(with(
            &|tag| tag.import_policy.import_mode = "PreserveOriginal".into()
        ));
        assert!(!with(&|tag| tag.import_policy.insecure = true));
        assert!(!with(&|tag| tag.generation = Some(7)));
        assert!(with(&|tag| tag.generation = Some(0)));
    }
}
