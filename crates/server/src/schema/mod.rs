//! The fields of every kind that the server has, with what each is for.

pub mod authentication;
pub mod authorization;
pub mod config;
pub mod core;
pub mod image;
pub mod project;
pub mod rbac;

use imagestream_apiserver::schema::{API_VERSION, KIND, METADATA, Object};

/// A kind that is added to a server.
pub static CUSTOM_RESOURCE_DEFINITION: Object = Object::new(
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
    "CustomResourceDefinition",
    "A kind that is added to a server.",
    &[KIND, API_VERSION, METADATA],
);

#[cfg(test)]
mod tests;
