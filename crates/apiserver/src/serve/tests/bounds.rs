//! What is too much, too slow or broken, and that others don't notice.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::*;
use crate::decode::MAX_BODY;
use crate::serve::ServeOptions;

const SOON: Duration = Duration::from_millis(300);
/// Longer than anything takes, however slow the machine is.
const LONG: Duration = Duration::from_secs(60);

/// What the server says to these bytes, until it closes the connection.
async fn say(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = server.connect(None, b"http/1.1").await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    // A server that closes without the last word of TLS has closed, too.
    let end = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(end.is_ok(), "the server closes the connection: {answer}");
    answer
}

fn post(rest: &str) -> String {
    format!(
        "POST {WIDGETS_PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ann-token\r\n\
         content-type: application/json\r\n{rest}"
    )
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_it_is_announced_or_not() {
    let server = TestServer::start(ServeOptions::default()).await;
    let answer = say(
        &server,
        post(&format!("content-length: {}\r\n\r\n", MAX_BODY + 1)).as_bytes(),
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("RequestEntityTooLarge"),
        "{answer}"
    );

    let mut stream = server.connect(None, b"http/1.1").await.unwrap();
    stream
        .write_all(post("transfer-encoding: chunked\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    // Clients that send everything before they look at the answer see it, too.
    for _ in 0..20 {
        stream.write_all(&chunk).await.unwrap();
    }
    stream.flush().await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn nothing_of_a_body_is_waited_for_before_its_sender_is_known() {
    let server = TestServer::start(ServeOptions::default()).await;
    let head = post("content-length: 100\r\n\r\n").replace("ann-token", "wrong");
    let answer = say(&server, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_slow_or_broken_ends_its_connection_with_an_answer() {
    let server = TestServer::start(ServeOptions {
        body_timeout: SOON,
        ..ServeOptions::default()
    })
    .await;
    let answer = say(&server, post("content-length: 100\r\n\r\n{").as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"),
        "{answer}"
    );
    // A patient server: what is broken must not be taken for slow.
    let server = TestServer::start(ServeOptions::default()).await;
    let answer = say(
        &server,
        post("transfer-encoding: chunked\r\n\r\nxyz\r\n").as_bytes(),
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("BadRequest"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_head_that_is_slow_or_too_large_ends_its_connection() {
    let server = TestServer::start(ServeOptions {
        header_timeout: SOON,
        ..ServeOptions::default()
    })
    .await;
    let start = Instant::now();
    assert_eq!(say(&server, b"GET / HTTP/1.1\r\nx: y").await, "");
    assert!(start.elapsed() >= SOON && start.elapsed() < LONG);
    let server = TestServer::start(ServeOptions::default()).await;
    let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(70_000));
    let answer = say(&server, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_connection_that_was_used_can_be_used_again_much_later() {
    let request = || with_token("GET", &widget("w"), "ann-token", "");
    // As short as this machine manages to ask for the first time in.
    for seconds in [2, 4, 8, 16, 32] {
        let head = Duration::from_secs(seconds);
        let server = TestServer::start(ServeOptions {
            header_timeout: head,
            idle_timeout: 10 * LONG,
            ..ServeOptions::default()
        })
        .await;
        let connecting = Instant::now();
        let mut client = server.client(None).await.unwrap();
        match client.sender.send_request(request()).await {
            Ok(answer) => {
                assert_eq!(answer.status(), 200);
                // The connection is free again when all of the answer has come.
                answer.into_body().collect().await.unwrap();
            }
            Err(_) if connecting.elapsed() >= head => continue,
            Err(error) => panic!("{error}"),
        }
        for _ in 0..2 {
            tokio::time::sleep(head + SOON).await;
            assert!(!client.sender.is_closed(), "not before its time");
            assert_eq!(client.send(request()).await.outcome(), (200, "ann".into()));
        }
        return;
    }
    panic!("no head is in time");
}

#[tokio::test]
async fn a_connection_that_nobody_uses_any_more_is_closed() {
    let server = TestServer::start(ServeOptions {
        idle_timeout: SOON,
        ..ServeOptions::default()
    })
    .await;
    let mut client = server.client(None).await.unwrap();
    let asked = Instant::now();
    let answer = client
        .send(with_token("GET", &widget("w"), "ann-token", ""))
        .await;
    assert_eq!(answer.outcome(), (200, "ann".into()));
    while !client.sender.is_closed() {
        assert!(asked.elapsed() < LONG, "the server closes what is idle");
        tokio::time::sleep(SOON / 10).await;
    }
    assert!(asked.elapsed() >= SOON, "not before its time");
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_is_dropped() {
    let server = TestServer::start(ServeOptions {
        handshake_timeout: SOON,
        ..ServeOptions::default()
    })
    .await;
    let mut silent = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let read = tokio::time::timeout(LONG, silent.read(&mut [0; 1]))
        .await
        .unwrap();
    assert!(matches!(read, Ok(0) | Err(_)));
}

#[tokio::test]
async fn more_requests_than_allowed_are_told_to_come_back() {
    let server = TestServer::start(ServeOptions {
        max_in_flight: 1,
        ..ServeOptions::default()
    })
    .await;
    let mut waiting = server.client(None).await.unwrap();
    let first = tokio::spawn(async move {
        let answer = waiting
            .send(with_token("GET", &widget("gate"), "ann-token", ""))
            .await;
        answer.outcome()
    });
    server.gate.entered.acquire().await.unwrap().forget();
    let answer = server.get("ann-token", &widget("w")).await;
    let message = "Too many requests, please try again later.";
    assert_eq!(answer.outcome(), (429, message.into()));
    assert_eq!(answer.headers["retry-after"], "1");
    // Those who may put it right, probes and watches have other places.
    assert_eq!(server.get("admin-token", &widget("w")).await.code, 200);
    assert_eq!(server.get("", "/healthz").await.code, 200);
    let mut watching = server.client(None).await.unwrap();
    let watch = with_token("GET", &format!("{WIDGETS_PATH}?watch=true"), "ann-token", "");
    assert_eq!(watching.sender.send_request(watch).await.unwrap().status(), 200);

    server.gate.opened.add_permits(1);
    assert_eq!(first.await.unwrap(), (200, "ann".into()));
    assert_eq!(server.get("ann-token", &widget("w")).await.code, 200);
}

#[tokio::test]
async fn watches_have_a_limit_of_their_own() {
    let server = TestServer::start(ServeOptions {
        max_watches: 1,
        ..ServeOptions::default()
    })
    .await;
    let watch = || with_token("GET", &format!("{WIDGETS_PATH}?watch=true"), "ann-token", "");
    let mut client = server.client(None).await.unwrap();
    let open = client.sender.send_request(watch()).await.unwrap();
    assert_eq!(server.send(watch()).await.code, 429);
    drop((open, client));
    let start = Instant::now();
    loop {
        let mut client = server.client(None).await.unwrap();
        match client
            .sender
            .send_request(watch())
            .await
            .unwrap()
            .status()
            .as_u16()
        {
            200 => break,
            _ => assert!(start.elapsed() < LONG, "the place is given back"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_request_gets_the_time_that_its_client_asks_for() {
    let server = TestServer::start(ServeOptions::default()).await;
    let answer = server
        .get("ann-token", &(widget("slow") + "?timeout=200ms"))
        .await;
    let message = "Timeout: request did not complete within requested timeout - context deadline exceeded";
    assert_eq!(answer.outcome(), (504, message.into()));
    let answer = server.get("ann-token", &(widget("w") + "?timeout=x")).await;
    let message = "invalid timeout specified in the request URL: time: invalid duration \"x\"";
    assert_eq!(answer.outcome(), (400, message.into()));
}

#[tokio::test]
async fn a_programming_error_is_the_answer_to_one_request_alone() {
    let server = TestServer::start(ServeOptions::default()).await;
    let mut client = server.client(None).await.unwrap();
    for _ in 0..2 {
        let answer = client
            .send(with_token("GET", &widget("panic"), "ann-token", ""))
            .await;
        assert_eq!(answer.code, 500);
        assert_eq!(answer.json()["reason"], "InternalError");
        assert!(!answer.body.contains("on purpose"), "{}", answer.body);
        // Even in the same connection.
        let answer = client
            .send(with_token("GET", &widget("w"), "ann-token", ""))
            .await;
        assert_eq!(answer.outcome(), (200, "ann".into()));
    }
    let path = "/apis/example.io/v1/namespaces/broken/widgets?watch=true";
    // The answer does not seem complete, if it begins at all.
    let request = with_token("GET", path, "ann-token", "");
    if let Ok(answer) = client.sender.send_request(request).await {
        assert!(answer.into_body().collect().await.is_err());
    }
    assert_eq!(server.get("ann-token", &widget("w")).await.code, 200);
}

#[tokio::test]
async fn requests_share_a_connection_of_http2() {
    let server = TestServer::start(ServeOptions::default()).await;
    let mut client = server.client2().await;
    let request = |name: &str| {
        let uri = format!("https://localhost{}", widget(name));
        http::Request::get(uri)
            .header("authorization", "Bearer ann-token")
            .body(Full::new(Bytes::new()))
            .unwrap()
    };
    let waiting = client.send_request(request("gate"));
    let waiting = tokio::spawn(waiting);
    server.gate.entered.acquire().await.unwrap().forget();
    for name in ["w", "panic"] {
        let answer = client.send_request(request(name)).await.unwrap();
        let expected = if name == "w" { 200 } else { 500 };
        assert_eq!(
            (answer.version(), answer.status().as_u16()),
            (http::Version::HTTP_2, expected)
        );
    }
    let body = Full::new(Bytes::from(vec![b' '; MAX_BODY + 1]));
    let large = http::Request::post(format!("https://localhost{WIDGETS_PATH}"))
        .header("authorization", "Bearer ann-token")
        .body(body)
        .unwrap();
    assert_eq!(client.send_request(large).await.unwrap().status(), 413);
    server.gate.opened.add_permits(1);
    let answer = waiting.await.unwrap().unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(std::str::from_utf8(&body).unwrap().contains("\"user\":\"ann\""));
}

#[tokio::test]
async fn thousands_of_idle_connections_leave_room_for_others_until_there_are_too_many() {
    const IDLE: usize = 2_000;
    let server = TestServer::start(ServeOptions {
        max_connections: IDLE + 1,
        // However slow the machine is.
        handshake_timeout: 10 * LONG,
        header_timeout: 10 * LONG,
        ..ServeOptions::default()
    })
    .await;
    let mut idle = Vec::new();
    let config = std::sync::Arc::new(server.client_config(None, b"http/1.1"));
    for _ in 0..IDLE / 2 {
        idle.push(tokio::net::TcpStream::connect(server.address).await.unwrap());
    }
    let connector = tokio_rustls::TlsConnector::from(config);
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut secure = Vec::new();
    for _ in 0..IDLE / 2 {
        let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        secure.push(connector.connect(name.clone(), stream).await.unwrap());
    }
    let mut last = server.client(None).await.unwrap();
    let answer = last.send(with_token("GET", &widget("w"), "ann-token", "")).await;
    assert_eq!(answer.code, 200);
    assert!(server.connect(None, b"http/1.1").await.is_err());
    let answer = last.send(with_token("GET", "/metrics", "admin-token", "")).await;
    let counted = format!("apiserver_connections {}\n", IDLE + 1);
    assert!(answer.body.contains(&counted), "{}", answer.body);
    assert!(
        answer
            .body
            .contains("apiserver_rejected_total{reason=\"connection_limit\"} 1\n")
    );

    drop((idle, secure));
    let start = Instant::now();
    while server.connect(None, b"http/1.1").await.is_err() {
        assert!(start.elapsed() < LONG, "the places are given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
