//! From an authorized request and its body to the answer of the endpoint that it is for.

use std::sync::Arc;

use bytes::Bytes;

use crate::admission::Admission;
use crate::api::Api;
use crate::endpoint::Request;
use crate::respond::ResponseBody;

/// Sends requests to endpoints.
pub struct Dispatcher {
    /// The endpoints.
    pub api: Api,
    /// Asked before every write.
    pub admission: Arc<dyn Admission>,
}

impl Dispatcher {
    /// Answers a request. Errors are answers too: each has its status.
    pub async fn dispatch(
        &self,
        _request: Arc<Request>,
        _head: &http::request::Parts,
        _body: Bytes,
    ) -> http::Response<ResponseBody> {
        unreachable!("being written")
    }
}
