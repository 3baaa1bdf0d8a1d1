//! The grammars of [names, labels][1] and domain names, and what Kubernetes says of strings outside of them.
//!
//! [1]: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set

use std::borrow::Cow;

/// The longest DNS label, label value and name part of a qualified name, in bytes.
const LABEL_MAX: usize = 63;
/// The longest DNS subdomain, in bytes.
const SUBDOMAIN_MAX: usize = 253;

/// What is wrong with a name that becomes a segment of a URL's path, or with the start of one.
pub(super) fn path_segment(name: &str, is_prefix: bool) -> Vec<String> {
    if !is_prefix && (name == "." || name == "..") {
        return vec![format!("may not be '{name}'")];
    }
    ['/', '%']
        .into_iter()
        .filter(|character| name.contains(*character))
        .map(|character| format!("may not contain '{character}'"))
        .collect()
}

/// What is wrong with the name of a stream. It becomes a component of a repository's name.
pub(super) fn stream(name: &str, is_prefix: bool) -> Vec<String> {
    let errors = path_segment(name, is_prefix);
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !errors.is_empty() || name.split(['.', '_', '-']).all(is_word) {
        return errors;
    }
    vec![r#"must match "[a-z0-9]+(?:[._-][a-z0-9]+)*""#.into()]
}

/// What is wrong with a namespace's name, a DNS label.
pub(super) fn namespace(name: &str) -> Vec<String> {
    let mut errors = too_long(name, LABEL_MAX);
    if is_dns_label(name) {
        return errors;
    }
    errors.push(if is_dns_subdomain(name) {
        "must not contain dots".into()
    } else {
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
         and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            .into()
    });
    errors
}

/// What is wrong with a qualified name: a name after an optional domain and `/`.
pub fn qualified(name: &str) -> Vec<String> {
    const RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                        alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                        validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let mut errors = Vec::new();
    let name = match name.split_once('/') {
        None => name,
        Some((_, rest)) if rest.contains('/') => {
            return vec![format!(
                "a valid label key {RULE} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )];
        }
        Some(("", name)) => {
            errors.push("prefix part must be non-empty".into());
            name
        }
        Some((prefix, name)) => {
            errors.extend(
                subdomain(prefix)
                    .into_iter()
                    .map(|error| format!("prefix part {error}")),
            );
            name
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".into());
    }
    errors.extend(
        too_long(name, LABEL_MAX)
            .into_iter()
            .map(|error| format!("name part {error}")),
    );
    if !is_label_text(name) {
        errors.push(format!("name part {RULE}"));
    }
    errors
}

/// What is wrong with the value of a label.
pub(super) fn label_value(value: &str) -> Vec<String> {
    let mut errors = too_long(value, LABEL_MAX);
    if !value.is_empty() && !is_label_text(value) {
        errors.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
             must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
             regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .into(),
        );
    }
    errors
}

/// A prefix as if a name went on after its last dash; a name as it is.
///
/// As in Kubernetes, the byte before the dash goes, too, so that `a--` counts as `aa`.
pub(super) fn completed(name: &str, is_prefix: bool) -> Cow<'_, str> {
    let rest = name.strip_suffix('-').filter(|_| is_prefix);
    match rest.and_then(|rest| rest.char_indices().next_back()) {
        Some((last, _)) => Cow::Owned(format!("{}a", &name[..last])),
        None => Cow::Borrowed(name),
    }
}

/// What is wrong with a DNS subdomain.
pub(super) fn subdomain(name: &str) -> Vec<String> {
    let mut errors = too_long(name, SUBDOMAIN_MAX);
    if !is_dns_subdomain(name) {
        errors.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation \
             is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .into(),
        );
    }
    errors
}

fn too_long(text: &str, limit: usize) -> Vec<String> {
    if text.len() > limit {
        vec![format!("must be no more than {limit} bytes")]
    } else {
        Vec::new()
    }
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_dns_subdomain(text: &str) -> bool {
    text.split('.').all(is_dns_label)
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

#[cfg(test)]
mod tests;
