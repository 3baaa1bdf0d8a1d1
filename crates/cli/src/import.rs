//! `imagestream import`: references in, an ImageStreamImport with its status out.

use std::sync::Arc;

use imagestream_api::defaults;
use imagestream_api::reference::ImageReference;
use imagestream_api::status;
use imagestream_api::types::{
    Image, ImageImportSpec, ImageImportStatus, ImageStreamImport, ObjectReference, RepositoryImportSpec,
    Status, TagImportPolicy, Time,
};
use imagestream_api::validation;
use imagestream_import::{Credentials, Engine, EngineOptions, Platform, Progress, Request, apply};
use imagestream_registry::local_config::LocalConfig;
use imagestream_registry::sources::RegistryRules;
use imagestream_registry::{Client, ClientOptions};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::arguments::{Format, ImportArguments};
use crate::config::Settings;
use crate::exit::{Error, Exit};
use crate::runtime::one_thread;
use crate::{output, progress};

/// Runs the command.
///
/// # Errors
/// [`Error::Usage`] for references and options that can't be used, [`Error::Failure`] if nothing can be started.
pub(crate) fn run(arguments: &ImportArguments) -> Result<Exit, Error> {
    let settings = Settings::new(arguments)?;
    let mut import = requested(arguments, &settings)?;
    let host =
        LocalConfig::load(settings.auth_file.as_deref()).map_err(|error| Error::Usage(error.to_string()))?;
    let mut options = ClientOptions {
        trusted_ca_pem: settings.trusted_ca_pem.clone(),
        ..ClientOptions::default()
    };
    if let Some(limit) = settings.max_in_flight_per_host {
        options.max_in_flight_per_host = limit;
        options.first_in_flight_per_host = options.first_in_flight_per_host.min(limit);
    }
    let client = Client::new(options).map_err(|error| Error::Usage(error.to_string()))?;
    let engine = Engine::new(
        client,
        EngineOptions {
            max_images_per_repository: settings.max_tags,
            platform: settings.platform.clone().unwrap_or_else(Platform::own),
        },
    );
    let credentials = Credentials {
        host: Some(Arc::new(host)),
        ..Credentials::default()
    };
    let runtime = one_thread()?;
    let finished = runtime.block_on(async {
        let progress = Progress::default();
        let now = Time(Timestamp::now());
        let request = Request {
            spec: &import.spec,
            stream: None,
            rules: &RegistryRules::default(),
            credentials: &credentials,
            now: &now,
            deadline: Instant::now() + settings.timeout,
            patience: Instant::now() + settings.timeout,
            progress: &progress,
        };
        tokio::select! {
            result = progress::shown(engine.run(&request), engine.client(), &progress) => Some(result),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    // Connections to registries that hang are not worth waiting for.
    runtime.shutdown_background();
    let Some(result) = finished else {
        return Ok(Exit::Interrupted);
    };
    import.status = result;
    apply::clear_manifests(&import.spec, &mut import.status);
    output::print_import(&import, settings.format)?;
    let failures = failures(&import);
    for failure in &failures {
        eprintln!("error: {failure}");
    }
    for note in notes(&import, &settings) {
        eprintln!("note: {note}");
    }
    Ok(if failures.is_empty() {
        Exit::Success
    } else {
        Exit::Failure
    })
}

/// The import that the command line asks for; defaulted and valid.
fn requested(arguments: &ImportArguments, settings: &Settings) -> Result<ImageStreamImport, Error> {
    let mut import = ImageStreamImport::default();
    let import_policy = TagImportPolicy {
        insecure: settings.insecure,
        import_mode: settings.mode.as_str().into(),
        ..TagImportPolicy::default()
    };
    let from = |reference: &String| ObjectReference {
        kind: Some("DockerImage".into()),
        name: Some(reference.clone()),
        ..ObjectReference::default()
    };
    let parsed = arguments
        .references
        .iter()
        .map(|reference| usable(reference))
        .collect::<Result<Vec<_>, _>>()?;
    match (&arguments.references[..], arguments.all) {
        ([repository], true) => {
            if parsed
                .iter()
                .any(|reference| !(reference.tag.is_empty() && reference.id.is_empty()))
            {
                let message = format!("--all reads a repository: leave out tag and digest of {repository:?}");
                return Err(Error::Usage(message));
            }
            import.spec.repository = Some(RepositoryImportSpec {
                from: from(repository),
                import_policy,
                include_manifest: settings.include_manifest,
                ..RepositoryImportSpec::default()
            });
        }
        (_, true) => return Err(Error::Usage("--all reads one repository: give one REF".into())),
        (references, false) => {
            import.spec.images = references
                .iter()
                .map(|reference| ImageImportSpec {
                    from: from(reference),
                    import_policy: import_policy.clone(),
                    include_manifest: settings.include_manifest,
                    ..ImageImportSpec::default()
                })
                .collect();
        }
    }
    import.metadata.name = Some(stream_name(&parsed));
    import.metadata.namespace = Some("default".into());
    defaults::image_stream_import(&mut import, settings.mode);
    if let Some(error) = validation::image_stream_import(&import).first() {
        return Err(Error::Usage(error.to_string()));
    }
    import.metadata.namespace = None;
    Ok(import)
}

/// A reference that names an image or a repository.
fn usable(text: &str) -> Result<ImageReference, Error> {
    let hint = "expected [HOST[:PORT]/]NAME[:TAG][@DIGEST], for example quay.io/org/app:v1";
    if text.contains("://") {
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
        return Err(Error::Usage(format!(
            "{text:?}: a reference has no scheme; try {bare:?}"
        )));
    }
    let reference =
        ImageReference::parse(text).map_err(|error| Error::Usage(format!("{text:?}: {error}; {hint}")))?;
    if reference.name.is_empty() {
        return Err(Error::Usage(format!("{text:?} names a registry only; {hint}")));
    }
    Ok(reference)
}

/// The last component of the first repository, in the form of a stream's name.
fn stream_name(references: &[ImageReference]) -> String {
    let repository = references
        .first()
        .map(ImageReference::repository_name)
        .unwrap_or_default();
    let last = repository.rsplit('/').next().unwrap_or_default();
    // Of what a repository may hold, a stream's name may not hold runs of separators.
    let mut name = String::new();
    for character in last.chars() {
        let is_separator = |character: char| matches!(character, '.' | '_' | '-');
        if !(is_separator(character) && name.ends_with(is_separator)) {
            name.push(character);
        }
    }
    name
}

/// One line for each item that failed.
fn failures(import: &ImageStreamImport) -> Vec<String> {
    let mut lines = Vec::new();
    let reason = |status: &Status| {
        let message = status.message.as_deref().unwrap_or("unknown error");
        message
            .strip_prefix("Internal error occurred: ")
            .unwrap_or(message)
            .replace('\n', " ")
    };
    for (spec, image) in import.spec.images.iter().zip(&import.status.images) {
        if !status::is_success(&image.status) {
            lines.push(named(
                spec.from.name.as_deref().unwrap_or_default(),
                &reason(&image.status),
            ));
        }
    }
    if let (Some(spec), Some(repository)) = (&import.spec.repository, &import.status.repository) {
        let name = spec.from.name.as_deref().unwrap_or_default();
        for image in repository
            .images
            .iter()
            .filter(|image| !status::is_success(&image.status))
        {
            lines.push(named(&format!("{name}:{}", image.tag), &reason(&image.status)));
        }
        if lines.is_empty() && !status::is_success(&repository.status) {
            lines.push(named(name, &reason(&repository.status)));
        }
    }
    lines
}

/// A reason that says what it is about.
fn named(reference: &str, reason: &str) -> String {
    if reason.contains(reference) {
        reason.to_owned()
    } else {
        format!("{reference}: {reason}")
    }
}

/// What a user may want to know although nothing failed.
fn notes(import: &ImageStreamImport, settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    let repository = import.status.repository.as_ref();
    let additional = repository.map_or(0, |repository| repository.additional_tags.len());
    if additional > 0 && settings.format == Format::Table {
        notes.push(format!(
            "{additional} more tags were not read; --max-tags -1 reads all"
        ));
    }
    if let Some(wanted) = &settings.platform {
        let results = import
            .status
            .images
            .iter()
            .chain(repository.into_iter().flat_map(|found| &found.images));
        let others: Vec<&str> = results
            .filter_map(|result| other_platform(result, wanted))
            .collect();
        if let Some(first) = others.first() {
            let count = others.len();
            notes.push(format!(
                "{count} images are not for {wanted}, the first of them is for {first}"
            ));
        }
    }
    notes
}

/// The architecture of an image that is not the wanted one.
fn other_platform<'a>(result: &'a ImageImportStatus, wanted: &Platform) -> Option<&'a str> {
    let architecture = |image: &'a Image| image.docker_image_metadata.architecture.as_str();
    result
        .image
        .as_ref()
        .filter(|image| image.docker_image_manifests.is_empty())
        .map(architecture)
        .filter(|architecture| !architecture.is_empty() && *architecture != wanted.architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_called_like_the_last_component_of_the_repository() {
        for (reference, name) in [
            ("quay.io/org/app:v1", "app"),
            ("busybox", "busybox"),
            ("a/foo__bar--baz", "foo_bar-baz"),
        ] {
            assert_eq!(
                stream_name(&[ImageReference::parse(reference).unwrap()]),
                name,
                "{reference}"
            );
        }
    }

    #[test]
    fn references_that_no_registry_can_be_asked_for_are_refused_with_advice() {
        for (text, advice) in [
            ("https://quay.io/org/app", "try \"quay.io/org/app\""),
            ("quay.io/Org/app", "repository name must be lowercase"),
            ("quay.io", "names a registry only"),
            ("*", "invalid reference format"),
        ] {
            let error = usable(text).unwrap_err();
            assert!(error.to_string().contains(advice), "{error}");
            assert_eq!(error.exit(), Exit::Usage);
        }
    }
}
