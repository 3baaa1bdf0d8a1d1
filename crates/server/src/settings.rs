//! What an administrator decides about a server, parsed and checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use imagestream_api::allowed_registries::RegistryLocation;
use imagestream_api::defaults::ImportMode;
use imagestream_api::stream::repository::RegistryHosts;

/// Everything that [`start`](crate::start) needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where data, keys and `admin.kubeconfig` are.
    pub data_dir: PathBuf,
    /// What objects are stored in.
    pub storage: Storage,
    /// Tokens and their users (CSV).
    pub token_auth_file: Option<PathBuf>,
    /// Authorities whose client certificates are accepted too (PEM).
    pub client_ca_file: Option<PathBuf>,
    /// Roles and bindings that are in force beside the stored ones (YAML).
    pub rbac_file: Option<PathBuf>,
    /// 32 bytes that secrets are encrypted with; made in the data directory if absent.
    pub secret_key_file: Option<PathBuf>,
    /// Where audit events are appended, one JSON object a line; `-` is standard output.
    pub audit_log_file: Option<PathBuf>,
    /// The names of the integrated registry.
    pub hosts: RegistryHosts,
    /// Imports.
    pub import: ImportSettings,
    /// What the server does by itself.
    pub controllers: ControllerSettings,
    /// Who may tell that something was pushed.
    pub receivers: Vec<Receiver>,
    /// Most requests that are worked on at once, watches aside.
    pub max_requests_in_flight: usize,
}

/// What objects are stored in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// SQLite in the data directory.
    Sqlite,
    /// An etcd cluster.
    Etcd {
        /// Its URLs.
        endpoints: Vec<String>,
        /// Authorities that its certificate is checked against (PEM).
        ca_file: Option<PathBuf>,
        /// The server's certificate for it (PEM).
        cert_file: Option<PathBuf>,
        /// The key of that (PEM).
        key_file: Option<PathBuf>,
        /// What all keys begin with.
        prefix: String,
    },
}

/// How imports are run.
#[derive(Debug, Clone)]
pub struct ImportSettings {
    /// Most tags that are read of one repository; all if absent.
    pub max_images_per_repository: Option<usize>,
    /// The import mode of whoever does not say.
    pub mode: ImportMode,
    /// Where images may be imported from; everywhere if empty.
    pub allowed_registries: Vec<RegistryLocation>,
    /// Authorities that registries are trusted by, beside the system's (PEM).
    pub trusted_ca_file: Option<PathBuf>,
    /// Credentials of the host itself (Docker's or Podman's format), asked after the namespace's.
    pub auth_file: Option<PathBuf>,
    /// Most requests at one registry at once.
    pub max_in_flight_per_host: Option<usize>,
    /// Longest import.
    pub request_timeout: Duration,
}

/// What a server does by itself: imports what streams ask for, and follows their sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerSettings {
    /// Whether this server does any of it. One of several servers on one store does it at a time.
    pub enabled: bool,
    /// How long a stream must have been left alone before its pending tags are imported: clients that write a stream
    /// and import it themselves come first.
    pub quiet_period: Duration,
    /// Tags with `importPolicy.scheduled`.
    pub scheduled: ScheduledSettings,
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            quiet_period: Duration::from_secs(5),
            scheduled: ScheduledSettings::default(),
        }
    }
}

/// How the sources of scheduled tags are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledSettings {
    /// Whether they are.
    pub enabled: bool,
    /// How often each is checked unless its stream says otherwise.
    pub interval: Duration,
    /// The most often that a stream may ask for.
    pub minimum_interval: Duration,
    /// Most checks of one registry host in a minute.
    pub checks_per_minute_per_host: u32,
}

impl Default for ScheduledSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(15 * 60),
            minimum_interval: Duration::from_secs(60),
            checks_per_minute_per_host: 1_200,
        }
    }
}

/// A registry that tells when something is pushed to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// The last part of the path that it posts to.
    pub name: String,
    /// How it tells.
    pub format: ReceiverFormat,
    /// Holds what it proves itself with.
    pub secret_file: PathBuf,
    /// The registry host that its events are about, as streams name it; what the events say if absent.
    pub registry: Option<String>,
}

/// How a registry words its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiverFormat {
    /// CNCF distribution's notifications.
    Distribution,
    /// Docker Hub's webhooks.
    DockerHub,
    /// Quay's repository notifications.
    Quay,
    /// Harbor's webhooks.
    Harbor,
    /// GitHub's `package` and `registry_package` events.
    Github,
}
