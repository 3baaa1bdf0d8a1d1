//! Updates and patches that turn out to create.
use super::*;

/// What `ann` may do in `n`, beside reading.
fn roles(verbs: &str) -> String {
    format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: anns, namespace: n}}, rules: [{{\
         apiGroups: ['', image.openshift.io, rbac.authorization.k8s.io], resources: ['*'], verbs: [{verbs}]}}]}}\n---\n\
         {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: anns, namespace: n}}, \
         roleRef: {{kind: Role, name: anns}}, subjects: [{{kind: User, name: ann}}]}}"
    )
}

/// Requests that change an object and create it if it is not there: the method, the target, the object, and what
/// refusals call it.
fn upserts(namespace: &str) -> Vec<(&'static str, String, Value, &'static str)> {
    let at = |group: &str, rest: &str| format!("{group}/namespaces/{namespace}/{rest}");
    let (core, images) = ("/api/v1", "/apis/image.openshift.io/v1");
    let applied = |version: &str, kind: &str, name: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
    let tag = json!({"metadata": {"name": "new:1"},
        "tag": {"name": "1", "from": {"kind": "DockerImage", "name": "example.com/a"}}});
    let event = json!({"metadata": {"name": "new"}, "involvedObject": {"namespace": namespace}});
    vec![
        (
            "PATCH",
            at(core, "secrets/new?fieldManager=ann"),
            applied("v1", "Secret", "new"),
            "secrets",
        ),
        (
            "PATCH",
            at(images, "imagestreams/new?fieldManager=ann"),
            applied("image.openshift.io/v1", "ImageStream", "new"),
            "imagestreams.image.openshift.io",
        ),
        (
            "PATCH",
            at(RBAC, "roles/new?fieldManager=ann"),
            applied("rbac.authorization.k8s.io/v1", "Role", "new"),
            "roles.rbac.authorization.k8s.io",
        ),
        (
            "PUT",
            at(RBAC, "roles/new2"),
            applied("rbac.authorization.k8s.io/v1", "Role", "new2"),
            "roles.rbac.authorization.k8s.io",
        ),
        ("PUT", at(core, "events/new"), event, "events"),
        (
            "PUT",
            at(images, "imagestreamtags/new3:1"),
            json!({"metadata": {"name": "new3:1"}, "tag": tag["tag"]}),
            "imagestreamtags.image.openshift.io",
        ),
        (
            "PATCH",
            at(images, "imagestreamtags/new4:1"),
            json!({"tag": tag["tag"]}),
            "imagestreamtags.image.openshift.io",
        ),
    ]
}

#[tokio::test]
async fn who_may_only_change_objects_creates_none_by_changing_what_is_not_there() {
    let server = TestServer::surrounded().await;
    make_namespace(&server, "n").await;
    server.grant(&roles("get, list, update, patch"));
    for (method, target, object, what) in upserts("n") {
        let (code, message) = refused(&server, "ann", method, &target, &object).await;
        assert_eq!(code, 403, "{method} {target}: {message}");
        assert!(
            message.starts_with(what)
                && message.contains(r#"is forbidden: User "ann" cannot create resource "#),
            "{message}"
        );
        let object = target.split('?').next().unwrap();
        assert_eq!(get(&server, object).await.0, 404, "{object}");
    }
    server.grant(&roles("get, list, update, patch, create"));
    for (method, target, object, _) in upserts("n") {
        let (code, body) = server.send("ann", method, &target, Some(&object)).await;
        assert_eq!(code, 201, "{method} {target}: {body}");
        // What is there now is changed, not created.
        let (code, body) = server.send("ann", method, &target, Some(&object)).await;
        assert_eq!(code, 200, "{method} {target}: {body}");
    }
}

#[tokio::test]
async fn who_may_create_in_a_namespace_makes_no_namespace_by_applying_one() {
    let server = TestServer::surrounded().await;
    server.grant(&roles("'*'"));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    let target = "/api/v1/namespaces/n?fieldManager=ann";
    let expected = r#"namespaces "n" is forbidden: User "ann" cannot create resource "namespaces" in API group "" at the cluster scope"#;
    assert_eq!(
        refused(&server, "ann", "PATCH", target, &namespace).await,
        (403, expected.into())
    );
}

#[tokio::test]
async fn nothing_is_created_by_a_change_in_a_namespace_that_is_not_there_or_ends() {
    let server = TestServer::surrounded().await;
    for (method, target, object, _) in upserts("n") {
        let (code, message) = refused(&server, "admin", method, &target, &object).await;
        assert_eq!(
            (code, message.as_str()),
            (404, r#"namespaces "n" not found"#),
            "{method} {target}"
        );
    }
    make_namespace(&server, "n").await;
    post(&server, STREAMS, stream("s")).await;
    server.send("admin", "DELETE", "/api/v1/namespaces/n", None).await;
    for (method, target, object, _) in upserts("n") {
        let (code, message) = refused(&server, "admin", method, &target, &object).await;
        assert_eq!(code, 403, "{method} {target}: {message}");
        assert!(message.contains("because it is being terminated"), "{message}");
    }
}

#[tokio::test]
async fn what_an_apply_creates_is_charged() {
    let server = TestServer::surrounded().await;
    make_namespace(&server, "n").await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"count/secrets": "1"}}});
    post(&server, "/api/v1/namespaces/n/resourcequotas", quota).await;
    for (name, expected) in [("a", 201), ("a", 200), ("b", 403)] {
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": {"a": name}}});
        let target = format!("/api/v1/namespaces/n/secrets/{name}?fieldManager=x");
        let (code, body) = server.send("admin", "PATCH", &target, Some(&secret)).await;
        assert_eq!(code, expected, "{body}");
    }
}

#[tokio::test]
async fn a_status_that_is_applied_to_a_stream_that_is_not_there_makes_none() {
    let server = TestServer::surrounded().await;
    make_namespace(&server, "n").await;
    let stream =
        json!({"apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": {"name": "s"}});
    let target = format!("{STREAMS}/s/status?fieldManager=x");
    assert_eq!(
        refused(&server, "admin", "PATCH", &target, &stream).await,
        (404, r#"imagestreams.image.openshift.io "s" not found"#.into())
    );
}
