#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test fails where it panics"
)]
use serde_json::json;

use super::*;
use crate::schema::{INT64, List, METADATA, Object, Schema, TEXT, field};

static FROM: Object = Object::new(
    "x.v1",
    "ObjectReference",
    "",
    &[field("kind", 1, TEXT, ""), field("name", 2, TEXT, "")],
)
.atomic();
static POLICY: Object = Object::new("x.v1", "Policy", "", &[field("mode", 1, TEXT, "")]);
static TAG: Object = Object::new(
    "x.v1",
    "Tag",
    "",
    &[
        field("name", 1, TEXT, ""),
        field("from", 2, Schema::Object(&FROM), ""),
        field("generation", 3, INT64, ""),
        field("annotations", 4, Schema::Map(&TEXT), ""),
        field("policy", 5, Schema::Object(&POLICY), ""),
    ],
);
static TAGS: List = List::by_key(Schema::Object(&TAG), "name");
static NUMBERS: List = List::of(INT64);
static SPEC: Object = Object::new(
    "x.v1",
    "Spec",
    "",
    &[
        field("tags", 1, Schema::List(&TAGS), ""),
        field("size", 2, INT64, ""),
        field("numbers", 3, Schema::List(&NUMBERS), ""),
        field("raw", 4, Schema::Raw, ""),
    ],
);
static STATUS: Object = Object::new("x.v1", "Status", "", &[field("at", 1, TEXT, "")]);
static STREAM: Object = Object::new(
    "x.v1",
    "Stream",
    "",
    &[
        crate::schema::KIND,
        crate::schema::API_VERSION,
        METADATA,
        field("spec", 2, Schema::Object(&SPEC), ""),
        field("status", 3, Schema::Object(&STATUS), ""),
    ],
);
static KIND: Kind = Kind {
    group: "x",
    version: "v1",
    kind: "Stream",
    schema: &STREAM,
    package: "x",
    description: "",
};

/// Somebody who writes streams, one minute after the other.
struct Writer {
    manager: &'static str,
    minute: i64,
    subresource: &'static str,
}

fn writer(manager: &'static str, minute: i64) -> Writer {
    Writer {
        manager,
        minute,
        subresource: "",
    }
}

impl Writer {
    fn with<T>(&self, write: impl FnOnce(&Tracking<'_>) -> T) -> T {
        write(&Tracking {
            manager: self.manager,
            kind: &KIND,
            subresource: self.subresource,
            now: Timestamp::from_second(self.minute * 60).unwrap(),
            empty: &json!({"metadata": {}, "spec": {"size": 0}, "status": {"at": ""}}),
        })
    }

    fn creates(&self, object: Value) -> Value {
        self.with(|tracking| {
            let mut object = object;
            track(None, &mut object, tracking);
            object
        })
    }

    fn updates(&self, live: &Value, object: Value) -> Value {
        self.with(|tracking| {
            let mut object = object;
            track(Some(live), &mut object, tracking);
            object
        })
    }

    fn tries(&self, live: Option<&Value>, config: Value) -> Result<Value, Box<Status>> {
        self.with(|tracking| apply(live, &config, tracking, false))
    }

    fn applies(&self, live: &Value, config: Value) -> Value {
        self.tries(Some(live), config).unwrap()
    }

    fn forces(&self, live: &Value, config: Value) -> Value {
        self.with(|tracking| apply(Some(live), &config, tracking, true))
            .unwrap()
    }
}

fn stream(rest: Value) -> Value {
    let mut object = json!({"kind": "Stream", "apiVersion": "x/v1", "metadata": {"name": "s"}});
    object
        .as_object_mut()
        .unwrap()
        .append(&mut rest.as_object().unwrap().clone());
    object
}

/// What a manager owns, and since when.
fn owned(object: &Value, manager: &str) -> Option<(Value, i64)> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    let entry = entries.iter().find(|entry| entry["manager"] == manager)?;
    let time: Timestamp = entry["time"].as_str()?.parse().unwrap();
    Some((entry["fieldsV1"].clone(), time.as_second() / 60))
}

