#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
use super::*;

fn normalised(object: Value) -> Result<Value, String> {
    Secrets.normalise(object)
}

fn errors_of(object: Value) -> Vec<String> {
    errors(&normalised(object).unwrap())
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// A secret of a type with one text.
fn secret(of_type: &str, key: &str, text: &str) -> Value {
    json!({"type": of_type, "stringData": {key: text}})
}

#[test]
fn texts_become_data_and_win_over_it() {
    let object = json!({"data": {"a": "YQ==", "b": "Yg=="}, "stringData": {"b": "text", "c": ""}});
    assert_eq!(
        normalised(object).unwrap(),
        json!({"data": {"a": "YQ==", "b": "dGV4dA==", "c": ""}, "type": "Opaque"})
    );
    assert_eq!(
        normalised(json!({"immutable": null})).unwrap(),
        json!({"type": "Opaque"})
    );
}

#[test]
fn data_is_base64_in_which_line_breaks_do_not_count() {
    let wrapped = json!({"data": {"a": "Y\nWJj\r\n"}});
    assert_eq!(normalised(wrapped).unwrap()["data"]["a"], "YWJj");
    for (text, position) in [("?", 0), ("YWJj?", 4), ("YQ", 0), ("YWJjYQ", 4)] {
        let error = normalised(json!({"data": {"a": text}})).unwrap_err();
        assert_eq!(
            error,
            format!("illegal base64 data at input byte {position}"),
            "{text}"
        );
    }
}

#[test]
fn each_type_has_what_it_is_for() {
    let json_type = "kubernetes.io/dockerconfigjson";
    for (object, expected) in [
        (json!({}), vec![]),
        (secret("made.up/type", "x", "y"), vec![]),
        (secret(json_type, ".dockerconfigjson", r#"{"auths": {}}"#), vec![]),
        (secret("kubernetes.io/dockercfg", ".dockercfg", "{}"), vec![]),
        (
            secret(json_type, "x", "y"),
            vec!["data[.dockerconfigjson]: Required value"],
        ),
        (
            secret("kubernetes.io/dockercfg", "x", "y"),
            vec!["data[.dockercfg]: Required value"],
        ),
        (
            secret(json_type, ".dockerconfigjson", "{\"auths\": "),
            vec![
                r#"data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": unexpected end of JSON input"#,
            ],
        ),
        (
            secret(json_type, ".dockerconfigjson", "[]"),
            vec![
                r#"data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": json: cannot unmarshal array into Go value of type map[string]interface {}"#,
            ],
        ),
        (secret("kubernetes.io/basic-auth", "password", "p"), vec![]),
        (
            secret("kubernetes.io/basic-auth", "x", "y"),
            vec!["data[username]: Required value", "data[password]: Required value"],
        ),
        (
            secret("kubernetes.io/ssh-auth", "ssh-privatekey", ""),
            vec!["data[ssh-privatekey]: Required value"],
        ),
        (
            secret("kubernetes.io/tls", "tls.crt", "c"),
            vec!["data[tls.key]: Required value"],
        ),
        (
            secret("kubernetes.io/service-account-token", "token", "t"),
            vec!["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
    ] {
        assert_eq!(errors_of(object.clone()), expected, "{object}");
    }
}

#[test]
fn keys_are_names_of_files_and_values_fit_into_a_mebibyte() {
    let form = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    for (key, reason) in [
        ("a/b", form),
        ("", form),
        (".", "must not be '.'"),
        ("..", "must not be '..'"),
        ("..a", "must not start with '..'"),
    ] {
        let expected = format!("data[{key}]: Invalid value: {key:?}: {reason}");
        assert_eq!(errors_of(secret("Opaque", key, "x")), [expected]);
    }
    assert_eq!(errors_of(secret("Opaque", "a", &"x".repeat(MAX_SIZE))), [""; 0]);
    assert_eq!(
        errors_of(secret("Opaque", "a", &"x".repeat(MAX_SIZE + 1))),
        ["data: Too long: may not be more than 1048576 bytes"]
    );
}

#[test]
fn a_type_never_changes_nor_does_an_immutable_secret() {
    let of = |object, stored| {
        let found = changes(&normalised(object).unwrap(), &normalised(stored).unwrap());
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let open = json!({"data": {"a": "YQ=="}});
    let closed = json!({"data": {"a": "YQ=="}, "immutable": true});
    let other = json!({"data": {"a": "Yg=="}, "immutable": true});
    assert_eq!(of(other.clone(), open.clone()), [""; 0]);
    assert_eq!(of(closed.clone(), closed.clone()), [""; 0]);
    assert_eq!(
        of(json!({"type": "x/y"}), open.clone()),
        [r#"type: Invalid value: "x/y": field is immutable"#]
    );
    assert_eq!(
        of(other, closed.clone()),
        ["data: Forbidden: field is immutable when `immutable` is set"]
    );
    assert_eq!(
        of(open, closed),
        ["immutable: Forbidden: field is immutable when `immutable` is set"]
    );
}
