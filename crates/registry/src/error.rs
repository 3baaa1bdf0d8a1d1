//! What can go wrong between here and a registry. `Display` is the text that users of registry clients know.
//!
//! Error codes and bodies are those of the
//! [distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes).

use std::fmt::{self, Write as _};
use std::sync::Arc;

use imagestream_api::digest::Digest;
use serde::Deserialize;

use crate::json;

/// Longest part of a body that is repeated in an error text.
const QUOTED_BODY_BYTES: usize = 4096;

/// Why a registry did not give what it was asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository name does not follow the grammar of the protocol.
    #[error("{0}")]
    RepositoryName(&'static str),
    /// The registry answered with error codes. Never empty.
    #[error("{}", RegistryErrors(.0))]
    Registry(Vec<RegistryError>),
    /// An error status whose body is not in the protocol's form.
    #[error("error parsing HTTP {status} response body: {reason}: {}", quoted(.body))]
    UnparsableBody {
        /// The HTTP status.
        status: u16,
        /// What is wrong with the body.
        reason: String,
        /// The body, at most 64 KiB.
        body: Vec<u8>,
    },
    /// A status that the protocol has no use for; with its reason phrase.
    #[error("received unexpected HTTP status: {0}")]
    UnexpectedStatus(String),
    /// The host speaks HTTP but is no registry.
    #[error("endpoint \"{endpoint}\" does not support v2 API (got {status})")]
    NotARegistry {
        /// Scheme and host.
        endpoint: String,
        /// Status and reason phrase of its answer.
        status: String,
    },
    /// A request that could not be made or not be answered.
    #[error("{method} \"{url}\": {source}")]
    Request {
        /// `Get`, `Head` or `Post`.
        method: &'static str,
        /// What was asked for, without credentials.
        url: String,
        /// What went wrong.
        source: Arc<Error>,
    },
    /// The network, TLS or HTTP failed; in words.
    #[error("{0}")]
    Network(String),
    /// The time given for the access is over.
    #[error("context deadline exceeded")]
    Deadline,
    /// The registry wants a user name and password and there is none.
    #[error("no basic auth credentials")]
    NoBasicCredentials,
    /// Something was asked for that would endanger the caller.
    #[error("{0}")]
    Refused(String),
    /// More came than is accepted.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What was read.
        what: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Content is not what its digest says.
    #[error(
        "content integrity error: the {what} retrieved with digest {asked} does not match \
         the digest calculated from the content {calculated}"
    )]
    Integrity {
        /// `manifest` or `blob`.
        what: &'static str,
        /// The digest asked for.
        asked: Digest,
        /// The digest of what came.
        calculated: Digest,
    },
    /// The registry does not have the blob.
    #[error("unknown blob")]
    UnknownBlob,
    /// Content that cannot be decoded.
    #[error("{0}")]
    Malformed(String),
}

impl Error {
    /// Whether the registry itself answered with this code, such as `MANIFEST_UNKNOWN`. The codes of a token
    /// service do not count.
    #[must_use]
    pub fn has_code(&self, code: &str) -> bool {
        matches!(self, Self::Registry(errors) if errors.iter().any(|error| error.code == code))
    }

    /// This error as the outcome of a request.
    pub(crate) fn of_request(self, method: &http::Method, url: impl Into<String>) -> Self {
        let method = match *method {
            http::Method::HEAD => "Head",
            http::Method::POST => "Post",
            _ => "Get",
        };
        Self::Request {
            method,
            url: url.into(),
            source: Arc::new(self),
        }
    }

    /// One error code with its registered message.
    pub(crate) fn code(code: &'static str) -> Self {
        Self::Registry(vec![RegistryError::registered(code)])
    }

    /// The error that an answer with an error status stands for. `challenge_error` is the `error` of a bearer
    /// challenge ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-3.1)) with its description.
    pub(crate) fn of_response(
        status: http::StatusCode,
        challenge_error: Option<(&str, Option<&str>)>,
        body: &[u8],
    ) -> Self {
        if !status.is_client_error() {
            return Self::UnexpectedStatus(status_line(status));
        }
        let code = match challenge_error {
            Some(("invalid_token", _)) => Some("UNAUTHORIZED"),
            Some(("insufficient_scope", _)) => Some("DENIED"),
            _ => None,
        };
        let parsed = parse_body(status.as_u16(), body);
        let Some(code) = code else {
            return match parsed {
                Ok(errors) => Self::Registry(errors),
                Err(_) if status == http::StatusCode::UNAUTHORIZED => Self::code("UNAUTHORIZED"),
                Err(error) => error,
            };
        };
        let mut challenge = RegistryError::registered(code);
        if let Some((_, Some(description))) = challenge_error {
            challenge.message = Some(description.to_owned());
        }
        let mut errors = vec![challenge];
        match parsed {
            Ok(more) => errors.extend(more),
            // The body adds nothing that the challenge does not say better.
            Err(_) => return Self::Registry(errors),
        }
        Self::Registry(errors)
    }
}

