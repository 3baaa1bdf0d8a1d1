//! The read side of the [OCI](https://github.com/opencontainers/distribution-spec) and Docker registry protocol.
//!
//! A [`Client`] is made once per process; it holds the connections, what was learned about each host and the
//! tokens. [`Client::repository`] gives a cheap handle, and its verbs (tags, manifest, blob) live in a file each.
//! They say what they want; how it gets there (challenge, token, redirect, retry, throttle) is `transport`.

mod blob;
mod client;
mod credential;
pub mod distribution;
mod error;
mod feedback;
pub mod json;
pub mod keychain;
pub mod local_config;
mod manifest;
mod probe;
pub mod push_events;
mod repository;
pub mod sources;
mod tags;
mod transport;

pub use client::{Access, Activity, BuildError, Client, ClientOptions};
pub use credential::Credential;
pub use error::{Error, RegistryError};
pub use feedback::{HostFeedback, HostFeedbacks, Quota};
pub use manifest::{FetchedManifest, ManifestAt};
pub use probe::Probed;
pub use repository::Repository;
pub use tags::TagPages;
