//! The client of a process: its connections, and what it has learned about each host.

use std::time::Duration;

use tokio::time::Instant;

use crate::credential::Credential;
use crate::error::Error;
use crate::feedback::HostFeedbacks;
use crate::repository::{Repository, RepositoryName};
use crate::transport::Network;

/// Reads from registries. Made once per process and cloned freely: clones share connections, tokens, what is known
/// about each host, and the limits on how hard a host is asked.
#[derive(Clone, Debug)]
pub struct Client {
    network: Network,
}

/// How a [`Client`] behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Certificates (PEM) that are trusted in addition to the system's.
    pub trusted_ca_pem: Option<Vec<u8>>,
    /// Longest wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Longest wait for the head of an answer, and between two pieces of its body.
    pub response_timeout: Duration,
    /// Most requests that are in flight at one host.
    pub max_in_flight_per_host: usize,
    /// Requests in flight at a host that has not shown yet how much it bears.
    pub first_in_flight_per_host: usize,
    /// `User-Agent` of every request.
    pub user_agent: String,
    /// Whether `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are obeyed.
    pub proxies_from_environment: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            trusted_ca_pem: None,
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
            max_in_flight_per_host: 128,
            first_in_flight_per_host: 32,
            user_agent: concat!("imagestream/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxies_from_environment: true,
        }
    }
}

/// How a repository is accessed.
#[derive(Clone, Debug)]
pub struct Access {
    /// Do without certificate verification, and fall back to plain HTTP.
    pub insecure: bool,
    /// Who asks; nobody in particular if absent.
    pub credential: Option<Credential>,
    /// When every verb must have ended.
    pub deadline: Instant,
    /// Until when a host is waited for that wants to be left alone. A wait that would end later is not begun: what the
    /// host said is the answer then.
    pub patience: Instant,
}

/// What a client has done since it was made, and is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Requests sent, each redirect and each repetition included.
    pub requests: u64,
    /// Verbs whose request is being answered now.
    pub in_flight: u64,
    /// Requests that were repeated.
    pub retries: u64,
    /// Requests that wait now because a registry said so.
    pub waiting_for_rate_limit: u64,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a registry client: {0}")]
pub struct BuildError(pub(crate) String);

impl Client {
    /// A client with its own connections.
    ///
    /// # Errors
    /// When the trusted certificates are not PEM or the user agent is not a header value.
    pub fn new(options: ClientOptions) -> Result<Self, BuildError> {
        Ok(Self {
            network: Network::new(options)?,
        })
    }

    /// The repository `path` at `host` (`host[:port]` to contact). Nothing is sent.
    ///
    /// # Errors
    /// [`Error::RepositoryName`] when `path` is no repository name, [`Error::Refused`] when `host` is no host.
    pub fn repository(&self, host: &str, path: &str, access: Access) -> Result<Repository, Error> {
        // Where there is no repository it does not matter what its host would be.
        let name = RepositoryName::parse(path)?;
        let transport = self.network.transport(host, access.insecure)?;
        Ok(Repository::new(transport, name, access))
    }

    /// What `host` said last of how often it may be asked; nothing if it did not, or was not asked anything.
    #[must_use]
    pub fn feedback(&self, host: &str) -> HostFeedbacks {
        self.network.feedback(host)
    }

    /// A snapshot of the counters.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.network.activity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_repository_its_host_is_not_looked_at() {
        let options = ClientOptions {
            proxies_from_environment: false,
            ..ClientOptions::default()
        };
        let client = Client::new(options).unwrap();
        let refused = |host, path| {
            let access = Access {
                insecure: false,
                credential: None,
                deadline: Instant::now(),
                patience: Instant::now(),
            };
            client.repository(host, path, access).unwrap_err()
        };
        assert!(matches!(refused("r.test:tag", ""), Error::RepositoryName(_)));
        assert!(matches!(refused("r.test:tag", "a"), Error::Refused(_)));
    }
}
