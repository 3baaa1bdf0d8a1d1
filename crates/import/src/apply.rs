//! Records results in a stream: results and stream in, new stream and new Images out. Pure.

use std::collections::{HashMap, HashSet};

use imagestream_api::defaults::{self, ImportMode};
use imagestream_api::reference::ImageReference;
use imagestream_api::types::{
    Image, ImageImportStatus, ImageStream, ImageStreamImport, ImageStreamImportSpec, ImageStreamImportStatus,
    NamedTagEventList, ObjectMeta, ObjectReference, Status, TagEvent, TagEventCondition, TagImportPolicy,
    TagReference, TagReferencePolicy, Time,
};
use imagestream_api::{history, status};

/// The annotation that says when the stream was last written by an import.
pub const CHECKED: &str = "openshift.io/image.dockerRepositoryCheck";
/// The one type of condition that a tag has.
const IMPORT_SUCCESS: &str = "ImportSuccess";

/// What an import changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The stream with the results recorded; as it was if nothing is to be written.
    ///
    /// Generations are not counted yet: a tag that gets the next one has generation 0. Counting is part of every
    /// [write](imagestream_api::stream::write) of a stream.
    pub stream: ImageStream,
    /// What to do with the stream.
    pub write: StreamWrite,
    /// The Images to create in this order, each name once, without manifests and configurations. One that exists
    /// already stays as it is.
    pub images: Vec<Image>,
}

/// What to do with a stream after an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamWrite {
    /// It did not exist.
    Create,
    /// It changed.
    Update,
    /// The results are what it says already.
    Nothing,
}

/// Records the results of `import` (its status) in `stream`.
///
/// Results of the repository come first, then those of single images that have a target tag, in order. A failure
/// leaves the history alone and becomes the tag's condition. `mode` is the default import mode.
pub fn apply(
    import: &ImageStreamImport,
    stream: Option<&ImageStream>,
    now: &Time,
    mode: ImportMode,
) -> Applied {
    let mut recorder = Recorder {
        stream: stream.cloned().unwrap_or_else(|| new_stream(&import.metadata)),
        generation: stream
            .map_or(0, |stream| stream.metadata.generation.unwrap_or(0))
            .saturating_add(1),
        now,
        created: HashSet::new(),
        images: Vec::new(),
    };
    recorder.record_repository(&import.spec, &import.status);
    recorder.record_images(&import.spec, &import.status);
    let Recorder {
        stream: mut changed,
        images,
        ..
    } = recorder;
    defaults::image_stream(&mut changed, mode);

    let write = match stream {
        None => StreamWrite::Create,
        Some(stored) if is_checked(stored) && is_same(stored, &changed, mode) => StreamWrite::Nothing,
        Some(_) => StreamWrite::Update,
    };
    match (write, stream) {
        (StreamWrite::Nothing, Some(stored)) => changed = stored.clone(),
        _ => {
            let annotations = changed.metadata.annotations.get_or_insert_default();
            annotations.insert(CHECKED.to_owned(), written(now));
        }
    }
    Applied {
        stream: changed,
        write,
        images,
    }
}

/// Removes the manifests and configurations that the answer must not hold.
///
/// What was recorded never holds them; of the rest only what asked for them does.
pub fn clear_manifests(spec: &ImageStreamImportSpec, result: &mut ImageStreamImportStatus) {
    for (spec_image, image) in spec.images.iter().zip(&mut result.images) {
        let is_recorded = spec.import && spec_image.to.is_some();
        clear(image, is_recorded, spec_image.include_manifest);
    }
    if let (Some(repository), Some(result)) = (&spec.repository, &mut result.repository) {
        for image in &mut result.images {
            clear(image, spec.import, repository.include_manifest);
        }
    }
}

