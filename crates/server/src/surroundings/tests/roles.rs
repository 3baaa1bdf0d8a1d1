use super::*;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/n/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/n/rolebindings";

fn role(name: &str, resource: &str, verbs: &[&str]) -> Value {
    json!({"metadata": {"name": name},
           "rules": [{"apiGroups": [""], "resources": [resource], "verbs": verbs}]})
}

fn binding(name: &str, role: &str, user: &str) -> Value {
    json!({"metadata": {"name": name}, "roleRef": {"kind": "Role", "name": role},
           "subjects": [{"kind": "User", "name": user}]})
}

/// A server on which `ann` may read secrets in `n`, and write roles and bindings there.
async fn with_ann() -> TestServer {
    let server = TestServer::surrounded().await;
    make_namespace(&server, "n").await;
    let mut anns = role("anns", "secrets", &["get", "list"]);
    // All verbs would be `escalate` and `bind`, too.
    let writes = json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"],
        "verbs": ["create", "update", "patch", "delete", "get"]});
    anns["rules"].as_array_mut().unwrap().push(writes);
    post(&server, ROLES, anns).await;
    post(&server, BINDINGS, binding("anns", "anns", "ann")).await;
    server
}

async fn may(server: &TestServer, user: &str, verb: &str, resource: &str) -> bool {
    let asked = json!({"namespace": "n", "verb": verb, "resource": resource});
    let review = json!({"spec": {"resourceAttributes": asked}});
    let target = format!("{REVIEWS}/selfsubjectaccessreviews");
    let (code, body) = server.send(user, "POST", &target, Some(&review)).await;
    assert_eq!(code, 201, "{body}");
    body["status"]["allowed"] == true
}

#[tokio::test]
async fn what_is_granted_or_revoked_is_in_force_by_the_time_that_is_answered() {
    let server = TestServer::surrounded().await;
    make_namespace(&server, "n").await;
    post(&server, ROLES, role("r", "secrets", &["get"])).await;
    let target = format!("{BINDINGS}/b");
    for _ in 0..20 {
        assert!(!may(&server, "bob", "get", "secrets").await);
        post(&server, BINDINGS, binding("b", "r", "bob")).await;
        assert!(may(&server, "bob", "get", "secrets").await);
        server
            .send("admin", "PATCH", &target, Some(&json!({"subjects": null})))
            .await;
        assert!(!may(&server, "bob", "get", "secrets").await);
        let bob = json!({"subjects": [{"kind": "User", "name": "bob"}]});
        server.send("admin", "PATCH", &target, Some(&bob)).await;
        assert!(may(&server, "bob", "get", "secrets").await);
        server.send("admin", "DELETE", &target, None).await;
    }
    post(&server, BINDINGS, binding("b", "r", "bob")).await;
    server.send("admin", "DELETE", BINDINGS, None).await;
    assert!(!may(&server, "bob", "get", "secrets").await);
}

