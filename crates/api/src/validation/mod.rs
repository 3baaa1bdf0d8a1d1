//! Whether objects are what the API accepts: pure functions that list what is wrong, in the API's order.

mod import;
pub mod metadata;
mod names;

pub use import::{allowed, image_stream_import};
