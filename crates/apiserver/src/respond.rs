//! Answers, written in the form that the client accepts.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

/// The body of an answer: whole, or a stream of a watch or a long list.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// A status as the answer to a request: with its code, in the encoding that `Accept` asks for, else JSON.
#[must_use]
pub fn status(_status: &Status, _head: &http::request::Parts) -> http::Response<ResponseBody> {
    unreachable!("being written")
}
