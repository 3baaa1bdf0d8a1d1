//! Brings a server up: data directory, authority, store, endpoints, socket. And lets it down again.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use imagestream_apiserver::api::Api;
use imagestream_apiserver::authn::Tokens;
use imagestream_apiserver::dispatch::Dispatcher;
use imagestream_apiserver::paths::PathEndpoint;
use imagestream_apiserver::pki::{self, PkiError};
use imagestream_apiserver::serve::{
    self, ApiService, AuditSink, Authentication, HealthCheck, ServeOptions, ServiceError, TlsError,
};
use imagestream_apiserver::{errors, garbage, kubeconfig};
use imagestream_import::Platform;
use imagestream_store::sqlite::OpenError;
use imagestream_store::{Store, StoreError};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use k8s_openapi::apimachinery::pkg::version::Info;
use prometheus::IntGauge;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::controllers::scheduled::{Board, FollowMetrics, StatusEndpoint};
use crate::controllers::{self, Controllers, Election, ImportMetrics, Shared};
use crate::core::seal::SealError;
use crate::data_dir::DataDir;
use crate::image;
use crate::notifications;
use crate::open::{self, Opened};
use crate::prune::{self, GuardedStore, PruneEndpoint};
use crate::settings::Settings;
use crate::surroundings::Surroundings;
use crate::trust::{OwnPki, Trust, TrustFiles};

/// The version of Kubernetes' API machinery whose behaviour clients see.
const API_MINOR: &str = "36";

/// Longest wait for controllers to end and for their lease to be given back.
const LAST_WISH: Duration = Duration::from_secs(5);

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
    /// Another server has the data directory.
    #[error("{} is in use by another server{}", path.display(), process.map(|id| format!(" (process {id})")).unwrap_or_default())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process id of that server, if it can be told.
        process: Option<u32>,
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

impl StartError {
    pub(crate) fn file(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File {
            path: path.clone(),
            source,
        }
    }
}

/// A server that listens, and answers once [`Server::run`] is polled.
pub struct Server {
    url: String,
    listener: TcpListener,
    tls: watch::Receiver<Arc<rustls::ServerConfig>>,
    service: Arc<ApiService>,
    tasks: Vec<futures::future::BoxFuture<'static, ()>>,
    controllers: Option<(Election, Controllers, IntGauge)>,
    opened: Opened,
    data: DataDir,
}

/// Opens everything and listens. `admin.kubeconfig` is written last, with the port that was bound.
///
/// # Errors
/// What keeps the server from starting.
pub async fn start(settings: Settings) -> Result<Server, StartError> {
    let data = DataDir::open(&settings.data_dir)?;
    let unheard = |source| StartError::Listen {
        address: settings.listen,
        source,
    };
    let listener = TcpListener::bind(settings.listen).await.map_err(unheard)?;
    let address = listener.local_addr().map_err(unheard)?;

    // Keys are made while the store opens: both wait for the disk.
    let own = OwnPki {
        directory: data.pki(),
        serving_names: pki::serving_names(address.ip(), pki::hostname().as_deref()),
        kubeconfig: data.kubeconfig(),
        url: kubeconfig::server_url(address),
    };
    let pki = tokio::task::spawn_blocking(move || own.open(Timestamp::now()).map(|pki| (own, pki)));
    let opened = Opened::open(&settings, &data).await?;
    let guard = Arc::new(opened.store().await?);
    let store: Arc<dyn Store> = Arc::<GuardedStore>::clone(&guard);
    let context = Arc::new(open::context(&settings, &store).await?);
    let kinds = context.kinds();
    try_join_all(kinds.iter().map(|objects| objects.ready()))
        .await
        .map_err(StartError::Prepare)?;
    // Nothing is being read any more, so that a mistake in a file is all that there is to tell.
    let (own, pki) = pki
        .await
        .map_err(|error| StartError::file(&data.pki())(io::Error::other(error)))??;
    let trust = Trust::begin(
        TrustFiles::of(&settings),
        own,
        pki,
        &context.authorizer,
        Timestamp::now(),
    )?;
    let mut surroundings = Surroundings::prepare(&context)
        .await
        .map_err(StartError::Prepare)?;

    let mut endpoints = image::endpoints(&context);
    endpoints.append(&mut surroundings.endpoints);
    let board = Arc::<Board>::default();
    let status: Arc<dyn PathEndpoint> = Arc::new(StatusEndpoint::new(&context, &board));
    let prune: Arc<dyn PathEndpoint> = Arc::new(PruneEndpoint::new(&context));
    let mut paths = vec![status, prune];
    let mut tasks = surroundings.tasks;
    tasks.push(Box::pin(guard.follow()));
    tasks.push(Box::pin(prune::tidy(Arc::clone(&context))));
    if let Some((endpoint, task)) = notifications::endpoint(&settings.receivers, &context).await? {
        paths.push(endpoint);
        tasks.push(task);
    }
    let dispatcher = Arc::new(Dispatcher {
        api: Api::new(endpoints).with_paths(paths),
        admission: surroundings.admission,
    });
    let service = service(&settings, &context, dispatcher, trust.tokens())?;
    context
        .recorder
        .register(service.metrics_registry())
        .map_err(ServiceError::from)?;
    let controllers = controllers(&settings, &context, &service, &board)?;
    tasks.push(Box::pin(garbage::collect(kinds)));

    trust.write_kubeconfig()?;
    let tls = trust.tls();
    tasks.push(Box::pin(trust.follow()));
    Ok(Server {
        url: kubeconfig::server_url(address),
        listener,
        tls,
        service: Arc::new(service),
        tasks,
        controllers,
        opened,
        data,
    })
}

