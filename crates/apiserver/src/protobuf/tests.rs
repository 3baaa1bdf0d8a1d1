//! What is written can be read, and what is not written so is refused.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::meta::STATUS;
use crate::schema::{self, INT64, List, TEXT, field};

static LEAF: Object = Object::new(
    "t",
    "Leaf",
    "",
    &[
        field("text", 1, TEXT, ""),
        field("count", 2, INT64, ""),
        field("on", 3, Schema::Boolean, ""),
    ],
);
static LEAVES: List = List::of(Schema::Object(&LEAF));
static NAMES: List = List::of(TEXT).message();
static WHOLE: Object = Object::new(
    "t",
    "Whole",
    "",
    &[
        schema::KIND,
        schema::API_VERSION,
        field("leaf", 1, Schema::Object(&LEAF), ""),
        field("leaves", 2, Schema::List(&LEAVES), ""),
        field("names", 3, Schema::List(&NAMES), ""),
        field("map", 4, Schema::Map(&TEXT), ""),
        field("raw", 5, Schema::Raw, ""),
        field("bytes", 6, Schema::Bytes, ""),
        field("time", 7, Schema::Time, ""),
        field("amount", 8, Schema::Quantity, ""),
        field("organization", 1, TEXT, "").inlined_from(9),
        field("unit", 2, TEXT, "").inlined_from(9),
    ],
);

fn leaf() -> impl Strategy<Value = Value> {
    (".{0,8}", any::<i64>(), any::<bool>())
        .prop_map(|(text, count, on)| json!({"text": text, "count": count, "on": on}))
}

fn whole() -> impl Strategy<Value = Value> {
    (
        leaf(),
        prop::collection::vec(leaf(), 1..4),
        prop::collection::vec(".{0,8}", 0..4),
        prop::collection::btree_map(".{0,8}", ".{0,8}", 1..4),
        0i64..4_000_000_000,
        "[a-z]{1,8}",
    )
        .prop_map(|(leaf, leaves, names, map, seconds, unit)| {
            let time = jiff::Timestamp::from_second(seconds).unwrap();
            json!({"kind": "Whole", "apiVersion": "t/v1", "leaf": leaf, "leaves": leaves, "names": names, "map": map,
                "raw": {"any": [1, null, {"x": "y"}]}, "bytes": "AAEC", "time": crate::metadata::time(time),
                "amount": "5Ki", "organization": unit, "unit": unit})
        })
}

proptest! {
    #[test]
    fn any_object_survives_the_way_through_protobuf(value in whole()) {
        prop_assert_eq!(read(&object(&value, &WHOLE), &WHOLE).unwrap(), value);
    }

    #[test]
    fn any_bytes_are_an_object_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&[MAGIC, &bytes].concat(), &WHOLE);
    }
}

#[test]
fn a_real_clients_envelope_is_read() {
    // `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","code":409}` as Kubernetes writes it.
    let bytes =
        b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Status\x12\x0e\x0a\x00\x12\x07Failure\x30\x99\x03\x1a\x00\x22\x00";
    let expected =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 409});
    assert_eq!(read(bytes, &STATUS).unwrap(), expected);
}

#[test]
fn what_breaks_off_or_is_something_else_is_refused() {
    let value = json!({"kind": "Whole", "apiVersion": "t/v1", "leaf": {"text": "abc"}});
    let bytes = object(&value, &WHOLE);
    assert_eq!(read(b"{}", &WHOLE), Err(ProtobufError::NoMagic));
    assert_eq!(
        read(&bytes[..bytes.len() - 8], &WHOLE),
        Err(ProtobufError::Malformed)
    );
    let mut not_text = bytes.clone();
    let place = not_text.windows(3).position(|window| window == b"abc").unwrap();
    not_text[place] = 0xff;
    assert_eq!(read(&not_text, &WHOLE), Err(ProtobufError::Value("text")));
}

#[test]
fn a_frame_of_a_watch_begins_with_its_length() {
    let frame = event("ADDED", b"object");
    let length = u32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), frame.len() - 4);
    assert!(frame.windows(6).any(|window| window == b"object"));
}
