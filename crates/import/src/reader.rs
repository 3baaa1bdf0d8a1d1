//! Reads images from registries: source after source, each manifest and configuration once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use imagestream_api::defaults::ImportMode;
use imagestream_api::digest::Digest;
use imagestream_api::reference::ImageReference;
use imagestream_api::types::Image;
use imagestream_registry::distribution::{self, Index, Manifest};
use imagestream_registry::sources::PullBy;
use imagestream_registry::{Access, Client, Credential, Error, FetchedManifest, ManifestAt, Repository};
use tokio::time::{Instant, timeout_at};

use crate::build;
use crate::cache::{ContentCache, Origin};
use crate::courtesy::Courtesy;
use crate::engine::{Credentials, Request};
use crate::failure::Failure;
use crate::once::Once;
use crate::plan::{Item, normalised};
use crate::platform::{self, Platform};

/// Most content that one import may fetch, in bytes: a hostile manifest list can name gigabytes.
const MAX_IMPORT_BYTES: usize = 512 << 20;
/// Most content that the images of one import may hold, in bytes: each holds its own manifest and configuration, so
/// little content that is named often is much in the end.
const MAX_HELD_BYTES: usize = 256 << 20;
/// What an image holds beside its manifest and configuration, in bytes, roughly.
const IMAGE_BYTES: usize = 4 << 10;
/// Items of one sort that are under way at the same time: more than any host is asked at once.
const AT_ONCE: usize = 256;
/// The same for one who asks with courtesy.
const COURTEOUS: usize = 4;

/// An image as it was read, with the members of a preserved manifest list.
#[derive(Debug)]
pub(crate) struct ReadImage {
    pub(crate) image: Image,
    pub(crate) members: Vec<Image>,
}

impl ReadImage {
    fn bytes(&self) -> usize {
        held(std::iter::once(&self.image).chain(&self.members))
    }
}

/// What these images hold, in bytes, roughly.
pub(crate) fn held<'a>(images: impl IntoIterator<Item = &'a Image>) -> usize {
    let images = images.into_iter();
    images
        .map(|image| IMAGE_BYTES + image.docker_image_manifest.len() + image.docker_image_config.len())
        .sum()
}

pub(crate) type Outcome = Result<Arc<ReadImage>, Failure>;

/// Reads images for one run of one import: what was read, and who may read, is remembered for that long.
pub(crate) struct Reader<'a> {
    client: &'a Client,
    cache: &'a ContentCache,
    pub(crate) request: &'a Request<'a>,
    platform: &'a Platform,
    /// Whether the secrets count; without them only what the host itself may read is read.
    with_secrets: bool,
    /// Keeps it from waiting for registries that want to be left alone.
    courtesy: Option<&'a Courtesy>,
    images: Once<Item, Outcome>,
    sessions: Once<Origin, Result<Session, SessionError>>,
    manifests: Once<(Session, ManifestAt), Result<Arc<FetchedManifest>, Error>>,
    configs: Once<(Session, Digest), Result<Bytes, Error>>,
    layer_sizes: Once<(Session, Digest), Result<u64, Error>>,
    fetched_bytes: AtomicUsize,
    held_bytes: AtomicUsize,
}

/// Why a repository could not be opened.
#[derive(Debug, Clone)]
pub(crate) enum SessionError {
    /// The credentials can't be read.
    Credentials(String),
    /// The registry client refuses.
    Registry(Error),
}

impl SessionError {
    pub(crate) fn of_image(&self, name: &str) -> Failure {
        match self {
            Self::Credentials(error) => Failure::Error(format!("{name}: {error}")),
            Self::Registry(error) => Failure::of_image(name, error),
        }
    }
}

/// A repository that this run may read.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) origin: Origin,
    pub(crate) repository: Repository,
}

// Within a run, the origin decides who asks and how.
impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        self.origin == other.origin
    }
}

impl Eq for Session {}

impl std::hash::Hash for Session {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.origin.hash(state);
    }
}

