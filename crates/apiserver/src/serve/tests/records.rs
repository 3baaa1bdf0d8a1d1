//! What is written down about requests.

use serde_json::{Value, json};

use super::fixture::*;
use crate::serve::{AuditSink, ServeOptions};

#[tokio::test]
async fn the_audit_log_tells_who_asked_for_what_and_never_what_was_sent() {
    let memory = Memory::default();
    let mut server = TestServer::start(ServeOptions {
        audit: Some(AuditSink::new(memory.clone())),
        ..ServeOptions::default()
    })
    .await;
    let body = r#"{"metadata":{"name":"secret-body"}}"#;
    let answer = server
        .send(with_token("POST", WIDGETS_PATH, "ann-token", body))
        .await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    let mut request = with_token("GET", &(widget("w") + "?pretty=1"), "ann-token", "");
    request
        .headers_mut()
        .insert("impersonate-user", "bob".parse().unwrap());
    assert_eq!(server.send(request).await.code, 200);
    assert_eq!(server.get("bob-token", "/metrics").await.code, 403);
    assert_eq!(server.get("guessed-token", &widget("w")).await.code, 401);
    assert_eq!(server.get("", "/healthz").await.code, 200);
    let id = answer.headers["audit-id"].to_str().unwrap().to_owned();
    server.stop();
    server.stopped().await;

    let written = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
    for secret in ["token", "secret-body", "Bearer"] {
        assert!(!written.contains(secret), "{written}");
    }
    let mut events: Vec<Value> = written
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for event in &mut events {
        for time in ["requestReceivedTimestamp", "stageTimestamp"] {
            let text = event[time].as_str().unwrap();
            assert!(text.len() == "2026-01-02T03:04:05.678901Z".len(), "{text}");
            event.as_object_mut().unwrap().remove(time);
        }
    }
    assert_eq!(events.len(), 4);
    let ann = json!({"username": "ann", "uid": "2", "groups": ["system:authenticated"]});
    assert_eq!(
        events[0],
        json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
               "auditID": id, "requestURI": WIDGETS_PATH, "verb": "create", "user": ann,
               "sourceIPs": ["127.0.0.1"], "userAgent": "test/1",
               "objectRef": {"resource": "widgets", "namespace": "n", "apiGroup": "example.io", "apiVersion": "v1"},
               "responseStatus": {"metadata": {}, "code": 200},
               "annotations": {
                   "authorization.k8s.io/decision": "allow",
                   "authorization.k8s.io/reason":
                       "RBAC: allowed by ClusterRoleBinding \"users\" of ClusterRole \"user\" to User \"ann\""}})
    );
    assert_eq!(events[1]["user"], ann);
    assert_eq!(
        events[1]["impersonatedUser"],
        json!({"username": "bob", "groups": ["system:authenticated"]})
    );
    assert_eq!(events[1]["objectRef"]["name"], "w");
    assert_eq!(events[1]["requestURI"], widget("w") + "?pretty=1");
    assert_eq!(
        events[2]["annotations"]["authorization.k8s.io/decision"],
        "forbid"
    );
    assert_eq!(events[2]["responseStatus"]["code"], 403);
    assert!(events[2].get("objectRef").is_none());
    assert_eq!(
        (&events[3]["user"], &events[3]["responseStatus"]["code"]),
        (&json!({}), &json!(401))
    );
}

#[tokio::test]
async fn metrics_count_requests_by_what_they_were_about() {
    let server = TestServer::start(ServeOptions::default()).await;
    server.get("ann-token", &widget("w")).await;
    server.get("ann-token", &widget("panic")).await;
    server.get("wrong", &widget("w")).await;
    server.get("admin-token", "/apis/made.up/v1/things").await;
    let mut watching = server.client(None).await.unwrap();
    let watch = with_token("GET", &format!("{WIDGETS_PATH}?watch=true"), "ann-token", "");
    let open = watching.sender.send_request(watch).await.unwrap();
    let answer = server.get("admin-token", "/metrics").await;
    assert!(
        answer.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let of_widgets = "group=\"example.io\",resource=\"widgets\",subresource=\"\"";
    for line in [
        format!("apiserver_request_total{{code=\"200\",{of_widgets},verb=\"GET\",version=\"v1\"}} 1"),
        format!("apiserver_request_total{{code=\"500\",{of_widgets},verb=\"GET\",version=\"v1\"}} 1"),
        format!("apiserver_request_total{{code=\"401\",{of_widgets},verb=\"GET\",version=\"v1\"}} 1"),
        format!("apiserver_request_duration_seconds_count{{{of_widgets},verb=\"GET\",version=\"v1\"}} 3"),
        format!("apiserver_longrunning_requests{{{of_widgets},verb=\"WATCH\",version=\"v1\"}} 1"),
        "apiserver_rejected_total{reason=\"unauthorized\"} 1".into(),
        "apiserver_panics_total 1".into(),
    ] {
        assert!(
            answer.body.lines().any(|found| found == line),
            "{line}\n{}",
            answer.body
        );
    }
    assert!(!answer.body.contains("made.up"));
    drop(open);
}

#[tokio::test]
async fn the_version_is_shown_to_who_may_see_it() {
    let server = TestServer::start(ServeOptions::default()).await;
    let answer = server.get("admin-token", "/version").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert!(answer.json().get("gitVersion").is_some());
    let answer = server
        .send(with_token("POST", "/version", "admin-token", ""))
        .await;
    assert_eq!(answer.code, 405);
    assert_eq!(server.get("ann-token", "/version").await.code, 403);
}

#[tokio::test]
async fn a_path_is_answered_to_whom_roles_allow_it_and_sees_no_credential() {
    let server = TestServer::start(ServeOptions::default()).await;
    let ann = with_token("POST", "/echo/deep?a=b", "ann-token", "hello");
    assert_eq!(
        server.send(ann).await.json(),
        json!({"user": "ann", "path": "/echo/deep", "query": "a=b", "authorization": null, "body": "hello"})
    );
    assert_eq!(
        server
            .send(with_token("POST", "/echo/deep", "bob-token", ""))
            .await
            .code,
        403
    );
    assert_eq!(
        server.send(with_token("POST", "/echo/deep", "", "")).await.code,
        403
    );
    assert_eq!(server.get("admin-token", "/echoes").await.code, 404);
}

#[tokio::test]
async fn a_path_that_knows_its_clients_is_left_to_tell_them_and_its_query_is_not_written_down() {
    let memory = Memory::default();
    let mut server = TestServer::start(ServeOptions {
        audit: Some(AuditSink::new(memory.clone())),
        ..ServeOptions::default()
    })
    .await;
    let stranger = with_token("POST", "/open/hub?key=hidden", "some-secret", "pushed");
    assert_eq!(
        server.send(stranger).await.json(),
        json!({"user": "system:anonymous", "path": "/open/hub", "query": "key=hidden",
               "authorization": "Bearer some-secret", "body": "pushed"})
    );
    server.stop();
    server.stopped().await;
    let written = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
    assert!(written.contains("\"requestURI\":\"/open/hub\""), "{written}");
    assert!(
        !written.contains("hidden") && !written.contains("some-secret"),
        "{written}"
    );
}
