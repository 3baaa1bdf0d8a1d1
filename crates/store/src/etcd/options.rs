//! How to reach an etcd cluster: endpoints, TLS, user, deadlines and the server's limits.

use std::fmt;
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

/// Where the cluster is, who we are to it, and which limits its operator configured.
#[derive(Clone)]
pub struct EtcdOptions {
    /// Client URLs of the members (`http://host:2379` or `https://…`); requests are spread over those that answer.
    pub endpoints: Vec<String>,
    /// Put before every key, so that several users can share a cluster. May be empty.
    pub key_prefix: String,
    /// Time for one request, retries included.
    pub request_deadline: Duration,
    /// Time for one TCP (and TLS) connection attempt.
    pub connect_timeout: Duration,
    /// User name and password for etcd's own authentication.
    pub user: Option<(String, String)>,
    /// PEM of the authorities that sign the members' certificates.
    pub ca_pem: Option<Vec<u8>>,
    /// PEM of our client certificate (chain) and its key.
    pub client_identity_pem: Option<(Vec<u8>, Vec<u8>)>,
    /// The server's `--max-txn-ops`: preconditions and writes of one transaction are each held to it.
    pub max_txn_ops: usize,
    /// The server's `--max-request-bytes`.
    pub max_request_bytes: usize,
}

impl EtcdOptions {
    /// Options for these endpoints with etcd's default limits, no TLS, no user and no key prefix.
    pub fn new(endpoints: impl IntoIterator<Item = String>) -> Self {
        Self {
            endpoints: endpoints.into_iter().collect(),
            key_prefix: String::new(),
            request_deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            user: None,
            ca_pem: None,
            client_identity_pem: None,
            max_txn_ops: 128,
            max_request_bytes: 1_572_864,
        }
    }

    pub(super) fn connect_options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.connect_timeout)
            .with_keep_alive(Duration::from_secs(10), Duration::from_secs(5))
            .with_keep_alive_while_idle(false)
            .with_tcp_keepalive(Duration::from_secs(30))
            .with_require_leader(true)
            .with_auto_token_refresh(self.user.is_some());
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password);
        }
        if self.ca_pem.is_some() || self.client_identity_pem.is_some() {
            let mut tls = TlsOptions::new();
            if let Some(ca) = &self.ca_pem {
                tls = tls.ca_certificate(Certificate::from_pem(ca));
            }
            if let Some((certificate, key)) = &self.client_identity_pem {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            options = options.with_tls(tls);
        }
        options
    }
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions")
            .field("endpoints", &self.endpoints)
            .field("key_prefix", &self.key_prefix)
            .field("request_deadline", &self.request_deadline)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .field(
                "tls",
                &(self.ca_pem.is_some() || self.client_identity_pem.is_some()),
            )
            .finish_non_exhaustive()
    }
}
