//! [Status][1] objects, built in one place: each reason with its code, text and details.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/

use crate::field::quoted;
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
        details: Some(details(resource, name)),
        ..failure(
            404,
            "NotFound",
            format!("{resource}.{GROUP} \"{name}\" not found"),
        )
    }
}

/// 409: the named object of a resource of this group exists already.
pub fn already_exists(resource: &str, name: &str) -> Status {
    Status {
        details: Some(details(resource, name)),
        ..failure(
            409,
            "AlreadyExists",
            format!("{resource}.{GROUP} {} already exists", quoted(name)),
        )
    }
}

/// 409: the named object of a resource of this group is not in the state that the request supposes.
pub fn conflict(resource: &str, name: &str, why: &str) -> Status {
    Status {
        details: Some(details(resource, name)),
        ..failure(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {resource}.{GROUP} {}: {why}",
                quoted(name)
            ),
        )
    }
}

/// 400: the request makes no sense.
pub fn bad_request(message: impl Into<String>) -> Status {
    failure(400, "BadRequest", message)
}

fn details(resource: &str, name: &str) -> StatusDetails {
    StatusDetails {
        name: Some(name.into()),
        group: Some(GROUP.into()),
        kind: Some(resource.into()),
        ..StatusDetails::default()
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
        let details = json!({"name": "s:t", "group": "image.openshift.io", "kind": "imagetags"});
        assert_eq!(
            fields(&already_exists("imagetags", "s:t")),
            json!({"status": "Failure", "code": 409, "reason": "AlreadyExists", "details": details,
                   "message": "imagetags.image.openshift.io \"s:t\" already exists"})
        );
        assert_eq!(
            fields(&conflict("imagetags", "s:t", "too late")),
            json!({"status": "Failure", "code": 409, "reason": "Conflict", "details": details,
                   "message": "Operation cannot be fulfilled on imagetags.image.openshift.io \"s:t\": too late"})
        );
        assert_eq!(
            fields(&bad_request("no")),
            json!({"status": "Failure", "code": 400, "reason": "BadRequest", "message": "no"})
        );
        assert!(is_success(&success()) && !is_success(&unauthorized("no")));
    }
}
