//! Records what an import found: its images and the stream that points at them, whole or not at all.
//!
//! All of it is one transaction of the store. If others change the stream meanwhile, the results are applied to what
//! they made of it, without fetching anything again. An import of more images than a transaction holds creates images
//! first and writes the stream last: it never points at images that are not there. Dropping the future leaves either
//! nothing, or all of it, or some of those images that nothing points at yet.
//!
//! Where the stream is refused (it would be invalid, or over a limit) the images are created without it, as clients know
//! it; where an image is, those that come before it.

use imagestream_api::field;
use imagestream_api::stream::source::StreamKey;
use imagestream_api::stream::write::Write as StreamWriting;
use imagestream_api::types::{
    GROUP, Image, ImageStream, ImageStreamImport, NamedTagEventList, Status, TagEventCondition, Time,
};
use imagestream_api::validation;
use imagestream_apiserver::endpoint::Request;
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::storage::failed;
use imagestream_import::apply::{Applied, StreamWrite, apply};
use imagestream_store::{Limits, Precondition, StoreError, Write};
use jiff::Timestamp;

use super::import_events::{self, Told};
use super::imports::Effects;
use super::repository_note;
use super::stream_write::{complete, identify, is_refusal, prepare, read, to_value};
use crate::context::Context;

/// How often results are applied to a stream that others keep changing.
const ATTEMPTS: usize = 10;
/// What every refusal by a limit of the namespace says.
const OVER_LIMIT: &str = "exceeds the maximum limit";
/// Bytes that a store may add to each key and value, rounded up.
const FRAMING: usize = 128;

/// Under which circumstances results are recorded.
pub(super) struct Recording<'a> {
    pub(super) context: &'a Context,
    pub(super) request: &'a Request,
    /// The stream.
    pub(super) key: &'a StreamKey,
    /// What it does besides.
    pub(super) effects: Effects,
}

/// What was recorded.
pub(super) struct Recorded {
    /// The stream as it is now.
    pub(super) stream: ImageStream,
    /// Whether it was made for that.
    pub(super) is_new: bool,
    /// The images of the results: those that were created as they are stored, others as they would have been.
    pub(super) images: Vec<Image>,
}

/// Records the results of `import`, which are its status.
///
/// # Errors
/// 422 if the stream or an image would be invalid, 409 if the client named a version of the stream that is not its
/// last any more; those of the store. Then the stream is as it was, save for a note of a limit that it would exceed. After a
/// refusal (422) images are there all the same.
pub(super) async fn record(
    recording: &Recording<'_>,
    import: &ImageStreamImport,
) -> Result<Recorded, Box<Status>> {
    let Recording { context, key, .. } = recording;
    let now = Time(recording.request.now);
    let mut images: Option<NewImages> = None;
    let mut attempts = 0;
    loop {
        let stored = read(context, &key.namespace, &key.name).await?;
        let (stored, revision) =
            stored.map_or((None, None), |(stream, revision)| (Some(stream), Some(revision)));
        let version = import.metadata.resource_version.as_deref().unwrap_or_default();
        let is_supposed = |stream: &ImageStream| stream.metadata.resource_version.as_deref() == Some(version);
        if !version.is_empty() && !stored.as_ref().is_some_and(is_supposed) {
            return Err(changed_meanwhile(key));
        }
        let mut applied = apply(import, stored.as_ref(), &now, context.import_mode);
        repository_note::write(&mut applied, import, &now, recording.effects.notes_repository);
        let images = match &mut images {
            Some(images) => images,
            // What is created does not depend on the stream.
            None => {
                let (valid, refusal) = valid(&applied.images);
                let mut new = NewImages::new(context, valid, now.0)?;
                if let Some(refusal) = refusal {
                    recording.keep(&mut new).await?;
                    return Err(refusal);
                }
                images.insert(new)
            }
        };
        let stream = match recording.prepare(&applied, stored.as_ref(), revision).await {
            Ok(stream) => stream,
            Err(status) => {
                if is_refusal(&status) {
                    recording.keep(images).await?;
                }
                return Err(status);
            }
        };
        let is_written = applied.write != StreamWrite::Nothing;
        let committed = recording
            .commit(images, is_written.then_some(&stream), revision)
            .await?;
        match committed {
            Committed::At(version) => {
                let mut stream = stream;
                if let Some(version) = version.filter(|_| is_written) {
                    stream.metadata.resource_version = Some(version.to_string());
                }
                if !recording.effects.dry_run {
                    let told = Told {
                        import,
                        before: stored.as_ref(),
                        after: &stream,
                        // Controllers try until it works; that is no news each time.
                        tells_old_failures: !recording.effects.notes_repository,
                        is_written,
                        at: now.0,
                    };
                    import_events::tell(&context.recorder, &told);
                }
                return Ok(Recorded {
                    stream,
                    is_new: is_written && stored.is_none(),
                    images: images.shown(),
                });
            }
            // Each time there is one image less to create.
            Committed::ImageExists => {}
            Committed::ImageGone | Committed::StreamChanged => {
                attempts += 1;
                if attempts == ATTEMPTS {
                    return Err(changed_meanwhile(key));
                }
            }
        }
    }
}

