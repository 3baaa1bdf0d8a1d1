//! Brings a server up: data directory, authority, store, endpoints, socket. And lets it down again.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::{join_all, try_join_all};
use imagestream_apiserver::api::Api;
use imagestream_apiserver::authn::TokenFile;
use imagestream_apiserver::dispatch::Dispatcher;
use imagestream_apiserver::pki::{self, Pki, PkiError};
use imagestream_apiserver::rbac::load::load;
use imagestream_apiserver::rbac::policy::Origin;
use imagestream_apiserver::serve::{
    self, ApiService, AuditSink, Authentication, HealthCheck, ServeOptions, ServiceError, TlsError,
};
use imagestream_apiserver::{garbage, kubeconfig};
use imagestream_store::StoreError;
use imagestream_store::sqlite::OpenError;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use k8s_openapi::apimachinery::pkg::version::Info;
use tokio::net::TcpListener;

use crate::context::Context;
use crate::core::seal::SealError;
use crate::image;
use crate::open::{self, Opened};
use crate::settings::Settings;
use crate::surroundings::Surroundings;

/// The version of Kubernetes' API machinery whose behaviour clients see.
const API_MINOR: &str = "34";
/// Where certificates and keys are in the data directory.
const PKI_DIRECTORY: &str = "pki";
/// The file for `kubectl` in the data directory.
const KUBECONFIG: &str = "admin.kubeconfig";

/// Why a server does not start. Nothing that was there before is changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or directory can't be read or made.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A setting makes no sense.
    #[error("{name}: {problem}")]
    Setting {
        /// The setting, as in the configuration file.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server's own authority can't be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Certificates can't be used for TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store in the data directory can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Secrets can't be read with the key that is there.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Requests can't be served.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// What must be in the store from the start can't be put there.
    #[error("{}", .0.message.as_deref().unwrap_or("the store does not answer"))]
    Prepare(Box<Status>),
}

/// A server that listens, and answers once [`Server::run`] is polled.
pub struct Server {
    url: String,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    service: Arc<ApiService>,
    tasks: Vec<futures::future::BoxFuture<'static, ()>>,
    opened: Opened,
}

/// Opens everything and listens. `admin.kubeconfig` is written last, with the port that was bound.
///
/// # Errors
/// What keeps the server from starting.
pub async fn start(settings: Settings) -> Result<Server, StartError> {
    make_directory(&settings.data_dir)?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|source| StartError::Listen {
            address: settings.listen,
            source,
        })?;
    let address = listener.local_addr().map_err(|source| StartError::Listen {
        address: settings.listen,
        source,
    })?;

    let opened = Opened::open(&settings).await?;
    let store = opened.store();
    let context = Arc::new(open::context(&settings, &store).await?);
    load_roles(&settings, &context)?;
    let kinds = context.kinds();
    try_join_all(kinds.iter().map(|objects| objects.ready()))
        .await
        .map_err(StartError::Prepare)?;
    let mut surroundings = Surroundings::prepare(&context)
        .await
        .map_err(StartError::Prepare)?;

    let mut endpoints = image::endpoints(&context);
    endpoints.append(&mut surroundings.endpoints);
    let dispatcher = Arc::new(Dispatcher {
        api: Api::new(endpoints),
        admission: surroundings.admission,
    });

    let names = pki::serving_names(address.ip(), pki::hostname().as_deref());
    let pki = Pki::open(&settings.data_dir.join(PKI_DIRECTORY), &names, Timestamp::now())?;
    let tls = Arc::new(tls(&settings, &pki)?);
    let service = service(&settings, &context, dispatcher)?;

    let mut tasks = surroundings.tasks;
    tasks.push(Box::pin(garbage::collect(kinds)));

    let url = kubeconfig::server_url(address);
    let path = settings.data_dir.join(KUBECONFIG);
    let content = kubeconfig::render("imagestream", &url, &pki.ca_certificate, &pki.admin);
    kubeconfig::write(&path, &content).map_err(|source| StartError::File { path, source })?;
    Ok(Server {
        url,
        listener,
        tls,
        service: Arc::new(service),
        tasks,
        opened,
    })
}

impl Server {
    /// Where the server is: `https://ADDRESS:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves until `shutdown` is done; then finishes what is under way, ends watches and closes the store.
    ///
    /// # Errors
    /// The socket fails.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Self {
            listener,
            tls,
            service,
            tasks,
            opened,
            ..
        } = self;
        let tasks = tokio::spawn(async move {
            join_all(tasks).await;
        });
        let result = serve::serve(listener, tls, service, shutdown).await;
        tasks.abort();
        opened.close().await;
        result
    }
}

/// Makes the data directory for its owner alone; one that is there is left as it is.
fn make_directory(path: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::File {
        path: path.to_owned(),
        source,
    };
    if !path.exists() {
        return std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed);
    }
    let metadata = path.metadata().map_err(failed)?;
    if !metadata.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::NotADirectory)));
    }
    if metadata.permissions().mode() & 0o022 != 0 {
        tracing::warn!(path = %path.display(), "other users may write to the data directory");
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })
}

/// Puts the administrator's roles and bindings in force.
fn load_roles(settings: &Settings, context: &Context) -> Result<(), StartError> {
    let Some(path) = &settings.rbac_file else {
        return Ok(());
    };
    let objects = load(&read(path)?).map_err(|error| StartError::Setting {
        name: "authorization.rbacFile",
        problem: format!("{}: {error}", path.display()),
    })?;
    context.authorizer.update(|policy| {
        for object in objects {
            policy.put(object, Origin::Fixed);
        }
    });
    Ok(())
}

fn tls(settings: &Settings, pki: &Pki) -> Result<rustls::ServerConfig, StartError> {
    let mut authorities = serve::certificates(&pki.ca_certificate)?;
    if let Some(path) = &settings.client_ca_file {
        authorities.extend(serve::certificates(&read(path)?)?);
    }
    Ok(serve::tls_config(&pki.serving, &authorities)?)
}

fn service(
    settings: &Settings,
    context: &Arc<Context>,
    dispatcher: Arc<Dispatcher>,
) -> Result<ApiService, StartError> {
    let tokens = match &settings.token_auth_file {
        None => None,
        Some(path) => Some(
            TokenFile::parse(&read(path)?).map_err(|error| StartError::Setting {
                name: "authentication.tokenAuthFile",
                problem: format!("{}: {error}", path.display()),
            })?,
        ),
    };
    let audit = match &settings.audit_log_file {
        None => None,
        Some(path) if path.as_os_str() == "-" => Some(AuditSink::new(io::stdout())),
        Some(path) => Some(AuditSink::open(path).map_err(|source| StartError::File {
            path: path.clone(),
            source,
        })?),
    };
    let options = ServeOptions {
        max_in_flight: settings.max_requests_in_flight,
        audit,
        ..ServeOptions::default()
    };
    let store = Arc::clone(&context.store);
    let store_check = HealthCheck::new("etcd", move || {
        let store = Arc::clone(&store);
        async move { store.health().await.map_err(|error| error.to_string()) }
    });
    Ok(ApiService::new(
        dispatcher,
        Authentication {
            tokens,
            ..Authentication::default()
        },
        Arc::clone(&context.authorizer),
        vec![store_check],
        &version(),
        options,
    )?)
}

fn version() -> Info {
    Info {
        major: "1".into(),
        minor: API_MINOR.into(),
        git_version: concat!("v1.34.0+imagestream-", env!("CARGO_PKG_VERSION")).into(),
        git_tree_state: "clean".into(),
        compiler: "rustc".into(),
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        ..Info::default()
    }
}
