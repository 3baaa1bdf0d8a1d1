//! Long answers, compressed for clients that accept it, as a Kubernetes API server does: with gzip, from 128 KiB on, and no
//! watches.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};

use crate::respond::ResponseBody;

/// Bytes from which it is worth it.
const FROM: u64 = 128 << 10;
/// Bytes that are compressed at once: what others wait for on the same thread, about a millisecond.
const SLICE: usize = 64 << 10;

/// The answer, compressed if it is long and the client takes it so.
pub(super) fn compressed(head: &Parts, response: Response<ResponseBody>) -> Response<ResponseBody> {
    let size = response.body().size_hint();
    // A list that is sent while it is being made is long.
    let is_long = size.exact().is_none_or(|size| size >= FROM);
    if head.method != Method::GET || response.status() != StatusCode::OK || !is_long || !accepts_gzip(head) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    head.headers
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers
        .append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let body = Gzip {
        body,
        plain: Bytes::new(),
        encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())),
    };
    Response::from_parts(head, body.boxed_unsync())
}

/// [RFC 9110, section 12.5.3](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3), as far as it concerns gzip.
fn accepts_gzip(head: &Parts) -> bool {
    let values = head.headers.get_all(ACCEPT_ENCODING).iter();
    let codings = values.filter_map(|value| value.to_str().ok());
    let mut any = false;
    for coding in codings.flat_map(|codings| codings.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.trim().strip_prefix("q=").map(str::parse::<f32>);
        let is_accepted = !matches!(weight, Some(Ok(0.0) | Err(_)));
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => return is_accepted,
            "*" => any = is_accepted,
            _ => {}
        }
    }
    any
}

/// A body that is compressed while it is sent.
struct Gzip {
    body: ResponseBody,
    /// What of it is to be compressed next.
    plain: Bytes,
    /// Gone when all was sent.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Body for Gzip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            let Some(encoder) = &mut this.encoder else {
                return Poll::Ready(None);
            };
            let written = if this.plain.is_empty() {
                match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        // Answers have no trailers.
                        this.plain = frame.into_data().unwrap_or_default();
                        continue;
                    }
                    Some(Err(never)) => match never {},
                    None => this.encoder.take().map(GzEncoder::finish).transpose(),
                }
            } else {
                let slice = this.plain.split_to(this.plain.len().min(SLICE));
                let written = encoder.write_all(&slice);
                written.map(|()| Some(std::mem::take(encoder.get_mut())))
            };
            match written {
                Ok(Some(bytes)) if !bytes.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
                }
                Ok(_) => {}
                // Memory takes whatever is written to it. A body without its end is an error to every client.
                Err(error) => {
                    tracing::error!(%error, "an answer can't be compressed");
                    this.encoder = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use futures::stream;

    use super::*;
    use crate::respond::{full, streamed};

    fn head(method: Method, accepted: &[&str]) -> Parts {
        let mut request = http::Request::builder().method(method);
        for accepted in accepted {
            request = request.header(ACCEPT_ENCODING, *accepted);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn long() -> Vec<u8> {
        (0..FROM).map(|at| (at % 251) as u8).collect()
    }

    async fn body(response: Response<ResponseBody>) -> Vec<u8> {
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[test]
    fn a_client_says_whether_it_takes_gzip() {
        for (accepted, takes) in [
            (&[][..], false),
            (&["gzip"], true),
            (&["deflate, GZIP;q=0.5"], true),
            (&["br", "gzip"], true),
            (&["*"], true),
            (&["gzip;q=0, *"], false),
            (&["gzip; q=0"], false),
            (&["gzip;q=x"], false),
            (&["identity"], false),
        ] {
            assert_eq!(accepts_gzip(&head(Method::GET, accepted)), takes, "{accepted:?}");
        }
    }

    #[tokio::test]
    async fn a_long_answer_is_compressed_and_says_so() {
        let whole = long();
        let pieces: Vec<Bytes> = whole.chunks(1000).map(Bytes::copy_from_slice).collect();
        for sent in [full(whole.clone()), streamed(stream::iter(pieces))] {
            let response = compressed(&head(Method::GET, &["gzip"]), Response::new(sent));
            assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
            assert_eq!(response.headers()[VARY], "Accept-Encoding");
            let sent = body(response).await;
            assert!(sent.len() < whole.len() / 2);
            let mut found = Vec::new();
            GzDecoder::new(&*sent).read_to_end(&mut found).unwrap();
            assert!(found == whole);
        }
    }

    #[tokio::test]
    async fn what_is_short_or_fails_or_is_not_wanted_so_is_sent_as_it_is() {
        let short = long()[1..].to_vec();
        for (method, accepted, status, content) in [
            (Method::GET, &["gzip"][..], StatusCode::OK, short),
            (Method::GET, &[], StatusCode::OK, long()),
            (Method::POST, &["gzip"], StatusCode::OK, long()),
            (Method::GET, &["gzip"], StatusCode::CONFLICT, long()),
        ] {
            let mut response = Response::new(full(content.clone()));
            *response.status_mut() = status;
            let response = compressed(&head(method, accepted), response);
            assert_eq!(response.headers().get(CONTENT_ENCODING), None);
            assert!(body(response).await == content);
        }
    }
}
