//! The [`Status`] objects that an API server answers errors with: one constructor per reason, with its code,
//! text and details, as [apimachinery words them][1].
//!
//! [1]: https://pkg.go.dev/k8s.io/apimachinery/pkg/api/errors

use std::fmt;

use imagestream_api::field::{FieldError, invalid_in, quoted};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, Status, StatusCause, StatusDetails};

/// A resource (or, where an error speaks of one, a kind) of a group: `deployments.apps`, `secrets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupResource<'a> {
    /// The group; empty for the core group.
    pub group: &'a str,
    /// The plural resource, or the kind.
    pub resource: &'a str,
}

impl<'a> GroupResource<'a> {
    /// The `resource` of `group`.
    #[must_use]
    pub fn new(group: &'a str, resource: &'a str) -> Self {
        Self { group, resource }
    }

    fn details(self, name: &str) -> StatusDetails {
        StatusDetails {
            name: given(name),
            group: given(self.group),
            kind: given(self.resource),
            ..StatusDetails::default()
        }
    }
}

impl fmt::Display for GroupResource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A failure with the given code and reason and without details.
#[must_use]
pub fn failure(code: i32, reason: &str, message: impl Into<String>) -> Status {
    Status {
        status: Some("Failure".into()),
        code: Some(code),
        reason: given(reason),
        message: Some(message.into()),
        ..Status::default()
    }
}

fn detailed(status: Status, details: StatusDetails) -> Status {
    Status {
        details: Some(details),
        ..status
    }
}

/// The answer to a request that went well and has no object to show, such as a deletion: `details` name
/// what was deleted.
#[must_use]
pub fn success(details: Option<StatusDetails>) -> Status {
    Status {
        status: Some("Success".into()),
        details,
        metadata: ListMeta::default(),
        ..Status::default()
    }
}

/// 404: there is no object of this name.
#[must_use]
pub fn not_found(resource: GroupResource<'_>, name: &str) -> Status {
    let message = format!("{resource} {} not found", quoted(name));
    detailed(failure(404, "NotFound", message), resource.details(name))
}

/// 404: there is no such resource, or no object under this path.
#[must_use]
pub fn unknown_resource() -> Status {
    let message = "the server could not find the requested resource";
    detailed(failure(404, "NotFound", message), StatusDetails::default())
}

/// 409: an object of this name exists.
#[must_use]
pub fn already_exists(resource: GroupResource<'_>, name: &str) -> Status {
    let message = format!("{resource} {} already exists", quoted(name));
    detailed(failure(409, "AlreadyExists", message), resource.details(name))
}

/// 409: the server made up a name and an object of this name exists; another try may succeed.
#[must_use]
pub fn generated_name_exists(resource: GroupResource<'_>, name: &str) -> Status {
    let message = format!(
        "{resource} {} already exists, the server was not able to generate a unique name for the object",
        quoted(name)
    );
    let details = StatusDetails {
        retry_after_seconds: Some(1),
        ..resource.details(name)
    };
    detailed(failure(409, "AlreadyExists", message), details)
}

/// What a writer with an outdated object is told.
pub const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// 409: the change does not fit the object's present state.
#[must_use]
pub fn conflict(resource: GroupResource<'_>, name: &str, error: impl fmt::Display) -> Status {
    let message = format!(
        "Operation cannot be fulfilled on {resource} {}: {error}",
        quoted(name)
    );
    detailed(failure(409, "Conflict", message), resource.details(name))
}

/// 403 for an object, for a resource (empty name), or for neither (both empty).
#[must_use]
pub fn forbidden(resource: GroupResource<'_>, name: &str, error: impl fmt::Display) -> Status {
    let message = if resource.resource.is_empty() && name.is_empty() {
        format!("forbidden: {error}")
    } else if name.is_empty() {
        format!("{resource} is forbidden: {error}")
    } else {
        format!("{resource} {} is forbidden: {error}", quoted(name))
    };
    detailed(failure(403, "Forbidden", message), resource.details(name))
}

