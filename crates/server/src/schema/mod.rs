//! The fields of every kind that the server has, with what each is for.

pub mod authorization;
pub mod config;
pub mod core;
pub mod image;
pub mod rbac;

#[cfg(test)]
mod tests;
