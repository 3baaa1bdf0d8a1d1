//! Credentials of the local user: the files that `docker login` and `podman login` write, and the helper programs that
//! they name.
//!
//! Files and their order are those of
//! [containers-auth.json](https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md); helpers are
//! those of [Docker](https://docs.docker.com/reference/cli/docker/login/#credential-helpers).

mod helper;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Credential;
use crate::keychain::entry::{Entries, Entry};
use crate::keychain::{self, AuthError, HUB_KEY, KeychainError, MAX_DOCUMENT, MAX_ENTRIES};

pub use helper::HelperError;
use helper::Helpers;

/// Docker Hub, as the helpers of Docker know it.
const HUB_SERVER: &str = "https://index.docker.io/v1/";
/// Docker Hub, as files are searched for it.
const HUB: &str = "docker.io";

/// The environment variables that say where credentials are.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `REGISTRY_AUTH_FILE`: used instead of all the others.
    pub registry_auth_file: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`: holds `containers/auth.json`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `DOCKER_CONFIG`: holds `config.json`; `.docker` in the home directory if not set.
    pub docker_config: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `PATH`: where helper programs are.
    pub path: Option<OsString>,
}

impl Environment {
    /// The variables of this process. An empty one counts as not set.
    #[must_use]
    pub fn of_process() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            registry_auth_file: variable("REGISTRY_AUTH_FILE").map(PathBuf::from),
            xdg_runtime_dir: variable("XDG_RUNTIME_DIR").map(PathBuf::from),
            docker_config: variable("DOCKER_CONFIG").map(PathBuf::from),
            home: variable("HOME").map(PathBuf::from),
            path: variable("PATH"),
        }
    }

    /// Files that are read if they exist, the first one first.
    fn files(&self) -> Vec<PathBuf> {
        let podman = "containers/auth.json";
        let docker = self
            .docker_config
            .clone()
            .or_else(|| self.home.as_ref().map(|home| home.join(".docker")));
        [
            self.xdg_runtime_dir.as_ref().map(|dir| dir.join(podman)),
            self.home.as_ref().map(|home| home.join(".config").join(podman)),
            docker.map(|dir| dir.join("config.json")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Why the credentials of the local user cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalConfigError {
    /// A file cannot be read.
    #[error("cannot read credentials file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what `docker login` or `podman login` writes.
    #[error("credentials file {}: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeychainError,
    },
    /// The `auth` of an entry of a file is not base64 of `user:password`.
    #[error("credentials file {}: auth of {key:?}: {source}", path.display())]
    Auth {
        /// The file.
        path: PathBuf,
        /// What the entry is for.
        key: String,
        /// Why.
        source: AuthError,
    },
    /// A helper program failed.
    #[error(transparent)]
    Helper(#[from] HelperError),
}

/// The credentials of the local user, as the files were when they were loaded.
#[derive(Default)]
pub struct LocalConfig {
    files: Vec<File>,
    helpers: Helpers,
}

/// One decoded file.
struct File {
    path: PathBuf,
    /// By normalised key, with Docker Hub under one name.
    entries: HashMap<String, Entry>,
    /// Helper program by registry.
    helpers: HashMap<String, String>,
    /// Helper program for all other registries.
    store: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    auths: Option<Entries>,
    #[serde(default)]
    cred_helpers: Option<HashMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

impl LocalConfig {
    /// Loads `authfile`, or the files that the environment names. Reads files, so it belongs before the work begins.
    ///
    /// # Errors
    /// [`LocalConfigError`] when a file that was asked for by name is missing, or one that exists is unusable.
    pub fn load(authfile: Option<&Path>) -> Result<Self, LocalConfigError> {
        Self::load_with(&Environment::of_process(), authfile)
    }

    /// As [`load`](Self::load), with the environment given.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(environment: &Environment, authfile: Option<&Path>) -> Result<Self, LocalConfigError> {
        let helpers = Helpers::new(environment.path.clone());
        if let Some(path) = authfile.or(environment.registry_auth_file.as_deref()) {
            return Ok(Self {
                files: vec![File::read(path)?],
                helpers,
            });
        }
        let mut files = Vec::new();
        for path in environment.files() {
            match File::read(&path) {
                Err(LocalConfigError::Read { source, .. }) if is_absent(&source) => {}
                file => files.push(file?),
            }
        }
        Ok(Self { files, helpers })
    }

    /// The credential for `reference`, a defaulted reference such as `docker.io/library/busybox:latest`: that of the
    /// first file that has one. In a file, the helper of the registry is asked first, then the entries are searched,
    /// the longest path first, then the helper for all registries is asked.
    ///
    /// # Errors
    /// [`LocalConfigError`] when the entry is malformed or the helper fails.
    pub async fn credential(&self, reference: &str) -> Result<Option<Credential>, LocalConfigError> {
        let repository = canonical_hub(without_version(reference));
        for file in &self.files {
            if let Some(credential) = file.credential(&repository, &self.helpers).await? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, LocalConfigError> {
        let failed = |source| LocalConfigError::Read {
            path: path.into(),
            source,
        };
        let mut document = Vec::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_DOCUMENT as u64 + 1)
            .read_to_end(&mut document)
            .map_err(failed)?;
        Self::decode(path, &document).map_err(|source| LocalConfigError::Decode {
            path: path.into(),
            source,
        })
    }

    fn decode(path: &Path, document: &[u8]) -> Result<Self, KeychainError> {
        let document: Document = keychain::decode(document)?;
        let Entries(auths) = document.auths.unwrap_or_default();
        let helpers = document.cred_helpers.unwrap_or_default();
        if auths.len().max(helpers.len()) > MAX_ENTRIES {
            return Err(KeychainError::TooManyEntries);
        }
        let mut entries = HashMap::new();
        for (key, entry) in auths {
            entries
                .entry(canonical_hub(&keychain::normalise_key(&key)))
                .or_insert(entry);
        }
        Ok(Self {
            path: path.into(),
            entries,
            helpers,
            store: document.creds_store.unwrap_or_default(),
        })
    }

    async fn credential(
        &self,
        repository: &str,
        helpers: &Helpers,
    ) -> Result<Option<Credential>, LocalConfigError> {
        let host = repository.split('/').next().unwrap_or_default();
        let servers: &[&str] = if host == HUB {
            &[HUB_SERVER, HUB, HUB_KEY]
        } else {
            &[host]
        };
        let own_helper = servers
            .iter()
            .find_map(|server| Some((*server, self.helpers.get(*server)?)));
        if let Some((server, helper)) = own_helper
            && let Some(credential) = helpers.get(helper, server).await?
        {
            return Ok(Some(credential));
        }
        if let Some(credential) = self.entry(repository)? {
            return Ok(Some(credential));
        }
        if self.store.is_empty() || own_helper.is_some() {
            return Ok(None);
        }
        Ok(helpers.get(&self.store, servers[0]).await?)
    }

    /// The entry for the repository, its parent paths or its host.
    fn entry(&self, repository: &str) -> Result<Option<Credential>, LocalConfigError> {
        let mut key = repository;
        loop {
            if let Some(entry) = self.entries.get(key) {
                let malformed = |source| LocalConfigError::Auth {
                    path: self.path.clone(),
                    key: key.into(),
                    source,
                };
                if let Some(credential) = credential_of(entry).map_err(malformed)? {
                    return Ok(Some(credential));
                }
            }
            match key.rsplit_once('/') {
                Some((parent, _)) => key = parent,
                None => return Ok(None),
            }
        }
    }
}

fn credential_of(entry: &Entry) -> Result<Option<Credential>, AuthError> {
    let basic = entry.user_and_password()?;
    if !entry.identity_token.is_empty() {
        let username = basic
            .map(|(username, _)| username)
            .filter(|name| !name.is_empty());
        return Ok(Some(Credential::IdentityToken {
            username,
            token: entry.identity_token.clone(),
        }));
    }
    Ok(basic.map(|(username, password)| Credential::Basic { username, password }))
}

/// Missing, or below something that is no directory.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// `reference` without its tag and digest.
fn without_version(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or_default();
    let last_component = name.rfind('/').map_or(0, |slash| slash + 1);
    name[last_component..]
        .find(':')
        .filter(|_| last_component > 0)
        .map_or(name, |at| &name[..last_component + at])
}

/// `repository` with the one name of Docker Hub that entries are filed under here.
fn canonical_hub(repository: &str) -> String {
    let (host, path) = repository
        .find('/')
        .map_or((repository, ""), |slash| repository.split_at(slash));
    match host {
        HUB_KEY | "registry-1.docker.io" => format!("{HUB}{path}"),
        _ => repository.into(),
    }
}