/// 422: the fields of an object are wrong. Its kind is what `kind.resource` holds.
#[must_use]
pub fn invalid(kind: GroupResource<'_>, name: &str, errors: &[FieldError]) -> Status {
    invalid_in(kind.group, kind.resource, name, errors)
}

/// 422 without a word about what is wrong: the request contradicts the object that it is about.
#[must_use]
pub fn unprocessable() -> Status {
    let message = "the server rejected our request due to an error in our request";
    detailed(failure(422, "Invalid", message), StatusDetails::default())
}

/// 400.
#[must_use]
pub fn bad_request(message: impl Into<String>) -> Status {
    failure(400, "BadRequest", message)
}

/// 401. One text for every cause: it does not tell which part of the credentials was wrong.
#[must_use]
pub fn unauthorized() -> Status {
    failure(401, "Unauthorized", "Unauthorized")
}

/// 405: the resource exists and does not have this verb.
#[must_use]
pub fn method_not_allowed() -> Status {
    let message = "the server does not allow this method on the requested resource";
    detailed(
        failure(405, "MethodNotAllowed", message),
        StatusDetails::default(),
    )
}

/// 405 for a verb that a resource's own code refuses.
#[must_use]
pub fn method_not_supported(resource: GroupResource<'_>, action: &str) -> Status {
    let message = format!(
        "{action} is not supported on resources of kind {}",
        quoted(&resource.to_string())
    );
    detailed(failure(405, "MethodNotAllowed", message), resource.details(""))
}

/// 406: none of the representations that the client accepts is to be had.
#[must_use]
pub fn not_acceptable(available: &[&str]) -> Status {
    let message = format!(
        "406: Not Acceptable\n\nAvailable representations: {}",
        available.join(", ")
    );
    detailed(failure(406, "NotAcceptable", message), StatusDetails::default())
}

/// 406: the media types that the client accepts are served, but not what it asks to be made of the answer.
#[must_use]
pub fn no_such_representation(available: &[&str]) -> Status {
    let types = available.join(", ");
    failed_conversion(format!("only the following media types are accepted: {types}"))
}

/// 406: what the client asks to be made of the answer cannot be made of this one.
#[must_use]
pub fn failed_conversion(message: impl Into<String>) -> Status {
    failure(406, "NotAcceptable", message)
}

/// 415: the body is in a format that is not read here.
#[must_use]
pub fn unsupported_media_type(supported: &[&str]) -> Status {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        supported.join(", ")
    );
    failure(415, "UnsupportedMediaType", message)
}

/// 415: there is no such kind of patch.
#[must_use]
pub fn unsupported_patch_type() -> Status {
    let status = failure(415, "UnsupportedMediaType", "415: Unsupported Media Type");
    detailed(status, StatusDetails::default())
}

/// 413.
#[must_use]
pub fn request_entity_too_large(error: impl fmt::Display) -> Status {
    let message = format!("Request entity too large: {error}");
    failure(413, "RequestEntityTooLarge", message)
}

/// 500: what went wrong is the server's own affair.
#[must_use]
pub fn internal_error(error: impl fmt::Display) -> Status {
    let error = error.to_string();
    let details = StatusDetails {
        causes: Some(vec![StatusCause {
            message: Some(error.clone()),
            ..StatusCause::default()
        }]),
        ..StatusDetails::default()
    };
    detailed(
        failure(500, "InternalError", format!("Internal error occurred: {error}")),
        details,
    )
}

/// 500 without a reason: how Kubernetes answers with an error that carries no status of its own.
#[must_use]
pub fn untyped(error: impl fmt::Display) -> Status {
    failure(500, "", error.to_string())
}

fn retry_after(seconds: u16) -> StatusDetails {
    StatusDetails {
        retry_after_seconds: (seconds > 0).then(|| i32::from(seconds)),
        ..StatusDetails::default()
    }
}

