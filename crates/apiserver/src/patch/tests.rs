#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::{List, Schema, TEXT, field};

static TAG: Object = Object::new(
    "com.example.v1",
    "Tag",
    "",
    &[
        field("name", 1, TEXT, ""),
        field("from", 2, TEXT, ""),
        field("notes", 3, Schema::Map(&TEXT), ""),
    ],
);
static TAGS: List = List::by_key(Schema::Object(&TAG), "name");
static WORDS: List = List::set(TEXT);
static ATOMS: List = List::of(TEXT);
static THING: Object = Object::new(
    "com.example.v1",
    "Thing",
    "",
    &[
        field("name", 1, TEXT, ""),
        field("tags", 2, Schema::List(&TAGS), ""),
        field("words", 3, Schema::List(&WORDS), ""),
        field("atoms", 4, Schema::List(&ATOMS), ""),
        field("raw", 5, Schema::Raw, ""),
        field("labels", 6, Schema::Map(&TEXT), ""),
    ],
);

fn strategic(object: &Value, patch: &Value) -> Result<Value, Box<Status>> {
    let (patch, _) = Patch::strategic(patch.to_string().as_bytes())?;
    Ok(patch.apply(object.clone(), &THING)?.object)
}

fn text(status: Box<Status>) -> (i32, String) {
    (status.code.unwrap(), status.message.unwrap())
}

#[test]
fn a_strategic_patch_merges_what_is_a_map_and_replaces_what_is_not() {
    let object = json!({"tags": [{"name": "a", "from": "x", "notes": {"k": "1"}}, {"name": "b"}],
                        "words": ["p", "q"], "atoms": ["1"], "raw": {"x": 1}, "labels": {"l": "1"}});
    for (patch, field, expected) in [
        (
            json!({"tags": [{"name": "a", "notes": {"j": "2"}}]}),
            "tags",
            json!([{"name": "a", "from": "x", "notes": {"k": "1", "j": "2"}}, {"name": "b"}]),
        ),
        (
            json!({"tags": [{"name": "c", "from": null}]}),
            "tags",
            json!([{"name": "c"}, {"name": "a", "from": "x", "notes": {"k": "1"}}, {"name": "b"}]),
        ),
        (
            json!({"tags": [{"name": "a", "$patch": "delete"}]}),
            "tags",
            json!([{"name": "b"}]),
        ),
        (
            json!({"tags": [{"name": "z", "$patch": "delete"}, {"name": "a", "from": null}]}),
            "tags",
            json!([{"name": "a", "notes": {"k": "1"}}, {"name": "b"}]),
        ),
        (
            json!({"tags": [{"$patch": "replace"}, {"name": "u"}]}),
            "tags",
            json!([{"name": "u"}]),
        ),
        (
            json!({"tags": [{"name": "b", "from": "y"}, {"name": "c"}, {"name": "a"}]}),
            "tags",
            json!([{"name": "b", "from": "y"}, {"name": "c"}, {"name": "a", "from": "x", "notes": {"k": "1"}}]),
        ),
        (
            json!({"tags": [{"name": "a", "$patch": "replace", "from": "y"}]}),
            "tags",
            json!([]),
        ),
        (
            json!({"tags": [{"name": "a", "$retainKeys": ["name", "from"], "from": "y"}]}),
            "tags",
            json!([{"name": "a", "from": "y"}, {"name": "b"}]),
        ),
        (json!({"tags": null}), "tags", Value::Null),
        (
            json!({"$setElementOrder/tags": [{"name": "b"}, {"name": "a"}]}),
            "tags",
            json!([{"name": "b"}, {"name": "a", "from": "x", "notes": {"k": "1"}}]),
        ),
        (
            json!({"$setElementOrder/tags": [{"name": "c"}, {"name": "a"}, {"name": "b"}], "tags": [{"name": "c"}]}),
            "tags",
            json!([{"name": "c"}, {"name": "a", "from": "x", "notes": {"k": "1"}}, {"name": "b"}]),
        ),
        (json!({"words": ["r", "p"]}), "words", json!(["r", "p", "q"])),
        (
            json!({"$deleteFromPrimitiveList/words": ["p"], "words": ["r"]}),
            "words",
            json!(["r", "q"]),
        ),
        (
            json!({"$setElementOrder/words": ["r", "q", "p"], "words": ["r"]}),
            "words",
            json!(["r", "q", "p"]),
        ),
        (json!({"atoms": ["2", "3"]}), "atoms", json!(["2", "3"])),
        (
            json!({"raw": {"y": {"$patch": "delete"}}}),
            "raw",
            json!({"y": {"$patch": "delete"}}),
        ),
        (
            json!({"labels": {"m": "2", "l": null}}),
            "labels",
            json!({"m": "2"}),
        ),
        (
            json!({"labels": {"$patch": "replace", "m": "2"}}),
            "labels",
            json!({"m": "2"}),
        ),
        (json!({"labels": {"$patch": "delete"}}), "labels", json!({})),
    ] {
        let changed = strategic(&object, &patch).unwrap();
        assert_eq!(changed.get(field).unwrap_or(&Value::Null), &expected, "{patch}");
        for (other, value) in object.as_object().unwrap() {
            assert!(
                other == field || changed[other] == *value,
                "{patch} leaves {other} alone"
            );
        }
    }
}

