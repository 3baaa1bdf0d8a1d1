//! The tags of a repository: listed, ordered and read up to a limit.

use std::collections::{HashMap, HashSet};

use imagestream_api::defaults::ImportMode;
use imagestream_api::field::{self, FieldError, Path};
use imagestream_api::reference::ImageReference;
use imagestream_api::types::{ImageImportStatus, RepositoryImportSpec, RepositoryImportStatus, Status};
use imagestream_api::{status, tag_order};
use imagestream_registry::sources::PullSources;

use crate::engine::settled;
use crate::failure::Failure;
use crate::plan::{self, Item, Planned};
use crate::reader::{Reader, SessionError, in_order};

/// Reads the tags of a repository, at most `limit` of them.
///
/// Tags beyond the limit that `images` reads anyway, in the same way, are answered too if that succeeds.
pub(crate) async fn read(
    spec: &RepositoryImportSpec,
    images: &[Planned],
    limit: Option<usize>,
    reader: &Reader<'_>,
) -> RepositoryImportStatus {
    let name = spec.from.name.as_deref().unwrap_or_default();
    match try_read(name, spec, images, limit, reader).await {
        Ok(status) => status,
        Err(status) => RepositoryImportStatus {
            status: *status,
            ..RepositoryImportStatus::default()
        },
    }
}

async fn try_read(
    name: &str,
    spec: &RepositoryImportSpec,
    images: &[Planned],
    limit: Option<usize>,
    reader: &Reader<'_>,
) -> Result<RepositoryImportStatus, Box<Status>> {
    let repository =
        ImageReference::parse(name).map_err(|error| invalid(name, &format!("invalid name: {error}")))?;
    if reader.request.rules.blocked(&repository) {
        return Err(Box::new(plan::blocked(&repository)));
    }
    let insecure = spec.import_policy.insecure || reader.request.rules.insecure(&repository);
    let mut tags = list(name, &repository, insecure, reader).await?;
    let limit = limit.unwrap_or(tags.len()).min(tags.len());
    let mut beyond = tags.split_off(limit);

    let item = |tag: &str| Item {
        reference: ImageReference {
            tag: tag.to_owned(),
            ..repository.clone()
        },
        insecure,
        mode: ImportMode::parse(&spec.import_policy.import_mode).unwrap_or_default(),
        preferred: None,
    };
    // In the order of `images`: the first of several counts.
    let mut read_elsewhere: HashMap<&str, &Item> = HashMap::new();
    for planned in images {
        if let Planned::Read(read) = planned
            && is_same_read(read, &item(read.tag()))
        {
            read_elsewhere.entry(read.tag()).or_insert(read);
        }
    }
    let read_anyway: Vec<(String, Item)> = beyond
        .iter()
        .filter_map(|tag| Some((tag.clone(), (*read_elsewhere.get(tag.as_str())?).clone())))
        .collect();

    let progress = reader.request.progress;
    progress.add_planned(tags.len());
    let (tags, item) = (&tags, &item);
    let within = (0..tags.len()).map(|index| async move {
        let tag = &tags[index];
        let outcome = reader.image(&item(tag)).await;
        progress.add_done();
        (index, settled(tag, outcome))
    });
    let read_anyway = &read_anyway;
    let anyway =
        (0..read_anyway.len()).map(|index| async move { (index, reader.image(&read_anyway[index].1).await) });
    let (mut statuses, outcomes) = tokio::join!(in_order(within), in_order(anyway));
    let mut answered = HashSet::new();
    for ((tag, _), outcome) in read_anyway.iter().zip(outcomes) {
        if outcome.is_ok() {
            answered.insert(tag);
            let mut status = settled(tag, outcome);
            status.manifests.clear();
            statuses.push(status);
        }
    }
    beyond.retain(|tag| !answered.contains(tag));
    Ok(RepositoryImportStatus {
        status: summary(&statuses),
        images: statuses,
        additional_tags: beyond,
    })
}

/// Whether an image of `spec.images` is read the way that a tag of the repository would be.
fn is_same_read(read: &Item, wanted: &Item) -> bool {
    plan::same_repository(&read.reference, &wanted.reference)
        && read.tag() == wanted.tag()
        && read.mode == wanted.mode
        && read.insecure == wanted.insecure
        && read.preferred.is_none()
}

/// The distinct tags in import order.
async fn list(
    name: &str,
    repository: &ImageReference,
    insecure: bool,
    reader: &Reader<'_>,
) -> Result<Vec<String>, Box<Status>> {
    let mut failures = Vec::new();
    let sources = reader.request.rules.tag_list_sources(repository);
    for candidate in &sources.candidates {
        match list_at(name, candidate, insecure, reader).await {
            Ok(tags) => return Ok(tags),
            Err(failure) => failures.push(failure),
        }
    }
    Err(Box::new(no_list(name, &sources, failures).into_status()))
}

/// Why none of the sources of a list of tags has given one.
pub(crate) fn no_list(name: &str, sources: &PullSources, mut failures: Vec<Failure>) -> Failure {
    if failures.is_empty() {
        let mirrors = sources.unusable_mirrors.join(", ");
        failures.push(Failure::Error(format!(
            "{name}: its source must not be contacted, and none of its mirrors can be used: {mirrors}"
        )));
    }
    Failure::of_sources(failures)
}

async fn list_at(
    name: &str,
    candidate: &ImageReference,
    insecure: bool,
    reader: &Reader<'_>,
) -> Result<Vec<String>, Failure> {
    let session = reader
        .session(candidate, insecure)
        .await
        .map_err(|error| not_opened(name, candidate, error))?;
    let tags = session
        .repository
        .tags()
        .await
        .map_err(|error| Failure::of_listing(name, &error))?;
    let mut seen = HashSet::new();
    let mut tags: Vec<String> = tags
        .into_iter()
        .map(|tag| if tag.is_empty() { "latest".to_owned() } else { tag })
        .filter(|tag| seen.insert(tag.clone()))
        .collect();
    tag_order::sort(&mut tags);
    Ok(tags)
}

/// Why the tags of a repository can't be listed that can't be opened.
pub(crate) fn not_opened(name: &str, candidate: &ImageReference, error: SessionError) -> Failure {
    match error {
        SessionError::Credentials(error) => Failure::Error(format!("{name}: {error}")),
        SessionError::Registry(imagestream_registry::Error::RepositoryName(_)) => {
            let repository = candidate.defaulted().repository_name();
            (*invalid(&repository, "the provided repository name is not valid")).into()
        }
        SessionError::Registry(error) => Failure::of_listing(name, &error),
    }
}

fn invalid(name: &str, problem: &str) -> Box<Status> {
    let error = FieldError::invalid(&Path::root("from").child("name"), name, problem);
    Box::new(field::invalid("", "repository", &[error]))
}

/// The status of the whole repository.
fn summary(images: &[ImageImportStatus]) -> Status {
    let failed = images
        .iter()
        .filter(|image| !status::is_success(&image.status))
        .count();
    if failed == 0 {
        return status::success();
    }
    let which = if failed == 1 {
        "one".to_owned()
    } else {
        failed.to_string()
    };
    Status {
        status: Some("Failure".into()),
        reason: Some("ImportFailed".into()),
        message: Some(format!(
            "{which} of the images from this repository failed to import"
        )),
        ..Status::default()
    }
}