/// 504. `retry_seconds` of 0 gives no advice about when to try again.
#[must_use]
pub fn timeout(error: impl fmt::Display, retry_seconds: u16) -> Status {
    let status = failure(504, "Timeout", format!("Timeout: {error}"));
    detailed(status, retry_after(retry_seconds))
}

/// 504: the request took longer than it may.
#[must_use]
pub fn request_timeout() -> Status {
    timeout(
        "request did not complete within requested timeout - context deadline exceeded",
        0,
    )
}

/// 504: the client asks for a state that this server has not seen yet.
#[must_use]
pub fn too_large_resource_version(asked: u64, current: u64) -> Status {
    let text = "Too large resource version";
    let details = StatusDetails {
        causes: Some(vec![StatusCause {
            reason: Some("ResourceVersionTooLarge".into()),
            message: Some(text.into()),
            ..StatusCause::default()
        }]),
        ..retry_after(1)
    };
    detailed(
        timeout(format!("{text}: {asked}, current: {current}"), 1),
        details,
    )
}

/// 500: the operation could not be done now; it may succeed after `retry_seconds`.
#[must_use]
pub fn server_timeout(resource: GroupResource<'_>, operation: &str, retry_seconds: u16) -> Status {
    let message = format!(
        "The {operation} operation against {resource} could not be completed at this time, please try again."
    );
    let details = StatusDetails {
        retry_after_seconds: retry_after(retry_seconds).retry_after_seconds,
        ..resource.details("")
    };
    detailed(failure(500, "ServerTimeout", message), details)
}

/// 429: the server has too much to do; come back after `retry_seconds`.
#[must_use]
pub fn too_many_requests(message: impl Into<String>, retry_seconds: u16) -> Status {
    detailed(
        failure(429, "TooManyRequests", message),
        retry_after(retry_seconds),
    )
}

/// 503: a part of the server is not there.
#[must_use]
pub fn service_unavailable(message: impl Into<String>) -> Status {
    failure(503, "ServiceUnavailable", message)
}

/// 410 with the reason `Gone`: it was here and will not come back.
#[must_use]
pub fn gone(message: impl Into<String>) -> Status {
    failure(410, "Gone", message)
}

/// 410 with the reason `Expired`: the state that the client refers to is no longer kept.
#[must_use]
pub fn expired(message: impl Into<String>) -> Status {
    failure(410, "Expired", message)
}

