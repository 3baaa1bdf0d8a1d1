//! The ways in which a stream is written, each in three steps: what has to be read and asked ([`Write`]), what the
//! answers make of the stream ([`Resolved`]), and whether the result is valid.

use std::collections::BTreeSet;

use super::access::{self, Reviews};
use super::follow::follow_changes;
use super::repository::{RegistryHosts, fill_in};
use super::resolve;
use super::source::{Source, Sources, StreamKey};
use super::status_update;
use crate::allowed_registries::AllowedRegistries;
use crate::field::{self, FieldError, Path};
use crate::generations;
use crate::types::{ImageStream, ImageStreamStatus, Status};
use crate::validation;

/// Who writes, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Create,
    /// A client replaces the stream; the status is not the client's to change.
    Update,
    /// The server changes spec and status together, for a tag or an import.
    InternalUpdate,
    Status,
}

/// A write that has not been decided yet.
#[derive(Debug, Clone)]
pub struct Write {
    way: Way,
    stream: ImageStream,
    stored: Option<ImageStream>,
}

/// What was found and what was answered to what a [`Write`] needs.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// For [`Write::sources`].
    pub sources: Sources,
    /// For [`Write::reviews`].
    pub reviews: Reviews,
}

impl Write {
    /// A new stream. What the client says about its status does not count.
    #[must_use]
    pub fn create(stream: ImageStream) -> Self {
        let status = ImageStreamStatus::default();
        Self::create_with_history(ImageStream { status, ..stream })
    }

    /// A new stream that comes out of an import, with its status.
    #[must_use]
    pub fn create_with_history(mut stream: ImageStream) -> Self {
        generations::on_create(&mut stream);
        Self {
            way: Way::Create,
            stream,
            stored: None,
        }
    }

    /// A client's stream that replaces `stored`. The status stays.
    #[must_use]
    pub fn update(mut stream: ImageStream, stored: ImageStream) -> Self {
        stream.status = stored.status.clone();
        Self::replace(Way::Update, stream, stored)
    }

    /// A stream that the server itself changed, for a tag or an import.
    #[must_use]
    pub fn internal_update(mut stream: ImageStream, stored: ImageStream) -> Self {
        let histories = &mut stream.status.tags;
        histories.retain(|_, history| !history.items.is_empty() || !history.conditions.is_empty());
        Self::replace(Way::InternalUpdate, stream, stored)
    }

    fn replace(way: Way, mut stream: ImageStream, stored: ImageStream) -> Self {
        generations::on_update(&mut stream, &stored);
        Self {
            way,
            stream,
            stored: Some(stored),
        }
    }

    /// The other streams to read, with the server's own rights.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<StreamKey> {
        resolve::sources(&self.stream, self.stored.as_ref())
    }

    /// The streams of which the caller must be allowed to `get` `imagestreams/layers`.
    #[must_use]
    pub fn reviews(&self) -> BTreeSet<StreamKey> {
        access::needed(&self.stream, self.stored.as_ref())
    }

    /// Resolves the tags, hands on what they got to those that track them, and fills in the repository.
    #[must_use]
    pub fn resolve(self, answers: &Answers, hosts: &RegistryHosts, now: &crate::types::Time) -> Resolved {
        let Self {
            way,
            mut stream,
            stored,
        } = self;
        let before = stored.as_ref();
        let mut errors = access::denied(&stream, before, &answers.reviews);
        let mut sources = answers.sources.clone();
        let hidden = access::hidden(&stream, before, &answers.reviews);
        sources.extend(hidden.into_iter().map(|key| (key, Source::Hidden)));
        errors.extend(resolve::resolve(
            &mut stream,
            before,
            &sources,
            hosts.internal(),
            now,
        ));
        if way != Way::Update {
            follow_changes(&mut stream, before);
        }
        fill_in(&mut stream, hosts);
        Resolved {
            way,
            stream,
            stored,
            errors,
        }
    }
}

/// A client's status that replaces that of `stored`. Nothing has to be asked for it.
#[must_use]
pub fn status_update(stream: ImageStream, stored: ImageStream) -> Resolved {
    Resolved {
        way: Way::Status,
        stream: status_update::prepare(stream, &stored),
        stored: Some(stored),
        errors: Vec::new(),
    }
}

/// A stream as it would be stored, not yet known to be valid.
#[derive(Debug, Clone)]
pub struct Resolved {
    way: Way,
    stream: ImageStream,
    stored: Option<ImageStream>,
    errors: Vec<FieldError>,
}

impl Resolved {
    /// The stream as it would be stored.
    #[must_use]
    pub fn stream(&self) -> &ImageStream {
        &self.stream
    }

    /// The stream that limits compare with: what it adds to this one counts as new.
    #[must_use]
    pub fn compared_with(&self) -> Option<ImageStream> {
        let stored = self.stored.clone()?;
        if self.way == Way::Update {
            // What tags resolve to in a client's update is not the client's doing.
            let status = self.stream.status.clone();
            return Some(ImageStream { status, ..stored });
        }
        Some(stored)
    }

    /// The stream to store. `limit` says which limit it would exceed.
    ///
    /// # Errors
    /// 422 with everything that is wrong.
    pub fn finish(
        self,
        limit: Option<&str>,
        registries: &AllowedRegistries,
    ) -> Result<ImageStream, Box<Status>> {
        let Self {
            way,
            stream,
            stored,
            errors: unresolved,
        } = self;
        let name = stream.metadata.name.clone().unwrap_or_default();
        let mut errors = Vec::new();
        match &stored {
            Some(stored) if way == Way::Status => {
                errors.extend(validation::image_stream_status_update(
                    &stream, stored, registries, limit,
                ));
            }
            Some(stored) => {
                // The history of a client's update is what was stored and what the server resolved.
                let is_resolved = |_: &_| way == Way::Update;
                let [common, rest] =
                    validation::image_stream_update(&stream, stored, registries, is_resolved);
                errors.extend(common);
                errors.extend(inner(&name, &unresolved, limit));
                errors.extend(rest);
            }
            None => {
                errors.extend(inner(&name, &unresolved, limit));
                errors.extend(validation::image_stream(&stream, registries));
            }
        }
        if errors.is_empty() {
            Ok(stream)
        } else {
            Err(Box::new(field::invalid("ImageStream", &name, &errors)))
        }
    }
}

/// What could not be resolved, or else the limit, as one error about the whole object.
fn inner(name: &str, unresolved: &[FieldError], limit: Option<&str>) -> Option<FieldError> {
    let whole = Path::root("");
    if unresolved.is_empty() {
        return limit.map(|limit| FieldError::internal(&whole, limit));
    }
    let message = field::invalid_in("", "imagestreams", name, unresolved).message;
    Some(FieldError::internal(&whole, message.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
