use imagestream_api::stream::repository::RegistryHosts;
use imagestream_api::types::GROUP;
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use serde_json::{Value, json};

use super::super::testing::{Options, TestServer};
use super::*;

fn stream(name: &str, tags: &Value) -> Value {
    json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": name},
           "spec": {"tags": tags}})
}

/// A tag that is only pointed at.
fn pointer(name: &str, image: &str) -> Value {
    json!({"name": name, "reference": true, "from": {"kind": "DockerImage", "name": image}})
}

/// A tag that stands for a tag of a stream in a namespace.
fn tracker(name: &str, namespace: &str, of: &str) -> Value {
    json!({"name": name, "from": {"kind": "ImageStreamTag", "namespace": namespace, "name": of}})
}

fn path(namespace: &str) -> String {
    format!("/apis/{GROUP}/v1/namespaces/{namespace}/imagestreams")
}

fn form_of(internal: Option<&str>) -> Arc<dyn Form> {
    let hosts = RegistryHosts {
        internal: internal.map(Into::into),
        external: Vec::new(),
    };
    form(hosts, ImportMode::Legacy)
}

#[tokio::test]
async fn a_stream_is_stored_as_its_type_writes_it_with_everything_filled_in() {
    let server = TestServer::start().await;
    let mut sent = stream("s", &json!([pointer("t", "a/b:c")]));
    sent["status"] = json!({"tags": [{"tag": "mine", "items": []}], "dockerImageRepository": "mine"});
    let answer = server.post("admin", "imagestreams", &sent, 201).await;
    assert_eq!(
        answer["spec"],
        json!({"lookupPolicy": {"local": false}, "tags": [{
            "name": "t", "annotations": null, "reference": true, "generation": 1,
            "from": {"kind": "DockerImage", "name": "a/b:c"},
            "importPolicy": {"importMode": "Legacy"}, "referencePolicy": {"type": "Source"}}]})
    );
    let history = &answer["status"]["tags"];
    assert_eq!(
        history.as_array().unwrap().len(),
        1,
        "what a client says of history does not count"
    );
    assert_eq!(history[0]["items"][0]["dockerImageReference"], "a/b:c");
    assert_eq!(server.get("imagestreams/s").await, (200, answer));
}

#[test]
fn a_stream_is_shown_in_the_registry_that_is_configured_now() {
    let stored = json!({"metadata": {"name": "s", "namespace": "n"},
        "status": {"dockerImageRepository": "former.example.com/n/s"}});
    let repository = |form: &dyn Form| {
        let shown = form.shown(&stored).unwrap();
        shown["status"]["dockerImageRepository"].clone()
    };
    assert_eq!(repository(&*form_of(Some("registry:5000"))), "registry:5000/n/s");
    assert_eq!(repository(&*form_of(None)), "");
    // Nothing is written anew for a stream that looks as it is stored.
    assert_eq!(form_of(Some("former.example.com")).shown(&stored), None);
}

#[test]
fn what_is_told_to_be_shown_as_it_is_stored_is_what_its_type_would_leave_alone() {
    let tag =
        json!({"name": "t", "importPolicy": {"importMode": "Legacy"}, "referencePolicy": {"type": "Source"}});
    let without = |field: &str| {
        let mut tag = tag.clone();
        tag[field] = json!({});
        tag
    };
    let mut streams = Vec::new();
    for tags in [
        json!(null),
        json!([tag]),
        json!([without("importPolicy")]),
        json!([tag, without("referencePolicy")]),
        json!([{"name": "t", "importPolicy": null, "referencePolicy": null}]),
    ] {
        for (of_spec, of_status, public) in [
            ("", "", ""),
            ("a/b", "a/b", ""),
            ("a/b", "", ""),
            ("a/b", "registry:5000/n/s", ""),
            ("", "registry:5000/n/s", "example.com/n/s"),
        ] {
            streams.push(json!({"metadata": {"name": "s", "namespace": "n"},
                "spec": {"tags": tags, "dockerImageRepository": of_spec},
                "status": {"dockerImageRepository": of_status, "publicDockerImageRepository": public}}));
        }
    }
    streams.push(json!({"metadata": {"name": "s", "namespace": "n"}}));
    for internal in [None, Some("registry:5000".to_owned())] {
        let form = StreamForm {
            hosts: RegistryHosts {
                internal,
                external: Vec::new(),
            },
            mode: ImportMode::Legacy,
        };
        for stored in &streams {
            let before = ImageStream::deserialize(stored).unwrap();
            let mut after = before.clone();
            fill_in(&mut after, &form.hosts);
            defaults::image_stream(&mut after, form.mode);
            assert_eq!(form.is_shown_as_stored(stored), before == after, "{stored}");
        }
    }
}

