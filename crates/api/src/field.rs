//! Errors about one field of an object, worded as [Kubernetes words them][1], and the 422 they add up to.
//!
//! [1]: https://pkg.go.dev/k8s.io/apimachinery/pkg/util/validation/field

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use crate::status;
use crate::types::{GROUP, Status, StatusCause, StatusDetails};

mod quote;

pub use quote::{is_printable, quoted};

/// Where a field is: `spec.images[0].from.name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// The field `name` of the object. The object itself has the empty name, which is written `[]`.
    #[must_use]
    pub fn root(name: &str) -> Self {
        Self(if name.is_empty() { "[]".into() } else { name.into() })
    }

    /// The field `name` of what is here.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    /// The element at `index` of the list that is here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The value for `key` in the map that is here.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldErrorKind {
    /// What the value names does not exist.
    NotFound,
    /// There is no value.
    Required,
    /// The value must be unique and is not.
    Duplicate,
    /// The value is malformed.
    Invalid,
    /// The value is none of those that are possible.
    NotSupported,
    /// The value is well-formed, but not permitted here.
    Forbidden,
    /// The value is too long to be shown.
    TooLong,
    /// The field could not be checked.
    InternalError,
}

impl FieldErrorKind {
    /// The reason in the causes of a status.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::InternalError => "InternalError",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::InternalError => "Internal error",
        }
    }
}

/// A value as it is shown in an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldValue {
    /// A string; shown in quotes.
    Text(String),
    /// Anything else: its JSON.
    Json(String),
}

impl FieldValue {
    /// The value's JSON; its keys keep the order in which `value` writes them.
    #[must_use]
    pub fn json(value: &impl Serialize) -> Self {
        let json = serde_json::to_string(value).unwrap_or_else(|_| "null".into());
        // Kubernetes' encoder writes these so that JSON can stand in HTML. They occur in strings only.
        Self::Json(
            json.replace('<', "\\u003c")
                .replace('>', "\\u003e")
                .replace('&', "\\u0026")
                .replace('\u{2028}', "\\u2028")
                .replace('\u{2029}', "\\u2029"),
        )
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Json(json) => f.write_str(json),
        }
    }
}

impl From<&str> for FieldValue {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<bool> for FieldValue {
    fn from(value: bool) -> Self {
        Self::Json(value.to_string())
    }
}

impl From<i64> for FieldValue {
    fn from(value: i64) -> Self {
        Self::Json(value.to_string())
    }
}

/// An error about one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// What is wrong.
    pub kind: FieldErrorKind,
    /// Where.
    pub path: Path,
    /// The value, for the kinds of error that show it.
    pub value: Option<FieldValue>,
    /// Why it is wrong, or what would be right. May be empty.
    pub detail: String,
}

impl FieldError {
    fn new(kind: FieldErrorKind, path: &Path, value: Option<FieldValue>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            path: path.clone(),
            value,
            detail: detail.into(),
        }
    }

    /// There is no value.
    #[must_use]
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, path, None, detail)
    }

    /// The value is malformed.
    #[must_use]
    pub fn invalid(path: &Path, value: impl Into<FieldValue>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Invalid, path, Some(value.into()), detail)
    }

    /// The value is well-formed, but not permitted here.
    #[must_use]
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, path, None, detail)
    }

    /// What the value names does not exist.
    #[must_use]
    pub fn not_found(path: &Path, value: impl Into<FieldValue>) -> Self {
        Self::new(FieldErrorKind::NotFound, path, Some(value.into()), "")
    }

    /// The value must be unique and is not.
    #[must_use]
    pub fn duplicate(path: &Path, value: impl Into<FieldValue>) -> Self {
        Self::new(FieldErrorKind::Duplicate, path, Some(value.into()), "")
    }

    /// The value is none of `supported`.
    #[must_use]
    pub fn not_supported(path: &Path, value: impl Into<FieldValue>, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(|value| quoted(value)).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        Self::new(FieldErrorKind::NotSupported, path, Some(value.into()), detail)
    }

    /// The value is longer than `limit` bytes.
    #[must_use]
    pub fn too_long(path: &Path, limit: usize) -> Self {
        let detail = format!("may not be more than {limit} bytes");
        Self::new(FieldErrorKind::TooLong, path, None, detail)
    }

    /// The field could not be checked.
    #[must_use]
    pub fn internal(path: &Path, error: impl fmt::Display) -> Self {
        Self::new(FieldErrorKind::InternalError, path, None, error.to_string())
    }

    /// The error without the path.
    #[must_use]
    pub fn message(&self) -> String {
        let mut message = self.kind.text().to_owned();
        if let Some(value) = &self.value {
            message.push_str(": ");
            message.push_str(&value.to_string());
        }
        if !self.detail.is_empty() {
            message.push_str(": ");
            message.push_str(&self.detail);
        }
        message
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message())
    }
}

/// 422: an object of a kind of this group is invalid.
#[must_use]
pub fn invalid(kind: &str, name: &str, errors: &[FieldError]) -> Status {
    invalid_in(GROUP, kind, name, errors)
}

/// 422: an object of a kind of any group is invalid. The message says each thing once; the causes say all.
#[must_use]
pub fn invalid_in(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Status {
    let qualified = if group.is_empty() {
        kind.to_owned()
    } else {
        format!("{kind}.{group}")
    };
    let mut message = format!("{qualified} {} is invalid", quoted(name));
    if !errors.is_empty() {
        message.push_str(": ");
        message.push_str(&joined(errors));
    }
    let cause = |error: &FieldError| StatusCause {
        reason: Some(error.kind.reason().into()),
        message: Some(error.message()),
        field: Some(error.path.to_string()),
    };
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Status {
        details: Some(StatusDetails {
            name: given(name),
            group: given(group),
            kind: given(kind),
            causes: (!errors.is_empty()).then(|| errors.iter().map(cause).collect()),
            ..StatusDetails::default()
        }),
        ..status::failure(422, "Invalid", message)
    }
}

/// One error as it is, several as a list.
fn joined(errors: &[FieldError]) -> String {
    let mut seen = HashSet::new();
    let texts: Vec<String> = errors
        .iter()
        .map(FieldError::to_string)
        .filter(|text| seen.insert(text.clone()))
        .collect();
    match texts.as_slice() {
        [only] => only.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

#[cfg(test)]
mod tests;
