//! Bodies of requests: JSON or YAML, of bounded size and depth, into a value with no field that its kind does
//! not have. What the client is told about the rest follows [field validation][1].
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation

use std::fmt;
use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::de::DeserializeSeed;
use serde_json::{Map, Value};

use crate::errors;
use crate::negotiation::BodyFormat;
use crate::options::FieldValidation;
use crate::protobuf::{self, Envelope};
use crate::schema::{Object, Schema};

mod reader;
mod syntax;
mod yaml;

use reader::{Findings, Node};

/// Bytes that a body may have.
pub const MAX_BODY: usize = 3 << 20;

/// Brackets that may be open at once in a body.
// serde_json's own limit; deeper values would also be a danger to whoever walks them.
pub const MAX_DEPTH: usize = 127;

/// 413, if a body of `length` bytes is too large.
pub fn check_size(length: usize) -> Result<(), Box<Status>> {
    if length > MAX_BODY {
        let error = errors::request_entity_too_large(format_args!("limit is {MAX_BODY}"));
        return Err(error.into());
    }
    Ok(())
}

/// A group, a version of it, and a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupVersionKind {
    /// Empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind.
    pub kind: String,
}

impl GroupVersionKind {
    /// `group/version`, or the version alone in the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// What a body is to be read as.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The group.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// Its fields.
    pub schema: &'static Object,
    /// Whether there is another kind of this name in `apiVersion`.
    pub is_registered: &'a dyn Fn(&GroupVersionKind) -> bool,
    /// The package that error texts name as the home of the kinds: `image`, `rbac`.
    pub package: &'a str,
    /// What error texts call the collection of all kinds.
    pub scheme: &'a str,
}

/// The name that Kubernetes' own servers give to the collection of their kinds.
pub const LEGACY_SCHEME: &str = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30";

/// The same, where options are decoded.
pub const META_SCHEME: &str = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";

/// A body that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object, with `kind` and `apiVersion`, and with the fields of its kind alone.
    pub value: Value,
    /// What it says it is.
    pub kind: GroupVersionKind,
    /// Unknown and duplicate fields.
    pub strict_errors: Vec<String>,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// What the body says it is, if that could be told.
    pub kind: Option<GroupVersionKind>,
    /// The error.
    pub message: String,
}

impl DecodeError {
    fn new(kind: Option<&GroupVersionKind>, message: impl Into<String>) -> Self {
        Self {
            kind: kind.cloned(),
            message: message.into(),
        }
    }

    /// 400 for a body that was to be a `kind`.
    #[must_use]
    pub fn bad_request(&self, kind: &str, body: &[u8]) -> Status {
        match &self.kind {
            Some(found) => cannot_be_handled(found, kind, &self.message),
            None => errors::bad_request(format!(
                "the object provided is unrecognized (must be of type {kind}): {} ({})",
                self.message,
                Summary(body)
            )),
        }
    }
}

fn cannot_be_handled(found: &GroupVersionKind, kind: &str, error: impl fmt::Display) -> Status {
    errors::bad_request(format!(
        "{} in version {} cannot be handled as a {kind}: {error}",
        found.kind,
        imagestream_api::field::quoted(&found.version)
    ))
}

/// The beginning of a body: as text where it looks like an object, otherwise as digits.
struct Summary<'a>(&'a [u8]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 30;
        let beginning = self.0.get(..SHOWN).unwrap_or(self.0);
        match beginning.first() {
            None => f.write_str("<empty>")?,
            Some(b'{') => f.write_str(&String::from_utf8_lossy(beginning))?,
            Some(_) => {
                for byte in beginning {
                    write!(f, "{byte:02x}")?;
                }
            }
        }
        if self.0.len() > SHOWN {
            f.write_str(" ...")?;
        }
        Ok(())
    }
}

impl Decoded {
    /// The object and the warnings about it, or 400 where the client wants no field lost.
    pub fn validated(
        self,
        kind: &str,
        validation: FieldValidation,
    ) -> Result<(Value, Vec<String>), Box<Status>> {
        match validation {
            FieldValidation::Ignore => Ok((self.value, Vec::new())),
            FieldValidation::Warn => Ok((self.value, self.strict_errors)),
            FieldValidation::Strict if self.strict_errors.is_empty() => Ok((self.value, Vec::new())),
            FieldValidation::Strict => {
                let error = format!("strict decoding error: {}", self.strict_errors.join(", "));
                Err(cannot_be_handled(&self.kind, kind, error).into())
            }
        }
    }
}

