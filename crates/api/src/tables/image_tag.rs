//! The row of an ImageTag: where the tag comes from and what became of it, in one word each.

use crate::names::split_image;
use crate::types::{ImageTag, NamedTagEventList, TagEvent, TagReference, Time};
use crate::validation::tag::{DOCKER_IMAGE, IMAGE_STREAM_IMAGE, IMAGE_STREAM_TAG};

pub(super) struct ImageTagRow<'a> {
    pub(super) spec: &'static str,
    pub(super) status: String,
    /// The number of events, if there are any.
    pub(super) history: Option<usize>,
    pub(super) updated: Option<&'a Time>,
}

/// What a tag's spec says: in a word, and where the image comes from or why that is not known.
struct Wanted {
    word: &'static str,
    source: Result<String, &'static str>,
}

impl<'a> ImageTagRow<'a> {
    pub(super) fn of(tag: &'a ImageTag) -> Self {
        let Wanted { mut word, source } = wanted(tag.spec.as_ref());
        let (mut source, mut problem) = match source {
            Ok(source) => (source, String::new()),
            Err(problem) => (String::new(), problem.to_owned()),
        };
        let events = tag
            .status
            .as_ref()
            .map(|status| status.items.as_slice())
            .unwrap_or_default();
        if let Some(event) = events.first() {
            let generation = tag.spec.as_ref().and_then(|spec| spec.generation).unwrap_or(0);
            let both = generation > 0 && event.generation > 0;
            if both && event.generation < generation {
                problem = "Importing".into();
            } else if let Some(came) = came_from(event) {
                source = came;
            }
            let pushed_since = both && event.generation > generation;
            if word.is_empty() && !source.is_empty() || word != "Track" && pushed_since {
                word = "Push";
            }
        }
        let conditions = tag.status.iter().flat_map(|status| &status.conditions);
        let mut failed = conditions
            .filter(|condition| condition.condition_type == "ImportSuccess" && condition.status == "False");
        if let Some(failure) = failed.next_back() {
            problem = format!("ImportFailed ({})", failure.reason);
        }
        Self {
            spec: word,
            status: if problem.is_empty() { source } else { problem },
            history: Some(events.len()).filter(|count| *count > 0),
            updated: tag.status.as_ref().and_then(updated),
        }
    }
}

fn wanted(spec: Option<&TagReference>) -> Wanted {
    let Some((spec, from)) = spec.and_then(|spec| Some((spec, spec.from.as_ref()?))) else {
        return Wanted {
            word: "",
            source: Ok(String::new()),
        };
    };
    let name = from.name.as_deref().unwrap_or_default();
    let kind = from.kind.as_deref().unwrap_or_default();
    let word = match (spec.import_policy.scheduled, spec.reference) {
        _ if kind == IMAGE_STREAM_TAG && !name.contains(':') => "Track",
        (true, _) => "Scheduled",
        (false, true) => "Ref",
        (false, false) => "Tag",
    };
    let source = match kind {
        DOCKER_IMAGE => Ok(name.to_owned()),
        IMAGE_STREAM_IMAGE if !name.contains('@') => Err("InvalidRefName"),
        IMAGE_STREAM_IMAGE => Ok(format!("image/{}", split_image(name).1)),
        IMAGE_STREAM_TAG => Ok(match from.namespace.as_deref() {
            None | Some("") => format!("istag/{name}"),
            Some(namespace) => format!("istag {namespace}/{name}"),
        }),
        _ => Err("InvalidRefKind"),
    };
    Wanted { word, source }
}

fn came_from(event: &TagEvent) -> Option<String> {
    if !event.image.is_empty() {
        return Some(format!("image/{}", event.image));
    }
    Some(event.docker_image_reference.clone()).filter(|reference| !reference.is_empty())
}

/// When the newest event was added or a condition last changed, whichever is later.
fn updated(status: &NamedTagEventList) -> Option<&Time> {
    let event = status.items.first().and_then(|event| event.created.as_ref());
    let conditions = status.conditions.iter();
    conditions
        .filter_map(|condition| condition.last_transition_time.as_ref())
        .chain(event)
        .max_by_key(|time| time.0)
}