fn message(result: Result<Value, Box<Status>>) -> (i32, String) {
    let status = result.unwrap_err();
    (status.code.unwrap(), status.message.clone().unwrap())
}

#[test]
fn who_creates_owns_what_an_empty_object_does_not_have() {
    let object = writer("a", 1).creates(stream(json!({
        "metadata": {"name": "s", "uid": "u", "generateName": "s-", "labels": {"x": "y"}, "finalizers": ["f"],
            "ownerReferences": [{"uid": "1", "kind": "K", "name": "n", "apiVersion": "v1"}]},
        "spec": {"size": 0, "raw": {"a": {"b": 1}}, "numbers": [], "tags": [
            {"name": "t", "from": {"kind": "K"}, "generation": null, "annotations": null, "policy": {"mode": "M"}}]},
        "status": {"at": ""},
    })));
    let expected = json!({
        "f:metadata": {
            "f:generateName": {},
            "f:labels": {".": {}, "f:x": {}},
            "f:finalizers": {".": {}, "v:\"f\"": {}},
            "f:ownerReferences": {".": {}, "k:{\"uid\":\"1\"}": {}},
        },
        "f:spec": {"f:numbers": {}, "f:raw": {}, "f:tags": {".": {}, "k:{\"name\":\"t\"}": {
            ".": {}, "f:name": {}, "f:from": {}, "f:generation": {}, "f:annotations": {},
            "f:policy": {".": {}, "f:mode": {}},
        }}},
    });
    assert_eq!(owned(&object, "a"), Some((expected, 1)));
}

#[test]
fn an_update_takes_what_it_changes_from_others() {
    let live = writer("a", 1).creates(stream(json!({"spec": {"size": 1, "numbers": [1]}})));
    let object = writer("b", 2).updates(&live, stream(json!({"spec": {"size": 2, "numbers": [1]}})));
    assert_eq!(
        owned(&object, "a"),
        Some((json!({"f:spec": {"f:numbers": {}}}), 1))
    );
    assert_eq!(owned(&object, "b"), Some((json!({"f:spec": {"f:size": {}}}), 2)));
    let object = writer("b", 3).updates(&object, stream(json!({"spec": {"size": 2}})));
    assert_eq!(owned(&object, "a"), None);
    assert_eq!(owned(&object, "b"), Some((json!({"f:spec": {"f:size": {}}}), 2)));
}

#[test]
fn a_subresource_has_entries_of_its_own() {
    let live = writer("a", 1).creates(stream(json!({"spec": {"size": 1}})));
    let status = Writer {
        subresource: "status",
        ..writer("a", 2)
    };
    let mut object = stream(json!({"spec": {"size": 1}, "status": {"at": "x"}}));
    object["metadata"]["managedFields"] = json!([{}]);
    let object = status.updates(&live, object);
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["subresource"], "status");
    assert_eq!(entries[1]["fieldsV1"], json!({"f:status": {".": {}, "f:at": {}}}));
}

#[test]
fn nobody_owns_what_was_not_tracked_from_the_start() {
    let live = stream(json!({"spec": {"size": 1}}));
    let object = writer("a", 1).updates(&live, stream(json!({"spec": {"size": 2}})));
    assert_eq!(object["metadata"], json!({"name": "s"}));
}

#[test]
fn a_single_empty_entry_ends_the_tracking() {
    let live = writer("a", 1).creates(stream(json!({"spec": {"size": 1}})));
    let mut object = live.clone();
    object["metadata"]["managedFields"] = json!([{}]);
    assert_eq!(
        writer("b", 2).updates(&live, object)["metadata"],
        json!({"name": "s"})
    );
    let mut object = live.clone();
    object["metadata"]["managedFields"] = json!([{"manager": "nonsense"}]);
    assert_eq!(writer("b", 2).updates(&live, object), live);
}

#[test]
fn a_write_without_effect_changes_no_time() {
    let live = writer("a", 1).creates(stream(json!({"spec": {"size": 1}})));
    let mut object = live.clone();
    object["metadata"]["managedFields"] = live["metadata"]["managedFields"].clone();
    assert_eq!(writer("a", 2).updates(&live, object), live);
    // Who applies the same again changes nothing either.
    let config = stream(json!({"spec": {"size": 1}}));
    let live = writer("b", 3).applies(&live, config.clone());
    assert_eq!(owned(&live, "b"), Some((json!({"f:spec": {"f:size": {}}}), 3)));
    assert_eq!(writer("b", 4).applies(&live, config), live);
}

