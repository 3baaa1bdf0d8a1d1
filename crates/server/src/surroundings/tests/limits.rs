use super::*;

const QUOTAS: &str = "/api/v1/namespaces/n/resourcequotas";
const KEY: &str = "openshift.io/imagestreams";

/// A server with a quota `q` in the namespace `n`.
async fn with_quota(hard: &Value) -> TestServer {
    let server = TestServer::surrounded().await;
    make_namespace(&server, "n").await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
    post(&server, QUOTAS, quota).await;
    server
}

async fn used(server: &TestServer) -> Value {
    get(server, &format!("{QUOTAS}/q")).await.1["status"]["used"].clone()
}

/// The collection of another resource of the group.
fn others(resource: &str) -> String {
    STREAMS.replace("imagestreams", resource)
}

/// An import into a stream.
fn import(metadata: &Value, from: &str) -> Value {
    json!({"metadata": metadata, "spec": {"import": true,
        "images": [{"from": {"kind": "DockerImage", "name": from}, "to": {"name": "1"}}]}})
}

/// Writes the status of the quota.
async fn set_used(server: &TestServer, amount: &str) {
    let status = json!({"status": {"used": {KEY: amount}}});
    let target = format!("{QUOTAS}/q/status");
    let (code, body) = server.send("admin", "PATCH", &target, Some(&status)).await;
    assert_eq!(code, 200, "{body}");
}

/// A tag of a stream, as it is created.
fn tag(full_name: &str) -> Value {
    json!({"metadata": {"name": full_name},
           "tag": {"name": "1", "from": {"kind": "DockerImage", "name": "example.com/a"}}})
}

#[tokio::test]
async fn a_quota_counts_what_is_there_and_refuses_what_would_be_too_much() {
    let server = with_quota(&json!({KEY: "1", "count/secrets": "5", "pods": "3"})).await;
    assert_eq!(
        used(&server).await,
        json!({KEY: "0", "count/secrets": "0", "pods": "0"})
    );
    post(&server, STREAMS, stream("s")).await;
    assert_eq!(used(&server).await[KEY], "1");
    let import = import(&json!({"name": "t"}), "127.0.0.1:1/a");
    let (imports, tags) = (others("imagestreamimports"), others("imagestreamtags"));
    for (method, target, object, what) in [
        (
            "POST",
            STREAMS.to_owned(),
            stream("t"),
            r#"imagestreams.image.openshift.io "t""#,
        ),
        (
            "POST",
            imports,
            import,
            r#"imagestreamimports.image.openshift.io "t""#,
        ),
        (
            "POST",
            tags.clone(),
            tag("t:1"),
            r#"imagestreamtags.image.openshift.io "t:1""#,
        ),
        (
            "PUT",
            format!("{tags}/t:1"),
            tag("t:1"),
            r#"imagestreamtags.image.openshift.io "t:1""#,
        ),
    ] {
        let expected = format!(
            "{what} is forbidden: exceeded quota: q, requested: openshift.io/imagestreams=1, used: \
             openshift.io/imagestreams=1, limited: openshift.io/imagestreams=1"
        );
        assert_eq!(
            refused(&server, "admin", method, &target, &object).await,
            (403, expected)
        );
    }
    // A stream that exists costs nothing.
    post(&server, &tags, tag("s:1")).await;
    assert_eq!(used(&server).await[KEY], "1");
}

#[tokio::test]
async fn a_mistake_is_told_before_a_quota_that_is_used_up_and_costs_nothing() {
    let server = with_quota(&json!({KEY: "1"})).await;
    let (imports, tags) = (others("imagestreamimports"), others("imagestreamtags"));
    let mut unknown = tag("s:1");
    unknown["tag"]["from"]["kind"] = "X".into();
    let named = json!({"name": "s"});
    for used_up in [false, true] {
        if used_up {
            post(&server, STREAMS, stream("other")).await;
        }
        for (method, target, object, expected) in [
            (
                "POST",
                &imports,
                import(&named, "BAD NAME"),
                (422, "spec.images[0].from.name"),
            ),
            (
                "POST",
                &imports,
                import(&json!({"name": "BAD"}), "r.test/a"),
                (422, "metadata.name"),
            ),
            (
                "POST",
                &imports,
                import(&json!({"generateName": "x"}), "r.test/a"),
                (500, "metadata.name was not generated"),
            ),
            ("POST", &STREAMS.to_owned(), stream("BAD"), (422, "metadata.name")),
            ("POST", &tags, unknown.clone(), (422, "tag.from.kind")),
            (
                "PUT",
                &format!("{tags}/s:1"),
                unknown.clone(),
                (422, "tag.from.kind"),
            ),
        ] {
            let (code, message) = refused(&server, "admin", method, target, &object).await;
            assert_eq!(code, expected.0, "{target} {object}: {message}");
            assert!(message.contains(expected.1), "{target} {object}: {message}");
            assert_eq!(used(&server).await[KEY], if used_up { "1" } else { "0" });
        }
    }
}

#[tokio::test]
async fn what_could_not_be_created_is_free_again_long_before_an_import_could_take() {
    let mut server = with_quota(&json!({KEY: "2"})).await;
    server.run_tasks();
    post(&server, STREAMS, stream("s")).await;
    let imports = others("imagestreamimports");
    let supposed = import(&json!({"name": "t", "resourceVersion": "1"}), "r.test/a");
    for (target, object, expected) in [(STREAMS, stream("s"), 409), (&*imports, supposed, 404)] {
        let (code, message) = refused(&server, "admin", "POST", target, &object).await;
        assert_eq!(code, expected, "{message}");
        let is_free = |_, quota: &Value| quota["status"]["used"][KEY] == "1";
        eventually(&server, &format!("{QUOTAS}/q"), is_free).await;
    }
    let generated = json!({"metadata": {"generateName": "t"}, "spec": {}});
    post(&server, STREAMS, generated).await;
    assert_eq!(used(&server).await[KEY], "2");
    assert_eq!(
        refused(&server, "admin", "POST", STREAMS, &stream("u")).await.0,
        403
    );
}

