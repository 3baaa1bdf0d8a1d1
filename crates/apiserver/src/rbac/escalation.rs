//! Nobody hands out more than they hold: [Privilege escalation prevention and bootstrapping](https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping).

use std::collections::{BTreeMap, BTreeSet};

use imagestream_api::field::quoted;
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef};

use super::GROUP;
use super::authorizer::Authorizer;
use super::policy::MissingRole;
use super::rules::{Attributes, Target, has, has_or_all, list, path_matches};
use crate::authn::UserInfo;

/// The most single permissions that one check takes apart. Real roles have some thousands at most; the
/// lists of a rule multiply, so that a small body could otherwise ask for billions.
const MAX_PERMISSIONS: usize = 50_000;

/// Why a role or binding may not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscalationError {
    /// The user doesn't hold all of it. The text is the inner part of a `Forbidden` status.
    #[error("{0}")]
    NotHeld(String),
    /// A role that gathers its rules may gather anything, so that only an administrator may write one.
    #[error("must have cluster-admin privileges to use the aggregationRule")]
    Aggregation,
    /// The rules multiply to more permissions than are checked one by one.
    #[error("the rules name more than {MAX_PERMISSIONS} single permissions; use \"*\" or split the role")]
    TooBroad,
    /// The role that a binding refers to isn't there, so that nobody knows what is granted.
    #[error(transparent)]
    MissingRole(#[from] MissingRole),
}

/// A role as somebody wants to write it.
#[derive(Clone, Copy, Debug)]
pub struct RoleGrant<'a> {
    /// Empty for a cluster role.
    pub namespace: &'a str,
    /// The role's name; empty while it isn't generated yet.
    pub name: &'a str,
    /// The role's own rules.
    pub rules: &'a [PolicyRule],
    /// Whether it gathers rules by label.
    pub aggregates: bool,
}

impl Authorizer {
    /// Whether the user may write the role: they hold its rules, or the verb `escalate` on the role.
    ///
    /// A change that leaves rules and aggregation as they are grants nothing and needs no check.
    ///
    /// # Errors
    /// They may not.
    pub fn may_grant_role(&self, user: &UserInfo, role: RoleGrant<'_>) -> Result<(), EscalationError> {
        let resource = if role.namespace.is_empty() {
            "clusterroles"
        } else {
            "roles"
        };
        if self.is_exempt(user, "escalate", resource, role.namespace, role.name) {
            return Ok(());
        }
        self.confirm_held(user, role.namespace, role.rules)?;
        if role.aggregates && self.confirm_held(user, role.namespace, &everything()).is_err() {
            return Err(EscalationError::Aggregation);
        }
        Ok(())
    }

    /// Whether the user may write a binding to the role in the namespace (empty for a cluster role binding):
    /// they hold the rules of the role there, or the verb `bind` on the role.
    ///
    /// # Errors
    /// They may not, or the role isn't there.
    pub fn may_bind_role(
        &self,
        user: &UserInfo,
        namespace: &str,
        role: &RoleRef,
    ) -> Result<(), EscalationError> {
        let resource = if role.kind == "Role" {
            "roles"
        } else {
            "clusterroles"
        };
        if self.is_exempt(user, "bind", resource, namespace, &role.name) {
            return Ok(());
        }
        let rules = self.read(|policy| policy.rules_of(role, namespace).map(<[_]>::to_vec))?;
        self.confirm_held(user, namespace, &rules)
    }

    fn is_exempt(&self, user: &UserInfo, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let target = Target::Resource {
            group: GROUP,
            resource,
            subresource: "",
            namespace,
            name,
        };
        self.authorize(&Attributes { user, verb, target }).allowed
    }

