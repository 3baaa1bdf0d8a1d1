//! Content digests: `algorithm:hex`, parsed once.
//!
//! See the [OCI descriptor specification](https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// A digest with a supported algorithm (sha256, sha384, sha512) and the right number of lower-case hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Box<str>);

/// Why a string is not a digest. The texts are those of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not of the form `algorithm:hex`.
    #[error("invalid checksum digest format")]
    Format,
    /// The algorithm is not sha256, sha384 or sha512.
    #[error("unsupported digest algorithm")]
    Algorithm,
    /// The number of hex digits does not fit the algorithm.
    #[error("invalid checksum digest length")]
    Length,
}

impl Digest {
    /// Parses `algorithm:hex`.
    ///
    /// # Errors
    /// [`DigestError`] names the first rule that is broken: form, algorithm, length.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::Format)?;
        let well_formed = algorithm_is_well_formed(algorithm)
            && !hex.is_empty()
            && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !well_formed {
            return Err(DigestError::Format);
        }
        let expected = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return Err(DigestError::Algorithm),
        };
        if hex.len() != expected {
            return Err(DigestError::Length);
        }
        Ok(Self(text.into()))
    }

    /// The sha256 digest of `content`.
    #[must_use]
    pub fn sha256_of(content: &[u8]) -> Self {
        Self(format!("sha256:{}", hex(&Sha256::digest(content))).into())
    }

    /// Whether this is the digest of `content`, by this digest's own algorithm.
    #[must_use]
    pub fn verifies(&self, content: &[u8]) -> bool {
        let actual = match self.algorithm() {
            "sha384" => hex(&Sha384::digest(content)),
            "sha512" => hex(&Sha512::digest(content)),
            _ => hex(&Sha256::digest(content)),
        };
        actual == self.hex()
    }

    /// The part before the colon.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The part after the colon.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }

    /// The whole digest.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `[A-Za-z][A-Za-z0-9]*` components joined by one of `-_+.`: the algorithm of a digest in a reference.
pub(crate) fn algorithm_is_well_formed(algorithm: &str) -> bool {
    algorithm.split(['-', '_', '+', '.']).all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_checked_for_form_algorithm_and_length() {
        let hex64 = "a".repeat(64);
        let cases = [
            (format!("sha256:{hex64}"), None),
            (format!("sha384:{}", "0".repeat(96)), None),
            (format!("sha512:{}", "0".repeat(128)), None),
            (format!("sha512:{hex64}"), Some(DigestError::Length)),
            (format!("md5:{hex64}"), Some(DigestError::Algorithm)),
            (
                format!("sha256:{}", hex64.to_uppercase()),
                Some(DigestError::Format),
            ),
            (format!("sha256+:{hex64}"), Some(DigestError::Format)),
            ("sha256:".into(), Some(DigestError::Format)),
            ("sha256".into(), Some(DigestError::Format)),
            (String::new(), Some(DigestError::Format)),
        ];
        for (text, error) in cases {
            assert_eq!(Digest::parse(&text).err(), error, "{text}");
        }
    }

    #[test]
    fn a_digest_verifies_its_own_content_only() {
        let empty = Digest::sha256_of(b"");
        assert_eq!(
            empty.as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert!(empty.verifies(b""));
        assert!(!empty.verifies(b"x"));
        let long = Digest::parse(&format!("sha512:{}", hex(&Sha512::digest(b"x")))).unwrap();
        assert!(long.verifies(b"x"));
        assert!(!long.verifies(b"y"));
        assert_eq!((long.algorithm(), long.hex().len()), ("sha512", 128));
    }
}
