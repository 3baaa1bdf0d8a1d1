//! What is asked of a registry and how it is asked again: the number of requests, retries, pauses, the way there.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod reading;

use std::time::Duration;

use futures::future::join_all;
use imagestream_api::digest::Digest;
use imagestream_registry::{Client, ClientOptions, ManifestAt};
use imagestream_testkit::auth::Auth;
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::image::Image;
use imagestream_testkit::rate_limit::RateLimit;
use imagestream_testkit::registry::TestRegistry;
use reading::{app, client, failure, insecure, one_image, options, secure, trusting, v1, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

#[tokio::test]
async fn a_repository_costs_its_pages_manifests_and_configs_and_two_requests_for_the_token() {
    let registry = TestRegistry::start(Content::new().tags("team/app", 40));
    registry.set_auth(Auth::bearer_for_everyone());
    let repository = app(&client(), &registry, insecure());
    let content = registry.content();
    let tags = repository.tags().await.unwrap();
    let reads = tags.iter().map(|tag| {
        let (repository, config) = (
            &repository,
            Digest::parse(&content.config_digest("team/app", tag)).unwrap(),
        );
        async move {
            repository.manifest(&ManifestAt::Tag(tag.clone())).await.unwrap();
            repository.blob(&config).await.unwrap();
        }
    });
    join_all(reads).await;
    assert_eq!(registry.request_count(), 1 + 1 + 1 + 40 + 40);
}

#[tokio::test]
async fn the_first_requests_to_a_host_wait_for_one_of_them_to_find_the_way() {
    let registry = TestRegistry::start(one_image());
    registry.set_latency(Duration::from_millis(50));
    let repository = app(&client(), &registry, insecure());
    for outcome in join_all((0..20).map(|_| repository.tags())).await {
        outcome.unwrap();
    }
    assert_eq!(registry.request_count(), 20);
    // The way was found with one attempt at TLS and one without.
    assert!(registry.connections() <= 2 + 20, "{}", registry.connections());
}

#[tokio::test]
async fn one_who_goes_away_while_finding_the_way_leaves_it_to_the_next() {
    let registry = TestRegistry::start(one_image());
    registry.add_fault(Fault::on("/v2/*", FaultKind::Hang).times(1));
    let client = client();
    let first = tokio::spawn({
        let repository = app(&client, &registry, insecure());
        async move { repository.tags().await }
    });
    while registry.request_count() == 0 {
        tokio::task::yield_now().await;
    }
    let second = app(&client, &registry, insecure());
    let second = tokio::spawn(async move { second.tags().await });
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap(), ["v1"]);
}

#[tokio::test]
async fn plain_http_is_spoken_only_to_who_need_not_be_secure() {
    let registry = TestRegistry::start(one_image());
    let client = client();
    let text = failure(&client, &registry, secure()).await;
    let expected = format!(
        "Get \"https://{}/v2/\": http: server gave HTTP response to HTTPS client",
        registry.host()
    );
    assert_eq!(text, expected);
    app(&client, &registry, insecure()).manifest(&v1()).await.unwrap();
    assert_eq!(
        failure(&client, &registry, secure()).await,
        expected,
        "the way in clear is nobody else's"
    );
    assert!(registry.requests().iter().all(|request| request.path != "/"));
}

#[tokio::test]
async fn certificates_are_verified_for_who_must_be_secure() {
    let registry = TestRegistry::builder(one_image()).tls().start();
    let text = failure(&client(), &registry, secure()).await;
    assert!(
        text.ends_with("x509: certificate signed by unknown authority"),
        "{text}"
    );
    app(&client(), &registry, insecure())
        .manifest(&v1())
        .await
        .unwrap();
    app(&trusting(&registry), &registry, secure())
        .manifest(&v1())
        .await
        .unwrap();
}

#[tokio::test]
async fn over_tls_all_requests_share_one_connection() {
    let registry = TestRegistry::builder(one_image()).tls().start();
    let repository = app(&trusting(&registry), &registry, secure());
    for outcome in join_all((0..30).map(|_| repository.tags())).await {
        outcome.unwrap();
    }
    assert_eq!((registry.request_count(), registry.connections()), (30, 1));
}

