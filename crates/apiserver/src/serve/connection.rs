//! One connection: TLS, then HTTP/1.1 or HTTP/2 as the handshake agreed.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::metrics::Rejection;
use super::patience::{Activity, Patience, Patient};
use super::service::{ApiService, Peer};
use super::tls::H2;
use crate::authn::CertificateUser;

/// Bytes that the head of a request may have.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 256;
/// Requests in one connection at once.
const MAX_STREAMS: u32 = 100;
/// Bytes of bodies that clients may send ahead, for each request and for a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of an answer that wait in a stream.
const SEND_BUFFER: usize = 256 << 10;
/// How often a quiet client is asked whether it is still there, and how long it has to answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves a connection until it ends: by the client, by its own times, or soon after `cut`.
pub(super) async fn serve(
    service: Arc<ApiService>,
    tls: TlsAcceptor,
    stream: TcpStream,
    cut: CancellationToken,
) {
    let Ok(address) = stream.peer_addr() else {
        // The client is gone already.
        return;
    };
    tune(&stream);
    let handshake = tokio::time::timeout(service.options.handshake_timeout, tls.accept(stream));
    let handshake = tokio::select! {
        handshake = handshake => handshake,
        () = service.shutdown.begun() => return,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "TLS handshake failed");
            return service.records.metrics.rejected(Rejection::HandshakeFailed);
        }
        Err(_) => return service.records.metrics.rejected(Rejection::HandshakeTimeout),
    };
    let (_, session) = stream.get_ref();
    let is_http2 = session.alpn_protocol() == Some(H2);
    let certificate = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|certificate| CertificateUser::from_verified(certificate));
    let activity = Arc::new(Activity::new());
    let patience = Patience::new(&service.options, is_http2);
    let io = TokioIo::new(Patient::new(stream, patience, Arc::clone(&activity)));
    let peer = Arc::new(Peer {
        address,
        certificate,
        activity,
    });
    let shutdown = service.shutdown();
    let answers = service_fn(move |request| {
        let (service, peer) = (Arc::clone(&service), Arc::clone(&peer));
        Box::pin(async move { Ok::<_, Infallible>(service.answer(&peer, request).await) })
    });
    let ended = if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(io, answers);
        run(connection, shutdown.begun(), cut).await
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // That is what `Patient` does, which tells heads from silence.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD)
            .max_header_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .serve_connection(io, answers);
        run(connection, shutdown.begun(), cut).await
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "a connection ended badly");
    }
}

/// Runs a connection. After `ending` it takes no new requests.
async fn run<C: GracefulConnection<Error = hyper::Error>>(
    connection: C,
    ending: impl Future<Output = ()>,
    cut: CancellationToken,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = ending => connection.as_mut().graceful_shutdown(),
        () = cut.cancelled() => return Ok(()),
    }
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = cut.cancelled() => Ok(()),
    }
}

/// Small answers go out at once, and clients that vanished without a word are noticed.
fn tune(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = tuned {
        // The connection works without.
        tracing::debug!(%error, "a socket's options can't be set");
    }
}
