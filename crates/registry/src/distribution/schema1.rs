//! Docker's [schema 1 manifest](https://distribution.github.io/distribution/spec/deprecated-schema-v1/) and the
//! [pretty signatures](https://github.com/docker/libtrust) around it.
//!
//! The signatures hold the JSON text that was signed: its first `formatLength` bytes are those of the document, the
//! rest is `formatTail`. The digest of the image is that of this payload. Signatures are not verified: nobody publishes
//! keys for them, and the digest binds the content.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use imagestream_api::digest::Digest;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{MAX_LAYERS, ManifestError, at_most};
use crate::json::{self, JsonError, null_is_default};

/// JOSE omits the padding; some old signers did not.
const JOSE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The most signatures that are looked at.
const MAX_SIGNATURES: usize = 100;

/// A Docker schema 1 manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema1 {
    /// Format version; 1 for a manifest that can be used.
    pub schema_version: i64,
    /// Repository name that the signer gave.
    pub name: String,
    /// Tag that the signer gave.
    pub tag: String,
    /// Processor architecture.
    pub architecture: String,
    /// Digests of the layers, base **last**.
    pub fs_layers: Vec<String>,
    /// One JSON document (`v1Compatibility`) per layer, in the order of the layers; not decoded here.
    pub history: Vec<String>,
    /// Digest of the manifest without its signatures: the name of the image.
    pub payload_digest: Digest,
}

/// Why the signatures of a schema 1 manifest could not be read. The texts are those of the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The document is not a JSON object.
    #[error("error unmarshalling content: {0}")]
    Content(JsonError),
    /// The document is not signed.
    #[error("missing signature key")]
    Missing,
    /// The signatures are not a list of signatures.
    #[error("error unmarshalling signatures: {0}")]
    Signatures(JsonError),
    /// A protected header is not base64.
    #[error("base64 decode error: {0}")]
    Base64(base64::DecodeError),
    /// A protected header is not a JSON object with format length and tail.
    #[error("error unmarshalling protected header: {0}")]
    Protected(JsonError),
    /// The tail in a protected header is not base64.
    #[error("base64 decode error on tail: {0}")]
    Tail(base64::DecodeError),
    /// Two signatures are over different lengths of the document.
    #[error("conflicting format length")]
    ConflictingLength,
    /// Two signatures are over different tails.
    #[error("conflicting format tail")]
    ConflictingTail,
    /// A signature is over more than the document.
    #[error("invalid format length")]
    Length,
}

#[derive(Deserialize)]
struct SignedDocument<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    signatures: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Signature {
    #[serde(default, deserialize_with = "null_is_default")]
    protected: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProtectedHeader {
    format_length: usize,
    format_tail: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    #[serde(default, deserialize_with = "null_is_default")]
    schema_version: i64,
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    tag: String,
    #[serde(default, deserialize_with = "null_is_default")]
    architecture: String,
    #[serde(default, deserialize_with = "null_is_default")]
    fs_layers: Vec<FsLayer>,
    #[serde(default, deserialize_with = "null_is_default")]
    history: Vec<History>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FsLayer {
    #[serde(default, deserialize_with = "null_is_default")]
    blob_sum: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct History {
    #[serde(default, deserialize_with = "null_is_default", rename = "v1Compatibility")]
    v1_compatibility: String,
}

impl Schema1 {
    /// Decodes a manifest with signatures.
    ///
    /// # Errors
    /// [`SignatureError`] when there are none or they cannot be read; otherwise as [`from_payload`](Self::from_payload).
    pub fn from_signed(document: &[u8]) -> Result<Self, ManifestError> {
        Self::from_payload(&signed_payload(document)?)
    }

    /// Decodes a manifest without signatures.
    ///
    /// # Errors
    /// [`ManifestError`] when the manifest is not JSON, names a layer by something that is no digest, or is too large.
    pub fn from_payload(payload: &[u8]) -> Result<Self, ManifestError> {
        let decoded: Payload = json::decode(payload)?;
        at_most("layers", MAX_LAYERS, decoded.fs_layers.len())?;
        at_most("history entries", MAX_LAYERS, decoded.history.len())?;
        for (position, layer) in decoded.fs_layers.iter().enumerate() {
            Digest::parse(&layer.blob_sum).map_err(|_| ManifestError::Digest(format!("layer {position}")))?;
        }
        Ok(Self {
            schema_version: decoded.schema_version,
            name: decoded.name,
            tag: decoded.tag,
            architecture: decoded.architecture,
            fs_layers: decoded
                .fs_layers
                .into_iter()
                .map(|layer| layer.blob_sum)
                .collect(),
            history: decoded
                .history
                .into_iter()
                .map(|entry| entry.v1_compatibility)
                .collect(),
            payload_digest: Digest::sha256_of(payload),
        })
    }
}

/// The text that was signed.
fn signed_payload(document: &[u8]) -> Result<Vec<u8>, ManifestError> {
    let SignedDocument { signatures } = json::decode(document).map_err(SignatureError::Content)?;
    let signatures = signatures.ok_or(SignatureError::Missing)?;
    let signatures: Option<Vec<Signature>> =
        json::decode(signatures.get().as_bytes()).map_err(SignatureError::Signatures)?;
    let signatures = signatures.unwrap_or_default();
    at_most("signatures", MAX_SIGNATURES, signatures.len())?;
    let mut format: Option<(usize, Vec<u8>)> = None;
    for signature in &signatures {
        let (length, tail) = signature.format()?;
        match &format {
            Some((known, _)) if *known != length => return Err(SignatureError::ConflictingLength.into()),
            Some((_, known)) if *known != tail => return Err(SignatureError::ConflictingTail.into()),
            Some(_) => {}
            None => format = Some((length, tail)),
        }
    }
    let (length, tail) = format.unwrap_or_default();
    let head = document.get(..length).ok_or(SignatureError::Length)?;
    Ok([head, &tail].concat())
}

impl Signature {
    /// Format length and tail.
    fn format(&self) -> Result<(usize, Vec<u8>), SignatureError> {
        let protected = JOSE.decode(&self.protected).map_err(SignatureError::Base64)?;
        let header: ProtectedHeader = json::decode(&protected).map_err(SignatureError::Protected)?;
        let tail = JOSE.decode(&header.format_tail).map_err(SignatureError::Tail)?;
        Ok((header.format_length, tail))
    }
}

/// Tells a `signatures` key with the value `null` from a missing one: the former is a signed document, without
/// signatures.
fn present<'de, D>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    <&RawValue>::deserialize(deserializer).map(Some)
}