#[tokio::test]
async fn a_registry_that_asks_for_patience_is_asked_again_when_it_said() {
    let registry = TestRegistry::start(one_image());
    let limited = FaultKind::Status {
        status: 429,
        headers: vec![("retry-after".to_owned(), "1".to_owned())],
        body: r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#.to_owned(),
    };
    registry.add_fault(Fault::on("/v2/*/manifests/*", limited).times(1));
    let client = client();
    let start = Instant::now();
    app(&client, &registry, insecure()).manifest(&v1()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!((registry.request_count(), client.activity().retries), (2, 1));
    assert_eq!(
        (
            client.activity().in_flight,
            client.activity().waiting_for_rate_limit
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    let registry = TestRegistry::start(one_image());
    let limited = FaultKind::Status {
        status: 429,
        headers: vec![("retry-after".to_owned(), "3600".to_owned())],
        body: r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#.to_owned(),
    };
    registry.add_fault(Fault::on("/v2/*/manifests/*", limited));
    let client = client();
    let start = Instant::now();
    assert_eq!(
        failure(&client, &registry, insecure()).await,
        "toomanyrequests: slow down"
    );
    assert_eq!(
        failure(&client, &registry, insecure()).await,
        "toomanyrequests: slow down"
    );
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!(
        registry.request_count(),
        1,
        "the second caller is told without asking"
    );
}

#[tokio::test]
async fn a_limited_repository_is_read_whole() {
    let registry = TestRegistry::start(Content::new().tags("team/app", 30));
    registry.set_rate_limit(RateLimit::new(12, Duration::from_millis(1200)));
    let repository = app(&client(), &registry, insecure());
    let tags = repository.tags().await.unwrap();
    let reads = tags.iter().map(|tag| {
        let at = ManifestAt::Tag(tag.clone());
        let repository = &repository;
        async move { repository.manifest(&at).await }
    });
    for outcome in join_all(reads).await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn a_gateway_without_its_server_is_asked_again_and_a_broken_server_is_not() {
    for (status, requests) in [(502, 3), (503, 3), (504, 3), (500, 1)] {
        let registry = TestRegistry::start(one_image());
        registry.add_fault(Fault::status("/v2/*/manifests/*", status));
        let text = failure(&client(), &registry, insecure()).await;
        assert!(
            text.starts_with(&format!("received unexpected HTTP status: {status} ")),
            "{text}"
        );
        let asked = registry
            .requests()
            .iter()
            .filter(|request| request.path != "/v2/")
            .count();
        assert_eq!(asked, requests, "{status}");
    }
}

#[tokio::test]
async fn connections_that_end_early_are_made_again() {
    for kind in [
        FaultKind::CutBeforeHeaders,
        FaultKind::CutAfterHeaders,
        FaultKind::CutMidBody,
    ] {
        let registry = TestRegistry::start(one_image());
        registry.add_fault(Fault::on("/v2/*/manifests/*", kind.clone()).times(1));
        app(&client(), &registry, insecure())
            .manifest(&v1())
            .await
            .unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        registry.clear_faults();
        registry.add_fault(Fault::on("/v2/*/manifests/*", kind.clone()));
        let text = failure(&client(), &registry, insecure()).await;
        assert!(
            text.ends_with("EOF") || text.ends_with("connection reset by peer"),
            "{kind:?}: {text}"
        );
    }
}

/// A web server that has nothing for anybody.
async fn web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let page = "<html>nothing here</html>";
            let head = "HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\nconnection: close\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{page}", page.len());
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    });
    host
}

#[tokio::test]
async fn a_host_that_is_no_registry_is_named_as_such() {
    let host = web_server().await;
    let repository = client().repository(&host, "team/app", insecure()).unwrap();
    let text = repository.manifest(&v1()).await.unwrap_err().to_string();
    assert_eq!(
        text,
        format!("endpoint \"http://{host}\" does not support v2 API (got 404 Not Found)")
    );
}

#[tokio::test]
async fn a_registry_that_is_down_is_refused_now_and_used_when_it_is_back() {
    let registry = TestRegistry::start(one_image());
    let (host, port) = (
        registry.host(),
        registry.host().rsplit(':').next().unwrap().parse().unwrap(),
    );
    drop(registry);
    let client = client();
    let repository = client.repository(&host, "team/app", insecure()).unwrap();
    let text = repository.tags().await.unwrap_err().to_string();
    assert_eq!(
        text,
        format!("Get \"http://{host}/v2/\": dial tcp {host}: connect: connection refused")
    );
    let again = TestRegistry::builder(one_image()).port(port);
    let _registry = again.start_when_free().await;
    assert_eq!(repository.tags().await.unwrap(), ["v1"]);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_named() {
    let repository = client()
        .repository("registry.invalid", "team/app", within(Duration::from_secs(5)))
        .unwrap();
    let text = repository.tags().await.unwrap_err().to_string();
    assert!(
        text.contains("registry.invalid") && (text.contains("no such host") || text.contains("deadline")),
        "{text}"
    );
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_allowed() {
    let registry = TestRegistry::start(Content::new().image("team/app", "v1", Image::new()));
    registry.set_latency(Duration::from_millis(5));
    let options = ClientOptions {
        first_in_flight_per_host: 2,
        max_in_flight_per_host: 6,
        ..options()
    };
    let client = Client::new(options).unwrap();
    let repository = app(&client, &registry, insecure());
    for outcome in join_all((0..60).map(|_| repository.tags())).await {
        outcome.unwrap();
    }
    assert!(
        (3..=6).contains(&registry.max_in_flight()),
        "{}",
        registry.max_in_flight()
    );
}
