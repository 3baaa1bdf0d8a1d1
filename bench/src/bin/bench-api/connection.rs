//! A kept-alive connection over TLS, as an API client has it.

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use imagestream_bench::Result;
use imagestream_tests::client::Connector;
use imagestream_tests::server::ADMIN;

/// A connection of the administrator's.
pub(crate) struct Connection(Sender);

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Many(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Opens one, with HTTP/1.1.
    pub(crate) async fn open(connector: &Connector) -> Result<Self> {
        let stream = connector.connect().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // An error of the connection is one of the request on it, too.
        tokio::spawn(connection);
        Ok(Self(Sender::One(sender)))
    }

    /// Opens one with HTTP/2, which this many share. The connector has to offer it.
    pub(crate) async fn open_shared(connector: &Connector, by: usize) -> Result<Vec<Self>> {
        let stream = connector.connect().await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok((0..by).map(|_| Self(Sender::Many(sender.clone()))).collect())
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
            .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"))
            .header(header::CONTENT_TYPE, "application/json");
        let body = Full::new(body);
        let answer = match &mut self.0 {
            Sender::One(sender) => {
                sender.ready().await?;
                let request = request.uri(path).header(header::HOST, "localhost");
                sender.send_request(request.body(body)?).await?
            }
            Sender::Many(sender) => {
                sender.ready().await?;
                let request = request.uri(format!("https://localhost{path}"));
                sender.send_request(request.body(body)?).await?
            }
        };
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
