//! How a stream changes: from what a client writes to what is stored.
//!
//! [`mod@write`] strings the rules together; the other modules hold one each. Nothing here reads another object or asks
//! whether somebody may: what has to be read and asked is returned, and the answers are passed in.

pub mod access;
pub mod follow;
pub mod push;
pub mod repository;
pub mod resolve;
pub mod source;
pub mod status_update;
pub mod tag_edit;
pub mod write;
