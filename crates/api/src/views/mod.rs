//! Objects that are not stored but computed from a stream and its images.

mod image_tag;
mod layers;
mod stream_image;
mod stream_tag;

pub use image_tag::{image_tag, image_tags};
pub use layers::{ImageBlobs, image_stream_layers};
pub use stream_image::{find_image, image_stream_image};
pub use stream_tag::{image_stream_tag, image_stream_tags, usable_event};

use crate::reference::ImageReference;
use crate::types::{Image, ImageStream, TagEvent};

/// An image as views show it, without the manifest and the configuration as the registry sent them.
fn without_documents(image: &Image) -> Image {
    let mut shown = image.clone();
    shown.docker_image_manifest.clear();
    shown.docker_image_config.clear();
    shown
}

/// Where the image of a tag's event can be pulled, by the tag's reference policy.
fn pull_reference(stream: &ImageStream, tag: &str, event: &TagEvent) -> String {
    let spec = stream.spec.tags.get(tag);
    let is_local = spec.is_some_and(|spec| spec.reference_policy.policy_type == "Local");
    let repository = ImageReference::parse(&stream.status.docker_image_repository);
    match repository {
        Ok(repository) if is_local && !event.image.is_empty() => ImageReference {
            tag: String::new(),
            id: event.image.clone(),
            ..repository
        }
        .exact(),
        _ => event.docker_image_reference.clone(),
    }
}
