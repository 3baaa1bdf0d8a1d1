//! Pages of a list: where the next one begins, as a [continue token][1].
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, NO_PAD};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::{Deserialize, Serialize};

use crate::errors;

/// The version of tokens that this is.
const VERSION: &str = "meta.k8s.io/v1";
/// Reads whatever can be read; what it means is checked afterwards.
const BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
const LENIENT: GeneralPurposeConfig = NO_PAD.with_decode_allow_trailing_bits(true);
/// Longest token that is looked at: a key is at most some hundred bytes long.
const MAX_TOKEN_BYTES: usize = 4096;

/// Where a list goes on, and which state it shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContinueToken {
    #[serde(rename = "v")]
    version: String,
    /// The state that all pages show; -1: whatever is there now.
    #[serde(rename = "rv")]
    pub revision: i64,
    /// The first key that may follow, without what is common to all.
    pub start: String,
}

impl ContinueToken {
    /// The token for the page after the object whose key is `prefix` and `last`.
    pub fn after(last: &str, revision: i64) -> Self {
        Self {
            version: VERSION.into(),
            revision,
            start: format!("/{last}\0"),
        }
    }

    /// The key, without the prefix, after which the page begins.
    pub fn last(&self) -> &str {
        let start = self.start.strip_prefix('/').unwrap_or(&self.start);
        start.strip_suffix('\0').unwrap_or(start)
    }

    /// The token as clients send it back.
    pub fn encode(&self) -> String {
        // A struct of a number and two texts can always be written.
        BASE64.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads what a client sent.
    ///
    /// # Errors
    /// 400 if it is none of our tokens.
    pub fn decode(token: &str) -> Result<Self, Box<Status>> {
        let invalid = |why: &dyn std::fmt::Display| {
            Box::new(errors::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            )))
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid(&"it is too long"));
        }
        let bytes = BASE64
            .decode(token.trim_end_matches('='))
            .map_err(|error| invalid(&error))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|_| {
            let seen = bytes.first().copied().unwrap_or_default();
            invalid(&format_args!(
                "invalid character '\\u{seen:04x}' looking for beginning of value"
            ))
        })?;
        if token.version != VERSION || token.start.is_empty() {
            return Err(invalid(
                &"incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
        if token.start.contains("..") && token.start.split('/').any(|part| part == "..") {
            return Err(invalid(&"it leads elsewhere"));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_where_the_page_ended() {
        let token = ContinueToken::after("ns/b", 7);
        let read = ContinueToken::decode(&token.encode()).unwrap();
        assert_eq!((read.last(), read.revision), ("ns/b", 7));
        // As another server of the same API writes it.
        let other = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MjI3MCwic3RhcnQiOiIvYlx1MDAwMCJ9";
        let read = ContinueToken::decode(other).unwrap();
        assert_eq!((read.last(), read.revision), ("b", 2270));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let other_version = BASE64.encode(r#"{"v":"v0","rv":1,"start":"/b"}"#);
        let elsewhere = BASE64.encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"/../b"}"#);
        for token in [
            "garbage",
            "%",
            "e30",
            &other_version,
            &elsewhere,
            &"e".repeat(5000),
        ] {
            let status = ContinueToken::decode(token).unwrap_err();
            assert_eq!(status.code, Some(400), "{token}");
        }
    }
}
