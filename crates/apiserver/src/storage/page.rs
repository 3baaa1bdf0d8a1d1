//! Pages of a list: where the next one begins, as a [continue token][1].
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks

use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, NO_PAD};
use base64::{DecodeError, Engine as _};
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
    #[serde(rename = "v", default)]
    version: String,
    /// The state that all pages show; -1: whatever is there now.
    #[serde(rename = "rv", default)]
    pub revision: i64,
    /// The first key that may follow, without what is common to all.
    #[serde(default)]
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
        Self::read(token).map_err(|why| {
            let message = format!("invalid continue token: continue key is not valid: {why}");
            errors::bad_request(message).into()
        })
    }

    fn read(token: &str) -> Result<Self, String> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err("it is too long".into());
        }
        let text = token.trim_end_matches('=');
        let bytes = BASE64.decode(text).map_err(|error| {
            let place = match error {
                DecodeError::InvalidByte(place, _) => place,
                _ => text.len().saturating_sub(1),
            };
            format!("illegal base64 data at input byte {place}")
        })?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|_| {
            let seen = bytes.first().copied().unwrap_or_default();
            format!("invalid character '\\u{seen:04x}' looking for beginning of value")
        })?;
        if token.version != VERSION {
            return Err(format!(
                "server does not recognize this encoded version {}",
                token.version
            ));
        }
        if token.revision == 0 {
            return Err(format!(
                "incorrect encoded start resourceVersion (version {VERSION})"
            ));
        }
        if token.start.is_empty() {
            return Err(format!("encoded start key empty (version {VERSION})"));
        }
        let start = token.start.strip_prefix('/').unwrap_or(&token.start);
        let leads_elsewhere = |part: &str| matches!(part, "" | "." | "..");
        if !start.is_empty() && start.split('/').any(leads_elsewhere) {
            return Err(token.start);
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
        for (json, why) in [
            (
                r#"{"v":"v0","rv":1,"start":"/b"}"#,
                "server does not recognize this encoded version v0",
            ),
            ("{}", "server does not recognize this encoded version "),
            (
                r#"{"v":"meta.k8s.io/v1","rv":0,"start":"/b"}"#,
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (
                r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#,
                "encoded start key empty (version meta.k8s.io/v1)",
            ),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"/../b"}"#, "/../b"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a//b"}"#, "a//b"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"/a/./b"}"#, "/a/./b"),
            ("[", "invalid character '\\u005b' looking for beginning of value"),
        ] {
            let status = ContinueToken::decode(&BASE64.encode(json)).unwrap_err();
            let message = format!("invalid continue token: continue key is not valid: {why}");
            assert_eq!(
                (status.code, status.message),
                (Some(400), Some(message)),
                "{json}"
            );
        }
        for (token, place) in [("%", 0), ("ab%d", 2), ("abcde", 4)] {
            let message = ContinueToken::decode(token).unwrap_err().message.unwrap();
            let expected = format!("illegal base64 data at input byte {place}");
            assert!(message.ends_with(&expected), "{token}: {message}");
        }
        let long = ContinueToken::decode(&"e".repeat(5000)).unwrap_err();
        assert_eq!(long.code, Some(400));
    }
}