/// Reads a body as `target`. Where it does not say what it is, it is a `target`.
pub fn decode(body: &[u8], format: BodyFormat, target: &Target<'_>) -> Result<Decoded, DecodeError> {
    match format {
        BodyFormat::Json => from_json(&text(body), target),
        BodyFormat::Protobuf => from_protobuf(body, target),
        BodyFormat::Yaml => {
            let document = yaml::parse(body).map_err(|error| DecodeError::new(None, error))?;
            let mut decoded = from_value(document.value, target)?;
            decoded.strict_errors.splice(..0, document.duplicates);
            Ok(decoded)
        }
    }
}

/// Reads a value, such as a patched object, as `target`.
pub fn from_value(value: Value, target: &Target<'_>) -> Result<Decoded, DecodeError> {
    let kind = kind_of(&value, target)?;
    finish(kind, target, |node| node.deserialize(value))
}

/// Reads JSON that has no schema; the second part are the keys that occur twice.
pub fn untyped(body: &[u8]) -> Result<(Value, Vec<String>), DecodeError> {
    let text = text(body);
    let mut findings = Findings::default();
    let node = Node {
        schema: Schema::Untyped,
        findings: &mut findings,
    };
    let value = read_json(&text, node).map_err(|error| DecodeError::new(None, error))?;
    Ok((value, findings.strict))
}

/// Reads YAML that has no schema; the second part are the keys that occur twice, as one text.
///
/// # Errors
/// Why it is no YAML, or not one of bounded depth and size.
pub fn untyped_yaml(body: &[u8]) -> Result<(Value, Option<String>), String> {
    yaml::parse(body).map(|document| (document.value, document.duplicates))
}

/// Bytes that are not UTF-8 become replacement characters, as in Kubernetes.
fn text(body: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(body)
}

fn read_json(text: &str, node: Node<'_>) -> Result<Value, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    node.deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| syntax::error(text.as_bytes()).unwrap_or_else(|| error.to_string()))
}

fn from_json(text: &str, target: &Target<'_>) -> Result<Decoded, DecodeError> {
    // The kind decides how the rest is read, and may come last.
    let type_meta = type_meta(text)?;
    let kind = kind_of(&type_meta, target)?;
    finish(kind, target, |node| read_json(text, node))
}

fn from_protobuf(body: &[u8], target: &Target<'_>) -> Result<Decoded, DecodeError> {
    let envelope = Envelope::open(body).map_err(|error| DecodeError::new(None, error.to_string()))?;
    let type_meta = serde_json::json!({"apiVersion": envelope.api_version, "kind": envelope.kind});
    let kind = kind_of(&type_meta, target)?;
    let failed = |error: protobuf::Error| DecodeError::new(Some(&kind), error.to_string());
    let value = envelope.read(target.schema).map_err(failed)?;
    finish(kind, target, |node| node.deserialize(value))
}

/// The members that say what an object is; of anything but an object, the value itself.
fn type_meta(text: &str) -> Result<Value, DecodeError> {
    use crate::schema::{API_VERSION, KIND};
    // What is not there is read as a type mismatch would be: the error is about the whole.
    static TYPE_META: Object = Object::new("", "", "", &[API_VERSION, KIND]);
    let mut findings = Findings::default();
    let node = Node {
        schema: Schema::Object(&TYPE_META),
        findings: &mut findings,
    };
    let failed = |error: String| {
        let message = format!("couldn't get version/kind; json parse error: {error}");
        DecodeError::new(None, message)
    };
    let value = read_json(text, node).map_err(failed)?;
    match findings.mismatch {
        None => Ok(value),
        Some(_) if !value.is_object() => {
            let found = match text.trim_start().as_bytes().first() {
                Some(b'"') => "string",
                Some(b'[') => "array",
                Some(b't' | b'f') => "bool",
                _ => "number",
            };
            Err(failed(not_an_object(found)))
        }
        Some(mismatch) => Err(failed(mismatch)),
    }
}

fn not_an_object(found: &str) -> String {
    format!(
        "json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string \
         \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
    )
}

