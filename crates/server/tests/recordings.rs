//! Who owns the fields of objects that a real server created, and what protobuf makes of all that it answered.
//!
//! The recordings are not part of this repository: the tests run where `IMAGESTREAM_CONFORMANCE_DIR` names them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imagestream_api::defaults::{self, ImportMode};
use imagestream_api::types::*;
use imagestream_apiserver::kind::Kind;
use imagestream_apiserver::managed_fields::{Tracking, track};
use imagestream_apiserver::protobuf::{self, Envelope};
use imagestream_apiserver::schema::Object;
use imagestream_server::schema::image;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
}

/// All cases, by name; none if there are no recordings.
fn cases() -> BTreeMap<String, Value> {
    let Some(directory) = std::env::var_os("IMAGESTREAM_CONFORMANCE_DIR") else {
        eprintln!("skipped: IMAGESTREAM_CONFORMANCE_DIR does not name the recordings");
        return BTreeMap::new();
    };
    let mut paths = Vec::new();
    files(&Path::new(&directory).join("recordings"), &mut paths);
    let case = |path: &PathBuf| {
        let case: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        (
            format!(
                "{}/{}",
                case["category"].as_str().unwrap(),
                case["name"].as_str().unwrap()
            ),
            case,
        )
    };
    paths.iter().map(case).collect()
}

/// An object as clients send it, as a server reads it, and what it looks like when nothing is set.
fn read(object: &Value) -> Option<(Value, Value, &'static Object)> {
    fn typed<T: DeserializeOwned>(object: &Value) -> Option<T> {
        serde_json::from_value(object.clone()).ok()
    }
    let mode = ImportMode::default();
    Some(match object["kind"].as_str()? {
        "Image" => {
            let image: Image = typed(object)?;
            (json!(Typed::new(&image)), json!({"metadata": {}}), &image::IMAGE)
        }
        "ImageStream" => {
            let mut stream: ImageStream = typed(object)?;
            defaults::image_stream(&mut stream, mode);
            (
                json!(Typed::new(&stream)),
                json!(ImageStream::default()),
                &image::IMAGE_STREAM,
            )
        }
        "ImageStreamImport" => {
            let mut import: ImageStreamImport = typed(object)?;
            defaults::image_stream_import(&mut import, mode);
            (
                json!(Typed::new(&import)),
                json!(ImageStreamImport::default()),
                &image::IMAGE_STREAM_IMPORT,
            )
        }
        _ => return None,
    })
}

fn without_times(entries: &Value) -> Value {
    let mut entries = entries.clone();
    for entry in entries.as_array_mut().into_iter().flatten() {
        entry.as_object_mut().unwrap().remove("time");
    }
    entries
}

#[test]
fn who_creates_an_object_owns_what_a_real_server_says() {
    let cases = cases();
    let mut compared = 0;
    for (name, case) in &cases {
        let (request, answer) = (&case["request"], &case["response"]);
        let expected = &answer["body"]["metadata"]["managedFields"];
        if request["method"] != "POST"
            || answer["status"] != 201
            || case["server"] != "main"
            || expected.is_null()
        {
            continue;
        }
        let Some((mut object, empty, schema)) = read(&request["body"]) else {
            continue;
        };
        let kind = Kind {
            group: GROUP,
            version: "v1",
            kind: "",
            schema,
            package: "image",
            description: "",
        };
        let tracking = Tracking {
            manager: expected[0]["manager"].as_str().unwrap(),
            kind: Box::leak(Box::new(kind)),
            subresource: "",
            now: jiff::Timestamp::UNIX_EPOCH,
            empty: &empty,
        };
        track(None, &mut object, &tracking);
        let found = without_times(&object["metadata"]["managedFields"]);
        assert_eq!(found, without_times(expected), "{name}");
        compared += 1;
    }
    assert!(
        cases.is_empty() || compared > 150,
        "only {compared} objects were compared"
    );
}

/// What is left of an object that was written as protobuf and read again, and of the object itself.
fn through_protobuf<T: DeserializeOwned + Serialize>(
    object: &Value,
    schema: &'static Object,
) -> (Value, Value) {
    let bytes = protobuf::object(object, schema);
    let read = Envelope::open(&bytes).unwrap().read(schema).unwrap();
    let typed = |object: Value| {
        serde_json::from_value::<T>(object)
            .map(|object| json!(object))
            .unwrap()
    };
    (typed(read), typed(object.clone()))
}

fn both(object: &Value) -> Option<(Value, Value)> {
    Some(match object["kind"].as_str()? {
        "Image" => through_protobuf::<Image>(object, &image::IMAGE),
        "ImageStream" => through_protobuf::<ImageStream>(object, &image::IMAGE_STREAM),
        "ImageStreamImage" => through_protobuf::<ImageStreamImage>(object, &image::IMAGE_STREAM_IMAGE),
        "ImageStreamImport" => through_protobuf::<ImageStreamImport>(object, &image::IMAGE_STREAM_IMPORT),
        "ImageStreamLayers" => through_protobuf::<ImageStreamLayers>(object, &image::IMAGE_STREAM_LAYERS),
        "ImageStreamTag" => through_protobuf::<ImageStreamTag>(object, &image::IMAGE_STREAM_TAG),
        "ImageTag" => through_protobuf::<ImageTag>(object, &image::IMAGE_TAG),
        _ => return None,
    })
}

#[test]
fn every_recorded_object_survives_the_way_through_protobuf() {
    let cases = cases();
    let mut compared = 0;
    for (name, case) in &cases {
        let after = case["after"].as_array().into_iter().flatten();
        for answer in after.map(|step| &step["response"]).chain([&case["response"]]) {
            if let Some((there_and_back, object)) = both(&answer["body"]) {
                assert_eq!(there_and_back, object, "{name}");
                compared += 1;
            }
        }
    }
    assert!(
        cases.is_empty() || compared > 300,
        "only {compared} objects were compared"
    );
}

#[test]
fn what_a_real_server_wrote_as_protobuf_is_read_as_it_is_written_again() {
    let cases = cases();
    let mut compared = 0;
    for (name, case) in &cases {
        let answer = &case["response"];
        if answer["headers"]["content-type"] != "application/vnd.kubernetes.protobuf" {
            continue;
        }
        let bytes = STANDARD.decode(answer["bodyBase64"].as_str().unwrap()).unwrap();
        let envelope = Envelope::open(&bytes).unwrap();
        let schema: &Object = match envelope.kind.as_str() {
            "ImageStream" => &image::IMAGE_STREAM,
            "ImageStreamTag" => &image::IMAGE_STREAM_TAG,
            "ImageTag" => &image::IMAGE_TAG,
            "ImageStreamImport" => &image::IMAGE_STREAM_IMPORT,
            _ => continue,
        };
        let mut object = envelope.read(schema).unwrap();
        object["kind"] = envelope.kind.as_str().into();
        object["apiVersion"] = envelope.api_version.as_str().into();
        let named = object["metadata"]["name"].as_str().unwrap();
        let path = case["request"]["path"].as_str().unwrap();
        assert!(
            path.ends_with(named) || case["request"]["body"]["metadata"]["name"] == named,
            "{name}"
        );
        let (there_and_back, object) = both(&object).unwrap();
        assert_eq!(there_and_back, object, "{name}");
        compared += 1;
    }
    assert!(
        cases.is_empty() || compared == 4,
        "{compared} objects were compared"
    );
}
