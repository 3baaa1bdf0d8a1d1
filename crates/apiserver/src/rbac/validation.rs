//! What an object of the RBAC group must look like: see the fields of [ClusterRole](https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/cluster-role-v1/) and [RoleBinding](https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/role-binding-v1/).

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::GROUP;
use super::policy::Object;
use super::rules::list;
use crate::storage::segment_mistakes;
use imagestream_api::field::{FieldError, FieldValue, Path};

/// Fills in what an object may leave out: the API groups of role references and subjects.
pub fn set_defaults(object: &mut Object) {
    let (role, subjects) = match object {
        Object::Role(_) | Object::ClusterRole(_) => return,
        Object::RoleBinding(binding) => (&mut binding.role_ref, &mut binding.subjects),
        Object::ClusterRoleBinding(binding) => (&mut binding.role_ref, &mut binding.subjects),
    };
    if role.api_group.is_empty() {
        GROUP.clone_into(&mut role.api_group);
    }
    for subject in subjects.iter_mut().flatten() {
        let group = subject.api_group.get_or_insert_default();
        if group.is_empty() && matches!(subject.kind.as_str(), "User" | "Group") {
            GROUP.clone_into(group);
        }
    }
}

/// All mistakes in an object whose defaults are set. The metadata is for the caller to check.
#[must_use]
pub fn validate(object: &Object) -> Vec<FieldError> {
    let mut errors = Errors::default();
    match object {
        Object::Role(role) => errors.rules(role.rules.as_deref(), true),
        Object::ClusterRole(role) => {
            errors.rules(role.rules.as_deref(), false);
            if let Some(aggregation) = &role.aggregation_rule {
                errors.selectors(aggregation.cluster_role_selectors.as_deref().unwrap_or_default());
            }
        }
        Object::RoleBinding(binding) => {
            errors.role_ref(&binding.role_ref, &["ClusterRole", "Role"]);
            errors.subjects(binding.subjects.as_deref(), true);
        }
        Object::ClusterRoleBinding(binding) => {
            errors.role_ref(&binding.role_ref, &["ClusterRole"]);
            errors.subjects(binding.subjects.as_deref(), false);
        }
    }
    errors.0
}

/// Why a name can't be a role's or a binding's, if it can't: it has to fit into a path of the API.
#[must_use]
pub fn name_error(name: &str) -> Option<&'static str> {
    segment_mistakes(name).first().copied()
}

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn rules(&mut self, rules: Option<&[PolicyRule]>, namespaced: bool) {
        let path = Path::root("rules");
        for (index, rule) in rules.unwrap_or_default().iter().enumerate() {
            self.rule(&path.index(index), rule, namespaced);
        }
    }

    fn rule(&mut self, path: &Path, rule: &PolicyRule, namespaced: bool) {
        let mut required = |field: &str, detail: &str| {
            self.0.push(FieldError::required(&path.child(field), detail));
        };
        if rule.verbs.is_empty() {
            required("verbs", "verbs must contain at least one value");
        }
        let urls = list(&rule.non_resource_urls);
        if urls.is_empty() {
            if list(&rule.api_groups).is_empty() {
                required("apiGroups", "resource rules must supply at least one api group");
            }
            if list(&rule.resources).is_empty() {
                required("resources", "resource rules must supply at least one resource");
            }
            return;
        }
        let path = path.child("nonResourceURLs");
        let mut invalid = |detail: &str| {
            self.0
                .push(FieldError::invalid(&path, FieldValue::json(&urls), detail));
        };
        if namespaced {
            invalid("namespaced rules cannot apply to non-resource URLs");
        }
        if [&rule.api_groups, &rule.resources, &rule.resource_names]
            .iter()
            .any(|values| !list(values).is_empty())
        {
            invalid("rules cannot apply to both regular resources and non-resource URLs");
        }
    }

    fn selectors(&mut self, selectors: &[LabelSelector]) {
        let path = Path::root("aggregationRule").child("clusterRoleSelectors");
        if selectors.is_empty() {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            self.0.push(FieldError::required(&path, detail));
        }
        for (index, selector) in selectors.iter().enumerate() {
            for (at, requirement) in selector.match_expressions.iter().flatten().enumerate() {
                let path = path.index(index).child("matchExpressions").index(at);
                let has_values = !list(&requirement.values).is_empty();
                let error = match requirement.operator.as_str() {
                    "In" | "NotIn" if has_values => continue,
                    "Exists" | "DoesNotExist" if !has_values => continue,
                    "In" | "NotIn" => FieldError::required(
                        &path.child("values"),
                        "must be specified when `operator` is 'In' or 'NotIn'",
                    ),
                    "Exists" | "DoesNotExist" => FieldError::forbidden(
                        &path.child("values"),
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    ),
                    other => {
                        FieldError::invalid(&path.child("operator"), other, "not a valid selector operator")
                    }
                };
                self.0.push(error);
            }
        }
    }

    fn role_ref(&mut self, role: &RoleRef, kinds: &[&str]) {
        let path = Path::root("roleRef");
        if role.api_group != GROUP {
            self.0.push(FieldError::not_supported(
                &path.child("apiGroup"),
                role.api_group.as_str(),
                &[GROUP],
            ));
        }
        if !kinds.contains(&role.kind.as_str()) {
            self.0.push(FieldError::not_supported(
                &path.child("kind"),
                role.kind.as_str(),
                kinds,
            ));
        }
        if role.name.is_empty() {
            self.0.push(FieldError::required(&path.child("name"), ""));
        } else if let Some(mistake) = name_error(&role.name) {
            self.0.push(FieldError::invalid(
                &path.child("name"),
                role.name.as_str(),
                mistake,
            ));
        }
    }

    fn subjects(&mut self, subjects: Option<&[Subject]>, namespaced: bool) {
        for (index, subject) in subjects.unwrap_or_default().iter().enumerate() {
            let path = Path::root("subjects").index(index);
            if subject.name.is_empty() {
                self.0.push(FieldError::required(&path.child("name"), ""));
            }
            let expected_group = match subject.kind.as_str() {
                "ServiceAccount" => "",
                "User" | "Group" => GROUP,
                other => {
                    let kinds = ["Group", "ServiceAccount", "User"];
                    self.0
                        .push(FieldError::not_supported(&path.child("kind"), other, &kinds));
                    continue;
                }
            };
            let group = subject.api_group.as_deref().unwrap_or_default();
            if group != expected_group {
                self.0.push(FieldError::not_supported(
                    &path.child("apiGroup"),
                    group,
                    &[expected_group],
                ));
            }
            let in_no_namespace = subject.namespace.as_deref().unwrap_or_default().is_empty();
            if subject.kind == "ServiceAccount" && !namespaced && in_no_namespace {
                self.0.push(FieldError::required(&path.child("namespace"), ""));
            }
        }
    }
}
