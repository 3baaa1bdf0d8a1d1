//! End-to-end tests: the program as users run it, against real servers. The tests are in `tests/`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "only tests use this crate: a broken run should end the test at once"
)]

pub mod client;
pub mod kubectl;
pub mod leader;
pub mod program;
pub mod proxy;
pub mod server;
