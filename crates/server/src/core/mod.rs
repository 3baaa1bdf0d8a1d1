//! The core group: namespaces, and what is in each of them beside image streams.

mod amounts;
pub mod events;
pub mod limit_ranges;
pub mod namespaces;
pub mod quota;
pub(crate) mod recorder;
pub mod resource_quotas;
pub mod seal;
pub mod secrets;
mod terminate;

use std::sync::Arc;

use futures::future::BoxFuture;
use imagestream_apiserver::endpoint::Endpoint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::context::Context;
use quota::Quotas;

/// Creates what is there from the start.
///
/// # Errors
/// Those of the store.
pub async fn prepare(context: &Context) -> Result<(), Box<Status>> {
    namespaces::create_default(context).await
}

/// The endpoints of the group.
pub fn endpoints(context: &Arc<Context>, quotas: &Arc<Quotas>) -> Vec<Arc<dyn Endpoint>> {
    let mut endpoints = namespaces::endpoints(context);
    endpoints.extend(resource_quotas::endpoints(context, quotas));
    endpoints.extend([
        secrets::endpoint(context),
        limit_ranges::endpoint(context),
        events::endpoint(context),
    ]);
    endpoints
}

/// What must go on as long as the server lives: namespaces end, quotas are counted, events are written and
/// forgotten.
pub fn tasks(context: &Arc<Context>, quotas: &Arc<Quotas>) -> Vec<BoxFuture<'static, ()>> {
    vec![
        Box::pin(terminate::terminate(Arc::clone(context))),
        Box::pin(Arc::clone(quotas).keep()),
        Box::pin(events::expire(Arc::clone(context))),
        Box::pin(recorder::write(Arc::clone(context))),
    ]
}