/// Shows in the answer what was created: each recorded item has the Image that stands for its name.
///
/// `images` are [`Applied::images`] as they are stored now, or as they were built if they existed before. Of two items
/// with the same image both show the one that was created first.
pub fn show_recorded(spec: &ImageStreamImportSpec, result: &mut ImageStreamImportStatus, images: &[Image]) {
    let created: HashMap<_, _> = images.iter().map(|image| (&image.metadata.name, image)).collect();
    let show = |image: &mut Image| {
        if let Some(created) = created.get(&image.metadata.name) {
            image.clone_from(created);
        }
    };
    let targeted = spec.images.iter().zip(&mut result.images);
    let targeted = targeted
        .filter(|(spec, _)| spec.to.is_some())
        .map(|(_, result)| result);
    let of_repository = result
        .repository
        .iter_mut()
        .flat_map(|repository| &mut repository.images);
    for item in targeted.chain(of_repository) {
        item.image.iter_mut().chain(&mut item.manifests).for_each(show);
    }
}

fn clear(result: &mut ImageImportStatus, is_recorded: bool, include_manifest: bool) {
    if is_recorded || !include_manifest {
        result.image.iter_mut().for_each(clear_image);
    }
    // Members of a list are only cleared because they were recorded.
    if is_recorded {
        result.manifests.iter_mut().for_each(clear_image);
    }
}

fn clear_image(image: &mut Image) {
    image.docker_image_manifest.clear();
    image.docker_image_config.clear();
}

fn new_stream(import: &ObjectMeta) -> ImageStream {
    ImageStream {
        metadata: ObjectMeta {
            name: import.name.clone(),
            namespace: import.namespace.clone(),
            generation: Some(0),
            ..ObjectMeta::default()
        },
        ..ImageStream::default()
    }
}

fn is_checked(stream: &ImageStream) -> bool {
    let annotations = stream.metadata.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(CHECKED))
}

/// Whether two streams say the same once defaulted.
fn is_same(stored: &ImageStream, changed: &ImageStream, mode: ImportMode) -> bool {
    let mut stored = stored.clone();
    defaults::image_stream(&mut stored, mode);
    stored == *changed
}

/// RFC 3339, UTC, whole seconds.
fn written(time: &Time) -> String {
    time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

struct Recorder<'a> {
    stream: ImageStream,
    /// The stream's generation if it is written.
    generation: i64,
    now: &'a Time,
    /// Names of the Images to create.
    created: HashSet<String>,
    images: Vec<Image>,
}

/// A tag of the stream and what the request says of it.
struct Target<'a> {
    tag: &'a str,
    from: String,
    import_policy: &'a TagImportPolicy,
    reference_policy: &'a TagReferencePolicy,
}

impl Target<'_> {
    fn from(&self) -> ObjectReference {
        ObjectReference {
            kind: Some("DockerImage".into()),
            name: Some(self.from.clone()),
            ..ObjectReference::default()
        }
    }
}

