//! (being written)
use crate::{api::Api, respond::ResponseBody};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
#[allow(missing_docs)]
pub fn answer(
    _: &Api,
    _: &http::request::Parts,
) -> Option<Result<http::Response<ResponseBody>, Box<Status>>> {
    None
}