    fn confirm_held(
        &self,
        user: &UserInfo,
        namespace: &str,
        rules: &[PolicyRule],
    ) -> Result<(), EscalationError> {
        let held = self.rules_for(user, namespace);
        let not_held = uncovered(&held.rules, rules)?;
        if not_held.is_empty() {
            return Ok(());
        }
        let descriptions: BTreeSet<String> = compact(not_held).iter().map(description).collect();
        let descriptions = Vec::from_iter(descriptions).join("\n");
        let mut message = format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{descriptions}",
            quoted(&user.name),
            quoted_list(&user.groups)
        );
        if !held.missing.is_empty() {
            let missing: Vec<String> = held.missing.iter().map(ToString::to_string).collect();
            message.push_str(&format!("; resolution errors: [{}]", missing.join(" ")));
        }
        Err(EscalationError::NotHeld(message))
    }
}

fn everything() -> [PolicyRule; 2] {
    let all = || Some(vec!["*".to_owned()]);
    let verbs = || vec!["*".to_owned()];
    [
        PolicyRule {
            verbs: verbs(),
            api_groups: all(),
            resources: all(),
            ..PolicyRule::default()
        },
        PolicyRule {
            verbs: verbs(),
            non_resource_urls: all(),
            ..PolicyRule::default()
        },
    ]
}

/// The single permissions of `wanted` that no rule of `held` covers.
fn uncovered(held: &[PolicyRule], wanted: &[PolicyRule]) -> Result<Vec<PolicyRule>, EscalationError> {
    let mut missing = Vec::new();
    let mut checked = 0_usize;
    for rule in wanted {
        if held.iter().any(|own| covers(own, rule)) {
            continue;
        }
        checked = checked.saturating_add(permissions_in(rule));
        if checked > MAX_PERMISSIONS {
            return Err(EscalationError::TooBroad);
        }
        missing.extend(take_apart(rule).filter(|one| !held.iter().any(|own| covers(own, one))));
    }
    Ok(missing)
}

/// How many single permissions a rule stands for.
fn permissions_in(rule: &PolicyRule) -> usize {
    let verbs = rule.verbs.len();
    let on_resources = [
        list(&rule.api_groups).len(),
        list(&rule.resources).len(),
        names(rule).len(),
    ]
    .into_iter()
    .fold(verbs, usize::saturating_mul);
    on_resources.saturating_add(verbs.saturating_mul(list(&rule.non_resource_urls).len()))
}

/// The names of a rule as alternatives: one by one, or "any" where it lists none.
fn names(rule: &PolicyRule) -> Vec<Option<Vec<String>>> {
    match list(&rule.resource_names) {
        [] => vec![None],
        names => names.iter().map(|name| Some(vec![name.clone()])).collect(),
    }
}

fn take_apart(rule: &PolicyRule) -> impl Iterator<Item = PolicyRule> {
    let names = names(rule);
    let on_resources = list(&rule.api_groups).iter().flat_map(move |group| {
        let names = names.clone();
        list(&rule.resources).iter().flat_map(move |resource| {
            let names = names.clone();
            rule.verbs.iter().flat_map(move |verb| {
                names.clone().into_iter().map(move |resource_names| PolicyRule {
                    api_groups: Some(vec![group.clone()]),
                    non_resource_urls: None,
                    resource_names,
                    resources: Some(vec![resource.clone()]),
                    verbs: vec![verb.clone()],
                })
            })
        })
    });
    let on_paths = list(&rule.non_resource_urls).iter().flat_map(|path| {
        rule.verbs.iter().map(|verb| PolicyRule {
            non_resource_urls: Some(vec![path.clone()]),
            verbs: vec![verb.clone()],
            ..PolicyRule::default()
        })
    });
    on_resources.chain(on_paths)
}

/// Whether one rule grants all that another does.
fn covers(held: &PolicyRule, wanted: &PolicyRule) -> bool {
    let wanted_names = list(&wanted.resource_names);
    let held_names = list(&held.resource_names);
    let names_covered = held_names.is_empty()
        || (!wanted_names.is_empty() && wanted_names.iter().all(|name| has(held_names, name)));
    names_covered
        && wanted.verbs.iter().all(|verb| has_or_all(&held.verbs, verb))
        && list(&wanted.api_groups)
            .iter()
            .all(|group| has_or_all(list(&held.api_groups), group))
        && list(&wanted.resources)
            .iter()
            .all(|resource| resource_covered(list(&held.resources), resource))
        && list(&wanted.non_resource_urls).iter().all(|path| {
            list(&held.non_resource_urls)
                .iter()
                .any(|own| path_matches(own, path))
        })
}

