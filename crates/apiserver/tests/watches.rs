//! What a watch delivers, from which state on, and how it ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]

mod serving;

use futures::StreamExt as _;
use http_body_util::BodyExt;
use imagestream_apiserver::endpoint::WatchEvent;
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::storage::Keeping;
use imagestream_store::Store as _;
use serde_json::{Value, json};
use serving::Server;

const ALL: &str = "/apis/example.org/v1/namespaces/n/widgets";

/// Reads `count` events of a watch.
async fn events(server: &Server, query: &str, count: usize, headers: &[(&str, &str)]) -> Vec<Value> {
    events_at(server, &format!("{ALL}?watch=true&{query}"), count, headers).await
}

async fn events_at(server: &Server, target: &str, count: usize, headers: &[(&str, &str)]) -> Vec<Value> {
    let response = server.open("GET", target, headers, "").await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut events = Vec::new();
    while events.len() < count {
        let frame = tokio::time::timeout(std::time::Duration::from_secs(60), body.frame()).await;
        let frame = frame
            .unwrap()
            .unwrap_or_else(|| panic!("the watch ended after {events:?}"))
            .unwrap();
        events.push(serde_json::from_slice(frame.data_ref().unwrap()).unwrap());
    }
    events
}

fn shown(events: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events
        .iter()
        .map(|event| (text(&event["type"]), text(&event["object"]["metadata"]["name"])))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(kind, name)| ((*kind).to_owned(), (*name).to_owned()))
        .collect()
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_then_every_change() {
    for on_disk in [false, true] {
        let server = Server::keeping(Keeping { on_disk }).await;
        let first = server.create(json!({"metadata": {"name": "a"}})).await.json();
        server.create(json!({"metadata": {"name": "b"}})).await;
        server.patch("a", "merge-patch", json!({"size": 2})).await;
        server.send("DELETE", &format!("{ALL}/b"), &[], "").await;
        let from = first["metadata"]["resourceVersion"].as_str().unwrap();
        let after = events(&server, &format!("resourceVersion={from}"), 3, &[]).await;
        let expected = pairs(&[("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]);
        assert_eq!(shown(&after), expected, "on disk: {on_disk}");
        assert_eq!(after[1]["object"]["size"], 2);
        let version = |event: &Value| {
            event["object"]["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        assert!(
            version(&after[2]) > version(&after[1]),
            "a deletion is told at its own revision"
        );
        assert_eq!(
            shown(&events(&server, "", 1, &[]).await),
            pairs(&[("ADDED", "a")])
        );
    }
}

#[tokio::test]
async fn objects_enter_and_leave_what_a_selector_chooses() {
    let server = Server::start().await;
    let first = server.create(json!({"metadata": {"name": "a"}})).await.json();
    server
        .patch("a", "merge-patch", json!({"metadata": {"labels": {"on": "1"}}}))
        .await;
    server.patch("a", "merge-patch", json!({"size": 5})).await;
    server
        .patch("a", "merge-patch", json!({"metadata": {"labels": {"on": null}}}))
        .await;
    let from = first["metadata"]["resourceVersion"].as_str().unwrap();
    let seen = events(
        &server,
        &format!("resourceVersion={from}&labelSelector=on%3D1"),
        3,
        &[],
    )
    .await;
    assert_eq!(
        shown(&seen),
        pairs(&[("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")])
    );
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let server = Server::start().await;
    server.create(json!({"metadata": {"name": "a"}})).await;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let seen = events(&server, query, 2, &[]).await;
    assert_eq!(
        (&seen[0]["type"], &seen[1]["type"]),
        (&json!("ADDED"), &json!("BOOKMARK"))
    );
    let end = &seen[1]["object"]["metadata"];
    assert_eq!(end["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    assert_eq!(
        end["resourceVersion"],
        seen[0]["object"]["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn the_old_form_of_a_watch_shows_what_its_path_names() {
    let server = Server::start().await;
    for name in ["a", "b"] {
        server.create(json!({"metadata": {"name": name}})).await;
    }
    let one = "/apis/example.org/v1/watch/namespaces/n/widgets/b";
    let all = "/apis/example.org/v1/watch/namespaces/n/widgets";
    assert_eq!(
        shown(&events_at(&server, all, 2, &[]).await),
        pairs(&[("ADDED", "a"), ("ADDED", "b")])
    );
    for query in ["", "?fieldSelector=metadata.name%3Db"] {
        let seen = events_at(&server, &format!("{one}{query}"), 1, &[]).await;
        assert_eq!(shown(&seen), pairs(&[("ADDED", "b")]));
    }
    let refused = server
        .send("GET", &format!("{one}?fieldSelector=metadata.name%3Da"), &[], "")
        .await;
    assert_eq!(
        (refused.code, &refused.json()["message"]),
        (
            400,
            &json!("fieldSelector metadata.name doesn't match requested name")
        )
    );
}

#[tokio::test]
async fn a_watch_from_a_state_that_is_gone_says_so() {
    let server = Server::remembering(Keeping { on_disk: false }, 2).await;
    let first = server.create(json!({"metadata": {"name": "a"}})).await.json();
    for size in 2..6 {
        server.patch("a", "merge-patch", json!({"size": size})).await;
    }
    let from = first["metadata"]["resourceVersion"].as_str().unwrap();
    let seen = events(&server, &format!("resourceVersion={from}"), 1, &[]).await;
    assert_eq!(
        (&seen[0]["type"], &seen[0]["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
}

#[tokio::test]
async fn the_end_of_an_object_is_told_however_old_its_last_change_is() {
    for on_disk in [false, true] {
        let server = Server::keeping(Keeping { on_disk }).await;
        server.create(json!({"metadata": {"name": "old"}})).await;
        let last = server.create(json!({"metadata": {"name": "new"}})).await.json();
        let from = last["metadata"]["resourceVersion"].as_str().unwrap();
        server.store.compact(from.parse().unwrap()).await.unwrap();
        server.send("DELETE", &format!("{ALL}/old"), &[], "").await;
        let seen = events(&server, &format!("resourceVersion={from}"), 1, &[]).await;
        assert_eq!(
            shown(&seen),
            pairs(&[("DELETED", "old")]),
            "on disk: {on_disk}: {seen:?}"
        );
    }
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over() {
    let server = Server::start().await;
    let answer = server.get(&format!("{ALL}?watch=true&timeoutSeconds=1")).await;
    assert_eq!((answer.code, answer.text.as_str()), (200, ""));
    let future = server
        .get(&format!(
            "{ALL}?watch=true&timeoutSeconds=1&resourceVersion=99999"
        ))
        .await;
    assert_eq!((future.code, future.text.as_str()), (200, ""));
}

#[tokio::test]
async fn a_watch_tells_all_that_was_committed_before_its_end_however_late_it_is_asked() {
    for on_disk in [false, true] {
        let server = Server::keeping(Keeping { on_disk }).await;
        let first = server.create(json!({"metadata": {"name": "first"}})).await.json();
        let from = first["metadata"]["resourceVersion"].as_str().unwrap();
        // It ends at once, as one does that could not run for longer than its time.
        let options = ListOptions {
            timeout_seconds: Some(0),
            ..ListOptions::changes_after(from.parse().unwrap())
        };
        let watch = server.objects.watch("n", options).await.unwrap();
        let names = Vec::from_iter((0..30).map(|number| format!("w{number:02}")));
        for name in &names {
            assert_eq!(server.create(json!({"metadata": {"name": name}})).await.code, 201);
        }
        let told = watch.map(|event| match event {
            WatchEvent::Added(object) => object.into_value().unwrap()["metadata"]["name"].clone(),
            _ => panic!("nothing else happened"),
        });
        assert_eq!(told.collect::<Vec<_>>().await, names, "on disk: {on_disk}");
    }
}

#[tokio::test]
async fn tables_of_a_watch_name_their_columns_once() {
    let server = Server::start().await;
    server.create(json!({"metadata": {"name": "a"}})).await;
    server.create(json!({"metadata": {"name": "b"}})).await;
    let headers = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let seen = events(&server, "", 2, &headers).await;
    assert!(seen[0]["object"]["columnDefinitions"].is_array());
    assert!(seen[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(seen[1]["object"]["rows"][0]["cells"][0], "b");
}
