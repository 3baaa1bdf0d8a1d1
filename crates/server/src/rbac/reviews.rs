//! Asking what is allowed: [access reviews][1] of oneself, of others, within a namespace, and of all rules at once; and
//! asking [who one is][2].
//!
//! [1]: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
//! [2]: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#self-subject-review

use std::collections::BTreeMap;
use std::sync::Arc;

use imagestream_api::field::{FieldError, FieldValue, Path};
use imagestream_apiserver::admission::Creation;
use imagestream_apiserver::authn::UserInfo;
use imagestream_apiserver::endpoint::{Endpoint, Outcome, Reply, Request};
use imagestream_apiserver::errors;
use imagestream_apiserver::kind::{Kind, Resource, Verb};
use imagestream_apiserver::options::WriteOptions;
use imagestream_apiserver::rbac::{Attributes, Target};
use imagestream_apiserver::schema::Object;
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, ResourceAttributes};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::schema::{authentication, authorization};

const GROUP: &str = "authorization.k8s.io";

const fn kind(kind: &'static str, schema: &'static Object, description: &'static str) -> Kind {
    Kind {
        group: GROUP,
        version: "v1",
        kind,
        schema,
        package: "v1",
        description,
    }
}

const fn resource(
    kind: &'static Kind,
    plural: &'static str,
    singular: &'static str,
    namespaced: bool,
) -> Resource {
    Resource {
        kind,
        plural,
        subresource: "",
        singular,
        list_kind: "",
        short_names: &[],
        categories: &[],
        namespaced,
    }
}

static SELF: Kind = kind(
    "SelfSubjectAccessReview",
    &authorization::SELF_SUBJECT_ACCESS_REVIEW,
    "Whether the one who asks may do something.",
);
static SUBJECT: Kind = kind(
    "SubjectAccessReview",
    &authorization::SUBJECT_ACCESS_REVIEW,
    "Whether somebody may do something.",
);
static LOCAL: Kind = kind(
    "LocalSubjectAccessReview",
    &authorization::LOCAL_SUBJECT_ACCESS_REVIEW,
    "Whether somebody may do something in a namespace.",
);
static RULES: Kind = kind(
    "SelfSubjectRulesReview",
    &authorization::SELF_SUBJECT_RULES_REVIEW,
    "What the one who asks may do in a namespace.",
);
static WHO: Kind = Kind {
    group: "authentication.k8s.io",
    ..kind(
        "SelfSubjectReview",
        &authentication::SELF_SUBJECT_REVIEW,
        "Who the one who asks is.",
    )
};
static WHO_REVIEWS: Resource = resource(&WHO, "selfsubjectreviews", "selfsubjectreview", false);
static SELVES: Resource = resource(
    &SELF,
    "selfsubjectaccessreviews",
    "selfsubjectaccessreview",
    false,
);
static SUBJECTS: Resource = resource(&SUBJECT, "subjectaccessreviews", "subjectaccessreview", false);
static LOCALS: Resource = resource(
    &LOCAL,
    "localsubjectaccessreviews",
    "localsubjectaccessreview",
    true,
);
static RULES_REVIEWS: Resource = resource(&RULES, "selfsubjectrulesreviews", "selfsubjectrulesreview", false);

/// The endpoints of all reviews.
pub(super) fn endpoints(context: &Arc<Context>) -> Vec<Arc<dyn Endpoint>> {
    [&SELVES, &SUBJECTS, &LOCALS, &RULES_REVIEWS, &WHO_REVIEWS]
        .into_iter()
        .map(|resource| {
            let context = Arc::clone(context);
            Arc::new(Review { resource, context }) as Arc<dyn Endpoint>
        })
        .collect()
}

struct Review {
    resource: &'static Resource,
    context: Arc<Context>,
}

/// What is asked.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    resource_attributes: Option<ResourceAttributes>,
    non_resource_attributes: Option<NonResourceAttributes>,
    user: String,
    groups: Vec<String>,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
    namespace: String,
}

impl Review {
    fn answer(&self, request: &Request, mut object: Value) -> Result<Outcome, Box<Status>> {
        let Value::Object(fields) = &mut object else {
            return Err(errors::bad_request("a review is an object").into());
        };
        if std::ptr::eq(self.resource, &WHO_REVIEWS) {
            fields.insert("status".into(), json!({"userInfo": user_info(&request.user)}));
            return Ok(Outcome::created(object));
        }
        let spec = fields.entry("spec").or_insert_with(|| json!({}));
        let asked = Spec::deserialize(&*spec).map_err(|error| errors::bad_request(error.to_string()))?;
        let status = if std::ptr::eq(self.resource, &RULES_REVIEWS) {
            // As in Kubernetes, this question is not repeated in the answer.
            *spec = json!({});
            self.rules(request, &asked)?
        } else {
            let metadata = fields.get("metadata").cloned().unwrap_or_default();
            self.decision(request, &metadata, &asked)?
        };
        fields.insert("status".into(), status);
        Ok(Outcome::created(object))
    }