#[test]
fn a_strategic_patch_that_makes_no_sense_is_refused() {
    let object = json!({"tags": [{"name": "a"}, {"name": "b"}], "words": ["p"], "labels": {"l": "1"}});
    for (patch, code, message) in [
        (
            json!({"$patch": "bogus"}),
            500,
            "unknown patch type: bogus in map: map[$patch:bogus]",
        ),
        (
            json!({"labels": {"$patch": "merge", "m": "2"}}),
            500,
            "unknown patch type: merge in map: map[$patch:merge m:2]",
        ),
        (
            json!({"tags": [{"name": "a", "$patch": 1}]}),
            500,
            "unknown patch type: %!s(int64=1) in map: map[$patch:1 name:a]",
        ),
        (
            json!({"tags": [{"name": "a", "$patch": "merge"}]}),
            500,
            "merging lists cannot yet be specified in the patch",
        ),
        (
            json!({"tags": [{"from": "x", "notes": {"k": "1"}}]}),
            500,
            "map: map[from:x notes:map[k:1]] does not contain declared merge key: name",
        ),
        (
            json!({"tags": ["x"]}),
            500,
            "list element types are not identical: [[map[name:a] map[name:b]] [x]]",
        ),
        (
            json!({"tags": [{"name": "a", "$retainKeys": 1}]}),
            400,
            "invalid patch format of retainKeys",
        ),
        (
            json!({"labels": {"$retainKeys": ["l"], "m": "2"}}),
            400,
            "invalid patch format of retainKeys",
        ),
        (
            json!({"$setElementOrder/tags": 1, "tags": []}),
            500,
            "expected a []interface {}, but received a int64",
        ),
        (
            json!({"$setElementOrder/tags": [{"name": "b"}, {"name": "a"}], "tags": [{"name": "a"}, {"name": "b"}]}),
            500,
            "The order in patch list:\n[map[name:a] map[name:b]]\n doesn't match $setElementOrder list:\n\
             [map[name:b] map[name:a]]\n",
        ),
        (
            json!({"words": [["p"]]}),
            500,
            "list element types are not identical: [[p] [[p]]]",
        ),
    ] {
        let refused = strategic(&object, &patch).unwrap_err();
        assert_eq!(
            refused.reason.as_deref(),
            (code == 400).then_some("BadRequest"),
            "{patch}"
        );
        assert_eq!(text(refused), (code, message.into()), "{patch}");
    }
}

