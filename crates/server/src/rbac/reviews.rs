//! Asking what is allowed: [access reviews][1] of oneself, of others, within a namespace, and of all rules at once.
//!
//! [1]: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access

use std::collections::BTreeMap;
use std::sync::Arc;

use imagestream_api::field::{FieldError, FieldValue, Path};
use imagestream_apiserver::authn::UserInfo;
use imagestream_apiserver::endpoint::{Endpoint, Outcome, Reply, Request};
use imagestream_apiserver::errors;
use imagestream_apiserver::kind::{Kind, Resource, Verb};
use imagestream_apiserver::options::WriteOptions;
use imagestream_apiserver::rbac::{Attributes, Target};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, ResourceAttributes};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;
use imagestream_apiserver::schema::Object;

use crate::schema::authorization;

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
    [&SELVES, &SUBJECTS, &LOCALS, &RULES_REVIEWS]
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
        let given = object.get("spec").cloned().unwrap_or_else(|| json!({}));
        let spec: Spec =
            serde_json::from_value(given).map_err(|error| errors::bad_request(error.to_string()))?;
        let status = if std::ptr::eq(self.resource, &RULES_REVIEWS) {
            self.rules(request, &spec)?
        } else {
            self.decision(request, &spec)?
        };
        if let Value::Object(fields) = &mut object {
            fields.insert("status".into(), status);
        }
        Ok(Outcome::created(object))
    }

    fn decision(&self, request: &Request, spec: &Spec) -> Result<Value, Box<Status>> {
        let is_self = std::ptr::eq(self.resource, &SELVES);
        let errors = self.mistakes(request, spec, is_self);
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

    fn mistakes(&self, request: &Request, spec: &Spec, is_self: bool) -> Vec<FieldError> {
        let path = Path::root("spec");
        let mut errors = Vec::new();
        if spec.resource_attributes.is_some() == spec.non_resource_attributes.is_some() {
            let detail = if spec.resource_attributes.is_some() {
                "cannot be specified in combination with nonResourceAttributes"
            } else {
                "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            };
            let value = FieldValue::json(&spec.resource_attributes);
            errors.push(FieldError::invalid(
                &path.child("resourceAttributes"),
                value,
                detail,
            ));
        }
        if !is_self && spec.user.is_empty() && spec.groups.is_empty() {
            let detail = "at least one of user or group must be specified";
            errors.push(FieldError::invalid(&path.child("user"), "", detail));
        }
        if std::ptr::eq(self.resource, &LOCALS) {
            let of_request = &request.info.namespace;
            let asked = spec.resource_attributes.as_ref();
            let namespace = asked
                .and_then(|asked| asked.namespace.clone())
                .unwrap_or_default();
            if asked.is_some() && namespace != *of_request {
                let path = path.child("resourceAttributes").child("namespace");
                errors.push(FieldError::invalid(
                    &path,
                    namespace.as_str(),
                    "must match metadata.namespace",
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

    fn create<'a>(&'a self, request: &'a Request, object: Value, _: WriteOptions) -> Reply<'a> {
        Box::pin(std::future::ready(self.answer(request, object)))
    }
}
