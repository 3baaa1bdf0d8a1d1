//! What a policy rule allows: see "[Referring to resources](https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources)".

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::authn::UserInfo;

/// What somebody wants to do: the question that an authorizer answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// `get`, `list`, `create`…, in lower case; for a path, the HTTP method in lower case.
    pub verb: &'a str,
    /// What it is done to.
    pub target: Target<'a>,
}

/// What a request is about: an API resource, or another path of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A resource of the API. Parts that the request doesn't name are empty.
    Resource {
        /// The API group; empty for the core group.
        group: &'a str,
        /// The plural name of the resource.
        resource: &'a str,
        /// The subresource.
        subresource: &'a str,
        /// The namespace; empty for the cluster scope and for all namespaces.
        namespace: &'a str,
        /// The object's name; empty for collections.
        name: &'a str,
    },
    /// A path outside the API resources, such as `/healthz`.
    Path(&'a str),
}

impl Target<'_> {
    /// The namespace that the request is about; empty for the cluster scope.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self {
            Self::Resource { namespace, .. } => namespace,
            Self::Path(_) => "",
        }
    }
}

/// Whether one rule alone allows the verb on the target. Where the rule applies is its binding's matter.
///
/// A rule on `pods` doesn't reach `pods/log`; `*` reaches everything; `*/scale` reaches that subresource of
/// every resource. `pods/*` is no pattern in Kubernetes, so it is none here: it would grant more than the
/// same rule grants there.
#[must_use]
pub fn rule_allows(rule: &PolicyRule, verb: &str, target: &Target<'_>) -> bool {
    if !has_or_all(&rule.verbs, verb) {
        return false;
    }
    match *target {
        Target::Resource {
            group,
            resource,
            subresource,
            name,
            ..
        } => {
            has_or_all(list(&rule.api_groups), group)
                && list(&rule.resources)
                    .iter()
                    .any(|granted| resource_matches(granted, resource, subresource))
                && name_matches(list(&rule.resource_names), name)
        }
        Target::Path(path) => list(&rule.non_resource_urls)
            .iter()
            .any(|granted| path_matches(granted, path)),
    }
}

/// All that there is in a rule, by which equal ones are found among many.
pub(super) type RuleKey<'a> = ([&'a Option<Vec<String>>; 4], &'a [String]);

/// The key of a rule.
pub(super) fn key(rule: &PolicyRule) -> RuleKey<'_> {
    let lists = [
        &rule.api_groups,
        &rule.resources,
        &rule.resource_names,
        &rule.non_resource_urls,
    ];
    (lists, &rule.verbs)
}

/// A list that may be absent, which means the same as empty.
pub(super) fn list(values: &Option<Vec<String>>) -> &[String] {
    values.as_deref().unwrap_or_default()
}

pub(super) fn has(values: &[String], wanted: &str) -> bool {
    values.iter().any(|value| value == wanted)
}

pub(super) fn has_or_all(values: &[String], wanted: &str) -> bool {
    values.iter().any(|value| value == "*" || value == wanted)
}

fn resource_matches(granted: &str, resource: &str, subresource: &str) -> bool {
    if granted == "*" {
        return true;
    }
    if subresource.is_empty() {
        return granted == resource;
    }
    matches!(granted.split_once('/'), Some((base, rest)) if rest == subresource && (base == "*" || base == resource))
}

fn name_matches(granted: &[String], name: &str) -> bool {
    granted.is_empty() || has(granted, name)
}

