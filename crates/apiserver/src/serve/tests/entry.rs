//! Who gets in.

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::fixture::*;
use crate::pki::Pki;
use crate::serve::ServeOptions;

const DAY: SignedDuration = SignedDuration::from_hours(24);

#[tokio::test]
async fn a_token_lets_its_user_in_and_a_wrong_one_nobody() {
    let server = TestServer::start(ServeOptions::default()).await;
    let answer = server.get("ann-token", &widget("w")).await;
    assert_eq!(answer.outcome(), (200, "ann".into()));
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.headers[name], value);
    }
    assert_eq!(answer.headers["audit-id"].len(), 36);

    let answer = server.get("wrong-token", &widget("w")).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(
        (answer.code.as_u16(), answer.json()),
        (
            401,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                   "message": "Unauthorized", "reason": "Unauthorized", "code": 401})
        )
    );
    // Not even where everyone may look.
    assert_eq!(server.get("wrong-token", "/healthz").await.code, 401);
}

#[tokio::test]
async fn who_shows_nothing_is_anonymous_and_may_see_health_only() {
    let server = TestServer::start(ServeOptions::default()).await;
    let answer = server.get("", &widget("w")).await;
    let message = "widgets.example.io \"w\" is forbidden: User \"system:anonymous\" cannot get resource \
                   \"widgets\" in API group \"example.io\" in the namespace \"n\"";
    assert_eq!(answer.outcome(), (403, message.into()));
    assert_eq!(
        answer.json()["details"],
        json!({"name": "w", "group": "example.io", "kind": "widgets"})
    );
    let message = "forbidden: User \"system:anonymous\" cannot get path \"/apis\"";
    assert_eq!(server.get("", "/apis").await.outcome(), (403, message.into()));
    for path in ["/healthz", "/livez", "/readyz"] {
        let answer = server.get("", path).await;
        assert_eq!(
            (answer.code.as_u16(), answer.body.as_str()),
            (200, "ok"),
            "{path}"
        );
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    }
    assert_eq!(server.get("", "/healthz/etcd").await.code, 403);
    assert_eq!(server.get("admin-token", "/healthz/etcd").await.body, "ok");
}

#[tokio::test]
async fn a_certificate_of_the_authority_lets_its_user_in_until_it_ends() {
    let server = TestServer::start(ServeOptions::default()).await;
    let now = Timestamp::now();
    let ask = async |identity| {
        let mut client = server.client(Some(identity)).await.unwrap();
        let answer = client.send(with_token("GET", &widget("w"), "", "")).await;
        answer.outcome()
    };
    assert_eq!(ask(&server.pki.admin).await, (200, "admin".into()));
    let good = server.issue("ann", now - DAY, now + DAY);
    assert_eq!(ask(&good).await, (200, "ann".into()));
    let expired = server.issue("ann", now - 2 * DAY, now - DAY);
    assert_eq!(ask(&expired).await, (401, "Unauthorized".into()));
    let early = server.issue("ann", now + DAY, now + 2 * DAY);
    assert_eq!(ask(&early).await, (401, "Unauthorized".into()));

    // A token helps whose certificate has ended.
    let mut client = server.client(Some(&expired)).await.unwrap();
    let answer = client
        .send(with_token("GET", &widget("w"), "bob-token", ""))
        .await;
    assert_eq!(answer.outcome(), (200, "bob".into()));
}

