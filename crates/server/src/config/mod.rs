//! `config.openshift.io` and `operator.openshift.io`: what an administrator says about images of other registries.
//!
//! In OpenShift these are custom resources, so that what is checked is what their definitions say.

pub mod content_source_policy;
pub mod image_config;
pub mod mirror_sets;
mod mirrors;

use std::sync::Arc;

use imagestream_api::field::FieldError;
use imagestream_apiserver::endpoint::Endpoint;
use imagestream_apiserver::kind::Resource;
use imagestream_apiserver::storage::Objects;
use imagestream_apiserver::stored::Stored;
use serde_json::Value;

use crate::context::Context;
use crate::plain::{Custom, StatusOnly, with_metadata};

/// The endpoints of both groups.
pub fn endpoints(context: &Context) -> Vec<Arc<dyn Endpoint>> {
    let mut endpoints = Vec::from(image_config::endpoints(context));
    endpoints.extend(mirror_sets::endpoints(context));
    endpoints.extend(content_source_policy::endpoints(context));
    endpoints
}

/// The endpoints of a resource and of its status.
fn custom(
    objects: &Arc<Objects>,
    resource: &'static Resource,
    status: &'static Resource,
    validate: fn(&Value) -> Vec<FieldError>,
) -> [Arc<dyn Endpoint>; 2] {
    let of_status = StatusOnly {
        resource,
        normalise: with_metadata,
        validate,
    };
    [
        Arc::new(Stored::new(
            Arc::clone(objects),
            Arc::new(Custom { resource, validate }),
        )),
        Arc::new(Stored::part(Arc::clone(objects), Arc::new(of_status), status)),
    ]
}