fn kind_of(value: &Value, target: &Target<'_>) -> Result<GroupVersionKind, DecodeError> {
    let failed = |error: String| {
        let message = format!("couldn't get version/kind; json parse error: {error}");
        DecodeError::new(None, message)
    };
    match value {
        Value::Object(_) | Value::Null => {}
        Value::Bool(_) => return Err(failed(not_an_object("bool"))),
        Value::Number(_) => return Err(failed(not_an_object("number"))),
        Value::String(_) => return Err(failed(not_an_object("string"))),
        Value::Array(_) => return Err(failed(not_an_object("array"))),
    }
    let member = |name: &str| match value.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => {
            let found = match other {
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                Value::Array(_) => "array",
                _ => "object",
            };
            Err(failed(format!(
                "json: cannot unmarshal {found} into Go struct field .{name} of type string"
            )))
        }
    };
    let api_version = member("apiVersion")?;
    let kind = member("kind")?;
    let (group, version) = match api_version.split_once('/') {
        None => ("", api_version),
        Some((_, version)) if version.contains('/') => {
            let message = format!("unexpected GroupVersion string: {api_version}");
            return Err(DecodeError::new(None, message));
        }
        Some(parts) => parts,
    };
    let defaults = version.is_empty();
    let found = GroupVersionKind {
        group: if defaults && group.is_empty() {
            target.group
        } else {
            group
        }
        .into(),
        version: if defaults && (group.is_empty() || group == target.group) {
            target.version
        } else {
            version
        }
        .into(),
        kind: if kind.is_empty() { target.kind } else { kind }.into(),
    };
    check_kind(&found, target)?;
    Ok(found)
}

fn check_kind(found: &GroupVersionKind, target: &Target<'_>) -> Result<(), DecodeError> {
    let matches_target =
        found.group == target.group && found.version == target.version && found.kind == target.kind;
    if matches_target {
        return Ok(());
    }
    let message = if (target.is_registered)(found) {
        format!(
            "converting ({}.{}) to ({}.{}): unknown conversion",
            found.version, found.kind, target.package, target.kind
        )
    } else {
        format!(
            "no kind {} is registered for version {} in scheme {}",
            imagestream_api::field::quoted(&found.kind),
            imagestream_api::field::quoted(&found.api_version()),
            imagestream_api::field::quoted(target.scheme)
        )
    };
    Err(DecodeError::new(Some(found), message))
}

fn finish<E: fmt::Display>(
    kind: GroupVersionKind,
    target: &Target<'_>,
    read: impl FnOnce(Node<'_>) -> Result<Value, E>,
) -> Result<Decoded, DecodeError> {
    let mut findings = Findings::default();
    let node = Node {
        schema: Schema::Object(target.schema),
        findings: &mut findings,
    };
    let value = read(node).map_err(|error| DecodeError::new(Some(&kind), error.to_string()))?;
    if let Some(mismatch) = findings.mismatch {
        return Err(DecodeError::new(Some(&kind), mismatch));
    }
    let mut object = match value {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    object.insert("apiVersion".into(), kind.api_version().into());
    object.insert("kind".into(), kind.kind.clone().into());
    Ok(Decoded {
        value: Value::Object(object),
        kind,
        strict_errors: findings.strict,
    })
}

/// The `Warning` headers for `warnings`, each once, together not longer than what [clients are spared][1].
///
/// [1]: https://www.rfc-editor.org/rfc/rfc7234#section-5.5
#[must_use]
pub fn warning_headers(warnings: &[String]) -> Vec<String> {
    const ALL: usize = 4 << 10;
    const EACH: usize = 256;
    let mut distinct: Vec<&str> = Vec::new();
    for warning in warnings {
        // What cannot be in a header is not warned about.
        if !warning.is_empty() && !warning.contains(char::is_control) && !distinct.contains(&warning.as_str())
        {
            distinct.push(warning);
        }
    }
    let total: usize = distinct.iter().map(|warning| warning.chars().count()).sum();
    let mut left = ALL;
    let mut headers = Vec::new();
    for warning in distinct {
        let limit = if total > ALL { EACH } else { ALL };
        let length = warning.chars().count().min(limit);
        if length > left {
            break;
        }
        left -= length;
        let mut header = String::from("299 - \"");
        for character in warning.chars().take(limit) {
            if matches!(character, '"' | '\\') {
                header.push('\\');
            }
            let _ = header.write_char(character);
        }
        header.push('"');
        headers.push(header);
    }
    headers
}

#[cfg(test)]
mod tests;