/// `404 Not Found`.
pub(crate) fn status_line(status: http::StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// One error of a registry's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryError {
    /// One of the protocol's codes; what is not one of them is `UNKNOWN`.
    pub code: &'static str,
    /// The message, unless the answer gave no more than the code.
    pub message: Option<String>,
}

impl RegistryError {
    fn registered(code: &'static str) -> Self {
        Self {
            code,
            message: Some(registered_message(code).to_owned()),
        }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code.to_ascii_lowercase().replace('_', " "))?;
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

struct RegistryErrors<'a>(&'a [RegistryError]);

impl fmt::Display for RegistryErrors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0 {
            return write!(f, "{only}");
        }
        f.write_str("errors:\n")?;
        self.0.iter().try_for_each(|error| writeln!(f, "{error}"))
    }
}

/// The codes of the protocol and the message each is registered with.
const CODES: &[(&str, &str)] = &[
    ("UNKNOWN", "unknown error"),
    ("UNSUPPORTED", "The operation is unsupported."),
    ("UNAUTHORIZED", "authentication required"),
    ("DENIED", "requested access to the resource is denied"),
    ("UNAVAILABLE", "service unavailable"),
    ("TOOMANYREQUESTS", "too many requests"),
    ("DIGEST_INVALID", "provided digest did not match uploaded content"),
    ("SIZE_INVALID", "provided length did not match content length"),
    ("RANGE_INVALID", "invalid content range"),
    ("NAME_INVALID", "invalid repository name"),
    ("NAME_UNKNOWN", "repository name not known to registry"),
    ("TAG_INVALID", "manifest tag did not match URI"),
    ("MANIFEST_UNKNOWN", "manifest unknown"),
    ("MANIFEST_INVALID", "manifest invalid"),
    ("MANIFEST_UNVERIFIED", "manifest failed signature verification"),
    ("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"),
    ("BLOB_UNKNOWN", "blob unknown to registry"),
    ("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
    ("BLOB_UPLOAD_INVALID", "blob upload invalid"),
    ("PAGINATION_NUMBER_INVALID", "invalid number of results requested"),
];

fn known_code(code: &str) -> &'static str {
    CODES
        .iter()
        .find(|(known, _)| *known == code)
        .map_or("UNKNOWN", |(known, _)| known)
}

fn registered_message(code: &str) -> &'static str {
    CODES
        .iter()
        .find(|(known, _)| *known == code)
        .map_or("unknown error", |(_, message)| message)
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    errors: Option<Vec<ErrorEntry>>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    detail: Option<serde_json::Value>,
}

/// Some registries and token services answer in this form instead.
#[derive(Deserialize)]
struct DetailsBody {
    details: String,
}

fn parse_body(status: u16, body: &[u8]) -> Result<Vec<RegistryError>, Error> {
    if let Ok(DetailsBody { details }) = json::decode(body)
        && !details.is_empty()
    {
        let code = match status {
            401 => "UNAUTHORIZED",
            403 => "DENIED",
            429 => "TOOMANYREQUESTS",
            _ => "UNKNOWN",
        };
        return Ok(vec![RegistryError {
            code,
            message: Some(details),
        }]);
    }
    let unparsable = |reason: String| Error::UnparsableBody {
        status,
        reason,
        body: body.to_vec(),
    };
    let parsed: ErrorBody = json::decode(body).map_err(|error| unparsable(error.to_string()))?;
    let errors: Vec<RegistryError> = parsed.errors.unwrap_or_default().into_iter().map(entry).collect();
    if errors.is_empty() {
        return Err(unparsable(
            "no error details found in HTTP response body".to_owned(),
        ));
    }
    Ok(errors)
}

fn entry(entry: ErrorEntry) -> RegistryError {
    let code = known_code(entry.code.as_deref().unwrap_or_default());
    let message = entry.message.unwrap_or_default();
    // A message that says what the code says is not repeated, unless there is a detail to go with it.
    let says_no_more = message.is_empty() || message == registered_message(code);
    let message = if entry.detail.is_none() && says_no_more {
        None
    } else {
        Some(message)
    };
    RegistryError { code, message }
}

