//! `image.openshift.io`.

use std::sync::Arc;

use imagestream_apiserver::endpoint::Endpoint;
use imagestream_apiserver::stored::Stored;

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

/// All resources of the group.
pub fn endpoints(context: &Arc<Context>) -> Vec<Arc<dyn Endpoint>> {
    let streams = image_streams::StreamStrategy::new(Arc::clone(context));
    vec![
        Arc::new(Stored::new(Arc::clone(&context.streams), Arc::new(streams))),
        Arc::new(stream_status::endpoint(context)),
        Arc::new(stream_layers::StreamLayers::new(Arc::clone(context))),
        Arc::new(stream_secrets::StreamSecrets::new(Arc::clone(context))),
        Arc::new(imports::ImageStreamImports::new(Arc::clone(context))),
    ]
}