/// 410 for a watch from before the oldest event that is kept.
#[must_use]
pub fn too_old_resource_version(asked: u64, oldest: u64) -> Status {
    expired(format!("too old resource version: {asked} ({oldest})"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
    use imagestream_api::field::Path;
    use serde_json::{Value, json};

    use super::*;

    const STREAMS: GroupResource<'_> = GroupResource {
        group: "apps.example",
        resource: "widgets",
    };

    fn wire(status: &Status) -> Value {
        let mut value = serde_json::to_value(status).unwrap();
        for key in ["kind", "apiVersion", "metadata", "status"] {
            assert!(value.as_object_mut().unwrap().remove(key).is_some(), "{key}");
        }
        value
    }

    #[test]
    fn errors_about_an_object_name_it_in_text_and_details() {
        let details = json!({"name": "a", "group": "apps.example", "kind": "widgets"});
        for (status, code, reason, message) in [
            (
                not_found(STREAMS, "a"),
                404,
                "NotFound",
                r#"widgets.apps.example "a" not found"#,
            ),
            (
                already_exists(STREAMS, "a"),
                409,
                "AlreadyExists",
                r#"widgets.apps.example "a" already exists"#,
            ),
            (
                conflict(STREAMS, "a", "no"),
                409,
                "Conflict",
                r#"Operation cannot be fulfilled on widgets.apps.example "a": no"#,
            ),
            (
                forbidden(STREAMS, "a", "no"),
                403,
                "Forbidden",
                r#"widgets.apps.example "a" is forbidden: no"#,
            ),
        ] {
            assert_eq!(
                wire(&status),
                json!({"code": code, "reason": reason, "message": message, "details": details})
            );
        }
    }

    #[test]
    fn the_core_group_and_empty_names_leave_no_trace() {
        assert_eq!(
            wire(&not_found(GroupResource::new("", "namespaces"), "x")),
            json!({"code": 404, "reason": "NotFound", "message": "namespaces \"x\" not found",
                   "details": {"name": "x", "kind": "namespaces"}})
        );
        assert_eq!(
            forbidden(STREAMS, "", "no").message.as_deref(),
            Some("widgets.apps.example is forbidden: no")
        );
        assert_eq!(
            wire(&forbidden(GroupResource::new("", ""), "", "no")),
            json!({"code": 403, "reason": "Forbidden", "message": "forbidden: no", "details": {}})
        );
    }

    #[test]
    fn errors_about_no_object_have_the_details_that_kubernetes_gives_them() {
        for (status, expected) in [
            (
                bad_request("x"),
                json!({"code": 400, "reason": "BadRequest", "message": "x"}),
            ),
            (
                unauthorized(),
                json!({"code": 401, "reason": "Unauthorized", "message": "Unauthorized"}),
            ),
            (
                method_not_allowed(),
                json!({"code": 405, "reason": "MethodNotAllowed", "details": {},
                       "message": "the server does not allow this method on the requested resource"}),
            ),
            (
                not_acceptable(&["a/b", "c/d"]),
                json!({"code": 406, "reason": "NotAcceptable", "details": {},
                       "message": "406: Not Acceptable\n\nAvailable representations: a/b, c/d"}),
            ),
            (
                unsupported_media_type(&["a/b", "c/d"]),
                json!({"code": 415, "reason": "UnsupportedMediaType",
                       "message": "the body of the request was in an unknown format - accepted media types \
                                   include: a/b, c/d"}),
            ),
            (
                request_entity_too_large("limit is 3"),
                json!({"code": 413, "reason": "RequestEntityTooLarge",
                       "message": "Request entity too large: limit is 3"}),
            ),
            (
                internal_error("boom"),
                json!({"code": 500, "reason": "InternalError", "message": "Internal error occurred: boom",
                       "details": {"causes": [{"message": "boom"}]}}),
            ),
            (untyped("boom"), json!({"code": 500, "message": "boom"})),
            (
                request_timeout(),
                json!({"code": 504, "reason": "Timeout", "details": {},
                       "message": "Timeout: request did not complete within requested timeout - context \
                                   deadline exceeded"}),
            ),
            (
                too_large_resource_version(9, 5),
                json!({"code": 504, "reason": "Timeout",
                       "message": "Timeout: Too large resource version: 9, current: 5",
                       "details": {"causes": [{"reason": "ResourceVersionTooLarge",
                                               "message": "Too large resource version"}],
                                   "retryAfterSeconds": 1}}),
            ),
            (
                server_timeout(STREAMS, "list", 2),
                json!({"code": 500, "reason": "ServerTimeout",
                       "message": "The list operation against widgets.apps.example could not be completed at \
                                   this time, please try again.",
                       "details": {"group": "apps.example", "kind": "widgets", "retryAfterSeconds": 2}}),
            ),
            (
                too_old_resource_version(1, 2),
                json!({"code": 410, "reason": "Expired", "message": "too old resource version: 1 (2)"}),
            ),
        ] {
            assert_eq!(wire(&status), expected);
        }
    }

    #[test]
    fn an_invalid_object_lists_its_fields() {
        let error = FieldError::required(&Path::root("metadata").child("name"), "say it");
        let status = invalid(GroupResource::new("apps.example", "Widget"), "", &[error]);
        assert_eq!(
            wire(&status),
            json!({"code": 422, "reason": "Invalid",
                   "message": "Widget.apps.example \"\" is invalid: metadata.name: Required value: say it",
                   "details": {"group": "apps.example", "kind": "Widget", "causes": [
                       {"reason": "FieldValueRequired", "message": "Required value: say it",
                        "field": "metadata.name"}]}})
        );
    }
}
