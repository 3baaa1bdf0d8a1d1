//! `v1` namespaces: what everything else is in. A namespace that is deleted stays, [terminating][1], until all that is
//! in it is gone; [`terminate`](super::terminate) sees to that.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/namespace-v1/

use std::sync::Arc;

use imagestream_api::field::{FieldError, Path};
use imagestream_api::validation::metadata::NameRule;
use imagestream_apiserver::endpoint::{Endpoint, Pending, Request};
use imagestream_apiserver::errors;
use imagestream_apiserver::form::Form;
use imagestream_apiserver::kind::{Column, Kind, Resource, Verb};
use imagestream_apiserver::metadata;
use imagestream_apiserver::stored::Stored;
use imagestream_apiserver::strategy::{Strategy, done};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Value, json};

pub(crate) use super::terminate::clear_remains;
use crate::age;
use crate::context::Context;
use crate::plain::{AGE, NAME, checked_new, checked_replacement, column, set_field, with_metadata};
use crate::schema;

/// The finalizer of the server itself: it is there until the namespace is empty.
pub(super) const FINALIZER: &str = "kubernetes";
/// The namespace that is there from the start.
pub(crate) const DEFAULT: &str = "default";
/// The label that tells a namespace's name, so that it can be selected by it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    schema: &schema::core::NAMESPACE,
    package: "v1",
    description: "A scope for names: objects in it can be told apart from objects of the same name in another.",
};

/// Namespaces.
pub static NAMESPACES: Resource = Resource {
    kind: &KIND,
    plural: "namespaces",
    subresource: "",
    singular: "namespace",
    list_kind: "NamespaceList",
    short_names: &["ns"],
    categories: &[],
    namespaced: false,
};

/// The status of namespaces.
pub static NAMESPACES_STATUS: Resource = Resource {
    kind: &KIND,
    plural: "namespaces",
    subresource: "status",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// Who must agree to the end of a namespace.
pub static NAMESPACES_FINALIZE: Resource = Resource {
    kind: &KIND,
    plural: "namespaces",
    subresource: "finalize",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// How they are stored.
#[must_use]
pub fn form() -> Arc<dyn Form> {
    Arc::new(NamespaceForm)
}

struct NamespaceForm;

impl Form for NamespaceForm {
    fn resource(&self) -> &'static Resource {
        &NAMESPACES
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name", "status.phase"]
    }

    fn empty(&self) -> Value {
        json!({"metadata": {}, "spec": {}, "status": {}})
    }
}

/// The endpoint of namespaces themselves.
pub(crate) fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    let namespaces = Namespaces {
        context: Arc::clone(context),
    };
    Arc::new(Stored::new(Arc::clone(&context.namespaces), Arc::new(namespaces)))
}

/// The endpoints of namespaces, their status and their finalizers.
pub(super) fn endpoints(context: &Arc<Context>) -> Vec<Arc<dyn Endpoint>> {
    let objects = || Arc::clone(&context.namespaces);
    vec![
        endpoint(context),
        Arc::new(Stored::part(
            objects(),
            Arc::new(Part::Status),
            &NAMESPACES_STATUS,
        )),
        Arc::new(Stored::part(
            objects(),
            Arc::new(Part::Finalizers),
            &NAMESPACES_FINALIZE,
        )),
    ]
}

/// Creates the namespace that is there from the start, if it is not.
///
/// # Errors
/// Those of the store.
pub(super) async fn create_default(context: &Context) -> Result<(), Box<Status>> {
    if context.namespaces.get("", DEFAULT).await?.is_some() {
        return Ok(());
    }
    let mut object = fresh(json!({"metadata": {"name": DEFAULT}}))?;
    metadata::identify(&mut object, Timestamp::now());
    match context.namespaces.create(object).await {
        // Another server of the same store was first.
        Err(status) if status.reason.as_deref() != Some("AlreadyExists") => Err(status),
        _ => Ok(()),
    }
}

/// A namespace as it is created.
///
/// # Errors
/// 422 if its name or anything else is wrong.
pub(crate) fn fresh(mut object: Value) -> Result<Value, Box<Status>> {
    let given = object.pointer("/spec/finalizers").and_then(Value::as_array);
    let mut finalizers = given.cloned().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    set_field(&mut object, "spec", Some(&json!({"finalizers": finalizers})));
    set_field(&mut object, "status", Some(&json!({"phase": "Active"})));
    set_name_label(&mut object);
    let errors = finalizer_errors(&object);
    checked_new(&NAMESPACES, NameRule::Label, &object, errors).map(|()| object)
}

/// Whether a namespace is on its way out.
pub(crate) fn is_terminating(object: &Value) -> bool {
    object.pointer("/status/phase").and_then(Value::as_str) == Some("Terminating")
}

/// Who must agree to the end of a namespace.
pub(super) fn finalizers(object: &Value) -> &[Value] {
    let finalizers = object.pointer("/spec/finalizers").and_then(Value::as_array);
    finalizers.map_or(&[], Vec::as_slice)
}

