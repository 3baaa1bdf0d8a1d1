//! From a socket to [`Dispatcher::dispatch`](crate::dispatch::Dispatcher::dispatch): connections and TLS, who asks and
//! whether they may, what is worked on at once and for how long, what is written down about it, and an orderly end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod audit;
mod authentication;
mod authorization;
mod body;
mod compress;
mod connection;
mod deadline;
mod exchange;
mod health;
mod limits;
mod metrics;
mod open_files;
mod options;
mod patience;
mod service;
mod shutdown;
mod tls;

pub use audit::AuditSink;
pub use authentication::Authentication;
pub use health::HealthCheck;
pub use options::ServeOptions;
pub use service::{ApiService, ServiceError};
pub use shutdown::Shutdown;
pub use tls::{TlsError, certificates, tls_config};

use metrics::Rejection;

/// The waits after failures to accept a connection.
const SHORTEST_BACK_OFF: Duration = Duration::from_millis(5);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// How long the audit log may take to be written to its end.
const AUDIT_GRACE: Duration = Duration::from_secs(5);

/// Serves until `shutdown`: no more connections then, watches end, and what clients wait for is finished, as far as
/// the grace of the options allows. New connections are made with the newest of `tls`.
///
/// # Errors
/// The audit log could not be written to its end.
pub async fn serve(
    listener: TcpListener,
    tls: watch::Receiver<Arc<rustls::ServerConfig>>,
    service: Arc<ApiService>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    tokio::select! {
        () = accept_all(&listener, &tls, &service, &connections, &cut) => {}
        () = shutdown => {}
    }
    service.shutdown.begin();
    drop(listener);
    connections.close();
    let grace = service.options.shutdown_grace;
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests are cut off");
        cut.cancel();
        connections.wait().await;
    }
    match &service.records.audit {
        Some(log) => log.flush(AUDIT_GRACE).await,
        None => Ok(()),
    }
}

/// Accepts connections for ever.
async fn accept_all(
    listener: &TcpListener,
    tls: &watch::Receiver<Arc<rustls::ServerConfig>>,
    service: &Arc<ApiService>,
    connections: &TaskTracker,
    cut: &CancellationToken,
) {
    let most = open_files::connections(service.options.max_connections).min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(most));
    loop {
        let stream = accept(listener).await;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            service.records.metrics.rejected(Rejection::ConnectionLimit);
            continue;
        };
        let tls = TlsAcceptor::from(Arc::clone(&tls.borrow()));
        let (service, cut) = (Arc::clone(service), cut.clone());
        connections.spawn(async move {
            let _counted = (place, service.records.metrics.connection());
            Box::pin(connection::serve(service, tls, stream, cut)).await;
        });
    }
}

/// The next connection. A failure is that of one connection, or passes: without file descriptors, for example, those
/// who are connected can go on, and some will leave.
async fn accept(listener: &TcpListener) -> TcpStream {
    let mut back_off = SHORTEST_BACK_OFF;
    loop {
        let error = match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => error,
        };
        if is_about_one_connection(&error) {
            continue;
        }
        tracing::warn!(%error, "no connection can be accepted");
        tokio::time::sleep(back_off).await;
        back_off = (2 * back_off).min(LONGEST_BACK_OFF);
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