/// `body` in double quotes with escapes, so that it can neither forge the lines of a log nor drive a terminal.
fn quoted(body: &[u8]) -> String {
    let shown = body.get(..QUOTED_BODY_BYTES).unwrap_or(body);
    let mut out = String::from('"');
    for chunk in shown.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_ascii_control() => push(&mut out, format_args!("\\x{:02x}", c as u32)),
                c if c.is_control() => push(&mut out, format_args!("\\u{:04x}", c as u32)),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            push(&mut out, format_args!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    if body.len() > shown.len() {
        out.push('…');
    }
    out
}

fn push(out: &mut String, what: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    fn text(status: u16, body: &str) -> String {
        let status = StatusCode::from_u16(status).expect("status");
        Error::of_response(status, None, body.as_bytes()).to_string()
    }

    #[test]
    fn client_errors_are_worded_after_their_body() {
        let table = [
            (
                404,
                r#"{"errors":[{"code":"TAG_INVALID","message":"no such thing","detail":{"a":1}}]}"#,
                "tag invalid: no such thing",
            ),
            (
                403,
                r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#,
                "denied",
            ),
            (
                403,
                r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied","detail":[]}]}"#,
                "denied: requested access to the resource is denied",
            ),
            (403, r#"{"errors":[{"code":"DENIED","detail":null}]}"#, "denied"),
            (
                400,
                r#"{"errors":[{"code":"HOUSE_RULE","message":"no"}]}"#,
                "unknown: no",
            ),
            (
                400,
                r#"{"errors":[{"code":"SIZE_INVALID","message":"x"},{"code":"DENIED","message":"y"}]}"#,
                "errors:\nsize invalid: x\ndenied: y\n",
            ),
            (401, r#"{"details":"who are you"}"#, "unauthorized: who are you"),
            (403, r#"{"details":"not you"}"#, "denied: not you"),
            (429, r#"{"details":"later"}"#, "toomanyrequests: later"),
            (404, r#"{"details":"gone"}"#, "unknown: gone"),
            (
                404,
                r#"{"errors":[]}"#,
                r#"error parsing HTTP 404 response body: no error details found in HTTP response body: "{\"errors\":[]}""#,
            ),
            (
                404,
                "",
                r#"error parsing HTTP 404 response body: unexpected end of JSON input: """#,
            ),
            (
                403,
                "not you\n",
                r#"error parsing HTTP 403 response body: error decoding JSON: expected ident at line 1 column 2: "not you\n""#,
            ),
            (401, "go away", "unauthorized: authentication required"),
        ];
        for (status, body, expected) in table {
            assert_eq!(text(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn other_statuses_are_named_without_reading_their_body() {
        let body = r#"{"errors":[{"code":"DENIED"}]}"#;
        assert_eq!(
            text(500, body),
            "received unexpected HTTP status: 500 Internal Server Error"
        );
        assert_eq!(
            text(502, body),
            "received unexpected HTTP status: 502 Bad Gateway"
        );
        assert_eq!(
            text(304, body),
            "received unexpected HTTP status: 304 Not Modified"
        );
    }

    #[test]
    fn a_bearer_challenge_with_an_error_comes_before_the_errors_of_the_body() {
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"sign in first"}]}"#;
        let error = Error::of_response(
            StatusCode::UNAUTHORIZED,
            Some(("insufficient_scope", Some("pull it"))),
            body,
        );
        assert_eq!(
            error.to_string(),
            "errors:\ndenied: pull it\nunauthorized: sign in first\n"
        );
        assert!(error.has_code("DENIED") && error.has_code("UNAUTHORIZED") && !error.has_code("UNKNOWN"));
        let bare = Error::of_response(StatusCode::UNAUTHORIZED, Some(("invalid_token", None)), b"");
        assert_eq!(bare.to_string(), "unauthorized: authentication required");
    }

    #[test]
    fn the_codes_of_a_wrapped_error_are_not_the_registrys() {
        let wrapped = Error::code("UNAUTHORIZED").of_request(&http::Method::GET, "https://r.test/v2/");
        assert_eq!(
            wrapped.to_string(),
            r#"Get "https://r.test/v2/": unauthorized: authentication required"#
        );
        assert!(!wrapped.has_code("UNAUTHORIZED"));
    }

    #[test]
    fn a_repeated_body_is_bounded_and_cannot_carry_control_characters() {
        let mut body = b"\x1b[2J\xff\n".to_vec();
        body.resize(1 << 20, b'a');
        let shown = quoted(&body);
        assert!(shown.starts_with(r#""\x1b[2J\xff\naaa"#), "{}", &shown[..20]);
        assert!(shown.len() < 2 * QUOTED_BODY_BYTES, "{}", shown.len());
    }
}
