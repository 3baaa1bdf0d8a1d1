//! Reads what there is. Bodies are decoded one at a time: of images only facts stay in memory, of streams what refers to
//! something.

use imagestream_api::types::{Image, ImageStream, Status};
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use imagestream_apiserver::storage::{Encoded, failed};

use super::plan::{ImageFacts, Images};
use crate::context::Context;
use crate::image::stream_write::typed;

/// Images that are read at once.
const PAGE: usize = 50;

/// All images as they were between a revision and now.
pub(super) struct KnownImages {
    pub(super) images: Images,
    pub(super) revision: u64,
}

/// What is to be known of every image.
///
/// # Errors
/// Those of the store; 500 for an image that can't be read.
pub(super) async fn images(context: &Context) -> Result<KnownImages, Box<Status>> {
    let prefix = context.images.scope("");
    let mut images = Images::new();
    let (mut after, mut first): (Option<String>, Option<u64>) = (None, None);
    loop {
        // Each page as it is now: what is missed because it came meanwhile is newer than the first page.
        let page = context.store.list(&prefix, after.as_deref(), PAGE, None).await;
        let page = page.map_err(failed)?;
        let revision = *first.get_or_insert(page.revision);
        for item in &page.items {
            let (name, facts) = image_facts(&context.images.of_item(item, false)?)?;
            images.insert(name, facts);
        }
        after = page.items.into_iter().last().map(|item| item.key);
        if !page.more {
            return Ok(KnownImages { images, revision });
        }
    }
}

/// What is to be known of an image, with its name; nothing if there is none.
///
/// # Errors
/// Those of the store; 500 if it can't be read.
pub(super) async fn image(
    context: &Context,
    name: &str,
) -> Result<Option<(String, ImageFacts)>, Box<Status>> {
    let item = context.store.get(&context.images.key("", name), None).await;
    let item = item.map_err(failed)?;
    item.map(|item| image_facts(&context.images.of_item(&item, false)?))
        .transpose()
}

fn image_facts(encoded: &Encoded) -> Result<(String, ImageFacts), Box<Status>> {
    let image: Image = typed(encoded.to_value()?)?;
    let metadata = image.metadata;
    let annotations = metadata.annotations.as_ref();
    let managed = annotations.and_then(|annotations| annotations.get("openshift.io/image.managed"));
    let finalizers = metadata.finalizers.as_ref();
    let facts = ImageFacts {
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        is_managed: managed.is_some_and(|managed| managed == "true"),
        size: image.docker_image_metadata.size,
        members: image
            .docker_image_manifests
            .into_iter()
            .map(|manifest| manifest.digest)
            .collect(),
        revision: encoded.revision(),
        is_held: finalizers.is_some_and(|finalizers| !finalizers.is_empty()),
        is_going: metadata.deletion_timestamp.is_some(),
    };
    Ok((metadata.name.unwrap_or_default(), facts))
}

/// All streams as they were at one moment, not decoded.
pub(super) struct Streams {
    encoded: Vec<Encoded>,
    /// When that was.
    pub(super) revision: u64,
}

impl Streams {
    /// The streams as they are now.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn read(context: &Context) -> Result<Self, Box<Status>> {
        let (labels, fields) = (LabelSelector::default(), FieldSelector::default());
        let (encoded, revision) = context.streams.all("", &labels, &fields).await?;
        Ok(Self { encoded, revision })
    }

    /// Every stream, and the revision of its last change.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<(ImageStream, u64), Box<Status>>> {
        self.encoded.iter().map(decoded)
    }

    /// The streams that may follow others.
    pub(super) fn followers(&self) -> impl Iterator<Item = Result<ImageStream, Box<Status>>> {
        let may_follow = |encoded: &&Encoded| encoded.mentions("\"ImageStream");
        let streams = self.encoded.iter().filter(may_follow);
        streams.map(|encoded| Ok(decoded(encoded)?.0))
    }

    /// The streams that were written after a revision.
    pub(super) fn since(&self, revision: u64) -> impl Iterator<Item = Result<ImageStream, Box<Status>>> {
        let is_new = move |encoded: &&Encoded| encoded.revision() > revision;
        let streams = self.encoded.iter().filter(is_new);
        streams.map(|encoded| Ok(decoded(encoded)?.0))
    }
}

fn decoded(encoded: &Encoded) -> Result<(ImageStream, u64), Box<Status>> {
    Ok((typed(encoded.to_value()?)?, encoded.revision()))
}
