//! `v1` [secrets][1]: credentials for registries, above all.
//!
//! [1]: https://kubernetes.io/docs/concepts/configuration/secret/

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use imagestream_api::field::{FieldError, Path};
use imagestream_api::validation::metadata::NameRule;
use imagestream_apiserver::decode;
use imagestream_apiserver::endpoint::{Endpoint, Pending, Request};
use imagestream_apiserver::form::Form;
use imagestream_apiserver::kind::{Column, Kind, Resource};
use imagestream_apiserver::metadata;
use imagestream_apiserver::storage::Seal;
use imagestream_apiserver::stored::Stored;
use imagestream_apiserver::strategy::{Strategy, done};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::age;
use crate::context::Context;
use crate::plain::{AGE, NAME, checked_new, checked_replacement, column, with_metadata};
use crate::schema;

/// The most that the values of a secret may take, in bytes.
const MAX_SIZE: usize = 1 << 20;
/// The longest key of a value, in bytes.
const MAX_KEY: usize = 253;
const OPAQUE: &str = "Opaque";
/// Stands in messages for what must not be shown.
const REDACTED: &str = "<secret contents redacted>";

static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Secret",
    schema: &schema::core::SECRET,
    package: "v1",
    description: "Data that is not for everybody: credentials for a registry, for example.",
};

/// Secrets.
pub static SECRETS: Resource = Resource {
    kind: &KIND,
    plural: "secrets",
    subresource: "",
    singular: "secret",
    list_kind: "SecretList",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

/// How they are stored: sealed.
#[must_use]
pub fn form(seal: Arc<dyn Seal>) -> Arc<dyn Form> {
    Arc::new(SecretForm(seal))
}

struct SecretForm(Arc<dyn Seal>);

impl Form for SecretForm {
    fn resource(&self) -> &'static Resource {
        &SECRETS
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name", "metadata.namespace", "type"]
    }

    fn seal(&self) -> Option<&dyn Seal> {
        Some(&*self.0)
    }
}

/// The endpoint of secrets.
pub(super) fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    Arc::new(Stored::new(Arc::clone(&context.secrets), Arc::new(Secrets)))
}

struct Secrets;

impl Strategy for Secrets {
    /// Takes `stringData` over into `data`, and writes all data in one way.
    fn normalise(&self, object: Value) -> Result<Value, String> {
        let mut object = with_metadata(object)?;
        let Value::Object(fields) = &mut object else {
            return Ok(object);
        };
        let mut data = Map::new();
        for (key, value) in fields
            .remove("data")
            .as_ref()
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let decoded = decoded(value.as_str().unwrap_or_default())?;
            data.insert(key.clone(), STANDARD.encode(decoded).into());
        }
        let texts = fields.remove("stringData");
        for (key, value) in texts.as_ref().and_then(Value::as_object).into_iter().flatten() {
            data.insert(
                key.clone(),
                STANDARD.encode(value.as_str().unwrap_or_default()).into(),
            );
        }
        if !data.is_empty() {
            fields.insert("data".into(), data.into());
        }
        if fields
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
        {
            fields.insert("type".into(), OPAQUE.into());
        }
        if fields.get("immutable").is_some_and(Value::is_null) {
            fields.remove("immutable");
        }
        Ok(object)
    }

    fn prepare_create<'a>(&'a self, _: &'a Request, object: Value) -> Pending<'a, Value> {
        let errors = errors(&object);
        done(checked_new(&SECRETS, NameRule::Subdomain, &object, errors).map(|()| object))
    }

    fn prepare_update<'a>(&'a self, _: &'a Request, object: Value, stored: &'a Value) -> Pending<'a, Value> {
        let result = checked_replacement(&SECRETS, &object, stored, || {
            let mut found = changes(&object, stored);
            found.extend(errors(&object));
            found
        });
        done(result.map(|()| object))
    }

    fn columns(&self) -> Option<&'static [Column]> {
        const TYPE: Column = column("Type", "string", "What the data is for.");
        const DATA: Column = column("Data", "string", "How many values there are.");
        Some(&[NAME, TYPE, DATA, AGE])
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let count = object.get("data").and_then(Value::as_object).map_or(0, Map::len);
        vec![
            metadata::text(object, "name").into(),
            json!(type_of(object)),
            json!(count),
            age::of(object, now),
        ]
    }
}

