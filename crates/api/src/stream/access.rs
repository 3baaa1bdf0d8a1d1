//! Whether somebody may refer to streams of other namespaces: who can [pull a stream's layers][1] can refer to it.
//!
//! [1]: https://docs.openshift.com/container-platform/latest/openshift_images/managing_images/using-image-pull-secrets.html

use std::collections::{BTreeMap, BTreeSet};

use super::source::{From, StreamKey, changed, from_path, namespace};
use crate::field::{FieldError, quoted};
use crate::types::{ImageStream, ObjectReference};

/// The answer to whether the caller may `get` `imagestreams/layers` of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Review {
    /// The caller may.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while the answer was looked for.
    pub evaluation_error: String,
    /// Why there is no answer.
    pub failure: Option<String>,
}

impl Review {
    fn is_granted(&self) -> bool {
        self.allowed && self.failure.is_none()
    }
}

/// Answers by stream. One that is missing is a denial.
pub type Reviews = BTreeMap<StreamKey, Review>;

/// The streams of other namespaces that tags refer to, new or otherwise than in `stored`. One review each.
#[must_use]
pub fn needed(stream: &ImageStream, stored: Option<&ImageStream>) -> BTreeSet<StreamKey> {
    let home = StreamKey::of(stream);
    foreign(stream, stored)
        .filter_map(|(_, from)| From::parse(&home, from))
        .map(|from| from.stream)
        .collect()
}

/// The streams of other namespaces of which the caller does not learn whether they exist: not even a refusal says so.
pub(super) fn hidden(
    stream: &ImageStream,
    stored: Option<&ImageStream>,
    reviews: &Reviews,
) -> BTreeSet<StreamKey> {
    let mut streams = needed(stream, stored);
    streams.retain(|key| !reviews.get(key).is_some_and(Review::is_granted));
    streams
}

/// The tags whose references the caller may not make, or that are malformed.
#[must_use]
pub fn denied(stream: &ImageStream, stored: Option<&ImageStream>, reviews: &Reviews) -> Vec<FieldError> {
    let home = StreamKey::of(stream);
    let unanswered = Review::default();
    foreign(stream, stored)
        .filter_map(|(tag, from)| {
            let Some(target) = From::parse(&home, from) else {
                return Some(From::malformed(tag, from));
            };
            let review = reviews.get(&target.stream).unwrap_or(&unanswered);
            if review.is_granted() {
                return None;
            }
            let mut message = format!(
                "{}/{}: {} {}",
                target.stream.namespace,
                target.stream.name,
                quoted(&review.reason),
                quoted(&review.evaluation_error)
            );
            if let Some(failure) = &review.failure {
                message.push_str("- ");
                message.push_str(failure);
            }
            Some(FieldError::forbidden(&from_path(tag), message))
        })
        .collect()
}

fn foreign<'a>(
    stream: &'a ImageStream,
    stored: Option<&'a ImageStream>,
) -> impl Iterator<Item = (&'a str, &'a ObjectReference)> {
    let home = stream.metadata.namespace.as_deref().unwrap_or_default();
    changed(stream, stored)
        .filter(move |(_, _, from)| namespace(from).is_some_and(|namespace| namespace != home))
        .map(|(tag, _, from)| (tag, from))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stream(tags: &Value) -> ImageStream {
        serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "ns1"}, "spec": {"tags": tags}}))
            .unwrap()
    }

    fn key(namespace: &str, name: &str) -> StreamKey {
        StreamKey {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    #[test]
    fn references_to_other_namespaces_are_reviewed() {
        for (kind, namespace, name, expected) in [
            ("ImageStreamTag", "", "other:latest", None),
            ("ImageStreamTag", "ns1", "other:latest", None),
            ("ImageStreamTag", "ns2", "other:latest", Some(key("ns2", "other"))),
            ("ImageStreamTag", "ns2", "latest", Some(key("ns2", "s"))),
            ("ImageStreamImage", "ns2", "other@id", Some(key("ns2", "other"))),
            ("DockerImage", "ns2", "other", None),
        ] {
            let from = json!({"kind": kind, "namespace": namespace, "name": name});
            let stream = stream(&json!([{"name": "t", "from": from}]));
            assert_eq!(needed(&stream, None), BTreeSet::from_iter(expected), "{from}");
            assert_eq!(
                needed(&stream, Some(&stream)),
                BTreeSet::new(),
                "unchanged: {from}"
            );
        }
    }

    #[test]
    fn one_review_serves_all_tags_of_a_stream() {
        let from = |name: &str| json!({"kind": "ImageStreamTag", "namespace": "ns2", "name": name});
        let stream = stream(&json!([
            {"name": "t", "from": from("o:a")}, {"name": "u", "from": from("o:b")}, {"name": "v", "from": from("p:c")}
        ]));
        assert_eq!(
            needed(&stream, None),
            BTreeSet::from([key("ns2", "o"), key("ns2", "p")])
        );
        let allowed = Review {
            allowed: true,
            ..Review::default()
        };
        let texts = |reviews: &Reviews| -> Vec<String> {
            denied(&stream, None, reviews)
                .iter()
                .map(FieldError::to_string)
                .collect()
        };
        assert_eq!(
            texts(&Reviews::from([(key("ns2", "p"), allowed)])),
            [
                r#"spec.tags[t].from: Forbidden: ns2/o: "" """#,
                r#"spec.tags[u].from: Forbidden: ns2/o: "" """#,
            ]
        );
    }

    #[test]
    fn a_denial_says_why() {
        let stream = stream(&json!([{
            "name": "t", "from": {"kind": "ImageStreamTag", "namespace": "otherns", "name": "otherstream:x"}
        }]));
        let text = |review: Review| {
            let reviews = Reviews::from([(key("otherns", "otherstream"), review)]);
            denied(&stream, None, &reviews)[0].to_string()
        };
        let review = |reason: &str, evaluation_error: &str, failure: Option<&str>| Review {
            allowed: false,
            reason: reason.into(),
            evaluation_error: evaluation_error.into(),
            failure: failure.map(str::to_owned),
        };
        assert_eq!(
            text(review("no \"way\"", "oops", None)),
            r#"spec.tags[t].from: Forbidden: otherns/otherstream: "no \"way\"" "oops""#
        );
        assert_eq!(
            text(review("", "", Some("foo"))),
            r#"spec.tags[t].from: Forbidden: otherns/otherstream: "" ""- foo"#
        );
    }

    #[test]
    fn an_image_in_a_registry_has_no_namespace() {
        let stream =
            stream(&json!([{"name": "t", "from": {"kind": "DockerImage", "namespace": "m", "name": "a/b"}}]));
        assert_eq!(
            denied(&stream, None, &Reviews::new())[0].to_string(),
            "spec.tags[t].from.name: Invalid value: \"a/b\": must be of the form <tag>, <repo>:<tag>, <id>, or \
             <repo>@<id>"
        );
    }
}
