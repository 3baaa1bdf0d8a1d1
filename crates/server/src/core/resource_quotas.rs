//! `v1` [resourcequotas][1]: how many objects a namespace may have.
//!
//! [1]: https://kubernetes.io/docs/concepts/policy/resource-quotas/

use std::sync::Arc;

use imagestream_api::field::{FieldError, Path};
use imagestream_api::quantity::Quantity;
use imagestream_api::validation::metadata::NameRule;
use imagestream_apiserver::endpoint::{Endpoint, Pending, Request};
use imagestream_apiserver::form::Form;
use imagestream_apiserver::kind::{Column, Kind, Resource};
use imagestream_apiserver::metadata;
use imagestream_apiserver::stored::Stored;
use imagestream_apiserver::strategy::Strategy;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::amounts::{self, STANDARD_RESOURCES};
use super::quota::Quotas;
use crate::age;
use crate::context::Context;
use crate::plain::{
    AGE, NAME, StatusOnly, checked_new, checked_replacement, column, set_field, with_metadata,
};
use crate::schema;

static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ResourceQuota",
    schema: &schema::core::RESOURCE_QUOTA,
    package: "v1",
    description: "How much of something there may be in a namespace.",
};

/// Resource quotas.
pub static RESOURCE_QUOTAS: Resource = Resource {
    kind: &KIND,
    plural: "resourcequotas",
    subresource: "",
    singular: "resourcequota",
    list_kind: "ResourceQuotaList",
    short_names: &["quota"],
    categories: &[],
    namespaced: true,
};

/// The status of resource quotas.
pub static RESOURCE_QUOTAS_STATUS: Resource = Resource {
    kind: &KIND,
    plural: "resourcequotas",
    subresource: "status",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

/// How they are stored.
#[must_use]
pub fn form() -> Arc<dyn Form> {
    Arc::new(QuotaForm)
}

struct QuotaForm;

impl Form for QuotaForm {
    fn resource(&self) -> &'static Resource {
        &RESOURCE_QUOTAS
    }

    fn empty(&self) -> Value {
        json!({"metadata": {}, "spec": {}, "status": {}})
    }
}

/// The endpoints of quotas and of their status.
pub(super) fn endpoints(context: &Arc<Context>, quotas: &Arc<Quotas>) -> Vec<Arc<dyn Endpoint>> {
    let objects = || Arc::clone(&context.resource_quotas);
    let strategy = ResourceQuotas(Arc::clone(quotas));
    let status = StatusOnly {
        resource: &RESOURCE_QUOTAS,
        normalise: normalised,
        validate: errors,
    };
    vec![
        Arc::new(Stored::new(objects(), Arc::new(strategy))),
        Arc::new(Stored::part(objects(), Arc::new(status), &RESOURCE_QUOTAS_STATUS)),
    ]
}

struct ResourceQuotas(Arc<Quotas>);

impl Strategy for ResourceQuotas {
    fn normalise(&self, object: Value) -> Result<Value, String> {
        normalised(object)
    }

    fn prepare_create<'a>(&'a self, _: &'a Request, mut object: Value) -> Pending<'a, Value> {
        Box::pin(async move {
            set_field(&mut object, "status", Some(&json!({})));
            checked_new(&RESOURCE_QUOTAS, NameRule::Subdomain, &object, errors(&object))?;
            let status = self.0.status(&object, &Map::new()).await?;
            set_field(&mut object, "status", Some(&status));
            Ok(object)
        })
    }

