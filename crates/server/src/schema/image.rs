//! The kinds of [image.openshift.io/v1][1].
//!
//! [1]: https://github.com/openshift/api/tree/master/image/v1

mod images;
mod imports;
mod streams;

pub use images::{IMAGE, IMAGE_SIGNATURE};
pub use imports::IMAGE_STREAM_IMPORT;
pub use streams::{
    IMAGE_STREAM, IMAGE_STREAM_IMAGE, IMAGE_STREAM_LAYERS, IMAGE_STREAM_MAPPING, IMAGE_STREAM_TAG, IMAGE_TAG,
    SECRET_LIST,
};

/// Where the types of the group are defined.
pub const HOME: &str = "com.github.openshift.api.image.v1";
