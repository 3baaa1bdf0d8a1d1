//! A plain client: one connection per request, nothing retried, nothing followed.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::io;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use imagestream_testkit::registry::TestRegistry;
use tokio::net::TcpStream;

/// A response whose body came whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// Sends a GET.
pub(crate) async fn get(registry: &TestRegistry, path: &str) -> Answer {
    get_with(registry, path, &[]).await
}

/// Sends a GET with headers.
pub(crate) async fn get_with(registry: &TestRegistry, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(registry, Method::GET, path, headers, "")
        .await
        .expect("an answer")
}

/// Sends a request and reads the whole response.
pub(crate) async fn send(
    registry: &TestRegistry,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    let response = open(registry, method, path, headers, body).await?;
    let (head, body) = response.into_parts();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.map_err(io::Error::other)?.to_bytes(),
    })
}

/// Sends a request and returns as soon as the headers are there.
pub(crate) async fn open(
    registry: &TestRegistry,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<http::Response<hyper::body::Incoming>> {
    let stream = TcpStream::connect(registry.host()).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", registry.host());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::from(body.to_owned())))
        .map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}
