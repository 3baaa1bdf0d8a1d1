//! Who asks: challenges, tokens, passwords; and to whom credentials are never shown.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod reading;

use futures::future::join_all;
use imagestream_registry::{Access, Credential, Error};
use imagestream_testkit::auth::{Auth, TokenService};
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::registry::TestRegistry;
use reading::{app, client, failure, insecure, one_image, secure, trusting, user, v1};

fn token_requests(registry: &TestRegistry) -> usize {
    registry
        .requests()
        .iter()
        .filter(|request| request.path == "/token")
        .count()
}

#[tokio::test]
async fn fifty_requests_at_once_ask_for_one_token() {
    let registry = TestRegistry::start(one_image());
    registry.set_auth(Auth::bearer("ann", "secret"));
    let client = client();
    let access = || Access {
        credential: user("ann", "secret"),
        ..insecure()
    };
    let reads = (0..50).map(|_| {
        let repository = app(&client, &registry, access());
        async move { repository.manifest(&v1()).await }
    });
    for outcome in join_all(reads).await {
        outcome.unwrap();
    }
    assert_eq!(token_requests(&registry), 1);
    // One challenge, one token, and each manifest once.
    assert_eq!(registry.request_count(), 52);
}

#[tokio::test]
async fn a_token_that_ended_early_is_renewed_once_for_all() {
    let registry = TestRegistry::start(one_image());
    registry.set_auth(Auth::bearer_for_everyone());
    let client = client();
    let repository = app(&client, &registry, insecure());
    repository.manifest(&v1()).await.unwrap();
    registry.revoke_tokens();
    for outcome in join_all((0..20).map(|_| repository.tags())).await {
        assert_eq!(outcome.unwrap(), ["v1"]);
    }
    assert_eq!(token_requests(&registry), 2);
}

#[tokio::test]
async fn a_token_that_is_never_accepted_is_not_asked_for_again() {
    let registry = TestRegistry::start(one_image());
    registry.set_auth(Auth::Bearer(TokenService::new().anonymous("other/*")));
    let error = app(&client(), &registry, insecure())
        .manifest(&v1())
        .await
        .unwrap_err();
    assert!(
        error.has_code("UNAUTHORIZED") || error.to_string().contains("unauthorized"),
        "{error}"
    );
    assert!(token_requests(&registry) <= 1, "{:?}", registry.request_lines());
}

#[tokio::test]
async fn a_password_is_shown_when_it_is_asked_for() {
    let registry = TestRegistry::start(one_image());
    registry.set_auth(Auth::basic("ann", "secret"));
    let client = client();
    let access = Access {
        credential: user("ann", "secret"),
        ..insecure()
    };
    let repository = app(&client, &registry, access);
    repository.manifest(&v1()).await.unwrap();
    repository.tags().await.unwrap();
    let shown: Vec<bool> = registry
        .requests()
        .iter()
        .map(|request| request.authorization.is_some())
        .collect();
    assert_eq!(shown, [false, true, true]);
}

