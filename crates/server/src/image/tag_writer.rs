//! What the endpoints of single tags share: reading the stream of a tag, and storing an edited one.

use imagestream_api::stream::write::Write;
use imagestream_api::types::{ImageStream, Status, Time};
use imagestream_apiserver::endpoint::Request;
use imagestream_apiserver::kind::Resource;
use imagestream_apiserver::storage::check_name;
use tokio::sync::SemaphorePermit;

use super::stream_write::{commit, identify, prepare, typed};
use crate::context::Context;
use crate::lanes::Lanes;

/// Edits of one stream wait for each other here, instead of running into conflicts.
static EDITS: Lanes<64> = Lanes::new();

/// Waits for other edits of the stream; they wait while the answer is held.
pub(super) async fn turn(namespace: &str, stream: &str) -> Option<SemaphorePermit<'static>> {
    EDITS.turn((namespace, stream)).await
}

/// A stream that is to be edited: as it is, or a new one in its place.
pub(super) struct Subject {
    /// As clients see it.
    pub(super) stream: ImageStream,
    revision: Option<u64>,
}

impl Subject {
    /// Whether there is no such stream yet.
    pub(super) fn is_new(&self) -> bool {
        self.revision.is_none()
    }

    /// The revision of the stream's last change; 0 if there is no such stream yet.
    pub(super) fn revision(&self) -> u64 {
        self.revision.unwrap_or(0)
    }

    /// The stream, if there is one.
    ///
    /// # Errors
    /// 404 that names `resource`, which the request is about.
    pub(super) fn existing(self, resource: &Resource) -> Result<Self, Box<Status>> {
        if self.is_new() {
            let name = self.stream.metadata.name.unwrap_or_default();
            return Err(resource.not_found(&name).into());
        }
        Ok(self)
    }
}

/// Reads and writes streams for one request.
pub(super) struct TagWriter<'a> {
    pub(super) context: &'a Context,
    pub(super) request: &'a Request,
    /// Do everything but store.
    pub(super) dry_run: bool,
}

impl TagWriter<'_> {
    /// The stream as it is, or a new one.
    ///
    /// # Errors
    /// 400 for a name that no stream has; those of the store.
    pub(super) async fn subject(&self, name: &str) -> Result<Subject, Box<Status>> {
        check_name(name)?;
        let namespace = &self.request.info.namespace;
        if let Some(encoded) = self.context.streams.shown(namespace, name).await? {
            return Ok(Subject {
                stream: typed(encoded.to_value()?)?,
                revision: Some(encoded.revision()),
            });
        }
        let mut stream = ImageStream::default();
        stream.metadata.name = Some(name.to_owned());
        stream.metadata.namespace = Some(namespace.clone());
        identify(&mut stream.metadata, self.request.now);
        Ok(Subject {
            stream,
            revision: None,
        })
    }

    /// Stores the edited stream in place of the one that was read. Nothing is returned if others wrote it meanwhile.
    ///
    /// # Errors
    /// 422 if it would be invalid or exceed a limit; those of the store.
    pub(super) async fn store(
        &self,
        subject: &Subject,
        edited: ImageStream,
    ) -> Result<Option<ImageStream>, Box<Status>> {
        let write = if subject.is_new() {
            Write::create(edited)
        } else {
            Write::internal_update(edited, subject.stream.clone())
        };
        let prepared = prepare(self.context, self.request, write).await?;
        if self.dry_run || (!subject.is_new() && prepared == subject.stream) {
            return Ok(Some(prepared));
        }
        let stored = commit(self.context, &prepared, subject.revision).await?;
        Ok(stored.map(|(stream, _)| stream))
    }

    /// The time of the request.
    pub(super) fn now(&self) -> Time {
        Time(self.request.now)
    }
}
