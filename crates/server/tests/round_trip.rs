//! Any object of any type of the group survives being read into its type and written again, as JSON and as protobuf.
//!
//! Objects are made from the schemas that clients are shown: every field that a schema names is set now and then, so that a
//! field that a type forgets, or that protobuf writes under another number than it reads, is found.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use imagestream_api::types::*;
use imagestream_apiserver::protobuf::{self, Envelope};
use imagestream_apiserver::schema::{Field, Merge, Object, Schema};
use imagestream_server::schema::image;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Objects of each type.
const CASES: u32 = 200;

/// Numbers that depend on a seed alone.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn text(&mut self) -> String {
        let letters = ["a", "Z", "0", "-", "/", "é", "\"", "日"];
        let length = 1 + self.below(6);
        (0..length)
            .map(|_| letters[usize::try_from(self.below(8)).unwrap()])
            .collect()
    }

    /// A value of a schema that is not what an absent one would be read as. Objects end somewhere.
    fn value(&mut self, schema: Schema, depth: u32) -> Option<Value> {
        Some(match schema {
            Schema::Raw => json!({"kind": "DockerImage", "apiVersion": "image.openshift.io/1.0", "Id": "x"}),
            Schema::FieldsV1 => json!({"f:spec": {}}),
            Schema::Untyped | Schema::Number => return None,
            Schema::Text(_) => self.text().into(),
            Schema::Bytes => ["YQ==", "AAEC", "/w=="][usize::try_from(self.below(3)).unwrap()].into(),
            Schema::Time => format!("2024-01-02T03:04:{:02}Z", self.below(60)).into(),
            Schema::MicroTime => "2024-01-02T03:04:05.000006Z".into(),
            Schema::Quantity => format!("{}Gi", 1 + self.below(9)).into(),
            Schema::Boolean => true.into(),
            Schema::Integer("int32") => (1 + self.below(i32::MAX as u64 - 1)).into(),
            Schema::Integer(_) => (1 + self.below(1 << 62)).into(),
            Schema::Object(object) => self.object(object, depth)?,
            Schema::List(list) => {
                let length = 1 + self.below(2);
                let mut items = Vec::new();
                for position in 0..length {
                    let mut item = self.value(list.items, depth)?;
                    // What is told apart by a field must be.
                    if let (Merge::ByKey(key), Schema::Object(of)) = (list.merge, list.items)
                        && of.field(key).is_some()
                    {
                        item[key] = format!("k{position}").into();
                    }
                    for key in ["name", "tag"] {
                        if let Some(name) = item.get_mut(key).filter(|name| name.is_string()) {
                            *name = format!("k{position}").into();
                        }
                    }
                    items.push(item);
                }
                items.into()
            }
            Schema::Map(values) => json!({"one": self.value(*values, depth)?}),
        })
    }

    fn object(&mut self, object: &Object, depth: u32) -> Option<Value> {
        let mut fields = Map::new();
        // Of a whole object they say no more than its place does; in a reference they are fields as others are.
        let is_whole = object.field("metadata").is_some();
        for Field {
            name,
            schema,
            required,
            ..
        } in object.fields
        {
            let is_deep = matches!(schema, Schema::Object(_) | Schema::List(_)) && depth > 7;
            let is_wanted = *required || matches!(*name, "name" | "tag") || self.below(3) > 0;
            if is_deep || !is_wanted || is_whole && matches!(*name, "kind" | "apiVersion") {
                continue;
            }
            // The version decides which type its neighbour is read into, and there is one.
            if *name == "dockerImageMetadataVersion" {
                fields.insert((*name).to_owned(), "1.0".into());
            } else if let Some(value) = self.value(*schema, depth + 1) {
                fields.insert((*name).to_owned(), value);
            }
        }
        Some(fields.into())
    }
}

/// Where one value lacks something that another has, or has it otherwise.
fn missing(wanted: &Value, found: &Value, place: &str, out: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (name, value) in wanted {
                // It is read into a type of its own, which fills it.
                if name != "dockerImageMetadata" {
                    missing(
                        value,
                        found.get(name).unwrap_or(&Value::Null),
                        &format!("{place}.{name}"),
                        out,
                    );
                }
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (position, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                missing(wanted, found, &format!("{place}[{position}]"), out);
            }
        }
        (wanted, found) if wanted == found => {}
        (wanted, found) => out.push(format!("{place}: {wanted} became {found}")),
    }
}

fn survives<T: DeserializeOwned + Serialize>(kind: &str, schema: &'static Object) {
    let mut runner = TestRunner::new_with_rng(
        Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let typed = |object: &Value| -> Value {
        let object: T = serde_json::from_value(object.clone())
            .unwrap_or_else(|error| panic!("{kind}: {error}: {object:#}"));
        serde_json::to_value(object).unwrap()
    };
    let run = runner.run(&any::<u64>(), |seed| {
        let object = Random(seed).object(schema, 0).unwrap();
        let read = typed(&object);
        let mut lost = Vec::new();
        missing(&object, &read, kind, &mut lost);
        prop_assert!(lost.is_empty(), "as JSON: {:#?}", lost);
        prop_assert_eq!(&typed(&read), &read, "a second time");
        let bytes = protobuf::object(&read, schema);
        let back = Envelope::open(&bytes).unwrap().read(schema).unwrap();
        prop_assert_eq!(&typed(&back), &read, "as protobuf");
        Ok(())
    });
    if let Err(error) = run {
        panic!("{kind}: {error}");
    }
}

macro_rules! every_object_survives {
    ($($name:ident: $type:ty = $schema:expr;)*) => {
        $(
            #[test]
            fn $name() {
                survives::<$type>(stringify!($type), &$schema);
            }
        )*
    };
}

every_object_survives! {
    images: Image = image::IMAGE;
    signatures: ImageSignature = image::IMAGE_SIGNATURE;
    streams: ImageStream = image::IMAGE_STREAM;
    imports: ImageStreamImport = image::IMAGE_STREAM_IMPORT;
    stream_tags: ImageStreamTag = image::IMAGE_STREAM_TAG;
    tags: ImageTag = image::IMAGE_TAG;
    stream_images: ImageStreamImage = image::IMAGE_STREAM_IMAGE;
    layers: ImageStreamLayers = image::IMAGE_STREAM_LAYERS;
    mappings: ImageStreamMapping = image::IMAGE_STREAM_MAPPING;
}
