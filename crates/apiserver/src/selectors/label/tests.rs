#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
use proptest::prelude::*;

use super::*;

fn selects(selector: &str) -> bool {
    LabelSelector::parse(selector).unwrap().matches(|key| match key {
        "app" => Some("web"),
        "example.com/size" => Some("7"),
        "empty" => Some(""),
        "in" => Some("notin"),
        _ => None,
    })
}

#[test]
fn all_requirements_must_hold() {
    for (selector, expected) in [
        ("", true),
        ("  ", true),
        ("app", true),
        ("!app", false),
        ("! app", false),
        ("none", false),
        ("!none", true),
        ("app=web", true),
        ("app == web", true),
        ("app=", false),
        ("empty=", true),
        ("empty=,app", true),
        ("app!=web", false),
        ("none!=web", true),
        ("app in (db, web)", true),
        ("app in (db,,)", false),
        ("empty in (db,)", true),
        ("empty in (,db)", true),
        ("empty in (,)", true),
        ("app notin (db)", true),
        ("app notin (web)", false),
        ("none notin (web)", true),
        ("none in (web)", false),
        ("example.com/size>6", true),
        ("example.com/size > 7", false),
        ("example.com/size<8", true),
        ("app<8", false),
        ("none<8", false),
        ("in in (notin)", true),
        ("in=notin,app", true),
        ("app=web,none", false),
        ("app=web,!none,example.com/size in (7)", true),
    ] {
        assert_eq!(selects(selector), expected, "{selector}");
    }
}

#[test]
fn malformed_selectors_are_refused_with_the_text_of_kubernetes() {
    let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
                an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let value = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                 and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or \
                 '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    for (selector, message) in [
        (
            "a b c",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt".to_owned(),
        ),
        (
            "=a",
            "found '=', expected: !, identifier, or 'end of string'".into(),
        ),
        ("a=b c", "found 'c', expected: ',' or 'end of string'".into()),
        ("!a=b", "found '=', expected: ',' or 'end of string'".into()),
        ("a,", "found '', expected: identifier after ','".into()),
        ("a,,b", "found ',', expected: identifier after ','".into()),
        (
            "!",
            "unable to parse requirement: found '', expected: identifier".into(),
        ),
        (
            "a in b",
            "unable to parse requirement: found 'b' expected: '('".into(),
        ),
        (
            "a in (b",
            "unable to parse requirement: found '', expected: ',' or ')'".into(),
        ),
        (
            "a in ()",
            "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set \
             can't be empty"
                .into(),
        ),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value \
             must be an integer"
                .into(),
        ),
        (
            "-a",
            format!("unable to parse requirement: <nil>: Invalid value: \"-a\": {name}"),
        ),
        (
            "/a",
            "unable to parse requirement: <nil>: Invalid value: \"/a\": prefix part must be non-empty".into(),
        ),
        (
            "a=b-",
            format!("unable to parse requirement: values[0][a]: Invalid value: \"b-\": {value}"),
        ),
    ] {
        assert_eq!(
            LabelSelector::parse(selector).unwrap_err().to_string(),
            message,
            "{selector}"
        );
    }
}

#[test]
fn keys_and_values_have_a_length() {
    let long = "a".repeat(64);
    for selector in [
        long.clone(),
        format!("a={long}"),
        format!("{}/b", "a".repeat(254)),
    ] {
        let error = LabelSelector::parse(&selector).unwrap_err().to_string();
        assert!(error.contains("must be no more than"), "{error}");
    }
    assert!(LabelSelector::parse(&format!("a={}", &long[1..])).is_ok());
}

fn test_of_a_label() -> impl Strategy<Value = Test> {
    let value = || "([A-Za-z0-9]([A-Za-z0-9._-]{0,4}[A-Za-z0-9])?)?";
    let values = || prop::collection::btree_set(value(), 1..4);
    prop_oneof![
        Just(Test::Exists),
        Just(Test::DoesNotExist),
        value().prop_map(Test::Equals),
        value().prop_map(Test::NotEquals),
        values().prop_map(Test::In),
        values().prop_map(Test::NotIn),
        (0..i64::MAX).prop_map(Test::GreaterThan),
        (0..i64::MAX).prop_map(Test::LessThan),
    ]
}

proptest! {
    #[test]
    fn a_selector_survives_being_written_and_read(
        requirements in prop::collection::vec(
            ("([a-z]{1,4}\\.io/)?[a-z]{1,5}", test_of_a_label())
                .prop_map(|(key, test)| Requirement { key, test }),
            0..4,
        )
    ) {
        let mut selector = LabelSelector { requirements };
        selector.requirements.sort_by(|one, other| one.key.cmp(&other.key));
        prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".*", words in "([a-z!=(),<> ]|in|notin){0,12}") {
        for text in [text, words] {
            if let Ok(selector) = LabelSelector::parse(&text) {
                prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
            }
        }
    }
}
