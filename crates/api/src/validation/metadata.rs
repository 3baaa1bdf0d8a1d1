//! What makes an object's [metadata][1] invalid.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference};
use serde::Serialize;

use super::names;
use crate::field::{FieldError, FieldValue, Path, is_printable};
use crate::types::ObjectMeta;

mod update;

pub use update::{before_update, update};

/// The most that all annotations of an object may take, in bytes.
const ANNOTATIONS_MAX: usize = 256 * 1024;
/// The longest name of a field manager, in bytes.
const FIELD_MANAGER_MAX: usize = 128;
/// The longest name of a subresource in the managed fields, in bytes.
const SUBRESOURCE_MAX: usize = 256;
/// Finalizers that say what happens to dependents, and so exclude each other.
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// All finalizers that have no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", ORPHAN, FOREGROUND];

/// Whether objects of a kind live in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// They do.
    Namespaced,
    /// They do not.
    Cluster,
}

/// What an object may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// Whatever can be one segment of a URL's path.
    PathSegment,
    /// What can also be a component of a repository's name.
    Stream,
    /// A DNS subdomain.
    Subdomain,
    /// A DNS label.
    Label,
}

impl NameRule {
    fn errors(self, name: &str, is_prefix: bool) -> Vec<String> {
        match self {
            Self::PathSegment => names::path_segment(name, is_prefix),
            Self::Stream => names::stream(name, is_prefix),
            Self::Subdomain => names::subdomain(&names::completed(name, is_prefix)),
            Self::Label => names::namespace(&names::completed(name, is_prefix)),
        }
    }
}

/// What is wrong with the metadata, at `path`, of an object that is created.
#[must_use]
pub fn create(metadata: &ObjectMeta, scope: Scope, rule: NameRule, path: &Path) -> Vec<FieldError> {
    let mut errors = of_any_object(metadata, scope, rule, path);
    errors.extend(unqualified_finalizers(metadata, path));
    errors
}

/// What is wrong with the metadata of any object, also of one that others define: their finalizers are not looked at
/// as closely as those of [built-in kinds](unqualified_finalizers).
fn of_any_object(metadata: &ObjectMeta, scope: Scope, rule: NameRule, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let prefix = metadata.generate_name.as_deref().unwrap_or_default();
    if !prefix.is_empty() {
        let reasons = rule.errors(prefix, true);
        errors.extend(invalid(&path.child("generateName"), prefix, reasons));
    }
    match metadata.name.as_deref().unwrap_or_default() {
        "" => errors.push(FieldError::required(
            &path.child("name"),
            "name or generateName is required",
        )),
        name => errors.extend(invalid(&path.child("name"), name, rule.errors(name, false))),
    }
    errors.extend(namespace(metadata, scope, &path.child("namespace")));
    errors.extend(generation(metadata, &path.child("generation")));
    errors.extend(attachments(metadata, path));
    errors
}

/// What is wrong with that part of the metadata which may change during an object's life.
fn attachments(metadata: &ObjectMeta, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let all_labels = metadata.labels.iter().flatten();
    errors.extend(all_labels.flat_map(|(key, value)| label(key, value, &path.child("labels"))));
    if let Some(all) = &metadata.annotations {
        errors.extend(annotations(all, &path.child("annotations")));
    }
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    errors.extend(owner_references(owners, &path.child("ownerReferences")));
    let finalizer_names = metadata.finalizers.as_deref().unwrap_or_default();
    errors.extend(finalizers(finalizer_names, &path.child("finalizers")));
    let entries = metadata.managed_fields.iter().flatten().enumerate();
    errors.extend(
        entries.flat_map(|(index, entry)| managed_fields(entry, &path.child("managedFields").index(index))),
    );
    errors
}

fn invalid<'a>(
    path: &'a Path,
    value: &'a str,
    reasons: Vec<String>,
) -> impl Iterator<Item = FieldError> + 'a {
    reasons
        .into_iter()
        .map(move |reason| FieldError::invalid(path, value, reason))
}

fn namespace(metadata: &ObjectMeta, scope: Scope, path: &Path) -> Vec<FieldError> {
    match (scope, metadata.namespace.as_deref().unwrap_or_default()) {
        (Scope::Namespaced, "") => vec![FieldError::required(path, "")],
        (Scope::Namespaced, name) => invalid(path, name, names::namespace(name)).collect(),
        (Scope::Cluster, "") => Vec::new(),
        (Scope::Cluster, _) => vec![FieldError::forbidden(path, "not allowed on this type")],
    }
}

fn generation(metadata: &ObjectMeta, path: &Path) -> Option<FieldError> {
    let generation = metadata.generation.filter(|generation| *generation < 0)?;
    let detail = "must be greater than or equal to 0";
    Some(FieldError::invalid(path, generation, detail))
}

fn label(key: &str, value: &str, path: &Path) -> Vec<FieldError> {
    invalid(path, key, names::qualified(key))
        .chain(invalid(path, value, names::label_value(value)))
        .collect()
}

