//! What `imagestream serve` works with.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use imagestream_api::allowed_registries::RegistryLocation;
use imagestream_api::defaults::ImportMode;
use imagestream_api::stream::repository::RegistryHosts;
use imagestream_server::settings::{ImportSettings, Settings, Storage};

use super::file::{self, File, ImportSection, StorageKind, StorageSection};
use super::import::max_tags;
use crate::arguments::{Mode, ServeArguments};
use crate::exit::Error;

const DEFAULT_LISTEN: &str = "127.0.0.1:8443";
const DEFAULT_DATA_DIR: &str = "./imagestream-data";
/// What all keys in etcd begin with unless told otherwise.
const DEFAULT_PREFIX: &str = "/imagestream";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_IN_FLIGHT: usize = 400;

/// Brings all sources together.
///
/// # Errors
/// [`Error::Usage`] for what can't be read or makes no sense.
pub(crate) fn settings(arguments: &ServeArguments) -> Result<Settings, Error> {
    let file = match &arguments.config {
        Some(path) => File::read(path)?,
        None => File::default(),
    };
    let listen = arguments.listen.as_deref().or(file.listen.as_deref());
    let max_requests_in_flight = file.limits.max_requests_in_flight.unwrap_or(DEFAULT_IN_FLIGHT);
    if max_requests_in_flight == 0 {
        return Err(Error::Usage(
            "limits.maxRequestsInFlight: expected at least 1".into(),
        ));
    }
    Ok(Settings {
        listen: address(listen.unwrap_or(DEFAULT_LISTEN))?,
        data_dir: arguments
            .data_dir
            .clone()
            .or(file.data_dir)
            .unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
        storage: storage(arguments, file.storage)?,
        token_auth_file: arguments
            .token_auth_file
            .clone()
            .or(file.authentication.token_auth_file),
        client_ca_file: arguments
            .client_ca_file
            .clone()
            .or(file.authentication.client_ca_file),
        rbac_file: arguments
            .authorization_rbac_file
            .clone()
            .or(file.authorization.rbac_file),
        secret_key_file: arguments.secret_key_file.clone().or(file.secrets.key_file),
        audit_log_file: arguments.audit_log_file.clone().or(file.audit.log_file),
        hosts: RegistryHosts {
            internal: file.registry.internal_hostname.filter(|host| !host.is_empty()),
            external: file.registry.external_hostnames,
        },
        import: import(file.import)?,
        max_requests_in_flight,
    })
}

fn address(text: &str) -> Result<SocketAddr, Error> {
    let wrong = |why: &dyn std::fmt::Display| {
        Error::Usage(format!(
            "listen {text:?}: expected ADDRESS:PORT, for example {DEFAULT_LISTEN} ({why})"
        ))
    };
    let mut found = text.to_socket_addrs().map_err(|error| wrong(&error))?;
    found.next().ok_or_else(|| wrong(&"no such host"))
}

fn storage(arguments: &ServeArguments, file: StorageSection) -> Result<Storage, Error> {
    let endpoints = if arguments.etcd_endpoints.is_empty() {
        file.endpoints
    } else {
        arguments.etcd_endpoints.clone()
    };
    match arguments.storage.or(file.kind).unwrap_or(StorageKind::Sqlite) {
        StorageKind::Sqlite if endpoints.is_empty() => Ok(Storage::Sqlite),
        StorageKind::Sqlite => Err(Error::Usage(
            "etcd endpoints are given, but storage is not etcd".into(),
        )),
        StorageKind::Etcd if endpoints.is_empty() => Err(Error::Usage(
            "storage etcd needs endpoints: --etcd-endpoints or storage.endpoints".into(),
        )),
        StorageKind::Etcd if file.cert_file.is_some() != file.key_file.is_some() => Err(Error::Usage(
            "storage.certFile and storage.keyFile belong together".into(),
        )),
        StorageKind::Etcd => Ok(Storage::Etcd {
            endpoints,
            ca_file: file.ca_file,
            cert_file: file.cert_file,
            key_file: file.key_file,
            prefix: file.prefix.unwrap_or_else(|| DEFAULT_PREFIX.into()),
        }),
    }
}

fn import(file: ImportSection) -> Result<ImportSettings, Error> {
    if file.max_in_flight_per_host == Some(0) {
        return Err(Error::Usage(
            "import.maxInFlightPerHost: expected at least 1".into(),
        ));
    }
    Ok(ImportSettings {
        max_images_per_repository: max_tags(file.max_images_per_repository)?,
        mode: match file.mode {
            Some(Mode::PreserveOriginal) => ImportMode::PreserveOriginal,
            Some(Mode::Legacy) | None => ImportMode::Legacy,
        },
        allowed_registries: file
            .allowed_registries
            .into_iter()
            .map(|allowed| RegistryLocation {
                domain_name: allowed.domain_name,
                insecure: allowed.insecure,
            })
            .collect(),
        trusted_ca_file: file.trusted_ca_file,
        auth_file: file.auth_file,
        max_in_flight_per_host: file.max_in_flight_per_host,
        request_timeout: match &file.request_timeout {
            Some(text) => file::duration("import.requestTimeout", text)?,
            None => DEFAULT_TIMEOUT,
        },
    })
}
