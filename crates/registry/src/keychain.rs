//! Which credential is for which reference: pull secrets, matched as the
//! [kubelet](https://kubernetes.io/docs/concepts/containers/images/#config-json) matches them.

mod auth_field;
pub(crate) mod entry;
mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Credential;
use crate::keychain::entry::Entries;
use crate::keychain::pattern::Pattern;

pub use crate::keychain::auth_field::AuthError;

/// The largest accepted document, in bytes: Kubernetes accepts no larger secret.
pub const MAX_DOCUMENT: usize = 1 << 20;
/// The most entries of one document.
pub const MAX_ENTRIES: usize = 10_000;
/// The host under which `docker login` files the credential for Docker Hub.
pub(crate) const HUB_KEY: &str = "index.docker.io";

/// The credentials of some pull secrets. Credentials of the node go in a keychain of their own, which is asked when
/// this one has no answer.
#[derive(Debug, Clone, Default)]
pub struct Keychain {
    /// By normalised key; of one key, in the order in which they were added.
    entries: BTreeMap<String, Vec<Match>>,
}

/// What the entry says that fits a reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Match {
    /// Who asks.
    Credential(Credential),
    /// Nobody in particular: it has neither user nor password. It is a match all the same, and no other one counts.
    Nobody,
}

/// Why a pull secret is unusable. The texts name no value of the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeychainError {
    /// The document is too large.
    #[error("error decoding registry credentials: more than {MAX_DOCUMENT} bytes")]
    TooLarge,
    /// The document has too many entries.
    #[error("error decoding registry credentials: more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// The document ends early.
    #[error("unexpected end of JSON input")]
    Truncated,
    /// The document is not JSON, or not of this form.
    #[error("error decoding registry credentials: invalid character or type at line {line} column {column}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The `auth` of an entry is not base64 of `user:password`.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl From<serde_json::Error> for KeychainError {
    /// The parser's own text is left out, as it may quote the document.
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Eof => Self::Truncated,
            _ => Self::Malformed {
                line: error.line(),
                column: error.column(),
            },
        }
    }
}

#[derive(Deserialize)]
struct DockerConfigJson {
    #[serde(default)]
    auths: Option<Entries>,
}

impl Keychain {
    /// Adds the content of a `kubernetes.io/dockerconfigjson` secret: `{"auths": {key: entry}}`.
    ///
    /// # Errors
    /// [`KeychainError`] when the document is not of that form or too large; then nothing is added.
    pub fn add_dockerconfigjson(&mut self, document: &[u8]) -> Result<(), KeychainError> {
        let document: DockerConfigJson = decode(document)?;
        self.add(document.auths.unwrap_or_default())
    }

    /// Adds the content of a `kubernetes.io/dockercfg` secret: `{key: entry}`.
    ///
    /// # Errors
    /// As [`add_dockerconfigjson`](Self::add_dockerconfigjson).
    pub fn add_dockercfg(&mut self, document: &[u8]) -> Result<(), KeychainError> {
        let entries: Option<Entries> = decode(document)?;
        self.add(entries.unwrap_or_default())
    }

    /// The tokens that entries may hold instead of user name and password are not for servers.
    fn add(&mut self, entries: Entries) -> Result<(), KeychainError> {
        if entries.0.len() > MAX_ENTRIES {
            return Err(KeychainError::TooManyEntries);
        }
        let mut added = Vec::new();
        for (key, entry) in entries.0 {
            let basic = entry.user_and_password()?;
            let entry = basic.map_or(Match::Nobody, |(username, password)| {
                Match::Credential(Credential::Basic { username, password })
            });
            added.push((normalise_key(&key), entry));
        }
        for (key, entry) in added {
            self.entries.entry(key).or_default().push(entry);
        }
        Ok(())
    }

    /// The entry for `reference`: a defaulted reference with its tag or digest, such as
    /// `docker.io/library/busybox:latest`. Only the first match counts, however it fares.
    #[must_use]
    pub fn lookup(&self, reference: &str) -> Option<Match> {
        let target = Pattern::of(reference);
        // In reverse order, of two keys that begin alike the longer comes first.
        let matching = self
            .entries
            .iter()
            .rev()
            .find(|(key, _)| Pattern::of(key).matches(&target));
        let entries = match matching {
            Some((_, entries)) => entries,
            None if is_for_default_registry(reference) => self.entries.get(HUB_KEY)?,
            None => return None,
        };
        entries.first().cloned()
    }

    /// Whether there is no entry at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Decodes a document of registry credentials.
pub(crate) fn decode<'a, T: Deserialize<'a>>(document: &'a [u8]) -> Result<T, KeychainError> {
    if document.len() > MAX_DOCUMENT {
        return Err(KeychainError::TooLarge);
    }
    Ok(serde_json::from_slice(document)?)
}

/// Host and path of a key, which may be a URL: `https://index.docker.io/v1/` means the whole of `index.docker.io`.
pub(crate) fn normalise_key(key: &str) -> String {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let versioned = path.starts_with("/v1/") || path.starts_with("/v2/");
    let path = if versioned { &path[3..] } else { path };
    if path == "/" {
        host.into()
    } else {
        format!("{host}{path}")
    }
}

/// A name without a host is one of Docker Hub's; so is, to the kubelet, one whose first part has no dot and no port.
fn is_for_default_registry(reference: &str) -> bool {
    match reference.split_once('/') {
        None => !reference.is_empty(),
        Some(("", _)) => false,
        Some((first, _)) => matches!(first, "docker.io" | HUB_KEY) || !first.contains(['.', ':']),
    }
}
