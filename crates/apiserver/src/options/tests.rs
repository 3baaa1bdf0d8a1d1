#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
use proptest::prelude::*;

use super::*;
use crate::negotiation::BodyFormat;

fn text(status: Box<Status>) -> (i32, String) {
    (status.code.unwrap(), status.message.unwrap())
}

fn refused(verb: Write, query: &str) -> String {
    let (code, message) = text(WriteOptions::from_query(verb, query).unwrap_err());
    assert_eq!(code, 422);
    message
}

#[test]
fn options_of_a_write_are_read_from_the_query() {
    let query = "dryRun=All&dryRun=All&fieldManager=me%20too&fieldValidation=Strict&pretty=true";
    assert_eq!(
        WriteOptions::from_query(Write::Create, query),
        Ok(WriteOptions {
            dry_run: true,
            field_manager: "me too".into(),
            field_validation: FieldValidation::Strict,
            force: false,
        })
    );
    assert_eq!(
        WriteOptions::from_query(Write::Update, ""),
        Ok(WriteOptions::default())
    );
    let applied = WriteOptions::from_query(Write::Apply, "fieldManager=me&force=true").unwrap();
    assert!(applied.force);
}

#[test]
fn options_of_a_write_that_make_no_sense_are_refused() {
    for (verb, query, message) in [
        (
            Write::Create,
            "dryRun=bogus",
            r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["bogus"]: supported values: "All""#,
        ),
        (
            Write::Create,
            "dryRun=",
            r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: [""]: supported values: "All""#,
        ),
        (
            Write::Create,
            "fieldManager=a%07b",
            r#"CreateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\ab": invalid character U+0007 (at position 1)"#,
        ),
        (
            Write::Update,
            "fieldValidation=Maybe",
            r#"UpdateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Maybe": supported values: "", "Ignore", "Strict", "Warn""#,
        ),
        (
            Write::Apply,
            "",
            r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#,
        ),
        (
            Write::Patch,
            "force=true",
            r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#,
        ),
    ] {
        assert_eq!(refused(verb, query), message);
    }
    let long = format!("fieldManager={}", "x".repeat(129));
    assert!(refused(Write::Patch, &long).contains("fieldManager: Too long: may not be more than 128 bytes"));
    assert!(WriteOptions::from_query(Write::Patch, &long[..long.len() - 1]).is_ok());
}

#[test]
fn resource_versions_are_numbers() {
    assert_eq!(resource_version(""), Ok(0));
    assert_eq!(resource_version("42"), Ok(42));
    assert_eq!(
        text(resource_version("abc").unwrap_err()),
        (
            500,
            "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax"
                .into()
        )
    );
}

fn delete(body: &str, query: &str) -> Result<DeleteOptions, Box<Status>> {
    DeleteOptions::from_request(body.as_bytes(), BodyFormat::Json, query)
}

