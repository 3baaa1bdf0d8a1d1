//! The wire types of the group `image.openshift.io/v1`, and the rules that need no I/O.

pub mod allowed_registries;
pub mod defaults;
pub mod digest;
pub mod duration_text;
pub mod field;
pub mod follow_rules;
pub mod generations;
pub mod history;
pub mod limits;
pub mod names;
pub mod quantity;
pub mod reference;
pub mod status;
pub mod stream;
pub mod tables;
pub mod tag_order;
pub mod types;
pub mod validation;
pub mod views;
