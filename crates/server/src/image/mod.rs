//! `image.openshift.io`.

pub(crate) mod limits;
pub(crate) mod stream_write;
