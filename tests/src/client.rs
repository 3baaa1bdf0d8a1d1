//! A plain HTTP client of the server, and bare TLS connections for those who don't behave.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, header};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::server::Server;

/// Path of the streams of a namespace.
#[must_use]
pub fn streams(namespace: &str) -> String {
    format!("/apis/image.openshift.io/v1/namespaces/{namespace}/imagestreams")
}

/// Path of the imports of a namespace.
#[must_use]
pub fn imports(namespace: &str) -> String {
    format!("/apis/image.openshift.io/v1/namespaces/{namespace}/imagestreamimports")
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body, if it is JSON; null otherwise.
    pub json: Value,
}

impl Answer {
    /// The body of an answer that tells of success.
    ///
    /// # Panics
    /// If it tells of something else.
    #[must_use]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json
    }
}

/// Speaks to one server with one token.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl Client {
    /// A client with this token, or without any.
    ///
    /// # Panics
    /// If the server has no authority.
    #[must_use]
    pub fn new(server: &Server, token: impl Into<Option<&'static str>>) -> Self {
        Self::with_tls(server, tls(&server.ca_pem(), None), token.into())
    }

    /// A client with this certificate and key (PEM).
    ///
    /// # Panics
    /// If these aren't PEM.
    #[must_use]
    pub fn with_certificate(server: &Server, certificate: &str, key: &str) -> Self {
        Self::with_tls(server, tls(&server.ca_pem(), Some((certificate, key))), None)
    }

    fn with_tls(server: &Server, tls: ClientConfig, token: Option<&str>) -> Self {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            http,
            url: server.url(),
            token: token.map(str::to_owned),
        }
    }

    /// A request that isn't sent yet.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request, with a body of JSON unless it is null. The error is one of the connection.
    ///
    /// # Errors
    /// If there is no whole answer.
    pub async fn try_send(&self, method: Method, path: &str, body: &Value) -> reqwest::Result<Answer> {
        let mut request = self.request(method, path);
        if !body.is_null() {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        Self::answer(request).await
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// If there is no whole answer.
    pub async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.timeout(Duration::from_secs(60)).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        Ok(Answer {
            status,
            headers,
            json: serde_json::from_str(&text).unwrap_or_default(),
            text,
        })
    }

    /// Sends a request that must be answered.
    ///
    /// # Panics
    /// If the connection fails.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.try_send(method, path, body).await.expect("an answer")
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &Value::Null).await
    }

    /// POST.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, body).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &Value::Null).await
    }

    /// Creates a namespace.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn create_namespace(&self, name: &str) {
        let body = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let _ = self.post("/api/v1/namespaces", &body).await.ok();
    }
}

/// A configuration that trusts the authority in this PEM, with a certificate and key (PEM) of a client's own.
///
/// # Panics
/// If these aren't PEM.
#[must_use]
pub fn tls(ca_pem: &str, own: Option<(&str, &str)>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots
            .add(certificate.expect("PEM of the authority"))
            .expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks the default versions")
        .with_root_certificates(roots);
    match own {
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("own PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("own PEM");
            config
                .with_client_auth_cert(vec![certificate], key)
                .expect("the key fits the certificate")
        }
        None => config.with_no_client_auth(),
    }
}

/// Bare TLS connections to one server.
#[derive(Clone)]
pub struct Connector {
    connector: TlsConnector,
    address: std::net::SocketAddr,
}

impl Connector {
    /// For this server, with HTTP/1.1.
    #[must_use]
    pub fn new(server: &Server) -> Self {
        Self::with_tls(server, tls(&server.ca_pem(), None))
    }

    /// For this server, with HTTP/2.
    #[must_use]
    pub fn http2(server: &Server) -> Self {
        let mut config = tls(&server.ca_pem(), None);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self::with_tls(server, config)
    }

    fn with_tls(server: &Server, config: ClientConfig) -> Self {
        Self {
            connector: TlsConnector::from(Arc::new(config)),
            address: server.address(),
        }
    }

    /// For a server at another address that shows a certificate of the same authority.
    #[must_use]
    pub fn at(mut self, address: std::net::SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// A new connection.
    ///
    /// # Errors
    /// If the server doesn't accept it.
    pub async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        self.connector
            .connect(ServerName::from(self.address.ip()), stream)
            .await
    }
}
