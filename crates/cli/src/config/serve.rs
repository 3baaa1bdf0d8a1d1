//! What `imagestream serve` works with.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use imagestream_api::allowed_registries::RegistryLocation;
use imagestream_api::defaults::ImportMode;
use imagestream_api::stream::repository::RegistryHosts;
use imagestream_server::settings::{ImportSettings, Settings, Storage};

use super::controllers;
use super::file::{self, File, ImportSection, StorageKind, StorageSection};
use super::import::max_tags;
use crate::arguments::{DATA_DIR, Mode, ServeArguments};
use crate::exit::Error;

const DEFAULT_LISTEN: &str = "127.0.0.1:8443";
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
    let max_requests_in_flight = file.limits.max_requests_in_flight.unwrap_or(DEFAULT_IN_FLIGHT);
    if max_requests_in_flight == 0 {
        return Err(Error::Usage(
            "limits.maxRequestsInFlight: expected at least 1".into(),
        ));
    }
    Ok(Settings {
        listen: match (&arguments.listen, &file.listen) {
            (Some(text), _) => address("--listen", text)?,
            (None, text) => address("listen", text.as_deref().unwrap_or(DEFAULT_LISTEN))?,
        },
        data_dir: arguments
            .data_dir
            .clone()
            .or(file.data_dir)
            .unwrap_or_else(|| DATA_DIR.into()),
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
        controllers: controllers::settings(&file.controllers, &file.scheduled)?,
        receivers: controllers::receivers(file.notifications)?,
        max_requests_in_flight,
    })
}

fn address(option: &str, text: &str) -> Result<SocketAddr, Error> {
    let wrong = |why: &dyn std::fmt::Display| {
        Error::Usage(format!(
            "{option}: {text:?}: expected ADDRESS:PORT, for example {DEFAULT_LISTEN} ({why})"
        ))
    };
    let mut found = text.to_socket_addrs().map_err(|error| wrong(&error))?;
    found.next().ok_or_else(|| wrong(&"no such host"))
}

fn storage(arguments: &ServeArguments, file: StorageSection) -> Result<Storage, Error> {
    let wrong = |problem: &str| Err(Error::Usage(problem.into()));
    let chosen = arguments.storage.or(file.kind).unwrap_or(StorageKind::Sqlite);
    if chosen == StorageKind::Sqlite {
        // A file for etcd may stay as it is where a flag chooses SQLite.
        let is_file_for_etcd = file.kind == Some(StorageKind::Etcd);
        return if !arguments.etcd_endpoints.is_empty() {
            wrong("--etcd-endpoints: has no effect without --storage etcd")
        } else if !is_file_for_etcd && file.names_etcd() {
            wrong("storage: endpoints, certificates and a prefix have no effect without kind: etcd")
        } else {
            Ok(Storage::Sqlite)
        };
    }
    let (option, endpoints) = if arguments.etcd_endpoints.is_empty() {
        ("storage.endpoints", file.endpoints)
    } else {
        ("--etcd-endpoints", arguments.etcd_endpoints.clone())
    };
    if endpoints.is_empty() {
        return wrong("storage.endpoints: storage in etcd needs at least one URL (or --etcd-endpoints)");
    }
    let is_url = |text: &String| text.starts_with("http://") || text.starts_with("https://");
    if let Some(other) = endpoints.iter().find(|text| !is_url(text)) {
        return wrong(&format!(
            "{option}: {other:?}: expected a URL, for example http://127.0.0.1:2379"
        ));
    }
    if file.cert_file.is_some() != file.key_file.is_some() {
        return wrong("storage.certFile: has no effect without storage.keyFile, nor that without it");
    }
    Ok(Storage::Etcd {
        endpoints,
        ca_file: file.ca_file,
        cert_file: file.cert_file,
        key_file: file.key_file,
        prefix: file.prefix.unwrap_or_else(|| DEFAULT_PREFIX.into()),
    })
}

impl StorageSection {
    fn names_etcd(&self) -> bool {
        !self.endpoints.is_empty()
            || self.ca_file.is_some()
            || self.cert_file.is_some()
            || self.key_file.is_some()
            || self.prefix.is_some()
    }
}

