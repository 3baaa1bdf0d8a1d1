//! `v1` [limitranges][1]: how large images, and how full streams, may get in a namespace.
//!
//! [1]: https://kubernetes.io/docs/concepts/policy/limit-range/

use std::sync::Arc;

use imagestream_api::field::{FieldError, Path};
use imagestream_api::quantity::Quantity;
use imagestream_api::validation::metadata::NameRule;
use imagestream_apiserver::endpoint::{Endpoint, Pending, Request};
use imagestream_apiserver::form::{Form, Plain};
use imagestream_apiserver::kind::{Column, Kind, Resource};
use imagestream_apiserver::metadata;
use imagestream_apiserver::stored::Stored;
use imagestream_apiserver::strategy::{Strategy, done};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::amounts::{self, AMOUNTS};
use crate::context::Context;
use crate::plain::{NAME, checked_new, checked_replacement, set_field, with_metadata};
use crate::schema;

static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "LimitRange",
    schema: &schema::core::LIMIT_RANGE,
    package: "v1",
    description: "Limits for each object of a kind in a namespace.",
};

/// Limit ranges.
pub static LIMIT_RANGES: Resource = Resource {
    kind: &KIND,
    plural: "limitranges",
    subresource: "",
    singular: "limitrange",
    list_kind: "LimitRangeList",
    short_names: &["limits"],
    categories: &[],
    namespaced: true,
};

/// How they are stored.
#[must_use]
pub fn form() -> Arc<dyn Form> {
    Arc::new(Plain(&LIMIT_RANGES))
}

/// The endpoint of limit ranges.
pub(super) fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    Arc::new(Stored::new(
        Arc::clone(&context.limit_ranges),
        Arc::new(LimitRanges),
    ))
}

struct LimitRanges;

impl Strategy for LimitRanges {
    fn normalise(&self, object: Value) -> Result<Value, String> {
        let mut object = with_metadata(object)?;
        if object.get("spec").is_none_or(Value::is_null) {
            set_field(&mut object, "spec", Some(&json!({"limits": null})));
        }
        let limits = object.pointer_mut("/spec/limits").and_then(Value::as_array_mut);
        for limit in limits.into_iter().flatten() {
            for field in AMOUNTS {
                if let Some(amounts) = limit.get_mut(field) {
                    amounts::normalise(amounts)?;
                }
            }
        }
        Ok(object)
    }

    fn prepare_create<'a>(&'a self, _: &'a Request, object: Value) -> Pending<'a, Value> {
        let errors = errors(&object);
        done(checked_new(&LIMIT_RANGES, NameRule::Subdomain, &object, errors).map(|()| object))
    }

    fn prepare_update<'a>(&'a self, _: &'a Request, object: Value, stored: &'a Value) -> Pending<'a, Value> {
        let result = checked_replacement(&LIMIT_RANGES, &object, stored, || errors(&object));
        done(result.map(|()| object))
    }

    fn columns(&self) -> Option<&'static [Column]> {
        const CREATED: Column = crate::plain::column("Created At", "date", "When the object was created.");
        Some(&[NAME, CREATED])
    }

    fn cells(&self, object: &Value, _: Timestamp) -> Vec<Value> {
        ["name", "creationTimestamp"]
            .map(|field| metadata::text(object, field).into())
            .into()
    }
}

/// What is wrong with the limits of an object.
fn errors(object: &Value) -> Vec<FieldError> {
    let path = Path::root("spec").child("limits");
    let limits = object.pointer("/spec/limits").and_then(Value::as_array);
    let mut errors = Vec::new();
    let mut types = Vec::new();
    for (index, limit) in limits.into_iter().flatten().enumerate() {
        let path = path.index(index);
        let name = limit.get("type").and_then(Value::as_str).unwrap_or_default();
        errors.extend(type_errors(name, &path.child("type")));
        if types.contains(&name) {
            errors.push(FieldError::duplicate(&path.child("type"), name));
        }
        types.push(name);
        errors.extend(limit_errors(limit, name, &path));
    }
    errors
}

fn type_errors(name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = amounts::qualified_errors(name, path);
    let is_standard = matches!(name, "Pod" | "Container" | "PersistentVolumeClaim");
    if errors.is_empty() && !name.contains('/') && !is_standard {
        errors.push(FieldError::invalid(
            path,
            name,
            "must be a standard limit type or fully qualified",
        ));
    }
    errors
}

