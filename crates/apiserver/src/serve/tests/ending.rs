//! How a server ends.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;

use super::fixture::*;
use crate::serve::ServeOptions;

fn watch() -> http::Request<http_body_util::Full<bytes::Bytes>> {
    with_token("GET", &format!("{WIDGETS_PATH}?watch=true"), "ann-token", "")
}

#[tokio::test]
async fn an_ending_server_ends_watches_cleanly_and_finishes_what_clients_wait_for() {
    let mut server = TestServer::start(ServeOptions::default()).await;
    let mut watching = server.client(None).await.unwrap();
    let mut stream = watching.sender.send_request(watch()).await.unwrap().into_body();
    let first = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"{\"type\":\"ADDED\""));

    let mut idle = server.client(None).await.unwrap();
    assert_eq!(
        idle.send(with_token("GET", &widget("w"), "ann-token", ""))
            .await
            .code,
        200
    );
    let mut waiting = server.client(None).await.unwrap();
    let waiting = tokio::spawn(async move {
        waiting
            .send(with_token("GET", &widget("gate"), "ann-token", ""))
            .await
    });
    server.gate.entered.acquire().await.unwrap().forget();

    server.stop();
    // The end of the stream, not an error.
    let end = tokio::time::timeout(Duration::from_secs(60), stream.frame())
        .await
        .unwrap();
    assert!(end.is_none());
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
    let closed = tokio::time::timeout(Duration::from_secs(60), idle.sender.ready())
        .await
        .unwrap();
    assert!(closed.is_err());
    assert!(!waiting.is_finished());
    server.gate.opened.add_permits(1);
    let answer = waiting.await.unwrap();
    assert_eq!(answer.outcome(), (200, "ann".into()));
    server.stopped().await;
}

#[tokio::test]
async fn the_streams_of_http2_end_the_same_way() {
    let mut server = TestServer::start(ServeOptions::default()).await;
    let mut client = server.client2().await;
    let mut request = watch();
    *request.uri_mut() = format!("https://localhost{WIDGETS_PATH}?watch=true")
        .parse()
        .unwrap();
    request.headers_mut().remove("host");
    let mut stream = client.send_request(request).await.unwrap().into_body();
    stream.frame().await.unwrap().unwrap();
    server.stop();
    let rest = tokio::time::timeout(Duration::from_secs(60), stream.collect());
    assert!(rest.await.unwrap().unwrap().to_bytes().is_empty());
    server.stopped().await;
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off() {
    let grace = Duration::from_millis(500);
    let mut server = TestServer::start(ServeOptions {
        shutdown_grace: grace,
        ..ServeOptions::default()
    })
    .await;
    let mut client = server.client(None).await.unwrap();
    let request = with_token("GET", &widget("gate"), "ann-token", "");
    let waiting = tokio::spawn(client.sender.send_request(request));
    server.gate.entered.acquire().await.unwrap().forget();
    let start = Instant::now();
    server.stop();
    assert!(waiting.await.unwrap().is_err());
    server.stopped().await;
    assert!(start.elapsed() >= grace);
}