    fn prepare_update<'a>(
        &'a self,
        _: &'a Request,
        mut object: Value,
        stored: &'a Value,
    ) -> Pending<'a, Value> {
        Box::pin(async move {
            set_field(&mut object, "status", stored.get("status"));
            checked_replacement(&RESOURCE_QUOTAS, &object, stored, || {
                let mut found = errors(&object);
                found.extend(scope_changes(&object, stored));
                found
            })?;
            // What is limited from now on is counted at once; what was limited before goes on being counted.
            if object.get("spec") != stored.get("spec") {
                let status = self.0.status(&object, amounts_at(stored, "/status/used")).await?;
                set_field(&mut object, "status", Some(&status));
            }
            Ok(object)
        })
    }

    fn columns(&self) -> Option<&'static [Column]> {
        const REQUEST: Column = column("Request", "string", "What is used, and how much there may be.");
        const LIMIT: Column = column("Limit", "string", "The same for limits of containers.");
        Some(&[NAME, REQUEST, LIMIT, AGE])
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let used = amounts_at(object, "/status/used");
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, hard) in amounts_at(object, "/status/hard") {
            let text = |amount: Option<&Value>| amount.and_then(Value::as_str).unwrap_or("0").to_owned();
            let cell = format!("{name}: {}/{}", text(used.get(name)), text(Some(hard)));
            if name.starts_with("limits") {
                limits.push(cell);
            } else {
                requests.push(cell);
            }
        }
        vec![
            metadata::text(object, "name").into(),
            requests.join(", ").into(),
            limits.join(", ").into(),
            age::of(object, now),
        ]
    }
}

/// A map of amounts in an object; an empty one if it is not there.
pub(super) fn amounts_at<'v>(object: &'v Value, pointer: &str) -> &'v Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    object
        .pointer(pointer)
        .and_then(Value::as_object)
        .unwrap_or(&NONE)
}

fn normalised(object: Value) -> Result<Value, String> {
    let mut object = with_metadata(object)?;
    for field in ["spec", "status"] {
        if object.get(field).is_none_or(Value::is_null) {
            set_field(&mut object, field, Some(&json!({})));
        }
    }
    for pointer in ["/spec/hard", "/status/hard", "/status/used"] {
        if let Some(amounts) = object.pointer_mut(pointer) {
            amounts::normalise(amounts)?;
        }
    }
    Ok(object)
}

/// What is wrong with the amounts of an object.
fn errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (part, field) in [("spec", "hard"), ("status", "hard"), ("status", "used")] {
        let path = Path::root(part).child(field);
        for (name, amount) in amounts_at(object, &format!("/{part}/{field}")) {
            errors.extend(amount_errors(name, amount, &path.key(name)));
        }
    }
    errors
}

fn amount_errors(name: &str, amount: &Value, path: &Path) -> Vec<FieldError> {
    let otherwise = "must be a standard resource for quota";
    let mut errors = amounts::resource_errors(name, STANDARD_RESOURCES, otherwise, path);
    let text = amount.as_str().unwrap_or_default();
    if let Ok(quantity) = Quantity::parse(text) {
        if quantity < Quantity::count(0) {
            errors.push(FieldError::invalid(
                path,
                text,
                "must be greater than or equal to 0",
            ));
        }
        // Only what is measured comes in fractions.
        let is_count = !name.contains("cpu") && !name.contains("memory") && !name.contains("storage");
        if is_count && text.ends_with(['m', 'u', 'n']) {
            errors.push(FieldError::invalid(path, text, "must be an integer"));
        }
    }
    errors
}

fn scope_changes(object: &Value, stored: &Value) -> Option<FieldError> {
    let scopes = |object: &Value| object.pointer("/spec/scopes").cloned().unwrap_or_default();
    let (new, old) = (scopes(object), scopes(stored));
    (new != old).then(|| {
        let value = imagestream_api::field::FieldValue::json(&new);
        FieldError::invalid(&Path::root("spec").child("scopes"), value, "field is immutable")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
    use super::*;

    #[test]
    fn amounts_are_of_known_things_whole_and_not_negative() {
        for (hard, expected) in [
            (
                json!({"openshift.io/imagestreams": 3, "count/imagestreams.image.openshift.io": "1k", "cpu": "500m"}),
                None,
            ),
            (
                json!({"imagestreams": "1"}),
                Some(
                    r#"spec.hard[imagestreams]: Invalid value: "imagestreams": must be a standard resource for quota"#,
                ),
            ),
            (
                json!({"secrets": "-1"}),
                Some(r#"spec.hard[secrets]: Invalid value: "-1": must be greater than or equal to 0"#),
            ),
            (
                json!({"secrets": "1500m"}),
                Some(r#"spec.hard[secrets]: Invalid value: "1500m": must be an integer"#),
            ),
        ] {
            let object = normalised(json!({"spec": {"hard": hard}})).unwrap();
            let found: Vec<String> = errors(&object).iter().map(ToString::to_string).collect();
            assert_eq!(found, Vec::from_iter(expected), "{hard}");
        }
    }
}
