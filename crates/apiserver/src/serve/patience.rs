//! How long a connection may be quiet: what is between TLS and HTTP and ends connections whose clients send or take
//! nothing for too long. A client that opens connections and trickles bytes holds each of them for a bounded time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::options::ServeOptions;

/// What a connection is doing, told by its requests.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Requests that are not answered to the end.
    open: usize,
    /// Whether there was one ever.
    was_used: bool,
    /// When the last ended, or when the connection came in.
    idle_since: Instant,
    /// When the first byte of what will be the next request came in.
    head_since: Option<Instant>,
    /// Whether the client may be sending what nobody will look at.
    has_unread: bool,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                open: 0,
                was_used: false,
                idle_since: Instant::now(),
                head_since: None,
                has_unread: false,
            }),
        }
    }

    /// The body of the present request is not read to its end: the connection may have to end after the answer.
    pub(super) fn leave_unread(&self) {
        self.lock().has_unread = true;
    }

    /// A request has begun; it ends when the answer is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> OpenRequest {
        let mut state = self.lock();
        state.open += 1;
        state.was_used = true;
        state.head_since = None;
        state.has_unread = false;
        drop(state);
        OpenRequest {
            activity: Arc::clone(self),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is worked on or answered.
#[derive(Debug)]
pub(super) struct OpenRequest {
    activity: Arc<Activity>,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.open -= 1;
        state.idle_since = Instant::now();
    }
}

/// The times of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    head: Duration,
    idle: Duration,
    write: Duration,
    /// Whether bytes between requests begin the next one. With HTTP/2 they may be about the connection.
    heads_only: bool,
}

impl Patience {
    pub(super) fn new(options: &ServeOptions, is_http2: bool) -> Self {
        Self {
            head: options.header_timeout,
            idle: options.idle_timeout,
            write: options.write_timeout,
            heads_only: !is_http2,
        }
    }
}

/// A stream that seems to end when the other side is quiet for too long.
pub(super) struct Patient<S> {
    stream: S,
    patience: Patience,
    activity: Arc<Activity>,
    reading: Timer,
    writing: Timer,
    /// Set once this side is closed and the other is still listened to.
    lingering: Option<Lingering>,
}

/// The end of a connection whose client is still sending. If it were closed at once, the client's system would throw
/// away the answer that explains why ([RFC 9112, section 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6)).
struct Lingering {
    until: Instant,
    bytes_left: usize,
}

const LINGER_TIME: Duration = Duration::from_secs(10);
const LINGER_BYTES: usize = 64 << 20;

impl<S> Patient<S> {
    pub(super) fn new(stream: S, patience: Patience, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            patience,
            activity,
            reading: Timer::default(),
            writing: Timer::default(),
            lingering: None,
        }
    }

    /// When to stop waiting for bytes. While a request is open, whoever reads its body knows that.
    fn read_deadline(&self) -> Option<Instant> {
        let state = self.activity.lock();
        if state.open > 0 {
            return None;
        }
        let (since, patience) = match state.head_since {
            Some(since) if state.was_used => (since, self.patience.head),
            // From the beginning: the first request has one time for everything.
            _ if !state.was_used => (state.idle_since, self.patience.head),
            _ => (state.idle_since, self.patience.idle),
        };
        Some(since + patience)
    }
}

/// A timer that is only made once something is late.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }

    fn stop(&mut self) {
        self.0 = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            if this.patience.heads_only && buf.filled().len() > before {
                let mut state = this.activity.lock();
                if state.open == 0 && state.head_since.is_none() {
                    state.head_since = Some(Instant::now());
                }
            }
            return Poll::Ready(result);
        }
        let Some(deadline) = this.read_deadline() else {
            this.reading.stop();
            return Poll::Pending;
        };
        // Nothing more was read: the same as if the client had closed its side.
        this.reading.poll(cx, deadline).map(Ok)
    }
}