#[tokio::test]
async fn without_a_password_or_with_a_wrong_one_the_reason_is_said() {
    let registry = TestRegistry::start(one_image());
    registry.set_auth(Auth::basic("ann", "secret"));
    let client = client();
    let text = failure(&client, &registry, insecure()).await;
    assert!(text.ends_with(": no basic auth credentials"), "{text}");
    let access = Access {
        credential: user("ann", "wrong"),
        ..insecure()
    };
    let error = app(&client, &registry, access).manifest(&v1()).await.unwrap_err();
    assert!(error.has_code("UNAUTHORIZED"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_at_the_token_service_is_not_the_registrys_refusal() {
    let registry = TestRegistry::start(one_image());
    registry.set_auth(Auth::bearer("ann", "secret"));
    let access = Access {
        credential: user("ann", "wrong"),
        ..insecure()
    };
    let error = app(&client(), &registry, access)
        .manifest(&v1())
        .await
        .unwrap_err();
    let text = error.to_string();
    let begin = format!("Get \"{}/v2/team/app/manifests/v1\": ", registry.url());
    assert!(
        text.starts_with(&begin) && !error.has_code("UNAUTHORIZED"),
        "{text}"
    );
    assert!(!text.contains("wrong"), "{text}");
}

#[tokio::test]
async fn a_refresh_token_is_exchanged() {
    let registry = TestRegistry::start(one_image());
    registry.set_auth(Auth::bearer_with_refresh("refresh-me"));
    let credential = Some(Credential::IdentityToken {
        username: None,
        token: "refresh-me".into(),
    });
    app(
        &client(),
        &registry,
        Access {
            credential,
            ..insecure()
        },
    )
    .manifest(&v1())
    .await
    .unwrap();
    let exchange = registry
        .requests()
        .into_iter()
        .find(|request| request.path == "/token")
        .unwrap();
    assert_eq!(exchange.method, "POST");
    assert!(
        exchange.form.contains("grant_type=refresh_token"),
        "{}",
        exchange.form
    );
}

#[tokio::test]
async fn tokens_are_not_shared_between_callers() {
    let registry = TestRegistry::start(one_image());
    registry.set_auth(Auth::bearer("ann", "secret"));
    let client = client();
    let ann = Access {
        credential: user("ann", "secret"),
        ..insecure()
    };
    app(&client, &registry, ann).manifest(&v1()).await.unwrap();
    assert!(app(&client, &registry, insecure()).manifest(&v1()).await.is_err());
    let bob = Access {
        credential: user("bob", "secret"),
        ..insecure()
    };
    assert!(app(&client, &registry, bob).manifest(&v1()).await.is_err());
}

#[tokio::test]
async fn a_token_of_a_megabyte_is_refused() {
    let registry = TestRegistry::start(one_image());
    registry.set_auth(Auth::bearer_for_everyone());
    registry.add_fault(Fault::on("/token", FaultKind::HugeToken(1 << 20)));
    let text = failure(&client(), &registry, insecure()).await;
    assert!(
        text.ends_with("token is larger than the limit of 65536 bytes"),
        "{text}"
    );
}

#[tokio::test]
async fn a_secure_registry_cannot_have_a_password_sent_in_clear() {
    let registry = TestRegistry::builder(one_image()).tls().start();
    let thief = TestRegistry::start(one_image());
    registry.add_fault(Fault::on(
        "*",
        FaultKind::ChallengeTo(format!("{}/token", thief.url())),
    ));
    let access = Access {
        credential: user("ann", "secret"),
        ..secure()
    };
    let text = failure(&trusting(&registry), &registry, access).await;
    assert!(text.contains("over plain http"), "{text}");
    assert_eq!(thief.request_lines(), [""; 0]);
}

#[tokio::test]
async fn a_token_is_shown_to_its_registry_only() {
    let store = TestRegistry::start(one_image());
    let registry = TestRegistry::start(one_image());
    registry.set_auth(Auth::bearer("ann", "secret"));
    registry.add_fault(Fault::on("/v2/*/blobs/*", FaultKind::RedirectToBase(store.url())));
    let access = Access {
        credential: user("ann", "secret"),
        ..insecure()
    };
    let repository = app(&client(), &registry, access);
    reading::config(&repository, &registry).await.unwrap();
    let there = store.requests();
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].authorization, None);
}

#[tokio::test]
async fn the_challenge_of_a_place_redirected_to_is_not_answered() {
    let store = TestRegistry::start(one_image());
    store.set_auth(Auth::basic("ann", "secret"));
    let registry = TestRegistry::start(one_image());
    registry.add_fault(Fault::on("/v2/*/blobs/*", FaultKind::RedirectToBase(store.url())));
    let access = Access {
        credential: user("ann", "secret"),
        ..insecure()
    };
    let outcome = reading::config(&app(&client(), &registry, access), &registry).await;
    assert!(matches!(outcome, Err(Error::Registry(_))), "{outcome:?}");
    assert!(
        store
            .requests()
            .iter()
            .all(|request| request.authorization.is_none())
    );
}

/// A registry that shows strangers nothing but, at `/v2/`, that one may log in.
async fn secretive_registry() -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match client.read_u8().await {
                    Ok(byte) if head.first() != Some(&0x16) => head.push(byte),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let answer = if head.starts_with("get /v2/ ") {
                "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0"
            } else if head.contains("\r\nauthorization: basic ") {
                "200 OK\r\nContent-Length: 15"
            } else {
                "404 Not Found\r\nContent-Length: 0"
            };
            let body = if answer.starts_with("200") {
                "{\"tags\":[\"v1\"]}"
            } else {
                ""
            };
            let answer = format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n{body}");
            // A client that is gone has nothing to say to the test.
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    host
}

#[tokio::test]
async fn a_registry_that_hides_from_strangers_is_asked_how_to_log_in() {
    let host = secretive_registry().await;
    let credential = Credential::Basic {
        username: "ann".to_owned(),
        password: "secret".to_owned(),
    };
    let access = Access {
        credential: Some(credential),
        ..insecure()
    };
    let repository = client().repository(&host, "team/app", access).unwrap();
    assert_eq!(repository.tags().await, Ok(vec!["v1".to_owned()]));
    let stranger = client().repository(&host, "team/app", insecure()).unwrap();
    assert!(stranger.tags().await.is_err());
}
