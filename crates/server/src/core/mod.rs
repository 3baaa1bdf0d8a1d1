//! The core group: namespaces, and what is in each of them beside image streams.

pub mod events;
pub mod limit_ranges;
pub mod namespaces;
pub mod resource_quotas;
pub mod seal;
pub mod secrets;
