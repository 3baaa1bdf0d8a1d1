//! `image.openshift.io`.

use std::sync::Arc;

use imagestream_apiserver::endpoint::Endpoint;

use crate::context::Context;

pub mod image_streams;
pub mod image_tags;
pub mod images;
mod import_events;
mod import_record;
pub mod imports;
pub(crate) mod limits;
pub mod mappings;
pub(crate) mod policy;
pub(crate) mod repository_note;
pub mod signatures;
pub mod stream_images;
pub mod stream_layers;
pub mod stream_secrets;
pub mod stream_status;
pub mod stream_tags;
pub(crate) mod stream_write;
mod table;
mod tag_writer;
mod tags;
#[cfg(test)]
pub(crate) mod testing;

/// All resources of the group.
pub fn endpoints(context: &Arc<Context>) -> Vec<Arc<dyn Endpoint>> {
    vec![
        image_streams::endpoint(context),
        stream_status::endpoint(context),
        stream_layers::endpoint(context),
        stream_secrets::endpoint(context),
        imports::endpoint(context),
        stream_tags::endpoint(context),
        image_tags::endpoint(context),
        stream_images::endpoint(context),
        mappings::endpoint(context),
        images::endpoint(context),
        signatures::endpoint(context),
    ]
}