/// What the server does by itself, if it does anything, and how it learns whether it may.
fn controllers(
    settings: &Settings,
    context: &Arc<Context>,
    service: &ApiService,
    board: &Arc<Board>,
) -> Result<Option<(Election, Controllers, IntGauge)>, StartError> {
    if !settings.controllers.enabled {
        return Ok(None);
    }
    let metrics = ImportMetrics::register(service.metrics_registry()).map_err(ServiceError::from)?;
    let shared = Shared::new(context, &settings.controllers, metrics, board)
        .map_err(|error| StartError::Prepare(errors::internal_error(error).into()))?;
    let metrics = FollowMetrics::register(service.metrics_registry(), board).map_err(ServiceError::from)?;
    board.count_with(metrics);
    let election = controllers::election(context, &settings.storage);
    let leads = controllers::leads(service.metrics_registry()).map_err(ServiceError::from)?;
    Ok(Some((election, controllers::controllers(&shared), leads)))
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
            controllers,
            opened,
            data,
            ..
        } = self;
        let stop = CancellationToken::new();
        let supervisor = controllers.map(|(election, controllers, leads)| {
            let stop = stop.clone();
            tokio::spawn(controllers::supervise(election, controllers, leads, stop))
        });
        let tasks = tokio::spawn(async move {
            join_all(tasks).await;
        });
        // Another server may act as soon as this one is asked to end, while it finishes its clients' requests.
        let shutdown = async {
            shutdown.await;
            stop.cancel();
        };
        let result = serve::serve(listener, tls, service, shutdown).await;
        stop.cancel();
        if let Some(mut supervisor) = supervisor {
            let ended = timeout(LAST_WISH, &mut supervisor).await;
            supervisor.abort();
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the supervisor of the controllers failed"),
                Err(_) => tracing::warn!("the controllers did not end in time"),
            }
        }
        // Everything that follows the store ends before it, tasks first: they share what the endpoints shared.
        tasks.abort();
        let ended = tasks.await;
        if ended.is_err_and(|error| error.is_panic()) {
            tracing::error!("a task of the server panicked");
        }
        opened.close().await;
        drop(data);
        result
    }
}

fn service(
    settings: &Settings,
    context: &Arc<Context>,
    dispatcher: Arc<Dispatcher>,
    tokens: Tokens,
) -> Result<ApiService, StartError> {
    let audit = match &settings.audit_log_file {
        None => None,
        Some(path) if path.as_os_str() == "-" => Some(AuditSink::new(io::stdout())),
        Some(path) => Some(AuditSink::open(path).map_err(|error| StartError::Setting {
            name: "audit.logFile",
            problem: format!("{}: {error}", path.display()),
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

/// What clients decide by which features of Kubernetes' API machinery they use.
fn version() -> Info {
    let platform = Platform::own();
    let number = |number: &str| Some(number.to_owned());
    Info {
        major: "1".into(),
        minor: API_MINOR.into(),
        emulation_major: number("1"),
        emulation_minor: number(API_MINOR),
        min_compatibility_major: number("1"),
        min_compatibility_minor: number(API_MINOR),
        git_version: format!("v1.{API_MINOR}.0+imagestream-{}", env!("CARGO_PKG_VERSION")),
        build_date: "1970-01-01T00:00:00Z".into(),
        compiler: "rustc".into(),
        platform: format!("{}/{}", platform.os, platform.architecture),
        ..Info::default()
    }
}