#[test]
fn streams_are_selected_by_the_repository_that_is_stored() {
    let form = form_of(Some("registry:5000"));
    let stored = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"dockerImageRepository": "a/b"},
        "status": {"dockerImageRepository": "former.example.com/n/s"}});
    let values: Vec<&str> = form
        .selectable()
        .iter()
        .map(|field| form.field(&stored, field))
        .collect();
    assert_eq!(values, ["s", "n", "a/b", "former.example.com/n/s"]);
}

#[tokio::test]
async fn a_replacement_keeps_the_history_and_numbers_what_points_elsewhere() {
    let server = TestServer::start().await;
    let tags = json!([pointer("t", "a/b:c"), pointer("u", "a/b:d")]);
    let created = server
        .post("admin", "imagestreams", &stream("s", &tags), 201)
        .await;
    let mut changed = created.clone();
    changed["spec"]["tags"][0]["from"]["name"] = json!("a/b:e");
    changed["status"]["tags"] = json!([]);
    let target = format!("{}/s", path("n"));
    let (code, updated) = server.send("admin", "PUT", &target, Some(&changed)).await;
    assert_eq!(code, 200, "{updated}");
    let generations = |tag: usize| updated["spec"]["tags"][tag]["generation"].clone();
    assert_eq!(
        (&updated["metadata"]["generation"], generations(0), generations(1)),
        (&json!(2), json!(2), json!(1))
    );
    let moved = &updated["status"]["tags"][0]["items"];
    assert_eq!(
        moved[0]["dockerImageReference"], "a/b:e",
        "the server resolved it"
    );
    assert_eq!(updated["status"]["tags"][1], created["status"]["tags"][1]);

    let (code, stale) = server.send("admin", "PUT", &target, Some(&created)).await;
    assert_eq!((code, &stale["reason"]), (409, &json!("Conflict")));
    let mut unversioned = created;
    unversioned["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    let (code, refused) = server.send("admin", "PUT", &target, Some(&unversioned)).await;
    assert_eq!(code, 422);
    assert_eq!(
        refused["details"]["causes"][0]["message"],
        "Invalid value: 0: must be specified for an update"
    );
}

#[tokio::test]
async fn who_may_pull_a_stream_may_refer_to_it_from_another_namespace() {
    let server = TestServer::start().await;
    let source = stream("src", &json!([pointer("t", "a/b:c")]));
    let (code, _) = server.send("admin", "POST", &path("m"), Some(&source)).await;
    assert_eq!(code, 201);
    let wanted = stream(
        "s",
        &json!([tracker("t", "m", "src:t"), tracker("u", "m", "src:t")]),
    );
    let refused = server.post("dev", "imagestreams", &wanted, 422).await;
    assert_eq!(
        refused["message"],
        "ImageStream.image.openshift.io \"s\" is invalid: []: Internal error: imagestreams \"s\" is invalid: \
         [spec.tags[t].from: Forbidden: m/src: \"\" \"\", spec.tags[u].from: Forbidden: m/src: \"\" \"\"]"
    );
    assert_eq!(server.get("imagestreams/s").await.0, 404);

    server.grant(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: puller, namespace: m}
rules:
- {apiGroups: [image.openshift.io], resources: [imagestreams/layers], resourceNames: [src], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: dev, namespace: m}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: puller}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dev}]
",
    );
    let created = server.post("dev", "imagestreams", &wanted, 201).await;
    assert_eq!(
        created["status"]["tags"][0]["items"][0]["dockerImageReference"],
        "a/b:c"
    );

    // What was granted once is not asked again as long as the tag stays as it is.
    server
        .context
        .authorizer
        .update(|policy| *policy = imagestream_apiserver::rbac::Policy::new());
    let target = format!("{}/s", path("n"));
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(server.send("dev", "PATCH", &target, Some(&labels)).await.0, 200);
    let elsewhere = json!({"spec": {"tags": [tracker("t", "m", "src:other")]}});
    assert_eq!(
        server.send("dev", "PATCH", &target, Some(&elsewhere)).await.0,
        422
    );
}

