//! Brings the streams that follow a source to where it is: one write each unless what is to be recorded is large for
//! all of its tags at once, and none where nothing is to be said. No registry is asked for it.

use std::collections::HashSet;

use imagestream_api::defaults;
use imagestream_api::status;
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::{Image, ImageImportStatus, ImageStream, ObjectMeta, Status};
use imagestream_import::{Reading, Wanted};

use super::followed::{Followed, followed, import_of};
use crate::context::Context;
use crate::controllers::Shared;
use crate::image::stream_write::typed;
use crate::lanes::Lanes;

/// How often a stream is tried again that somebody else has changed.
const ATTEMPTS: usize = 20;

/// Most tags of a stream that are confirmed with one write: each needs its image.
const CONFIRMED_AT_ONCE: usize = 64;

/// Imports into one stream from several sources would only run into conflicts with each other.
static TURNS: Lanes<1_024> = Lanes::new();

/// How a tag is brought to where its source is.
#[derive(Clone, Copy)]
pub(super) enum How<'a> {
    /// By recording what was read for all of them, as an import of its own would.
    Record(&'a Found<'a>),
    /// By what is stored: its source names the image again that it has recorded, and only the failure is to go.
    Confirm,
    /// By recording why the source can't be read.
    Fail(&'a (dyn Fn(&Followed) -> Status + Send + Sync)),
}

impl How<'_> {
    /// Most tags of a stream that it is done for with one write, so that not all have a copy of an image in memory at the
    /// same time.
    fn at_once(self) -> usize {
        match self {
            Self::Record(found) => found.at_once,
            Self::Confirm => CONFIRMED_AT_ONCE,
            Self::Fail(_) => usize::MAX,
        }
    }
}

/// What was read, for those tags that want it.
pub(super) struct Found<'a> {
    pub(super) reading: &'a Reading<'a>,
    /// What it was read for.
    pub(super) wanted: &'a Wanted,
    /// What an import of it finds.
    pub(super) result: &'a ImageImportStatus,
    /// How many tags have room for it at the same time; one at least.
    pub(super) at_once: usize,
    /// Which tags follow the source.
    pub(super) is_mine: &'a (dyn Fn(&Followed) -> bool + Send + Sync),
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brought {
    /// Tags that are where their source is.
    pub(super) tags: usize,
    /// Whether all that were chosen are where they should be.
    pub(super) is_complete: bool,
}

impl Brought {
    pub(super) const NOTHING: Self = Self {
        tags: 0,
        is_complete: true,
    };

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            tags: self.tags + other.tags,
            is_complete: self.is_complete && other.is_complete,
        }
    }
}

/// Brings the chosen tags of these streams to where their source is, one stream after the other.
pub(super) async fn bring(
    shared: &Shared,
    streams: &[StreamKey],
    is_chosen: impl Fn(&Followed) -> bool,
    how: How<'_>,
) -> Brought {
    let mut all = Brought::NOTHING;
    for key in streams {
        let brought = match bring_one(shared, key, &is_chosen, how).await {
            Ok(brought) => brought,
            Err(status) => {
                let StreamKey { namespace, name } = key;
                let why = status.message.unwrap_or_default();
                tracing::warn!(%namespace, %name, %why, "a stream can't be brought to where its source is");
                Brought {
                    tags: 0,
                    is_complete: false,
                }
            }
        };
        all = all.and(brought);
    }
    all
}

async fn bring_one(
    shared: &Shared,
    key: &StreamKey,
    is_chosen: &impl Fn(&Followed) -> bool,
    how: How<'_>,
) -> Result<Brought, Box<Status>> {
    let _turn = TURNS.turn((&key.namespace, &key.name)).await;
    let mut attempts = 0;
    let (mut all, mut done) = (Brought::NOTHING, HashSet::new());
    loop {
        let Some((stream, mut tags)) = follower(shared, key).await else {
            return Ok(all);
        };
        if let How::Record(found) = how {
            let needed = needed(shared, &stream, tags, found.reading, found.is_mine);
            let wants_it = |(tag, wants): (Followed, Option<Wanted>)| {
                (wants.as_ref() == Some(found.wanted)).then_some(tag)
            };
            tags = needed.into_iter().filter_map(wants_it).collect();
        }
        // Each gets its turn once, whatever came of it.
        tags.retain(|tag| is_chosen(tag) && !done.contains(&tag.tag));
        let is_last = tags.len() <= how.at_once();
        tags.truncate(how.at_once());
        if tags.is_empty() {
            return Ok(all);
        }
        attempts += 1;
        let brought = match how {
            How::Record(found) => {
                let mut import = import_of(&stream, &tags);
                import.status.images = vec![found.result.clone(); import.spec.images.len()];
                let is_success = status::is_success(&found.result.status);
                let brought = Brought {
                    tags: if is_success { tags.len() } else { 0 },
                    is_complete: is_success,
                };
                shared.importer.record(import).await.map(|()| brought)
            }
            How::Confirm => confirm(shared, &stream, &tags).await,
            How::Fail(why) => {
                let mut import = import_of(&stream, &tags);
                let failed = |tag| ImageImportStatus {
                    status: why(tag),
                    ..ImageImportStatus::default()
                };
                import.status.images = tags.iter().map(failed).collect();
                let recorded = shared.importer.record(import).await;
                recorded.map(|()| Brought::NOTHING)
            }
        };
        match brought {
            Err(status) if status.code == Some(409) && attempts < ATTEMPTS => {
                shared.context.streams.ready().await?;
            }
            // It is gone.
            Err(status) if status.code == Some(404) => return Ok(all),
            Err(status) => return Err(status),
            Ok(brought) => {
                all = all.and(brought);
                if is_last {
                    return Ok(all);
                }
                done.extend(tags.into_iter().map(|tag| tag.tag));
                attempts = 0;
                shared.context.streams.ready().await?;
            }
        }
    }
}

