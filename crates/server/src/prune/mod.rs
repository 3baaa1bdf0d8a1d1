//! `POST /imagestream/v1/prune`: shortens the history of streams and deletes images that nothing points at.

mod deletion;
mod guard;
mod marks;
mod plan;
mod read;
mod run;

use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Method, StatusCode};
use imagestream_api::types::Status;
use imagestream_apiserver::errors;
use imagestream_apiserver::paths::{PathAnswer, PathEndpoint, PathRequest};

use crate::context::Context;
pub(crate) use guard::GuardedStore;
pub(crate) use run::tidy;

/// Where it is.
const PATH: &str = "/imagestream/v1/prune";

/// The endpoint.
pub(crate) struct PruneEndpoint {
    context: Arc<Context>,
    /// One at a time in a process: two would only get in each other's way.
    turn: tokio::sync::Mutex<()>,
}

impl PruneEndpoint {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    async fn prune(&self, request: &PathRequest) -> Result<PathAnswer, Box<Status>> {
        if request.method != Method::POST {
            return Err(errors::method_not_allowed().into());
        }
        let options: plan::Options = if request.body.is_empty() {
            plan::Options::default()
        } else {
            serde_json::from_slice(&request.body).map_err(|error| {
                errors::bad_request(format!("the options of a prune can't be read: {error}"))
            })?
        };
        let _turn = self.turn.lock().await;
        let report = run::prune(&self.context, &options, request.request.now).await?;
        // Not by way of a value, which would take many times the memory of what may be a long report.
        let body = serde_json::to_vec(&report).map_err(errors::internal_error)?;
        Ok(PathAnswer {
            status: StatusCode::OK,
            content_type: "application/json",
            body: body.into(),
        })
    }
}

impl PathEndpoint for PruneEndpoint {
    fn path(&self) -> &'static str {
        PATH
    }

    fn is_long_running(&self) -> bool {
        true
    }

    fn answer(&self, request: PathRequest) -> BoxFuture<'_, Result<PathAnswer, Box<Status>>> {
        Box::pin(async move { self.prune(&request).await })
    }
}

#[cfg(test)]
mod tests;
