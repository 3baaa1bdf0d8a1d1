#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::schema::meta::{OBJECT_META, STATUS};
use crate::schema::{Field, INT32, INT64, List, METADATA, Schema, TEXT, field};

static WORDS: List = List::of(TEXT).message();
static WORDS_SCHEMA: Schema = Schema::List(&WORDS);
static BYTES: List = List::of(Schema::Bytes);
static BYTES_SCHEMA: Schema = Schema::Bytes;
static METAS: List = List::of(Schema::Object(&OBJECT_META));
static THING: Object = Object::new(
    "x.v1",
    "Thing",
    "",
    &[
        METADATA,
        field("text", 2, TEXT, "").required(),
        field("yes", 3, Schema::Boolean, ""),
        field("small", 4, INT32, ""),
        field("large", 5, INT64, ""),
        field("at", 6, Schema::Time, ""),
        field("exactly", 7, Schema::MicroTime, ""),
        field("amount", 8, Schema::Quantity, ""),
        field("raw", 9, Schema::Raw, ""),
        field("data", 10, Schema::Map(&BYTES_SCHEMA), ""),
        field("extra", 11, Schema::Map(&WORDS_SCHEMA), ""),
        field("blobs", 12, Schema::List(&BYTES), ""),
        field("metas", 13, Schema::List(&METAS), ""),
        field("inside", 1, TEXT, "").inlined_from(1000),
        field("insides", 2, Schema::List(&BYTES), "").inlined_from(1000),
    ],
);

fn read(message: &[u8]) -> Result<Value, Error> {
    read::object(message, &THING)
}

/// A time between the years 1900 and 2100, in microseconds.
fn any_time() -> impl Strategy<Value = jiff::Timestamp> {
    (-2_208_988_800_000_000_i64..4_102_444_800_000_000)
        .prop_map(|time| jiff::Timestamp::from_microsecond(time).unwrap())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        Just(json!({"a": null}))
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop::collection::btree_map(".{0,4}", inner, 1..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    })
}

fn any_value(schema: Schema) -> BoxedStrategy<Value> {
    match schema {
        Schema::Text(_) => ".{1,8}".prop_map(Value::from).boxed(),
        Schema::Quantity => "[0-9]{1,4}(m|Ki)?".prop_map(Value::from).boxed(),
        Schema::Bytes => prop::collection::vec(any::<u8>(), 1..8)
            .prop_map(|bytes| {
                use base64::Engine as _;
                base64::engine::general_purpose::STANDARD.encode(bytes).into()
            })
            .boxed(),
        Schema::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        // The generation of metadata is never 0.
        Schema::Integer("int64") => any::<i64>()
            .prop_filter("0", |value| *value != 0)
            .prop_map(Value::from)
            .boxed(),
        Schema::Integer("int32") => any::<i32>().prop_map(Value::from).boxed(),
        Schema::Integer(_) => any::<i64>().prop_map(Value::from).boxed(),
        Schema::Time => any_time()
            .prop_map(|time| crate::metadata::time(time).into())
            .boxed(),
        Schema::MicroTime => any_time()
            .prop_map(|time| time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into())
            .boxed(),
        Schema::Raw | Schema::FieldsV1 => any_json().boxed(),
        Schema::Object(schema) => any_object(schema).boxed(),
        Schema::List(list) => prop::collection::vec(any_value(list.items), 1..3)
            .prop_map(Value::from)
            .boxed(),
        Schema::Map(values) => prop::collection::btree_map(".{0,4}", any_value(*values), 1..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
            .boxed(),
        Schema::Untyped | Schema::Number => Just(Value::Null).boxed(),
    }
}

fn any_object(schema: &'static Object) -> BoxedStrategy<Value> {
    let start = Just(Map::new()).boxed();
    let add = |fields: BoxedStrategy<Map<String, Value>>, field: &'static Field| {
        let value = any_value(field.schema);
        let value = if field.required {
            value.prop_map(Some).boxed()
        } else {
            prop::option::weighted(0.3, value).boxed()
        };
        (fields, value)
            .prop_map(|(mut fields, value)| {
                fields.extend(value.map(|value| (field.name.to_owned(), value)));
                fields
            })
            .boxed()
    };
    schema
        .fields
        .iter()
        .fold(start, add)
        .prop_map(Value::Object)
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_object_is_read_as_it_was_written(mut object in any_object(&THING)) {
        object["kind"] = "Thing".into();
        object["apiVersion"] = "x/v1".into();
        let bytes = super::object(&object, &THING);
        let envelope = Envelope::open(&bytes).unwrap();
        prop_assert_eq!((&*envelope.api_version, &*envelope.kind), ("x/v1", "Thing"));
        let fields = object.as_object_mut().unwrap();
        fields.remove("kind");
        fields.remove("apiVersion");
        prop_assert_eq!(envelope.read(&THING), Ok(object));
    }

    #[test]
    fn any_bytes_are_an_object_or_an_error(bytes: Vec<u8>, object in any_object(&THING), at: prop::sample::Index) {
        let _ = Envelope::open(&[MAGIC, &bytes].concat()).map(|envelope| envelope.read(&THING));
        let mut damaged = write::object(&object, &THING);
        if !damaged.is_empty() {
            let at = at.index(damaged.len());
            damaged[at] ^= bytes.first().copied().unwrap_or(1);
            let _ = read(&damaged);
            let _ = read(&damaged[..at]);
        }
    }
}

