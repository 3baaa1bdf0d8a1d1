//! Answers whether a request is allowed, and words the refusal: [Authorization](https://kubernetes.io/docs/reference/access-authn-authz/authorization/).

use std::sync::{PoisonError, RwLock};

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::policy::{MissingRole, Policy};
use super::rules::{Attributes, Target, rule_allows};
use crate::authn::{UserInfo, user};
use crate::quote::Quoted;

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
#[derive(Debug, Default)]
pub struct Authorizer {
    policy: RwLock<Policy>,
}

impl Authorizer {
    /// An authorizer for the policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy: RwLock::new(policy),
        }
    }

    /// Changes the policy; the next decision already follows it.
    pub fn update<T>(&self, change: impl FnOnce(&mut Policy) -> T) -> T {
        change(&mut self.policy.write().unwrap_or_else(PoisonError::into_inner))
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

    /// All rules that apply to the user in the namespace; with an empty one, in the whole cluster.
    ///
    /// A member of `system:masters` has no rules by that: ask [`authorize`](Self::authorize) about it.
    #[must_use]
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> UserRules {
        self.read(|policy| {
            let mut found = UserRules::default();
            for binding in policy.bindings_of(user, namespace) {
                match policy.rules_of(binding.role(), binding.namespace()) {
                    Ok(rules) => {
                        for rule in rules {
                            if !found.rules.contains(rule) {
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

/// The message of the `Forbidden` status for a refused request, in the words that clients know.
///
/// It says nothing that the request didn't say, other than the roles that are referred to but missing.
#[must_use]
pub fn forbidden_message(attributes: &Attributes<'_>, reason: &str) -> String {
    let user = Quoted(&attributes.user.name);
    let verb = attributes.verb;
    let mut message = match attributes.target {
        Target::Path(path) => format!("forbidden: User {user} cannot {verb} path {}", Quoted(path)),
        Target::Resource {
            group,
            resource,
            subresource,
            namespace,
            name,
        } => {
            let qualified = if group.is_empty() {
                resource.to_owned()
            } else {
                format!("{resource}.{group}")
            };
            let named = if name.is_empty() {
                String::new()
            } else {
                format!(" {}", Quoted(name))
            };
            let combined = if subresource.is_empty() {
                resource.to_owned()
            } else {
                format!("{resource}/{subresource}")
            };
            let scope = if namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {}", Quoted(namespace))
            };
            format!(
                "{qualified}{named} is forbidden: User {user} cannot {verb} resource {} in API group {} {scope}",
                Quoted(&combined),
                Quoted(group)
            )
        }
    };
    if !reason.is_empty() {
        message.push_str(": ");
        message.push_str(reason);
    }
    message
}
