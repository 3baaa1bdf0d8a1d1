use super::*;
use crate::rbac::load::load;
use crate::rbac::policy::{Kind, Origin};

const POLICY: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [apps], resources: [deployments, "*/scale"], verbs: [get, list]}
- {nonResourceURLs: [/healthz], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: writer, namespace: n}
rules: [{apiGroups: [""], resources: [secrets], resourceNames: [own], verbs: [update]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: readers}
roleRef: {kind: ClusterRole, name: reader}
subjects: [{kind: Group, name: staff}, {kind: User, name: ann}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: writers, namespace: n}
roleRef: {kind: Role, name: writer}
subjects: [{kind: User, name: ann}, {kind: ServiceAccount, name: robot}, {kind: ServiceAccount, name: robot, namespace: m}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: local-readers, namespace: n}
roleRef: {kind: ClusterRole, name: reader}
subjects: [{kind: User, name: bob}]
"#;

fn policy(yaml: &str) -> Policy {
    let mut policy = Policy::new();
    for object in load(yaml).unwrap() {
        policy.put(object, Origin::Stored);
    }
    policy
}

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo {
        name: name.into(),
        groups: groups.iter().map(ToString::to_string).collect(),
        ..UserInfo::default()
    }
}

fn at<'a>(group: &'a str, combined: &'a str, namespace: &'a str, name: &'a str) -> Target<'a> {
    let (resource, subresource) = combined.split_once('/').unwrap_or((combined, ""));
    Target::Resource {
        group,
        resource,
        subresource,
        namespace,
        name,
    }
}

