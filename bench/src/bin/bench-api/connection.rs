//! One kept-alive HTTP/1.1 connection over TLS, as an API client has it.

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use imagestream_bench::Result;
use imagestream_tests::client::Connector;
use imagestream_tests::server::ADMIN;

/// A connection of the administrator's.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Opens one.
    pub(crate) async fn open(connector: &Connector) -> Result<Self> {
        let stream = connector.connect().await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // An error of the connection is one of the request on it, too.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Sends a request and returns when the head of the answer is there, which must tell of success.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Err(format!("{status} for {path}: {}", String::from_utf8_lossy(&body)).into())
    }

    /// Sends a request and reads the answer, which must tell of success.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let answer = self.send(method, path, body).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    }

    /// Reads an answer without keeping it, and returns its size in bytes.
    pub(crate) async fn drain(&mut self, path: &str) -> Result<usize> {
        let mut body = self.send(Method::GET, path, Bytes::new()).await?.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(bytes)
    }
}