fn limit_errors(limit: &Value, name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Map::new();
    let of = |field: &str| limit.get(field).and_then(Value::as_object).unwrap_or(&empty);
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let path = path.child(field);
        if name == "Pod" && matches!(field, "default" | "defaultRequest") {
            if !of(field).is_empty() {
                errors.push(FieldError::forbidden(
                    &path,
                    "may not be specified when `type` is 'Pod'",
                ));
            }
            continue;
        }
        errors.extend(of(field).keys().flat_map(|resource| {
            amounts::resource_errors(
                resource,
                amounts::STANDARD_RESOURCES,
                "must be a standard resource type or fully qualified",
                &path.key(resource),
            )
        }));
    }
    if name == "PersistentVolumeClaim"
        && !of("min").contains_key("storage")
        && !of("max").contains_key("storage")
    {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&path.child("limits"), detail));
    }
    let amount = |field: &str, resource: &str| {
        of(field)
            .get(resource)
            .and_then(Value::as_str)
            .and_then(|text| Quantity::parse(text).ok())
    };
    // Each pair of amounts of which the first may not exceed the second, and which of both is at fault.
    for (low, high, culprit, what) in [
        ("min", "max", "min", ("min value", "max value")),
        (
            "min",
            "defaultRequest",
            "defaultRequest",
            ("min value", "default request value"),
        ),
        (
            "defaultRequest",
            "max",
            "defaultRequest",
            ("default request value", "max value"),
        ),
        (
            "defaultRequest",
            "default",
            "defaultRequest",
            ("default request value", "default limit value"),
        ),
        ("min", "default", "default", ("min value", "default value")),
        ("default", "max", "default", ("default value", "max value")),
    ] {
        for resource in of(low).keys() {
            let (Some(less), Some(more)) = (amount(low, resource), amount(high, resource)) else {
                continue;
            };
            if less > more {
                let value = of(culprit)
                    .get(resource)
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let detail = format!("{} {less} is greater than {} {more}", what.0, what.1);
                errors.push(FieldError::invalid(
                    &path.child(culprit).key(resource),
                    value,
                    detail,
                ));
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "callers make it in place")]
    fn errors_of(limits: Value) -> Vec<String> {
        let object = LimitRanges
            .normalise(json!({"spec": {"limits": limits}}))
            .unwrap();
        errors(&object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn limits_on_images_and_streams_are_as_good_as_those_that_kubernetes_knows() {
        assert_eq!(
            errors_of(json!([
                {"type": "openshift.io/Image", "max": {"storage": "1Gi"}},
                {"type": "openshift.io/ImageStream", "max": {"openshift.io/images": 20, "openshift.io/image-tags": "5"}},
                {"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "100m"}, "default": {"cpu": "300m"}},
            ])),
            [""; 0]
        );
    }

    #[test]
    fn mistakes_in_limits_are_told_in_the_words_of_kubernetes() {
        for (limits, expected) in [
            (
                json!([{"type": "Image"}]),
                r#"spec.limits[0].type: Invalid value: "Image": must be a standard limit type or fully qualified"#,
            ),
            (
                json!([{"type": "Pod"}, {"type": "Pod"}]),
                r#"spec.limits[1].type: Duplicate value: "Pod""#,
            ),
            (
                json!([{"type": "a.b/c", "max": {"images": "1"}}]),
                r#"spec.limits[0].max[images]: Invalid value: "images": must be a standard resource type or fully qualified"#,
            ),
            (
                json!([{"type": "a.b/c", "max": {"storage": "1Ki"}, "min": {"storage": "2048"}}]),
                r#"spec.limits[0].min[storage]: Invalid value: "2048": min value 2048 is greater than max value 1Ki"#,
            ),
            (
                json!([{"type": "Pod", "default": {"cpu": "1"}}]),
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            ),
            (
                json!([{"type": "PersistentVolumeClaim"}]),
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
            ),
        ] {
            assert_eq!(errors_of(limits), [expected]);
        }
        let broken = json!({"spec": {"limits": [{"type": "a.b/c", "max": {"storage": "much"}}]}});
        assert!(
            LimitRanges
                .normalise(broken)
                .unwrap_err()
                .starts_with("quantities must match the regular expression")
        );
    }
}