#[tokio::test]
async fn a_new_status_gets_generations_and_is_answered_as_it_was_sent() {
    let server = TestServer::start_with(Options {
        hosts: RegistryHosts {
            internal: Some("registry:5000".into()),
            external: Vec::new(),
        },
        ..Options::default()
    })
    .await;
    let created = server
        .post("admin", "imagestreams", &stream("s", &json!([])), 201)
        .await;
    assert_eq!(created["status"]["dockerImageRepository"], "registry:5000/n/s");
    let event = json!({"created": "2024-01-02T03:04:05Z", "dockerImageReference": "a/b:c", "image": "sha256:x",
        "generation": 0});
    let pushed = json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
        "metadata": {"name": "s", "resourceVersion": created["metadata"]["resourceVersion"]},
        "spec": {"tags": [pointer("not", "a/b:d")]},
        "status": {"tags": [{"tag": "t", "items": [event]}]}});
    let target = format!("{}/s/status", path("n"));
    let (code, answer) = server.send("admin", "PUT", &target, Some(&pushed)).await;
    assert_eq!(code, 200, "{answer}");
    assert_eq!(answer["status"]["dockerImageRepository"], "", "as it was sent");
    assert_eq!(answer["status"]["tags"][0]["items"][0]["generation"], 1);
    assert_eq!(answer["spec"].get("tags"), None, "a status changes no spec");
    assert_eq!(server.get("imagestreams/s/status").await, (200, answer));
    let (_, shown) = server.get("imagestreams/s").await;
    assert_eq!(shown["status"]["dockerImageRepository"], "registry:5000/n/s");

    let broken = json!({"status": {"tags": [{"tag": "t", "items": [{"dockerImageReference": ""}]}]}});
    let (code, refused) = server.send("admin", "PATCH", &target, Some(&broken)).await;
    assert_eq!(code, 422);
    assert_eq!(
        refused["details"]["causes"][0]["field"],
        "status.tags[t].items[0].dockerImageReference"
    );
    let missing = format!("{}/none/status", path("n"));
    let (code, answer) = server.send("admin", "PATCH", &missing, Some(&broken)).await;
    assert_eq!(
        (code, &answer["message"]),
        (404, &json!("imagestreams.image.openshift.io \"none\" not found"))
    );
}

#[tokio::test]
async fn a_dry_run_answers_what_would_be_stored_and_stores_nothing() {
    let server = TestServer::start().await;
    let revision = server.context.store.current_revision().await.unwrap();
    let sent = stream("s", &json!([pointer("t", "a/b:c")]));
    let answer = server.post("admin", "imagestreams?dryRun=All", &sent, 201).await;
    assert_eq!(answer["status"]["tags"][0]["tag"], "t");
    assert_eq!(server.context.store.current_revision().await.unwrap(), revision);
    let (all, _) = server
        .context
        .streams
        .all("n", &LabelSelector::default(), &FieldSelector::default())
        .await
        .unwrap();
    assert!(all.is_empty());
}
