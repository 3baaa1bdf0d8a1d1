use super::*;

const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                         with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used \
                         for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

#[test]
fn a_path_segment_is_neither_dots_nor_contains_what_a_path_gives_a_meaning() {
    for (name, expected) in [
        (".", &["may not be '.'"][..]),
        ("..", &["may not be '..'"]),
        ("foo/bar", &["may not contain '/'"]),
        ("foo%%bar", &["may not contain '%'"]),
        ("%/", &["may not contain '/'", "may not contain '%'"]),
        ("...", &[]),
        ("s:Tag", &[]),
    ] {
        assert_eq!(path_segment(name, false), expected, "{name}");
    }
    assert_eq!(path_segment(".", true), [""; 0]);
    assert_eq!(path_segment("a/", true), ["may not contain '/'"]);
}

#[test]
fn a_stream_is_named_like_a_component_of_a_repository() {
    for name in [
        "foo bar", "Foo", "a__b", "-a", "a-", "a--b", "a@b", "žlutý", "a._b", "a\n",
    ] {
        assert_eq!(
            stream(name, false),
            [r#"must match "[a-z0-9]+(?:[._-][a-z0-9]+)*""#],
            "{name}"
        );
    }
    for name in [
        "g",
        "abcdefghijklmnopqrstuvwxyz-1234567890.dot_underscore-dash",
        "0",
    ] {
        assert_eq!(stream(name, false), [""; 0], "{name}");
    }
    assert_eq!(stream(".", false), ["may not be '.'"]);
    assert_eq!(stream("A/b", false), ["may not contain '/'"]);
    assert_eq!(
        stream("foo-", true).len(),
        1,
        "the customary dash of a prefix is refused"
    );
}

#[test]
fn a_namespace_is_a_dns_label() {
    let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
                validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    for name in ["!$", "-a", "a-", "A", "a_b", "a..b"] {
        assert_eq!(namespace(name), [rule], "{name}");
    }
    assert_eq!(namespace("a.b"), ["must not contain dots"]);
    assert_eq!(namespace(&"a".repeat(64)), ["must be no more than 63 bytes"]);
    assert_eq!(
        namespace(&"A".repeat(64)),
        ["must be no more than 63 bytes", rule]
    );
    for name in ["a", "a-b", "0--1", &"a".repeat(63)] {
        assert_eq!(namespace(name), [""; 0], "{name}");
    }
}

#[test]
fn a_qualified_name_has_an_optional_domain() {
    let subdomain = "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
                     '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex \
                     used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let too_many = "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and \
                    end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used \
                    for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain \
                    prefix and '/' (e.g. 'example.com/MyName')";
    for (name, expected) in [
        ("a b", &[QUALIFIED][..]),
        ("-bad-", &[QUALIFIED]),
        ("", &["name part must be non-empty", QUALIFIED]),
        ("/a", &["prefix part must be non-empty"]),
        ("a.b/", &["name part must be non-empty", QUALIFIED]),
        ("A.b/c", &[subdomain]),
        ("a..b/c", &[subdomain]),
        ("a/b/c", &[too_many]),
        (&"a".repeat(64), &["name part must be no more than 63 bytes"]),
        (
            &format!("{}/a", "a".repeat(254)),
            &["prefix part must be no more than 253 bytes"],
        ),
        (&format!("{}/{}", "a".repeat(253), "B".repeat(63)), &[]),
        ("openshift.io/image.insecureRepository", &[]),
        ("1_a.B-2", &[]),
    ] {
        assert_eq!(qualified(name), expected, "{name}");
    }
}

#[test]
fn a_label_value_is_empty_or_like_a_name() {
    let rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
                regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    for value in ["b b", "-a", "a.", "a/b", "é"] {
        assert_eq!(label_value(value), [rule], "{value}");
    }
    assert_eq!(label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
    for value in ["", "a", "A-1_b.c", &"a".repeat(63)] {
        assert_eq!(label_value(value), [""; 0], "{value}");
    }
}

#[test]
fn a_prefix_may_end_with_a_dash_where_a_name_may_not() {
    for (text, prefix_is_good, name_is_good) in [
        ("a-", true, false),
        ("a--", true, false),
        ("a", true, true),
        ("-", false, false),
        ("A-", true, false),
        ("aA-", true, false),
        ("AA-", false, false),
    ] {
        assert_eq!(
            subdomain(&completed(text, true)).is_empty(),
            prefix_is_good,
            "{text}"
        );
        assert_eq!(
            subdomain(&completed(text, false)).is_empty(),
            name_is_good,
            "{text}"
        );
    }
}
