//! What the tag of a stream refers to inside of streams: another tag, or an image of a history.

use std::collections::BTreeMap;

use crate::field::{FieldError, Path};
use crate::generations::reference_changed;
use crate::types::{ImageStream, ObjectReference, TagReference};
use crate::validation::tag::{IMAGE_STREAM_IMAGE, IMAGE_STREAM_TAG};

/// A stream, named in full.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl StreamKey {
    /// The key of a stream.
    #[must_use]
    pub fn of(stream: &ImageStream) -> Self {
        Self {
            namespace: stream.metadata.namespace.clone().unwrap_or_default(),
            name: stream.metadata.name.clone().unwrap_or_default(),
        }
    }
}

/// What was found where a stream should be.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// The stream.
    Found(Box<ImageStream>),
    /// No stream.
    Missing,
    /// It could not be read; why.
    Unreadable(String),
    /// Who asks may not know whether there is one.
    Hidden,
}

/// Other streams that tags refer to.
pub type Sources = BTreeMap<StreamKey, Source>;

/// What `from` refers to: `<tag>`, `<stream>:<tag>`, `<id>` or `<stream>@<id>`.
pub(super) struct From<'a> {
    pub(super) stream: StreamKey,
    /// The tag or the id.
    pub(super) item: &'a str,
}

impl<'a> From<'a> {
    /// Reads a reference that stands in the stream `home`. Nothing if it is of another kind or form.
    pub(super) fn parse(home: &StreamKey, from: &'a ObjectReference) -> Option<Self> {
        let separator = match from.kind.as_deref() {
            Some(IMAGE_STREAM_TAG) => ':',
            Some(IMAGE_STREAM_IMAGE) => '@',
            _ => return None,
        };
        let text = from.name.as_deref().unwrap_or_default();
        let (name, item) = text.split_once(separator).unwrap_or((&home.name, text));
        if item.contains(separator) {
            return None;
        }
        let namespace = namespace(from).unwrap_or(&home.namespace);
        Some(Self {
            stream: StreamKey {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
            item,
        })
    }

    /// The error for a reference that can't be read.
    pub(super) fn malformed(tag: &str, from: &ObjectReference) -> FieldError {
        let detail = "must be of the form <tag>, <repo>:<tag>, <id>, or <repo>@<id>";
        FieldError::invalid(&name_path(tag), from.name.as_deref().unwrap_or_default(), detail)
    }
}

/// The namespace that a reference names, if it does.
pub(super) fn namespace(from: &ObjectReference) -> Option<&str> {
    from.namespace
        .as_deref()
        .filter(|namespace| !namespace.is_empty())
}

/// The tags of a stream that are new or point at something else than in `stored`, with what they point at.
pub(super) fn changed<'a>(
    stream: &'a ImageStream,
    stored: Option<&'a ImageStream>,
) -> impl Iterator<Item = (&'a str, &'a TagReference, &'a ObjectReference)> {
    let namespace = stream.metadata.namespace.as_deref().unwrap_or_default();
    stream.spec.tags.iter().filter_map(move |(name, tag)| {
        let from = tag.from.as_ref()?;
        let before = stored.and_then(|stored| stored.spec.tags.get(name));
        before
            .is_none_or(|before| reference_changed(tag, before, namespace))
            .then_some((name.as_str(), tag, from))
    })
}

/// `spec.tags[<tag>].from`
pub(super) fn from_path(tag: &str) -> Path {
    Path::root("spec").child("tags").key(tag).child("from")
}

/// `spec.tags[<tag>].from.name`
pub(super) fn name_path(tag: &str) -> Path {
    from_path(tag).child("name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_without_separator_is_to_the_stream_itself() {
        let home = StreamKey {
            namespace: "n".into(),
            name: "s".into(),
        };
        for (kind, namespace, name, expected) in [
            ("ImageStreamTag", None, "t", Some(("n", "s", "t"))),
            ("ImageStreamTag", Some(""), "o:t", Some(("n", "o", "t"))),
            ("ImageStreamTag", Some("m"), "t", Some(("m", "s", "t"))),
            ("ImageStreamTag", None, "o:t:u", None),
            ("ImageStreamImage", None, "sha256:a", Some(("n", "s", "sha256:a"))),
            ("ImageStreamImage", Some("m"), "o@a", Some(("m", "o", "a"))),
            ("ImageStreamImage", None, "a@b@c", None),
            ("DockerImage", None, "a", None),
            ("", None, "a", None),
        ] {
            let reference = ObjectReference {
                kind: Some(kind.into()),
                namespace: namespace.map(str::to_owned),
                name: Some(name.into()),
                ..ObjectReference::default()
            };
            let found = From::parse(&home, &reference);
            let found = found.as_ref().map(|from| {
                (
                    from.stream.namespace.as_str(),
                    from.stream.name.as_str(),
                    from.item,
                )
            });
            assert_eq!(found, expected, "{kind} {name}");
        }
    }
}
