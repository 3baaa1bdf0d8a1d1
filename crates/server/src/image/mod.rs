//! `image.openshift.io`.
