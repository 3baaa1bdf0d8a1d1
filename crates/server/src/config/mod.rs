//! `config.openshift.io` and `operator.openshift.io`: what an administrator says about images of other registries.

pub mod content_source_policy;
pub mod image_config;
pub mod mirror_sets;
