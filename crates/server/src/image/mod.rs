//! `image.openshift.io`.

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
