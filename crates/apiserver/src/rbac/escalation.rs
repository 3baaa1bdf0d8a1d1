//! Nobody hands out more than they hold: [Privilege escalation prevention and bootstrapping](https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping).

use std::collections::{BTreeMap, BTreeSet};

use imagestream_api::field::quoted;
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef};

use super::GROUP;
use super::authorizer::Authorizer;
use super::policy::MissingRole;
use super::rules::{Attributes, Target, has, has_or_all, key, list, path_matches};
use crate::authn::UserInfo;

/// The most single permissions that one check takes apart. Real roles have some thousands at most; the
/// lists of a rule multiply, so that a small body could otherwise ask for billions.
const MAX_PERMISSIONS: usize = 50_000;

/// The most comparisons of two texts for one check. Whoever holds very many rules could otherwise ask about very many and
/// keep the server busy for minutes.
const MAX_COMPARISONS: usize = 100_000_000;

/// Why a role or binding may not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscalationError {
    /// The user doesn't hold all of it. The text is the inner part of a `Forbidden` status.
    #[error("{0}")]
    NotHeld(String),
    /// A role that gathers its rules may gather anything, so that only an administrator may write one.
    #[error("must have cluster-admin privileges to use the aggregationRule")]
    Aggregation,
    /// The rules multiply to more permissions than are checked one by one, or those to more than are compared with all
    /// that the user holds.
    #[error("the rules name too many single permissions to be checked; use \"*\" or split the role")]
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
    let mut held = Held::new(held);
    let mut missing = Vec::new();
    let mut checked = 0_usize;
    for rule in wanted {
        if held.covers(rule)? {
            continue;
        }
        checked = checked.saturating_add(permissions_in(rule));
        if checked > MAX_PERMISSIONS {
            return Err(EscalationError::TooBroad);
        }
        for one in take_apart(rule) {
            if !held.covers(&one)? {
                missing.push(one);
            }
        }
    }
    Ok(missing)
}

/// Rules that somebody holds, with how many texts are in each, and how many more may be compared.
struct Held<'a> {
    rules: Vec<(&'a PolicyRule, usize)>,
    left: usize,
}

impl<'a> Held<'a> {
    fn new(rules: &'a [PolicyRule]) -> Self {
        Self {
            rules: rules.iter().map(|rule| (rule, texts_in(rule))).collect(),
            left: MAX_COMPARISONS,
        }
    }

    /// Whether one of them grants all that `wanted` does.
    fn covers(&mut self, wanted: &PolicyRule) -> Result<bool, EscalationError> {
        let texts = texts_in(wanted);
        for (own, own_texts) in &self.rules {
            let comparisons = own_texts.saturating_mul(texts);
            self.left = self
                .left
                .checked_sub(comparisons)
                .ok_or(EscalationError::TooBroad)?;
            if covers(own, wanted) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// How many texts are in a rule.
fn texts_in(rule: &PolicyRule) -> usize {
    let (lists, verbs) = key(rule);
    verbs.len() + lists.into_iter().flatten().map(Vec::len).sum::<usize>()
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
mod tests;
