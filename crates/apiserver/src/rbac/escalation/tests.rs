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

#[test]
fn whoever_holds_very_many_rules_asks_about_only_so_many() {
    let held: Vec<PolicyRule> = (0..20_000)
        .map(|number| rule(&["x"], &[&format!("r{number}")], &[], &["get"]))
        .collect();
    let resources: Vec<String> = (0..20_000).map(|number| format!("r{number}")).collect();
    let resources: Vec<&str> = resources.iter().map(String::as_str).collect();
    let asked = |resources: &[&str]| uncovered(&held, &[rule(&["x"], resources, &[], &["get"])]);
    assert_eq!(asked(&resources), Err(EscalationError::TooBroad));
    assert_eq!(asked(&resources[..100]), Ok(Vec::new()));
    let everything = [&everything()[..], &held].concat();
    assert_eq!(uncovered(&everything, &held), Ok(Vec::new()));
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
            for (resource, subresource) in [("a", ""), ("a", "s"), ("b", "s"), ("other", ""), ("other", "s")]
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
