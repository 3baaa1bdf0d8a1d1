//! A server with one resource on a port of its own, and clients for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use k8s_openapi::apimachinery::pkg::version::Info;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::admission::{AdmitAll, Creation};
use crate::api::Api;
use crate::authn::{TokenFile, Tokens};
use crate::dispatch::Dispatcher;
use crate::endpoint::{Endpoint, Outcome, Reply, Request as ApiRequest, WatchEvent};
use crate::kind::{Kind, Resource, Verb};
use crate::options::{ListOptions, WriteOptions};
use crate::paths::{PathAnswer, PathEndpoint, PathRequest};
use crate::pki::{Identity, Pki, serving_names};
use crate::rbac::Authorizer;
use crate::rbac::load::load;
use crate::rbac::policy::{Origin, Policy};
use crate::schema;
use crate::serve::{ApiService, Authentication, HealthCheck, ServeOptions, certificates, serve, tls_config};

pub(super) const TOKENS: &str = "admin-token,admin,1,system:masters\nann-token,ann,2\nbob-token,bob,3\n";

const POLICY: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: user}
rules:
- {apiGroups: [example.io], resources: [widgets], verbs: [get, create, watch]}
- {apiGroups: [""], resources: [users], resourceNames: [bob], verbs: [impersonate]}
- {nonResourceURLs: [/echo/*], verbs: [post]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [example.io], resources: [widgets], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: users}
roleRef: {kind: ClusterRole, name: user}
subjects: [{kind: User, name: ann}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: readers}
roleRef: {kind: ClusterRole, name: reader}
subjects: [{kind: User, name: bob}]
"#;

static SCHEMA: schema::Object = schema::Object::new("io.example.v1", "Widget", "A widget.", &[]);
static KIND: Kind = Kind {
    group: "example.io",
    version: "v1",
    kind: "Widget",
    schema: &SCHEMA,
    package: "example",
    description: "A widget.",
};
static WIDGETS: Resource = Resource {
    kind: &KIND,
    plural: "widgets",
    subresource: "",
    singular: "widget",
    list_kind: "WidgetList",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

/// Where a request for the widget `gate` waits.
pub(super) struct Gate {
    pub(super) entered: Semaphore,
    pub(super) opened: Semaphore,
}

/// Answers by the name that it is asked for.
struct Widgets {
    gate: Arc<Gate>,
}

impl Widgets {
    fn widget(request: &ApiRequest) -> Outcome {
        Outcome::ok(json!({"kind": "Widget", "apiVersion": "example.io/v1",
                           "metadata": {"name": request.info.name}, "user": request.user.name}))
    }
}

impl Endpoint for Widgets {
    fn resource(&self) -> &'static Resource {
        &WIDGETS
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Create, Verb::Get, Verb::Watch]
    }

    fn get<'a>(&'a self, request: &'a ApiRequest) -> Reply<'a> {
        Box::pin(async move {
            match request.info.name.as_str() {
                "slow" => std::future::pending().await,
                "panic" => panic!("on purpose"),
                "gate" => {
                    self.gate.entered.add_permits(1);
                    self.gate.opened.acquire().await.unwrap().forget();
                }
                _ => {}
            }
            Ok(Self::widget(request))
        })
    }

    fn watch<'a>(&'a self, request: &'a ApiRequest, _: ListOptions) -> Reply<'a> {
        let is_broken = request.info.namespace == "broken";
        let first = json!({"kind": "Widget", "apiVersion": "example.io/v1", "metadata": {"name": "a"}});
        let events = stream::iter([WatchEvent::Added(first.into())]);
        let rest = stream::poll_fn(move |_| {
            assert!(!is_broken, "on purpose");
            std::task::Poll::Pending
        });
        Box::pin(std::future::ready(Ok(Outcome::Watch(events.chain(rest).boxed()))))
    }

    fn create<'a>(
        &'a self,
        request: &'a ApiRequest,
        _: Value,
        _: WriteOptions,
        _: Creation<'a>,
    ) -> Reply<'a> {
        Box::pin(std::future::ready(Ok(Self::widget(request))))
    }
}

/// Answers with who asks and what it was sent.
struct Echo {
    path: &'static str,
    is_open: bool,
}

impl PathEndpoint for Echo {
    fn path(&self) -> &'static str {
        self.path
    }

    fn knows_its_clients(&self) -> bool {
        self.is_open
    }

    fn answer(&self, request: PathRequest) -> BoxFuture<'_, Result<PathAnswer, Box<Status>>> {
        let shown = request.headers.get("authorization");
        let answer = PathAnswer::json(&json!({
            "user": request.request.user.name,
            "path": request.request.info.path,
            "query": request.request.query,
            "authorization": shown.map(|value| value.to_str().unwrap()),
            "body": String::from_utf8(request.body.to_vec()).unwrap(),
        }));
        Box::pin(std::future::ready(Ok(answer)))
    }
}

pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) pki: Pki,
    pub(super) gate: Arc<Gate>,
    tls: watch::Sender<Arc<rustls::ServerConfig>>,
    directory: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl TestServer {
    pub(super) async fn start(options: ServeOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let names = serving_names([127, 0, 0, 1].into(), None);
        let pki = Pki::open(directory.path(), &names, Timestamp::now()).unwrap();
        let gate = Arc::new(Gate {
            entered: Semaphore::new(0),
            opened: Semaphore::new(0),
        });
        let widgets = Arc::new(Widgets {
            gate: Arc::clone(&gate),
        });
        let dispatcher = Dispatcher {
            api: Api::new(vec![widgets]).with_paths(vec![
                Arc::new(Echo {
                    path: "/echo",
                    is_open: false,
                }),
                Arc::new(Echo {
                    path: "/open",
                    is_open: true,
                }),
            ]),
            admission: Arc::new(AdmitAll),
        };
        let mut policy = Policy::new();
        for object in load(POLICY).unwrap() {
            policy.put(object, Origin::Fixed);
        }
        let authentication = Authentication {
            tokens: Tokens::new(TokenFile::parse(TOKENS).unwrap()),
            ..Authentication::default()
        };
        let service = ApiService::new(
            Arc::new(dispatcher),
            authentication,
            Arc::new(Authorizer::new(policy)),
            vec![HealthCheck::new("etcd", || async { Ok(()) })],
            &Info::default(),
            options,
        );
        let authorities = certificates(&pki.ca_certificate).unwrap();
        let tls = tls_config(&pki.serving, &authorities).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let service = Arc::new(service.unwrap());
        let (tls, shown) = watch::channel(Arc::new(tls));
        let task = tokio::spawn(serve(listener, shown, service, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            pki,
            gate,
            tls,
            directory,
            stop: Some(stop),
            task,
        }
    }

    /// Tells the server to stop.
    pub(super) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until it has stopped.
    pub(super) async fn stopped(self) {
        tokio::time::timeout(Duration::from_secs(20), self.task)
            .await
            .expect("the server ends")
            .unwrap()
            .unwrap();
    }

    /// A client certificate of the server's authority, valid from one moment to another.
    pub(super) fn issue(&self, name: &str, from: Timestamp, to: Timestamp) -> Identity {
        let key = std::fs::read_to_string(self.directory.path().join("ca.key")).unwrap();
        let key = KeyPair::from_pem(&key).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&self.pki.ca_certificate, key).unwrap();
        issue(&issuer, name, from, to)
    }

    /// From now on new connections are made with a certificate of the authority that is not the one before, and with this
    /// authority of clients beside the own.
    pub(super) fn renew(&mut self, clients: &str) {
        for name in ["serving.crt", "serving.key"] {
            std::fs::remove_file(self.directory.path().join(name)).unwrap();
        }
        let names = serving_names(self.address.ip(), None);
        self.pki = Pki::open(self.directory.path(), &names, Timestamp::now()).unwrap();
        let mut authorities = certificates(&self.pki.ca_certificate).unwrap();
        authorities.extend(certificates(clients).unwrap());
        let tls = tls_config(&self.pki.serving, &authorities).unwrap();
        self.tls.send_replace(Arc::new(tls));
    }

    /// A TLS connection that shows the identity, if one is given, and speaks what is named.
    pub(super) async fn connect(
        &self,
        identity: Option<&Identity>,
        protocol: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let connector = TlsConnector::from(Arc::new(self.client_config(identity, protocol)));
        connector
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
    }

    pub(super) fn client_config(&self, identity: Option<&Identity>, protocol: &[u8]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.pki.ca_certificate).unwrap() {
            roots.add(authority).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        config
    }

    /// Sends one request in a connection of its own.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let mut client = self.client(None).await.unwrap();
        client.send(request).await
    }

    /// Sends a GET with a token in a connection of its own.
    pub(super) async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(with_token("GET", path, token, "")).await
    }

    /// A connection for several requests.
    pub(super) async fn client(&self, identity: Option<&Identity>) -> hyper::Result<Client> {
        let stream = self.connect(identity, b"http/1.1").await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Client { sender })
    }

    /// The same with HTTP/2.
    pub(super) async fn client2(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let stream = self.connect(None, b"h2").await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// A certificate of an authority.
pub(super) fn issue(issuer: &Issuer<'_, KeyPair>, name: &str, from: Timestamp, to: Timestamp) -> Identity {
    let moment = |time: Timestamp| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(time.as_second().try_into().unwrap())
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (moment(from), moment(to));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap().pem();
    Identity {
        certificate,
        key: key.serialize_pem(),
    }
}

pub(super) struct Client {
    pub(super) sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Client {
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.sender.ready().await.unwrap();
        let (head, body) = self.sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            code: head.status,
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

/// What a client got.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The code, and the user that the endpoint saw or the message of the status.
    pub(super) fn outcome(&self) -> (u16, String) {
        let body = self.json();
        let text = body.get("user").or_else(|| body.get("message"));
        (
            self.code.as_u16(),
            text.and_then(Value::as_str).unwrap_or_default().to_owned(),
        )
    }
}

/// The path of a widget.
pub(super) fn widget(name: &str) -> String {
    format!("/apis/example.io/v1/namespaces/n/widgets/{name}")
}

pub(super) const WIDGETS_PATH: &str = "/apis/example.io/v1/namespaces/n/widgets";

/// A request; with a token if it is not empty.
pub(super) fn with_token(method: &str, path: &str, token: &str, body: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("user-agent", "test/1")
        .header("content-type", "application/json");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Full::new(body.into())).unwrap()
}

/// A file in memory.
#[derive(Clone, Default)]
pub(super) struct Memory(pub(super) Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
