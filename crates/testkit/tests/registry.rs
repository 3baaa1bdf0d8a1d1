//! The in-process registry serves its content, and each of its switches does what it says.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

mod client;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use client::{get, get_with, send};
use http::{Method, StatusCode};
use imagestream_testkit::auth::{Auth, TokenField, TokenService};
use imagestream_testkit::content::Content;
use imagestream_testkit::image::{DOCKER_MANIFEST, Image};
use imagestream_testkit::index::{Index, OCI_INDEX};
use imagestream_testkit::layer::sha256;
use imagestream_testkit::rate_limit::RateLimit;
use imagestream_testkit::registry::{LinkForm, TestRegistry};
use imagestream_testkit::samples;

fn hello() -> Content {
    Content::new().image("a/hello", "latest", Image::new().docker().env("A", "b"))
}

fn basic(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{username}:{password}"))
    )
}

#[tokio::test]
async fn a_tag_leads_to_a_manifest_a_config_and_layers_that_fit_their_digests() {
    let registry = TestRegistry::start(hello());
    let manifest = get(&registry, "/v2/a/hello/manifests/latest").await;
    assert_eq!(manifest.header("content-type"), DOCKER_MANIFEST);
    assert_eq!(manifest.header("docker-content-digest"), sha256(&manifest.body));
    let by_digest = get(
        &registry,
        &format!("/v2/a/hello/manifests/{}", sha256(&manifest.body)),
    )
    .await;
    assert_eq!(by_digest.body, manifest.body);
    let json = manifest.json();
    for descriptor in json["layers"].as_array().unwrap().iter().chain([&json["config"]]) {
        let digest = descriptor["digest"].as_str().unwrap();
        let blob = get(&registry, &format!("/v2/a/hello/blobs/{digest}")).await;
        assert_eq!(sha256(&blob.body), digest);
        assert_eq!(descriptor["size"], blob.body.len());
    }
    let config = registry.content().config("a/hello", "latest");
    assert!(
        config["config"]["Env"]
            .as_array()
            .unwrap()
            .contains(&"A=b".into())
    );
}

#[tokio::test]
async fn an_index_names_images_with_platforms_attestations_and_nested_lists() {
    let inner = Index::of([("linux/s390x", Image::new())]);
    let index = Index::of([("linux/amd64", Image::new()), ("linux/arm/v7", Image::new())])
        .attested()
        .nested(inner);
    let registry = TestRegistry::start(Content::new().index_of("a/multi", "1", &index));
    let list = get(&registry, "/v2/a/multi/manifests/1").await;
    assert_eq!(list.header("content-type"), OCI_INDEX);
    let entries = list.json()["manifests"].as_array().unwrap().clone();
    assert_eq!(entries.len(), 5);
    assert_eq!(entries[1]["platform"]["variant"], "v7");
    assert_eq!(entries[2]["mediaType"], OCI_INDEX);
    assert_eq!(entries[3]["platform"]["os"], "unknown");
    assert_eq!(
        entries[3]["annotations"]["vnd.docker.reference.digest"],
        entries[0]["digest"]
    );
    for entry in &entries {
        let digest = entry["digest"].as_str().unwrap();
        let member = get(&registry, &format!("/v2/a/multi/manifests/{digest}")).await;
        assert_eq!(sha256(&member.body), digest);
        assert_eq!(entry["size"], member.body.len());
    }
}

