//! How a registry proves that an event comes from it: by a secret that it was given, in the way that it can.
//!
//! Secrets are compared by their HMACs under a random key, so that how long it takes says nothing about them; they are
//! not kept themselves, but where the registry signs with them.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use imagestream_registry::push_events::Format;
use ring::error::Unspecified;
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::SystemRandom;

/// Shortest secret, in bytes: shorter ones can be guessed.
const MIN_BYTES: usize = 16;
/// Longest secret, in bytes.
const MAX_BYTES: usize = 1024;
/// Longest credential that is looked at, in bytes.
const MAX_CREDENTIAL_BYTES: usize = 4096;
/// The header with GitHub's signature, and what stands before the hexadecimal digits.
const SIGNATURE: (&str, &str) = ("x-hub-signature-256", "sha256=");

/// Why a secret can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    /// The file can't be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// The file does not hold a secret.
    #[error("expected {MIN_BYTES} to {MAX_BYTES} printable ASCII characters without spaces")]
    Malformed,
    /// There is no randomness.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

impl From<Unspecified> for SecretError {
    fn from(_: Unspecified) -> Self {
        Self::NoRandomness
    }
}

/// What a registry proves itself with.
pub(super) enum Secret {
    /// It shows the secret itself.
    Shown {
        /// Of this process.
        key: hmac::Key,
        /// Of the secret under that key.
        expected: hmac::Tag,
    },
    /// It signs what it sends.
    Signs(hmac::Key),
}

impl fmt::Debug for Secret {
    /// Shows nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The secret in a file, without the line break at its end.
    ///
    /// # Errors
    /// [`SecretError`]
    pub(super) fn read(path: &Path, format: Format) -> Result<Self, SecretError> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(MAX_BYTES as u64 + 2)
            .read_to_end(&mut bytes)?;
        Self::new(bytes.trim_ascii_end(), format)
    }

    /// # Errors
    /// [`SecretError`]
    pub(super) fn new(secret: &[u8], format: Format) -> Result<Self, SecretError> {
        // Others can't stand in headers and URLs.
        if !(MIN_BYTES..=MAX_BYTES).contains(&secret.len()) || !secret.iter().all(u8::is_ascii_graphic) {
            return Err(SecretError::Malformed);
        }
        if format == Format::Github {
            return Ok(Self::Signs(hmac::Key::new(HMAC_SHA256, secret)));
        }
        let key = hmac::Key::generate(HMAC_SHA256, &SystemRandom::new())?;
        let expected = hmac::sign(&key, secret);
        Ok(Self::Shown { key, expected })
    }

    /// A secret that nobody knows.
    ///
    /// # Errors
    /// [`SecretError::NoRandomness`]
    pub(super) fn of_nobody(format: Format) -> Result<Self, SecretError> {
        let random = SystemRandom::new();
        let secret: [u8; 32] = ring::rand::generate(&random)?.expose();
        Self::new(STANDARD.encode(secret).as_bytes(), format)
    }

    /// Whether a request comes from somebody who knows the secret.
    pub(super) fn is_proven_by(&self, format: Format, headers: &HeaderMap, query: &str, body: &[u8]) -> bool {
        match self {
            Self::Signs(key) => {
                signature(headers).is_some_and(|signature| hmac::verify(key, body, &signature).is_ok())
            }
            Self::Shown { key, expected } => {
                let shown = match format {
                    Format::DockerHub => in_query(query),
                    _ => in_header(headers),
                };
                shown.is_some_and(|shown| hmac::verify(key, &shown, expected.as_ref()).is_ok())
            }
        }
    }
}

/// `Authorization: Bearer SECRET`, or `Basic` with the secret as the password of any user.
fn in_header(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    if value.len() > MAX_CREDENTIAL_BYTES {
        return None;
    }
    let value = value.trim_ascii();
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, credential) = (&value[..space], value[space..].trim_ascii_start());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(credential.to_vec());
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let decoded = STANDARD.decode(credential).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

/// `?secret=SECRET`, for registries that send no header of one's own.
fn in_query(query: &str) -> Option<Vec<u8>> {
    if query.len() > MAX_CREDENTIAL_BYTES {
        return None;
    }
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "secret")
        .map(|(_, secret)| secret.into_owned().into_bytes())
}

