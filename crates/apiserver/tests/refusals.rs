//! What is refused, in the words of Kubernetes.
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod serving;

use serde_json::{Value, json};
use serving::Server;

const A: &str = "/apis/example.org/v1/namespaces/n/widgets/a";

fn widget(name: &str) -> Value {
    json!({"metadata": {"name": name}, "size": 1})
}

#[tokio::test]
async fn no_replacement_begins_the_end_of_an_object() {
    let server = Server::start().await;
    let created = server.create(widget("a")).await.json();
    let mut ending = created.clone();
    ending["metadata"]["deletionTimestamp"] = json!("2024-01-02T03:04:05Z");
    ending["metadata"]["deletionGracePeriodSeconds"] = json!(5);
    let put = server.send("PUT", A, &[], &ending.to_string()).await;
    let merged = server
        .patch("a", "merge-patch", json!({"metadata": ending["metadata"]}))
        .await;
    for refused in [put, merged] {
        assert_eq!(
            (refused.code, refused.message().as_str()),
            (
                422,
                "Widget.example.org \"a\" is invalid: [metadata.deletionTimestamp: Invalid value: \
                 \"2024-01-02T03:04:05Z\": field is immutable, metadata.deletionGracePeriodSeconds: Invalid value: \
                 5: field is immutable]"
            )
        );
    }
    assert_eq!(server.get(A).await.json(), created);
}

#[tokio::test]
async fn another_uid_is_a_conflict_in_a_replacement_and_invalid_in_a_patch() {
    let server = Server::start().await;
    let mut object = server.create(widget("a")).await.json();
    object["metadata"]["uid"] = json!("zz");
    let put = server.send("PUT", A, &[], &object.to_string()).await;
    assert_eq!((put.code, &put.json()["reason"]), (409, &json!("Conflict")));
    let change = json!({"metadata": {"uid": "zz"}});
    let merge = server.patch("a", "merge-patch", change.clone()).await;
    let strategic = server.patch("a", "strategic-merge-patch", change.clone()).await;
    let operation = json!([{"op": "replace", "path": "/metadata/uid", "value": "zz"}]);
    let json = server.patch("a", "json-patch", operation).await;
    let applied = apply(&server, "a", change).await;
    for refused in [merge, strategic, json, applied] {
        assert_eq!(
            (refused.code, refused.message().as_str()),
            (
                422,
                "Widget.example.org \"a\" is invalid: metadata.uid: Invalid value: \"zz\": field is immutable"
            )
        );
    }
}

#[tokio::test]
async fn an_apply_for_an_object_that_is_gone_makes_no_other_one() {
    let server = Server::start().await;
    let refused = apply(&server, "a", json!({"metadata": {"uid": "zz"}})).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            409,
            "Operation cannot be fulfilled on widgets.example.org \"a\": uid mismatch: the provided object \
             specified uid zz, and no existing object was found"
        )
    );
    assert_eq!(server.get(A).await.code, 404);
    assert_eq!(apply(&server, "a", json!({})).await.code, 201);
}

