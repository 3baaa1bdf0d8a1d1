//! Which tags of a stream are followed, and what the stream has recorded of them. Pure.

use std::time::Duration;

use imagestream_api::defaults::ImportMode;
use imagestream_api::reference::ImageReference;
use imagestream_api::types::{
    ImageImportSpec, ImageStream, ImageStreamImport, LocalObjectReference, NamedTagEventList, ObjectMeta,
    TagReference,
};
use imagestream_import::check::reference;
use imagestream_import::{Platform, preferred};
use jiff::SignedDuration;

use super::settled::FailureKind;
use crate::controllers::import_controller::is_pending;

/// Annotation of a stream's tag (`spec.tags[].annotations`): how often its source is looked at, such as `5m` or
/// `2h 30m`, in place of the interval of the server. [`Options`](imagestream_follow::Options) say how short and how long
/// it may be; one that can't be read is as good as none.
pub(super) const INTERVAL: &str = "follow.imagestream/interval";

/// A tag whose source is looked at on a schedule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Followed {
    /// The tag.
    pub(super) tag: String,
    /// Where it comes from: by digest, or by a tag.
    pub(super) reference: ImageReference,
    /// The same in the form that registries are asked in: of two that are equal one look is enough.
    pub(super) name: Name,
    pub(super) insecure: bool,
    /// How often, if the tag says so.
    pub(super) interval: Option<Duration>,
    pub(super) mode: ImportMode,
    /// Which member of a manifest list is wanted.
    pub(super) platform: Platform,
    /// What is recorded.
    pub(super) recorded: Recorded,
}

/// An image in the form that registries are asked in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// Registry and repository.
    pub(super) repository: String,
    /// Tag or digest.
    pub(super) version: String,
}

impl Name {
    /// Of a reference with a tag or digest; nothing if registries can't be asked for it.
    pub(super) fn of(reference: &ImageReference) -> Option<Self> {
        let name = reference.normalised().ok()?;
        let (repository, version) = name.split_once('@').or_else(|| name.rsplit_once(':'))?;
        Some(Self {
            repository: repository.to_owned(),
            version: version.to_owned(),
        })
    }

    /// As a reference.
    pub(super) fn reference(&self) -> Option<ImageReference> {
        // A tag has no colon.
        let separator = if self.version.contains(':') { '@' } else { ':' };
        reference(&format!("{}{separator}{}", self.repository, self.version))
    }
}

/// What a stream says of one tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    /// The newest image; empty if there is none.
    pub(super) image: String,
    /// The `reason` of the last import, if that failed.
    pub(super) failure: Option<String>,
}

impl Recorded {
    /// Whether this failure is what the stream says.
    pub(super) fn says(&self, kind: FailureKind) -> bool {
        let failure = self.failure.as_deref();
        failure.is_some_and(|reason| kind.is_recorded_as(reason))
    }

    fn of(history: Option<&NamedTagEventList>) -> Self {
        let Some(history) = history else {
            return Self::default();
        };
        let failure = history
            .conditions
            .iter()
            .find(|condition| condition.condition_type == "ImportSuccess" && condition.status == "False");
        Self {
            image: history
                .items
                .first()
                .map(|newest| newest.image.clone())
                .unwrap_or_default(),
            failure: failure.map(|condition| condition.reason.clone()),
        }
    }
}

/// The followed tags of a stream.
pub(super) fn followed(stream: &ImageStream, default_mode: ImportMode, own: &Platform) -> Vec<Followed> {
    // Whoever deletes it wants nothing new in it.
    if stream.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let tags = stream.spec.tags.iter();
    tags.filter_map(|(name, tag)| {
        let history = stream.status.tags.get(name);
        let reference = source(tag)?;
        // Until an import has dealt with it, it is the import controller's.
        if is_pending(tag, history) {
            return None;
        }
        if !reference.id.is_empty() && is_imported(tag, history) {
            return None;
        }
        Some(Followed {
            tag: name.clone(),
            name: Name::of(&reference)?,
            insecure: tag.import_policy.insecure,
            interval: interval(tag),
            mode: ImportMode::parse(&tag.import_policy.import_mode).unwrap_or(default_mode),
            platform: preferred(Some(stream), name, own)
                .filter(|_| reference.id.is_empty())
                .unwrap_or_else(|| own.clone()),
            recorded: Recorded::of(history),
            reference,
        })
    })
    .collect()
}

