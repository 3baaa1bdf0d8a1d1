//! What resources look like, for programs: [OpenAPI][1] documents made from the schemas of the kinds. `kubectl`
//! explains fields from them, checks objects and finds out how lists are merged.
//!
//! Version 2 is one document of everything, version 3 one document for each group and version. They are made when
//! somebody asks for one first, and kept.
//!
//! [1]: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::api::Api;
use crate::errors;
use crate::respond::{ResponseBody, full};

mod definitions;
mod gnostic;
mod operations;

use definitions::{Definitions, Dialect};

const JSON: &str = "application/json";
/// The names under which clients ask for version 2 in protobuf; the second is what it is called in answers, as a
/// media type can't have an `@`.
const PROTOBUF: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
/// For a document that is asked for by its hash: it never changes.
const FOR_EVER: &str = "public, immutable, max-age=31536000";

/// The answer to a request for a document; `None` if the path is none of OpenAPI's.
///
/// # Errors
/// 405 for anything but reading, 406 for who accepts no form that the document has.
#[must_use]
pub fn answer(api: &Api, head: &Parts) -> Option<Result<Response<ResponseBody>, Box<Status>>> {
    let path = head.uri.path().strip_prefix("/openapi/")?;
    let documents = api.documents();
    let offered = match path.trim_end_matches('/') {
        "v2" => vec![&documents.v2, &documents.v2_protobuf],
        "v3" => vec![&documents.index],
        other => vec![documents.versions.get(other.strip_prefix("v3/")?)?],
    };
    if head.method != Method::GET && head.method != Method::HEAD {
        return Some(Err(errors::method_not_allowed().into()));
    }
    let Some(document) = accepted(head, &offered) else {
        let offered: Vec<&str> = offered.iter().map(|document| document.media_type).collect();
        return Some(Err(errors::not_acceptable(&offered).into()));
    };
    Some(
        document
            .response(head)
            .map_err(|error| errors::internal_error(error).into()),
    )
}

/// The first document that the client accepts, in the client's order.
fn accepted<'d>(head: &Parts, offered: &[&'d Document]) -> Option<&'d Document> {
    let accept = head.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let accept = accept.filter(|accept| !accept.trim().is_empty()).unwrap_or("*/*");
    accept.split(',').find_map(|clause| {
        let media_type = clause.split(';').next().unwrap_or_default().trim();
        offered.iter().copied().find(|document| {
            matches!(media_type, "*/*" | "application/*")
                || media_type == document.media_type
                || (PROTOBUF.contains(&media_type) && PROTOBUF.contains(&document.media_type))
        })
    })
}

/// All documents of a server.
pub(crate) struct Documents {
    v2: Document,
    v2_protobuf: Document,
    /// Where the documents of version 3 are.
    index: Document,
    /// By `api/v1`, `apis/example.com/v1`.
    versions: BTreeMap<String, Document>,
}

impl Documents {
    /// Describes all resources.
    pub(crate) fn new(api: &Api) -> Self {
        let v2 = version_2(api);
        let versions: BTreeMap<String, Document> = operations::versions(api)
            .into_iter()
            .map(|(path, version)| {
                let mut definitions = Definitions::new(Dialect::V3, api);
                let paths = operations::paths(api, &version, &mut definitions);
                let document = json!({
                    "openapi": "3.0.0",
                    "info": info(),
                    "paths": paths,
                    "components": {"schemas": definitions.into_map(), "securitySchemes": security()},
                });
                (path, Document::json(&document))
            })
            .collect();
        let places: Map<String, Value> = versions
            .iter()
            .map(|(path, document)| {
                let place = format!("/openapi/v3/{path}?hash={}", document.hash);
                (path.clone(), json!({"serverRelativeURL": place}))
            })
            .collect();
        Self {
            v2_protobuf: Document::new(PROTOBUF[1], gnostic::document(&v2)),
            v2: Document::json(&v2),
            index: Document::json(&json!({"paths": places})),
            versions,
        }
    }
}

fn version_2(api: &Api) -> Value {
    let mut definitions = Definitions::new(Dialect::V2, api);
    let mut paths = Map::new();
    for version in operations::versions(api).into_values() {
        paths.append(&mut operations::paths(api, &version, &mut definitions));
    }
    json!({
        "swagger": "2.0",
        "info": info(),
        "paths": paths,
        "definitions": definitions.into_map(),
        "parameters": operations::shared(),
        "securityDefinitions": security(),
        "security": [{"BearerToken": []}],
    })
}

fn info() -> Value {
    json!({"title": "imagestream", "version": concat!("v", env!("CARGO_PKG_VERSION"))})
}

fn security() -> Value {
    json!({"BearerToken": {
        "type": "apiKey",
        "name": "authorization",
        "in": "header",
        "description": "A token, after the word Bearer.",
    }})
}

/// A document that does not change, and its name for caches.
struct Document {
    media_type: &'static str,
    body: Bytes,
    hash: String,
}

impl Document {
    fn new(media_type: &'static str, body: Vec<u8>) -> Self {
        let hash = Sha256::digest(&body)
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        Self {
            media_type,
            body: body.into(),
            hash,
        }
    }

    fn json(document: &Value) -> Self {
        Self::new(JSON, document.to_string().into_bytes())
    }

    fn response(&self, head: &Parts) -> Result<Response<ResponseBody>, http::Error> {
        let etag = format!("\"{}\"", self.hash);
        let is_known = |known: &HeaderValue| {
            let known = known.to_str().unwrap_or_default();
            known
                .split(',')
                .any(|tag| tag.trim().trim_start_matches("W/") == etag)
        };
        let mut response = Response::builder().header(ETAG, &etag).header(VARY, "Accept");
        if let Some(hash) = asked_hash(head) {
            if hash != self.hash {
                let place = format!("{}?hash={}", head.uri.path(), self.hash);
                return response
                    .status(StatusCode::MOVED_PERMANENTLY)
                    .header(LOCATION, place)
                    .body(full(Bytes::new()));
            }
            response = response.header(CACHE_CONTROL, FOR_EVER);
        }
        if head.headers.get(IF_NONE_MATCH).is_some_and(is_known) {
            return response.status(StatusCode::NOT_MODIFIED).body(full(Bytes::new()));
        }
        response
            .header(CONTENT_TYPE, self.media_type)
            .body(full(self.body.clone()))
    }
}

/// The hash of the document that the client wants, if it says so.
fn asked_hash(head: &Parts) -> Option<String> {
    let query = head.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, value)| key == "hash" && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests;
