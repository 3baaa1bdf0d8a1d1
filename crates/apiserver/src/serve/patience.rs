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

/// How long a client that still sends may take to read what it was answered. To close at once would take the answer away
/// from it ([RFC 9112, section 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6)).
const LINGER: Duration = Duration::from_millis(500);

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
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                open: 0,
                was_used: false,
                idle_since: Instant::now(),
                head_since: None,
            }),
        }
    }

    /// A request has begun; it ends when the answer is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> OpenRequest {
        let mut state = self.lock();
        state.open += 1;
        state.was_used = true;
        state.head_since = None;
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
    /// When to stop waiting for the client to close its side, after ours is closed.
    closing: Option<(Instant, Timer)>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, patience: Patience, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            patience,
            activity,
            reading: Timer::default(),
            writing: Timer::default(),
            closing: None,
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
        let this = &mut *self;
        if this.closing.is_none() {
            let result = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.timed(cx, result))?;
        }
        let (deadline, timer) = this
            .closing
            .get_or_insert_with(|| (Instant::now() + LINGER, Timer::default()));
        if timer.poll(cx, *deadline).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut discarded = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut discarded);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                // The client has closed its side, or is gone.
                return Poll::Ready(Ok(()));
            }
        }
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

    #[tokio::test(start_paused = true)]
    async fn a_client_that_still_sends_gets_to_read_its_answer() {
        let (mut client, mut server, _activity) = connection(true);
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
        assert!(start.elapsed() < LINGER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_closes_its_side_is_left_soon() {
        let (mut client, mut server, _activity) = connection(true);
        let trickle = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SECOND / 100).await;
            }
        });
        let start = Instant::now();
        server.shutdown().await.unwrap();
        assert_eq!(start.elapsed(), LINGER);
        trickle.abort();
    }
}
