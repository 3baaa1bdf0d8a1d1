//! Failures below HTTP, in the words that users of registry clients know, and what may be done about them.

use std::error::Error as StdError;
use std::io;

use url::Url;

use super::resolve::{LookupError, RefusedAddress};
use crate::error::Error;

/// A request without an answer, or an answer without its end.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) error: Error,
    /// No connection was made, so nothing was asked yet.
    pub(super) in_connecting: bool,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody listens, or there is no way to the host.
    Unreachable,
    /// The host does not speak TLS, or shows a certificate that is not trusted.
    Tls,
    /// There is no such name.
    Lookup,
    /// Nothing came in time.
    TimedOut,
    /// The connection ended too early.
    Closed,
    /// Anything that is not the network's fault.
    Final,
}

impl Failure {
    /// A failure that no repetition helps against.
    pub(super) fn of(error: Error) -> Self {
        Self {
            kind: Kind::Final,
            error,
            in_connecting: false,
        }
    }

    pub(super) fn timed_out() -> Self {
        let error = Error::Network("context deadline exceeded (timed out)".to_owned());
        Self {
            kind: Kind::TimedOut,
            error,
            in_connecting: false,
        }
    }

    /// Why a request to `url` had no answer.
    pub(super) fn of_request(error: &reqwest::Error, url: &Url) -> Self {
        let in_connecting = error.is_connect();
        let (kind, text) = explain(error, url);
        Self {
            kind,
            error: Error::Network(text),
            in_connecting,
        }
    }

    /// Why a body ended early.
    pub(super) fn of_body(error: &reqwest::Error) -> Self {
        let kind = if error.is_timeout() {
            Kind::TimedOut
        } else {
            Kind::Closed
        };
        let text = match kind {
            Kind::TimedOut => "context deadline exceeded (timed out)".to_owned(),
            _ => "unexpected EOF".to_owned(),
        };
        tracing::debug!(error = innermost(error), "a body ended early");
        Self {
            kind,
            error: Error::Network(text),
            in_connecting: false,
        }
    }

    /// Whether the same request may well succeed in a moment. What took too long would do so again.
    pub(super) fn is_momentary(&self) -> bool {
        self.kind == Kind::Closed
    }

    /// Whether a registry that need not be secure may be asked over plain HTTP instead.
    pub(super) fn allows_plain_http(&self) -> bool {
        self.in_connecting && !matches!(self.kind, Kind::Lookup | Kind::Final)
    }
}

fn explain(error: &reqwest::Error, url: &Url) -> (Kind, String) {
    let host = url.host_str().unwrap_or_default();
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(refused) = cause.downcast_ref::<RefusedAddress>() {
            return (Kind::Final, refused.to_string());
        }
        if let Some(lookup) = cause.downcast_ref::<LookupError>() {
            return (Kind::Lookup, format!("dial tcp: {lookup}"));
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return (Kind::Tls, explain_tls(tls, host));
        }
        if let Some(explained) = cause
            .downcast_ref::<io::Error>()
            .and_then(|io| explain_io(io, &address, error.is_connect()))
        {
            return explained;
        }
        source = next_cause(cause);
    }
    if error.is_timeout() {
        return (Kind::TimedOut, "context deadline exceeded (timed out)".to_owned());
    }
    let cause = innermost(error);
    if cause.contains("connection closed") || cause.contains("unexpected end") {
        return (Kind::Closed, "EOF".to_owned());
    }
    if cause.starts_with("http2 error") || cause.contains("stream") {
        return (Kind::Closed, format!("connection closed: {cause}"));
    }
    (Kind::Final, cause)
}

fn explain_io(error: &io::Error, address: &str, in_connecting: bool) -> Option<(Kind, String)> {
    use io::ErrorKind as Io;
    Some(match error.kind() {
        Io::ConnectionRefused => (
            Kind::Unreachable,
            format!("dial tcp {address}: connect: connection refused"),
        ),
        Io::HostUnreachable => (
            Kind::Unreachable,
            format!("dial tcp {address}: connect: no route to host"),
        ),
        Io::NetworkUnreachable => (
            Kind::Unreachable,
            format!("dial tcp {address}: connect: network is unreachable"),
        ),
        Io::TimedOut if in_connecting => (
            Kind::TimedOut,
            format!("dial tcp {address}: i/o timeout (timed out)"),
        ),
        Io::TimedOut => (Kind::TimedOut, "context deadline exceeded (timed out)".to_owned()),
        Io::UnexpectedEof => (Kind::Closed, "EOF".to_owned()),
        Io::ConnectionReset | Io::ConnectionAborted => (
            Kind::Closed,
            format!("read tcp {address}: connection reset by peer"),
        ),
        Io::BrokenPipe => (Kind::Closed, format!("write tcp {address}: broken pipe")),
        _ => return None,
    })
}

fn explain_tls(error: &rustls::Error, host: &str) -> String {
    use rustls::CertificateError as Certificate;
    let reason = match error {
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            return "http: server gave HTTP response to HTTPS client".to_owned();
        }
        rustls::Error::InvalidCertificate(reason) => reason,
        other => return format!("tls: {other}"),
    };
    let reason = match reason {
        Certificate::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid: it is not valid yet".to_owned()
        }
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            format!("certificate is not valid for {host}")
        }
        // A certificate that signed itself and is nobody's we trust.
        Certificate::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "certificate signed by unknown authority".to_owned()
        }
        other => format!("certificate is not valid: {other}"),
    };
    format!("tls: failed to verify certificate: x509: {reason}")
}

/// The cause of an error. One that is wrapped in an I/O error is not its `source` but its content.
fn next_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = next_cause(cause) {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_refused_in_known_words() {
        use rustls::CertificateError as Certificate;
        let table = [
            (
                Certificate::UnknownIssuer,
                "x509: certificate signed by unknown authority",
            ),
            (
                Certificate::Expired,
                "x509: certificate has expired or is not yet valid",
            ),
            (
                Certificate::NotValidForName,
                "x509: certificate is not valid for r.test",
            ),
        ];
        for (reason, expected) in table {
            let text = explain_tls(&rustls::Error::InvalidCertificate(reason), "r.test");
            assert_eq!(text, format!("tls: failed to verify certificate: {expected}"));
        }
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(
            explain_tls(&plain, "r.test"),
            "http: server gave HTTP response to HTTPS client"
        );
    }

    #[test]
    fn only_a_connection_that_was_never_made_is_tried_without_tls() {
        let failure = |kind, in_connecting| Failure {
            kind,
            error: Error::Deadline,
            in_connecting,
        };
        for kind in [Kind::Unreachable, Kind::Tls, Kind::TimedOut, Kind::Closed] {
            assert!(failure(kind, true).allows_plain_http(), "{kind:?}");
            assert!(!failure(kind, false).allows_plain_http(), "{kind:?}");
        }
        assert!(!failure(Kind::Lookup, true).allows_plain_http());
        assert!(!failure(Kind::Final, true).allows_plain_http());
    }
}
