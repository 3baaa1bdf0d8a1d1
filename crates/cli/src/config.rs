//! What commands work with: options from the command line and the environment, then from the configuration file, then
//! defaults.

mod controllers;
mod file;
mod import;
mod serve;

pub(crate) use file::StorageKind;
pub(crate) use import::Settings;
pub(crate) use serve::settings as serve_settings;
