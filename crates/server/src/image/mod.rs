//! `image.openshift.io`.

use std::sync::Arc;

use imagestream_apiserver::endpoint::Endpoint;

use crate::context::Context;

pub mod image_streams;
mod import_record;
pub mod imports;
pub(crate) mod limits;
mod policy;
pub mod stream_layers;
pub mod stream_secrets;
pub mod stream_status;
pub(crate) mod stream_write;
mod table;
#[cfg(test)]
mod testing;

/// All resources of the group.
pub fn endpoints(context: &Arc<Context>) -> Vec<Arc<dyn Endpoint>> {
    vec![
        image_streams::endpoint(context),
        stream_status::endpoint(context),
        stream_layers::endpoint(context),
        stream_secrets::endpoint(context),
        imports::endpoint(context),
    ]
}
