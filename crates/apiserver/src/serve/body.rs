//! Bodies: those of requests, read whole within bounds; and those of answers, which know when they are over.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::exchange::Exchange;
use super::limits::Place;
use super::metrics::Rejection;
use crate::decode;
use crate::errors;
use crate::respond::ResponseBody;

/// Why a body was not read.
pub(super) type Unread = (Rejection, Box<Status>);

/// Reads the body of a request.
///
/// # Errors
/// It is too large (413), too slow (408) or malformed (400). The rest of it is left in the connection, which must
/// be closed.
pub(super) async fn read<B>(head: &Parts, body: B, deadline: Instant) -> Result<Bytes, Unread>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let announced = head
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or_default();
    // What does not fit is not waited for.
    fits(usize::try_from(announced).unwrap_or(usize::MAX))?;
    let whole = async {
        let mut body = pin!(body);
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let message = format!("unable to read the request body: {}", error.into());
                (Rejection::BodyMalformed, errors::bad_request(message).into())
            })?;
            // Trailers say nothing about an object.
            if let Ok(bytes) = frame.into_data() {
                fits(whole.len() + bytes.len())?;
                whole.extend_from_slice(&bytes);
            }
        }
        Ok(Bytes::from(whole))
    };
    timeout_at(deadline, whole).await.unwrap_or_else(|_| {
        let message = "Timeout: the request body did not arrive in time";
        let status = errors::failure(408, "Timeout", message);
        Err((Rejection::BodyTimeout, status.into()))
    })
}

fn fits(length: usize) -> Result<(), Unread> {
    decode::check_size(length).map_err(|status| (Rejection::BodyTooLarge, status))
}

/// Why the answer breaks off.
#[derive(Debug, thiserror::Error)]
#[error("the answer could not be completed")]
pub(super) struct BrokenOff;

/// The body of an answer, with what is counted and held until it is over.
pub(super) struct TrackedBody {
    body: ResponseBody,
    /// When it has to end before its time.
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    exchange: Exchange,
    _place: Option<Place>,
}

impl TrackedBody {
    /// A body that ends by itself.
    pub(super) fn whole(body: ResponseBody, exchange: Exchange) -> Self {
        Self {
            body,
            ending: None,
            exchange,
            _place: None,
        }
    }

    /// A body that goes on until this happens. It ends cleanly then, between two frames.
    pub(super) fn until(
        ending: WaitForCancellationFutureOwned,
        body: ResponseBody,
        exchange: Exchange,
        place: Option<Place>,
    ) -> Self {
        Self {
            body,
            ending: Some(Box::pin(ending)),
            exchange,
            _place: place,
        }
    }
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        if let Some(ending) = &mut this.ending
            && ending.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        let body = Pin::new(&mut this.body);
        match catch_unwind(AssertUnwindSafe(|| body.poll_frame(cx))) {
            Ok(frame) => frame.map_err(|error: Infallible| match error {}),
            Err(_) => {
                this.exchange.panicked();
                Poll::Ready(Some(Err(BrokenOff)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream;
    use http_body_util::{Empty, Full, StreamBody};

    use super::*;
    use crate::decode::MAX_BODY;

    fn head(length: Option<&str>) -> Parts {
        let mut request = http::Request::builder();
        if let Some(length) = length {
            request = request.header(CONTENT_LENGTH, length);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_the_largest_size_is_read_and_one_byte_more_is_not() {
        let whole = read(&head(None), Full::new(Bytes::from(vec![b'x'; MAX_BODY])), soon()).await;
        assert_eq!(whole.unwrap().len(), MAX_BODY);
        let message = format!("Request entity too large: limit is {MAX_BODY}");
        let body = Full::new(Bytes::from(vec![b'x'; MAX_BODY + 1]));
        let (why, status) = read(&head(None), body, soon()).await.unwrap_err();
        assert_eq!(
            (why, status.message.as_ref()),
            (Rejection::BodyTooLarge, Some(&message))
        );
        let announced = head(Some("18446744073709551615"));
        let (_, status) = read(&announced, Empty::new(), soon()).await.unwrap_err();
        assert_eq!((status.code, status.message), (Some(413), Some(message)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let start = Instant::now();
        let (why, status) = read(&head(None), never, soon()).await.unwrap_err();
        assert_eq!((why, status.code), (Rejection::BodyTimeout, Some(408)));
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}
