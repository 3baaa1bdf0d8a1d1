//! ImageSignature: a signature of an image, with what is known about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::wire::{base64_bytes, is_empty, nullable};
use super::{ObjectMeta, Time};

/// A signature of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageSignature {
    /// Standard object metadata; the name is `<image>@<signature>`.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// Kind of signature, for example `AtomicImageV1`.
    #[serde(deserialize_with = "nullable", rename = "type")]
    pub signature_type: String,
    /// The signature itself, opaque.
    #[serde(with = "base64_bytes")]
    pub content: Vec<u8>,
    /// What verification found.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub conditions: Vec<SignatureCondition>,
    /// The image that the signature says it is for.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub image_identity: String,
    /// Claims inside the signature.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub signed_claims: BTreeMap<String, String>,
    /// When the signature was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// Who issued the signing certificate or key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<SignatureIssuer>,
    /// Whom it was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_to: Option<SignatureSubject>,
}

/// One finding about a signature.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SignatureCondition {
    /// `Trusted` or `ForImage`.
    #[serde(deserialize_with = "nullable", rename = "type")]
    pub condition_type: String,
    /// `True`, `False` or `Unknown`.
    #[serde(deserialize_with = "nullable")]
    pub status: String,
    /// When it was last checked.
    pub last_probe_time: Option<Time>,
    /// When the status last changed.
    pub last_transition_time: Option<Time>,
    /// One word why.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub reason: String,
    /// A sentence why.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub message: String,
}

/// Who issued a signing certificate or key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SignatureIssuer {
    /// Organization.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub organization: String,
    /// Common name.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub common_name: String,
}

/// Whom a signing certificate or key was issued to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SignatureSubject {
    /// Organization.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub organization: String,
    /// Common name.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub common_name: String,
    /// Identifier of the public key.
    #[serde(deserialize_with = "nullable", rename = "publicKeyID")]
    pub public_key_id: String,
}