/// What an import of those of these tags of a stream that follow the source needs of what was read of it; nothing if it
/// needs something else.
pub(super) fn needed(
    shared: &Shared,
    stream: &ImageStream,
    mut tags: Vec<Followed>,
    reading: &Reading<'_>,
    is_mine: &(dyn Fn(&Followed) -> bool + Send + Sync),
) -> Vec<(Followed, Option<Wanted>)> {
    tags.retain(is_mine);
    let mut import = import_of(stream, &tags);
    defaults::image_stream_import(&mut import, shared.context.import_mode);
    let mut wanted = reading.wanted(&import.spec.images, stream).into_iter();
    tags.into_iter()
        .map(|tag| (tag, wanted.next().flatten()))
        .collect()
}

/// Records for these tags that an import has found the image that they have. An image that is not stored any more must be
/// imported.
async fn confirm(shared: &Shared, stream: &ImageStream, tags: &[Followed]) -> Result<Brought, Box<Status>> {
    let (mut confirmed, mut results) = (Vec::new(), Vec::new());
    for tag in tags {
        if let Some(image) = recorded_image(shared, stream, tag).await? {
            confirmed.push(tag.clone());
            results.push(ImageImportStatus {
                status: status::success(),
                image: Some(image),
                tag: tag.reference.tag.clone(),
                ..ImageImportStatus::default()
            });
        }
    }
    let brought = Brought {
        tags: confirmed.len(),
        is_complete: confirmed.len() == tags.len(),
    };
    if !confirmed.is_empty() {
        let mut import = import_of(stream, &confirmed);
        import.status.images = results;
        shared.importer.record(import).await?;
    }
    Ok(brought)
}

/// The newest image of a tag as an import would find it, if it is stored.
async fn recorded_image(
    shared: &Shared,
    stream: &ImageStream,
    tag: &Followed,
) -> Result<Option<Image>, Box<Status>> {
    let history = stream.status.tags.get(&tag.tag);
    let Some(newest) = history.and_then(|history| history.items.first()) else {
        return Ok(None);
    };
    let Some(stored) = shared.context.images.get("", &newest.image).await? else {
        return Ok(None);
    };
    let mut image: Image = typed(stored.object)?;
    // It may have been imported from elsewhere first.
    image
        .docker_image_reference
        .clone_from(&newest.docker_image_reference);
    image.metadata = ObjectMeta {
        name: image.metadata.name,
        annotations: image.metadata.annotations,
        labels: image.metadata.labels,
        ..ObjectMeta::default()
    };
    Ok(Some(image))
}

/// A stream as it is now, with its tags that are followed.
pub(super) async fn follower(shared: &Shared, key: &StreamKey) -> Option<(ImageStream, Vec<Followed>)> {
    let context = &shared.context;
    let stored = context.streams.in_memory(&key.namespace, &key.name);
    let stream = stored.and_then(|stored| stored.map(|stored| typed(stored.object)).transpose());
    let stream: ImageStream = match stream {
        Ok(stream) => stream?,
        Err(status) => {
            let why = status.message.unwrap_or_default();
            tracing::error!(namespace = key.namespace, name = key.name, %why, "a stored stream can't be read");
            return None;
        }
    };
    let tags = followed_of(context, &stream).await;
    Some((stream, tags))
}

/// The tags of a stream that are followed. One whose image somebody has deleted has recorded none: an import brings it back.
pub(super) async fn followed_of(context: &Context, stream: &ImageStream) -> Vec<Followed> {
    let mut tags = followed(stream, context.import_mode, context.engine.platform());
    let is_gone =
        |tag: &Followed| !tag.recorded.image.is_empty() && !context.images.contains("", &tag.recorded.image);
    // An image that was created with the stream may not be in memory yet.
    if tags.iter().any(is_gone) && context.images.ready().await.is_ok() {
        for tag in tags.iter_mut().filter(|tag| is_gone(tag)) {
            tag.recorded.image.clear();
        }
    }
    tags
}
