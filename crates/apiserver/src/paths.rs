//! What a server offers beside its API groups: paths that are no resources, such as a report on itself.
//!
//! Roles govern them as `nonResourceURLs`; see [`PathEndpoint::knows_its_clients`] for the exception.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::endpoint::Request;

/// A request to a path.
pub struct PathRequest {
    /// Who asks, when, with which query, and until when the answer is wanted.
    pub request: Arc<Request>,
    /// How.
    pub method: Method,
    /// Headers. Credentials are among them only where the endpoint itself [knows its
    /// clients](PathEndpoint::knows_its_clients).
    pub headers: HeaderMap,
    /// The whole body; bounded as that of any request.
    pub body: Bytes,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathAnswer {
    /// How it went.
    pub status: StatusCode,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl PathAnswer {
    /// 200 with a JSON document.
    #[must_use]
    pub fn json(document: &serde_json::Value) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "application/json",
            body: Bytes::from(document.to_string()),
        }
    }
}

/// Answers one path and all below it.
pub trait PathEndpoint: Send + Sync + 'static {
    /// The path, without a slash at its end.
    fn path(&self) -> &'static str;

    /// Whether the endpoint tells its clients by a secret of its own, as those need who can't hold a certificate or a
    /// token of this server. Then requests come from nobody in particular, with all their headers, and their query
    /// is not written down anywhere.
    fn knows_its_clients(&self) -> bool {
        false
    }

    /// Whether answers may take as long as an import.
    fn is_long_running(&self) -> bool {
        false
    }

    /// Answers.
    fn answer(&self, request: PathRequest) -> BoxFuture<'_, Result<PathAnswer, Box<Status>>>;
}