/// Which sessions read an image, and how it is called when one fails.
pub(crate) struct Source {
    pub(crate) session: Session,
    /// Normalised reference.
    pub(crate) name: String,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        client: &'a Client,
        cache: &'a ContentCache,
        request: &'a Request<'a>,
        platform: &'a Platform,
        with_secrets: bool,
    ) -> Self {
        Self {
            client,
            cache,
            request,
            platform,
            with_secrets,
            courtesy: None,
            images: Once::default(),
            sessions: Once::default(),
            manifests: Once::default(),
            configs: Once::default(),
            layer_sizes: Once::default(),
            fetched_bytes: AtomicUsize::new(0),
            held_bytes: AtomicUsize::new(0),
        }
    }

    /// The same, but waiting for no registry that wants to be left alone: that is noted there.
    pub(crate) fn courteous(self, courtesy: &'a Courtesy) -> Self {
        Self {
            courtesy: Some(courtesy),
            ..self
        }
    }

    /// Reads an image, or finds that it was read.
    pub(crate) async fn image(&self, item: &Item) -> Outcome {
        let read = self.images.get(item.clone(), async {
            let image = self.read(item, None).await?;
            Ok(Arc::new(image))
        });
        // On the heap: many of these are under way at once.
        let image = Box::pin(read).await?;
        // Whoever asks gets a copy.
        self.hold(image.bytes())
            .map_err(|error| match normalised(&item.reference) {
                Ok(name) => Failure::of_image(&name, &error),
                Err(failure) => failure,
            })?;
        Ok(image)
    }

    /// `list_from` is where the list that names the image was read just now.
    async fn read(&self, item: &Item, list_from: Option<&Session>) -> Result<ReadImage, Failure> {
        let (source, manifest) = self.manifest_from_any_source(item, list_from).await?;
        let parsed = parse(&source, &manifest)?;
        let member = match &parsed {
            Manifest::Index(index) if item.mode == ImportMode::Legacy => {
                let preferred = item.preferred.as_ref().unwrap_or(self.platform);
                platform::choose(&index.manifests, preferred).map(|member| member.digest.clone())
            }
            _ => None,
        };
        self.image_of(item, &source, &manifest, parsed, member.as_ref())
            .await
    }

    /// The image of a manifest that was read and parsed; of a list of which one member is imported for the whole, this one.
    pub(crate) async fn image_of(
        &self,
        item: &Item,
        source: &Source,
        manifest: &FetchedManifest,
        parsed: Manifest,
        member: Option<&Digest>,
    ) -> Result<ReadImage, Failure> {
        match (parsed, item.mode) {
            (Manifest::Index(index), ImportMode::PreserveOriginal) => {
                let members = self.members(item, &source.session, &index).await?;
                let reference = by_digest(&item.reference, &manifest.digest);
                let image = build::index(manifest, &index, reference, self.request.now);
                Ok(ReadImage { image, members })
            }
            (Manifest::Index(_), ImportMode::Legacy) => {
                let member = member.ok_or_else(|| {
                    Failure::Error(format!("{}: no manifests in manifest list", source.name))
                })?;
                let manifest = self
                    .member_manifest(&source.session, member)
                    .await
                    .map_err(|error| Failure::of_image(&source.name, &error))?;
                let parsed = parse(source, &manifest)?;
                let image = self.single(item, source, &manifest, &parsed).await?;
                Ok(ReadImage {
                    image,
                    members: Vec::new(),
                })
            }
            (parsed, _) => {
                let image = self.single(item, source, manifest, &parsed).await?;
                Ok(ReadImage {
                    image,
                    members: Vec::new(),
                })
            }
        }
    }

    /// The manifest from the first source that has it.
    async fn manifest_from_any_source(
        &self,
        item: &Item,
        list_from: Option<&Session>,
    ) -> Result<(Source, Arc<FetchedManifest>), Failure> {
        let mut failures = Vec::new();
        // A reference that registries can't be asked for has no sources either.
        let name = normalised(&item.reference)?;
        let by = if item.reference.id.is_empty() {
            PullBy::Tag
        } else {
            PullBy::Digest
        };
        let sources = self.request.rules.pull_sources(&item.reference, by);
        for candidate in &sources.candidates {
            match self.manifest_from(candidate, item.insecure, list_from).await {
                Ok(found) => return Ok(found),
                Err(failure) => failures.push(failure),
            }
        }
        if failures.is_empty() {
            let mirrors = sources.unusable_mirrors.join(", ");
            return Err(Failure::Error(format!(
                "{name}: its source must not be contacted, and none of its mirrors can be used: {mirrors}"
            )));
        }
        Err(Failure::of_sources(failures))
    }

    async fn manifest_from(
        &self,
        candidate: &ImageReference,
        insecure: bool,
        list_from: Option<&Session>,
    ) -> Result<(Source, Arc<FetchedManifest>), Failure> {
        let name = normalised(candidate)?;
        let session = self
            .session(candidate, insecure)
            .await
            .map_err(|error| error.of_image(&name))?;
        let manifest = match candidate.digest() {
            Some(digest) if list_from == Some(&session) => self.member_manifest(&session, &digest).await,
            Some(digest) => self.manifest(&session, ManifestAt::Digest(digest)).await,
            None => {
                self.manifest(&session, ManifestAt::Tag(candidate.tag.clone()))
                    .await
            }
        }
        .map_err(|error| Failure::of_image(&name, &error))?;
        Ok((Source { session, name }, manifest))
    }

    /// The manifests of all members of a preserved list, each a single image.
    async fn members(&self, list: &Item, list_from: &Session, index: &Index) -> Result<Vec<Image>, Failure> {
        let listed = &index.manifests;
        let members = (0..listed.len()).map(|position| {
            let member = &listed[position];
            let mut item = list.clone();
            item.reference.tag.clear();
            item.reference.id = member.digest.to_string();
            item.mode = ImportMode::Legacy;
            item.preferred = None;
            async move {
                // A list inside of the list stands for the member that is chosen from it, under its own digest.
                let mut image = Box::pin(self.read(&item, Some(list_from))).await?.image;
                image.docker_image_reference = by_digest(&item.reference, &member.digest);
                Ok(image)
            }
        });
        // In order: of several failures, that of the first member counts. One that hangs fails the list anyway.
        let at_once = self.courtesy.map_or(AT_ONCE, |_| COURTEOUS);
        stream::iter(members).buffered(at_once).try_collect().await
    }

    /// The Image of a manifest that is no list.
    async fn single(
        &self,
        item: &Item,
        source: &Source,
        manifest: &FetchedManifest,
        parsed: &Manifest,
    ) -> Result<Image, Failure> {
        let reference = by_digest(&item.reference, &manifest.digest);
        let unbuildable = |error: build::BuildError| Failure::Error(error.to_string());
        let hold = |bytes: usize| {
            self.hold(IMAGE_BYTES + manifest.body.len() + bytes)
                .map_err(|error| Failure::of_image(&source.name, &error))
        };
        match parsed {
            Manifest::Image(parsed) => {
                let config = self
                    .config(&source.session, &parsed.config.digest)
                    .await
                    .map_err(|error| Failure::of_image(&source.name, &error))?;
                hold(config.len())?;
                build::image(manifest, parsed, &config, reference).map_err(unbuildable)
            }
            Manifest::Schema1(parsed) => {
                hold(0)?;
                let mut image = build::schema1(manifest, parsed, reference).map_err(unbuildable)?;
                if image.docker_image_metadata.size == 0 {
                    self.measure_layers(&source.session, &mut image)
                        .await
                        .map_err(|error| Failure::Error(error.to_string()))?;
                }
                Ok(image)
            }
            Manifest::Index(index) => {
                let kind = if index.media_type == distribution::DOCKER_LIST {
                    "*manifestlist.DeserializedManifestList"
                } else {
                    "*ocischema.DeserializedImageIndex"
                };
                Err(Failure::Error(format!("unsupported image manifest type: {kind}")))
            }
        }
    }

    async fn measure_layers(&self, session: &Session, image: &mut Image) -> Result<(), Error> {
        let names: std::collections::BTreeSet<_> = image
            .docker_image_layers
            .iter()
            .map(|layer| layer.name.clone())
            .collect();
        let measured = names.into_iter().map(|name| async move {
            let digest = Digest::parse(&name).map_err(|error| Error::Malformed(error.to_string()))?;
            let size = self.layer_size(session, digest).await?;
            Ok::<_, Error>((name, i64::try_from(size).unwrap_or(i64::MAX)))
        });
        let sizes: std::collections::HashMap<_, _> = try_join_all(measured).await?.into_iter().collect();
        build::set_layer_sizes(image, |name| sizes.get(name).copied());
        Ok(())
    }

    async fn layer_size(&self, session: &Session, digest: Digest) -> Result<u64, Error> {
        if let Some(size) = self.cache.layer_size(&session.origin, &digest) {
            return Ok(size);
        }
        let measure = async {
            let size = match self.courtesy {
                Some(courtesy) => courtesy.noted(session.repository.probe_blob_size(&digest).await),
                None => session.repository.blob_size(&digest).await,
            }?;
            self.cache.keep_layer_size(&session.origin, &digest, size);
            Ok(size)
        };
        self.layer_sizes
            .get((session.clone(), digest.clone()), measure)
            .await
    }

    /// A manifest: the one that is known, if the registry confirms to this caller that it is still the one.
    async fn manifest(&self, session: &Session, at: ManifestAt) -> Result<Arc<FetchedManifest>, Error> {
        let key = (session.clone(), at.clone());
        let fetch = async {
            let known = match &at {
                ManifestAt::Tag(tag) => self.cache.tagged(&session.origin, tag),
                ManifestAt::Digest(digest) => self.cache.manifest(&session.origin, digest),
            };
            // A HEAD that fails is not the answer: only a GET says what is wrong.
            if let Some(known) = known
                && self.names_still(session, &at, &known.digest).await
            {
                return Ok(known);
            }
            let manifest = Arc::new(match self.courtesy {
                Some(courtesy) => courtesy.noted_manifest(session.repository.probe_manifest(&at).await),
                None => session.repository.manifest(&at).await,
            }?);
            self.count(manifest.body.len())?;
            let tag = match &at {
                ManifestAt::Tag(tag) => Some(tag.as_str()),
                ManifestAt::Digest(_) => None,
            };
            // What can't be read is asked for again: its registry may yet say what it is.
            if distribution::parse(&manifest.media_type, &manifest.body).is_ok() {
                self.cache.keep_manifest(&session.origin, tag, &manifest);
            }
            Ok(manifest)
        };
        self.manifests.get(key, fetch).await
    }

    async fn names_still(&self, session: &Session, at: &ManifestAt, digest: &Digest) -> bool {
        let named = match self.courtesy {
            Some(courtesy) => courtesy.noted(session.repository.probe_digest(at).await),
            None => session.repository.manifest_head(at).await,
        };
        named.is_ok_and(|named| named.as_ref() == Some(digest))
    }

    /// The manifest of a member of a list that the registry has just let this caller read.
    async fn member_manifest(
        &self,
        session: &Session,
        digest: &Digest,
    ) -> Result<Arc<FetchedManifest>, Error> {
        match self.cache.manifest(&session.origin, digest) {
            Some(known) => Ok(known),
            None => self.manifest(session, ManifestAt::Digest(digest.clone())).await,
        }
    }

    /// The configuration that a manifest names which the registry has just let this caller read.
    async fn config(&self, session: &Session, digest: &Digest) -> Result<Bytes, Error> {
        if let Some(known) = self.cache.config(&session.origin, digest) {
            return Ok(known);
        }
        let key = (session.clone(), digest.clone());
        let fetch = async {
            let config = match self.courtesy {
                Some(courtesy) => courtesy.noted(session.repository.probe_blob(digest).await),
                None => session.repository.blob(digest).await,
            }?;
            self.count(config.len())?;
            self.cache.keep_config(&session.origin, digest, config.clone());
            Ok(config)
        };
        self.configs.get(key, fetch).await
    }

    fn count(&self, bytes: usize) -> Result<(), Error> {
        let what = "the content of this import";
        charge(&self.fetched_bytes, bytes, MAX_IMPORT_BYTES, what)
    }

    /// Makes sure that there is room for images that hold so much.
    fn hold(&self, bytes: usize) -> Result<(), Error> {
        let what = "the result of this import";
        charge(&self.held_bytes, bytes, MAX_HELD_BYTES, what)
    }

    /// The repository of a reference, opened once with the credential that fits.
    pub(crate) async fn session(
        &self,
        reference: &ImageReference,
        insecure: bool,
    ) -> Result<Session, SessionError> {
        let origin = Origin {
            host: reference.contacted_host().into(),
            repository: reference.defaulted().repository_name().into(),
            insecure,
        };
        let open = async {
            let request = self.request;
            let credential = credential(
                request.credentials,
                self.with_secrets,
                request.deadline,
                reference,
            )
            .await?;
            let access = Access {
                insecure,
                credential,
                deadline: request.deadline,
                patience: request.patience,
            };
            let repository = self
                .client
                .repository(&origin.host, &origin.repository, access)
                .map_err(SessionError::Registry)?;
            Ok(Session {
                origin: origin.clone(),
                repository,
            })
        };
        self.sessions.get(origin.clone(), open).await
    }
}

