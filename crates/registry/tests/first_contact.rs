//! The first request to a host, on which the others wait: what goes wrong with it concerns them as little as possible.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod reading;

use std::time::Duration;

use imagestream_registry::{Client, ClientOptions, ManifestAt};
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::image::Image;
use imagestream_testkit::registry::TestRegistry;
use reading::{client, insecure, options, secure, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn good_and_bad() -> TestRegistry {
    let content = Content::new()
        .image("team/bad", "v1", Image::new().layers(1))
        .image("team/good", "v1", Image::new().layers(1));
    TestRegistry::start(content)
}

/// Whether `team/bad` and `team/good` can be read, the bad one asked for first.
async fn both(client: &Client, registry: &TestRegistry, time: Duration) -> (bool, bool) {
    let read = |path: &'static str| {
        let repository = client.repository(&registry.host(), path, within(time)).unwrap();
        async move { repository.manifest(&ManifestAt::Tag("v1".into())).await.is_ok() }
    };
    tokio::join!(biased; read("team/bad"), read("team/good"))
}

#[tokio::test]
async fn a_first_request_that_hangs_does_not_hold_up_the_others() {
    let registry = good_and_bad();
    registry.add_fault(Fault::on("/v2/team/bad/*", FaultKind::Hang));
    assert_eq!(
        both(&client(), &registry, Duration::from_secs(12)).await,
        (false, true)
    );
}

#[tokio::test]
async fn a_first_request_that_is_cut_off_fails_alone() {
    let registry = good_and_bad();
    registry.add_fault(Fault::on("/v2/team/bad/*", FaultKind::CutBeforeHeaders));
    assert_eq!(
        both(&client(), &registry, Duration::from_secs(20)).await,
        (false, true)
    );
}

/// Relays plain HTTP to a registry. To a TLS greeting it says nothing, as relays that wait for a line do.
async fn relay_that_is_deaf_to_tls(registry: &TestRegistry) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let upstream = registry.host();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let upstream = upstream.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let mut length = 0;
                while !head[..length].ends_with(b"\r\n\r\n") {
                    match client.read(&mut head[length..]).await {
                        Ok(0) | Err(_) => return,
                        Ok(read) => length += read,
                    }
                }
                let mut server = TcpStream::connect(upstream).await.unwrap();
                server.write_all(&head[..length]).await.unwrap();
                // Ends when either side does; which one is of no interest.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    host
}

#[tokio::test]
async fn a_host_that_is_deaf_to_tls_is_asked_over_plain_http_if_that_is_allowed() {
    let registry = good_and_bad();
    let host = relay_that_is_deaf_to_tls(&registry).await;
    let at = ManifestAt::Tag("v1".into());
    // Not because a connection attempt is given up: that takes longer than there is time.
    let client = Client::new(ClientOptions {
        connect_timeout: Duration::from_secs(600),
        ..options()
    })
    .unwrap();
    let repository = client
        .repository(&host, "team/good", within(Duration::from_secs(60)))
        .unwrap();
    assert!(repository.manifest(&at).await.is_ok());

    let mut strict = secure();
    strict.deadline = within(Duration::from_secs(1)).deadline;
    let repository = client.repository(&host, "team/good", strict).unwrap();
    let error = repository.manifest(&at).await.unwrap_err().to_string();
    assert!(error.contains("deadline exceeded"), "{error}");
}

#[tokio::test]
async fn a_slow_registry_with_tls_is_not_mistaken_for_one_without() {
    let registry = TestRegistry::builder(Content::new().image("team/app", "v1", Image::new().layers(1)))
        .tls()
        .start();
    registry.set_latency(Duration::from_millis(600));
    let repository = client()
        .repository(&registry.host(), "team/app", insecure())
        .unwrap();
    assert!(repository.manifest(&ManifestAt::Tag("v1".into())).await.is_ok());
}