fn type_of(object: &Value) -> &str {
    object.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Base64 as Go reads it: line breaks do not count.
fn decoded(text: &str) -> Result<Vec<u8>, String> {
    let bytes: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    STANDARD.decode(&bytes).map_err(|error| {
        let position = match error {
            base64::DecodeError::InvalidByte(position, _)
            | base64::DecodeError::InvalidLastSymbol { offset: position, .. } => position,
            base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                bytes.len() / 4 * 4
            }
        };
        format!("illegal base64 data at input byte {position}")
    })
}

/// What is wrong with what is in a secret.
fn errors(object: &Value) -> Vec<FieldError> {
    let path = Path::root("data");
    let empty = Map::new();
    let data = object.get("data").and_then(Value::as_object).unwrap_or(&empty);
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in data {
        errors.extend(
            key_errors(key)
                .into_iter()
                .map(|reason| FieldError::invalid(&path.key(key), key.as_str(), reason)),
        );
        // Three bytes in four characters; what was normalised has its padding.
        let text = value.as_str().unwrap_or_default();
        size += text.len() / 4 * 3 - text.bytes().rev().take_while(|byte| *byte == b'=').count();
    }
    if size > MAX_SIZE {
        errors.push(FieldError::too_long(&path, MAX_SIZE));
    }
    let required = |key: &str| FieldError::required(&path.key(key), "");
    let has = |key: &str| data.contains_key(key);
    match type_of(object) {
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            let annotations = object.pointer("/metadata/annotations");
            let given = annotations.and_then(|all| all.get(name)).and_then(Value::as_str);
            if given.unwrap_or_default().is_empty() {
                let path = Path::root("metadata").child("annotations").key(name);
                errors.push(FieldError::required(&path, ""));
            }
        }
        "kubernetes.io/dockercfg" => errors.extend(json_errors(data, ".dockercfg", &path)),
        "kubernetes.io/dockerconfigjson" => errors.extend(json_errors(data, ".dockerconfigjson", &path)),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            errors.extend([required("username"), required("password")]);
        }
        "kubernetes.io/ssh-auth" => {
            let key = data
                .get("ssh-privatekey")
                .and_then(Value::as_str)
                .unwrap_or_default();
            errors.extend(key.is_empty().then(|| required("ssh-privatekey")));
        }
        "kubernetes.io/tls" => {
            errors.extend(
                ["tls.crt", "tls.key"]
                    .into_iter()
                    .filter(|key| !has(key))
                    .map(required),
            );
        }
        _ => {}
    }
    errors
}

/// What is wrong with the name of a value.
fn key_errors(key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if key.len() > MAX_KEY {
        errors.push(format!("must be no more than {MAX_KEY} bytes"));
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.is_empty() || !key.bytes().all(is_allowed) {
        errors.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .into(),
        );
    }
    match key {
        "." | ".." => errors.push(format!("must not be '{key}'")),
        _ if key.starts_with("..") => errors.push("must not start with '..'".into()),
        _ => {}
    }
    errors
}

/// What is wrong with a value that must be a JSON object.
fn json_errors(data: &Map<String, Value>, key: &str, path: &Path) -> Option<FieldError> {
    let path = path.key(key);
    let Some(value) = data.get(key) else {
        return Some(FieldError::required(&path, ""));
    };
    let content = STANDARD
        .decode(value.as_str().unwrap_or_default())
        .unwrap_or_default();
    let kind = match decode::untyped(&content) {
        Err(error) => return Some(FieldError::invalid(&path, REDACTED, error.message)),
        Ok((Value::Object(_) | Value::Null, _)) => return None,
        Ok((Value::Array(_), _)) => "array",
        Ok((Value::String(_), _)) => "string",
        Ok((Value::Number(_), _)) => "number",
        Ok((Value::Bool(_), _)) => "bool",
    };
    let reason = format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
    Some(FieldError::invalid(&path, REDACTED, reason))
}

/// What must not change in a secret that replaces `stored`.
fn changes(object: &Value, stored: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if type_of(object) != type_of(stored) {
        let detail = "field is immutable";
        errors.push(FieldError::invalid(&Path::root("type"), type_of(object), detail));
    }
    let is_immutable = |object: &Value| object.get("immutable") == Some(&Value::Bool(true));
    if is_immutable(stored) {
        let detail = "field is immutable when `immutable` is set";
        if !is_immutable(object) {
            errors.push(FieldError::forbidden(&Path::root("immutable"), detail));
        }
        if object.get("data") != stored.get("data") {
            errors.push(FieldError::forbidden(&Path::root("data"), detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests;
