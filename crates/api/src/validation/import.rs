//! What makes an ImageStreamImport invalid, and which of its registries are not allowed.

use serde_json::Value;

use super::metadata::{self, NameRule, Scope};
use super::tag::import_mode;
use crate::allowed_registries::{AllowedRegistries, Transport, endpoint};
use crate::field::{FieldError, FieldValue, Path, quoted};
use crate::reference::ImageReference;
use crate::types::{ImageImportSpec, ImageStreamImport, ObjectReference, RepositoryImportSpec};

/// The only kind that can be imported.
const DOCKER_IMAGE: &str = "DockerImage";
/// Old clients send this in place of a reference to look up a stream.
const ANY_IMAGE: &str = "*";

/// What is wrong with an import: its spec first, then its metadata.
#[must_use]
pub fn image_stream_import(import: &ImageStreamImport) -> Vec<FieldError> {
    let spec = Path::root("spec");
    let images = spec.child("images");
    let mut errors = Vec::new();
    for (index, item) in import.spec.images.iter().enumerate() {
        image(item, &images.index(index), &mut errors);
    }
    if let Some(item) = &import.spec.repository {
        repository(item, &spec.child("repository"), &mut errors);
    }
    if import.spec.images.is_empty() && import.spec.repository.is_none() {
        errors.push(FieldError::invalid(
            &images,
            FieldValue::json(&Value::Null),
            "you must specify at least one image or a repository import",
        ));
    }
    errors.extend(metadata::create(
        &import.metadata,
        Scope::Namespaced,
        NameRule::Stream,
        &Path::root("metadata"),
    ));
    errors
}

/// The registries of an import that the configuration does not allow.
#[must_use]
pub fn allowed(import: &ImageStreamImport, registries: &AllowedRegistries) -> Vec<FieldError> {
    let spec = Path::root("spec");
    let repository = import
        .spec
        .repository
        .iter()
        .filter(|item| kind(&item.from) == DOCKER_IMAGE)
        .map(|item| (spec.child("repository"), &item.from, item.import_policy.insecure));
    let images = import.spec.images.iter().enumerate().map(|(index, item)| {
        let path = spec.child("images").index(index);
        (path, &item.from, item.import_policy.insecure)
    });
    repository
        .chain(images)
        .filter_map(|(path, from, insecure)| {
            // What cannot be parsed is validation's to refuse; here it counts as a reference to Docker Hub.
            let reference = ImageReference::parse(name(from)).unwrap_or_default();
            let endpoint = endpoint(&reference, insecure);
            let refused = registries.check(&endpoint, Transport::Secure).err()?;
            let endpoint = quoted(&endpoint);
            Some(FieldError::forbidden(
                &path.child("from").child("name"),
                format!("importing images from registry {endpoint} is forbidden: {refused}"),
            ))
        })
        .collect()
}

fn image(item: &ImageImportSpec, path: &Path, errors: &mut Vec<FieldError>) {
    if kind(&item.from) == DOCKER_IMAGE {
        if item.to.as_ref().is_some_and(|to| to.name.is_empty()) {
            let detail = "the name of the target tag must be specified";
            errors.push(FieldError::invalid(&path.child("to").child("name"), "", detail));
        }
        let name = name(&item.from);
        let name_path = path.child("from").child("name");
        if name == ANY_IMAGE {
            return;
        }
        if name.is_empty() {
            errors.push(FieldError::required(&name_path, ""));
        } else if let Err(error) = ImageReference::parse(name) {
            errors.push(FieldError::invalid(&name_path, name, error.to_string()));
        }
    } else {
        errors.push(wrong_kind(&item.from, path));
    }
    errors.extend(import_mode(&item.import_policy.import_mode, path));
}

fn repository(item: &RepositoryImportSpec, path: &Path, errors: &mut Vec<FieldError>) {
    if kind(&item.from) == DOCKER_IMAGE {
        let name = name(&item.from);
        let name_path = path.child("from").child("name");
        if name.is_empty() {
            let detail = "container image references require a name";
            errors.push(FieldError::required(&name_path, detail));
        } else {
            match ImageReference::parse(name) {
                Err(error) => errors.push(FieldError::invalid(&name_path, name, error.to_string())),
                Ok(reference) if !reference.tag.is_empty() || !reference.id.is_empty() => {
                    let detail = "you must specify an image repository, not a tag or ID";
                    errors.push(FieldError::invalid(&name_path, name, detail));
                }
                Ok(_) => {}
            }
        }
    } else {
        errors.push(wrong_kind(&item.from, path));
    }
    errors.extend(import_mode(&item.import_policy.import_mode, path));
}

fn wrong_kind(from: &ObjectReference, path: &Path) -> FieldError {
    let path = path.child("from").child("kind");
    FieldError::invalid(&path, kind(from), "only DockerImage is supported")
}

fn kind(from: &ObjectReference) -> &str {
    from.kind.as_deref().unwrap_or_default()
}

fn name(from: &ObjectReference) -> &str {
    from.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests;