fn annotations(annotations: &BTreeMap<String, String>, path: &Path) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = annotations
        .keys()
        // Other than in labels, the domain may be in upper case.
        .flat_map(|key| invalid(path, key, names::qualified(&key.to_lowercase())))
        .collect();
    let size: usize = annotations
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if size > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX));
    }
    errors
}

/// An owner as messages show it: its fields in the order of the API.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Owner<'a> {
    api_version: &'a str,
    kind: &'a str,
    name: &'a str,
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_owner_deletion: Option<bool>,
}

impl<'a> From<&'a OwnerReference> for Owner<'a> {
    fn from(reference: &'a OwnerReference) -> Self {
        Self {
            api_version: &reference.api_version,
            kind: &reference.kind,
            name: &reference.name,
            uid: &reference.uid,
            controller: reference.controller,
            block_owner_deletion: reference.block_owner_deletion,
        }
    }
}

fn owner_references(references: &[OwnerReference], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut first_controller: Option<String> = None;
    for reference in references {
        errors.extend(owner_reference(reference, path));
        if reference.controller != Some(true) {
            continue;
        }
        let controller = format!("{}/{}", reference.kind, reference.name);
        let Some(first) = &first_controller else {
            first_controller = Some(controller);
            continue;
        };
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and \
             {controller}"
        );
        let all: Vec<Owner<'_>> = references.iter().map(Owner::from).collect();
        errors.push(FieldError::invalid(path, FieldValue::json(&all), detail));
    }
    errors
}

fn owner_reference(reference: &OwnerReference, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // Two slashes make the whole text unreadable, so that there is no version either.
    let has_version = match reference.api_version.split_once('/') {
        None => !reference.api_version.is_empty(),
        Some((_, version)) => !version.is_empty() && !version.contains('/'),
    };
    if !has_version {
        let detail = "version must not be empty";
        let value = reference.api_version.as_str();
        errors.push(FieldError::invalid(&path.child("apiVersion"), value, detail));
    }
    for (name, value) in [
        ("kind", &reference.kind),
        ("name", &reference.name),
        ("uid", &reference.uid),
    ] {
        if value.is_empty() {
            errors.push(FieldError::invalid(&path.child(name), "", "must not be empty"));
        }
    }
    if matches!(reference.api_version.as_str(), "v1" | "/v1") && reference.kind == "Event" {
        let detail = "/v1, Kind=Event is disallowed from being an owner";
        errors.push(FieldError::invalid(
            path,
            FieldValue::json(&Owner::from(reference)),
            detail,
        ));
    }
    errors
}

fn finalizers(finalizers: &[String], path: &Path) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = finalizers
        .iter()
        .flat_map(|name| invalid(path, name, names::qualified(name)))
        .collect();
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has(ORPHAN) && has(FOREGROUND) {
        let detail = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.push(FieldError::invalid(path, FieldValue::json(&finalizers), detail));
    }
    errors
}

/// The finalizers of an object that nobody would know how to fulfil.
fn unqualified_finalizers(metadata: &ObjectMeta, path: &Path) -> Vec<FieldError> {
    let path = path.child("finalizers");
    let named = metadata.finalizers.iter().flatten().enumerate();
    named
        .filter(|(_, name)| !name.contains('/') && !STANDARD_FINALIZERS.contains(&name.as_str()))
        .map(|(index, name)| {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            FieldError::invalid(&path.index(index), name.as_str(), detail)
        })
        .collect()
}

fn managed_fields(entry: &ManagedFieldsEntry, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let operation = entry.operation.as_deref().unwrap_or_default();
    if !matches!(operation, "Apply" | "Update") {
        let detail = "must be `Apply` or `Update`";
        errors.push(FieldError::invalid(&path.child("operation"), operation, detail));
    }
    let fields_type = entry.fields_type.as_deref().unwrap_or_default();
    if !matches!(fields_type, "" | "FieldsV1") {
        let detail = "must be `FieldsV1`";
        errors.push(FieldError::invalid(
            &path.child("fieldsType"),
            fields_type,
            detail,
        ));
    }
    let manager = entry.manager.as_deref().unwrap_or_default();
    errors.extend(field_manager(manager, &path.child("manager")));
    if entry
        .subresource
        .as_ref()
        .is_some_and(|name| name.len() > SUBRESOURCE_MAX)
    {
        errors.push(FieldError::too_long(&path.child("subresource"), SUBRESOURCE_MAX));
    }
    errors
}

/// What is wrong with the name of a field manager, here or in the options of a request.
#[must_use]
pub fn field_manager(name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if name.len() > FIELD_MANAGER_MAX {
        errors.push(FieldError::too_long(path, FIELD_MANAGER_MAX));
    }
    let unprintable = name
        .char_indices()
        .filter(|(_, character)| !is_printable(*character));
    errors.extend(unprintable.map(|(position, character)| {
        let code = u32::from(character);
        let detail = format!("invalid character U+{code:04X} (at position {position})");
        FieldError::invalid(path, name, detail)
    }));
    errors
}

#[cfg(test)]
mod tests;