#[tokio::test]
async fn head_tells_size_and_digest_without_a_body() {
    let registry = TestRegistry::start(hello());
    let manifest = get(&registry, "/v2/a/hello/manifests/latest").await;
    let head = send(&registry, Method::HEAD, "/v2/a/hello/manifests/latest", &[], "")
        .await
        .unwrap();
    assert_eq!(head.header("content-length"), manifest.body.len().to_string());
    assert_eq!(head.header("docker-content-digest"), sha256(&manifest.body));
    assert!(head.body.is_empty());
    registry.set_digest_header(false);
    let head = send(&registry, Method::HEAD, "/v2/a/hello/manifests/latest", &[], "")
        .await
        .unwrap();
    assert_eq!(head.header("docker-content-digest"), "");
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_the_code_for_its_kind() {
    let registry = TestRegistry::start(samples::demo());
    let lost = registry.content().config_digest("demo/broken", "old");
    for (path, code) in [
        ("/v2/no/such/tags/list", "NAME_UNKNOWN"),
        ("/v2/demo/hello/manifests/no", "MANIFEST_UNKNOWN"),
        (&format!("/v2/demo/broken/blobs/{lost}") as &str, "BLOB_UNKNOWN"),
    ] {
        let answer = get(&registry, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.json()["errors"][0]["code"], code);
    }
}

#[tokio::test]
async fn tags_come_in_pages_with_links_of_either_form() {
    let content = Content::new().tags("a/many", 25);
    let expected = content.tag_names("a/many");
    let registry = TestRegistry::start(content);
    registry.set_page_size(10);
    for form in [LinkForm::Relative, LinkForm::Absolute] {
        registry.set_link_form(form);
        let mut path = "/v2/a/many/tags/list".to_owned();
        let mut tags = Vec::new();
        let mut pages = 0;
        loop {
            let page = get(&registry, &path).await;
            pages += 1;
            tags.extend(
                page.json()["tags"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|tag| tag.as_str().unwrap().to_owned()),
            );
            let link = page.header("link");
            if link.is_empty() {
                break;
            }
            let url = link
                .strip_prefix('<')
                .unwrap()
                .strip_suffix(">; rel=\"next\"")
                .unwrap();
            path = match form {
                LinkForm::Relative => url.to_owned(),
                LinkForm::Absolute => url.strip_prefix(&registry.url()).unwrap().to_owned(),
            };
        }
        assert_eq!(tags, expected);
        assert_eq!(pages, 3);
    }
    let small = get(&registry, "/v2/a/many/tags/list?n=4").await;
    assert_eq!(small.json()["tags"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn tags_may_share_images() {
    let content = Content::new().tags_sharing("a/many", 30, 7);
    assert_eq!(content.tag_names("a/many").len(), 30);
    assert_eq!(content.held("a/many").manifests.len(), 7);
}

#[tokio::test]
async fn latency_delays_every_answer_and_requests_overlap() {
    let registry = TestRegistry::start(hello());
    registry.set_latency(Duration::from_millis(200));
    let start = Instant::now();
    let answers = futures::future::join_all((0..5).map(|_| get(&registry, "/v2/"))).await;
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    assert_eq!(registry.max_in_flight(), 5);
    assert_eq!(registry.in_flight(), 0);
    registry.clear_requests();
    assert_eq!((registry.max_in_flight(), registry.request_count()), (0, 0));
}

#[tokio::test]
async fn requests_are_recorded_in_order_with_their_headers() {
    let registry = TestRegistry::start(hello());
    get(&registry, "/v2/").await;
    get_with(
        &registry,
        "/v2/a/hello/tags/list?n=1",
        &[("accept", "a/b, c/d"), ("authorization", "Basic eDp5")],
    )
    .await;
    assert_eq!(
        registry.request_lines(),
        ["GET /v2/", "GET /v2/a/hello/tags/list?n=1"]
    );
    let requests = registry.requests();
    assert_eq!(requests[0].authorization, None);
    assert_eq!(requests[1].authorization.as_deref(), Some("Basic eDp5"));
    assert_eq!(requests[1].accept(), ["a/b", "c/d"]);
    assert!(requests[0].at <= requests[1].at);
    assert_eq!(registry.connections(), 2);
}

#[tokio::test]
async fn basic_authentication_lets_its_user_in_only() {
    let registry = TestRegistry::start(hello());
    registry.set_auth(Auth::basic("user", "secret"));
    let refused = get(&registry, "/v2/").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.header("www-authenticate").starts_with("Basic "));
    for (password, status) in [("wrong", StatusCode::UNAUTHORIZED), ("secret", StatusCode::OK)] {
        let value = basic("user", password);
        let answer = get_with(&registry, "/v2/a/hello/tags/list", &[("authorization", &value)]).await;
        assert_eq!(answer.status, status);
    }
}

/// Asks the token service, and returns the token.
async fn token(registry: &TestRegistry, repository: &str, authorization: Option<&str>) -> Option<String> {
    let path = format!("/token?service=test-registry&scope=repository:{repository}:pull");
    let headers: Vec<_> = authorization
        .map(|value| ("authorization", value))
        .into_iter()
        .collect();
    let answer = get_with(registry, &path, &headers).await;
    (answer.status == StatusCode::OK).then(|| answer.json()["token"].as_str().unwrap().to_owned())
}

async fn tags_with(registry: &TestRegistry, token: &str) -> client::Answer {
    let value = format!("Bearer {token}");
    get_with(registry, "/v2/a/hello/tags/list", &[("authorization", &value)]).await
}

#[tokio::test]
async fn bearer_tokens_open_the_repository_they_were_asked_for() {
    let registry = TestRegistry::start(hello());
    registry.set_auth(Auth::bearer("user", "secret"));
    let challenge = get(&registry, "/v2/a/hello/tags/list").await;
    assert_eq!(
        challenge.header("www-authenticate"),
        format!(
            "Bearer realm=\"{}/token\",service=\"test-registry\",scope=\"repository:a/hello:pull\"",
            registry.url()
        )
    );
    assert_eq!(token(&registry, "a/hello", None).await, None);
    assert_eq!(
        token(&registry, "a/hello", Some(&basic("user", "no"))).await,
        None
    );
    let right = basic("user", "secret");
    let good = token(&registry, "a/hello", Some(&right)).await.unwrap();
    assert_eq!(tags_with(&registry, &good).await.status, StatusCode::OK);
    let other = token(&registry, "a/other", Some(&right)).await.unwrap();
    let refused = tags_with(&registry, &other).await;
    assert!(
        refused
            .header("www-authenticate")
            .contains("error=\"insufficient_scope\"")
    );
    registry.revoke_tokens();
    let refused = tags_with(&registry, &good).await;
    assert!(
        refused
            .header("www-authenticate")
            .contains("error=\"invalid_token\"")
    );
    assert_eq!(registry.tokens_issued(), 2);
}

#[tokio::test]
async fn tokens_expire() {
    let registry = TestRegistry::start(hello());
    registry.set_auth(Auth::Bearer(
        TokenService::new().anonymous("*").expires_in(Duration::ZERO),
    ));
    let expired = token(&registry, "a/hello", None).await.unwrap();
    assert_eq!(
        tags_with(&registry, &expired).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn anonymous_tokens_open_public_repositories_only() {
    let registry = TestRegistry::start(hello());
    registry.set_auth(Auth::Bearer(
        TokenService::new().anonymous("public/*").account("u", "p"),
    ));
    let given = token(&registry, "a/hello", None).await.unwrap();
    assert_eq!(
        tags_with(&registry, &given).await.status,
        StatusCode::UNAUTHORIZED
    );
    registry.set_auth(Auth::bearer_for_everyone());
    let given = token(&registry, "a/hello", None).await.unwrap();
    assert_eq!(tags_with(&registry, &given).await.status, StatusCode::OK);
}

#[tokio::test]
async fn refresh_tokens_are_exchanged_by_post() {
    let registry = TestRegistry::start(hello());
    registry.set_auth(Auth::bearer_with_refresh("long-lived"));
    for (refresh, status) in [
        ("guess", StatusCode::UNAUTHORIZED),
        ("long-lived", StatusCode::OK),
    ] {
        let form = format!(
            "grant_type=refresh_token&service=test-registry&client_id=t&scope=repository%3Aa%2Fhello%3Apull&refresh_token={refresh}"
        );
        let answer = send(&registry, Method::POST, "/token", &[], &form).await.unwrap();
        assert_eq!(answer.status, status);
        if status == StatusCode::OK {
            let token = answer.json()["access_token"].as_str().unwrap().to_owned();
            assert_eq!(tags_with(&registry, &token).await.status, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn the_token_may_come_in_one_field_only_and_without_expiry() {
    let registry = TestRegistry::start(hello());
    registry.set_auth(Auth::Bearer(
        TokenService::new()
            .anonymous("*")
            .token_field(TokenField::AccessToken)
            .without_announced_expiry(),
    ));
    let answer = get(&registry, "/token?service=test-registry").await.json();
    assert!(answer["access_token"].is_string());
    assert!(answer["token"].is_null());
    assert!(answer["expires_in"].is_null());
}

#[tokio::test]
async fn a_rate_limit_refuses_and_says_for_how_long() {
    let registry = TestRegistry::start(hello());
    registry.set_rate_limit(RateLimit::new(2, Duration::from_secs(600)));
    let remaining: Vec<(u16, String)> = {
        let mut seen = Vec::new();
        for _ in 0..3 {
            let answer = get(&registry, "/v2/a/hello/manifests/latest").await;
            seen.push((
                answer.status.as_u16(),
                answer.header("ratelimit-remaining").to_owned(),
            ));
        }
        seen
    };
    assert_eq!(
        remaining,
        [
            (200, "1;w=600".to_owned()),
            (200, "0;w=600".to_owned()),
            (429, "0;w=600".to_owned())
        ]
    );
    let refused = get(&registry, "/v2/a/hello/manifests/latest").await;
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 590);
    assert_eq!(get(&registry, "/v2/").await.status, StatusCode::OK);
    registry.set_rate_limit(None);
    assert_eq!(
        get(&registry, "/v2/a/hello/manifests/latest").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn tls_is_trusted_through_the_registrys_own_authority_only() {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};

    let registry = TestRegistry::builder(hello()).tls().start();
    let connect = async |ca: Option<&str>| {
        let mut roots = rustls::RootCertStore::empty();
        if let Some(pem) = ca {
            roots
                .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
                .unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = tokio::net::TcpStream::connect(registry.host()).await.unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("127.0.0.1").unwrap(), stream)
            .await
    };
    assert!(connect(None).await.is_err());
    let stream = connect(registry.ca_pem()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("{}/v2/", registry.url()))
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn content_can_change_and_the_port_is_free_after_the_end() {
    let registry = TestRegistry::start(hello());
    let before = get(&registry, "/v2/a/hello/manifests/latest").await.body;
    registry.set_content(Content::new().image("a/hello", "latest", Image::new().env("A", "c")));
    assert_ne!(get(&registry, "/v2/a/hello/manifests/latest").await.body, before);
    let host = registry.host();
    drop(registry);
    assert!(tokio::net::TcpStream::connect(host).await.is_err());
}
