//! The wire types of the group `image.openshift.io/v1`, and the rules that need no I/O.

pub mod digest;
pub mod reference;
pub mod tag_order;
pub mod types;
