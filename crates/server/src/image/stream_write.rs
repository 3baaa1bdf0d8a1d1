//! Image streams in the store: read with their types, led through the rules of a write, and written back.

use std::collections::BTreeSet;

use imagestream_api::stream::access::{Review, Reviews};
use imagestream_api::stream::source::{Source, Sources, StreamKey};
use imagestream_api::stream::write::{Answers, Resolved, Write};
use imagestream_api::types::{ImageStream, Kind, ObjectMeta, Status, Time, Typed};
use imagestream_apiserver::authn::UserInfo;
use imagestream_apiserver::endpoint::{Object, Request};
use imagestream_apiserver::errors;
use imagestream_apiserver::metadata::text;
use imagestream_apiserver::rbac::{Attributes, Target};
use imagestream_apiserver::storage::check_name;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::limits::stream_violation;
use crate::context::Context;

/// The stream to store for a write: everything that it refers to is read, the caller's access to it reviewed, limits
/// and allowed registries applied.
///
/// # Errors
/// 422 with everything that is wrong; those of the store.
pub(crate) async fn prepare(
    context: &Context,
    request: &Request,
    write: Write,
) -> Result<ImageStream, Box<Status>> {
    let answers = Answers {
        sources: sources(context, write.sources()).await,
        reviews: reviews(context, &request.user, write.reviews()),
    };
    let resolved = write.resolve(&answers, &context.hosts, &Time(request.now));
    finish(context, resolved).await
}

/// The stream to store, if it is valid and within the limits of its namespace.
///
/// # Errors
/// 422 with everything that is wrong; those of the store.
pub(crate) async fn finish(context: &Context, resolved: Resolved) -> Result<ImageStream, Box<Status>> {
    let compared_with = resolved.compared_with();
    let limit = stream_violation(context, resolved.stream(), compared_with.as_ref()).await?;
    resolved.finish(limit.as_deref(), &context.allowed_registries)
}

/// Whether [`prepare`] and [`finish`] failed because the stream may not be so, and not because something was not to be had:
/// it is invalid, names what it must not, or is over a limit. Trying again will not help.
pub(crate) fn is_refusal(status: &Status) -> bool {
    status.reason.as_deref() == Some("Invalid")
}

/// A stream as it is stored, with its resource version, and the revision of its last change.
///
/// # Errors
/// 400 for a name that no stream has; those of the store; 500 if what is stored is no stream.
pub(crate) async fn read(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<(ImageStream, u64)>, Box<Status>> {
    check_name(name)?;
    let Some(stored) = context.streams.get(namespace, name).await? else {
        return Ok(None);
    };
    Ok(Some((typed(stored.object)?, stored.revision)))
}

/// Stores a stream in place of the one that was last changed at `revision`, or a new one if there is none, and returns
/// it with its resource version. Nothing is returned if there is another one by now.
///
/// # Errors
/// Those of the store.
pub(crate) async fn commit(
    context: &Context,
    stream: &ImageStream,
    revision: Option<u64>,
) -> Result<Option<(ImageStream, u64)>, Box<Status>> {
    let object = to_value(stream)?;
    let stored = match revision {
        Some(revision) => context.streams.replace(object, revision).await?,
        None => match context.streams.create(object).await {
            Ok(stored) => Some(stored),
            Err(status) if status.reason.as_deref() == Some("AlreadyExists") => None,
            Err(status) => return Err(status),
        },
    };
    let Some(stored) = stored else {
        return Ok(None);
    };
    Ok(Some((typed(stored.object)?, stored.revision)))
}

/// A stream as it stands in answers and in the store: complete, with `kind` and `apiVersion`.
///
/// # Errors
/// 500 if it can't be written as JSON.
pub(crate) fn to_value(stream: &ImageStream) -> Result<Value, Box<Status>> {
    complete(stream)
}

/// An object of the group with its `kind` and `apiVersion`.
///
/// # Errors
/// 500 if it can't be written as JSON.
pub(crate) fn complete<T: Serialize + Kind>(object: &T) -> Result<Value, Box<Status>> {
    serde_json::to_value(Typed::new(object)).map_err(|error| errors::internal_error(error).into())
}

/// An object that was read from the store, or came in normalised, with its type.
///
/// # Errors
/// 500 if it is none of the type.
pub(crate) fn typed<T: DeserializeOwned>(object: Value) -> Result<T, Box<Status>> {
    serde_json::from_value(object).map_err(|error| errors::internal_error(error).into())
}

/// A stream as it is stored or was told of, for those who look at all of them: one that can't be read is logged and left
/// out, and keeps nobody from the others.
pub(crate) fn readable(stream: Result<ImageStream, Box<Status>>) -> Option<ImageStream> {
    match stream {
        Ok(stream) => Some(stream),
        Err(status) => {
            let why = status.message.unwrap_or_default();
            tracing::error!(why, "a stored stream can't be read and is left alone");
            None
        }
    }
}

/// What stands in a stream that has a scheduled tag: for [`mentioning`].
pub(crate) const SCHEDULED: &str = "\"scheduled\":true";

/// A stream for those to whom it matters only if one of these texts stands in it: of another one nothing but its name is
/// decoded, which takes a tenth of the time.
///
/// # Errors
/// 500 if it is none.
pub(crate) fn mentioning(object: Object, texts: &[&str]) -> Result<ImageStream, Box<Status>> {
    if texts.iter().any(|text| object.may_mention(text)) {
        return object.decode();
    }
    let Named { metadata } = object.decode()?;
    Ok(ImageStream {
        metadata: ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            ..ObjectMeta::default()
        },
        ..ImageStream::default()
    })
}

