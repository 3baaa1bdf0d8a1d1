use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use imagestream_apiserver::authn::UserInfo;
use imagestream_apiserver::endpoint::Request;
use imagestream_apiserver::request_info::RequestInfo;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::pending::tests::noted;
use super::*;
use crate::image::testing::TestServer;

const SECRET: &str = "0123456789abcdef";

fn receiver(
    directory: &tempfile::TempDir,
    name: &str,
    format: ReceiverFormat,
    host: Option<&str>,
) -> Receiver {
    let secret_file = directory.path().join(name);
    std::fs::write(&secret_file, SECRET).unwrap();
    Receiver {
        name: name.into(),
        format,
        secret_file,
        registry: host.map(str::to_owned),
    }
}

/// A server with receivers whose stream follows three tags.
struct Told {
    server: TestServer,
    endpoint: Arc<dyn PathEndpoint>,
}

impl Told {
    async fn start() -> Self {
        let server = TestServer::start().await;
        let scheduled = |name: &str, from: &str| json!({"name": name, "from": {"kind": "DockerImage", "name": from}, "importPolicy": {"scheduled": true}});
        let stream = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"tags": [
            scheduled("a", "nginx:1"),
            scheduled("b", "r.test:5000/a/b:v1"),
            scheduled("c", "r.test:5000/a/b:v2"),
        ]}});
        server.store(&server.context.streams, stream).await;
        let directory = tempfile::tempdir().unwrap();
        let receivers = [
            receiver(
                &directory,
                "plain",
                ReceiverFormat::Distribution,
                Some("r.test:5000"),
            ),
            receiver(&directory, "told", ReceiverFormat::Distribution, None),
            receiver(&directory, "hub", ReceiverFormat::DockerHub, None),
            receiver(&directory, "signed", ReceiverFormat::Github, None),
        ];
        let (endpoint, _task) = endpoint(&receivers, &server.context).await.unwrap().unwrap();
        Self { server, endpoint }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &str,
        secret: &str,
        body: impl Into<Bytes>,
    ) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        if !secret.is_empty() {
            let value = HeaderValue::from_str(&format!("Bearer {secret}")).unwrap();
            headers.insert("authorization", value);
        }
        self.send_with(method, path, query, headers, body.into()).await
    }

    async fn send_with(
        &self,
        method: Method,
        path: &str,
        query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> (u16, Value) {
        let info = RequestInfo::new(method.as_str(), path, query);
        let deadline = Instant::now() + Duration::from_secs(30);
        let request = Request::new(
            info,
            UserInfo::anonymous(),
            query.into(),
            Timestamp::now(),
            deadline,
        );
        let request = PathRequest {
            request: Arc::new(request),
            method,
            headers,
            body,
        };
        match self.endpoint.answer(request).await {
            Ok(answer) => (
                answer.status.as_u16(),
                serde_json::from_slice(&answer.body).unwrap(),
            ),
            Err(status) => (u16::try_from(status.code.unwrap()).unwrap(), json!(status)),
        }
    }

    async fn push(&self, receiver: &str, host: &str, tags: &[&str]) -> u16 {
        let event = |tag: &&str| json!({"action": "push", "target": {"repository": "a/b", "tag": tag}, "request": {"host": host}});
        let body = json!({"events": Vec::from_iter(tags.iter().map(event))}).to_string();
        self.send(Method::POST, &format!("{PATH}/{receiver}"), "", SECRET, body)
            .await
            .0
    }

    async fn noted(&self) -> Vec<String> {
        noted(&self.server.context.store).await
    }
}

#[tokio::test]
async fn a_push_is_noted_for_a_stream_that_came_a_moment_before() {
    let told = Told::start().await;
    let stream = json!({"metadata": {"name": "late", "namespace": "n"}, "spec": {"tags": [
        {"name": "a", "from": {"kind": "DockerImage", "name": "r.test:5000/a/b:v3"},
         "importPolicy": {"scheduled": true}},
    ]}});
    told.server.store(&told.server.context.streams, stream).await;
    assert_eq!(told.push("told", "r.test:5000", &["v3"]).await, 202);
    assert_eq!(told.noted().await, ["r.test:5000/a/b:v3"]);
}

#[tokio::test]
async fn a_push_of_a_tag_that_a_stream_follows_is_noted_and_no_other() {
    let told = Told::start().await;
    assert_eq!(
        told.push("plain", "registry.internal:5000", &["v1", "other"])
            .await,
        202
    );
    assert_eq!(
        told.noted().await,
        ["r.test:5000/a/b:v1"],
        "by the name that streams know"
    );
    assert_eq!(told.push("told", "r.test:5000", &["v2", "v2"]).await, 202);
    assert_eq!(told.push("told", "elsewhere.test", &["v1"]).await, 202);
    assert_eq!(told.push("told", "", &["v1"]).await, 202);
    assert_eq!(told.noted().await, ["r.test:5000/a/b:v1", "r.test:5000/a/b:v2"]);
    let body = json!({"push_data": {"tag": "1"}, "repository": {"repo_name": "library/nginx"}}).to_string();
    let (code, answer) = told
        .send(
            Method::POST,
            &format!("{PATH}/hub"),
            &format!("secret={SECRET}"),
            "",
            body,
        )
        .await;
    assert_eq!((code, &answer["status"]), (202, &json!("Success")));
    assert!(
        told.noted()
            .await
            .contains(&"docker.io/library/nginx:1".to_owned())
    );
}