#[test]
fn a_message_is_what_a_real_server_writes() {
    // The metadata of an image stream, which ends at its time of creation.
    let written = b"k8s\0\x0a\x24\x0a\x15image.openshift.io/v1\x12\x0bImageStream\
        \x12\x1e\x0a\x1c\x0a\x01s\x12\x00\x1a\x01n\x22\x00\x2a\x01u\x32\x01\x37\x38\x01\
        \x42\x08\x08\xc9\xeb\x92\xd8\x06\x10\x00\x1a\x00\x22\x00";
    let envelope = Envelope::open(written).unwrap();
    assert_eq!(envelope.kind, "ImageStream");
    let object = envelope.read(&THING).unwrap();
    assert_eq!(
        object,
        json!({"metadata": {"name": "s", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 1,
            "creationTimestamp": "2026-11-23T21:53:13Z"}})
    );
}

#[test]
fn the_zero_time_is_no_time() {
    let mut time = Vec::new();
    wire::put_varint(&mut time, 1, crate::metadata::ZERO_SECONDS.cast_unsigned());
    let mut thing = Vec::new();
    put_bytes(&mut thing, 6, &time);
    assert_eq!(read(&thing).unwrap().get("at"), None);
}

#[test]
fn fields_come_in_any_order_and_more_than_once() {
    let mut message = Vec::new();
    put_bytes(&mut message, 1000, b"\x0a\x01a");
    put_bytes(&mut message, 1, b"\x0a\x01n");
    put_bytes(&mut message, 99, b"unknown");
    put_bytes(&mut message, 1, b"\x1a\x02ns");
    put_bytes(&mut message, 12, b"\x01");
    put_bytes(&mut message, 2, b"first");
    put_bytes(&mut message, 2, b"last");
    put_bytes(&mut message, 12, b"\x02");
    put_bytes(&mut message, 6, b"");
    put_bytes(&mut message, 10, b"\x0a\x01k");
    assert_eq!(
        read(&message),
        Ok(
            json!({"inside": "a", "metadata": {"name": "n", "namespace": "ns"}, "blobs": ["AQ==", "Ag=="],
            "text": "last", "data": {"k": ""}})
        )
    );
}

#[test]
fn metadata_with_nothing_in_it_is_empty() {
    // As Go writes it: empty strings, generation 0, no time of creation.
    let message = b"\x0a\x10\x0a\x00\x12\x00\x1a\x00\x22\x00\x2a\x00\x32\x00\x38\x00\x42\x00\x20\x00";
    assert_eq!(read(message), Ok(json!({"metadata": {}, "small": 0})));
}

