//! An [ImageStreamImport](imagestream_api::types::ImageStreamImport), run: images are read from their registries
//! and, on request, recorded in a stream.
//!
//! [`Engine::run`] plans which manifests are needed, fetches each once, builds Images from them and settles each
//! item's own status. [`apply::apply`] is pure: it makes a new stream from the results and the old one.
//! [`fill`] holds what an Image owes to its manifest when it does not come from an import.

pub mod apply;
mod build;
mod cache;
pub mod check;
mod courtesy;
mod engine;
mod failure;
pub mod fill;
mod once;
mod plan;
mod platform;
mod progress;
mod reader;
mod reading;
mod repository;
mod tag_choice;

pub use engine::{Credentials, Engine, EngineOptions, Request};
pub use plan::preferred;
pub use platform::Platform;
pub use progress::Progress;
pub use reading::{Reading, Wanted, most_copies};
pub use tag_choice::{ChosenTags, LeftAlone, NotListed, TagListing, Turns};
