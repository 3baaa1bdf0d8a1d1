//! What each verb does with a stored resource that has no rules of its own.
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod serving;

use imagestream_apiserver::storage::Keeping;
use serde_json::{Value, json};
use serving::Server;

const ALL: &str = "/apis/example.org/v1/namespaces/n/widgets";
const A: &str = "/apis/example.org/v1/namespaces/n/widgets/a";

fn widget(name: &str) -> Value {
    json!({"metadata": {"name": name}, "size": 1})
}

#[tokio::test]
async fn a_created_object_can_be_read_as_it_was_answered() {
    let server = Server::start().await;
    let created = server.create(widget("a")).await;
    assert_eq!(created.code, 201);
    let object = created.json();
    assert_eq!(
        (&object["kind"], &object["apiVersion"]),
        (&json!("Widget"), &json!("example.org/v1"))
    );
    assert_eq!(object["metadata"]["namespace"], "n");
    assert_eq!(object["metadata"]["uid"].as_str().unwrap().len(), 36);
    let read = server.get(A).await;
    assert_eq!((read.code, read.json()), (200, object.clone()));
    let list = server.get("/apis/example.org/v1/widgets").await.json();
    assert_eq!(list["kind"], "WidgetList");
    let mut item = object;
    item.as_object_mut()
        .unwrap()
        .retain(|field, _| field != "kind" && field != "apiVersion");
    assert_eq!(list["items"], json!([item]));
}

#[tokio::test]
async fn what_a_client_cannot_decide_about_a_new_object_is_ignored_or_refused() {
    let server = Server::start().await;
    let given =
        json!({"metadata": {"name": "a", "uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z"}});
    let object = server.create(given).await.json();
    assert_ne!(object["metadata"]["uid"], "mine");
    assert_ne!(object["metadata"]["creationTimestamp"], "2001-01-01T00:00:00Z");
    let again = server.create(widget("a")).await;
    assert_eq!(
        (again.code, again.message().as_str()),
        (409, "widgets.example.org \"a\" already exists")
    );
    let elsewhere = server
        .create(json!({"metadata": {"name": "b", "namespace": "m"}}))
        .await;
    assert_eq!(elsewhere.code, 400);
    let versioned = server
        .create(json!({"metadata": {"name": "b", "resourceVersion": "5"}}))
        .await;
    assert_eq!(versioned.code, 500);
    let dry = server
        .send(
            "POST",
            &format!("{ALL}?dryRun=All"),
            &[],
            &widget("c").to_string(),
        )
        .await;
    assert_eq!(
        (dry.code, &dry.json()["metadata"]["resourceVersion"]),
        (201, &Value::Null)
    );
    assert_eq!(server.get(ALL).await.names(), ["a"]);
}