#[test]
fn what_a_strategic_patch_brings_is_taken_as_it_is_where_nothing_was() {
    let patch = json!({"tags": [{"from": "x", "notes": null}, {"name": "y", "$patch": "delete"}],
                       "words": ["r", "r"], "labels": {"l": "1", "m": null}, "raw": {"$patch": "replace"}});
    assert_eq!(
        strategic(&json!({"labels": "none"}), &patch).unwrap(),
        json!({"tags": [{"from": "x"}], "words": ["r", "r"], "labels": {"l": "1"}})
    );
}

#[test]
fn a_strategic_patch_is_shown_as_go_prints_what_is_left_of_it() {
    let patch = json!({"labels": {"b": null, "a": 1}, "$setElementOrder/words": ["p"], "raw": {"x": null}});
    let (patch, _) = Patch::strategic(patch.to_string().as_bytes()).unwrap();
    let patched = patch.apply(json!({"labels": {}}), &THING).unwrap();
    assert_eq!(patched.shown(), "map[labels:map[a:1 b:<nil>] raw:map[]]");
    let (patch, _) = Patch::merge(br#"{"name":1}"#).unwrap();
    assert_eq!(patch.apply(json!({}), &THING).unwrap().shown(), r#"{"name":1}"#);
}

#[test]
fn a_merge_patch_replaces_lists_and_deletes_with_null() {
    let (patch, duplicates) =
        Patch::merge(br#"{"tags":[{"name":"u"}],"name":null,"labels":{"a":"1","a":"2"}}"#).unwrap();
    let object = json!({"name": "n", "tags": [{"name": "a"}], "labels": {"b": "3"}});
    assert_eq!(
        patch.apply(object, &THING).unwrap().object,
        json!({"tags": [{"name": "u"}], "labels": {"a": "2", "b": "3"}})
    );
    assert_eq!(duplicates, ["duplicate field \"labels.a\""]);
}

#[test]
fn a_json_patch_does_its_operations_in_order() {
    let (patch, _) = Patch::json(
        br#"[{"op":"test","path":"/name","value":"n"},{"op":"add","path":"/atoms/-","value":"2"},
             {"op":"move","from":"/atoms/0","path":"/labels/a"},{"op":"copy","from":"/labels","path":"/raw"},
             {"op":"remove","path":"/name"},{"op":"replace","path":"/labels/a","value":"3"}]"#,
    )
    .unwrap();
    let object = json!({"name": "n", "atoms": ["1"], "labels": {}});
    assert_eq!(
        patch.apply(object, &THING).unwrap().object,
        json!({"atoms": ["2"], "labels": {"a": "3"}, "raw": {"a": "1"}})
    );
}

#[test]
fn a_patch_that_does_not_fit_the_object_is_unprocessable() {
    for operation in [
        r#"{"op":"remove","path":"/nope"}"#,
        r#"{"op":"test","path":"/name","value":"other"}"#,
        r#"{"op":"replace","path":"/a/b","value":1}"#,
        r#"{"op":"copy","from":"/nope","path":"/a"}"#,
        r#"{"op":"add","path":"/atoms/7","value":1}"#,
    ] {
        let (patch, _) = Patch::json(format!("[{operation}]").as_bytes()).unwrap();
        assert_eq!(
            text(
                patch
                    .apply(json!({"name": "n", "atoms": []}), &THING)
                    .unwrap_err()
            ),
            (
                422,
                "the server rejected our request due to an error in our request".into()
            ),
            "{operation}"
        );
    }
}

#[test]
fn what_is_no_patch_is_refused() {
    for (error, code, message) in [
        (
            Patch::json(br#"{"a":1}"#).unwrap_err(),
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
        (
            Patch::merge(br#"{"a""#).unwrap_err(),
            400,
            "error decoding patch: unexpected end of JSON input",
        ),
        (
            Patch::strategic(b"[]").unwrap_err(),
            400,
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            Patch::json(format!("[{}1]", "1,".repeat(MAX_OPERATIONS)).as_bytes()).unwrap_err(),
            413,
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
        ),
    ] {
        assert_eq!(text(error), (code, message.to_owned()));
    }
    assert_eq!(
        Patch::json(br#"[{"op":"dance","path":""}]"#).unwrap_err().code,
        Some(400)
    );
}

#[test]
fn a_json_patch_cannot_make_an_object_grow_without_bound() {
    let doubling = vec![r#"{"op":"copy","from":"/raw","path":"/raw/-"}"#; 64].join(",");
    let nesting = vec![r#"{"op":"copy","from":"","path":"/raw/0"}"#; 200].join(",");
    for operations in [doubling, nesting] {
        let (patch, _) = Patch::json(format!("[{operations}]").as_bytes()).unwrap();
        let status = patch.apply(json!({"raw": ["x"]}), &THING).unwrap_err();
        assert_eq!(status.code, Some(413));
    }
}

#[test]
fn a_json_patch_does_not_shift_a_long_list_over_and_over() {
    let list = vec![0; 100_000];
    let apply = |steps: Vec<Value>| {
        let patch = json!(steps).to_string();
        let (patch, _) = Patch::json(patch.as_bytes()).unwrap();
        Ok::<_, Box<Status>>(patch.apply(json!({"raw": list}), &THING)?.object)
    };
    let remove = json!({"op": "remove", "path": "/raw/0"});
    let left = apply(vec![remove.clone(); 100]).unwrap();
    assert_eq!(left["raw"].as_array().unwrap().len(), 99_900);
    for step in [
        remove,
        json!({"op": "add", "path": "/raw/0", "value": 1}),
        json!({"op": "move", "from": "/raw/1", "path": "/raw/0"}),
        json!({"op": "copy", "from": "/raw/1", "path": "/raw/0"}),
    ] {
        let refused = apply(vec![step.clone(); MAX_OPERATIONS]).unwrap_err();
        assert_eq!(refused.code, Some(413), "{step}");
    }
}

#[test]
fn very_many_keys_can_be_retained() {
    // With a look through all of them for each this would take minutes.
    let keys: Vec<String> = (0..100_000).map(|number| format!("k{number}")).collect();
    let mut labels: serde_json::Map<String, Value> =
        keys.iter().map(|key| (key.clone(), json!("v"))).collect();
    let object = json!({"labels": labels.clone()});
    labels.insert("$retainKeys".into(), json!(keys));
    assert_eq!(strategic(&object, &json!({"labels": labels})).unwrap(), object);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(
                "[a-c]|tags|words|\\$patch|\\$retainKeys|\\$setElementOrder/tags",
                inner,
                0..4
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn plain_object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from)
    ];
    let nested = leaf.prop_recursive(3, 16, 4, |inner| {
        prop::collection::btree_map("[a-c]", inner, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    });
    prop::collection::btree_map("[a-c]", nested, 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

proptest! {
    #[test]
    fn any_strategic_patch_is_applied_or_refused(object in value(), patch in value()) {
        let _ = strategic(&object, &patch);
    }

    #[test]
    fn the_empty_patch_changes_nothing(object in plain_object()) {
        prop_assert_eq!(strategic(&object, &json!({})), Ok(object.clone()));
        let patched = Patch::Merge(json!({})).apply(object.clone(), &THING).unwrap();
        prop_assert_eq!(patched.object, object);
    }

    #[test]
    fn merging_twice_is_merging_once(object in plain_object(), patch in plain_object()) {
        for patch in [Patch::Merge(patch.clone()), Patch::Strategic(patch)] {
            let once = patch.apply(object.clone(), &THING).unwrap().object;
            prop_assert_eq!(patch.apply(once.clone(), &THING).unwrap().object, once);
        }
    }

    #[test]
    fn without_lists_and_directives_both_merges_are_the_same(object in plain_object(), patch in plain_object()) {
        let merged = Patch::Merge(patch.clone()).apply(object.clone(), &THING).unwrap();
        prop_assert_eq!(merged.object, Patch::Strategic(patch).apply(object, &THING).unwrap().object);
    }

    #[test]
    fn any_bytes_are_a_patch_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..48)) {
        let _ = (Patch::json(&bytes), Patch::merge(&bytes), Patch::strategic(&bytes));
    }
}
