//! A registry in this process, on a loopback port: the read side of the
//! [distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md), with
//! switches that change its behaviour while it runs.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::auth::{Auth, Tokens};
use crate::content::Content;
use crate::fault::Fault;
use crate::rate_limit::{Limiter, RateLimit};
use crate::record::{InFlight, Recorded};
use crate::serve;
use crate::tls::ServerIdentity;

/// How the `Link` header of a tag page names the next page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkForm {
    /// A path, as Docker's registry does.
    #[default]
    Relative,
    /// A whole URL.
    Absolute,
}

/// What can be switched while the registry runs.
#[derive(Debug, Default)]
pub(crate) struct Switches {
    pub(crate) content: Arc<Content>,
    pub(crate) latency: Duration,
    pub(crate) auth: Auth,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) page_size: Option<usize>,
    pub(crate) link_form: LinkForm,
    pub(crate) without_digest_header: bool,
    pub(crate) tokens: Tokens,
}

/// What the handle and the serving thread share.
pub(crate) struct Shared {
    pub(crate) url: String,
    pub(crate) in_flight: InFlight,
    connections: AtomicUsize,
    record: bool,
    switches: Mutex<Switches>,
    request_count: AtomicUsize,
    requests: Mutex<Vec<Recorded>>,
}

impl Shared {
    pub(crate) fn switches(&self) -> MutexGuard<'_, Switches> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a request.
    pub(crate) fn note(&self, request: Recorded) {
        self.request_count.fetch_add(1, Ordering::SeqCst);
        if self.record {
            self.requests().push(request);
        }
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Recorded>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running registry; it stops when dropped.
///
/// It runs on a thread of its own, so that tests may block theirs.
pub struct TestRegistry {
    shared: Arc<Shared>,
    address: SocketAddr,
    identity: Option<ServerIdentity>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Options that can't change while the registry runs.
pub struct Builder {
    content: Content,
    port: u16,
    identity: Option<ServerIdentity>,
    http2: bool,
    record: bool,
}

impl Builder {
    /// Listens on this port in place of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Speaks TLS, with a certificate of an authority that is made for this registry.
    #[must_use]
    pub fn tls(self) -> Self {
        self.tls_with(ServerIdentity::generate())
    }

    /// Speaks TLS with this certificate.
    #[must_use]
    pub fn tls_with(mut self, identity: ServerIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Doesn't offer HTTP/2 over TLS.
    #[must_use]
    pub fn http1_only(mut self) -> Self {
        self.http2 = false;
        self
    }

    /// Counts requests but doesn't keep them, for registries that run long.
    #[must_use]
    pub fn without_record(mut self) -> Self {
        self.record = false;
        self
    }

    /// Starts a registry where one was before, as soon as nobody else has the port: whoever connects to something is
    /// given any port that is free at that moment.
    ///
    /// # Panics
    /// If somebody keeps it for a minute.
    pub async fn start_when_free(self) -> TestRegistry {
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)) {
            assert!(Instant::now() < deadline, "port {}: {error}", self.port);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.start()
    }

    /// Starts the registry.
    ///
    /// # Errors
    /// If the port is taken.
    pub fn try_start(self) -> std::io::Result<TestRegistry> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let scheme = if self.identity.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            url: format!("{scheme}://{address}"),
            in_flight: InFlight::default(),
            connections: AtomicUsize::new(0),
            switches: Mutex::new(Switches {
                content: Arc::new(self.content),
                ..Switches::default()
            }),
            record: self.record,
            request_count: AtomicUsize::new(0),
            requests: Mutex::new(Vec::new()),
        });
        let protocols: &[&[u8]] = match self.http2 {
            true => &[b"h2", b"http/1.1"],
            false => &[b"http/1.1"],
        };
        let acceptor = self
            .identity
            .as_ref()
            .map(|identity| TlsAcceptor::from(identity.server_config(protocols)));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let serving = shared.clone();
        let thread = std::thread::Builder::new()
            .name("test-registry".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        () = accept(listener, acceptor, serving) => {}
                        _ = stopped => {}
                    }
                });
                // Dropping the runtime ends the connections, also those that hang on purpose.
            })?;
        Ok(TestRegistry {
            shared,
            address,
            identity: self.identity,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Starts the registry.
    ///
    /// # Panics
    /// If the port is taken.
    #[must_use]
    pub fn start(self) -> TestRegistry {
        self.try_start().expect("a loopback port to listen on")
    }
}

impl TestRegistry {
    /// Serves `content` over plain HTTP on a free port.
    #[must_use]
    pub fn start(content: Content) -> Self {
        Self::builder(content).start()
    }

    /// Prepares a registry with options.
    #[must_use]
    pub fn builder(content: Content) -> Builder {
        Builder {
            content,
            port: 0,
            identity: None,
            http2: true,
            record: true,
        }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`, or `https` with TLS.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// PEM of the authority that clients have to trust, with TLS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| identity.ca_pem.as_str())
    }

    /// Replaces the content.
    pub fn set_content(&self, content: Content) {
        self.shared.switches().content = Arc::new(content);
    }

    /// What the registry serves now.
    #[must_use]
    pub fn content(&self) -> Arc<Content> {
        self.shared.switches().content.clone()
    }

    /// Waits this long before every answer.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.switches().latency = latency;
    }

    /// Asks for other credentials; tokens that were given out before are worthless.
    pub fn set_auth(&self, auth: Auth) {
        let mut switches = self.shared.switches();
        switches.auth = auth;
        switches.tokens.revoke_all();
    }

    /// Makes every token that was given out worthless.
    pub fn revoke_tokens(&self) {
        self.shared.switches().tokens.revoke_all();
    }

    /// How many tokens were given out.
    #[must_use]
    pub fn tokens_issued(&self) -> u64 {
        self.shared.switches().tokens.count()
    }

    /// Limits requests, or stops limiting them.
    pub fn set_rate_limit(&self, limit: impl Into<Option<RateLimit>>) {
        self.shared.switches().limiter = limit.into().map(Limiter::new);
    }

    /// Adds a fault. Faults strike requests that have passed authentication, except those on `/v2/` and `/token`
    /// and false challenges, which come first. Of several that fit, the one added first strikes.
    pub fn add_fault(&self, fault: Fault) {
        self.shared.switches().faults.push(fault);
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.shared.switches().faults.clear();
    }

    /// Gives at most this many tags per page, whatever the client asks for.
    pub fn set_page_size(&self, tags: impl Into<Option<usize>>) {
        self.shared.switches().page_size = tags.into();
    }

    /// Chooses the form of links to next pages.
    pub fn set_link_form(&self, form: LinkForm) {
        self.shared.switches().link_form = form;
    }

    /// Sends `Docker-Content-Digest` with manifests, or not.
    pub fn set_digest_header(&self, sent: bool) {
        self.shared.switches().without_digest_header = !sent;
    }

    /// All requests so far, in the order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests().clone()
    }

    /// `METHOD /path?query` of all requests so far.
    #[must_use]
    pub fn request_lines(&self) -> Vec<String> {
        self.shared.requests().iter().map(Recorded::line).collect()
    }

    /// How many requests came so far.
    #[must_use]
    pub fn request_count(&self) -> usize {
        self.shared.request_count.load(Ordering::SeqCst)
    }

    /// Forgets the requests and the greatest number in flight.
    pub fn clear_requests(&self) {
        self.shared.requests().clear();
        self.shared.request_count.store(0, Ordering::SeqCst);
        self.shared.in_flight.reset_most();
    }

    /// How many requests were being answered at the same time, at most.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        self.shared.in_flight.most()
    }

    /// How many requests are being answered now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.now()
    }

    /// How many connections were accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a non-blocking listener");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        match acceptor.clone() {
            None => {
                tokio::spawn(converse(stream, shared));
            }
            Some(acceptor) => {
                tokio::spawn(async move {
                    // A failed handshake is the client's business, and its test's.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, shared).await;
                    }
                });
            }
        }
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, shared: Arc<Shared>) {
    let service = service_fn(move |request| serve::answer(shared.clone(), request));
    // An error here is a client that went away or a cut that a test asked for.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