#[tokio::test]
async fn an_update_must_know_what_it_replaces_if_it_says_so() {
    let server = Server::start().await;
    let mut object = server.create(widget("a")).await.json();
    let first = object["metadata"]["resourceVersion"].clone();
    object["size"] = json!(2);
    let put = |body: Value| {
        let server = &server;
        async move { server.send("PUT", A, &[], &body.to_string()).await }
    };
    let updated = put(object.clone()).await;
    assert_eq!((updated.code, &updated.json()["size"]), (200, &json!(2)));
    let same = put(updated.json()).await;
    assert_eq!(
        same.json(),
        updated.json(),
        "nothing changed, so nothing is written"
    );
    object["metadata"]["resourceVersion"] = first;
    assert_eq!(put(object.clone()).await.code, 409);
    object["metadata"]["resourceVersion"] = Value::Null;
    object["size"] = json!(3);
    assert_eq!(
        put(object.clone()).await.json()["size"],
        3,
        "an update that names no state is not held to one"
    );
    object["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    assert_eq!(put(object.clone()).await.code, 409);
    object["metadata"]["name"] = json!("b");
    let renamed = put(object).await;
    let message = "the name of the object (b) does not match the name on the URL (a)";
    assert_eq!((renamed.code, renamed.message().as_str()), (400, message));
}

#[tokio::test]
async fn each_kind_of_patch_changes_its_parts() {
    let server = Server::start().await;
    server
        .create(json!({"metadata": {"name": "a"}, "parts": [{"name": "x", "count": 1}, {"name": "y"}]}))
        .await;
    let merged = server
        .patch(
            "a",
            "merge-patch",
            json!({"size": 7, "metadata": {"labels": {"l": "1"}}}),
        )
        .await;
    assert_eq!((merged.code, &merged.json()["size"]), (200, &json!(7)));
    let strategic = json!({"parts": [{"name": "x", "count": 2}, {"name": "y", "$patch": "delete"}]});
    let strategic = server.patch("a", "strategic-merge-patch", strategic).await;
    assert_eq!(strategic.json()["parts"], json!([{"name": "x", "count": 2}]));
    let json = server
        .patch(
            "a",
            "json-patch",
            json!([{"op": "remove", "path": "/metadata/labels"}]),
        )
        .await;
    assert_eq!(json.json()["metadata"].get("labels"), None);
    let unknown = server.patch("a", "merge-patch", json!({"colour": "red"})).await;
    assert_eq!((unknown.code, unknown.warnings.len()), (200, 1), "{unknown:?}");
    let missing = server.patch("nobody", "merge-patch", json!({})).await;
    assert_eq!(missing.code, 404);
    let stale = server
        .patch(
            "a",
            "merge-patch",
            json!({"metadata": {"resourceVersion": "1"}, "size": 8}),
        )
        .await;
    assert_eq!(stale.code, 409);
}

#[tokio::test]
async fn concurrent_patches_without_a_version_are_all_kept() {
    let server = Server::start().await;
    server.create(widget("a")).await;
    let patches = (0..50).map(|index| {
        let name = format!("p{index}");
        server.patch("a", "strategic-merge-patch", json!({"parts": [{"name": name}]}))
    });
    for answer in futures::future::join_all(patches).await {
        assert_eq!(answer.code, 200, "{answer:?}");
    }
    assert_eq!(server.get(A).await.json()["parts"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn pages_of_a_list_show_one_state_whatever_happens_in_between() {
    for on_disk in [false, true] {
        let server = Server::keeping(Keeping { on_disk }).await;
        for name in ["a", "b", "c", "d", "e"] {
            server.create(widget(name)).await;
        }
        let first = server.get(&format!("{ALL}?limit=2")).await;
        assert_eq!(first.names(), ["a", "b"], "on disk: {on_disk}");
        assert_eq!(first.json()["metadata"]["remainingItemCount"], 3);
        server.send("DELETE", &format!("{ALL}/c"), &[], "").await;
        server.create(widget("bb")).await;
        let mut names = Vec::new();
        let mut token = first.json()["metadata"]["continue"].as_str().unwrap().to_owned();
        while !token.is_empty() {
            let next = server.get(&format!("{ALL}?limit=2&continue={token}")).await;
            names.extend(next.names());
            let list = next.json();
            assert_eq!(
                list["metadata"]["resourceVersion"],
                first.json()["metadata"]["resourceVersion"]
            );
            token = list["metadata"]["continue"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
        }
        assert_eq!(names, ["c", "d", "e"], "on disk: {on_disk}");
        assert_eq!(server.get(ALL).await.names(), ["a", "b", "bb", "d", "e"]);
    }
}

#[tokio::test]
async fn a_page_tells_how_much_follows_unless_a_selector_leaves_out_some() {
    for on_disk in [false, true] {
        let server = Server::keeping(Keeping { on_disk }).await;
        for name in ["a", "b", "c", "d", "e"] {
            server.create(widget(name)).await;
        }
        let page = |query: String| {
            let (server, path) = (&server, format!("{ALL}?limit=2{query}"));
            async move { server.get(&path).await.json()["metadata"].clone() }
        };
        let first = page(String::new()).await;
        server.create(widget("f")).await;
        let version = first["resourceVersion"].as_str().unwrap();
        let of_version = page(format!("&resourceVersion={version}")).await;
        assert_eq!(of_version["remainingItemCount"], 3, "on disk: {on_disk}");
        let token = first["continue"].as_str().unwrap();
        let second = page(format!("&continue={token}")).await;
        assert_eq!(second["remainingItemCount"], 1, "on disk: {on_disk}");
        let token = second["continue"].as_str().unwrap();
        let last = page(format!("&continue={token}")).await;
        assert_eq!(last.get("remainingItemCount"), None);
        let selected = page("&labelSelector=!none".into()).await;
        assert!(selected["continue"].is_string());
        assert_eq!(selected.get("remainingItemCount"), None);
    }
}

#[tokio::test]
async fn a_page_of_a_state_that_is_gone_offers_to_go_on_with_the_present_one() {
    use imagestream_store::Store;
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server.create(widget(name)).await;
    }
    let first = server.get(&format!("{ALL}?limit=1")).await;
    let token = first.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    server.create(widget("d")).await;
    let current = server.store.current_revision().await.unwrap();
    server.store.compact(current).await.unwrap();
    let gone = server.get(&format!("{ALL}?limit=1&continue={token}")).await;
    assert_eq!((gone.code, &gone.json()["reason"]), (410, &json!("Expired")));
    let offered = gone.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = server.get(&format!("{ALL}?continue={offered}")).await;
    assert_eq!(rest.names(), ["b", "c", "d"]);
}

#[tokio::test]
async fn selectors_choose_by_labels_and_known_fields() {
    let server = Server::start().await;
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        server
            .create(json!({"metadata": {"name": name, "labels": {"app": app}}}))
            .await;
    }
    assert_eq!(
        server
            .get(&format!("{ALL}?labelSelector=app%3Dweb"))
            .await
            .names(),
        ["a", "c"]
    );
    assert_eq!(
        server
            .get(&format!("{ALL}?labelSelector=app%20notin%20(web)"))
            .await
            .names(),
        ["b"]
    );
    assert_eq!(
        server
            .get(&format!("{ALL}?fieldSelector=metadata.name%3Db"))
            .await
            .names(),
        ["b"]
    );
    let unknown = server.get(&format!("{ALL}?fieldSelector=size%3D1")).await;
    assert_eq!(unknown.code, 400);
}

#[tokio::test]
async fn a_deletion_keeps_its_preconditions_and_waits_for_finalizers() {
    let server = Server::start().await;
    server
        .create(json!({"metadata": {"name": "a", "finalizers": ["example.org/wait"]}}))
        .await;
    let body = json!({"preconditions": {"uid": "other"}}).to_string();
    assert_eq!(server.send("DELETE", A, &[], &body).await.code, 409);
    let held = server.send("DELETE", A, &[], "").await;
    assert_eq!((held.code, &held.json()["kind"]), (200, &json!("Widget")));
    assert!(held.json()["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(server.get(A).await.code, 200);
    let cascading = json!({"orphanDependents": false}).to_string();
    let delayed = server.send("DELETE", A, &[], &cascading).await;
    assert_eq!((delayed.code, &delayed.json()["kind"]), (202, &json!("Widget")));
    let released = server
        .patch("a", "merge-patch", json!({"metadata": {"finalizers": null}}))
        .await;
    assert_eq!(released.code, 200);
    assert_eq!(server.get(A).await.code, 404, "nothing holds it any more");

    server.create(widget("a")).await;
    let dry = server.send("DELETE", &format!("{A}?dryRun=All"), &[], "").await;
    assert_eq!((dry.code, server.get(A).await.code), (200, 200));
    let done = server.send("DELETE", A, &[], "").await.json();
    assert_eq!(
        (&done["status"], &done["details"]["name"]),
        (&json!("Success"), &json!("a"))
    );
}

#[tokio::test]
async fn a_collection_is_deleted_as_far_as_it_is_selected() {
    let server = Server::start().await;
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        server
            .create(json!({"metadata": {"name": name, "labels": {"app": app}}}))
            .await;
    }
    let deleted = server
        .send("DELETE", &format!("{ALL}?labelSelector=app%3Dweb"), &[], "")
        .await;
    assert_eq!(
        (deleted.code, deleted.names()),
        (200, vec!["a".to_owned(), "c".to_owned()])
    );
    assert_eq!(server.get(ALL).await.names(), ["b"]);
}

#[tokio::test]
async fn answers_come_in_the_shape_and_encoding_that_is_asked_for() {
    let server = Server::start().await;
    server.create(widget("a")).await;
    let accept = |value: &'static str| [("accept", value)];
    let table = server
        .send(
            "GET",
            ALL,
            &accept("application/json;as=Table;v=v1;g=meta.k8s.io"),
            "",
        )
        .await
        .json();
    assert_eq!(
        (&table["kind"], &table["rows"][0]["cells"][0]),
        (&json!("Table"), &json!("a"))
    );
    assert_eq!(table["columnDefinitions"][1]["type"], "date");
    let partial = accept("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
    let partial = server.send("GET", A, &partial, "").await.json();
    assert_eq!(
        (&partial["kind"], partial.get("size")),
        (&json!("PartialObjectMetadata"), None)
    );
    let yaml = server.send("GET", A, &accept("application/yaml"), "").await;
    assert_eq!(yaml.content_type, "application/yaml");
    assert!(yaml.text.contains("\nsize: 1"), "{}", yaml.text);
    let pretty = server.get(&format!("{A}?pretty=true")).await;
    assert!(pretty.text.contains("\n  \"size\": 1"), "{}", pretty.text);
    let other = server.send("GET", A, &accept("application/xml"), "").await;
    assert_eq!(other.code, 406);
    let xml = server
        .send("POST", ALL, &[("content-type", "application/xml")], "<a/>")
        .await;
    assert_eq!(xml.code, 415);
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_told_apart() {
    let server = Server::start().await;
    for (method, path, code) in [
        ("GET", "/apis/example.org/v1/gadgets", 404),
        ("GET", "/apis/example.org/v1/namespaces/n/widgets/a/scale", 404),
        ("GET", "/apis/example.org/v1/widgets/a", 404),
        ("PUT", ALL, 405),
        ("POST", A, 405),
        ("POST", "/apis/example.org/v1/widgets", 405),
    ] {
        let answer = server.send(method, path, &[], "{}").await;
        assert_eq!(answer.code, code, "{method} {path}");
    }
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_about_or_dropped() {
    let server = Server::start().await;
    let body = json!({"metadata": {"name": "a"}, "colour": "red"}).to_string();
    let strict = server
        .send("POST", &format!("{ALL}?fieldValidation=Strict"), &[], &body)
        .await;
    assert_eq!(strict.code, 400);
    let warned = server.send("POST", ALL, &[], &body).await;
    assert_eq!(
        (warned.code, warned.warnings),
        (201, vec!["299 - \"unknown field \\\"colour\\\"\"".to_owned()])
    );
    server.send("DELETE", A, &[], "").await;
    let ignored = server
        .send("POST", &format!("{ALL}?fieldValidation=Ignore"), &[], &body)
        .await;
    assert_eq!((ignored.code, ignored.warnings.len()), (201, 0));
    assert_eq!(ignored.json().get("colour"), None);
}

#[tokio::test]
async fn dependents_follow_their_owner_as_the_deletion_asks() {
    let server = Server::start().await;
    let collecting = tokio::spawn(imagestream_apiserver::garbage::collect(vec![
        server.objects.clone(),
    ]));
    for (propagation, owner, dependent) in [
        ("Background", "a", "a1"),
        ("Foreground", "b", "b1"),
        ("Orphan", "c", "c1"),
    ] {
        let uid = server.create(widget(owner)).await.json()["metadata"]["uid"].clone();
        let reference = json!({"apiVersion": "example.org/v1", "kind": "Widget", "name": owner, "uid": uid});
        server
            .create(json!({"metadata": {"name": dependent, "ownerReferences": [reference]}}))
            .await;
        let path = format!("{ALL}/{owner}?propagationPolicy={propagation}");
        assert_eq!(server.send("DELETE", &path, &[], "").await.code, 200);
    }
    let mut left = server.get(ALL).await;
    for _ in 0..600 {
        if left.names() == ["c1"] {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        left = server.get(ALL).await;
    }
    assert_eq!(left.names(), ["c1"]);
    assert_eq!(left.json()["items"][0]["metadata"].get("ownerReferences"), None);
    collecting.abort();
}

#[tokio::test]
async fn dependents_of_an_owner_that_went_while_nobody_collected_go_too() {
    let server = Server::start().await;
    let owner = server.create(widget("owner")).await.json()["metadata"]["uid"].clone();
    let elsewhere = json!("00000000-0000-0000-0000-000000000000");
    for (name, version, uid) in [
        ("dependent", "example.org/v1", &owner),
        ("foreign", "other.org/v1", &elsewhere),
    ] {
        let owner = json!({"apiVersion": version, "kind": "Widget", "name": "owner", "uid": uid});
        let object = json!({"metadata": {"name": name, "ownerReferences": [owner]}});
        assert_eq!(server.create(object).await.code, 201);
    }
    let gone = server.send("DELETE", &format!("{ALL}/owner"), &[], "").await;
    assert_eq!(gone.code, 200);
    assert_eq!(server.get(ALL).await.names(), ["dependent", "foreign"]);

    let kinds = vec![server.objects.clone()];
    let collecting = tokio::spawn(imagestream_apiserver::garbage::collect(kinds));
    let dependent = format!("{ALL}/dependent");
    for _ in 0..600 {
        if server.get(&dependent).await.code == 404 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(server.get(ALL).await.names(), ["foreign"]);
    collecting.abort();
}

#[tokio::test]
async fn a_dependent_of_several_owners_stays_until_the_last_of_them_goes() {
    let server = Server::start().await;
    let collecting = tokio::spawn(imagestream_apiserver::garbage::collect(vec![
        server.objects.clone(),
    ]));
    let mut owners = Vec::new();
    for owner in ["a", "b"] {
        let uid = server.create(widget(owner)).await.json()["metadata"]["uid"].clone();
        owners.push(json!({"apiVersion": "example.org/v1", "kind": "Widget", "name": owner, "uid": uid}));
    }
    server
        .create(json!({"metadata": {"name": "shared", "ownerReferences": owners}}))
        .await;
    let shared = format!("{ALL}/shared");
    assert_eq!(
        server.send("DELETE", &format!("{ALL}/a"), &[], "").await.code,
        200
    );
    let mut left = server.get(&shared).await;
    for _ in 0..600 {
        if left.code != 200 || left.json()["metadata"]["ownerReferences"] == json!([owners[1]]) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        left = server.get(&shared).await;
    }
    assert_eq!(left.code, 200, "{}", left.text);
    assert_eq!(left.json()["metadata"]["ownerReferences"], json!([owners[1]]));
    assert_eq!(
        server.send("DELETE", &format!("{ALL}/b"), &[], "").await.code,
        200
    );
    for _ in 0..600 {
        if left.code == 404 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        left = server.get(&shared).await;
    }
    assert_eq!(left.code, 404, "{}", left.text);
    collecting.abort();
}
