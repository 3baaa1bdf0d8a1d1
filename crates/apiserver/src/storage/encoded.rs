//! A stored object's bytes, and the beginning that an answer puts in front of them.

use std::io::Write as _;

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Stored;
use crate::errors;
use crate::kind::Kind;
use crate::ordered::{Ordered, sorted};

/// How every stored object begins.
const START: &[u8] = b"{\"metadata\":{";
/// Before what the resource version is written.
const UID: &[u8] = b"\"uid\":";

/// A stored object that has not been decoded.
#[derive(Debug, Clone)]
pub struct Encoded {
    kind: &'static Kind,
    /// `{"metadata":{` and so on; see [`encode`].
    bytes: Bytes,
    revision: u64,
}

impl Encoded {
    pub(super) fn new(kind: &'static Kind, bytes: Bytes, revision: u64) -> Self {
        Self {
            kind,
            bytes,
            revision,
        }
    }

    /// The revision of the object's last change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The same object at another revision: that of its deletion.
    #[must_use]
    pub fn at(mut self, revision: u64) -> Self {
        self.revision = revision;
        self
    }

    /// About how many bytes it takes in an answer.
    pub fn len(&self) -> usize {
        self.bytes.len() + 128
    }

    /// Whether nothing is stored, which does not happen.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether a text stands anywhere in it: a quick way to tell that it does not have a field.
    pub fn mentions(&self, needle: &str) -> bool {
        memchr::memmem::find(&self.bytes, needle.as_bytes()).is_some()
    }

    /// Writes the object as JSON, with `kind` and `apiVersion`.
    pub fn write_object(&self, out: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        let _ = write!(
            out,
            "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",",
            self.kind.kind,
            self.kind.api_version()
        );
        self.write_rest(out);
    }

    /// Writes the object as JSON, as it stands in lists.
    pub fn write_item(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_rest(out);
    }

    fn write_rest(&self, out: &mut Vec<u8>) {
        // Only the name and the namespace, which are texts, come before the uid.
        let is_head = |place: &usize| {
            let head = self.bytes.get(START.len()..*place);
            head.is_some_and(|head| !head.contains(&b'{'))
        };
        let place = memchr::memmem::find(&self.bytes, UID)
            .filter(is_head)
            // What is damaged may be shorter.
            .unwrap_or(START.len().min(self.bytes.len()));
        let (head, rest) = self.bytes.split_at(place);
        out.extend_from_slice(head.strip_prefix(b"{").unwrap_or_default());
        let _ = write!(out, "\"resourceVersion\":\"{}\"", self.revision);
        if !rest.starts_with(b"}") {
            out.push(b',');
        }
        out.extend_from_slice(rest);
    }

    /// The object, decoded and complete.
    ///
    /// # Errors
    /// 500 if it is not JSON.
    pub fn to_value(&self) -> Result<Value, Box<Status>> {
        self.decode()
    }

    /// The object as its type, complete. That takes half as long as by way of a [`Value`].
    ///
    /// # Errors
    /// 500 if it is not JSON of that type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Box<Status>> {
        let mut bytes = Vec::with_capacity(self.len());
        self.write_object(&mut bytes);
        serde_json::from_slice(&bytes).map_err(|error| {
            errors::internal_error(format_args!("a stored object is damaged: {error}")).into()
        })
    }

    pub(super) fn stored(&self) -> Result<Stored, Box<Status>> {
        Ok(Stored {
            object: self.to_value()?,
            revision: self.revision,
        })
    }
}

/// An object as it is stored: without `kind`, `apiVersion` and resource version, `metadata` first.
///
/// # Errors
/// 500 if it can't be written as JSON.
pub fn encode(object: &Value) -> Result<Bytes, Box<Status>> {
    let failed = |error: serde_json::Error| errors::internal_error(error);
    let empty = Map::new();
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(START);
    let mut separator = "";
    let metadata = object
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    for (name, value) in sorted(metadata) {
        if name != "resourceVersion" {
            let _ = write!(out, "{separator}");
            serde_json::to_writer(&mut out, name).map_err(failed)?;
            out.push(b':');
            serde_json::to_writer(&mut out, &Ordered(value)).map_err(failed)?;
            separator = ",";
        }
    }
    out.push(b'}');
    for (name, value) in sorted(object.as_object().unwrap_or(&empty)) {
        if !matches!(name, "metadata" | "kind" | "apiVersion") {
            out.push(b',');
            serde_json::to_writer(&mut out, name).map_err(failed)?;
            out.push(b':');
            serde_json::to_writer(&mut out, &Ordered(value)).map_err(failed)?;
        }
    }
    out.push(b'}');
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn damaged_bytes_of_any_length_are_an_error_and_no_more() {
        let whole = br#"{"metadata":{"name":"a","uid":"u"},"spec":{}}"#;
        let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
        let others = [
            &br#""uid":"#[..],
            br#"{"uid":{}}"#,
            br#"{"uid":"u","metadata":{}}"#,
        ];
        for bytes in cut.chain(others.map(<[u8]>::to_vec)) {
            let encoded = Encoded::new(&samples::WIDGET_KIND, bytes.clone().into(), 1);
            let shown = String::from_utf8_lossy(&bytes);
            encoded.write_item(&mut Vec::new());
            assert!(encoded.to_value().is_err(), "{shown}");
        }
    }
}