struct Namespaces {
    context: Arc<Context>,
}

impl Strategy for Namespaces {
    fn verbs(&self) -> &'static [Verb] {
        // Nobody deletes all namespaces at once.
        &[
            Verb::Create,
            Verb::Delete,
            Verb::Get,
            Verb::List,
            Verb::Patch,
            Verb::Update,
            Verb::Watch,
        ]
    }

    fn normalise(&self, object: Value) -> Result<Value, String> {
        normalised(object)
    }

    fn prepare_create<'a>(&'a self, _: &'a Request, object: Value) -> Pending<'a, Value> {
        done(fresh(object))
    }

    /// Nobody inherits what was written while an earlier namespace of the name ended.
    fn before_create<'a>(&'a self, object: &'a Value) -> Pending<'a, ()> {
        Box::pin(clear_remains(&self.context, metadata::text(object, "name")))
    }

    fn prepare_update<'a>(
        &'a self,
        _: &'a Request,
        mut object: Value,
        stored: &'a Value,
    ) -> Pending<'a, Value> {
        set_field(&mut object, "spec", stored.get("spec"));
        set_field(&mut object, "status", stored.get("status"));
        set_name_label(&mut object);
        done(checked_replacement(&NAMESPACES, &object, stored, Vec::new).map(|()| object))
    }

    fn collects_garbage(&self) -> bool {
        false
    }

    fn outlives_deletion(&self, object: &Value) -> bool {
        !finalizers(object).is_empty()
    }

    fn mark_deleted(&self, object: &mut Value) {
        if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
            status.insert("phase".into(), "Terminating".into());
        }
    }

    fn columns(&self) -> Option<&'static [Column]> {
        const STATUS: Column = column("Status", "string", "Whether the namespace is in use or ends.");
        Some(&[NAME, STATUS, AGE])
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let phase = object.pointer("/status/phase").cloned().unwrap_or_default();
        vec![metadata::text(object, "name").into(), phase, age::of(object, now)]
    }
}

/// A part of a namespace that is written on its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Status,
    Finalizers,
}

impl Strategy for Part {
    fn verbs(&self) -> &'static [Verb] {
        match self {
            Self::Status => &[Verb::Get, Verb::Patch, Verb::Update],
            Self::Finalizers => &[Verb::Update],
        }
    }

    fn normalise(&self, object: Value) -> Result<Value, String> {
        normalised(object)
    }

    fn prepare_create<'a>(&'a self, _: &'a Request, _: Value) -> Pending<'a, Value> {
        done(Err(errors::method_not_allowed().into()))
    }

    fn prepare_update<'a>(
        &'a self,
        _: &'a Request,
        mut object: Value,
        stored: &'a Value,
    ) -> Pending<'a, Value> {
        let check = match self {
            Self::Status => {
                set_field(&mut object, "spec", stored.get("spec"));
                phase_errors as fn(&Value) -> Vec<FieldError>
            }
            Self::Finalizers => {
                set_field(&mut object, "status", stored.get("status"));
                finalizer_errors
            }
        };
        done(checked_replacement(&NAMESPACES, &object, stored, || check(&object)).map(|()| object))
    }

    fn outlives_deletion(&self, object: &Value) -> bool {
        !finalizers(object).is_empty()
    }
}

fn normalised(object: Value) -> Result<Value, String> {
    let mut object = with_metadata(object)?;
    for field in ["spec", "status"] {
        if object.get(field).is_none_or(Value::is_null) {
            set_field(&mut object, field, Some(&json!({})));
        }
    }
    Ok(object)
}

fn set_name_label(object: &mut Value) {
    let name = metadata::text(object, "name").to_owned();
    if let Some(metadata) = metadata::of(object) {
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if labels.is_null() {
            *labels = json!({});
        }
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(NAME_LABEL.into(), name.into());
        }
    }
}

fn finalizer_errors(object: &Value) -> Vec<FieldError> {
    let path = Path::root("spec").child("finalizers");
    let named = finalizers(object).iter().enumerate();
    named
        .filter_map(|(index, finalizer)| {
            let finalizer = finalizer.as_str().unwrap_or_default();
            // What is Kubernetes' own has no domain; anything else must have one.
            let is_known = finalizer == FINALIZER || finalizer.contains('/');
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            (!is_known).then(|| FieldError::invalid(&path.index(index), finalizer, detail))
        })
        .collect()
}

fn phase_errors(object: &Value) -> Vec<FieldError> {
    let phase = object
        .pointer("/status/phase")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let is_deleted = !metadata::text(object, "deletionTimestamp").is_empty();
    let detail = match (is_deleted, phase) {
        (false, "Active") | (true, "Terminating") => return Vec::new(),
        (false, _) => "may only be 'Active' if `deletionTimestamp` is empty",
        (true, _) => "may only be 'Terminating' if `deletionTimestamp` is not empty",
    };
    vec![FieldError::invalid(
        &Path::root("status").child("Phase"),
        phase,
        detail,
    )]
}