/// Where a scheduled tag comes from; nothing if it is not scheduled, or never imported.
fn source(tag: &TagReference) -> Option<ImageReference> {
    let from = tag.from.as_ref()?;
    if !tag.import_policy.scheduled || tag.reference || from.kind.as_deref() != Some("DockerImage") {
        return None;
    }
    reference(from.name.as_deref()?)
}

/// Whether the tag was imported as it is now.
fn is_imported(tag: &TagReference, history: Option<&NamedTagEventList>) -> bool {
    let newest = history.and_then(|history| history.items.first());
    newest.is_some_and(|newest| Some(newest.generation) == tag.generation)
}

/// What the tag's annotation says, if it can be read.
fn interval(tag: &TagReference) -> Option<Duration> {
    let text = tag.annotations.as_ref()?.get(INTERVAL)?;
    let interval: SignedDuration = text.trim().parse().ok()?;
    Duration::try_from(interval)
        .ok()
        .filter(|interval| !interval.is_zero())
}

/// The import of some tags of a stream in the state that it was read in: exactly these, as their spec has them.
pub(super) fn import_of(stream: &ImageStream, tags: &[Followed]) -> ImageStreamImport {
    let images = tags.iter().filter_map(|followed| {
        let name = &followed.tag;
        let tag = stream.spec.tags.get(name)?;
        Some(ImageImportSpec {
            from: tag.from.clone()?,
            to: Some(LocalObjectReference { name: name.clone() }),
            import_policy: tag.import_policy.clone(),
            reference_policy: tag.reference_policy.clone(),
            ..ImageImportSpec::default()
        })
    });
    let mut import = ImageStreamImport {
        metadata: ObjectMeta {
            name: stream.metadata.name.clone(),
            namespace: stream.metadata.namespace.clone(),
            resource_version: stream.metadata.resource_version.clone(),
            uid: stream.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        ..ImageStreamImport::default()
    };
    import.spec.import = true;
    import.spec.images = images.collect();
    import
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn own() -> Platform {
        "linux/amd64".parse().unwrap()
    }

    /// A stream with the tag `t`, scheduled unless `tag` says otherwise.
    #[allow(clippy::needless_pass_by_value, reason = "callers make them in place")]
    fn stream(tag: Value, history: Value) -> ImageStream {
        let mut whole = json!({"name": "t", "from": {"kind": "DockerImage", "name": "r.test:5000/a:1"},
            "generation": 0, "importPolicy": {"scheduled": true}});
        for (key, value) in tag.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let mut histories = Vec::new();
        if !history.is_null() {
            let mut history = history;
            history["tag"] = json!("t");
            histories.push(history);
        }
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "uid": "u", "resourceVersion": "7"},
            "spec": {"tags": [whole]}, "status": {"tags": histories},
        }))
        .unwrap()
    }

    fn of(tag: Value) -> Option<Followed> {
        followed(&stream(tag, json!(null)), ImportMode::Legacy, &own()).pop()
    }

    #[test]
    fn a_tag_is_followed_if_it_is_scheduled_and_imported_from_a_registry() {
        let plain = of(json!({})).unwrap();
        assert_eq!(
            (plain.tag.as_str(), plain.reference.exact().as_str()),
            ("t", "r.test:5000/a:1")
        );
        let of_hub = |name: &str| {
            of(json!({"from": {"kind": "DockerImage", "name": name}}))
                .unwrap()
                .name
        };
        assert_eq!(
            of_hub("busybox"),
            of_hub("docker.io/library/busybox:latest"),
            "one place"
        );
        for tag in [
            json!({"importPolicy": {"scheduled": false}}),
            json!({"reference": true}),
            json!({"from": null}),
            json!({"from": {"kind": "ImageStreamTag", "name": "o:t"}}),
            json!({"from": {"kind": "dockerimage", "name": "a"}}),
            json!({"from": {"kind": "DockerImage", "name": "not a reference"}}),
            json!({"from": {"kind": "DockerImage", "name": "*"}}),
        ] {
            assert_eq!(of(tag.clone()), None, "{tag}");
        }
    }

    #[test]
    fn a_tag_is_followed_once_an_import_has_dealt_with_it() {
        let is_followed = |generation: Value, history: Value| {
            let stream = stream(json!({"generation": generation}), history);
            !followed(&stream, ImportMode::Legacy, &own()).is_empty()
        };
        let imported = |generation: i64| json!({"items": [{"image": DIGEST, "generation": generation}]});
        let failed = json!({"conditions": [{"type": "ImportSuccess", "status": "False",
            "reason": "NotFound", "generation": 2}]});
        assert!(!is_followed(json!(2), json!(null)) && !is_followed(json!(null), imported(9)));
        assert!(!is_followed(json!(2), imported(1)) && is_followed(json!(2), imported(2)));
        assert!(is_followed(json!(2), failed.clone()) && !is_followed(json!(3), failed));
    }

    #[test]
    fn an_image_by_digest_is_followed_until_it_was_imported() {
        let tag =
            json!({"from": {"kind": "DockerImage", "name": format!("r.test/a@{DIGEST}")}, "generation": 2});
        let is_followed = |generation: i64| {
            let history = json!({"items": [{"image": DIGEST, "generation": generation}],
                "conditions": [{"type": "ImportSuccess", "status": "False", "reason": "NotFound", "generation": 2}]});
            !followed(&stream(tag.clone(), history), ImportMode::Legacy, &own()).is_empty()
        };
        assert!(is_followed(1) && !is_followed(2));
        let mut tag = tag;
        tag["generation"] = json!(0);
        let name = of(tag).unwrap().name;
        assert_eq!(
            (name.repository.as_str(), name.version.as_str()),
            ("r.test/a", DIGEST)
        );
        assert_eq!(Name::of(&name.reference().unwrap()), Some(name));
    }

    #[test]
    fn a_stream_that_is_being_deleted_follows_nothing() {
        let mut stream = stream(json!({}), json!(null));
        stream.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2024-01-01T00:00:00Z")).unwrap());
        assert_eq!(followed(&stream, ImportMode::Legacy, &own()), []);
    }

    #[test]
    fn a_tag_may_ask_for_an_interval_of_its_own() {
        let interval = |text: &str| of(json!({"annotations": {INTERVAL: text}})).unwrap().interval;
        assert_eq!(interval("90s"), Some(Duration::from_secs(90)));
        assert_eq!(interval(" 2h 30m"), Some(Duration::from_secs(9000)));
        for unreadable in ["", "soon", "-5m", "0s", "5"] {
            assert_eq!(interval(unreadable), None, "{unreadable:?}");
        }
        let long = Duration::from_secs(999_999 * 3600);
        assert_eq!(
            interval("999999h"),
            Some(long),
            "who schedules it knows the bounds"
        );
    }

    #[test]
    fn what_is_recorded_is_the_newest_image_and_the_last_failure() {
        let history = json!({"items": [{"image": "sha256:b"}, {"image": "sha256:a"}],
            "conditions": [{"type": "ImportSuccess", "status": "False", "reason": "NotFound"}]});
        let found = followed(&stream(json!({}), history), ImportMode::Legacy, &own());
        let expected = Recorded {
            image: "sha256:b".into(),
            failure: Some("NotFound".into()),
        };
        assert_eq!(found[0].recorded, expected);
        assert_eq!(of(json!({})).unwrap().recorded, Recorded::default());
    }

    #[test]
    fn the_import_is_of_the_tags_as_they_are_in_the_state_that_was_read() {
        let tag = json!({"importPolicy": {"scheduled": true, "insecure": true, "importMode": "PreserveOriginal"},
            "referencePolicy": {"type": "Local"}});
        let stream = stream(tag, json!(null));
        let mut tags = followed(&stream, ImportMode::Legacy, &own());
        tags.push(Followed {
            tag: "gone".into(),
            ..tags[0].clone()
        });
        let import = import_of(&stream, &tags);
        assert_eq!(
            serde_json::to_value(&import.spec).unwrap(),
            json!({"import": true, "images": [{
                "from": {"kind": "DockerImage", "name": "r.test:5000/a:1"}, "to": {"name": "t"},
                "importPolicy": {"scheduled": true, "insecure": true, "importMode": "PreserveOriginal"},
                "referencePolicy": {"type": "Local"}}]})
        );
        let metadata = import.metadata;
        assert_eq!(
            (
                metadata.name.as_deref(),
                metadata.uid.as_deref(),
                metadata.resource_version.as_deref()
            ),
            (Some("s"), Some("u"), Some("7"))
        );
    }
}
