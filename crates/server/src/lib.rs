//! Image streams as an API server: one file for each resource of the group, on the generic machinery of
//! `imagestream-apiserver`, and what a standalone server needs around them (namespaces, secrets, roles, policy).

pub mod admission;
mod age;
pub mod backup;
pub mod config;
pub mod context;
mod controllers;
pub mod core;
mod custom_resources;
mod data_dir;
pub mod image;
mod lanes;
mod notifications;
mod open;
mod plain;
mod project;
mod prune;
pub mod rbac;
pub mod schema;
pub mod settings;
mod start;
pub mod surroundings;
mod trust;
mod users;

pub use start::{Server, StartError, start};
