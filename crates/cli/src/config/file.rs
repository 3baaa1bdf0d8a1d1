//! The configuration file: one schema for all commands, in YAML or JSON. Unknown keys are errors that name the nearest
//! known one.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::Value;

use crate::arguments::{Format, Mode};
use crate::exit::Error;

/// Largest configuration or certificate file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Edits that turn a misspelt key into the one that is suggested, as a part of its length.
const SIMILAR: f64 = 0.6;

/// Everything that can be configured.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) listen: Option<String>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) storage: StorageSection,
    pub(super) authentication: AuthenticationSection,
    pub(super) authorization: AuthorizationSection,
    pub(super) audit: AuditSection,
    pub(super) secrets: SecretsSection,
    pub(super) limits: LimitsSection,
    pub(super) registry: RegistrySection,
    pub(super) import: ImportSection,
    pub(super) controllers: ControllersSection,
    pub(super) scheduled: ScheduledSection,
    pub(super) notifications: NotificationsSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct StorageSection {
    pub(super) kind: Option<StorageKind>,
    pub(super) endpoints: Vec<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) prefix: Option<String>,
}

/// What objects are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StorageKind {
    /// A database in the data directory
    Sqlite,
    /// An etcd cluster
    Etcd,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct AuthenticationSection {
    pub(super) token_auth_file: Option<PathBuf>,
    #[serde(rename = "clientCAFile")]
    pub(super) client_ca_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct AuthorizationSection {
    pub(super) rbac_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct AuditSection {
    pub(super) log_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct SecretsSection {
    pub(super) key_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct LimitsSection {
    pub(super) max_requests_in_flight: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RegistrySection {
    pub(super) internal_hostname: Option<String>,
    pub(super) external_hostnames: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ImportSection {
    pub(super) max_images_per_repository: Option<i64>,
    pub(super) mode: Option<Mode>,
    pub(super) allowed_registries: Vec<AllowedRegistry>,
    #[serde(rename = "trustedCAFile")]
    pub(super) trusted_ca_file: Option<PathBuf>,
    pub(super) max_in_flight_per_host: Option<usize>,
    pub(super) request_timeout: Option<String>,
    pub(super) auth_file: Option<PathBuf>,
    pub(super) insecure: Option<bool>,
    pub(super) include_manifest: Option<bool>,
    pub(super) platform: Option<String>,
    pub(super) output: Option<Format>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ControllersSection {
    pub(super) enabled: Option<bool>,
    pub(super) quiet_period: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ScheduledSection {
    pub(super) enabled: Option<bool>,
    pub(super) interval: Option<String>,
    pub(super) minimum_interval: Option<String>,
    pub(super) checks_per_minute_per_host: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct NotificationsSection {
    pub(super) receivers: Vec<ReceiverSection>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReceiverSection {
    pub(super) name: String,
    pub(super) format: FormatName,
    pub(super) secret_file: PathBuf,
    pub(super) registry: Option<String>,
}

/// How a registry words its events.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum FormatName {
    Distribution,
    DockerHub,
    Quay,
    Harbor,
    Github,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AllowedRegistry {
    pub(super) domain_name: String,
    #[serde(default)]
    pub(super) insecure: bool,
}

impl File {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`Error::Usage`] if it can't be read, is no YAML, or has a key or value that means nothing.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = read(path)?;
        Self::parse(&bytes).map_err(|problem| Error::Usage(format!("{}: {problem}", path.display())))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut value: Value = serde_saphyr::from_slice(bytes).map_err(|error| error.to_string())?;
        match &mut value {
            Value::Null => return Ok(Self::default()),
            // A section that holds nothing but comments sets nothing.
            Value::Object(sections) => sections.retain(|_, section| !section.is_null()),
            _ => return Err("expected keys with values".into()),
        }
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            explained(&path, &error.into_inner().to_string())
        })
    }
}

/// An error of the decoder with the place it is about, and the key that was probably meant.
fn explained(path: &str, message: &str) -> String {
    let quoted = |text: &str| {
        text.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let Some(rest) = message.strip_prefix("unknown field ") else {
        return if path == "." {
            message.to_owned()
        } else {
            format!("{path}: {message}")
        };
    };
    let mut names = quoted(rest).into_iter();
    let unknown = names.next().unwrap_or_default();
    let known: Vec<String> = names.collect();
    let place = if path.ends_with(&unknown) {
        path.to_owned()
    } else {
        format!("{path}.{unknown}")
    };
    let nearest = known
        .iter()
        .map(|name| {
            (
                strsim::normalized_damerau_levenshtein(&unknown.to_lowercase(), &name.to_lowercase()),
                name,
            )
        })
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    match nearest {
        Some((_, name)) => format!("{place}: unknown key, did you mean {name}?"),
        None => format!("{place}: unknown key, expected one of {}", known.join(", ")),
    }
}

/// Reads a file of bounded size.
///
/// # Errors
/// [`Error::Usage`] if it can't be read or is too large.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Usage(format!("can't read {}: {error}", path.display()));
    let file = fs::File::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(failed(&format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// A positive time such as `30s` or `2m`.
///
/// # Errors
/// [`Error::Usage`] that names the option.
pub(super) fn duration(name: &str, text: &str) -> Result<Duration, Error> {
    let wrong = || {
        Error::Usage(format!(
            "{name}: {text:?}: expected a positive time, for example 30s or 2m"
        ))
    };
    let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

    use super::*;

    #[test]
    fn a_misspelt_key_is_refused_with_its_place_and_the_nearest_name() {
        for (file, expected) in [
            (
                "import: {maxImagesPerRepositry: 3}",
                "import.maxImagesPerRepositry: unknown key, did you mean maxImagesPerRepository?",
            ),
            ("datadir: x", "datadir: unknown key, did you mean dataDir?"),
            (
                "authorization: {zzz: 1}",
                "authorization.zzz: unknown key, expected one of rbacFile",
            ),
            (
                "import: {allowedRegistries: [{domainname: x}]}",
                "import.allowedRegistries[0].domainname: unknown key, did you mean domainName?",
            ),
        ] {
            assert_eq!(File::parse(file.as_bytes()).unwrap_err(), expected);
        }
        let error = File::parse(b"storage: {kind: mysql}").unwrap_err();
        assert!(
            error.starts_with("storage.kind: ") && error.contains("sqlite"),
            "{error}"
        );
    }

    #[test]
    fn yaml_json_and_an_empty_file_are_configurations() {
        let yaml = File::parse(b"listen: 127.0.0.1:1\nimport:\n  mode: Legacy\n").unwrap();
        assert_eq!(yaml.listen.as_deref(), Some("127.0.0.1:1"));
        let json =
            File::parse(br#"{"registry": {"externalHostnames": ["a.example"]}, "import": {}}"#).unwrap();
        assert_eq!(json.registry.external_hostnames, ["a.example"]);
        for nothing in ["", "# listen: x", "audit:\nimport:\n  # mode: Legacy\n"] {
            let file = File::parse(nothing.as_bytes()).unwrap();
            assert!(file.listen.is_none() && file.import.mode.is_none());
        }
    }

    #[test]
    fn what_would_have_no_effect_or_two_meanings_is_refused() {
        for (file, expected) in [
            (
                "notifications: {receivers: [{name: a, format: gitlab, secretFile: s}]}",
                "notifications.receivers[0].format: unknown variant `gitlab`",
            ),
            ("[a]", "expected keys with values"),
            ("dataDir: a\ndataDir: b", "duplicate mapping key: dataDir"),
            (
                "limits: {maxRequestsInFlight: many}",
                "limits.maxRequestsInFlight: invalid type: string \"many\", expected usize",
            ),
        ] {
            let error = File::parse(file.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{file}: {error}");
        }
    }
}