#[tokio::test]
async fn whoever_does_not_know_the_secret_learns_nothing() {
    let told = Told::start().await;
    let body =
        json!({"events": [{"action": "push", "target": {"repository": "a/b", "tag": "v1"}}]}).to_string();
    let mut answers = Vec::new();
    for receiver in ["plain", "hub", "signed", "none"] {
        for (secret, body) in [("", body.as_str()), ("0123456789abcdeF", &body), ("", "not JSON")] {
            let path = format!("{PATH}/{receiver}");
            answers.push(
                told.send(Method::POST, &path, "secret=x", secret, body.to_owned())
                    .await,
            );
        }
    }
    assert_eq!(answers[0].0, 401, "{answers:?}");
    answers.dedup();
    assert_eq!(answers.len(), 1, "all alike: {answers:?}");
    assert!(told.noted().await.is_empty());
}

#[tokio::test]
async fn each_receiver_takes_only_the_proof_of_its_kind() {
    let told = Told::start().await;
    let body = Bytes::from_static(b"{}");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed = ring::hmac::sign(&key, &body);
    let digits = Vec::from_iter(signed.as_ref().iter().map(|byte| format!("{byte:02x}")));
    let signature = digits.concat();
    let proofs = [
        ("plain", "authorization", format!("Bearer {SECRET}")),
        ("signed", "x-hub-signature-256", format!("sha256={signature}")),
    ];
    for receiver in ["plain", "signed", "hub", "none"] {
        for (of, header, value) in &proofs {
            let mut headers = HeaderMap::new();
            headers.insert(*header, HeaderValue::from_str(value).unwrap());
            let path = format!("{PATH}/{receiver}");
            let (code, _) = told
                .send_with(Method::POST, &path, "", headers, body.clone())
                .await;
            let expected = if receiver == *of { 202 } else { 401 };
            assert_eq!(code, expected, "{receiver} {header}");
        }
    }
}

#[tokio::test]
async fn what_is_no_notification_is_refused() {
    let told = Told::start().await;
    let plain = format!("{PATH}/plain");
    for (method, path, body, expected) in [
        (Method::GET, plain.as_str(), Bytes::new(), 405),
        (Method::POST, PATH, Bytes::new(), 404),
        (Method::POST, &format!("{PATH}/"), Bytes::new(), 404),
        (Method::POST, &format!("{PATH}/plain/x"), Bytes::new(), 404),
        (Method::POST, &plain, Bytes::new(), 400),
        (Method::POST, &plain, Bytes::from_static(b"{\"events\": 7}"), 400),
        (Method::POST, &plain, Bytes::from(vec![b' '; MAX_BYTES + 1]), 413),
    ] {
        let (code, answer) = told.send(method.clone(), path, "", SECRET, body).await;
        assert_eq!(code, expected, "{method} {path}: {answer}");
        assert_eq!(answer["kind"], "Status");
    }
    let many: Vec<String> = (0..=1_000).map(|number| format!("t{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(told.push("plain", "", &many).await, 413);
}

#[tokio::test]
async fn a_flood_of_events_is_slowed_down_and_notes_no_more_than_what_is_followed() {
    let told = Told::start().await;
    let mut taken = 0;
    while told.push("plain", "", &["v1", "v2"]).await == 202 {
        taken += 1;
        assert!(taken < 100 * pace::BURST, "it is never slowed down");
    }
    assert!(taken >= pace::BURST / 2, "{taken}");
    assert_eq!(told.noted().await.len(), 2);
    assert_eq!(
        told.push("plain", "", &["unknown"]).await,
        202,
        "what nobody follows costs nothing"
    );
    assert_eq!(
        told.push("told", "r.test:5000", &["v1"]).await,
        202,
        "others are not slowed down"
    );
}

#[tokio::test]
async fn receivers_that_can_not_work_keep_the_server_from_starting() {
    let server = TestServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    assert!(endpoint(&[], &server.context).await.unwrap().is_none());
    let mut short = receiver(&directory, "short", ReceiverFormat::Quay, None);
    std::fs::write(&short.secret_file, "short").unwrap();
    let error = async |receiver: &Receiver| {
        let receivers = std::slice::from_ref(receiver);
        endpoint(receivers, &server.context)
            .await
            .err()
            .unwrap()
            .to_string()
    };
    let text = error(&short).await;
    assert!(
        text.starts_with("notifications.receivers: short: ") && text.contains("expected 16 to"),
        "{text}"
    );
    short.secret_file = directory.path().join("none");
    assert!(error(&short).await.contains("none: "));
    let host = receiver(&directory, "host", ReceiverFormat::Quay, Some("https://quay.io/"));
    assert!(
        error(&host)
            .await
            .contains("registry: \"https://quay.io/\": expected HOST")
    );
}