/// Whether a granted path, possibly with a `*` at its end, covers another path or pattern.
pub(super) fn path_matches(granted: &str, path: &str) -> bool {
    granted == "*"
        || granted == path
        || (granted.ends_with('*') && path.starts_with(granted.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn strings(values: &[&str]) -> Option<Vec<String>> {
        (!values.is_empty()).then(|| values.iter().map(ToString::to_string).collect())
    }

    fn resource_rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> PolicyRule {
        PolicyRule {
            api_groups: strings(groups),
            non_resource_urls: None,
            resource_names: strings(names),
            resources: strings(resources),
            verbs: strings(verbs).unwrap_or_default(),
        }
    }

    fn resource<'a>(group: &'a str, combined: &'a str, name: &'a str) -> Target<'a> {
        let (resource, subresource) = combined.split_once('/').unwrap_or((combined, ""));
        Target::Resource {
            group,
            resource,
            subresource,
            namespace: "ns",
            name,
        }
    }

    #[test]
    fn resource_rules_allow_what_the_documentation_says() {
        let all = resource_rule(&["*"], &["*"], &["*"], &[]);
        let pods = resource_rule(&["get", "list"], &[""], &["pods"], &[]);
        let log = resource_rule(&["get"], &[""], &["pods/log"], &[]);
        let scale = resource_rule(&["update"], &["apps", "x"], &["*/scale"], &[]);
        let slash_star = resource_rule(&["get"], &[""], &["pods/*"], &[]);
        let named = resource_rule(&["get", "list", "create"], &[""], &["secrets"], &["a", "b"]);
        for (rule, verb, target, expected) in [
            (&all, "anything", resource("any", "thing/status", "x"), true),
            (&all, "get", Target::Path("/healthz"), false),
            (&pods, "get", resource("", "pods", "p"), true),
            (&pods, "list", resource("", "pods", ""), true),
            (&pods, "watch", resource("", "pods", ""), false),
            (&pods, "get", resource("apps", "pods", "p"), false),
            (&pods, "get", resource("", "pods/log", "p"), false),
            (&log, "get", resource("", "pods/log", "p"), true),
            (&log, "get", resource("", "pods", "p"), false),
            (&log, "get", resource("", "pods/exec", "p"), false),
            (&scale, "update", resource("apps", "deployments/scale", "d"), true),
            (&scale, "update", resource("x", "y/scale", "d"), true),
            (
                &scale,
                "update",
                resource("apps", "deployments/status", "d"),
                false,
            ),
            (&scale, "update", resource("apps", "scale", "d"), false),
            (&slash_star, "get", resource("", "pods/log", "p"), false),
            (&slash_star, "get", resource("", "pods", "p"), false),
            (&named, "get", resource("", "secrets", "a"), true),
            (&named, "get", resource("", "secrets", "c"), false),
            (&named, "list", resource("", "secrets", ""), false),
            (&named, "create", resource("", "secrets", ""), false),
            (&PolicyRule::default(), "get", resource("", "pods", "p"), false),
        ] {
            assert_eq!(
                rule_allows(rule, verb, &target),
                expected,
                "{rule:?} {verb} {target:?}"
            );
        }
    }

    #[test]
    fn path_rules_match_exactly_or_by_a_star_at_the_end() {
        for (granted, path, expected) in [
            ("*", "/metrics", true),
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/", false),
            ("/healthz", "/healthz/ping", false),
            ("/healthz/*", "/healthz/ping", true),
            ("/healthz/*", "/healthz/a/b", true),
            ("/healthz/*", "/healthz", false),
            ("/healthz*", "/healthz", true),
            ("/a/*/c", "/a/b/c", false),
        ] {
            let rule = PolicyRule {
                non_resource_urls: strings(&[granted]),
                verbs: vec!["get".into()],
                ..PolicyRule::default()
            };
            assert_eq!(
                rule_allows(&rule, "get", &Target::Path(path)),
                expected,
                "{granted} {path}"
            );
            assert!(!rule_allows(&rule, "post", &Target::Path(path)));
            assert!(
                !rule_allows(&rule, "get", &resource("", "pods", "")),
                "a path rule grants no resource"
            );
        }
    }

    /// The rule written out as the set of single permissions that it stands for, over a small world.
    fn oracle(rule: &PolicyRule, verb: &str, group: &str, combined: &str, name: &str) -> bool {
        const VERBS: [&str; 2] = ["get", "list"];
        const GROUPS: [&str; 2] = ["", "g"];
        const RESOURCES: [&str; 4] = ["a", "b", "a/s", "b/s"];
        const NAMES: [&str; 3] = ["", "n", "m"];
        let mut permissions = Vec::new();
        for rule_verb in &rule.verbs {
            for v in VERBS.iter().filter(|v| rule_verb == "*" || rule_verb == **v) {
                for rule_group in list(&rule.api_groups) {
                    for g in GROUPS.iter().filter(|g| rule_group == "*" || rule_group == **g) {
                        for rule_resource in list(&rule.resources) {
                            for r in RESOURCES.iter().filter(|r| match rule_resource.as_str() {
                                "*" => true,
                                "*/s" => r.ends_with("/s"),
                                exact => exact == **r,
                            }) {
                                for n in NAMES.iter().filter(|n| {
                                    list(&rule.resource_names).is_empty()
                                        || has(list(&rule.resource_names), n)
                                }) {
                                    permissions.push((*v, *g, *r, *n));
                                }
                            }
                        }
                    }
                }
            }
        }
        permissions.contains(&(verb, group, combined, name))
    }

    fn some_of(values: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec(proptest::sample::select(values).prop_map(String::from), 0..3)
    }

    proptest! {
        #[test]
        fn evaluation_agrees_with_the_permissions_written_out(
            verbs in some_of(&["*", "get", "list", "other"]),
            groups in some_of(&["*", "", "g", "h"]),
            resources in some_of(&["*", "a", "b", "a/s", "*/s", "a/*", "s"]),
            names in some_of(&["n", "m", "o"]),
            verb in proptest::sample::select(&["get", "list"][..]),
            group in proptest::sample::select(&["", "g"][..]),
            combined in proptest::sample::select(&["a", "b", "a/s", "b/s"][..]),
            name in proptest::sample::select(&["", "n", "m"][..]),
        ) {
            let rule = PolicyRule {
                verbs,
                api_groups: Some(groups),
                resources: Some(resources),
                resource_names: Some(names),
                non_resource_urls: None,
            };
            prop_assert_eq!(
                rule_allows(&rule, verb, &resource(group, combined, name)),
                oracle(&rule, verb, group, combined, name)
            );
        }
    }
}
