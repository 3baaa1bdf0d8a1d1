use super::*;

#[tokio::test]
async fn a_namespace_is_active_labelled_and_there_is_one_from_the_start() {
    let server = TestServer::surrounded().await;
    let namespace = make_namespace(&server, "n").await;
    assert_eq!(namespace["spec"], json!({"finalizers": ["kubernetes"]}));
    assert_eq!(namespace["status"], json!({"phase": "Active"}));
    assert_eq!(
        namespace["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "n"})
    );
    assert_eq!(get(&server, "/api/v1/namespaces/default").await.0, 200);
    let (code, refusal) = server
        .send("admin", "DELETE", "/api/v1/namespaces/default", None)
        .await;
    assert_eq!(code, 403);
    assert_eq!(
        refusal["message"],
        r#"namespaces "default" is forbidden: this namespace may not be deleted"#
    );
    let dotted = json!({"metadata": {"name": "a.b"}});
    assert_eq!(
        refused(&server, "admin", "POST", "/api/v1/namespaces", &dotted).await,
        (
            422,
            r#"Namespace "a.b" is invalid: metadata.name: Invalid value: "a.b": must not contain dots"#
                .into()
        )
    );
}

#[tokio::test]
async fn nothing_is_created_in_a_namespace_that_is_not_there() {
    let server = TestServer::surrounded().await;
    let answer = refused(&server, "admin", "POST", STREAMS, &stream("s")).await;
    assert_eq!(answer, (404, r#"namespaces "n" not found"#.into()));
}

#[tokio::test]
async fn a_namespace_ends_with_all_that_is_in_it_even_if_the_server_died_meanwhile() {
    let mut server = TestServer::surrounded().await;
    make_namespace(&server, "n").await;
    make_namespace(&server, "other").await;
    post(&server, STREAMS, stream("s")).await;
    post(&server, &STREAMS.replace("/n/", "/other/"), stream("s")).await;
    // More than one transaction holds.
    for number in 0..120 {
        let secret = json!({"metadata": {"name": format!("s{number}")}});
        post(&server, "/api/v1/namespaces/n/secrets", secret).await;
    }
    let roles = format!("{RBAC}/namespaces/n/roles");
    post(&server, &roles, json!({"metadata": {"name": "r"}})).await;

    // Nobody ends it yet: the server might as well have died after this answer.
    let (code, ending) = server.send("admin", "DELETE", "/api/v1/namespaces/n", None).await;
    assert_eq!((code, text(&ending, "/status/phase")), (200, "Terminating"));
    assert!(!text(&ending, "/metadata/deletionTimestamp").is_empty());
    let (code, refusal) = server.send("admin", "POST", STREAMS, Some(&stream("late"))).await;
    assert_eq!(code, 403);
    assert_eq!(
        refusal["message"],
        "imagestreams.image.openshift.io \"late\" is forbidden: unable to create new content in namespace n because \
         it is being terminated"
    );
    assert_eq!(
        refusal["details"]["causes"],
        json!([{"reason": "NamespaceTerminating", "message": "namespace n is being terminated",
                "field": "metadata.namespace"}])
    );
    // Neither a second deletion nor a change of labels takes it away before its time.
    server.send("admin", "DELETE", "/api/v1/namespaces/n", None).await;
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    server
        .send("admin", "PATCH", "/api/v1/namespaces/n", Some(&label))
        .await;
    assert_eq!(get(&server, "/api/v1/namespaces/n").await.0, 200);

    server.run_tasks();
    eventually(&server, "/api/v1/namespaces/n", |code, _| code == 404).await;
    for collection in [STREAMS, "/api/v1/namespaces/n/secrets", &roles] {
        assert_eq!(
            get(&server, collection).await.1["items"],
            json!([]),
            "{collection}"
        );
    }
    let (_, others) = get(&server, &STREAMS.replace("/n/", "/other/")).await;
    assert_eq!(name(&others["items"][0]), "s");
}

#[tokio::test]
async fn a_namespace_waits_for_those_who_hold_something_in_it() {
    let mut server = TestServer::surrounded().await;
    server.run_tasks();
    make_namespace(&server, "n").await;
    let mut held = stream("held");
    held["metadata"]["finalizers"] = json!(["example.com/mine"]);
    post(&server, STREAMS, held).await;
    post(&server, STREAMS, stream("free")).await;
    server.send("admin", "DELETE", "/api/v1/namespaces/n", None).await;
    eventually(&server, &format!("{STREAMS}/free"), |code, _| code == 404).await;
    let target = format!("{STREAMS}/held");
    let is_marked = |_, held: &Value| !text(held, "/metadata/deletionTimestamp").is_empty();
    eventually(&server, &target, is_marked).await;
    assert_eq!(get(&server, "/api/v1/namespaces/n").await.0, 200);
    let release = json!({"metadata": {"finalizers": null}});
    let (code, body) = server.send("admin", "PATCH", &target, Some(&release)).await;
    assert_eq!(code, 200, "{body}");
    eventually(&server, "/api/v1/namespaces/n", |code, _| code == 404).await;
}

#[tokio::test]
async fn a_namespace_with_finalizers_of_others_goes_when_they_are_taken_away() {
    let mut server = TestServer::surrounded().await;
    server.run_tasks();
    let namespace = json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["example.com/mine"]}});
    post(&server, "/api/v1/namespaces", namespace).await;
    server.send("admin", "DELETE", "/api/v1/namespaces/n", None).await;
    let is_theirs = |_, namespace: &Value| namespace["spec"]["finalizers"] == json!(["example.com/mine"]);
    let mut namespace = eventually(&server, "/api/v1/namespaces/n", is_theirs).await;
    namespace["spec"] = json!({});
    let target = "/api/v1/namespaces/n/finalize";
    let (code, body) = server.send("admin", "PUT", target, Some(&namespace)).await;
    assert_eq!(code, 200, "{body}");
    assert_eq!(get(&server, "/api/v1/namespaces/n").await.0, 404);
}

#[tokio::test]
async fn a_new_namespace_inherits_nothing_from_an_earlier_one_of_its_name() {
    let server = TestServer::surrounded().await;
    // What a request left behind that was let in before an earlier namespace ended.
    let leftover = json!({"metadata": {"name": "leftover", "namespace": "n"}});
    server.store(&server.context.secrets, leftover).await;
    let wanted = json!({"metadata": {"name": "n"}});
    let (code, _) = server
        .send("admin", "POST", "/api/v1/namespaces?dryRun=All", Some(&wanted))
        .await;
    assert_eq!(code, 201);
    assert!(
        server
            .context
            .secrets
            .get("n", "leftover")
            .await
            .unwrap()
            .is_some(),
        "what is only tried out changes nothing"
    );
    make_namespace(&server, "n").await;
    let secrets = "/api/v1/namespaces/n/secrets";
    assert_eq!(get(&server, secrets).await.1["items"], json!([]));
    // Creating it once more fails and takes nothing away.
    post(&server, secrets, json!({"metadata": {"name": "kept"}})).await;
    let again = json!({"metadata": {"name": "n"}});
    assert_eq!(
        refused(&server, "admin", "POST", "/api/v1/namespaces", &again).await,
        (409, r#"namespaces "n" already exists"#.into())
    );
    assert_eq!(name(&get(&server, secrets).await.1["items"][0]), "kept");
}
