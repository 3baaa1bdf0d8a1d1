//! What the same bytes cost at least: a server that has an answer ready in memory and does nothing but send it, with the
//! certificate and the TLS of the server that is measured.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use imagestream_apiserver::pki::Identity;
use imagestream_apiserver::serve::{certificates, tls_config};
use imagestream_bench::Result;
use imagestream_tests::server::Server;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Starts it on a thread of its own, and returns where it listens. It ends with the process.
pub(crate) fn start(like: &Server, body: Bytes) -> Result<SocketAddr> {
    let pki = |name: &str| fs::read_to_string(like.place().path("data/pki").join(name));
    let identity = Identity {
        certificate: pki("serving.crt")?,
        key: pki("serving.key")?,
    };
    let tls = TlsAcceptor::from(Arc::new(tls_config(&identity, &certificates(&like.ca_pem())?)?));
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async { serve(TcpListener::from_std(listener)?, &tls, body).await })
    });
    Ok(address)
}

/// One connection after another.
async fn serve(listener: TcpListener, tls: &TlsAcceptor, body: Bytes) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(tls.accept(stream).await?);
        let answer = service_fn(|_: Request<Incoming>| {
            let body = body.clone();
            async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
        });
        // How a client ends its connection is its own affair.
        let _ = http1::Builder::new().serve_connection(stream, answer).await;
    }
}
