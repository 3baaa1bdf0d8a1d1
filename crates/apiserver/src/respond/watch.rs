//! Watches as [streams of JSON lines](https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes).

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;

use super::table::Tables;
use super::{PARTIAL, ResponseBody, partial, response, streamed};
use crate::endpoint::{Endpoint, Object, Request, WatchEvent, WatchEvents};
use crate::errors;
use crate::negotiation::{Accepted, Encoding, STREAM_MEDIA_TYPES, Shape};
use crate::ordered::Ordered;
use crate::protobuf;
use crate::schema::meta::STATUS;

pub(super) fn respond(
    endpoint: &Arc<dyn Endpoint>,
    request: &Request,
    accepted: Accepted,
    events: WatchEvents,
) -> Result<Response<ResponseBody>, Box<Status>> {
    if accepted.encoding == Encoding::Yaml {
        return Err(errors::no_such_representation(&STREAM_MEDIA_TYPES).into());
    }
    let is_protobuf = accepted.encoding == Encoding::Protobuf;
    let schema = match accepted.shape {
        Shape::PartialObjectMetadata(_) => &PARTIAL,
        _ => endpoint.resource().kind.schema,
    };
    let endpoint = Arc::clone(endpoint);
    let mut tables = match accepted.shape {
        Shape::Table(version) => Some(Tables::new(&*endpoint, request, version)?.state()),
        _ => None,
    };
    let lines = events.map(move |event| {
        let mut line = Vec::with_capacity(1024);
        let mut shaped = |object: Object, is_bookmark: bool| match accepted.shape {
            Shape::Table(_) => {
                let value = object.into_value().ok()?;
                let state = tables.take()?;
                let mut table = Tables::following(&*endpoint, &state);
                let shown = if is_bookmark {
                    table.of_bookmark(&value)
                } else {
                    table.of_object(&value)
                };
                tables = Some(table.state());
                Some(Object::Value(shown))
            }
            Shape::PartialObjectMetadata(version) | Shape::PartialObjectMetadataList(version) => {
                let value = object.into_value().ok()?;
                Some(Object::Value(partial(&value, version.api_version())))
            }
            _ => Some(object),
        };
        let (name, object) = match event {
            WatchEvent::Added(object) => ("ADDED", shaped(object, false)),
            WatchEvent::Modified(object) => ("MODIFIED", shaped(object, false)),
            WatchEvent::Deleted(object) => ("DELETED", shaped(object, false)),
            WatchEvent::Bookmark(object) => ("BOOKMARK", shaped(Object::Value(object), true)),
            WatchEvent::Error(status) => ("ERROR", serde_json::to_value(status).ok().map(Object::Value)),
        };
        if is_protobuf {
            let schema = if name == "ERROR" { &STATUS } else { schema };
            let object = object
                .and_then(|object| object.into_value().ok())
                .unwrap_or_default();
            return Bytes::from(protobuf::event(name, &protobuf::object(&object, schema)));
        }
        write_event(&mut line, name, object);
        Bytes::from(line)
    });
    let mut response = response(StatusCode::OK, accepted, streamed(lines));
    if is_protobuf {
        let content_type = HeaderValue::from_static("application/vnd.kubernetes.protobuf;stream=watch");
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    Ok(response)
}

fn write_event(line: &mut Vec<u8>, name: &str, object: Option<Object>) {
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    match object {
        Some(Object::Encoded(encoded)) => encoded.write_object(line),
        // A value that came from JSON can be written as JSON.
        Some(Object::Value(value)) => {
            let _ = serde_json::to_writer(&mut *line, &Ordered(&value));
        }
        None => line.extend_from_slice(Value::Null.to_string().as_bytes()),
    }
    line.extend_from_slice(b"}\n");
}