fn resource_covered(held: &[String], wanted: &str) -> bool {
    has_or_all(held, wanted)
        || wanted.split_once('/').is_some_and(|(_, subresource)| {
            held.iter()
                .any(|own| own.strip_prefix("*/").is_some_and(|own| own == subresource))
        })
}

/// Joins permissions on one resource (and name), so that a message shows `Verbs:["get" "list"]` once.
/// Paths stay apart, as they do in Kubernetes.
fn compact(permissions: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let (paths, on_resources): (Vec<_>, Vec<_>) = permissions
        .into_iter()
        .partition(|permission| permission.non_resource_urls.is_some());
    let mut by_target: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for one in on_resources {
        let verbs = by_target
            .entry((one.api_groups, one.resources, one.resource_names))
            .or_default();
        for verb in one.verbs {
            if !verbs.contains(&verb) {
                verbs.push(verb);
            }
        }
    }
    let joined = by_target
        .into_iter()
        .map(|((api_groups, resources, resource_names), verbs)| PolicyRule {
            api_groups,
            non_resource_urls: None,
            resource_names,
            resources,
            verbs,
        });
    joined.chain(paths).collect()
}

/// A rule on one line, as Kubernetes shows it: `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`.
fn description(rule: &PolicyRule) -> String {
    let parts: Vec<String> = [
        ("APIGroups", list(&rule.api_groups)),
        ("Resources", list(&rule.resources)),
        ("NonResourceURLs", list(&rule.non_resource_urls)),
        ("ResourceNames", list(&rule.resource_names)),
        ("Verbs", &rule.verbs),
    ]
    .into_iter()
    .filter(|(_, values)| !values.is_empty())
    .map(|(name, values)| format!("{name}:{}", quoted_list(values)))
    .collect();
    format!("{{{}}}", parts.join(", "))
}