#[test]
fn options_of_a_deletion_come_from_the_body_or_else_from_the_query() {
    let body = r#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Orphan","dryRun":["All"],
                   "gracePeriodSeconds":5,"preconditions":{"uid":"u","resourceVersion":"7"}}"#;
    let expected = DeleteOptions {
        dry_run: true,
        grace_period_seconds: Some(5),
        propagation_policy: Some(PropagationPolicy::Orphan),
        uid: Some("u".into()),
        resource_version: Some("7".into()),
        tells_of_delay: false,
    };
    assert_eq!(delete(body, "propagationPolicy=Foreground"), Ok(expected.clone()));
    assert_eq!(
        delete("", "propagationPolicy=Orphan&dryRun=All&gracePeriodSeconds=5"),
        Ok(DeleteOptions {
            uid: None,
            resource_version: None,
            ..expected
        })
    );
    for body in ["{}", r#"{"kind":"DeleteOptions","apiVersion":"example.com/v1"}"#] {
        assert_eq!(delete(body, ""), Ok(DeleteOptions::default()), "{body}");
    }
    for (flag, policy) in [
        ("true", PropagationPolicy::Orphan),
        ("false", PropagationPolicy::Background),
    ] {
        let options = delete(&format!(r#"{{"orphanDependents":{flag}}}"#), "").unwrap();
        assert_eq!(options.propagation_policy, Some(policy));
        assert_eq!(options.tells_of_delay, flag == "false");
    }
}

#[test]
fn options_of_a_deletion_that_make_no_sense_are_refused() {
    for (body, query, code, message) in [
        (
            "",
            "propagationPolicy=Foo",
            422,
            r#"DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Foo": supported values: "Foreground", "Background", "Orphan", "nil""#,
        ),
        (
            "",
            "gracePeriodSeconds=x",
            400,
            r#"strconv.ParseInt: parsing "x": invalid syntax"#,
        ),
        (
            r#"{"kind":"#,
            "",
            500,
            "couldn't get version/kind; json parse error: unexpected end of JSON input",
        ),
        (
            r#"{"kind":"Widget","apiVersion":"example.com/v1"}"#,
            "",
            500,
            r#"no kind "Widget" is registered for version "example.com/v1" in scheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27""#,
        ),
        (
            r#"{"orphanDependents":true,"propagationPolicy":"Orphan"}"#,
            "",
            422,
            r#"DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set"#,
        ),
    ] {
        assert_eq!(text(delete(body, query).unwrap_err()), (code, message.to_owned()));
    }
}

#[test]
fn options_of_a_list_are_read_from_the_query() {
    let query = "labelSelector=a%3Db&fieldSelector=metadata.name%3Dx&limit=2&continue=t&resourceVersion=5";
    let options = ListOptions::from_query(query, false).unwrap();
    assert_eq!(options.label_selector.to_string(), "a=b");
    assert_eq!(options.field_selector.to_string(), "metadata.name=x");
    assert_eq!(
        (
            options.limit,
            options.continue_token.as_str(),
            options.resource_version.as_str()
        ),
        (Some(2), "t", "5")
    );
    let query = "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&timeoutSeconds=7\
                 &resourceVersionMatch=NotOlderThan";
    let options = ListOptions::from_query(query, false).unwrap();
    assert!(options.watch && options.allow_watch_bookmarks);
    assert_eq!(options.send_initial_events, Some(true));
    assert_eq!(options.timeout_seconds, Some(7));
    assert_eq!(
        options.resource_version_match,
        Some(ResourceVersionMatch::NotOlderThan)
    );
    assert_eq!(ListOptions::from_query("limit=0", false).unwrap().limit, None);
    assert!(ListOptions::from_query("", true).unwrap().watch);
}

#[test]
fn options_of_a_list_that_make_no_sense_are_refused() {
    let invalid = |errors: &str| format!("ListOptions.meta.k8s.io \"\" is invalid: {errors}");
    for (query, code, message) in [
        (
            "limit=abc",
            400,
            "strconv.ParseInt: parsing \"abc\": invalid syntax".to_owned(),
        ),
        (
            "watch=true&timeoutSeconds=99999999999999999999",
            400,
            "strconv.ParseInt: parsing \"99999999999999999999\": value out of range".into(),
        ),
        (
            "labelSelector=a%20b%20c",
            400,
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt".into(),
        ),
        (
            "fieldSelector=x",
            400,
            "invalid selector: 'x'; can't understand 'x'".into(),
        ),
        (
            "resourceVersion=1&resourceVersionMatch=Foo",
            422,
            invalid(
                "resourceVersionMatch: Unsupported value: \"Foo\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
        ),
        (
            "resourceVersionMatch=Exact",
            422,
            invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
        ),
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            422,
            invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
        ),
        (
            "resourceVersion=1&resourceVersionMatch=Exact&continue=x",
            422,
            invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
            ),
        ),
        (
            "sendInitialEvents=true",
            422,
            invalid("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ),
        (
            "watch=true&sendInitialEvents=true",
            422,
            invalid(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
        ),
        (
            "watch=true&resourceVersionMatch=Exact",
            422,
            invalid(
                "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided, resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]",
            ),
        ),
    ] {
        let status = ListOptions::from_query(query, false).unwrap_err();
        assert_eq!(text(status), (code, message), "{query}");
    }
}

proptest! {
    #[test]
    fn any_query_is_read_or_refused(query in ".*", body in prop::collection::vec(any::<u8>(), 0..32)) {
        let _ = ListOptions::from_query(&query, false);
        let _ = WriteOptions::from_query(Write::Create, &query);
        let _ = DeleteOptions::from_request(&body, BodyFormat::Json, &query);
    }
}