#[test]
fn whoever_applies_owns_the_configuration_and_keeps_the_rest() {
    let live = writer("a", 1).creates(stream(
        json!({"spec": {"size": 1, "tags": [{"name": "t", "generation": 1}]}}),
    ));
    let object = writer("b", 2).applies(
        &live,
        stream(json!({"spec": {"tags": [{"name": "u", "generation": 2}]}})),
    );
    assert_eq!(
        object["spec"],
        json!({"size": 1, "tags": [{"name": "t", "generation": 1}, {"name": "u", "generation": 2}]})
    );
    let expected =
        json!({"f:spec": {"f:tags": {"k:{\"name\":\"u\"}": {".": {}, "f:name": {}, "f:generation": {}}}}});
    assert_eq!(owned(&object, "b"), Some((expected, 2)));
}

#[test]
fn what_is_not_applied_any_more_is_gone_unless_somebody_else_owns_it() {
    let config = |tags: Value| {
        stream(json!({"metadata": {"name": "s", "labels": {"x": "y"}}, "spec": {"tags": tags}}))
    };
    let live = writer("a", 1)
        .tries(
            None,
            config(json!([{"name": "t", "generation": 1}, {"name": "u"}])),
        )
        .unwrap();
    let live = writer("b", 2).applies(&live, stream(json!({"spec": {"tags": [{"name": "t"}]}})));
    let object = writer("a", 3).applies(&live, stream(json!({})));
    assert_eq!(object["spec"], json!({"size": 0, "tags": [{"name": "t"}]}));
    assert_eq!(object["metadata"].get("labels"), None);
    assert_eq!(owned(&object, "a"), None);
    let object = writer("b", 4).applies(&object, stream(json!({})));
    assert_eq!(object["spec"], json!({"size": 0}));
    assert_eq!(object["metadata"], json!({"name": "s"}));
}

#[test]
fn what_somebody_else_owns_is_a_conflict_unless_forced() {
    let live = writer("a", 1).creates(stream(
        json!({"spec": {"size": 1, "tags": [{"name": "t", "from": {"name": "x"}}]}}),
    ));
    let config = stream(json!({"spec": {"size": 2, "tags": [{"name": "t", "from": {"name": "y"}}]}}));
    let status = writer("b", 2).tries(Some(&live), config.clone()).unwrap_err();
    assert_eq!(
        serde_json::to_value(status).unwrap(),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 409,
        "reason": "Conflict",
        "message": "Apply failed with 2 conflicts: conflicts with \"a\" using x/v1:\n- .spec.size\n\
                    - .spec.tags[name=\"t\"].from",
        "details": {"causes": [
            {"reason": "FieldManagerConflict", "message": "conflict with \"a\" using x/v1", "field": ".spec.size"},
            {"reason": "FieldManagerConflict", "message": "conflict with \"a\" using x/v1",
                "field": ".spec.tags[name=\"t\"].from"},
        ]}})
    );
    let object = writer("b", 2).forces(&live, config);
    assert_eq!(object["spec"]["size"], 2);
    let left = json!({"f:spec": {"f:tags": {".": {}, "k:{\"name\":\"t\"}": {".": {}, "f:name": {}}}}});
    assert_eq!(owned(&object, "a"), Some((left, 1)));
    let again = writer("c", 3).tries(Some(&object), stream(json!({"spec": {"size": 3}})));
    assert_eq!(
        message(again),
        (
            409,
            "Apply failed with 1 conflict: conflict with \"b\": .spec.size".into()
        )
    );
}

#[test]
fn the_fields_of_an_untracked_object_belong_to_who_was_there_before() {
    let live = stream(json!({"spec": {"size": 1}}));
    let result = writer("b", 2).tries(Some(&live), stream(json!({"spec": {"size": 2}})));
    let expected =
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using x/v1: .spec.size";
    assert_eq!(message(result), (409, expected.into()));
}

