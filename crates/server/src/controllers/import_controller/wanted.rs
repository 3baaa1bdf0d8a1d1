//! What a stream wants to have imported. Pure.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use imagestream_api::reference::ImageReference;
use imagestream_api::types::{ImageStream, NamedTagEventList, TagEventCondition, TagReference};
use imagestream_import::apply::CHECKED;

use super::backoff::Kind;
use crate::image::repository_note::RepositoryNote;

/// A source that a stream names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    /// `spec.dockerImageRepository`.
    Repository,
    /// That of a tag.
    Tag(String),
}

/// Exactly what is wanted of a source: of two that are equal, one is a repetition of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Aim(u64);

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody has tried.
    Pending,
    /// The last try failed and is recorded.
    Failed(Kind),
}

/// One source that is not as the stream wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) aim: Aim,
    pub(super) state: State,
    /// Whether it is also looked at on a schedule.
    pub(super) is_scheduled: bool,
    /// The host that is asked for it.
    pub(super) host: String,
}

/// Everything in a stream that is not as it wants it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) sources: BTreeMap<Source, Wanted>,
    /// Whether everything is to be imported again, that which is as it should be too.
    pub(super) is_full: bool,
}

impl Wants {
    /// Of a stream.
    pub(super) fn of(stream: &ImageStream) -> Self {
        let mut wants = Self::default();
        // Whoever deletes it has waited long enough.
        if stream.metadata.deletion_timestamp.is_some() {
            return wants;
        }
        if let Some(repository) = repository(stream) {
            wants.is_full = is_unchecked(stream);
            wants.sources.insert(Source::Repository, repository);
        }
        for (name, tag) in &stream.spec.tags {
            let history = stream.status.tags.get(name);
            let state = if is_pending(tag, history) {
                State::Pending
            } else if let Some(failure) = failure(history).filter(|_| is_importable(tag)) {
                State::Failed(Kind::of(&failure.reason, &failure.message))
            } else {
                continue;
            };
            let from = tag.from.as_ref().and_then(|from| from.name.as_deref());
            let wanted = Wanted {
                aim: aim(&(tag.generation, from, &tag.import_policy)),
                state,
                is_scheduled: tag.import_policy.scheduled,
                host: host(from.unwrap_or_default()),
            };
            wants.sources.insert(Source::Tag(name.clone()), wanted);
        }
        wants
    }

    /// All that a stream with these wants asks for: what it wants, and what else is in its spec, which its generation
    /// counts the changes of.
    pub(super) fn asked_by(&self, stream: &ImageStream) -> Aim {
        let aims = self.sources.iter().map(|(source, wanted)| (source, wanted.aim));
        aim(&(stream.metadata.generation, aims.collect::<Vec<_>>()))
    }
}

/// Whether a controller imports the tag at all.
pub(super) fn is_importable(tag: &TagReference) -> bool {
    let kind = tag.from.as_ref().and_then(|from| from.kind.as_deref());
    kind == Some("DockerImage") && !tag.reference
}

/// Whether the tag is to be imported and nobody has tried to since it was last changed.
pub(in crate::controllers) fn is_pending(tag: &TagReference, history: Option<&NamedTagEventList>) -> bool {
    let observed = history.map_or(0, |history| {
        let newest = history.items.first().map_or(0, |newest| newest.generation);
        newest.max(condition(history).map_or(0, |condition| condition.generation))
    });
    is_importable(tag) && tag.generation.is_none_or(|generation| generation > observed)
}

/// Whether no import has ever been recorded in the stream, or somebody wants it forgotten.
fn is_unchecked(stream: &ImageStream) -> bool {
    let annotations = stream.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(CHECKED))
        .is_none_or(String::is_empty)
}

fn repository(stream: &ImageStream) -> Option<Wanted> {
    let name = &stream.spec.docker_image_repository;
    if name.is_empty() {
        return None;
    }
    let note = RepositoryNote::of(stream);
    let state = match note {
        _ if is_unchecked(stream) => State::Pending,
        // Imported by a client, or before there were notes.
        None => return None,
        Some(note) if note.repository != *name => State::Pending,
        Some(note) if note.is_success() => return None,
        Some(note) => State::Failed(Kind::of(&note.reason, &note.message)),
    };
    Some(Wanted {
        aim: aim(&(name, is_unchecked(stream))),
        state,
        is_scheduled: false,
        host: host(name),
    })
}

fn condition(history: &NamedTagEventList) -> Option<&TagEventCondition> {
    history
        .conditions
        .iter()
        .find(|condition| condition.condition_type == "ImportSuccess")
}

fn failure(history: Option<&NamedTagEventList>) -> Option<&TagEventCondition> {
    condition(history?).filter(|condition| condition.status == "False")
}

fn aim(of: &impl std::hash::Hash) -> Aim {
    Aim(BuildHasherDefault::<DefaultHasher>::default().hash_one(of))
}