#[tokio::test]
async fn a_status_that_was_written_counts_until_something_is_counted_anew() {
    let server = with_quota(&json!({KEY: "1"})).await;
    set_used(&server, "1").await;
    assert_eq!(
        refused(&server, "admin", "POST", STREAMS, &stream("s")).await.0,
        403
    );
}

#[tokio::test]
async fn a_status_that_was_written_outlives_what_is_created_and_deletions_of_other_things() {
    let mut server = with_quota(&json!({KEY: "3"})).await;
    let is_counted = |_, quota: &Value| quota["status"]["used"][KEY] == "0";
    set_used(&server, "7").await;
    server.run_tasks();
    // All is counted at the start.
    eventually(&server, &format!("{QUOTAS}/q"), is_counted).await;
    let ranges = "/api/v1/namespaces/n/limitranges";
    let other = json!({"metadata": {"name": "other"}, "spec": {"hard": {"count/limitranges": "1"}}});
    post(&server, QUOTAS, other).await;
    set_used(&server, "1").await;
    post(&server, STREAMS, stream("s")).await;
    post(
        &server,
        ranges,
        json!({"metadata": {"name": "l"}, "spec": {"limits": []}}),
    )
    .await;
    server.send("admin", "DELETE", &format!("{ranges}/l"), None).await;
    // The namespace was counted when this is seen.
    let is_free = |_, quota: &Value| quota["status"]["used"]["count/limitranges"] == "0";
    eventually(&server, &format!("{QUOTAS}/other"), is_free).await;
    assert_eq!(used(&server).await[KEY], "2");
    server
        .send("admin", "DELETE", &format!("{STREAMS}/s"), None)
        .await;
    eventually(&server, &format!("{QUOTAS}/q"), is_counted).await;
}

#[tokio::test]
async fn what_nobody_was_charged_for_is_counted_when_it_is_there() {
    let mut server = with_quota(&json!({KEY: "1"})).await;
    server.run_tasks();
    let tag = json!({"metadata": {"name": "s:1"},
        "spec": {"name": "1", "from": {"kind": "DockerImage", "name": "example.com/a"}}});
    post(&server, &others("imagetags"), tag).await;
    let is_counted = |_, quota: &Value| quota["status"]["used"][KEY] == "1";
    eventually(&server, &format!("{QUOTAS}/q"), is_counted).await;
}

#[tokio::test]
async fn a_dry_run_costs_nothing_and_what_is_deleted_is_free_again() {
    let mut server = with_quota(&json!({KEY: "1"})).await;
    server.run_tasks();
    let target = format!("{STREAMS}?dryRun=All");
    let (code, _) = server.send("admin", "POST", &target, Some(&stream("s"))).await;
    assert_eq!((code, used(&server).await), (201, json!({KEY: "0"})));
    for _ in 0..3 {
        post(&server, STREAMS, stream("s")).await;
        server
            .send("admin", "DELETE", &format!("{STREAMS}/s"), None)
            .await;
        let is_free = |_, quota: &Value| quota["status"]["used"][KEY] == "0";
        eventually(&server, &format!("{QUOTAS}/q"), is_free).await;
    }
}

#[tokio::test]
async fn many_at_once_do_not_get_more_than_there_is() {
    let mut server = with_quota(&json!({KEY: "3"})).await;
    server.run_tasks();
    let creations = (0..12).map(|number| {
        let (server, object) = (&server, stream(&format!("s{number}")));
        async move { server.send("admin", "POST", STREAMS, Some(&object)).await.0 }
    });
    let codes = futures::future::join_all(creations).await;
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 3, "{codes:?}");
    assert_eq!(
        get(&server, STREAMS).await.1["items"].as_array().unwrap().len(),
        3
    );
}

#[tokio::test]
async fn what_is_limited_later_is_counted_when_it_is() {
    let server = with_quota(&json!({"pods": "1"})).await;
    post(&server, STREAMS, stream("s")).await;
    let count = "count/imagestreams.image.openshift.io";
    let spec = json!({"spec": {"hard": {count: "1"}}});
    server
        .send("admin", "PATCH", &format!("{QUOTAS}/q"), Some(&spec))
        .await;
    assert_eq!(
        get(&server, &format!("{QUOTAS}/q")).await.1["status"],
        json!({"hard": {"pods": "1", count: "1"}, "used": {"pods": "0", count: "1"}})
    );
}

#[tokio::test]
async fn events_are_taken_and_selected_as_clients_are_used_to() {
    let server = TestServer::surrounded().await;
    make_namespace(&server, "n").await;
    let event = json!({"metadata": {"generateName": "s."}, "reason": "Imported", "type": "Normal",
        "involvedObject": {"kind": "ImageStream", "namespace": "n", "name": "s"}});
    let stored = post(&server, "/api/v1/namespaces/n/events", event).await;
    assert_eq!(stored["source"], json!({}));
    assert_eq!(stored["firstTimestamp"], Value::Null);
    for (name, count) in [("s", 1), ("t", 0)] {
        let selector = format!("fieldSelector=involvedObject.name={name},reason=Imported");
        let (_, found) = get(&server, &format!("/api/v1/namespaces/n/events?{selector}")).await;
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{name}");
    }
}
