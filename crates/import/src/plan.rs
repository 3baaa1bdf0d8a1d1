//! Which images an import has to read. Pure.

use std::collections::HashMap;

use imagestream_api::defaults::ImportMode;
use imagestream_api::field::{self, FieldError, Path};
use imagestream_api::reference::ImageReference;
use imagestream_api::status;
use imagestream_api::types::{ImageImportSpec, ImageStream, Status};
use imagestream_registry::sources::RegistryRules;

use crate::failure::Failure;
use crate::platform::Platform;

/// Annotations of a stream's tag that say which member of a manifest list is wanted.
const PREFER_ARCHITECTURE: &str = "importer.image.openshift.io/prefer-arch";
const PREFER_OS: &str = "importer.image.openshift.io/prefer-os";

/// An image to read. Equal items are read once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Item {
    /// The image, by digest if it has one, else by its tag, which is set then.
    pub(crate) reference: ImageReference,
    pub(crate) insecure: bool,
    pub(crate) mode: ImportMode,
    /// Which member of a manifest list is wanted, if the stream's tag says so.
    pub(crate) preferred: Option<Platform>,
}

impl Item {
    /// The tag, unless the image is named by digest.
    pub(crate) fn tag(&self) -> &str {
        if self.reference.id.is_empty() {
            &self.reference.tag
        } else {
            ""
        }
    }
}

/// What becomes of one entry of `spec.images`.
#[derive(Debug)]
pub(crate) enum Planned {
    /// It fails before any registry is asked.
    Settled(Box<Status>),
    Read(Item),
}

/// The images of `spec.images`, in order.
///
/// The first entry of a repository decides how the repository is written in all results.
pub(crate) fn images(
    specs: &[ImageImportSpec],
    stream: Option<&ImageStream>,
    rules: &RegistryRules,
    own: &Platform,
) -> Vec<Planned> {
    let mut repositories: HashMap<(String, String), ImageReference> = HashMap::new();
    specs
        .iter()
        .map(|spec| {
            let mut reference = match parse(spec.from.name.as_deref().unwrap_or_default()) {
                Ok(reference) => reference,
                Err(status) => return Planned::Settled(status),
            };
            if rules.blocked(&reference) {
                return Planned::Settled(Box::new(blocked(&reference)));
            }
            let first = repositories
                .entry(repository(&reference))
                .or_insert_with(|| reference.clone());
            reference.registry.clone_from(&first.registry);
            reference.namespace.clone_from(&first.namespace);
            reference.name.clone_from(&first.name);
            name_one(&mut reference);
            let target = spec
                .to
                .as_ref()
                .map_or(reference.tag.as_str(), |to| to.name.as_str());
            Planned::Read(Item {
                preferred: if reference.id.is_empty() {
                    preferred(stream, target, own)
                } else {
                    None
                },
                insecure: spec.import_policy.insecure || rules.insecure(&reference),
                mode: ImportMode::parse(&spec.import_policy.import_mode).unwrap_or_default(),
                reference,
            })
        })
        .collect()
}

/// Names an image by its digest alone if there is one, else by a tag.
pub(crate) fn name_one(reference: &mut ImageReference) {
    if reference.id.is_empty() {
        if reference.tag.is_empty() {
            "latest".clone_into(&mut reference.tag);
        }
    } else {
        reference.tag.clear();
    }
}

/// Reads a reference that validation let pass; `*` is a name that no registry can have.
pub(crate) fn parse(name: &str) -> Result<ImageReference, Box<Status>> {
    if name == "*" {
        return Ok(ImageReference {
            name: name.to_owned(),
            ..ImageReference::default()
        });
    }
    ImageReference::parse(name).map_err(|error| {
        let path = Path::root("from").child("name");
        let error = FieldError::invalid(&path, name, format!("invalid name: {error}"));
        Box::new(field::invalid_in("", "", "", &[error]))
    })
}

/// The status of an item whose registry is blocked.
pub(crate) fn blocked(reference: &ImageReference) -> Status {
    status::forbidden(format!("forbidden: registry {} blocked", reference.registry))
}

/// Where a reference leads: registry and repository name.
fn repository(reference: &ImageReference) -> (String, String) {
    (reference.registry_url(), reference.defaulted().repository_name())
}

/// Whether two references lead to one repository.
pub(crate) fn same_repository(one: &ImageReference, other: &ImageReference) -> bool {
    repository(one) == repository(other)
}

/// Which member of a manifest list the stream's tag `target` wants, if it says so.
pub fn preferred(stream: Option<&ImageStream>, target: &str, own: &Platform) -> Option<Platform> {
    let annotations = stream?.spec.tags.get(target)?.annotations.as_ref()?;
    let of = |key: &str| annotations.get(key).filter(|value| !value.is_empty());
    let (os, architecture) = (of(PREFER_OS), of(PREFER_ARCHITECTURE));
    if os.is_none() && architecture.is_none() {
        return None;
    }
    Some(Platform {
        os: os.unwrap_or(&own.os).clone(),
        architecture: architecture.unwrap_or(&own.architecture).clone(),
    })
}

/// The reference in the form that registries are asked for, or why there is none.
pub(crate) fn normalised(reference: &ImageReference) -> Result<String, Failure> {
    reference.normalised().map_err(|error| {
        Failure::Error(format!(
            "unable to parse docker reference {}: {error}",
            reference.exact()
        ))
    })
}
