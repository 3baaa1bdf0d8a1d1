//! `imagestreams/status`: the histories of a stream's tags, for those who push images or import them on their own.

use std::sync::Arc;

use imagestream_api::stream::write::status_update;
use imagestream_apiserver::endpoint::{Endpoint, Pending, Request};
use imagestream_apiserver::errors;
use imagestream_apiserver::kind::{Resource, Verb};
use imagestream_apiserver::stored::Stored;
use imagestream_apiserver::strategy::{Strategy, done};
use serde_json::Value;

use super::image_streams::{IMAGE_STREAM, normalised};
use super::stream_write::{finish, to_value, typed};
use crate::context::Context;

/// `imagestreams/status`
pub static STREAM_STATUS: Resource = Resource {
    kind: &IMAGE_STREAM,
    plural: "imagestreams",
    subresource: "status",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

/// The endpoint.
#[must_use]
pub fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    let strategy = StatusStrategy {
        context: Arc::clone(context),
    };
    let streams = Arc::clone(&context.streams);
    Arc::new(Stored::part(streams, Arc::new(strategy), &STREAM_STATUS))
}

struct StatusStrategy {
    context: Arc<Context>,
}

impl Strategy for StatusStrategy {
    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Get, Verb::Patch, Verb::Update]
    }

    fn normalise(&self, object: Value) -> Result<Value, String> {
        normalised(object, self.context.import_mode)
    }

    /// A part is not created; no verb leads here.
    fn prepare_create<'a>(&'a self, _: &'a Request, _: Value) -> Pending<'a, Value> {
        done(Err(errors::method_not_allowed().into()))
    }

    fn prepare_update<'a>(&'a self, _: &'a Request, object: Value, stored: &'a Value) -> Pending<'a, Value> {
        Box::pin(async move {
            let resolved = status_update(typed(object)?, typed(stored.clone())?);
            to_value(&finish(&self.context, resolved).await?)
        })
    }

    fn updates_blindly(&self) -> bool {
        false
    }
}
