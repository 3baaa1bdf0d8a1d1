use serde_json::json;

use super::*;

#[test]
fn a_path_is_written_with_dots_and_brackets() {
    let spec = Path::root("spec");
    for (path, expected) in [
        (
            spec.child("images").index(0).child("from").child("name"),
            "spec.images[0].from.name",
        ),
        (
            spec.child("tags").key("v1.0").child("from"),
            "spec.tags[v1.0].from",
        ),
        (Path::root(""), "[]"),
        (Path::root("signatures").index(3), "signatures[3]"),
    ] {
        assert_eq!(path.to_string(), expected);
    }
}

#[test]
fn each_kind_of_error_has_its_text() {
    #[derive(Serialize)]
    struct Layer {
        z: &'static str,
        a: i64,
    }
    let path = Path::root("f");
    let layers = FieldValue::json(&[Layer { z: "<&>", a: 1 }]);
    for (error, expected) in [
        (FieldError::required(&path, ""), "f: Required value"),
        (
            FieldError::required(&path, "name or generateName is required"),
            "f: Required value: name or generateName is required",
        ),
        (
            FieldError::invalid(&path, "x", "invalid reference format"),
            r#"f: Invalid value: "x": invalid reference format"#,
        ),
        (
            FieldError::invalid(&path, "a\u{7}b", ""),
            r#"f: Invalid value: "a\ab""#,
        ),
        (
            FieldError::invalid(&path, true, "no"),
            "f: Invalid value: true: no",
        ),
        (FieldError::invalid(&path, -1, "no"), "f: Invalid value: -1: no"),
        (
            FieldError::invalid(&path, FieldValue::json(&()), "no"),
            "f: Invalid value: null: no",
        ),
        (
            FieldError::invalid(&path, layers, "no"),
            r#"f: Invalid value: [{"z":"\u003c\u0026\u003e","a":1}]: no"#,
        ),
        (FieldError::forbidden(&path, "no"), "f: Forbidden: no"),
        (FieldError::not_found(&path, "x"), r#"f: Not found: "x""#),
        (FieldError::duplicate(&path, "x"), r#"f: Duplicate value: "x""#),
        (
            FieldError::not_supported(&path, FieldValue::json(&["bogus"]), &["All", "nil"]),
            r#"f: Unsupported value: ["bogus"]: supported values: "All", "nil""#,
        ),
        (
            FieldError::too_long(&path, 262_144),
            "f: Too long: may not be more than 262144 bytes",
        ),
        (
            FieldError::internal(&Path::root(""), "boom"),
            "[]: Internal error: boom",
        ),
    ] {
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn each_kind_of_error_has_its_reason() {
    use FieldErrorKind::*;
    for (kind, reason) in [
        (NotFound, "FieldValueNotFound"),
        (Required, "FieldValueRequired"),
        (Duplicate, "FieldValueDuplicate"),
        (Invalid, "FieldValueInvalid"),
        (NotSupported, "FieldValueNotSupported"),
        (Forbidden, "FieldValueForbidden"),
        (TooLong, "FieldValueTooLong"),
        (InternalError, "InternalError"),
    ] {
        assert_eq!(kind.reason(), reason);
    }
}

fn message(kind: &str, name: &str, errors: &[FieldError]) -> String {
    invalid(kind, name, errors).message.unwrap_or_default()
}

#[test]
fn one_error_is_told_plainly_and_several_as_a_list() {
    let (a, b) = (Path::root("a"), Path::root("b"));
    let one = [FieldError::required(&a, "")];
    let two = [FieldError::required(&a, ""), FieldError::forbidden(&b, "no")];
    assert_eq!(
        message("Image", "x", &one),
        r#"Image.image.openshift.io "x" is invalid: a: Required value"#
    );
    assert_eq!(
        message("Image", "x", &two),
        r#"Image.image.openshift.io "x" is invalid: [a: Required value, b: Forbidden: no]"#
    );
    assert_eq!(
        message("Image", "x", &[]),
        r#"Image.image.openshift.io "x" is invalid"#
    );
    assert_eq!(
        message("", "", &one),
        r#".image.openshift.io "" is invalid: a: Required value"#
    );
    assert_eq!(
        invalid_in("", "", "", &one).message.unwrap_or_default(),
        r#" "" is invalid: a: Required value"#
    );
}

#[test]
fn a_repeated_error_is_told_once_and_listed_each_time() {
    let error = FieldError::invalid(&Path::root("metadata").child("uid"), "0", "field is immutable");
    let status = invalid("ImageTag", "s:v1", &[error.clone(), error]);
    let cause = json!({"reason": "FieldValueInvalid", "field": "metadata.uid",
                       "message": r#"Invalid value: "0": field is immutable"#});
    assert_eq!(
        serde_json::to_value(status).unwrap(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 422,
            "reason": "Invalid",
            "message": "ImageTag.image.openshift.io \"s:v1\" is invalid: \
                        metadata.uid: Invalid value: \"0\": field is immutable",
            "details": {"name": "s:v1", "group": "image.openshift.io", "kind": "ImageTag",
                        "causes": [cause, cause]}
        })
    );
}

#[test]
fn details_leave_out_what_is_empty() {
    let status = invalid_in(
        "meta.k8s.io",
        "CreateOptions",
        "",
        &[FieldError::required(&Path::root("dryRun"), "")],
    );
    let details = serde_json::to_value(status.details).unwrap();
    assert_eq!(details.get("name"), None);
    assert_eq!(details["group"], "meta.k8s.io");
}
