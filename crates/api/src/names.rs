//! The names of [stream tags, stream images and signatures][1]: two names joined by `:` or `@`.
//!
//! Requests that name an object are held to the strict forms; names inside of objects are read leniently.
//!
//! [1]: https://docs.openshift.com/container-platform/latest/openshift_images/image-streams-manage.html

use crate::status;
use crate::types::Status;

/// The tag that a stream is asked for if none is named.
pub const LATEST: &str = "latest";

/// Kinds whose names consist of two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compound {
    /// `<stream>:<tag>`
    ImageStreamTag,
    /// `<stream>:<tag>`
    ImageTag,
    /// `<stream>@<id>`
    ImageStreamImage,
    /// `<image>@<signature>`
    ImageSignature,
}

/// A name that is not of the form of its kind. Says what the form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.rule())]
pub struct MalformedName(Compound);

impl From<MalformedName> for Status {
    /// 400
    fn from(error: MalformedName) -> Self {
        status::bad_request(error.to_string())
    }
}

impl Compound {
    /// Splits a name into its two parts, neither of which is empty.
    ///
    /// # Errors
    /// [`MalformedName`]
    pub fn parse(self, name: &str) -> Result<(&str, &str), MalformedName> {
        let (separator, allowed) = match self {
            Self::ImageStreamTag | Self::ImageTag => (':', !name.contains('@')),
            Self::ImageStreamImage | Self::ImageSignature => ('@', true),
        };
        name.split_once(separator)
            .filter(|(owner, rest)| !owner.is_empty() && !rest.is_empty() && !rest.contains(separator))
            .filter(|_| allowed)
            .ok_or(MalformedName(self))
    }

    fn rule(self) -> &'static str {
        match self {
            Self::ImageStreamTag => "ImageStreamTags must be retrieved with <name>:<tag>",
            Self::ImageTag => "ImageTags must be retrieved with <name>:<tag>",
            Self::ImageStreamImage => "ImageStreamImages must be retrieved with <name>@<id>",
            Self::ImageSignature => "ImageSignatures must be accessed with <imageName>@<signatureName>",
        }
    }
}

/// A stream and one of its tags, read leniently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamTag<'a> {
    /// The stream.
    pub stream: &'a str,
    /// Everything after the first `:`; `latest` if that is nothing.
    pub tag: &'a str,
    /// Whether there was a `:`.
    pub has_tag: bool,
}

impl<'a> StreamTag<'a> {
    /// Splits at the first `:`.
    #[must_use]
    pub fn split(name: &'a str) -> Self {
        let (stream, tag) = name.split_once(':').unwrap_or((name, ""));
        Self {
            stream,
            tag: if tag.is_empty() { LATEST } else { tag },
            has_tag: name.contains(':'),
        }
    }

    /// The parts of the name under which a tag is created.
    ///
    /// # Errors
    /// The text of the error if there is no `:`.
    pub fn to_create(name: &'a str) -> Result<Self, String> {
        let split = Self::split(name);
        if split.has_tag {
            return Ok(split);
        }
        Err(format!(
            "{} must be of the form <stream_name>:<tag>",
            crate::field::quoted(name)
        ))
    }
}

/// Splits at the first `@`: a stream and the id of an image, which is empty if there is no `@`.
#[must_use]
pub fn split_image(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// `<stream>:<tag>`, with `latest` for an empty tag.
#[must_use]
pub fn join_tag(stream: &str, tag: &str) -> String {
    format!("{stream}:{}", if tag.is_empty() { LATEST } else { tag })
}

/// `<stream>@<id>`
#[must_use]
pub fn join_image(stream: &str, id: &str) -> String {
    format!("{stream}@{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_requested_as_stream_and_tag_with_one_colon() {
        for kind in [Compound::ImageStreamTag, Compound::ImageTag] {
            assert_eq!(kind.parse("a:b"), Ok(("a", "b")));
            for name in ["a@b:c", "a:b@c", "a:b:c", "a", "a:", ":b", "", ":"] {
                assert_eq!(kind.parse(name), Err(MalformedName(kind)), "{name}");
            }
        }
    }

    #[test]
    fn an_image_and_a_signature_are_requested_with_one_at_sign() {
        for kind in [Compound::ImageStreamImage, Compound::ImageSignature] {
            assert_eq!(kind.parse("a@b"), Ok(("a", "b")));
            assert_eq!(kind.parse("a@sha256:b"), Ok(("a", "sha256:b")));
            assert_eq!(kind.parse("sha256:a@b"), Ok(("sha256:a", "b")));
            for name in ["a@b@c", "@b", "a@", "a", "", "a:b"] {
                assert_eq!(kind.parse(name), Err(MalformedName(kind)), "{name}");
            }
        }
    }

    #[test]
    fn a_malformed_name_is_a_bad_request_that_tells_the_form() {
        for (kind, text) in [
            (
                Compound::ImageStreamTag,
                "ImageStreamTags must be retrieved with <name>:<tag>",
            ),
            (
                Compound::ImageTag,
                "ImageTags must be retrieved with <name>:<tag>",
            ),
            (
                Compound::ImageStreamImage,
                "ImageStreamImages must be retrieved with <name>@<id>",
            ),
            (
                Compound::ImageSignature,
                "ImageSignatures must be accessed with <imageName>@<signatureName>",
            ),
        ] {
            let status = Status::from(kind.parse("x").unwrap_err());
            assert_eq!((status.code, status.message.as_deref()), (Some(400), Some(text)));
        }
    }

    #[test]
    fn names_inside_of_objects_are_split_leniently() {
        for (name, stream, tag, has_tag) in [
            ("a:b", "a", "b", true),
            ("a:", "a", "latest", true),
            ("a", "a", "latest", false),
            ("a:b:c", "a", "b:c", true),
        ] {
            assert_eq!(
                StreamTag::split(name),
                StreamTag { stream, tag, has_tag },
                "{name}"
            );
        }
        assert_eq!(split_image("a@b"), ("a", "b"));
        assert_eq!(split_image("a"), ("a", ""));
    }

    #[test]
    fn a_tag_is_created_under_a_name_with_a_colon() {
        assert_eq!(StreamTag::to_create("a:b:c").map(|name| name.tag), Ok("b:c"));
        assert_eq!(
            StreamTag::to_create("a"),
            Err(r#""a" must be of the form <stream_name>:<tag>"#.to_owned())
        );
    }

    #[test]
    fn joining_fills_in_the_tag() {
        assert_eq!(join_tag("a", ""), "a:latest");
        assert_eq!(join_tag("a", "b"), "a:b");
        assert_eq!(join_image("a", "b"), "a@b");
    }
}