/// The host that a reference names.
pub(in crate::controllers) fn host(reference: &str) -> String {
    ImageReference::parse(reference)
        .map(|reference| reference.contacted_host().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::image::repository_note::ANNOTATION;

    #[allow(clippy::needless_pass_by_value, reason = "callers make them in place")]
    fn stream(annotations: Value, repository: &str, tag: Value, history: Value) -> ImageStream {
        let tag_with = |mut part: Value, name: &str| {
            part[name] = json!("t");
            part
        };
        let mut tags = Vec::new();
        if !tag.is_null() {
            let mut whole =
                json!({"from": {"kind": "DockerImage", "name": "r.test:5000/a:1"}, "generation": 2});
            for (key, value) in tag.as_object().unwrap() {
                whole[key] = value.clone();
            }
            tags.push(tag_with(whole, "name"));
        }
        let mut histories = Vec::new();
        if !history.is_null() {
            histories.push(tag_with(history, "tag"));
        }
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "generation": 2, "annotations": annotations},
            "spec": {"dockerImageRepository": repository, "tags": tags},
            "status": {"tags": histories},
        }))
        .unwrap()
    }

    fn state(tag: Value, history: Value) -> Option<State> {
        let wants = Wants::of(&stream(json!({}), "", tag, history));
        assert!(!wants.is_full);
        wants
            .sources
            .get(&Source::Tag("t".into()))
            .map(|wanted| wanted.state)
    }

    fn failed(generation: i64) -> Value {
        json!({"type": "ImportSuccess", "status": "False", "reason": "NotFound", "generation": generation})
    }

    #[test]
    fn a_tag_is_pending_until_an_import_has_dealt_with_its_generation() {
        let item = |generation: i64| json!([{"generation": generation, "image": "sha256:a"}]);
        for (tag, history, expected) in [
            (json!({}), json!(null), Some(State::Pending)),
            (
                json!({"generation": null}),
                json!({"items": item(5)}),
                Some(State::Pending),
            ),
            (json!({}), json!({"items": item(1)}), Some(State::Pending)),
            (json!({}), json!({"items": item(2)}), None),
            (json!({}), json!({"items": item(3)}), None),
            (
                json!({}),
                json!({"items": item(1), "conditions": [failed(2)]}),
                Some(State::Failed(Kind::NotFound)),
            ),
            (
                json!({}),
                json!({"conditions": [failed(1)]}),
                Some(State::Pending),
            ),
            (json!({"reference": true}), json!(null), None),
            (
                json!({"reference": true}),
                json!({"conditions": [failed(2)]}),
                None,
            ),
            (
                json!({"from": {"kind": "ImageStreamTag", "name": "o:t"}}),
                json!(null),
                None,
            ),
            (
                json!({"from": {"kind": "dockerimage", "name": "a"}}),
                json!(null),
                None,
            ),
            (json!({"from": null}), json!(null), None),
        ] {
            assert_eq!(state(tag.clone(), history.clone()), expected, "{tag} {history}");
        }
    }

    #[test]
    fn a_repository_is_wanted_until_it_was_imported_and_again_if_it_failed_or_is_another() {
        let note = |repository: &str, status: &str| {
            json!({"repository": repository, "status": status, "reason": "Unauthorized", "lastTransitionTime": ""})
                .to_string()
        };
        for (annotations, expected, is_full) in [
            (json!({}), Some(State::Pending), true),
            (json!({CHECKED: ""}), Some(State::Pending), true),
            (json!({CHECKED: "x"}), None, false),
            (
                json!({CHECKED: "x", ANNOTATION: note("a/b", "True")}),
                None,
                false,
            ),
            (
                json!({CHECKED: "x", ANNOTATION: note("a/b", "False")}),
                Some(State::Failed(Kind::Unauthorized)),
                false,
            ),
            (
                json!({CHECKED: "x", ANNOTATION: note("a/other", "True")}),
                Some(State::Pending),
                false,
            ),
            (json!({CHECKED: "x", ANNOTATION: "not JSON"}), None, false),
        ] {
            let wants = Wants::of(&stream(annotations.clone(), "a/b", json!(null), json!(null)));
            let state = wants.sources.get(&Source::Repository).map(|wanted| wanted.state);
            assert_eq!((state, wants.is_full), (expected, is_full), "{annotations}");
        }
    }

    #[test]
    fn what_is_being_deleted_wants_nothing() {
        let mut stream = stream(json!({}), "a/b", json!({}), json!(null));
        assert_eq!(Wants::of(&stream).sources.len(), 2);
        stream.metadata.deletion_timestamp = Some(imagestream_api::types::Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(Wants::of(&stream), Wants::default());
    }

    #[test]
    fn an_aim_changes_with_generation_source_and_policy_and_with_nothing_else() {
        let aim = |tag: Value| {
            let wants = Wants::of(&stream(json!({}), "", tag, json!(null)));
            wants.sources[&Source::Tag("t".into())].aim
        };
        let first = aim(json!({}));
        assert_eq!(
            first,
            aim(json!({"annotations": {"a": "b"}, "referencePolicy": {"type": "Local"}}))
        );
        for other in [
            json!({"generation": 3}),
            json!({"from": {"kind": "DockerImage", "name": "r.test:5000/a:2"}}),
            json!({"importPolicy": {"insecure": true}}),
        ] {
            assert_ne!(first, aim(other.clone()), "{other}");
        }
        let wants = Wants::of(&stream(json!({}), "", json!({}), json!(null)));
        assert_eq!(wants.sources[&Source::Tag("t".into())].host, "r.test:5000");
    }
}
