//! JSON that others wrote ([RFC 8259](https://www.rfc-editor.org/rfc/rfc8259)): decoded with the parser's own depth
//! limit, with `null` read as "not given" and errors in words that API clients know.

use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

/// Why a document could not be decoded. The text never holds more than one value of the document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The document stops before its end.
    #[error("unexpected end of JSON input")]
    Truncated,
    /// The document is not JSON, or not of the expected shape.
    #[error("error decoding JSON: {0}")]
    Malformed(String),
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            Category::Eof => Self::Truncated,
            _ => Self::Malformed(error.to_string()),
        }
    }
}

/// Decodes one JSON document.
///
/// # Errors
/// [`JsonError`] when `document` is not JSON, goes deeper than 128 levels or does not fit `T`.
pub fn decode<'de, T: Deserialize<'de>>(document: &'de [u8]) -> Result<T, JsonError> {
    Ok(serde_json::from_slice(document)?)
}

/// Reads `null` as the default, as every Go program that writes such documents does.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_stops_early_is_told_from_one_that_is_not_json() {
        let error = |document: &[u8]| decode::<serde_json::Value>(document).unwrap_err().to_string();
        assert_eq!(error(b"{\"a\":"), "unexpected end of JSON input");
        assert_eq!(error(b""), "unexpected end of JSON input");
        assert_eq!(
            error(b"<html>"),
            "error decoding JSON: expected value at line 1 column 1"
        );
    }

    #[test]
    fn nesting_is_limited() {
        let deep = [vec![b'['; 200], vec![b']'; 200]].concat();
        let error = decode::<serde_json::Value>(&deep).unwrap_err();
        assert!(error.to_string().contains("recursion limit"), "{error}");
    }
}
