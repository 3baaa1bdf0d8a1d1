//! Answers whether a request is allowed, and words the refusal: [Authorization](https://kubernetes.io/docs/reference/access-authn-authz/authorization/).

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use imagestream_api::field::quoted;
use k8s_openapi::api::rbac::v1::PolicyRule;
use tokio::sync::broadcast;

use super::policy::{MissingRole, Policy};
use super::rules::{Attributes, Target, key, rule_allows};
use crate::authn::{UserInfo, user};

/// Changes that who listens may be behind.
const CHANGES: usize = 1024;

/// The answer to one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may proceed.
    pub allowed: bool,
    /// What allows it, or what kept a binding from being considered. May be empty.
    pub reason: String,
}

/// The rules that apply to a user in a namespace, and the roles that bindings refer to in vain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserRules {
    /// Each rule once, those of the cluster first.
    pub rules: Vec<PolicyRule>,
    /// Roles that aren't there: the rules may be incomplete.
    pub missing: Vec<MissingRole>,
}

/// Decides by the policy that it holds, which may change at any time.
#[derive(Debug)]
pub struct Authorizer {
    policy: RwLock<Policy>,
    changes: broadcast::Sender<String>,
}

impl Default for Authorizer {
    fn default() -> Self {
        Self::new(Policy::new())
    }
}

impl Authorizer {
    /// An authorizer for the policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy: RwLock::new(policy),
            changes: broadcast::Sender::new(CHANGES),
        }
    }

    /// Changes the policy; the next decision already follows it.
    pub fn update<T>(&self, change: impl FnOnce(&mut Policy) -> T) -> T {
        let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut policy);
        let touched = policy.take_touched();
        drop(policy);
        for namespace in touched {
            // Without anybody who listens there is nobody to tell.
            let _ = self.changes.send(namespace);
        }
        changed
    }

    /// Tells from now on in which namespaces roles or bindings were written; the empty one stands for the cluster. They are
    /// in force by then. Who does not listen for long misses some, and is told so.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<String> {
        self.changes.subscribe()
    }

    /// Reads from the policy.
    pub fn read<T>(&self, read: impl FnOnce(&Policy) -> T) -> T {
        read(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Decides. Members of `system:masters` may do everything.
    #[must_use]
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_member_of(user::MASTERS) {
            return Decision {
                allowed: true,
                reason: String::new(),
            };
        }
        self.read(|policy| decide(policy, attributes))
    }

    /// Whether this is allowed, or was so while what has changed since was as `earlier` has it. Not for decisions on requests:
    /// what was changed twice, or is allowed only by what is there now and what was there before together, counts, too.
    #[must_use]
    pub fn allows_or_did(&self, earlier: &Policy, attributes: &Attributes<'_>) -> bool {
        let (user, namespace) = (attributes.user, attributes.target.namespace());
        if user.is_member_of(user::MASTERS) {
            return true;
        }
        self.read(|policy| {
            let policies = [policy, earlier];
            let mut bindings = policies
                .into_iter()
                .flat_map(|policy| policy.bindings_of(user, namespace));
            bindings.any(|binding| {
                let rules = policies
                    .into_iter()
                    .filter_map(|policy| policy.rules_of(binding.role(), binding.namespace()).ok());
                rules
                    .flatten()
                    .any(|rule| rule_allows(rule, attributes.verb, &attributes.target))
            })
        })
    }

    /// All rules that apply to the user in the namespace; with an empty one, in the whole cluster.
    ///
    /// A member of `system:masters` has no rules by that: ask [`authorize`](Self::authorize) about it.
    #[must_use]
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> UserRules {
        self.read(|policy| {
            let mut found = UserRules::default();
            let mut seen = HashSet::new();
            for binding in policy.bindings_of(user, namespace) {
                match policy.rules_of(binding.role(), binding.namespace()) {
                    Ok(rules) => {
                        for rule in rules {
                            if seen.insert(key(rule)) {
                                found.rules.push(rule.clone());
                            }
                        }
                    }
                    Err(missing) if !found.missing.contains(&missing) => found.missing.push(missing),
                    Err(_) => {}
                }
            }
            found
        })
    }
}

fn decide(policy: &Policy, attributes: &Attributes<'_>) -> Decision {
    let mut missing: Vec<String> = Vec::new();
    for binding in policy.bindings_of(attributes.user, attributes.target.namespace()) {
        match policy.rules_of(binding.role(), binding.namespace()) {
            Ok(rules)
                if rules
                    .iter()
                    .any(|rule| rule_allows(rule, attributes.verb, &attributes.target)) =>
            {
                let reason = format!("RBAC: allowed by {}", binding.describe(attributes.user));
                return Decision {
                    allowed: true,
                    reason,
                };
            }
            Ok(_) => {}
            Err(error) => {
                let error = error.to_string();
                if !missing.contains(&error) {
                    missing.push(error);
                }
            }
        }
    }
    let reason = match missing.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        several => format!("RBAC: [{}]", several.join(", ")),
    };
    Decision {
        allowed: false,
        reason,
    }
}

/// What the user may not do, and why: the inner part of the message that refuses the request.
///
/// It says nothing that the request didn't say, other than the roles that are referred to but missing.
#[must_use]
pub fn refusal(attributes: &Attributes<'_>, reason: &str) -> String {
    let user = quoted(&attributes.user.name);
    let verb = attributes.verb;
    let mut text = match attributes.target {
        Target::Path(path) => format!("User {user} cannot {verb} path {}", quoted(path)),
        Target::Resource {
            group,
            resource,
            subresource,
            namespace,
            ..
        } => {
            let slash = if subresource.is_empty() { "" } else { "/" };
            let resource = quoted(&format!("{resource}{slash}{subresource}"));
            let group = quoted(group);
            let scope = match namespace {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {}", quoted(namespace)),
            };
            format!("User {user} cannot {verb} resource {resource} in API group {group} {scope}")
        }
    };
    if !reason.is_empty() {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

/// The whole message of the `Forbidden` status for a refused request, in the words that clients know.
#[must_use]
pub fn forbidden_message(attributes: &Attributes<'_>, reason: &str) -> String {
    let refusal = refusal(attributes, reason);
    match attributes.target {
        Target::Path(_) => format!("forbidden: {refusal}"),
        Target::Resource {
            group,
            resource,
            name,
            ..
        } => {
            let dot = if group.is_empty() { "" } else { "." };
            let named = if name.is_empty() {
                String::new()
            } else {
                format!(" {}", quoted(name))
            };
            format!("{resource}{dot}{group}{named} is forbidden: {refusal}")
        }
    }
}

#[cfg(test)]
mod tests;