    fn decision(&self, request: &Request, metadata: &Value, spec: &Spec) -> Result<Value, Box<Status>> {
        let is_self = std::ptr::eq(self.resource, &SELVES);
        let errors = self.mistakes(request, metadata, spec);
        if !errors.is_empty() {
            return Err(self.resource.kind.invalid("", &errors).into());
        }
        let other = UserInfo {
            name: spec.user.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
        };
        let user = if is_self { &request.user } else { &other };
        let empty = String::new();
        let text = |text: &'_ Option<String>| text.clone().unwrap_or_default();
        let decision = match (&spec.resource_attributes, &spec.non_resource_attributes) {
            (Some(asked), _) => {
                let [group, resource, subresource, namespace, name, verb] = [
                    text(&asked.group),
                    text(&asked.resource),
                    text(&asked.subresource),
                    text(&asked.namespace),
                    text(&asked.name),
                    text(&asked.verb),
                ];
                let target = Target::Resource {
                    group: &group,
                    resource: &resource,
                    subresource: &subresource,
                    namespace: &namespace,
                    name: &name,
                };
                self.context.authorizer.authorize(&Attributes {
                    user,
                    verb: &verb,
                    target,
                })
            }
            (None, asked) => {
                let path = asked
                    .as_ref()
                    .and_then(|asked| asked.path.as_ref())
                    .unwrap_or(&empty);
                let verb = asked
                    .as_ref()
                    .and_then(|asked| asked.verb.as_ref())
                    .unwrap_or(&empty);
                self.context.authorizer.authorize(&Attributes {
                    user,
                    verb,
                    target: Target::Path(path),
                })
            }
        };
        let mut status = json!({"allowed": decision.allowed});
        if !decision.reason.is_empty() {
            status["reason"] = decision.reason.into();
        }
        Ok(status)
    }

    /// What is wrong with a question about one request, in the words of Kubernetes.
    fn mistakes(&self, request: &Request, metadata: &Value, spec: &Spec) -> Vec<FieldError> {
        let (resource, path) = (&spec.resource_attributes, &spec.non_resource_attributes);
        let at = Path::root("spec");
        let mut errors = Vec::new();
        match (resource, path) {
            (Some(_), Some(path)) => {
                let detail = "cannot be specified in combination with resourceAttributes";
                let value = FieldValue::json(path);
                errors.push(FieldError::invalid(
                    &at.child("nonResourceAttributes"),
                    value,
                    detail,
                ));
            }
            (None, None) => {
                let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
                errors.push(FieldError::invalid(
                    &at.child("resourceAttributes"),
                    "null",
                    detail,
                ));
            }
            _ => {}
        }
        if !std::ptr::eq(self.resource, &SELVES) && spec.user.is_empty() && spec.groups.is_empty() {
            let detail = "at least one of user or group must be specified";
            errors.push(FieldError::invalid(&at.child("user"), "", detail));
        }
        let is_local = std::ptr::eq(self.resource, &LOCALS);
        let mut given = metadata.as_object().cloned().unwrap_or_default();
        given.retain(|field, value| {
            !value.is_null() && field != "managedFields" && (field != "namespace" || !is_local)
        });
        if !given.is_empty() {
            let detail = if is_local {
                "must be empty except for namespace"
            } else {
                "must be empty"
            };
            errors.push(FieldError::invalid(
                &Path::root("metadata"),
                FieldValue::json(&given),
                detail,
            ));
        }
        if is_local {
            let namespace = resource
                .as_ref()
                .map(|asked| asked.namespace.clone().unwrap_or_default());
            if let Some(namespace) = namespace.filter(|namespace| *namespace != request.info.namespace) {
                let at = at.child("resourceAttributes").child("namespace");
                errors.push(FieldError::invalid(
                    &at,
                    &*namespace,
                    "must match metadata.namespace",
                ));
            }
            if let Some(path) = path {
                let detail = "disallowed on this kind of request";
                let value = FieldValue::json(path);
                errors.push(FieldError::invalid(
                    &at.child("nonResourceAttributes"),
                    value,
                    detail,
                ));
            }
        }
        errors
    }

    fn rules(&self, request: &Request, spec: &Spec) -> Result<Value, Box<Status>> {
        if spec.namespace.is_empty() {
            return Err(errors::bad_request("no namespace on request").into());
        }
        let found = self.context.authorizer.rules_for(&request.user, &spec.namespace);
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        for rule in &found.rules {
            let list = |values: &Option<Vec<String>>| values.clone().unwrap_or_default();
            if list(&rule.non_resource_urls).is_empty() {
                let mut shown = json!({
                    "verbs": rule.verbs,
                    "apiGroups": list(&rule.api_groups),
                    "resources": list(&rule.resources),
                });
                if let Some(names) = rule.resource_names.as_ref().filter(|names| !names.is_empty()) {
                    shown["resourceNames"] = json!(names);
                }
                resources.push(shown);
            } else {
                paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": list(&rule.non_resource_urls)}));
            }
        }
        let mut status = json!({
            "resourceRules": resources,
            "nonResourceRules": paths,
            "incomplete": !found.missing.is_empty(),
        });
        if !found.missing.is_empty() {
            let missing: Vec<String> = found.missing.iter().map(ToString::to_string).collect();
            status["evaluationError"] = missing.join(", ").into();
        }
        Ok(status)
    }
}

/// A user as `userInfo` shows them.
fn user_info(user: &UserInfo) -> Value {
    let mut shown = json!({"username": user.name});
    for (field, value, is_empty) in [
        ("uid", json!(user.uid), user.uid.is_empty()),
        ("groups", json!(user.groups), user.groups.is_empty()),
        ("extra", json!(user.extra), user.extra.is_empty()),
    ] {
        if !is_empty {
            shown[field] = value;
        }
    }
    shown
}

impl Endpoint for Review {
    fn resource(&self) -> &'static Resource {
        self.resource
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Create]
    }

    fn empty(&self) -> Value {
        json!({"metadata": {}, "spec": {}, "status": {}})
    }

    fn create<'a>(
        &'a self,
        request: &'a Request,
        object: Value,
        _: WriteOptions,
        _: Creation<'a>,
    ) -> Reply<'a> {
        Box::pin(std::future::ready(self.answer(request, object)))
    }
}
