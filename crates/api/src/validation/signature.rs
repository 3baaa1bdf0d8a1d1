//! What makes an ImageSignature invalid.

use serde::Serialize;

use super::at;
use super::metadata::{self, NameRule, Scope};
use crate::field::{FieldError, FieldValue, Path};
use crate::names::Compound;
use crate::types::{ImageSignature, SignatureCondition, Time};

/// The condition that the signature was made by somebody who is trusted.
const TRUSTED: &str = "Trusted";
/// The condition that the signature is for the image that it is attached to.
const FOR_IMAGE: &str = "ForImage";

/// What is wrong with a signature that is created.
#[must_use]
pub fn image_signature(signature: &ImageSignature) -> Vec<FieldError> {
    signature_at(signature, None)
}

/// What is wrong with a signature, alone or inside an image.
pub(super) fn signature_at(signature: &ImageSignature, path: Option<&Path>) -> Vec<FieldError> {
    let metadata_path = at(path, "metadata");
    let metadata = &signature.metadata;
    let mut errors = metadata::create(metadata, Scope::Cluster, NameRule::PathSegment, &metadata_path);
    if metadata.labels.iter().flatten().next().is_some() {
        let detail = "signature labels cannot be set";
        errors.push(FieldError::forbidden(&metadata_path.child("labels"), detail));
    }
    if metadata.annotations.iter().flatten().next().is_some() {
        let detail = "signature annotations cannot be set";
        errors.push(FieldError::forbidden(&metadata_path.child("annotations"), detail));
    }
    let name = metadata.name.as_deref().unwrap_or_default();
    if Compound::ImageSignature.parse(name).is_err() {
        let detail = "name must be of format <imageName>@<signatureName>";
        errors.push(FieldError::invalid(&metadata_path.child("name"), name, detail));
    }
    if signature.signature_type.is_empty() {
        errors.push(FieldError::required(&at(path, "type"), ""));
    }
    if signature.content.is_empty() {
        errors.push(FieldError::required(&at(path, "content"), ""));
    }
    errors.extend(verification(signature, path));
    errors
}

/// What is wrong with what verification is said to have found.
fn verification(signature: &ImageSignature, path: Option<&Path>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let trusted = newest(&signature.conditions, TRUSTED);
    let for_image = newest(&signature.conditions, FOR_IMAGE);
    let missing = match (trusted, for_image) {
        (Some(_), None) => Some(FOR_IMAGE),
        (None, Some(_)) => Some(TRUSTED),
        _ => None,
    };
    if let Some(missing) = missing {
        let shown: Vec<ShownCondition<'_>> = signature.conditions.iter().map(ShownCondition::from).collect();
        let detail = format!("missing \"{missing}\" condition type");
        errors.push(FieldError::invalid(
            &at(path, "conditions"),
            FieldValue::json(&shown),
            detail,
        ));
    }
    if trusted.is_some_and(|condition| condition.status != "Unknown") {
        return errors;
    }
    let mut unset = |name: &str, value: FieldValue| {
        let detail = "must be unset for unknown signature state";
        errors.push(FieldError::invalid(&at(path, name), value, detail));
    };
    if !signature.image_identity.is_empty() {
        unset("imageIdentity", signature.image_identity.as_str().into());
    }
    if !signature.signed_claims.is_empty() {
        unset("signedClaims", FieldValue::json(&signature.signed_claims));
    }
    if let Some(issuer) = &signature.issued_by {
        let shown = ShownEntity {
            organization: &issuer.organization,
            common_name: &issuer.common_name,
            public_key_id: None,
        };
        unset("issuedBy", FieldValue::json(&shown));
    }
    if let Some(subject) = &signature.issued_to {
        let shown = ShownEntity {
            organization: &subject.organization,
            common_name: &subject.common_name,
            public_key_id: Some(&subject.public_key_id),
        };
        unset("issuedTo", FieldValue::json(&shown));
    }
    errors
}

/// The condition of a type that was probed last; of several, the last one.
fn newest<'a>(conditions: &'a [SignatureCondition], of_type: &str) -> Option<&'a SignatureCondition> {
    let probed = |condition: &&SignatureCondition| condition.last_probe_time.as_ref().map(|time| time.0);
    conditions
        .iter()
        .filter(|condition| condition.condition_type == of_type)
        .max_by_key(probed)
}

/// A condition as messages show it: with the names that servers of this API have inside.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownCondition<'a> {
    #[serde(rename = "Type")]
    condition_type: &'a str,
    status: &'a str,
    last_probe_time: &'a Option<Time>,
    last_transition_time: &'a Option<Time>,
    reason: &'a str,
    message: &'a str,
}

impl<'a> From<&'a SignatureCondition> for ShownCondition<'a> {
    fn from(condition: &'a SignatureCondition) -> Self {
        Self {
            condition_type: &condition.condition_type,
            status: &condition.status,
            last_probe_time: &condition.last_probe_time,
            last_transition_time: &condition.last_transition_time,
            reason: &condition.reason,
            message: &condition.message,
        }
    }
}