/// How a commit went.
enum Committed {
    /// At this revision; none if there was nothing to commit.
    At(Option<u64>),
    /// Not at all: somebody created one of the images.
    ImageExists,
    /// Not at all, save for images: an image was pruned that was there.
    ImageGone,
    /// Not at all, save for images: somebody wrote the stream.
    StreamChanged,
}

impl Recording<'_> {
    /// The stream to store.
    async fn prepare(
        &self,
        applied: &Applied,
        stored: Option<&ImageStream>,
        revision: Option<u64>,
    ) -> Result<ImageStream, Box<Status>> {
        let mut stream = applied.stream.clone();
        let write = match (applied.write, stored) {
            (StreamWrite::Nothing, _) => return Ok(stream),
            (_, Some(stored)) => StreamWriting::internal_update(stream, stored.clone()),
            (_, None) => {
                identify(&mut stream.metadata, self.request.now);
                StreamWriting::create_with_history(stream)
            }
        };
        let prepared = prepare(self.context, self.request, write).await;
        if let (Err(status), Some(stored), Some(revision)) = (&prepared, stored, revision) {
            let message = status.message.as_deref().unwrap_or_default();
            if message.contains(OVER_LIMIT) && !self.effects.dry_run {
                self.note_limit(message, applied, stored, revision).await;
            }
        }
        prepared
    }

    /// Notes at each tag that is not recorded because of a limit that it is not, for those who look at the stream.
    async fn note_limit(&self, message: &str, applied: &Applied, stored: &ImageStream, revision: u64) {
        let mut noted = stored.clone();
        for tag in applied.stream.status.tags.keys() {
            if stored.status.tags.contains_key(tag) {
                continue;
            }
            let condition = TagEventCondition {
                condition_type: "ImportSuccess".into(),
                status: "False".into(),
                last_transition_time: Some(Time(self.request.now)),
                reason: "Invalid".into(),
                message: message.into(),
                generation: stored.metadata.generation.unwrap_or(0).saturating_add(1),
            };
            let history = NamedTagEventList {
                tag: tag.clone(),
                items: Vec::new(),
                conditions: vec![condition],
            };
            noted.status.tags.insert(tag.clone(), history);
        }
        if noted.status.tags.len() == stored.status.tags.len() {
            // A write that changes nothing would have whoever follows the stream try again at once.
            return;
        }
        let write = StreamWriting::internal_update(noted, stored.clone());
        let written = match prepare(self.context, self.request, write).await {
            Ok(stream) => super::stream_write::commit(self.context, &stream, Some(revision)).await,
            Err(status) => Err(status),
        };
        let why = match written {
            Ok(Some(_)) => return,
            Ok(None) => "it was changed meanwhile".to_owned(),
            Err(status) => status.message.unwrap_or_default(),
        };
        let StreamKey { namespace, name } = self.key;
        tracing::warn!(%namespace, %name, %why, "could not note in the stream that a limit kept tags from being imported");
    }

    /// Creates the images that don't exist, for a stream that is refused.
    async fn keep(&self, images: &mut NewImages) -> Result<(), Box<Status>> {
        // Each attempt that fails found another one that somebody else created.
        for _ in 0..=images.0.len() {
            if let Committed::At(_) = self.commit(images, None, None).await? {
                break;
            }
        }
        Ok(())
    }

    /// Creates the images that don't exist and writes the stream, if it changes, in place of what was last written at
    /// `revision`.
    async fn commit(
        &self,
        images: &mut NewImages,
        stream: Option<&ImageStream>,
        revision: Option<u64>,
    ) -> Result<Committed, Box<Status>> {
        let missing = images.missing(self.context).await?;
        if self.effects.dry_run {
            images.created(&missing, None);
            return Ok(Committed::At(None));
        }
        let limits = self.context.store.limits();
        let mut transactions = images.transactions(missing, limits);
        let mut stream_key = None;
        if let Some(stream) = stream {
            let write = self.context.streams.put(&to_value(stream)?)?;
            let key = write.key().to_owned();
            let unchanged = match revision {
                Some(revision) => Precondition::ModRevision(key.clone(), revision),
                None => Precondition::Absent(key.clone()),
            };
            stream_key = Some(key);
            add(&mut transactions, unchanged, write, limits);
        }
        let mut last = None;
        for transaction in transactions {
            let Transaction {
                preconditions,
                writes,
                images: creates,
                ..
            } = transaction;
            let is_condition = |key: &str| preconditions.iter().any(|of| of.key() == key);
            match self.context.store.commit(&preconditions, &writes).await {
                Ok(revision) => {
                    images.created(&creates, Some(revision));
                    last = Some(revision);
                }
                Err(StoreError::Conflict { key, .. }) if Some(&key) == stream_key.as_ref() => {
                    return Ok(Committed::StreamChanged);
                }
                Err(StoreError::Conflict { key, .. }) if is_condition(&key) => {
                    return Ok(Committed::ImageExists);
                }
                Err(StoreError::Conflict { .. }) => return Ok(Committed::ImageGone),
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(Committed::At(last))
    }
}

/// Writes that are committed together.
#[derive(Default)]
struct Transaction {
    preconditions: Vec<Precondition>,
    writes: Vec<Write>,
    /// Which images it creates.
    images: Vec<usize>,
    bytes: usize,
}

/// Adds a write to the last transaction if it has room for it, else to a new one.
fn add(
    transactions: &mut Vec<Transaction>,
    precondition: Precondition,
    write: Write,
    limits: Limits,
) -> &mut Transaction {
    let value = match &write {
        Write::Put(_, value) => value.len(),
        Write::Delete(_) => 0,
    };
    let bytes = value + 3 * (write.key().len() + FRAMING);
    let has_room = transactions
        .last()
        .is_some_and(|last| last.writes.len() < limits.operations && last.bytes + bytes <= limits.bytes);
    if !has_room {
        transactions.push(Transaction::default());
    }
    let position = transactions.len() - 1;
    let last = &mut transactions[position];
    last.preconditions.push(precondition);
    last.writes.push(write);
    last.bytes += bytes;
    last
}

/// The images of the results, each of which is created unless there is one of its name.
struct NewImages(Vec<NewImage>);

struct NewImage {
    built: Image,
    /// With its uid and the time of its creation.
    identified: Image,
    write: Write,
    /// At which revision it was created here.
    created: Option<Option<u64>>,
}

impl NewImages {
    fn new(context: &Context, built: &[Image], now: Timestamp) -> Result<Self, Box<Status>> {
        let images = built.iter().map(|built| {
            let mut identified = built.clone();
            identify(&mut identified.metadata, now);
            Ok(NewImage {
                built: built.clone(),
                write: context.images.put(&complete(&identified)?)?,
                identified,
                created: None,
            })
        });
        Ok(Self(images.collect::<Result<_, Box<Status>>>()?))
    }

    /// Which of them don't exist, those among them that were created here and pruned since.
    async fn missing(&self, context: &Context) -> Result<Vec<usize>, Box<Status>> {
        context.images.ready().await?;
        let missing = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, image)| !context.images.contains("", name(&image.built)));
        Ok(missing.map(|(position, _)| position).collect())
    }

    /// As few transactions as it takes to create some of them.
    fn transactions(&self, which: Vec<usize>, limits: Limits) -> Vec<Transaction> {
        let mut transactions = Vec::new();
        for position in which {
            let write = self.0[position].write.clone();
            let absent = Precondition::Absent(write.key().to_owned());
            add(&mut transactions, absent, write, limits)
                .images
                .push(position);
        }
        transactions
    }

    /// Notes that some of them were created at a revision, or would have been.
    fn created(&mut self, which: &[usize], revision: Option<u64>) {
        for position in which {
            self.0[*position].created = Some(revision);
        }
    }

    /// The images as the answer shows them.
    fn shown(&self) -> Vec<Image> {
        let shown = self.0.iter().map(|image| {
            let mut shown = image.identified.clone();
            // One that existed is shown as it would have been created, which only lacks a version.
            let created = image.created.flatten();
            shown.metadata.resource_version = created.map(|revision| revision.to_string());
            shown
        });
        shown.collect()
    }
}

/// The images up to the first one that is invalid, and what is wrong with that.
fn valid(images: &[Image]) -> (&[Image], Option<Box<Status>>) {
    for (position, image) in images.iter().enumerate() {
        let errors = validation::image(image);
        if !errors.is_empty() {
            let refusal = field::invalid("Image", name(image), &errors);
            return (&images[..position], Some(refusal.into()));
        }
    }
    (images, None)
}

fn name(image: &Image) -> &str {
    image.metadata.name.as_deref().unwrap_or_default()
}

/// 409: others wrote the stream.
fn changed_meanwhile(key: &StreamKey) -> Box<Status> {
    let resource = GroupResource::new(GROUP, "imagestreamimports");
    errors::conflict(resource, &key.name, errors::MODIFIED).into()
}
