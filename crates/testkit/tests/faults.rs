//! Each fault is what it says, seen by a plain client.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

mod client;

use std::time::{Duration, Instant};

use client::{Answer, get, get_with, open, send};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use imagestream_testkit::auth::Auth;
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::image::Image;
use imagestream_testkit::layer::sha256;
use imagestream_testkit::registry::TestRegistry;

const MANIFEST: &str = "/v2/a/hello/manifests/latest";
const TAGS: &str = "/v2/a/hello/tags/list";

fn registry_with(fault: Fault) -> TestRegistry {
    let registry = TestRegistry::start(Content::new().image("a/hello", "latest", Image::new()));
    registry.add_fault(fault);
    registry
}

fn manifest_fault(kind: FaultKind) -> TestRegistry {
    registry_with(Fault::on("*/manifests/*", kind))
}

async fn try_get(registry: &TestRegistry, path: &str) -> std::io::Result<Answer> {
    send(registry, Method::GET, path, &[], "").await
}

#[tokio::test]
async fn a_cut_before_the_headers_leaves_no_answer() {
    let registry = manifest_fault(FaultKind::CutBeforeHeaders);
    assert!(open(&registry, Method::GET, MANIFEST, &[], "").await.is_err());
    assert_eq!(get(&registry, TAGS).await.status, StatusCode::OK);
    registry.clear_faults();
    assert_eq!(get(&registry, MANIFEST).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_cut_after_the_headers_leaves_headers_and_no_body() {
    let registry = manifest_fault(FaultKind::CutAfterHeaders);
    let mut response = open(&registry, Method::GET, MANIFEST, &[], "").await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.body_mut().frame().await.unwrap().is_err());
}

#[tokio::test]
async fn a_cut_in_the_body_leaves_half_of_it() {
    let registry = manifest_fault(FaultKind::CutMidBody);
    let mut response = open(&registry, Method::GET, MANIFEST, &[], "").await.unwrap();
    let declared: usize = response.headers()["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let mut received = 0;
    while let Ok(frame) = response
        .body_mut()
        .frame()
        .await
        .expect("an error before the end")
    {
        received += frame.into_data().unwrap().len();
    }
    assert_eq!(received, declared / 2);
}

#[tokio::test]
async fn digests_can_be_wrong_in_the_header_or_in_the_body() {
    let registry = manifest_fault(FaultKind::WrongDigestHeader);
    let right = registry.content().digest("a/hello", "latest");
    let answer = get(&registry, MANIFEST).await;
    assert_ne!(answer.header("docker-content-digest"), right);
    assert_eq!(sha256(&answer.body), right);
    registry.clear_faults();
    registry.add_fault(Fault::on("*/manifests/*", FaultKind::WrongBody));
    let answer = get(&registry, MANIFEST).await;
    assert_eq!(answer.header("docker-content-digest"), right);
    assert_ne!(sha256(&answer.body), right);
    assert_eq!(
        answer.json(),
        registry.content().manifest("a/hello", "latest").json()
    );
}

#[tokio::test]
async fn huge_bodies_declare_their_size_or_never_end() {
    let registry = manifest_fault(FaultKind::HugeBody(1 << 30));
    let response = open(&registry, Method::GET, MANIFEST, &[], "").await.unwrap();
    assert_eq!(response.headers()["content-length"], "1073741824");
    drop(response);
    registry.clear_faults();
    registry.add_fault(Fault::on("*/manifests/*", FaultKind::HugeBody(100_000)));
    assert_eq!(get(&registry, MANIFEST).await.body.len(), 100_000);
    registry.clear_faults();
    registry.add_fault(Fault::on("*/manifests/*", FaultKind::EndlessBody));
    let mut response = open(&registry, Method::GET, MANIFEST, &[], "").await.unwrap();
    assert!(!response.headers().contains_key("content-length"));
    let mut received = 0;
    while received < 20_000_000 {
        received += response
            .body_mut()
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .len();
    }
}

#[tokio::test]
async fn json_can_be_cut_short_or_nested_too_deep_with_a_digest_that_fits() {
    for kind in [FaultKind::MalformedJson, FaultKind::DeepJson(100_000)] {
        let registry = manifest_fault(kind);
        let answer = get(&registry, MANIFEST).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_err());
        assert_eq!(answer.header("docker-content-digest"), sha256(&answer.body));
    }
}

#[tokio::test]
async fn redirects_lead_to_a_url_to_another_base_or_back() {
    for (kind, expected) in [
        (
            FaultKind::RedirectTo("http://h/x".to_owned()),
            "http://h/x".to_owned(),
        ),
        (
            FaultKind::RedirectToBase("http://cdn/".to_owned()),
            format!("http://cdn{MANIFEST}"),
        ),
    ] {
        let registry = manifest_fault(kind);
        let answer = get(&registry, MANIFEST).await;
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(answer.header("location"), expected);
    }
    let registry = manifest_fault(FaultKind::RedirectLoop);
    let answer = get(&registry, MANIFEST).await;
    assert_eq!(answer.header("location"), format!("{}{MANIFEST}", registry.url()));
}

#[tokio::test]
async fn a_slow_drip_takes_its_time_and_is_whole_in_the_end() {
    let registry = manifest_fault(FaultKind::SlowDrip {
        bytes: 200,
        every: Duration::from_millis(20),
    });
    let expected = registry.content().manifest("a/hello", "latest").body.clone();
    let pieces = u32::try_from(expected.len().div_ceil(200)).unwrap();
    let start = Instant::now();
    assert_eq!(get(&registry, MANIFEST).await.body, expected);
    assert!(start.elapsed() >= Duration::from_millis(20) * pieces);
}

#[tokio::test]
async fn missing_things_and_statuses_come_as_often_as_wanted() {
    let registry = registry_with(Fault::on("*/manifests/*", FaultKind::Missing).times(1));
    let missing = get(&registry, MANIFEST).await;
    assert_eq!(missing.json()["errors"][0]["code"], "MANIFEST_UNKNOWN");
    assert_eq!(get(&registry, MANIFEST).await.status, StatusCode::OK);
    registry.add_fault(Fault::error(MANIFEST, 403, "DENIED", "not yours").method(Method::HEAD));
    assert_eq!(get(&registry, MANIFEST).await.status, StatusCode::OK);
    let head = send(&registry, Method::HEAD, MANIFEST, &[], "").await.unwrap();
    assert_eq!(head.status, StatusCode::FORBIDDEN);
    registry.add_fault(Fault::status("/v2/", 503));
    assert_eq!(
        get(&registry, "/v2/").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn tag_lists_can_be_endless_or_lead_off_the_host() {
    let registry = registry_with(Fault::on(TAGS, FaultKind::EndlessTags));
    let first = get(&registry, TAGS).await;
    let next = first
        .header("link")
        .trim_start_matches('<')
        .split('>')
        .next()
        .unwrap()
        .to_owned();
    let second = get(&registry, &next).await;
    assert_eq!(second.json()["tags"][0], "endless-4");
    assert!(second.header("link").contains("endless-6"));
    registry.clear_faults();
    registry.add_fault(Fault::on(TAGS, FaultKind::LinkTo("http://evil/x".to_owned())));
    let answer = get(&registry, TAGS).await;
    assert_eq!(answer.header("link"), "<http://evil/x>; rel=\"next\"");
    assert_eq!(answer.json()["tags"][0], "latest");
}

#[tokio::test]
async fn challenges_can_name_a_realm_elsewhere() {
    let registry = registry_with(Fault::on(
        "/v2/",
        FaultKind::ChallengeTo("http://evil/t".to_owned()),
    ));
    registry.set_auth(Auth::bearer("u", "p"));
    let answer = get(&registry, "/v2/").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        answer.header("www-authenticate"),
        "Bearer realm=\"http://evil/t\",service=\"elsewhere\""
    );
}

#[tokio::test]
async fn tokens_can_be_huge() {
    let registry = registry_with(Fault::on("/token", FaultKind::HugeToken(1 << 20)));
    registry.set_auth(Auth::bearer_for_everyone());
    let answer = get(&registry, "/token?service=test-registry").await;
    assert_eq!(answer.json()["token"].as_str().unwrap().len(), 1 << 20);
}

#[tokio::test]
async fn faults_wait_for_authentication() {
    let registry = registry_with(Fault::status(TAGS, 500).times(1));
    registry.set_auth(Auth::basic("u", "p"));
    assert_eq!(get(&registry, TAGS).await.status, StatusCode::UNAUTHORIZED);
    let headers = [("authorization", "Basic dTpw")];
    assert_eq!(get_with(&registry, TAGS, &headers).await.status, 500);
    assert_eq!(get_with(&registry, TAGS, &headers).await.status, 200);
}

#[tokio::test]
async fn a_hang_lasts_until_the_registry_ends() {
    let registry = manifest_fault(FaultKind::Hang);
    let waited = tokio::time::timeout(Duration::from_millis(200), try_get(&registry, MANIFEST)).await;
    assert!(waited.is_err());
    drop(registry);
}

#[tokio::test]
async fn a_delay_comes_before_a_healthy_answer() {
    let registry = manifest_fault(FaultKind::Delay(Duration::from_millis(100)));
    let start = Instant::now();
    assert_eq!(get(&registry, MANIFEST).await.status, StatusCode::OK);
    assert!(start.elapsed() >= Duration::from_millis(100));
}
