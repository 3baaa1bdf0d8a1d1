//! The rules that a cluster role gathers from others by their labels: see "[Aggregated ClusterRoles](https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles)".

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use k8s_openapi::api::rbac::v1::PolicyRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::rules::key;

/// The parts of a cluster role that aggregation reads.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) labels: Option<&'a BTreeMap<String, String>>,
    pub(super) rules: &'a [PolicyRule],
    /// Present where the role gathers its rules instead of bringing its own.
    pub(super) selectors: Option<&'a [LabelSelector]>,
}

/// Gathers the rules of one cluster role from all cluster roles by name, each rule once.
///
/// Roles that gather themselves are followed, each once, so that a circle of roles ends.
pub(super) fn gather(root: &str, roles: &BTreeMap<&str, Candidate<'_>>) -> Vec<PolicyRule> {
    let mut gathered: Vec<PolicyRule> = Vec::new();
    let mut known = HashSet::new();
    let mut seen = BTreeSet::from([root]);
    let mut pending: VecDeque<_> = roles
        .get(root)
        .and_then(|role| role.selectors)
        .into_iter()
        .collect();
    while let Some(selectors) = pending.pop_front() {
        for selector in selectors {
            for (name, role) in roles {
                if seen.contains(name) || !selects(selector, role.labels) {
                    continue;
                }
                seen.insert(name);
                match role.selectors {
                    Some(further) => pending.push_back(further),
                    None => {
                        for rule in role.rules {
                            if known.insert(key(rule)) {
                                gathered.push(rule.clone());
                            }
                        }
                    }
                }
            }
        }
    }
    gathered
}

/// Whether labels fulfil every requirement. An operator that isn't known is fulfilled by nothing: what
/// can't be understood must not grant anything.
fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value_of = |key: &str| labels.and_then(|labels| labels.get(key));
    let labels_match = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, wanted)| value_of(key).is_some_and(|own| own == wanted));
    labels_match
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let own = value_of(&requirement.key);
            let listed = |own: &String| requirement.values.iter().flatten().any(|value| value == own);
            match requirement.operator.as_str() {
                "In" => own.is_some_and(listed),
                "NotIn" => !own.is_some_and(listed),
                "Exists" => own.is_some(),
                "DoesNotExist" => own.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect()
    }

    fn requirement(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: key.into(),
                operator: operator.into(),
                values: Some(values.iter().map(ToString::to_string).collect()),
            }]),
            match_labels: None,
        }
    }

    #[test]
    fn selectors_match_labels_as_documented() {
        let own = labels(&[("a", "1"), ("b", "")]);
        let by_label = |key, value| LabelSelector {
            match_labels: Some(labels(&[(key, value)])),
            match_expressions: None,
        };
        for (selector, expected) in [
            (LabelSelector::default(), true),
            (by_label("a", "1"), true),
            (by_label("a", "2"), false),
            (by_label("c", "1"), false),
            (requirement("a", "In", &["0", "1"]), true),
            (requirement("a", "In", &["0"]), false),
            (requirement("c", "In", &["0"]), false),
            (requirement("a", "NotIn", &["1"]), false),
            (requirement("a", "NotIn", &["0"]), true),
            (requirement("c", "NotIn", &["1"]), true),
            (requirement("b", "Exists", &[]), true),
            (requirement("c", "Exists", &[]), false),
            (requirement("b", "DoesNotExist", &[]), false),
            (requirement("c", "DoesNotExist", &[]), true),
            (requirement("a", "Gt", &["0"]), false),
        ] {
            assert_eq!(selects(&selector, Some(&own)), expected, "{selector:?}");
        }
        assert!(!selects(&requirement("a", "Exists", &[]), None));
    }

    fn rule(verb: &str) -> PolicyRule {
        PolicyRule {
            verbs: vec![verb.into()],
            ..PolicyRule::default()
        }
    }

    #[test]
    fn roles_gather_through_other_gathering_roles_and_circles_end() {
        let (to_edit, to_admin) = (
            labels(&[("to-edit", "")]),
            labels(&[("to-admin", ""), ("to-edit", "")]),
        );
        let edit_selector = [requirement("to-edit", "Exists", &[])];
        let admin_selector = [requirement("to-admin", "Exists", &[])];
        let (get, list, own) = ([rule("get")], [rule("list"), rule("get")], [rule("own")]);
        let roles = BTreeMap::from([
            (
                "reader",
                Candidate {
                    labels: Some(&to_edit),
                    rules: &get,
                    selectors: None,
                },
            ),
            (
                "lister",
                Candidate {
                    labels: Some(&to_edit),
                    rules: &list,
                    selectors: None,
                },
            ),
            // Gathers everything for editors, is itself gathered by admin and, in a circle, by editors.
            (
                "edit",
                Candidate {
                    labels: Some(&to_admin),
                    rules: &own,
                    selectors: Some(&edit_selector),
                },
            ),
            (
                "admin",
                Candidate {
                    labels: Some(&to_edit),
                    rules: &own,
                    selectors: Some(&admin_selector),
                },
            ),
            (
                "other",
                Candidate {
                    labels: None,
                    rules: &own,
                    selectors: None,
                },
            ),
        ]);
        assert_eq!(gather("admin", &roles), [rule("list"), rule("get")]);
        assert_eq!(gather("edit", &roles), [rule("list"), rule("get")]);
        assert_eq!(gather("missing", &roles), []);
    }
}