/// An issuer or subject as messages show it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownEntity<'a> {
    organization: &'a str,
    common_name: &'a str,
    #[serde(rename = "PublicKeyID", skip_serializing_if = "Option::is_none")]
    public_key_id: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(change: &dyn Fn(&mut Value)) -> Vec<String> {
        let mut signature =
            json!({"metadata": {"name": "sha256:a@b"}, "type": "AtomicImageV1", "content": "AA=="});
        change(&mut signature);
        image_signature(&serde_json::from_value(signature).unwrap())
            .iter()
            .map(FieldError::to_string)
            .collect()
    }

    fn condition(of_type: &str, status: &str, probed: &str) -> Value {
        json!({"type": of_type, "status": status, "lastProbeTime": probed})
    }

    #[test]
    fn a_signature_has_a_name_a_type_and_content_and_no_labels() {
        assert_eq!(errors(&|_| ()), [""; 0]);
        for (field, expected) in [
            ("type", "type: Required value"),
            ("content", "content: Required value"),
        ] {
            assert_eq!(errors(&|signature| signature[field] = Value::Null), [expected]);
        }
        assert_eq!(
            errors(&|signature| signature["metadata"]["labels"] = json!({"a": "b"})),
            ["metadata.labels: Forbidden: signature labels cannot be set"]
        );
        assert_eq!(
            errors(&|signature| signature["metadata"]["annotations"] = json!({"a": "b"})),
            ["metadata.annotations: Forbidden: signature annotations cannot be set"]
        );
        for name in ["notype", "a@b@c", "@x"] {
            assert_eq!(
                errors(&|signature| signature["metadata"]["name"] = json!(name)),
                [format!(
                    "metadata.name: Invalid value: \"{name}\": name must be of format <imageName>@<signatureName>"
                )]
            );
        }
    }

    #[test]
    fn conditions_come_in_pairs() {
        let (earlier, later) = ("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z");
        for (conditions, missing) in [
            (
                vec![condition(TRUSTED, "True", earlier)],
                Some((FOR_IMAGE, TRUSTED)),
            ),
            (
                vec![condition(FOR_IMAGE, "True", earlier)],
                Some((TRUSTED, FOR_IMAGE)),
            ),
            (
                vec![
                    condition(TRUSTED, "True", earlier),
                    condition(FOR_IMAGE, "True", later),
                ],
                None,
            ),
            (vec![condition("Other", "True", earlier)], None),
        ] {
            let found = errors(&|signature| signature["conditions"] = json!(conditions));
            let expected = missing.map(|(missing, given)| {
                format!(
                    "conditions: Invalid value: [{{\"Type\":\"{given}\",\"Status\":\"True\",\"LastProbeTime\":\
                     \"{earlier}\",\"LastTransitionTime\":null,\"Reason\":\"\",\"Message\":\"\"}}]: missing \
                     \"{missing}\" condition type"
                )
            });
            assert_eq!(found, Vec::from_iter(expected), "{conditions:?}");
        }
    }

    #[test]
    fn nothing_is_known_about_a_signature_that_was_not_verified() {
        let (earlier, later) = ("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z");
        let known = |conditions: Vec<Value>| {
            errors(&|signature| {
                signature["conditions"] = json!(conditions);
                signature["imageIdentity"] = json!("a/b:c");
                signature["signedClaims"] = json!({"a": "b"});
                signature["issuedBy"] = json!({"commonName": "x"});
                signature["issuedTo"] = json!({"organization": "y", "publicKeyID": "z"});
            })
        };
        let why = "must be unset for unknown signature state";
        let refused = [
            format!(r#"imageIdentity: Invalid value: "a/b:c": {why}"#),
            format!(r#"signedClaims: Invalid value: {{"a":"b"}}: {why}"#),
            format!(r#"issuedBy: Invalid value: {{"Organization":"","CommonName":"x"}}: {why}"#),
            format!(
                r#"issuedTo: Invalid value: {{"Organization":"y","CommonName":"","PublicKeyID":"z"}}: {why}"#
            ),
        ];
        assert_eq!(known(vec![]), refused);
        let for_image = condition(FOR_IMAGE, "True", earlier);
        let unknown = vec![
            condition(TRUSTED, "True", earlier),
            for_image.clone(),
            condition(TRUSTED, "Unknown", earlier),
        ];
        assert_eq!(
            known(unknown),
            refused,
            "the later one of two of the same time counts"
        );
        assert_eq!(
            known(vec![condition(TRUSTED, "True", earlier), for_image]),
            [""; 0]
        );
        let distrusted = vec![
            condition(TRUSTED, "False", later),
            condition(FOR_IMAGE, "False", earlier),
            condition(TRUSTED, "Unknown", earlier),
        ];
        assert_eq!(known(distrusted), [""; 0], "the newer one counts");
    }
}