/// The credential for a repository, if there is one.
pub(crate) async fn credential(
    credentials: &Credentials,
    with_secrets: bool,
    deadline: Instant,
    reference: &ImageReference,
) -> Result<Option<Credential>, SessionError> {
    let wanted = reference.defaulted().with_library();
    timeout_at(deadline, credentials.find(&wanted, with_secrets))
        .await
        .unwrap_or_else(|_| Err("the credential helper did not answer in time".to_owned()))
        .map_err(SessionError::Credentials)
}

/// Runs all, a bounded number at a time, and puts what comes out in the order of the numbers.
///
/// One that hangs takes up one place only: the order is made when all have ended.
pub(crate) async fn in_order<T>(work: impl Iterator<Item = impl Future<Output = (usize, T)>>) -> Vec<T> {
    let mut results: Vec<_> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn charge(total: &AtomicUsize, bytes: usize, limit: usize, what: &'static str) -> Result<(), Error> {
    let before = total.fetch_add(bytes, Ordering::Relaxed);
    if before.saturating_add(bytes) > limit {
        // What was refused takes no room from what comes after it.
        total.fetch_sub(bytes, Ordering::Relaxed);
        return Err(Error::TooLarge { what, limit });
    }
    Ok(())
}

pub(crate) fn parse(source: &Source, manifest: &FetchedManifest) -> Result<Manifest, Failure> {
    distribution::parse(&manifest.media_type, &manifest.body)
        .map_err(|error| Failure::Error(format!("{}: {error}", source.name)))
}

/// The reference of the repository with this digest.
fn by_digest(reference: &ImageReference, digest: &Digest) -> String {
    ImageReference {
        tag: String::new(),
        id: digest.to_string(),
        ..reference.clone()
    }
    .exact()
}
