//! Whether objects are what the API accepts: pure functions that list what is wrong, in the API's order.

mod accepted;
mod image;
mod image_stream;
mod image_stream_mapping;
mod image_stream_tag;
mod image_tag;
mod import;
mod layers;
pub mod metadata;
mod names;
mod signature;
pub(crate) mod tag;

pub use image::{image, image_update};
pub use image_stream::{image_stream, image_stream_status_update, image_stream_update};
pub use image_stream_mapping::image_stream_mapping;
pub use image_stream_tag::{image_stream_tag, image_stream_tag_update};
pub use image_tag::{image_tag, image_tag_update};
pub use import::{allowed, image_stream_import};
pub use layers::image_stream_layers;
pub use names::qualified as qualified_name;
pub use signature::image_signature;

use crate::field::Path;

/// The field `name` of what is at `path`, or of the whole object.
fn at(path: Option<&Path>, name: &str) -> Path {
    path.map_or_else(|| Path::root(name), |path| path.child(name))
}
