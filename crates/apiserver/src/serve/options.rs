//! What an administrator decides about how requests are served, with the defaults of a server on one machine.

use std::time::Duration;

use super::audit::AuditSink;

/// How long, how many and how much.
pub struct ServeOptions {
    /// Most requests that are worked on at once. Watches have their own limit. More are answered with 429.
    pub max_in_flight: usize,
    /// Most watches that are open at once. More are answered with 429.
    pub max_watches: usize,
    /// Most connections; more are closed as soon as they are accepted.
    pub max_connections: usize,
    /// Longest TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest wait for the first request of a connection, and for the rest of a request's head once it has begun.
    pub header_timeout: Duration,
    /// How long a connection stays open between requests.
    pub idle_timeout: Duration,
    /// Longest wait for the body of a request.
    pub body_timeout: Duration,
    /// How long a client may refuse to take what is sent to it.
    pub write_timeout: Duration,
    /// The time for a request whose client does not ask for less.
    pub request_timeout: Duration,
    /// The time for a write whose client asks for none.
    pub write_request_timeout: Duration,
    /// The most time that a client can ask for, for a request that may take as long as it takes.
    pub long_running_timeout: Duration,
    /// How long requests may go on after the server was told to stop.
    pub shutdown_grace: Duration,
    /// Where audit events go, if anywhere.
    pub audit: Option<AuditSink>,
}

impl Default for ServeOptions {
    /// Limits and times of Kubernetes' own servers, where these have one.
    fn default() -> Self {
        Self {
            max_in_flight: 400,
            max_watches: 10_000,
            max_connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(180),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(60),
            write_request_timeout: Duration::from_secs(34),
            long_running_timeout: Duration::from_secs(600),
            shutdown_grace: Duration::from_secs(30),
            audit: None,
        }
    }
}