impl Recorder<'_> {
    fn record_repository(&mut self, spec: &ImageStreamImportSpec, result: &ImageStreamImportStatus) {
        let (Some(spec), Some(result)) = (&spec.repository, &result.repository) else {
            return;
        };
        let name = spec.from.name.as_deref().unwrap_or_default();
        let Ok(repository) = ImageReference::parse(name) else {
            return;
        };
        for result in &result.images {
            let tagged = ImageReference {
                tag: result.tag.clone(),
                id: String::new(),
                ..repository.clone()
            };
            let target = Target {
                tag: &result.tag,
                from: tagged.exact(),
                import_policy: &spec.import_policy,
                reference_policy: &spec.reference_policy,
            };
            match success(result) {
                Some(image) => self.succeed(&target, image, &result.manifests),
                None => self.fail(&target, &result.status),
            }
        }
    }

    fn record_images(&mut self, spec: &ImageStreamImportSpec, result: &ImageStreamImportStatus) {
        for (spec, result) in spec.images.iter().zip(&result.images) {
            let Some(to) = &spec.to else {
                continue;
            };
            let target = Target {
                tag: &to.name,
                from: spec.from.name.clone().unwrap_or_default(),
                import_policy: &spec.import_policy,
                reference_policy: &spec.reference_policy,
            };
            if let Some(image) = success(result) {
                self.succeed(&target, image, &result.manifests);
                continue;
            }
            self.fail(&target, &result.status);
            // The tag is wanted, so it is remembered for the next attempt.
            if !self.stream.spec.tags.contains_key(target.tag) {
                let tag = TagReference {
                    name: target.tag.to_owned(),
                    from: Some(target.from()),
                    generation: Some(0),
                    import_policy: target.import_policy.clone(),
                    reference_policy: target.reference_policy.clone(),
                    ..TagReference::default()
                };
                self.stream.spec.tags.insert(tag.name.clone(), tag);
            }
        }
    }

    fn succeed(&mut self, target: &Target<'_>, image: &Image, members: &[Image]) {
        let event = TagEvent {
            created: Some(self.now.clone()),
            docker_image_reference: image.docker_image_reference.clone(),
            image: image.metadata.name.clone().unwrap_or_default(),
            generation: self.generation,
        };
        let newest = self
            .stream
            .status
            .tags
            .get(target.tag)
            .and_then(|tag| tag.items.first());
        let spec_generation = self
            .stream
            .spec
            .tags
            .get(target.tag)
            .and_then(|tag| tag.generation);
        let is_unchanged = newest.is_some_and(|newest| {
            newest.docker_image_reference == event.docker_image_reference
                && newest.image == event.image
                && spec_generation.is_some_and(|generation| generation <= newest.generation)
        });
        let tag = self.stream.spec.tags.entry(target.tag.to_owned()).or_default();
        if !is_unchanged {
            target.tag.clone_into(&mut tag.name);
            tag.from = Some(target.from());
            tag.generation = Some(0);
            if tag.reference_policy.policy_type.is_empty() {
                tag.reference_policy = target.reference_policy.clone();
            }
            history::add_event(self.history(target.tag), event);
        }
        if let Some(tag) = self.stream.spec.tags.get_mut(target.tag) {
            tag.import_policy = target.import_policy.clone();
        }
        self.history(target.tag).conditions.clear();
        for image in members.iter().chain([image]) {
            self.create(image);
        }
    }

    fn create(&mut self, image: &Image) {
        let name = image.metadata.name.clone().unwrap_or_default();
        if self.created.insert(name) {
            let mut image = image.clone();
            image.signatures.clear();
            clear_image(&mut image);
            self.images.push(image);
        }
    }

    fn fail(&mut self, target: &Target<'_>, failure: &Status) {
        let message = match failure.message.as_deref() {
            None | Some("") => "unknown error prevented import",
            Some(message) => message,
        };
        let condition = TagEventCondition {
            condition_type: IMPORT_SUCCESS.into(),
            status: "False".into(),
            last_transition_time: Some(self.now.clone()),
            reason: failure.reason.clone().unwrap_or_default(),
            message: message.into(),
            generation: self.generation,
        };
        let history = self.history(target.tag);
        let is_known = history.conditions.iter().any(|known| {
            known.condition_type == condition.condition_type
                && known.status == condition.status
                && known.reason == condition.reason
                && known.message == condition.message
        });
        if is_known {
            return;
        }
        history.conditions = vec![condition];
        if let Some(tag) = self.stream.spec.tags.get_mut(target.tag) {
            tag.generation = Some(0);
        }
    }

    fn history(&mut self, tag: &str) -> &mut NamedTagEventList {
        self.stream
            .status
            .tags
            .entry(tag.to_owned())
            .or_insert_with(|| NamedTagEventList {
                tag: tag.to_owned(),
                ..NamedTagEventList::default()
            })
    }
}

/// The image of a result that succeeded.
fn success(result: &ImageImportStatus) -> Option<&Image> {
    result
        .image
        .as_ref()
        .filter(|_| status::is_success(&result.status))
}

#[cfg(test)]
mod tests;