fn quoted_list(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    format!("[{}]", values.join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rbac::Policy;
    use crate::rbac::load::load;
    use crate::rbac::policy::Origin;
    use crate::rbac::rules::rule_allows;

    fn rule(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> PolicyRule {
        let strings = |values: &[&str]| -> Vec<String> { values.iter().map(ToString::to_string).collect() };
        PolicyRule {
            api_groups: Some(strings(groups)),
            resources: Some(strings(resources)),
            resource_names: Some(strings(names)),
            verbs: strings(verbs),
            non_resource_urls: None,
        }
    }

    fn paths(paths: &[&str], verbs: &[&str]) -> PolicyRule {
        PolicyRule {
            non_resource_urls: Some(paths.iter().map(ToString::to_string).collect()),
            ..rule(&[], &[], &[], verbs)
        }
    }

    fn ann(groups: &[&str]) -> UserInfo {
        UserInfo {
            name: "ann".into(),
            groups: groups.iter().map(ToString::to_string).collect(),
            ..UserInfo::default()
        }
    }

    /// An authorizer in which ann holds the given rules (as YAML) in the namespace n.
    fn ann_holds(rules: &str) -> Authorizer {
        let yaml = format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: anns, namespace: n}}\nrules: [{rules}]\n\
             ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: anns, namespace: n}}\n\
             roleRef: {{kind: Role, name: anns}}\nsubjects: [{{kind: User, name: ann}}]\n\
             ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: wide}}\n\
             rules: [{{apiGroups: [''], resources: [secrets], verbs: [get]}}]\n"
        );
        let mut policy = Policy::new();
        for object in load(&yaml).unwrap() {
            policy.put(object, Origin::Stored);
        }
        Authorizer::new(policy)
    }

    fn role_ref(kind: &str, name: &str) -> RoleRef {
        RoleRef {
            api_group: GROUP.into(),
            kind: kind.into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_role_may_hold_what_its_writer_holds_in_the_namespace_and_no_more() {
        let authorizer = ann_holds("{apiGroups: [''], resources: [secrets, pods], verbs: [get, list]}");
        let grant = |namespace, rules: &[PolicyRule]| {
            authorizer.may_grant_role(
                &ann(&["staff", "x"]),
                RoleGrant {
                    namespace,
                    name: "r",
                    rules,
                    aggregates: false,
                },
            )
        };
        assert_eq!(grant("n", &[rule(&[""], &["secrets"], &[], &["get"])]), Ok(()));
        assert_eq!(
            grant("n", &[rule(&[""], &["secrets"], &["a"], &["list"])]),
            Ok(())
        );
        assert_eq!(grant("n", &[]), Ok(()));
        let too_much = [
            rule(&["", "apps"], &["secrets"], &[], &["get", "delete", "list"]),
            rule(&[""], &["pods"], &["p"], &["update"]),
            paths(&["/x"], &["get"]),
        ];
        let text = "user \"ann\" (groups=[\"staff\" \"x\"]) is attempting to grant RBAC permissions not currently held:\n\
            {APIGroups:[\"\"], Resources:[\"pods\"], ResourceNames:[\"p\"], Verbs:[\"update\"]}\n\
            {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"delete\"]}\n\
            {APIGroups:[\"apps\"], Resources:[\"secrets\"], Verbs:[\"get\" \"delete\" \"list\"]}\n\
            {NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}";
        assert_eq!(grant("n", &too_much), Err(EscalationError::NotHeld(text.into())));
        assert!(
            grant("m", &[rule(&[""], &["secrets"], &[], &["get"])]).is_err(),
            "ann holds nothing there"
        );
        assert!(
            grant("", &[rule(&[""], &["secrets"], &[], &["get"])]).is_err(),
            "nor in the cluster"
        );
    }

    #[test]
    fn escalate_and_masters_may_grant_anything_and_only_administrators_aggregate() {
        let escalate =
            format!("{{apiGroups: [{GROUP}], resources: [roles], resourceNames: [r], verbs: [escalate]}}");
        let authorizer = ann_holds(&escalate);
        let all = everything();
        let grant = |groups: &[&str], namespace, name, rules, aggregates| {
            authorizer.may_grant_role(
                &ann(groups),
                RoleGrant {
                    namespace,
                    name,
                    rules,
                    aggregates,
                },
            )
        };
        assert_eq!(grant(&[], "n", "r", &all, false), Ok(()));
        assert!(grant(&[], "n", "s", &all, false).is_err());
        assert!(grant(&[], "", "r", &all, false).is_err());
        assert_eq!(grant(&["system:masters"], "", "r", &all, true), Ok(()));
        assert_eq!(grant(&[], "", "r", &[], true), Err(EscalationError::Aggregation));
    }

    #[test]
    fn a_binding_needs_the_roles_rules_or_the_verb_bind() {
        let holder = ann_holds("{apiGroups: ['*'], resources: [secrets], verbs: ['*']}");
        assert_eq!(
            holder.may_bind_role(&ann(&[]), "n", &role_ref("ClusterRole", "wide")),
            Ok(())
        );
        assert!(
            holder
                .may_bind_role(&ann(&[]), "", &role_ref("ClusterRole", "wide"))
                .is_err()
        );

        let other = ann_holds("{apiGroups: [''], resources: [pods], verbs: ['*']}");
        let refused = other
            .may_bind_role(&ann(&[]), "n", &role_ref("ClusterRole", "wide"))
            .unwrap_err();
        assert!(
            refused
                .to_string()
                .ends_with(r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#)
        );
        assert_eq!(
            other
                .may_bind_role(&ann(&[]), "n", &role_ref("Role", "gone"))
                .unwrap_err()
                .to_string(),
            r#"role.rbac.authorization.k8s.io "gone" not found"#
        );

        let binder = ann_holds(&format!(
            "{{apiGroups: [{GROUP}], resources: [clusterroles], resourceNames: [wide, gone], verbs: [bind]}}"
        ));
        assert_eq!(
            binder.may_bind_role(&ann(&[]), "n", &role_ref("ClusterRole", "wide")),
            Ok(())
        );
        assert_eq!(
            binder.may_bind_role(&ann(&[]), "n", &role_ref("ClusterRole", "gone")),
            Ok(())
        );
        assert!(
            binder
                .may_bind_role(&ann(&[]), "n", &role_ref("Role", "anns"))
                .is_ok(),
            "her own role"
        );
    }

    #[test]
    fn rules_that_multiply_without_end_are_refused_at_once() {
        let many: Vec<String> = (0..600).map(|n| format!("x{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let wanted = rule(&many, &many, &many, &many);
        assert_eq!(
            uncovered(&[], std::slice::from_ref(&wanted)),
            Err(EscalationError::TooBroad)
        );
        let held = rule(&["*"], &["*"], &[], &["*"]);
        assert_eq!(uncovered(&[held], &[wanted]), Ok(vec![]));
    }

    fn some_of(values: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
        proptest::collection::vec(proptest::sample::select(values), 0..3)
    }

    fn any_rule(plain: bool) -> impl Strategy<Value = PolicyRule> {
        let pick = move |with: &'static [&'static str]| some_of(if plain { &with[1..] } else { with });
        let path = if plain {
            &["/a", "/a/b"][..]
        } else {
            &["*", "/a/*", "/a", "/a/b", "/*"][..]
        };
        prop_oneof![
            4 => (pick(&["*", "", "g"]), pick(&["*", "a", "a/s", "b/s"]), some_of(&["n", "m"]), pick(&["*", "get", "list"]))
                .prop_map(|(groups, resources, names, verbs)| rule(&groups, &resources, &names, &verbs)),
            1 => (some_of(&["*/s", "a"]), pick(&["*", "get"]))
                .prop_filter("wildcards only where wanted", move |(resources, _)| !plain || !resources.contains(&"*/s"))
                .prop_map(|(resources, verbs)| rule(&[""], &resources, &[], &verbs)),
            1 => (some_of(path), pick(&["*", "get"])).prop_map(|(urls, verbs)| paths(&urls, &verbs)),
        ]
    }

    /// Every request of a small world, with one value in each place that no rule names.
    fn requests() -> Vec<(&'static str, Target<'static>)> {
        let mut requests = Vec::new();
        for verb in ["get", "list", "other"] {
            for group in ["", "g", "other"] {
                for (resource, subresource) in
                    [("a", ""), ("a", "s"), ("b", "s"), ("other", ""), ("other", "s")]
                {
                    for name in ["", "n", "m", "other"] {
                        requests.push((
                            verb,
                            Target::Resource {
                                group,
                                resource,
                                subresource,
                                namespace: "",
                                name,
                            },
                        ));
                    }
                }
            }
            requests.extend(["/a", "/a/b", "/a/other", "/other"].map(|path| (verb, Target::Path(path))));
        }
        requests
    }

    fn allowed(rules: &[PolicyRule], (verb, target): &(&str, Target<'_>)) -> bool {
        rules.iter().any(|rule| rule_allows(rule, verb, target))
    }

    proptest! {
        #[test]
        fn what_counts_as_held_allows_nothing_new(
            held in proptest::collection::vec(any_rule(false), 0..4),
            wanted in proptest::collection::vec(any_rule(false), 0..3),
        ) {
            if uncovered(&held, &wanted).unwrap().is_empty() {
                for request in requests() {
                    prop_assert!(!allowed(&wanted, &request) || allowed(&held, &request), "{request:?}");
                }
            }
        }

        #[test]
        fn rules_without_wildcards_are_held_when_all_they_allow_is_allowed(
            held in proptest::collection::vec(any_rule(false), 0..4),
            wanted in proptest::collection::vec(any_rule(true), 0..3),
        ) {
            let nothing_new = requests().iter().all(|request| !allowed(&wanted, request) || allowed(&held, request));
            prop_assert_eq!(uncovered(&held, &wanted).unwrap().is_empty(), nothing_new);
        }
    }
}