fn import(file: ImportSection) -> Result<ImportSettings, Error> {
    if file.max_in_flight_per_host == Some(0) {
        return Err(Error::Usage(
            "import.maxInFlightPerHost: expected at least 1".into(),
        ));
    }
    Ok(ImportSettings {
        max_images_per_repository: max_tags("import.maxImagesPerRepository", file.max_images_per_repository)?,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn given(arguments: &[&str], file: &str) -> Result<Settings, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, file).unwrap();
        let start = ["imagestream", "serve", "--config", path.to_str().unwrap()];
        let arguments =
            Arguments::try_parse_from(start.iter().chain(arguments)).map_err(|error| error.to_string())?;
        let Command::Serve(arguments) = arguments.command else {
            unreachable!("the command line says serve");
        };
        settings(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = "{listen: '127.0.0.1:1', dataDir: /data, authorization: {rbacFile: /r}, limits: {maxRequestsInFlight: 3}, \
                    storage: {kind: etcd, endpoints: ['http://e:2379'], prefix: /p}, registry: {internalHostname: 'r:5000'}, \
                    import: {mode: PreserveOriginal, maxImagesPerRepository: -1, allowedRegistries: [{domainName: q, insecure: true}]}}";
        let from_file = given(&[], file).unwrap();
        assert_eq!(from_file.listen.to_string(), "127.0.0.1:1");
        assert_eq!(
            (from_file.data_dir.to_str(), from_file.max_requests_in_flight),
            (Some("/data"), 3)
        );
        let Storage::Etcd {
            endpoints, prefix, ..
        } = &from_file.storage
        else {
            unreachable!("the file says etcd");
        };
        assert_eq!((endpoints[0].as_str(), prefix.as_str()), ("http://e:2379", "/p"));
        assert_eq!(from_file.hosts.internal(), Some("r:5000"));
        assert_eq!(from_file.import.mode, ImportMode::PreserveOriginal);
        assert_eq!(from_file.import.max_images_per_repository, None);
        assert!(from_file.import.allowed_registries[0].insecure);

        let flags = [
            "--listen",
            "127.0.0.1:2",
            "--data-dir",
            "/other",
            "--storage",
            "sqlite",
            "--authorization-rbac-file",
            "/s",
        ];
        let both = given(&flags, file).unwrap();
        assert_eq!(
            (both.listen.port(), both.data_dir.to_str(), both.storage),
            (2, Some("/other"), Storage::Sqlite)
        );
        assert_eq!(both.rbac_file.unwrap().to_str(), Some("/s"));

        let own = given(
            &[],
            "{controllers: {enabled: false, quietPeriod: 1s}, scheduled: {enabled: false, interval: 2h, minimumInterval: 1h}, \
             notifications: {receivers: [{name: hub, format: dockerHub, secretFile: /s}]}}",
        )
        .unwrap();
        assert!(!own.controllers.enabled && !own.controllers.scheduled.enabled);
        assert_eq!(own.controllers.quiet_period, Duration::from_secs(1));
        assert_eq!(own.controllers.scheduled.interval, Duration::from_secs(7_200));
        assert_eq!(own.receivers[0].name, "hub");

        let neither = given(&[], "").unwrap();
        assert_eq!(
            neither.controllers,
            imagestream_server::settings::ControllerSettings::default()
        );
        assert_eq!(
            (neither.listen.to_string().as_str(), neither.storage),
            ("127.0.0.1:8443", Storage::Sqlite)
        );
        assert_eq!(neither.import.max_images_per_repository, Some(50));
    }

    #[test]
    fn what_makes_no_sense_or_has_no_effect_is_refused_with_its_name() {
        for (flags, file, expected) in [
            (
                &["--listen", "8443"][..],
                "",
                "--listen: \"8443\": expected ADDRESS:PORT",
            ),
            (&[], "listen: here", "listen: \"here\": expected ADDRESS:PORT"),
            (
                &[],
                "limits: {maxRequestsInFlight: 0}",
                "limits.maxRequestsInFlight: expected at least 1",
            ),
            (
                &["--storage", "etcd"],
                "",
                "storage.endpoints: storage in etcd needs",
            ),
            (
                &["--etcd-endpoints", "http://e"],
                "",
                "--etcd-endpoints: has no effect without --storage etcd",
            ),
            (
                &["--storage", "etcd", "--etcd-endpoints", "http://e,f:2379"],
                "",
                "--etcd-endpoints: \"f:2379\": expected a URL",
            ),
            (&[], "storage: {prefix: /p}", "have no effect without kind: etcd"),
            (
                &[],
                "storage: {kind: etcd, endpoints: ['http://e'], keyFile: k}",
                "storage.certFile: has no effect without storage.keyFile",
            ),
            (
                &[],
                "scheduled: {interval: 30s}",
                "scheduled.interval: 30s: expected at least scheduled.minimumInterval, which is 60s",
            ),
            (
                &[],
                "controllers: {quietPeriod: 0s}",
                "controllers.quietPeriod: \"0s\": expected a positive time",
            ),
            (
                &[],
                "scheduled: {checksPerMinutePerHost: 0}",
                "scheduled.checksPerMinutePerHost: expected at least 1",
            ),
            (
                &[],
                "notifications: {receivers: [{name: a/b, format: quay, secretFile: s}]}",
                "notifications.receivers[0].name: \"a/b\": expected up to 63 small letters",
            ),
            (
                &[],
                "notifications: {receivers: [{name: a, format: quay, secretFile: s}, {name: a, format: harbor, secretFile: s}]}",
                "notifications.receivers[1].name: \"a\": another receiver has this name",
            ),
            (
                &[],
                "import: {maxImagesPerRepository: -2}",
                "import.maxImagesPerRepository: -2: expected",
            ),
        ] {
            let error = given(flags, file).unwrap_err();
            assert!(error.contains(expected), "{flags:?} {file}: {error}");
        }
    }
}