#[test]
fn bindings_allow_their_subjects_and_the_reason_names_binding_role_and_subject() {
    let authorizer = Authorizer::new(policy(POLICY));
    let (ann, bob, staff) = (
        user("ann", &["staff"]),
        user("bob", &[]),
        user("carl", &["x", "staff"]),
    );
    let (robot, other_robot) = (
        user("system:serviceaccount:n:robot", &[]),
        user("system:serviceaccount:m:robot", &[]),
    );
    let deployments = at("apps", "deployments", "n", "");
    let secret = at("", "secrets", "n", "own");
    let by_group =
        r#"RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to Group "staff""#;
    for (user, verb, target, reason) in [
        // Ann is named herself, too; the binding's first subject counts.
        (&ann, "list", deployments, Some(by_group)),
        (&staff, "list", deployments, Some(by_group)),
        (&staff, "list", at("apps", "deployments", "", ""), Some(by_group)),
        (&staff, "get", at("x", "y/scale", "m", "z"), None),
        (&staff, "get", at("apps", "y/scale", "m", "z"), Some(by_group)),
        (&staff, "get", Target::Path("/healthz"), Some(by_group)),
        (&staff, "get", Target::Path("/metrics"), None),
        (&staff, "delete", deployments, None),
        (
            &bob,
            "get",
            at("apps", "deployments", "n", "d"),
            Some(r#"RBAC: allowed by RoleBinding "local-readers/n" of ClusterRole "reader" to User "bob""#),
        ),
        (&bob, "get", at("apps", "deployments", "m", "d"), None),
        (&bob, "list", at("apps", "deployments", "", ""), None),
        (&bob, "get", Target::Path("/healthz"), None),
        (
            &ann,
            "update",
            secret,
            Some(r#"RBAC: allowed by RoleBinding "writers/n" of Role "writer" to User "ann""#),
        ),
        (
            &robot,
            "update",
            secret,
            Some(r#"RBAC: allowed by RoleBinding "writers/n" of Role "writer" to ServiceAccount "robot/n""#),
        ),
        (
            &other_robot,
            "update",
            secret,
            Some(r#"RBAC: allowed by RoleBinding "writers/n" of Role "writer" to ServiceAccount "robot/m""#),
        ),
        (&robot, "update", at("", "secrets", "n", "other"), None),
        (&user("robot", &[]), "update", secret, None),
        (&user("staff", &["ann"]), "list", deployments, None),
    ] {
        let decision = authorizer.authorize(&Attributes { user, verb, target });
        let expected = Decision {
            allowed: reason.is_some(),
            reason: reason.unwrap_or_default().to_owned(),
        };
        assert_eq!(decision, expected, "{user:?} {verb} {target:?}");
    }
}

#[test]
fn what_was_allowed_before_is_told_by_the_bindings_and_roles_that_there_were_then() {
    let present = Authorizer::new(policy(POLICY));
    present.update(|policy| {
        policy.remove(Kind::RoleBinding, "n", "local-readers", Origin::Stored);
        policy.remove(Kind::Role, "n", "writer", Origin::Stored);
    });
    let removed = |kind: &str| {
        let objects = POLICY.split("---").filter(|object| object.contains(kind));
        policy(&objects.collect::<Vec<_>>().join("---"))
    };
    let (bindings, role) = (
        removed("name: local-readers"),
        removed("kind: Role\nmetadata: {name: writer"),
    );
    let (ann, bob) = (user("ann", &[]), user("bob", &[]));
    let deployments = at("apps", "deployments", "n", "");
    let secret = at("", "secrets", "n", "own");
    for (earlier, user, verb, target, expected) in [
        (&bindings, &bob, "get", deployments, true),
        (&bindings, &bob, "delete", deployments, false),
        (&bindings, &bob, "get", at("apps", "deployments", "m", ""), false),
        (&bindings, &ann, "update", secret, false),
        (&role, &ann, "update", secret, true),
        (&role, &bob, "get", deployments, false),
        (&Policy::new(), &ann, "get", deployments, true),
    ] {
        let attributes = Attributes { user, verb, target };
        let allowed = present.allows_or_did(earlier, &attributes);
        assert_eq!(allowed, expected, "{user:?} {verb} {target:?}");
    }
}

#[test]
fn masters_may_do_everything_and_others_nothing_without_a_policy() {
    let authorizer = Authorizer::default();
    for target in [at("any", "thing/sub", "n", "x"), Target::Path("/x")] {
        let ask = |user: &UserInfo| {
            authorizer
                .authorize(&Attributes {
                    user,
                    verb: "do",
                    target,
                })
                .allowed
        };
        assert!(ask(&user("root", &["system:masters"])));
        assert!(!ask(&user("system:masters", &["masters"])));
        assert!(!ask(&UserInfo::anonymous()));
    }
}

#[test]
fn roles_that_are_not_there_are_named_once_in_the_reason() {
    let ann = user("ann", &["staff"]);
    let mut policy = policy(POLICY);
    policy.remove(Kind::ClusterRole, "ignored", "reader", Origin::Stored);
    let authorizer = Authorizer::new(policy);
    let question = Attributes {
        user: &ann,
        verb: "list",
        target: at("apps", "deployments", "n", ""),
    };
    let missing = r#"RBAC: clusterrole.rbac.authorization.k8s.io "reader" not found"#;
    assert_eq!(
        authorizer.authorize(&question),
        Decision {
            allowed: false,
            reason: missing.into()
        }
    );

    authorizer.update(|policy| policy.remove(Kind::Role, "n", "writer", Origin::Stored));
    assert_eq!(
        authorizer.authorize(&question).reason,
        "RBAC: [clusterrole.rbac.authorization.k8s.io \"reader\" not found, \
         role.rbac.authorization.k8s.io \"writer\" not found]"
    );
    let rules = authorizer.rules_for(&ann, "n");
    assert_eq!((rules.rules.len(), rules.missing.len()), (0, 2));
}

#[test]
fn very_many_rules_are_each_told_once() {
    // With a look through all of them for each this would take minutes.
    let rules: Vec<String> = (0..20_000)
        .map(|number| {
            format!(
                "{{apiGroups: [x], resources: [r{}], verbs: [get]}}",
                number % 19_999
            )
        })
        .collect();
    let authorizer = Authorizer::new(policy(&format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: r, namespace: n}}, rules: [{}]}}\n\
         ---\n{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: b, namespace: n}}, \
         roleRef: {{kind: Role, name: r}}, subjects: [{{kind: User, name: ann}}]}}",
        rules.join(", ")
    )));
    assert_eq!(authorizer.rules_for(&user("ann", &[]), "n").rules.len(), 19_999);
}

#[test]
fn removing_or_replacing_a_binding_takes_its_grants_away() {
    let authorizer = Authorizer::new(policy(POLICY));
    let ann = user("ann", &[]);
    let allowed = |verb, target| {
        authorizer
            .authorize(&Attributes {
                user: &ann,
                verb,
                target,
            })
            .allowed
    };
    let (update, secret) = ("update", at("", "secrets", "n", "own"));
    assert!(allowed(update, secret));
    let objects = load(
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: writers, namespace: n}, \
         roleRef: {kind: Role, name: writer}, subjects: [{kind: User, name: eve}]}",
    );
    let [object] = objects.unwrap().try_into().unwrap();
    authorizer.update(|policy| policy.put(object, Origin::Stored));
    assert!(!allowed(update, secret));
    assert!(allowed("get", Target::Path("/healthz")));
    authorizer.update(|policy| policy.remove(Kind::ClusterRoleBinding, "", "readers", Origin::Stored));
    assert!(!allowed("get", Target::Path("/healthz")));
    assert_eq!(authorizer.rules_for(&ann, "n").rules, []);
}