#[tokio::test]
async fn a_connection_that_outlives_its_certificate_is_no_longer_its_users() {
    let server = TestServer::start(ServeOptions::default()).await;
    // As short as this machine manages to connect and ask in.
    for seconds in [2, 4, 8, 16, 32] {
        let now = Timestamp::now();
        let ends = now + SignedDuration::from_secs(seconds);
        let short = server.issue("ann", now - DAY, ends);
        let mut client = server.client(Some(&short)).await.unwrap();
        let answer = client.send(with_token("GET", &widget("w"), "", "")).await;
        // Certificates count whole seconds.
        let second = SignedDuration::from_secs(1);
        if answer.code == 401 && Timestamp::now() > ends - second {
            continue;
        }
        assert_eq!(answer.outcome(), (200, "ann".into()));
        while Timestamp::now() <= ends + second {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let answer = client.send(with_token("GET", &widget("w"), "", "")).await;
        assert_eq!(answer.outcome(), (401, "Unauthorized".into()));
        return;
    }
    panic!("no certificate lasts until it is shown");
}

#[tokio::test]
async fn a_certificate_of_another_authority_ends_the_handshake_even_if_it_has_expired() {
    let server = TestServer::start(ServeOptions::default()).await;
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
    let now = Timestamp::now();
    for (from, to) in [(now - DAY, now + DAY), (now - 2 * DAY, now - DAY)] {
        let foreign = issue(&issuer, "admin", from, to);
        // With TLS 1.3 the client learns of it with its first answer.
        let refused = async {
            let mut stream = server.connect(Some(&foreign), b"http/1.1").await?;
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                .await?;
            stream.read_to_end(&mut Vec::new()).await
        };
        let error = refused.await.unwrap_err().to_string();
        assert!(error.contains("alert"), "{error}");
    }
}

#[tokio::test]
async fn new_connections_see_the_new_certificate_and_new_authorities_and_old_ones_go_on() {
    let mut server = TestServer::start(ServeOptions::default()).await;
    let other = tempfile::tempdir().unwrap();
    let other = Pki::open(other.path(), &[], Timestamp::now()).unwrap();
    let shown = |stream: TlsStream<TcpStream>| {
        let certificates = stream.get_ref().1.peer_certificates().unwrap();
        certificates[0].clone().into_owned()
    };
    let first = shown(server.connect(None, b"http/1.1").await.unwrap());
    let mut old = server.client(None).await.unwrap();
    assert_eq!(
        old.send(with_token("GET", &widget("w"), "ann-token", ""))
            .await
            .code,
        200
    );

    server.renew(&other.ca_certificate);
    assert_ne!(shown(server.connect(None, b"http/1.1").await.unwrap()), first);
    let mut client = server.client(Some(&other.admin)).await.unwrap();
    let answer = client.send(with_token("GET", &widget("w"), "", "")).await;
    assert_eq!(answer.outcome(), (200, "admin".into()));
    assert_eq!(
        old.send(with_token("GET", &widget("w"), "ann-token", ""))
            .await
            .code,
        200
    );
}

#[tokio::test]
async fn acting_as_somebody_else_takes_a_right_and_leaves_no_headers() {
    let server = TestServer::start(ServeOptions::default()).await;
    let act = async |token: &str, headers: &[(&'static str, &'static str)]| {
        let mut request = with_token("GET", &widget("w"), token, "");
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        server.send(request).await
    };
    let answer = act("ann-token", &[("impersonate-user", "bob")]).await;
    assert_eq!(answer.outcome(), (200, "bob".into()));
    let answer = act("admin-token", &[("impersonate-user", "carl")]).await;
    assert_eq!(answer.code, 403);

    let answer = act("ann-token", &[("impersonate-user", "admin")]).await;
    let message = "users \"admin\" is forbidden: User \"ann\" cannot impersonate resource \"users\" in API \
                   group \"\" at the cluster scope";
    assert_eq!(answer.outcome(), (403, message.into()));
    assert_eq!(
        answer.json()["details"],
        json!({"name": "admin", "kind": "users"})
    );
    let answer = act(
        "ann-token",
        &[
            ("impersonate-user", "bob"),
            ("impersonate-group", "system:masters"),
        ],
    )
    .await;
    assert_eq!(answer.code, 403);
    assert_eq!(act("ann-token", &[("impersonate-group", "x")]).await.code, 400);
    assert_eq!(act("", &[("impersonate-user", "bob")]).await.code, 403);
}
