//! `image.openshift.io`.

pub(crate) mod stream_write;
