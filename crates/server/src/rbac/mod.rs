//! `rbac.authorization.k8s.io` and `authorization.k8s.io`: who may do what, and asking for it.

mod bootstrap;
mod policy_sync;
mod reviews;
pub mod roles;

use std::sync::Arc;

use futures::future::BoxFuture;
use imagestream_apiserver::endpoint::Endpoint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::context::Context;
pub(crate) use policy_sync::PolicySync;

/// What [`prepare`] makes.
pub struct Rbac {
    /// The endpoints of both groups.
    pub endpoints: Vec<Arc<dyn Endpoint>>,
    /// Keeps the authorizer up to date; to be polled as long as the server lives.
    pub task: BoxFuture<'static, ()>,
    /// Puts in force at once what was written beside the endpoints.
    pub(crate) sync: Arc<PolicySync>,
}

/// Creates the roles that are there from the start, puts what is stored in force, and makes the endpoints.
///
/// # Errors
/// Those of the store.
pub async fn prepare(context: &Arc<Context>) -> Result<Rbac, Box<Status>> {
    bootstrap::create(context).await?;
    let sync = Arc::new(PolicySync::new(context));
    sync.refresh_all().await?;
    let mut endpoints = roles::endpoints(context, &sync);
    endpoints.extend(reviews::endpoints(context));
    Ok(Rbac {
        endpoints,
        task: Box::pin(Arc::clone(&sync).follow()),
        sync,
    })
}