#[derive(Deserialize)]
struct Named {
    metadata: Name,
}

#[derive(Deserialize)]
struct Name {
    name: Option<String>,
    namespace: Option<String>,
}

/// The key of a stream of which nothing but the metadata matters.
pub(crate) fn key_of(object: &Value) -> StreamKey {
    StreamKey {
        namespace: text(object, "namespace").to_owned(),
        name: text(object, "name").to_owned(),
    }
}

/// Gives a new object its uid and the time of its creation.
pub(crate) fn identify(metadata: &mut ObjectMeta, now: Timestamp) {
    metadata.uid = Some(uuid::Uuid::new_v4().to_string());
    metadata.creation_timestamp = Some(Time(now));
}

/// Whether the user may do something; an answer that a review would give.
pub(crate) fn may(context: &Context, user: &UserInfo, verb: &str, target: Target<'_>) -> Review {
    let decision = context.authorizer.authorize(&Attributes { user, verb, target });
    Review {
        allowed: decision.allowed,
        reason: decision.reason,
        ..Review::default()
    }
}

async fn sources(context: &Context, wanted: BTreeSet<StreamKey>) -> Sources {
    let mut sources = Sources::new();
    for key in wanted {
        let source = match read(context, &key.namespace, &key.name).await {
            Ok(Some((stream, _))) => Source::Found(Box::new(stream)),
            Ok(None) => Source::Missing,
            Err(status) => Source::Unreadable(status.message.unwrap_or_default()),
        };
        sources.insert(key, source);
    }
    sources
}

fn reviews(context: &Context, user: &UserInfo, wanted: BTreeSet<StreamKey>) -> Reviews {
    let review = |key: StreamKey| {
        let target = Target::Resource {
            group: imagestream_api::types::GROUP,
            resource: "imagestreams",
            subresource: "layers",
            namespace: &key.namespace,
            name: &key.name,
        };
        let review = may(context, user, "get", target);
        (key, review)
    };
    wanted.into_iter().map(review).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::image::testing::TestServer;

    #[tokio::test]
    async fn of_a_stream_that_mentions_nothing_that_matters_only_the_name_is_read() {
        let server = TestServer::start().await;
        for (name, scheduled) in [("follows", true), ("does-not", false)] {
            let from = json!({"kind": "DockerImage", "name": "r.test/scheduled:true"});
            let tag = json!({"name": "t", "from": from, "importPolicy": {"scheduled": scheduled}});
            let stream = json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
                "metadata": {"name": name}, "spec": {"tags": [tag]}});
            let answer = server.post("admin", "imagestreams", &stream, 201).await;
            let namespace = text(&answer, "namespace");
            let stored = server
                .context
                .streams
                .shown(namespace, name)
                .await
                .unwrap()
                .unwrap();
            let read = mentioning(stored.clone().into(), &[SCHEDULED]).unwrap();
            assert_eq!(StreamKey::of(&read), key_of(&answer));
            assert_eq!(read.spec.tags.len(), usize::from(scheduled), "{name}");
            assert_eq!(stored.decode::<ImageStream>().unwrap(), typed(answer).unwrap());
        }
    }
}