#[tokio::test]
async fn what_another_server_of_the_store_writes_comes_into_force_and_out_of_it() {
    let mut server = TestServer::surrounded().await;
    server.run_tasks();
    make_namespace(&server, "n").await;
    post(&server, ROLES, role("r", "secrets", &["get"])).await;
    let mut foreign = binding("b", "r", "bob");
    foreign["metadata"]["namespace"] = "n".into();
    let bindings = &server.context.rbac[2];
    let stored = bindings.create(foreign).await.unwrap();
    let end = Instant::now() + PATIENCE;
    while !may(&server, "bob", "get", "secrets").await {
        assert!(Instant::now() < end, "it never comes into force");
        sleep(PAUSE).await;
    }
    bindings.remove("n", "b", stored.revision).await.unwrap().unwrap();
    while may(&server, "bob", "get", "secrets").await {
        assert!(Instant::now() < end, "it stays in force");
        sleep(PAUSE).await;
    }
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_have() {
    let server = with_ann().await;
    let same = role("same", "secrets", &["list"]);
    assert_eq!(server.send("ann", "POST", ROLES, Some(&same)).await.0, 201);
    let more = role("more", "secrets", &["delete"]);
    let words = "user \"ann\" (groups=[]) is attempting to grant RBAC permissions not currently held:\n\
                 {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"delete\"]}";
    assert_eq!(
        refused(&server, "ann", "POST", ROLES, &more).await,
        (
            403,
            format!("roles.rbac.authorization.k8s.io \"more\" is forbidden: {words}")
        )
    );
    post(&server, ROLES, more).await;
    assert_eq!(
        refused(&server, "ann", "POST", BINDINGS, &binding("b", "more", "ann")).await,
        (
            403,
            format!("rolebindings.rbac.authorization.k8s.io \"b\" is forbidden: {words}")
        )
    );
    assert_eq!(
        refused(&server, "ann", "POST", BINDINGS, &binding("b", "gone", "ann")).await,
        (404, r#"roles.rbac.authorization.k8s.io "gone" not found"#.into())
    );
    // Not by a change to a role that they have, either.
    let wider = json!({"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}]});
    assert_eq!(
        refused(&server, "ann", "PATCH", &format!("{ROLES}/anns"), &wider)
            .await
            .0,
        403
    );
    let (code, body) = server
        .send("ann", "POST", BINDINGS, Some(&binding("b", "same", "bob")))
        .await;
    assert_eq!(code, 201, "{body}");
}

#[tokio::test]
async fn a_label_that_lets_others_gather_rules_grants_them() {
    let server = with_ann().await;
    let target = format!("{RBAC}/clusterroles/cluster-admin");
    let label = json!({"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}});
    let (code, message) = refused(&server, "ann", "PATCH", &target, &label).await;
    assert_eq!(code, 403, "{message}");
    let begins = r#"clusterroles.rbac.authorization.k8s.io "cluster-admin" is forbidden: user "ann""#;
    assert!(message.starts_with(begins), "{message}");
    // What garbage collection needs is no grant.
    let owners = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "v1", "kind": "Namespace", "name": "n", "uid": "u"}]}});
    assert_eq!(
        refused(&server, "ann", "PATCH", &target, &owners).await,
        (200, String::new())
    );
    assert_eq!(refused(&server, "admin", "PATCH", &target, &label).await.0, 200);
}

#[tokio::test]
async fn a_binding_keeps_its_role_and_roles_say_what_they_allow() {
    let server = with_ann().await;
    let other =
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
    assert_eq!(
        refused(&server, "admin", "PATCH", &format!("{BINDINGS}/anns"), &other).await,
        (
            422,
            "RoleBinding.rbac.authorization.k8s.io \"anns\" is invalid: roleRef: Invalid value: \
             {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"ClusterRole\",\"Name\":\"view\"}: cannot change \
             roleRef"
                .into()
        )
    );
    let nothing =
        json!({"metadata": {"name": "x"}, "rules": [{"apiGroups": [""], "resources": ["secrets"]}]});
    assert_eq!(
        refused(&server, "admin", "POST", ROLES, &nothing).await,
        (
            422,
            "Role.rbac.authorization.k8s.io \"x\" is invalid: rules[0].verbs: Required value: verbs must contain at \
             least one value"
                .into()
        )
    );
    let mut accounts = binding("accounts", "anns", "x");
    accounts["subjects"] =
        json!([{"kind": "ServiceAccount", "name": "s", "namespace": "n"}, {"kind": "Group", "name": "g"}]);
    let stored = post(&server, BINDINGS, accounts).await;
    assert_eq!(
        stored["subjects"],
        json!([{"kind": "ServiceAccount", "name": "s", "namespace": "n"},
               {"kind": "Group", "name": "g", "apiGroup": "rbac.authorization.k8s.io"}])
    );
    assert_eq!(stored["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
}

#[tokio::test]
async fn a_role_that_gathers_rules_shows_them() {
    let server = TestServer::surrounded().await;
    let has_widgets = |role: &Value| {
        let rules = role["rules"].as_array().into_iter().flatten();
        let mut resources = rules.flat_map(|rule| rule["resources"].as_array().into_iter().flatten());
        resources.any(|resource| resource == "widgets")
    };
    let roles = format!("{RBAC}/clusterroles");
    let view = format!("{roles}/view");
    assert!(!has_widgets(&get(&server, &view).await.1));
    let mut widgets = role("widgets-view", "widgets", &["get"]);
    widgets["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    post(&server, &roles, widgets).await;
    assert!(has_widgets(&get(&server, &view).await.1));
    let (_, list) = get(&server, &roles).await;
    let mut listed = list["items"].as_array().unwrap().iter();
    assert!(has_widgets(listed.find(|role| name(role) == "view").unwrap()));
}

#[tokio::test]
async fn roles_from_the_start_that_were_deleted_stay_away() {
    let server = TestServer::surrounded().await;
    let target = format!("{RBAC}/clusterroles/registry-viewer");
    assert_eq!(get(&server, &target).await.0, 200);
    server.send("admin", "DELETE", &target, None).await;
    crate::rbac::prepare(&server.context).await.unwrap();
    assert_eq!(get(&server, &target).await.0, 404);
}

#[tokio::test]
async fn reviews_answer_as_the_authorizer_would() {
    let server = with_ann().await;
    assert!(may(&server, "ann", "list", "secrets").await);
    assert!(!may(&server, "ann", "delete", "secrets").await);
    assert!(may(&server, "admin", "anything", "at-all").await);
    let about = |user: &str, namespace: &str| {
        let asked = json!({"namespace": namespace, "verb": "get", "resource": "secrets"});
        json!({"spec": {"user": user, "resourceAttributes": asked}})
    };
    let answer = post(
        &server,
        &format!("{REVIEWS}/subjectaccessreviews"),
        about("ann", "n"),
    )
    .await;
    assert_eq!(
        answer["status"],
        json!({"allowed": true,
               "reason": "RBAC: allowed by RoleBinding \"anns/n\" of Role \"anns\" to User \"ann\""})
    );
    assert_eq!(answer["spec"], about("ann", "n")["spec"]);
    // A question about a namespace does not tell whether there is one.
    for (user, namespace) in [("bob", "n"), ("ann", "m")] {
        let local = format!("{REVIEWS}/namespaces/{namespace}/localsubjectaccessreviews");
        let answer = post(&server, &local, about(user, namespace)).await;
        assert_eq!(
            answer["status"],
            json!({"allowed": false}),
            "{user} in {namespace}"
        );
    }
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_in_the_words_of_kubernetes() {
    let server = TestServer::surrounded().await;
    let asked = json!({"verb": "get", "resource": "secrets"});
    let path = json!({"verb": "get", "path": "/x"});
    for (collection, spec, expected) in [
        (
            "selfsubjectaccessreviews",
            json!({}),
            "SelfSubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: \
             \"null\": exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        (
            "selfsubjectaccessreviews",
            json!({"resourceAttributes": asked, "nonResourceAttributes": path}),
            "SelfSubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.nonResourceAttributes: Invalid value: \
             {\"path\":\"/x\",\"verb\":\"get\"}: cannot be specified in combination with resourceAttributes",
        ),
        (
            "subjectaccessreviews",
            json!({"resourceAttributes": asked}),
            "SubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of \
             user or group must be specified",
        ),
        (
            "namespaces/n/localsubjectaccessreviews",
            json!({"user": "u", "resourceAttributes": asked}),
            "LocalSubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: Invalid \
             value: \"\": must match metadata.namespace",
        ),
    ] {
        let target = format!("{REVIEWS}/{collection}");
        let review = json!({"spec": spec});
        let answer = refused(&server, "admin", "POST", &target, &review).await;
        assert_eq!(answer, (422, expected.into()), "{collection} {spec}");
    }
}

#[tokio::test]
async fn one_learns_ones_rules_and_who_one_is() {
    let server = with_ann().await;
    let target = format!("{REVIEWS}/selfsubjectrulesreviews");
    let review = json!({"spec": {"namespace": "n"}});
    let (_, answer) = server.send("ann", "POST", &target, Some(&review)).await;
    assert_eq!(
        answer["status"]["resourceRules"][0],
        json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets"]})
    );
    assert_eq!(answer["status"]["incomplete"], false);
    let target = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (code, answer) = server.send("admin", "POST", target, Some(&json!({}))).await;
    assert_eq!(code, 201, "{answer}");
    let admin = json!({"userInfo": {"username": "admin", "groups": ["system:masters"]}});
    assert_eq!(answer["status"], admin);
}