#[test]
fn a_configuration_must_fit() {
    let live = stream(json!({}));
    let invalid = "failed to create typed patch object (/s; x/v1, Kind=Stream): ";
    for (config, code, expected) in [
        (
            json!({"kind": "Other", "apiVersion": "x/v1"}),
            400,
            "invalid object type: x/v1, Kind=Other".to_owned(),
        ),
        (
            stream(json!({"metadata": {"name": "s", "managedFields": []}})),
            400,
            "metadata.managedFields must be nil".into(),
        ),
        (
            stream(json!({"spec": {"nonsense": 1}})),
            500,
            format!("{invalid}.spec.nonsense: field not declared in schema"),
        ),
        (
            stream(json!({"spec": {"size": "1", "tags": {}}})),
            500,
            format!(
                "{invalid}errors:\n  .spec.size: expected numeric (int or float), got \"1\"\n  .spec.tags: expected \
                 list, got {{}}"
            ),
        ),
        (
            stream(json!({"spec": {"tags": [{"name": "t"}, {"name": "t"}]}})),
            500,
            format!("{invalid}.spec.tags: duplicate entries for key [name=\"t\"]"),
        ),
        (
            stream(json!({"spec": {"tags": [{"generation": 1}]}})),
            500,
            format!(
                "{invalid}.spec.tags: element 0: associative list with keys has an element that omits key field \
                 \"name\" (and doesn't have default value)"
            ),
        ),
    ] {
        assert_eq!(
            message(writer("a", 1).tries(Some(&live), config)),
            (code, expected)
        );
    }
}

#[test]
fn applied_items_are_in_the_order_of_the_configuration_among_the_others() {
    let names = |names: &str| {
        let tags: Vec<Value> = names
            .chars()
            .map(|name| json!({"name": name.to_string()}))
            .collect();
        stream(json!({ "spec": {"tags": tags} }))
    };
    for (live, applied, expected) in [
        ("abc", "ac", "abc"),
        ("abc", "ca", "bca"),
        ("abc", "xb", "axbc"),
        ("abc", "cxa", "bcxa"),
        ("", "ab", "ab"),
        ("abcd", "db", "acdb"),
        ("aab", "b", "aab"),
        ("aab", "a", "ab"),
    ] {
        let object = writer("b", 1).forces(&names(live), names(applied));
        let found: String = object["spec"]["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| tag["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected, "{applied} applied to {live}");
    }
}

#[test]
fn kubectl_goes_over_from_client_side_apply_without_conflicts() {
    const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let last = stream(json!({"spec": {"size": 1}})).to_string();
    let live = writer("kubectl-client-side-apply", 1).creates(stream(json!({
        "metadata": {"name": "s", "annotations": {ANNOTATION: last}}, "spec": {"size": 1, "numbers": [1]}})));
    let config = stream(json!({"spec": {"size": 2}}));
    let (code, _) = message(writer("other", 2).tries(Some(&live), config.clone()));
    assert_eq!(code, 409);
    let object = writer("kubectl", 2).applies(&live, config.clone());
    assert_eq!(object["spec"], json!({"size": 2, "numbers": [1]}));
    assert_eq!(object["metadata"]["annotations"][ANNOTATION], config.to_string());
    let (code, _) =
        message(writer("kubectl", 2).tries(Some(&live), stream(json!({"spec": {"numbers": [2]}}))));
    assert_eq!(code, 409);
}

#[test]
fn clients_are_named_by_the_beginning_of_what_they_call_themselves() {
    for (user_agent, manager) in [
        ("kubectl/v1.34.1 (linux/amd64) kubernetes/abc", "kubectl"),
        ("lab-recorder", "lab-recorder"),
        ("", ""),
        ("a\u{0}b\nc/1", "abc"),
    ] {
        assert_eq!(default_manager(user_agent), manager);
    }
    assert_eq!(default_manager(&"x".repeat(1000)).len(), MAX_MANAGER);
    let object = writer("", 1).creates(stream(json!({"spec": {"size": 1}})));
    assert!(owned(&object, "unknown").is_some());
}