#[test]
fn what_is_no_object_is_refused() {
    for (body, error) in [
        (&b""[..], Error::Empty),
        (b"{}", Error::Magic),
        (b"k8s\0", Error::EmptyBody),
        (b"k8s\0\x0a", Error::Truncated),
        (b"k8s\0\x08\x01", Error::WireType),
        (b"k8s\0\x1a\x04gzip", Error::Encoding("gzip".into())),
    ] {
        assert_eq!(Envelope::open(body), Err(error), "{body:?}");
    }
    for (message, error) in [
        (&b"\x0a\x01\x08"[..], Error::Truncated),
        (b"\x08\x01", Error::WireType),
        (b"\x12", Error::Truncated),
        (
            b"\x32\x0b\x08\xff\x87\xae\xb4\x98\xfe\xff\xff\xff\x01",
            Error::Time,
        ),
        (b"\x32\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f", Error::Time),
        (
            b"\x4a\x03\x0a\x01{",
            Error::Json("EOF while parsing an object at line 1 column 1".into()),
        ),
    ] {
        assert_eq!(read(message), Err(error), "{message:?}");
    }
    let many = b"\x62\x00".repeat(500_001);
    assert_eq!(read(&many), Err(Error::Size));
}

#[test]
fn objects_in_themselves_are_read_only_so_deep() {
    static NESTED: Object = Object::new(
        "x.v1",
        "Nested",
        "",
        &[field("in", 1, Schema::Object(&NESTED), "")],
    );
    let nested = |depth: usize| {
        (0..depth).fold(Vec::new(), |inner, _| {
            let mut outer = Vec::new();
            put_bytes(&mut outer, 1, &inner);
            outer
        })
    };
    assert!(read::object(&nested(60), &NESTED).is_ok());
    assert_eq!(read::object(&nested(70), &NESTED), Err(Error::Depth));
}

#[test]
fn lists_and_events_wrap_their_objects() {
    let head = json!({"kind": "ThingList", "apiVersion": "x/v1", "metadata": {"resourceVersion": "5",
        "remainingItemCount": 3}});
    let items = json!([{"text": "a"}, {"text": "b"}]);
    let mut list = head.clone();
    list["items"] = items.clone();
    let list = super::list(&list, &THING);
    static THINGS: List = List::of(Schema::Object(&THING));
    static THING_LIST: Object = Object::new(
        "x.v1",
        "ThingList",
        "",
        &[
            crate::schema::LIST_METADATA,
            field("items", 2, Schema::List(&THINGS), ""),
        ],
    );
    let read = Envelope::open(&list).unwrap().read(&THING_LIST).unwrap();
    assert_eq!(read, json!({"metadata": head["metadata"], "items": items}));

    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410});
    let object = object(&status, &STATUS);
    let frame = event("ERROR", &object);
    let (length, event) = frame.split_at(4);
    assert_eq!(length, u32::try_from(event.len()).unwrap().to_be_bytes());
    let fields: Vec<_> = Fields(event).map(Result::unwrap).collect();
    assert_eq!(fields[0].1.bytes(), Ok(&b"ERROR"[..]));
    let extension = Fields(fields[1].1.bytes().unwrap()).next().unwrap().unwrap();
    assert_eq!(extension.1.bytes(), Ok(&object[..]));
}

#[test]
fn documents_of_discovery_are_encoded() {
    let document = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "x/v1", "resources": [
        {"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get"],
            "shortNames": ["t"]}]});
    let bytes = object(
        &document,
        crate::schema::discovery::document("APIResourceList").unwrap(),
    );
    let read = Envelope::open(&bytes).unwrap();
    // As a real server writes it, but for the order of the fields.
    let expected =
        b"\x0a\x04x/v1\x12\x22\x0a\x06things\x10\x01\x1a\x05Thing\x22\x05\x0a\x03get\x2a\x01t\x32\x05thing";
    let sorted = |message: &[u8]| {
        let resource = Fields(message)
            .last()
            .unwrap()
            .unwrap()
            .1
            .bytes()
            .unwrap()
            .to_vec();
        let mut fields: Vec<_> = Fields(&resource)
            .map(|field| format!("{:?}", field.unwrap()))
            .collect();
        fields.sort();
        fields
    };
    assert_eq!(sorted(read.message), sorted(expected));
}

#[test]
fn kinds_that_protobuf_does_not_have_have_no_form() {
    static JSON_ONLY: Object = Object::new("x.v1", "Json", "", &[METADATA, field("spec", 0, TEXT, "")]);
    assert!(has_form(&STATUS));
    assert!(!has_form(&JSON_ONLY));
}