impl<S: AsyncWrite + Unpin> Patient<S> {
    fn timed<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.writing.stop();
            return result;
        }
        let deadline = match &self.writing.0 {
            Some(sleep) => sleep.deadline(),
            None => Instant::now() + self.patience.write,
        };
        ready!(self.writing.poll(cx, deadline));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Patient<S> {
    /// Throws away what the client sends, until it stops.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let lingering = self.lingering.get_or_insert_with(|| Lingering {
            until: Instant::now() + LINGER_TIME,
            bytes_left: LINGER_BYTES,
        });
        let mut scratch = [0; 4096];
        while lingering.bytes_left > 0 {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    lingering.bytes_left = lingering.bytes_left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => break,
                Poll::Pending => return self.reading.poll(cx, lingering.until),
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.timed(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.timed(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let result = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.timed(cx, result))?;
            if !self.activity.lock().has_unread {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_linger(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connection(heads_only: bool) -> (DuplexStream, Patient<DuplexStream>, Arc<Activity>) {
        let (client, server) = duplex(64);
        let activity = Arc::new(Activity::new());
        let patience = Patience {
            head: 10 * SECOND,
            idle: 60 * SECOND,
            write: 20 * SECOND,
            heads_only,
        };
        let patient = Patient::new(server, patience, Arc::clone(&activity));
        (client, patient, activity)
    }

    /// After how many seconds the stream ends.
    async fn end(stream: &mut Patient<DuplexStream>) -> u64 {
        let start = Instant::now();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_ends_soon_even_if_bytes_trickle_in() {
        for heads_only in [true, false] {
            let (mut client, mut server, _activity) = connection(heads_only);
            let trickle = tokio::spawn(async move {
                while client.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(SECOND).await;
                }
            });
            assert_eq!(end(&mut server).await, 10);
            trickle.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_between_requests_stays_until_it_is_idle_too_long() {
        let (_client, mut server, activity) = connection(true);
        drop(activity.begin());
        assert_eq!(end(&mut server).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_of_a_later_request_must_come_soon_once_it_has_begun() {
        let (mut client, mut server, activity) = connection(true);
        drop(activity.begin());
        tokio::time::sleep(30 * SECOND).await;
        client.write_all(b"GET").await.unwrap();
        assert_eq!(end(&mut server).await, 10);
        // Between requests of HTTP/2, bytes are about the connection.
        let (mut client, mut server, activity) = connection(false);
        drop(activity.begin());
        tokio::time::sleep(30 * SECOND).await;
        client.write_all(b"PING").await.unwrap();
        assert_eq!(end(&mut server).await, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_an_open_request_does_not_end() {
        let (_client, mut server, activity) = connection(true);
        let request = activity.begin();
        let quiet = tokio::time::timeout(500 * SECOND, end(&mut server)).await;
        assert!(quiet.is_err());
        drop(request);
        assert_eq!(end(&mut server).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_still_sending_can_read_the_answer_before_the_end() {
        for (has_unread, expected) in [(false, 0), (true, 10)] {
            let (mut client, mut server, activity) = connection(true);
            if has_unread {
                activity.leave_unread();
            }
            server.write_all(b"no").await.unwrap();
            let sending = tokio::spawn(async move {
                while client.write_all(&[0; 64]).await.is_ok() {
                    tokio::time::sleep(SECOND).await;
                }
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).await.unwrap();
                answer
            });
            let start = Instant::now();
            server.shutdown().await.unwrap();
            assert_eq!(start.elapsed().as_secs(), expected);
            drop(server);
            assert_eq!(sending.await.unwrap(), b"no");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lingering_ends_when_the_client_has_read_its_answer() {
        let (mut client, mut server, activity) = connection(true);
        activity.leave_unread();
        let client = tokio::spawn(async move {
            // More than the stream holds.
            client.write_all(&[0; 1000]).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        });
        server.write_all(b"too much").await.unwrap();
        let start = Instant::now();
        server.shutdown().await.unwrap();
        assert_eq!(client.await.unwrap(), b"too much");
        assert!(start.elapsed() < LINGER_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut client, mut server, activity) = connection(true);
        let _request = activity.begin();
        server.write_all(&[0; 64]).await.unwrap();
        tokio::time::sleep(100 * SECOND).await;
        client.read_exact(&mut [0; 64]).await.unwrap();
        server.write_all(&[0; 64]).await.unwrap();
        let start = Instant::now();
        let error = server.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(
            (error.kind(), start.elapsed().as_secs()),
            (io::ErrorKind::TimedOut, 20)
        );
    }
}
