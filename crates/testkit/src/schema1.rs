//! Schema 1 manifests, plain and in the signed form that old Docker registries served:
//! the [deprecated manifest schema 1](https://distribution.github.io/distribution/spec/deprecated-schema-v1/).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::image::StoredManifest;
use crate::layer::{Blob, Layer, sha256};

/// Media type of an unsigned schema 1 manifest.
pub const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// Media type of a signed schema 1 manifest.
pub const SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// Describes a schema 1 manifest. Layers are added base first and written top first, as the format wants.
#[derive(Debug, Clone)]
pub struct Schema1 {
    name: String,
    tag: String,
    layers: Vec<(Blob, Value)>,
    signed: bool,
}

impl Schema1 {
    /// A signed manifest without layers.
    #[must_use]
    pub fn new(name: &str, tag: &str) -> Self {
        Self {
            name: name.to_owned(),
            tag: tag.to_owned(),
            layers: Vec::new(),
            signed: true,
        }
    }

    /// Adds a layer on top, with its v1 history entry (which gets an `id` if it has none).
    #[must_use]
    pub fn layer(mut self, layer: &Layer, mut v1_compatibility: Value) -> Self {
        let blob = Blob::new("application/octet-stream", layer.bytes.clone());
        if v1_compatibility.get("id").is_none() {
            let hash = sha256(format!("{}{}", self.layers.len(), blob.digest).as_bytes());
            v1_compatibility["id"] = json!(hash.trim_start_matches("sha256:"));
        }
        self.layers.push((blob, v1_compatibility));
        self
    }

    /// Leaves the signature out.
    #[must_use]
    pub fn unsigned(mut self) -> Self {
        self.signed = false;
        self
    }

    /// The manifest and its layers. The digest is that of the payload without signatures.
    #[must_use]
    pub fn build(&self) -> (StoredManifest, Vec<Blob>) {
        let fs_layers: Vec<Value> = self
            .layers
            .iter()
            .rev()
            .map(|(blob, _)| json!({"blobSum": blob.digest}))
            .collect();
        let history: Vec<Value> = self
            .layers
            .iter()
            .rev()
            .map(|(_, v1)| json!({"v1Compatibility": v1.to_string()}))
            .collect();
        let payload = indented(&json!({
            "schemaVersion": 1,
            "name": self.name,
            "tag": self.tag,
            "architecture": "amd64",
            "fsLayers": fs_layers,
            "history": history,
        }));
        let (media_type, body) = match self.signed {
            true => (SCHEMA1_SIGNED, sign(&payload)),
            false => (SCHEMA1, payload.clone()),
        };
        let manifest = StoredManifest {
            digest: sha256(&payload),
            media_type: media_type.to_owned(),
            body: Bytes::from(body),
        };
        let blobs = self.layers.iter().map(|(blob, _)| blob.clone()).collect();
        (manifest, blobs)
    }
}

/// Three spaces: the indentation of the canonical form.
fn indented(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(value, &mut serializer).expect("a JSON value always serializes");
    out
}

/// Inserts a JSON web signature before the closing brace. `formatLength` and `formatTail` in the protected header
/// say how to get the payload back.
fn sign(payload: &[u8]) -> Vec<u8> {
    let tail = b"\n}";
    let length = payload.len() - tail.len();
    assert!(
        payload.ends_with(tail),
        "the payload ends with a brace of its own line"
    );
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
        .expect("a key that was just made");
    let point = key.public_key().as_ref();
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let protected = encode(
        json!({"formatLength": length, "formatTail": encode(tail), "time": "2024-05-01T12:00:00Z"})
            .to_string()
            .as_bytes(),
    );
    let signature = key
        .sign(&random, format!("{protected}.{}", encode(payload)).as_bytes())
        .expect("P-256 signs");
    // The uncompressed point is one byte 4 and then the two coordinates.
    let signatures = json!([{
        "header": {
            "jwk": {"crv": "P-256", "kty": "EC", "x": encode(&point[1..33]), "y": encode(&point[33..65])},
            "alg": "ES256",
        },
        "signature": encode(signature.as_ref()),
        "protected": protected,
    }]);
    let mut signed = payload[..length].to_vec();
    signed.extend_from_slice(b",\n   \"signatures\": ");
    signed.extend_from_slice(&indented(&signatures));
    signed.extend_from_slice(tail);
    signed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_can_be_restored_from_the_protected_header() {
        let layer = Layer::file("a", b"a");
        let (manifest, _) = Schema1::new("a/b", "t")
            .layer(&layer, json!({"created": "now"}))
            .build();
        let protected = manifest.json()["signatures"][0]["protected"]
            .as_str()
            .unwrap()
            .to_owned();
        let protected: Value =
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(protected).unwrap()).unwrap();
        let length = usize::try_from(protected["formatLength"].as_u64().unwrap()).unwrap();
        let tail = BASE64_URL_SAFE_NO_PAD
            .decode(protected["formatTail"].as_str().unwrap())
            .unwrap();
        let payload = [&manifest.body[..length], &tail].concat();
        assert_eq!(sha256(&payload), manifest.digest);
        assert_ne!(sha256(&manifest.body), manifest.digest);
    }

    #[test]
    fn layers_are_written_top_first() {
        let (base, top) = (Layer::file("base", b"1"), Layer::file("top", b"2"));
        let (manifest, blobs) = Schema1::new("a/b", "t")
            .unsigned()
            .layer(&base, json!({}))
            .layer(&top, json!({}))
            .build();
        assert_eq!(manifest.json()["fsLayers"][0]["blobSum"], blobs[1].digest);
        assert_eq!(manifest.digest, sha256(&manifest.body));
    }
}
