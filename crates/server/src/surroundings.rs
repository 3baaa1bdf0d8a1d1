//! What a server that stands alone has around its images: namespaces, secrets, limits, roles, policy, and the tasks that
//! keep these in order.

use std::sync::Arc;

use futures::future::BoxFuture;
use imagestream_apiserver::admission::Admission;
use imagestream_apiserver::endpoint::Endpoint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::admission::Standalone;
use crate::context::Context;
use crate::core::quota::Quotas;
use crate::{config, core, custom_resources, project, rbac, users};

/// What [`start`](crate::start) puts beside the endpoints of images.
pub struct Surroundings {
    /// The endpoints of the core group, of roles and of policy.
    pub endpoints: Vec<Arc<dyn Endpoint>>,
    /// Asked before every write.
    pub admission: Arc<dyn Admission>,
    /// To be polled as long as the server lives; each ends only when the store is closed.
    pub tasks: Vec<BoxFuture<'static, ()>>,
}

impl Surroundings {
    /// Creates what is there from the start (namespaces, roles), brings the authorizer up to date with what is stored,
    /// and makes everything else. Objects of [`Context`] must be open.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn prepare(context: &Arc<Context>) -> Result<Self, Box<Status>> {
        core::prepare(context).await?;
        let quotas = Arc::new(Quotas::new(context));
        let mut endpoints = core::endpoints(context, &quotas);
        endpoints.extend(config::endpoints(context));
        endpoints.push(custom_resources::endpoint());
        endpoints.push(users::endpoint());
        let rbac = rbac::prepare(context).await?;
        endpoints.extend(rbac.endpoints);
        let namespaces = core::namespaces::endpoint(context);
        endpoints.extend(project::endpoints(context, &namespaces, &rbac.sync));
        let mut tasks = core::tasks(context, &quotas);
        tasks.push(rbac.task);
        Ok(Self {
            endpoints,
            admission: Arc::new(Standalone::new(context, &quotas)),
            tasks,
        })
    }
}

#[cfg(test)]
mod tests;
