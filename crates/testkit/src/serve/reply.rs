//! An answer before it is sent, and the ways to spoil it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use crate::layer::sha256;

/// The body of a response: bytes, a stream of them, or an error that cuts the connection.
pub(super) type ReplyBody = UnsyncBoxBody<Bytes, io::Error>;

/// Size of the pieces of huge bodies.
const PIECE: usize = 64 * 1024;

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Bytes,
    sending: Sending,
}

/// How the body goes out.
#[derive(Debug)]
enum Sending {
    Whole,
    CutAfter(usize),
    Drip { bytes: usize, every: Duration },
    Zeros(Option<u64>),
}

impl Reply {
    pub(super) fn new(status: u16, body: Bytes) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("tests choose valid status codes"),
            headers: HeaderMap::new(),
            body,
            sending: Sending::Whole,
        }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string().into()).with_header("content-type", "application/json".to_owned())
    }

    /// An error in the form of the
    /// [specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes).
    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"errors": [{"code": code, "message": message, "detail": null}]});
        Self::json(status, &body)
    }

    pub(super) fn redirect(url: String) -> Self {
        Self::new(307, Bytes::new()).with_header("location", url)
    }

    /// Sets a header.
    pub(super) fn with_header(mut self, name: &str, value: String) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("tests choose valid header names");
        let value = HeaderValue::try_from(value).expect("tests choose valid header values");
        self.headers.insert(name, value);
        self
    }

    pub(super) fn with_headers(self, headers: Vec<(&'static str, String)>) -> Self {
        headers
            .into_iter()
            .fold(self, |reply, (name, value)| reply.with_header(name, value))
    }

    /// Changes one byte of the body and nothing else, not even its length.
    pub(super) fn with_other_body(mut self) -> Self {
        let mut body = self.body.to_vec();
        match body.iter_mut().find(|byte| byte.is_ascii_whitespace()) {
            // Still the same JSON, so that only the digest tells.
            Some(space) => *space = if *space == b' ' { b'\t' } else { b' ' },
            None => {
                if let Some(last) = body.last_mut() {
                    *last ^= 1;
                }
            }
        }
        self.body = body.into();
        self
    }

    /// Another body with success, the same type and the digest that fits, so that nothing but its content is wrong.
    pub(super) fn with_body_as_if_right(mut self, body: Bytes) -> Self {
        self.status = StatusCode::OK;
        if self.headers.contains_key("docker-content-digest") {
            let digest = sha256(&body);
            self = self.with_header("docker-content-digest", digest);
        }
        self.body = body;
        self
    }

    pub(super) fn cut_after(mut self, bytes: usize) -> Self {
        self.sending = Sending::CutAfter(bytes);
        self
    }

    pub(super) fn drip(mut self, bytes: usize, every: Duration) -> Self {
        self.sending = Sending::Drip {
            bytes: bytes.max(1),
            every,
        };
        self
    }

    /// That many zeros, with the length declared; or zeros without end, chunked.
    pub(super) fn huge(mut self, bytes: Option<u64>) -> Self {
        self.status = StatusCode::OK;
        self.sending = Sending::Zeros(bytes);
        self
    }

    pub(super) fn into_response(self, method: &Method) -> Response<ReplyBody> {
        let Self {
            status,
            mut headers,
            body,
            sending,
        } = self;
        headers
            .entry("docker-distribution-api-version")
            .or_insert(HeaderValue::from_static("registry/2.0"));
        headers
            .entry(CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("text/plain; charset=utf-8"));
        let declared = match sending {
            Sending::Zeros(bytes) => bytes,
            _ => Some(body.len() as u64),
        };
        if let Some(bytes) = declared {
            headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(bytes));
        }
        let body = if method == Method::HEAD {
            whole(Bytes::new())
        } else {
            match sending {
                Sending::Whole => whole(body),
                Sending::CutAfter(bytes) => cut(body.slice(..bytes)),
                Sending::Drip { bytes, every } => drip(body, bytes, every),
                Sending::Zeros(bytes) => zeros(bytes),
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

fn whole(bytes: Bytes) -> ReplyBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Sends `start` and then cuts the connection.
fn cut(start: Bytes) -> ReplyBody {
    let start = stream::iter((!start.is_empty()).then_some(Ok(Frame::data(start))));
    let end = stream::once(async {
        // While the body isn't ready the server flushes what it has: the headers and the start do arrive.
        tokio::task::yield_now().await;
        Err(io::Error::other("cut on purpose"))
    });
    StreamBody::new(start.chain(end)).boxed_unsync()
}

fn drip(body: Bytes, bytes: usize, every: Duration) -> ReplyBody {
    let pieces = stream::unfold(body, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(every).await;
        let piece = rest.split_to(bytes.min(rest.len()));
        Some((Ok(Frame::data(piece)), rest))
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn zeros(bytes: Option<u64>) -> ReplyBody {
    let piece = Bytes::from(vec![b'0'; PIECE]);
    let pieces = stream::unfold(bytes, move |left| {
        let piece = match left {
            Some(left) => piece.slice(..usize::try_from(left).map_or(PIECE, |left| left.min(PIECE))),
            None => piece.clone(),
        };
        async move {
            // Lets other connections of this one thread have their turn.
            tokio::task::yield_now().await;
            let left = left.map(|left| left - piece.len() as u64);
            (!piece.is_empty()).then(|| (Ok(Frame::data(piece)), left))
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}
