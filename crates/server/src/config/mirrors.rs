//! What a source and a mirror may look like, as the definitions of [ImageDigestMirrorSet][1] and its relatives say.
//!
//! [1]: https://github.com/openshift/api/blob/master/config/v1/types_image_digest_mirror_set.go

use imagestream_api::field::{FieldError, Path};
use serde_json::Value;

/// The expression for mirrors, as messages show it.
const MIRROR: &str = r"^((?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])((\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))+)?(:[0-9]+)?)(?:(?:/[a-z0-9]+(?:(?:(?:[._]|__|[-]*)[a-z0-9]+)+)?)+)?$";
/// The first alternative of the expression for sources; the other is that for mirrors.
const WILDCARD: &str = r"^\*(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))+$";

/// What is wrong with the mirrors in `spec.FIELD` of a mirror set.
pub(super) fn errors(object: &Value, field: &str) -> Vec<FieldError> {
    let Some(spec) = object.get("spec") else {
        return vec![FieldError::required(&Path::root("spec"), "")];
    };
    let mut errors = required_sources(object, field);
    let path = Path::root("spec").child(field);
    for (index, entry) in entries(spec, field).enumerate() {
        let path = path.index(index);
        let source = text(entry, "source");
        if entry.get("source").is_some() && !is_wildcard(source) && !is_repository(source) {
            errors.push(mismatch(
                &path.child("source"),
                source,
                &format!("{WILDCARD}|{MIRROR}"),
            ));
        }
        let mirrors = entry.get("mirrors").and_then(Value::as_array);
        for (index, mirror) in mirrors.into_iter().flatten().enumerate() {
            let mirror = mirror.as_str().unwrap_or_default();
            if !is_repository(mirror) {
                errors.push(mismatch(&path.child("mirrors").index(index), mirror, MIRROR));
            }
        }
        let policies = ["NeverContactSource", "AllowContactingSource"];
        let policy = text(entry, "mirrorSourcePolicy");
        if entry.get("mirrorSourcePolicy").is_some() && !policies.contains(&policy) {
            errors.push(FieldError::not_supported(
                &path.child("mirrorSourcePolicy"),
                policy,
                &policies,
            ));
        }
    }
    errors
}

/// Entries of `spec.FIELD` that name no source.
pub(super) fn required_sources(object: &Value, field: &str) -> Vec<FieldError> {
    let path = Path::root("spec").child(field);
    let entries = object
        .get("spec")
        .into_iter()
        .flat_map(|spec| entries(spec, field))
        .enumerate();
    entries
        .filter(|(_, entry)| entry.get("source").is_none())
        .map(|(index, _)| FieldError::required(&path.index(index).child("source"), ""))
        .collect()
}

fn entries<'v>(spec: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    spec.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(entry: &'v Value, field: &str) -> &'v str {
    entry.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn mismatch(path: &Path, value: &str, expression: &str) -> FieldError {
    FieldError::invalid(path, value, format!("{path} in body should match '{expression}'"))
}

/// `*.example.com`
fn is_wildcard(text: &str) -> bool {
    text.strip_prefix("*.").is_some_and(is_domain)
}

/// `example.com:5000/some/repository`, or a beginning of it.
fn is_repository(text: &str) -> bool {
    let (host, path) = text
        .split_once('/')
        .map_or((text, None), |(host, path)| (host, Some(path)));
    let (domain, port) = host
        .split_once(':')
        .map_or((host, None), |(domain, port)| (domain, Some(port)));
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_domain(domain) && port.is_none_or(is_port) && path.is_none_or(|path| path.split('/').all(is_component))
}

fn is_domain(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// Words of small letters and digits, with a dot, one or two underscores or any number of dashes between them.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = text.split(|character: char| character.is_ascii() && is_word(character as u8));
    let are_good = separators
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'));
    let ends_well = |byte: Option<&u8>| byte.is_some_and(|byte| is_word(*byte));
    are_good && ends_well(text.as_bytes().first()) && ends_well(text.as_bytes().last())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn repositories_and_their_beginnings_are_told_from_other_texts() {
        for good in [
            "example.com",
            "localhost:5000",
            "a",
            "A-b.C/x",
            "r.io/a__b/c--d/e.f_g",
            "127.0.0.1:25000/a",
        ] {
            assert!(is_repository(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a..b",
            "a:",
            "a:x",
            "a/",
            "a//b",
            "a/B",
            "a/b:tag",
            "a/b@sha256:0",
            "a/_b",
            "a/b_",
            "a/b___c",
            "a/b.-c",
            "https://a/b",
            "*.a",
            "a b",
            "é",
        ] {
            assert!(!is_repository(bad), "{bad}");
        }
        assert!(is_wildcard("*.example.com") && !is_wildcard("*example.com") && !is_wildcard("*."));
    }

    #[test]
    fn mistakes_in_mirrors_are_told_as_a_definition_would_tell_them() {
        let object = json!({"spec": {"imageTagMirrors": [
            {"source": "*.a.com", "mirrors": ["b.com", "B com"], "mirrorSourcePolicy": "Never"},
            {"mirrors": []},
            {"source": "a/"},
        ]}});
        let found: Vec<String> = errors(&object, "imageTagMirrors")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "spec.imageTagMirrors[1].source: Required value".to_owned(),
                format!(
                    r#"spec.imageTagMirrors[0].mirrors[1]: Invalid value: "B com": spec.imageTagMirrors[0].mirrors[1] in body should match '{MIRROR}'"#
                ),
                r#"spec.imageTagMirrors[0].mirrorSourcePolicy: Unsupported value: "Never": supported values: "NeverContactSource", "AllowContactingSource""#.to_owned(),
                format!(
                    r#"spec.imageTagMirrors[2].source: Invalid value: "a/": spec.imageTagMirrors[2].source in body should match '{WILDCARD}|{MIRROR}'"#
                ),
            ]
        );
        assert_eq!(
            errors(&json!({}), "imageTagMirrors")[0].to_string(),
            "spec: Required value"
        );
        assert_eq!(errors(&json!({"spec": {}}), "imageTagMirrors"), []);
    }
}
