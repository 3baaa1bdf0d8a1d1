//! [Status][1] objects, built in one place: each reason with its code, text and details.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/

use crate::types::{GROUP, Status, StatusCause, StatusDetails};

/// Everything went well.
pub fn success() -> Status {
    Status {
        status: Some("Success".into()),
        ..Status::default()
    }
}

/// A failure without details.
pub fn failure(code: i32, reason: &str, message: impl Into<String>) -> Status {
    Status {
        status: Some("Failure".into()),
        code: Some(code),
        reason: Some(reason.into()),
        message: Some(message.into()),
        ..Status::default()
    }
}

/// 404: the named object of a resource of this group does not exist.
pub fn not_found(resource: &str, name: &str) -> Status {
    Status {
        details: Some(StatusDetails {
            name: Some(name.into()),
            group: Some(GROUP.into()),
            kind: Some(resource.into()),
            ..StatusDetails::default()
        }),
        ..failure(
            404,
            "NotFound",
            format!("{resource}.{GROUP} \"{name}\" not found"),
        )
    }
}

/// 401: the registry does not let us in.
pub fn unauthorized(message: impl Into<String>) -> Status {
    failure(401, "Unauthorized", message)
}

/// 403, with empty details.
pub fn forbidden(message: impl Into<String>) -> Status {
    Status {
        details: Some(StatusDetails::default()),
        ..failure(403, "Forbidden", message)
    }
}

/// 500 for an error; its text is also the only cause.
pub fn internal_error(error: &str) -> Status {
    Status {
        details: Some(StatusDetails {
            causes: Some(vec![StatusCause {
                message: Some(error.into()),
                ..StatusCause::default()
            }]),
            ..StatusDetails::default()
        }),
        ..failure(500, "InternalError", format!("Internal error occurred: {error}"))
    }
}

/// Whether a status says that everything went well.
pub fn is_success(status: &Status) -> bool {
    status.status.as_deref() == Some("Success")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statuses_have_code_reason_text_and_details() {
        let fields = |status: &Status| {
            let mut value = serde_json::to_value(status).unwrap();
            for key in ["kind", "apiVersion", "metadata"] {
                value.as_object_mut().unwrap().remove(key);
            }
            value
        };
        assert_eq!(fields(&success()), json!({"status": "Success"}));
        assert_eq!(
            fields(&not_found("dockerimage", "a/b:c")),
            json!({"status": "Failure", "code": 404, "reason": "NotFound",
                   "message": "dockerimage.image.openshift.io \"a/b:c\" not found",
                   "details": {"name": "a/b:c", "group": "image.openshift.io", "kind": "dockerimage"}})
        );
        assert_eq!(
            fields(&internal_error("boom")),
            json!({"status": "Failure", "code": 500, "reason": "InternalError",
                   "message": "Internal error occurred: boom", "details": {"causes": [{"message": "boom"}]}})
        );
        assert_eq!(
            fields(&forbidden("no")),
            json!({"status": "Failure", "code": 403, "reason": "Forbidden", "message": "no", "details": {}})
        );
        assert!(is_success(&success()) && !is_success(&unauthorized("no")));
    }
}