#[tokio::test]
async fn a_patch_that_makes_no_widget_is_shown_as_it_was_sent_or_as_what_it_made() {
    let server = Server::start().await;
    server.create(widget("a")).await;
    let patch = |kind: &'static str, query: &str, body: &'static str| {
        let (server, path) = (&server, format!("{A}{query}"));
        async move {
            let content_type = format!("application/{kind}+json");
            let answer = server
                .send("PATCH", &path, &[("content-type", &content_type)], body)
                .await;
            (answer.code, answer.message())
        }
    };
    let strict = "?fieldValidation=Strict";
    let (code, message) = patch("strategic-merge-patch", strict, r#"{"colour":{"b":1,"a":null}}"#).await;
    assert_eq!(
        (code, message.as_str()),
        (
            422,
            " \"\" is invalid: patch: Invalid value: \"map[colour:map[b:1]]\": strict decoding error: unknown field \
             \"colour\""
        )
    );
    let (code, message) = patch("strategic-merge-patch", "", r#"{"size":"large"}"#).await;
    assert_eq!(code, 422);
    assert!(
        message.starts_with(" \"\" is invalid: patch: Invalid value: \"map[size:large]\": "),
        "{message}"
    );
    let (code, message) = patch("merge-patch", strict, r#"{"size":2,"size":3,"colour":1}"#).await;
    assert_eq!(code, 422);
    assert!(
        message.starts_with(" \"\" is invalid: patch: Invalid value: \"{\\\""),
        "{message}"
    );
    assert!(message.contains("\\\"size\\\":3"), "{message}");
    let findings = "strict decoding error: duplicate field \"size\", unknown field \"colour\"";
    assert!(message.ends_with(findings), "{message}");
    let twice = r#"[{"op":"add","op":"add","path":"/size","value":4}]"#;
    let (code, message) = patch("json-patch", strict, twice).await;
    assert_eq!(code, 422);
    let finding = "strict decoding error: json patch duplicate field \"[0].op\"";
    assert!(message.ends_with(finding), "{message}");
    assert_eq!(server.get(A).await.json()["size"], 1);
}

#[tokio::test]
async fn a_page_does_not_say_twice_which_state_it_is_of() {
    let server = Server::start().await;
    for name in ["a", "b"] {
        server.create(widget(name)).await;
    }
    let all = "/apis/example.org/v1/namespaces/n/widgets";
    let first = server.get(&format!("{all}?limit=1")).await.json();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let next = |more: &str| {
        let (server, path) = (&server, format!("{all}?limit=1&continue={token}{more}"));
        async move { server.get(&path).await }
    };
    assert_eq!(next("").await.names(), ["b"]);
    assert_eq!(next("&resourceVersion=0").await.names(), ["b"]);
    let refused = next(&format!("&resourceVersion={version}")).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            400,
            "specifying resource version is not allowed when using continue"
        )
    );
}

#[tokio::test]
async fn what_cannot_be_made_of_an_answer_is_refused_in_json() {
    let server = Server::start().await;
    server.create(widget("a")).await;
    let all = "/apis/example.org/v1/namespaces/n/widgets";
    let none = "only the following media types are accepted: application/json, application/yaml, \
                application/vnd.kubernetes.protobuf";
    let meta = "v=v1;g=meta.k8s.io";
    for (path, accept, code, message) in [
        (A, "application/json;as=Foo".to_owned(), 406, none),
        (A, "application/yaml;as=Table".to_owned(), 406, none),
        (
            all,
            format!("application/json;as=PartialObjectMetadata;{meta},application/json"),
            406,
            "you requested PartialObjectMetadata, but the requested object is a list (*example.WidgetList)",
        ),
        (
            A,
            format!("application/json;as=PartialObjectMetadataList;{meta}"),
            406,
            "you requested PartialObjectMetadataList, but the requested object is not a list (*example.Widget)",
        ),
        (
            "/apis/example.org/v1/namespaces/n/widgets?includeObject=Foo",
            format!("application/json;as=Table;{meta}"),
            400,
            "Unable to convert to Table as requested: includeObject: Invalid value: \"Foo\": must be 'Metadata', \
             'Object', 'None', or empty",
        ),
    ] {
        let answer = server.send("GET", path, &[("accept", &accept)], "").await;
        assert_eq!(
            (answer.code, answer.message().as_str()),
            (code, message),
            "{path} {accept}"
        );
        assert_eq!(answer.json().get("details"), None);
    }
}

#[tokio::test]
async fn an_object_that_is_a_list_can_be_shown_as_a_list_of_metadata() {
    let server = Server::start().await;
    let path = "/apis/example.org/v1/namespaces/n/widgets/a/fittings";
    let accepting = |kind: &str| {
        let (server, accept) = (&server, format!("application/json;as={kind};v=v1;g=meta.k8s.io"));
        async move { server.send("GET", path, &[("accept", &accept)], "").await }
    };
    let list = accepting("PartialObjectMetadataList").await;
    assert_eq!(
        list.json(),
        json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
               "metadata": {"resourceVersion": "7"},
               "items": [{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                          "metadata": {"name": "screw"}}]})
    );
    let refused = accepting("PartialObjectMetadata").await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            406,
            "you requested PartialObjectMetadata, but the requested object is a list (*example.WidgetList)"
        )
    );
}

#[tokio::test]
async fn there_are_no_watches_in_yaml() {
    let server = Server::start().await;
    let path = "/apis/example.org/v1/namespaces/n/widgets?watch=true&timeoutSeconds=1";
    let answer = server
        .send("GET", path, &[("accept", "application/yaml")], "")
        .await;
    assert_eq!(
        (answer.code, answer.content_type.as_str()),
        (406, "application/yaml")
    );
    let text = "only the following media types are accepted: application/json;stream=watch, \
                application/vnd.kubernetes.protobuf;stream=watch";
    assert!(answer.text.contains(text), "{}", answer.text);
}

/// Applies a configuration of a widget.
async fn apply(server: &Server, name: &str, mut config: Value) -> serving::Answer {
    config["kind"] = json!("Widget");
    config["apiVersion"] = json!("example.org/v1");
    let path = format!("/apis/example.org/v1/namespaces/n/widgets/{name}?fieldManager=m");
    let content_type = [("content-type", "application/apply-patch+yaml")];
    server
        .send("PATCH", &path, &content_type, &config.to_string())
        .await
}
