//! A scriptable registry, and helpers that start real servers, for tests.
//!
//! [`content::Content`] describes what a registry holds, [`registry::TestRegistry`] serves it in this process
//! with latency, authentication, rate limits and faults that change while it runs, and
//! [`real::RealRegistry`] serves it from a real `docker-registry` process. [`etcd`] starts real etcd servers.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "only tests use this crate: a broken fixture should end the test at once"
)]

pub mod auth;
pub mod content;
pub mod etcd;
pub mod fault;
pub mod image;
pub mod index;
pub mod layer;
pub mod layout;
pub mod rate_limit;
pub mod real;
pub mod record;
pub mod registry;
pub mod samples;
pub mod schema1;
mod serve;
pub mod tls;
