//! Answers, written in the form that the client accepts.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Value, json};

use crate::endpoint::{Endpoint, Object, ObjectList, Outcome, Request};
use crate::errors;
use crate::negotiation::{Accepted, Encoding, MEDIA_TYPES, Shape, is_pretty, negotiate};
use crate::ordered::Ordered;
use crate::paths::PathAnswer;
use crate::protobuf;
use crate::schema;
use crate::schema::meta::STATUS;

mod table;
mod watch;

use table::Tables;

/// The body of an answer: whole, or a stream of a watch or a long list.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// Bytes of a list that are written at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A status as the answer to a request: with its code, in the encoding that `Accept` asks for, else JSON. A failure is
/// not in the encoding of what was to be made of an answer.
#[must_use]
pub fn status(status: &Status, head: &Parts) -> Response<ResponseBody> {
    let accept = head
        .headers
        .get(http::header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let is_success = status.status.as_deref() == Some("Success");
    let accepted = negotiate(accept, &MEDIA_TYPES, |_, shape| {
        is_success || shape == Shape::Object
    });
    let accepted = accepted.unwrap_or(Accepted::JSON);
    let accepted = Accepted {
        shape: Shape::Object,
        ..accepted
    };
    let code = status
        .code
        .and_then(|code| u16::try_from(code).ok())
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(StatusCode::OK);
    // A status is made of texts and numbers and can always be written.
    let value = serde_json::to_value(status).unwrap_or(Value::Null);
    let mut response = whole(code, &value, Form::Object(&STATUS), accepted, head);
    let retry = status
        .details
        .as_ref()
        .and_then(|details| details.retry_after_seconds);
    if let Some(seconds) = retry.filter(|seconds| *seconds > 0) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A document that is no object of a resource: discovery, for example.
#[must_use]
pub fn document(document: &Value, accepted: Accepted, head: &Parts) -> Response<ResponseBody> {
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
    let form = schema::discovery::document(kind).map_or(Form::Json, Form::Object);
    whole(StatusCode::OK, document, form, accepted, head)
}

/// The answer where nothing is.
#[must_use]
pub fn not_a_path() -> Response<ResponseBody> {
    let mut response = Response::new(full("404 page not found\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// What the endpoint of a path answered.
pub(crate) fn path(answer: PathAnswer) -> Response<ResponseBody> {
    let mut response = Response::new(full(answer.body));
    *response.status_mut() = answer.status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

/// What an endpoint answered.
pub(crate) fn outcome(
    endpoint: &Arc<dyn Endpoint>,
    request: &Request,
    head: &Parts,
    accepted: Accepted,
    outcome: Outcome,
) -> Result<Response<ResponseBody>, Box<Status>> {
    match outcome {
        Outcome::Status(inner) => Ok(status(&inner, head)),
        Outcome::Watch(events) => watch::respond(endpoint, request, accepted, events),
        Outcome::Object { code, object } => {
            let code = StatusCode::from_u16(code).map_err(errors::internal_error)?;
            self::object(endpoint, request, head, accepted, code, object)
        }
        Outcome::List(list) => self::list(endpoint, request, head, accepted, list),
    }
}

fn object(
    endpoint: &Arc<dyn Endpoint>,
    request: &Request,
    head: &Parts,
    accepted: Accepted,
    code: StatusCode,
    object: Object,
) -> Result<Response<ResponseBody>, Box<Status>> {
    let is_plain =
        accepted.shape == Shape::Object && accepted.encoding == Encoding::Json && !pretty(accepted, head);
    if let (Object::Encoded(encoded), true) = (&object, is_plain) {
        let mut bytes = Vec::with_capacity(encoded.len());
        encoded.write_object(&mut bytes);
        bytes.push(b'\n');
        return Ok(response(code, accepted, full(bytes)));
    }
    let object = object.into_value()?;
    let (shown, form) = match accepted.shape {
        Shape::Table(version) => {
            let mut tables = Tables::new(&**endpoint, request, version)?;
            (tables.of_object(&object), Form::Json)
        }
        Shape::PartialObjectMetadata(_) if is_list(endpoint) => {
            return Err(is_a_list(endpoint, endpoint.resource().kind.kind));
        }
        Shape::PartialObjectMetadata(version) => {
            (partial(&object, version.api_version()), Form::Object(&PARTIAL))
        }
        Shape::PartialObjectMetadataList(version) if is_list(endpoint) => {
            let items = object.get("items").and_then(Value::as_array);
            let items = items.into_iter().flatten();
            let shown = json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": version.api_version(),
                "metadata": object.get("metadata"),
                "items": items.map(|item| partial(item, version.api_version())).collect::<Vec<_>>(),
            });
            (shown, Form::ListOf(&PARTIAL))
        }
        Shape::PartialObjectMetadataList(_) => return Err(is_no_list(endpoint)),
        _ => (object, Form::Object(endpoint.resource().kind.schema)),
    };
    Ok(whole(code, &shown, form, accepted, head))
}

/// Whether the objects of an endpoint are lists themselves.
fn is_list(endpoint: &Arc<dyn Endpoint>) -> bool {
    endpoint.resource().kind.kind.ends_with("List")
}

fn is_a_list(endpoint: &Arc<dyn Endpoint>, list_kind: &str) -> Box<Status> {
    let package = endpoint.resource().kind.package;
    errors::failed_conversion(format!(
        "you requested PartialObjectMetadata, but the requested object is a list (*{package}.{list_kind})"
    ))
    .into()
}

fn is_no_list(endpoint: &Arc<dyn Endpoint>) -> Box<Status> {
    let kind = endpoint.resource().kind;
    errors::failed_conversion(format!(
        "you requested PartialObjectMetadataList, but the requested object is not a list (*{}.{})",
        kind.package, kind.kind
    ))
    .into()
}

/// What an answer is in protobuf.
#[derive(Clone, Copy)]
enum Form {
    Object(&'static schema::Object),
    ListOf(&'static schema::Object),
    /// Nothing: it is only ever JSON or YAML.
    Json,
}

/// The fields of an object of which only the metadata is shown.
static PARTIAL: schema::Object = schema::Object::new(
    schema::meta::HOME,
    "PartialObjectMetadata",
    "An object's metadata.",
    &[schema::KIND, schema::API_VERSION, schema::METADATA],
);

/// An object's metadata as an object of its own.
fn partial(object: &Value, api_version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": api_version,
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

fn list(
    endpoint: &Arc<dyn Endpoint>,
    request: &Request,
    head: &Parts,
    accepted: Accepted,
    list: ObjectList,
) -> Result<Response<ResponseBody>, Box<Status>> {
    let resource = endpoint.resource();
    let metadata = list_metadata(&list);
    let mut form = Form::ListOf(resource.kind.schema);
    let shown = match accepted.shape {
        Shape::Table(version) => {
            form = Form::Json;
            let mut tables = Tables::new(&**endpoint, request, version)?;
            tables.of_list(list, &metadata)?
        }
        Shape::PartialObjectMetadata(_) => return Err(is_a_list(endpoint, resource.list_kind)),
        Shape::PartialObjectMetadataList(version) => {
            form = Form::ListOf(&PARTIAL);
            let items = list.items.into_iter().map(|item| {
                item.into_value()
                    .map(|item| partial(&item, version.api_version()))
            });
            json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": version.api_version(),
                "metadata": metadata,
                "items": items.collect::<Result<Vec<_>, _>>()?,
            })
        }
        _ if accepted.encoding == Encoding::Json && !pretty(accepted, head) => {
            let start = format!(
                "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
                resource.list_kind,
                resource.kind.api_version()
            );
            return Ok(response(
                StatusCode::OK,
                accepted,
                streamed(list_chunks(start, list)),
            ));
        }
        _ => {
            let items = list.items.into_iter().map(|item| item.into_value().map(untyped));
            json!({
                "kind": resource.list_kind,
                "apiVersion": resource.kind.api_version(),
                "metadata": metadata,
                "items": items.collect::<Result<Vec<_>, _>>()?,
            })
        }
    };
    Ok(whole(StatusCode::OK, &shown, form, accepted, head))
}

fn list_metadata(list: &ObjectList) -> Value {
    let mut metadata = serde_json::Map::new();
    if let Some(revision) = list.revision {
        metadata.insert("resourceVersion".into(), revision.to_string().into());
    }
    if !list.continue_token.is_empty() {
        metadata.insert("continue".into(), list.continue_token.as_str().into());
    }
    if let Some(remaining) = list.remaining {
        metadata.insert("remainingItemCount".into(), remaining.into());
    }
    metadata.into()
}

/// An object as it stands in a list.
fn untyped(mut object: Value) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

/// The bytes of a list, made as the client takes them: the objects themselves are shared with the cache.
fn list_chunks(start: String, list: ObjectList) -> impl Stream<Item = Bytes> + Send {
    let mut items = list.items.into_iter();
    let mut head = Some(start);
    let mut is_first = true;
    let mut is_done = false;
    stream::iter(std::iter::from_fn(move || {
        if is_done {
            return None;
        }
        let mut chunk = Vec::with_capacity(CHUNK_BYTES / 4);
        if let Some(start) = head.take() {
            chunk.extend_from_slice(start.as_bytes());
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(item) = items.next() else {
                chunk.extend_from_slice(b"]}\n");
                is_done = true;
                break;
            };
            if !std::mem::take(&mut is_first) {
                chunk.push(b',');
            }
            write_item(&mut chunk, item);
        }
        Some(Bytes::from(chunk))
    }))
}

fn write_item(out: &mut Vec<u8>, item: Object) {
    match item {
        Object::Encoded(encoded) => encoded.write_item(out),
        // A value that came from JSON can be written as JSON.
        Object::Value(value) => {
            let _ = serde_json::to_writer(out, &Ordered(&untyped(value)));
        }
    }
}

fn pretty(accepted: Accepted, head: &Parts) -> bool {
    let user_agent = head
        .headers
        .get(http::header::USER_AGENT)
        .and_then(|value| value.to_str().ok());
    accepted.pretty
        || is_pretty(
            head.uri.query().unwrap_or_default(),
            user_agent.unwrap_or_default(),
        )
}

/// A whole value in the client's encoding.
fn whole(
    code: StatusCode,
    value: &Value,
    form: Form,
    accepted: Accepted,
    head: &Parts,
) -> Response<ResponseBody> {
    let body = match accepted.encoding {
        Encoding::Protobuf => match form {
            Form::Object(schema) => protobuf::object(value, schema),
            Form::ListOf(schema) => protobuf::list(value, schema),
            // Negotiation offers protobuf only where there is a form.
            Form::Json => Vec::new(),
        },
        Encoding::Yaml => serde_saphyr::to_string(value).unwrap_or_default().into_bytes(),
        Encoding::Json => {
            let written = if pretty(accepted, head) {
                serde_json::to_vec_pretty(&Ordered(value))
            } else {
                serde_json::to_vec(&Ordered(value))
            };
            let mut bytes = written.unwrap_or_default();
            bytes.push(b'\n');
            bytes
        }
    };
    response(code, accepted, full(body))
}

fn response(code: StatusCode, accepted: Accepted, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    if let Ok(content_type) = HeaderValue::from_str(&accepted.content_type()) {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

/// A body that is there already.
pub fn full(body: impl Into<Bytes>) -> ResponseBody {
    Full::new(body.into()).boxed_unsync()
}

/// A body that comes in pieces.
pub fn streamed(chunks: impl Stream<Item = Bytes> + Send + 'static) -> ResponseBody {
    StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync()
}
