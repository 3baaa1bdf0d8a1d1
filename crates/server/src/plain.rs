//! What the stored kinds around images have in common: the checks of their metadata, columns of their tables, and
//! how their status is written.

use imagestream_api::field::FieldError;
use imagestream_api::types::ObjectMeta;
use imagestream_api::validation::metadata::{self as rules, NameRule, Scope};
use imagestream_apiserver::endpoint::{Pending, Request};
use imagestream_apiserver::errors;
use imagestream_apiserver::kind::{Column, Resource, Verb};
use imagestream_apiserver::metadata;
use imagestream_apiserver::strategy::{Strategy, done};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::age;

/// The first column of every table.
pub(crate) const NAME: Column = Column {
    name: "Name",
    column_type: "string",
    format: "name",
    description: "The name of the object, unique among those of its kind in its namespace.",
    priority: 0,
};

/// How old the object is.
pub(crate) const AGE: Column = column("Age", "string", "How long ago the object was created.");

/// A column that is always shown.
pub(crate) const fn column(
    name: &'static str,
    column_type: &'static str,
    description: &'static str,
) -> Column {
    Column {
        name,
        column_type,
        format: "",
        description,
        priority: 0,
    }
}

/// A kind without rules of its own, as a definition of a custom resource makes it.
pub(crate) struct Custom {
    /// What it is.
    pub(crate) resource: &'static Resource,
    /// What is wrong with an object, beside its metadata.
    pub(crate) validate: fn(&Value) -> Vec<FieldError>,
}

impl Strategy for Custom {
    fn normalise(&self, object: Value) -> Result<Value, String> {
        with_metadata(object)
    }

    fn prepare_create<'a>(&'a self, _: &'a Request, mut object: Value) -> Pending<'a, Value> {
        set_field(&mut object, "status", None);
        set_generation(&mut object, 1);
        let errors = (self.validate)(&object);
        done(checked_new(self.resource, NameRule::Subdomain, &object, errors).map(|()| object))
    }

    fn prepare_update<'a>(
        &'a self,
        _: &'a Request,
        mut object: Value,
        stored: &'a Value,
    ) -> Pending<'a, Value> {
        set_field(&mut object, "status", stored.get("status"));
        count_generation(&mut object, stored);
        let result = checked_replacement(self.resource, &object, stored, || (self.validate)(&object));
        done(result.map(|()| object))
    }

    fn columns(&self) -> Option<&'static [Column]> {
        Some(&[NAME, AGE])
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![metadata::text(object, "name").into(), age::of(object, now)]
    }
}

/// The status of a kind, which is all that is written through it.
pub(crate) struct StatusOnly {
    /// Whose status it is.
    pub(crate) resource: &'static Resource,
    /// As [`Strategy::normalise`].
    pub(crate) normalise: fn(Value) -> Result<Value, String>,
    /// What is wrong with an object, beside its metadata.
    pub(crate) validate: fn(&Value) -> Vec<FieldError>,
}

impl Strategy for StatusOnly {
    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Get, Verb::Patch, Verb::Update]
    }

    fn normalise(&self, object: Value) -> Result<Value, String> {
        (self.normalise)(object)
    }

    fn prepare_create<'a>(&'a self, _: &'a Request, _: Value) -> Pending<'a, Value> {
        done(Err(errors::method_not_allowed().into()))
    }

    fn prepare_update<'a>(&'a self, _: &'a Request, object: Value, stored: &'a Value) -> Pending<'a, Value> {
        let mut written = stored.clone();
        set_field(&mut written, "status", object.get("status"));
        // Metadata can be written along, except for what decides about the object's life.
        if let (Some(metadata), Some(given)) = (metadata::of(&mut written), object.get("metadata")) {
            for field in [
                "labels",
                "annotations",
                "managedFields",
                "ownerReferences",
                "resourceVersion",
                "uid",
            ] {
                match given.get(field) {
                    Some(value) => metadata.insert(field.into(), value.clone()),
                    None => metadata.remove(field),
                };
            }
        }
        let result = checked_replacement(self.resource, &written, stored, || (self.validate)(&written));
        done(result.map(|()| written))
    }
}

/// The object, if its metadata is of the type that all metadata is.
///
/// # Errors
/// Where it is not.
pub(crate) fn with_metadata(object: Value) -> Result<Value, String> {
    match object.get("metadata") {
        None | Some(Value::Null) => Ok(object),
        Some(metadata) => match ObjectMeta::deserialize(metadata) {
            Ok(_) => Ok(object),
            Err(error) => Err(format!("metadata: {error}")),
        },
    }
}

/// Checks an object that is to be created: its metadata, and what its kind found (`more`).
///
/// # Errors
/// 422 with everything that is wrong.
pub(crate) fn checked_new(
    resource: &'static Resource,
    names: NameRule,
    object: &Value,
    more: Vec<FieldError>,
) -> Result<(), Box<Status>> {
    let path = imagestream_api::field::Path::root("metadata");
    let mut errors = rules::create(&object_meta(object)?, scope(resource), names, &path);
    errors.extend(more);
    refuse(resource, object, &errors)
}

/// Checks an object that is to replace `stored`: its metadata, and then what its kind finds.
///
/// # Errors
/// 422 with everything that is wrong.
pub(crate) fn checked_replacement(
    resource: &'static Resource,
    object: &Value,
    stored: &Value,
    more: impl FnOnce() -> Vec<FieldError>,
) -> Result<(), Box<Status>> {
    let errors = rules::before_update(&object_meta(object)?, &object_meta(stored)?, scope(resource));
    refuse(resource, object, &errors)?;
    refuse(resource, object, &more())
}

fn scope(resource: &Resource) -> Scope {
    if resource.namespaced {
        Scope::Namespaced
    } else {
        Scope::Cluster
    }
}

fn refuse(resource: &Resource, object: &Value, errors: &[FieldError]) -> Result<(), Box<Status>> {
    match errors {
        [] => Ok(()),
        errors => Err(resource
            .kind
            .invalid(metadata::text(object, "name"), errors)
            .into()),
    }
}

fn object_meta(object: &Value) -> Result<ObjectMeta, Box<Status>> {
    typed(
        object
            .get("metadata")
            .unwrap_or(&Value::Object(serde_json::Map::new())),
    )
}

/// A part of an object with its type.
///
/// # Errors
/// 400 if it is none of the type.
pub(crate) fn typed<T: DeserializeOwned>(part: &Value) -> Result<T, Box<Status>> {
    T::deserialize(part).map_err(|error| errors::bad_request(error.to_string()).into())
}

/// Sets a field of an object, or removes it.
pub(crate) fn set_field(object: &mut Value, field: &str, value: Option<&Value>) {
    if let Value::Object(fields) = object {
        match value {
            Some(value) => fields.insert(field.into(), value.clone()),
            None => fields.remove(field),
        };
    }
}

fn set_generation(object: &mut Value, generation: i64) {
    if let Some(metadata) = metadata::of(object) {
        metadata.insert("generation".into(), generation.into());
    }
}

/// Counts a change to anything but metadata and status.
fn count_generation(object: &mut Value, stored: &Value) {
    let content = |object: &Value| {
        let mut object = object.clone();
        for field in ["metadata", "status", "kind", "apiVersion"] {
            set_field(&mut object, field, None);
        }
        object
    };
    if content(object) != content(stored) {
        let generation = stored.pointer("/metadata/generation").and_then(Value::as_i64);
        set_generation(object, generation.unwrap_or_default().saturating_add(1));
    }
}