#[test]
fn a_fixed_object_stays_in_force_whatever_the_store_says() {
    let mut policy = Policy::new();
    for object in load(POLICY).unwrap() {
        policy.put(object, Origin::Fixed);
    }
    for object in load(
        &POLICY
            .replace("name: ann", "name: eve")
            .replace("[get, list]", "['*']"),
    )
    .unwrap()
    {
        policy.put(object, Origin::Stored);
    }
    let authorizer = Authorizer::new(policy);
    let (ann, eve) = (user("ann", &[]), user("eve", &[]));
    let allowed = |user: &UserInfo, verb| {
        authorizer
            .authorize(&Attributes {
                user,
                verb,
                target: at("apps", "deployments", "n", ""),
            })
            .allowed
    };
    assert!(allowed(&ann, "get") && !allowed(&ann, "delete") && !allowed(&eve, "get"));
    authorizer.update(|policy| {
        policy.remove(Kind::ClusterRoleBinding, "", "readers", Origin::Stored);
        policy.remove(Kind::ClusterRole, "", "reader", Origin::Stored);
    });
    assert!(allowed(&ann, "get"));
    authorizer.update(|policy| policy.remove(Kind::ClusterRoleBinding, "", "readers", Origin::Fixed));
    assert!(!allowed(&ann, "get"));
}

#[test]
fn a_role_that_gathers_rules_follows_the_roles_it_gathers_from() {
    let role = |name: &str, labels: &str, rest: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n\
             metadata: {{name: {name}, labels: {{{labels}}}}}\n{rest}\n---\n"
        )
    };
    let part = |verb: &str| {
        role(
            verb,
            "part: y",
            &format!("rules: [{{apiGroups: [''], resources: [x], verbs: [{verb}]}}]"),
        )
    };
    let gathers = "aggregationRule: {clusterRoleSelectors: [{matchLabels: {part: y}}]}";
    let binding = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, \
                   roleRef: {kind: ClusterRole, name: whole}, subjects: [{kind: User, name: ann}]}";
    let authorizer = Authorizer::new(policy(&(role("whole", "", gathers) + &part("get") + binding)));
    let ann = user("ann", &[]);
    let allowed = |verb| {
        authorizer
            .authorize(&Attributes {
                user: &ann,
                verb,
                target: at("", "x", "", ""),
            })
            .allowed
    };
    assert!(allowed("get") && !allowed("list"));
    for object in load(&part("list")).unwrap() {
        authorizer.update(|policy| policy.put(object.clone(), Origin::Stored));
    }
    assert!(allowed("get") && allowed("list"));
    authorizer.update(|policy| policy.remove(Kind::ClusterRole, "", "get", Origin::Stored));
    assert!(!allowed("get") && allowed("list"));
}

#[test]
fn refusals_are_worded_as_clients_know_them() {
    let nobody = user("nobody", &[]);
    for (verb, target, reason, expected) in [
        (
            "list",
            at("apps", "deployments", "n", ""),
            "",
            r#"deployments.apps is forbidden: User "nobody" cannot list resource "deployments" in API group "apps" in the namespace "n""#,
        ),
        (
            "get",
            at("", "secrets", "n", "s"),
            "",
            r#"secrets "s" is forbidden: User "nobody" cannot get resource "secrets" in API group "" in the namespace "n""#,
        ),
        (
            "update",
            at("apps", "deployments/status", "n", "d"),
            "",
            r#"deployments.apps "d" is forbidden: User "nobody" cannot update resource "deployments/status" in API group "apps" in the namespace "n""#,
        ),
        (
            "list",
            at("apps", "deployments", "", ""),
            "RBAC: x",
            r#"deployments.apps is forbidden: User "nobody" cannot list resource "deployments" in API group "apps" at the cluster scope: RBAC: x"#,
        ),
        (
            "get",
            Target::Path("/apis"),
            "",
            r#"forbidden: User "nobody" cannot get path "/apis""#,
        ),
    ] {
        assert_eq!(
            forbidden_message(
                &Attributes {
                    user: &nobody,
                    verb,
                    target
                },
                reason
            ),
            expected
        );
    }
    let hostile = user("a\"\n\u{1b}", &[]);
    let question = Attributes {
        user: &hostile,
        verb: "get",
        target: Target::Path("/x"),
    };
    assert_eq!(
        forbidden_message(&question, ""),
        r#"forbidden: User "a\"\n\x1b" cannot get path "/x""#
    );
}
