//! Fields that somebody else owns, and [the answer][1] to who applies other values to them.
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts

use imagestream_api::field::quoted;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusCause, StatusDetails};

use super::managers::{Id, Operation};
use super::set::Set;
use crate::errors;

/// Fields that one manager owns and another applies.
pub(super) struct Conflict {
    /// Who owns them.
    pub(super) owner: Id,
    /// The version in which the owner names them.
    pub(super) api_version: String,
    pub(super) fields: Set,
}

impl Conflict {
    fn owner(&self) -> String {
        let mut owner = quoted(&self.owner.manager);
        if !self.owner.subresource.is_empty() {
            owner += &format!(" with subresource {}", quoted(&self.owner.subresource));
        }
        if self.owner.operation == Operation::Update {
            owner += &format!(" using {}", self.api_version);
        }
        owner
    }
}

/// 409 that names every field and its owner.
pub(super) fn status(conflicts: &[Conflict]) -> Status {
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    for conflict in conflicts {
        let owner = conflict.owner();
        lines.push(format!("conflicts with {owner}:"));
        for path in conflict.fields.paths() {
            lines.push(format!("- {path}"));
            causes.push(StatusCause {
                reason: Some("FieldManagerConflict".into()),
                message: Some(format!("conflict with {owner}")),
                field: Some(path),
            });
        }
    }
    let message = match causes.as_slice() {
        [
            StatusCause {
                message: Some(with),
                field: Some(path),
                ..
            },
        ] => format!("Apply failed with 1 conflict: {with}: {path}"),
        _ => format!(
            "Apply failed with {} conflicts: {}",
            causes.len(),
            lines.join("\n")
        ),
    };
    Status {
        details: Some(StatusDetails {
            causes: Some(causes),
            ..StatusDetails::default()
        }),
        ..errors::failure(409, "Conflict", message)
    }
}