/// The [signature][1] of the body, 32 bytes in hexadecimal digits.
///
/// [1]: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
fn signature(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (name, prefix) = SIGNATURE;
    let digits = headers.get(name)?.to_str().ok()?.strip_prefix(prefix)?;
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..32).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok());
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const SECRET: &str = "It's-a-Secret-to-Everybody";

    fn is_proven(format: Format, header: Option<(&'static str, &str)>, query: &str, body: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let secret = Secret::new(SECRET.as_bytes(), format).unwrap();
        secret.is_proven_by(format, &headers, query, body)
    }

    #[test]
    fn a_bearer_token_or_any_users_password_proves_most_registries() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for format in [Format::Distribution, Format::Harbor, Format::Quay] {
            for (header, expected) in [
                (format!("Bearer {SECRET}"), true),
                (format!("bearer  {SECRET} "), true),
                (basic(&format!("anybody:{SECRET}")), true),
                (basic(&format!(":{SECRET}")), true),
                (SECRET.to_owned(), false),
                (format!("Bearer {SECRET}x"), false),
                (format!("Bearer {}", &SECRET[1..]), false),
                ("Bearer ".to_owned(), false),
                (basic(SECRET), false),
                (basic(&format!("{SECRET}:")), false),
                ("Basic !".to_owned(), false),
                (format!("Digest {SECRET}"), false),
            ] {
                let given = is_proven(format, Some(("authorization", &header)), "", b"");
                assert_eq!(given, expected, "{format:?} {header}");
            }
            assert!(
                !is_proven(format, None, &format!("secret={SECRET}"), b""),
                "{format:?}"
            );
            assert!(!is_proven(format, None, "", b""), "{format:?}");
        }
    }

    #[test]
    fn a_parameter_of_the_url_proves_docker_hub() {
        let encoded: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        for (query, expected) in [
            (format!("secret={encoded}"), true),
            (format!("a=b&secret={encoded}&c"), true),
            (format!("secret={encoded}x"), false),
            (format!("Secret={encoded}"), false),
            (String::new(), false),
            (format!("secret=x&secret={encoded}"), false),
        ] {
            assert_eq!(
                is_proven(Format::DockerHub, None, &query, b""),
                expected,
                "{query}"
            );
        }
        let header = format!("Bearer {SECRET}");
        assert!(!is_proven(
            Format::DockerHub,
            Some(("authorization", &header)),
            "",
            b""
        ));
    }

    #[test]
    fn a_signature_of_the_body_proves_github() {
        // The example of GitHub's documentation.
        const SIGNED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        for (signature, body, expected) in [
            (SIGNED, &b"Hello, World!"[..], true),
            (SIGNED, b"Hello, World", false),
            (&SIGNED["sha256=".len()..], b"Hello, World!", false),
            (&SIGNED[..70], b"Hello, World!", false),
            ("sha256=", b"Hello, World!", false),
        ] {
            let secret = Secret::new(b"It's a Secret to Everybody", Format::Github);
            assert!(secret.is_err(), "it has spaces");
            let secret = Secret::Signs(hmac::Key::new(HMAC_SHA256, b"It's a Secret to Everybody"));
            let mut headers = HeaderMap::new();
            headers.insert(SIGNATURE.0, HeaderValue::from_str(signature).unwrap());
            assert_eq!(
                secret.is_proven_by(Format::Github, &headers, "", body),
                expected,
                "{signature}"
            );
        }
        assert!(!is_proven(Format::Github, None, &format!("secret={SECRET}"), b""));
    }

    #[test]
    fn secrets_that_can_be_guessed_or_not_be_sent_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for (content, is_good) in [
            ("0123456789abcdef", true),
            ("0123456789abcdef\n", true),
            ("0123456789abcdef\r\n", true),
            ("0123456789abcde\n", false),
            ("", false),
            ("0123456789 abcdef", false),
            ("0123456789abcdef\n0123456789abcdef", false),
            ("0123456789äbcdef", false),
            (&"x".repeat(MAX_BYTES + 1), false),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(Secret::read(&path, Format::Quay).is_ok(), is_good, "{content:?}");
        }
        assert!(matches!(
            Secret::read(&directory.path().join("none"), Format::Quay),
            Err(SecretError::Unreadable(_))
        ));
        assert_eq!(
            format!("{:?}", Secret::new(SECRET.as_bytes(), Format::Github).unwrap()),
            "Secret"
        );
    }
}
