//! Reads every object that a real server answered with our types, writes it again and compares.
//!
//! The recordings are not part of this repository: the test runs where `IMAGESTREAM_CONFORMANCE_DIR` names them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imagestream_api::types::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

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

fn rewritten<T: Kind + DeserializeOwned + Serialize>(object: &Value) -> Value {
    let read: T =
        serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error} in {object}"));
    serde_json::to_value(Typed::new(&read)).unwrap()
}

fn rewrite(object: &Value) -> Option<Value> {
    Some(match object["kind"].as_str()? {
        "Image" => rewritten::<Image>(object),
        "ImageList" => rewritten::<ImageList>(object),
        "ImageSignature" => rewritten::<ImageSignature>(object),
        "ImageStream" => rewritten::<ImageStream>(object),
        "ImageStreamList" => rewritten::<ImageStreamList>(object),
        "ImageStreamImage" => rewritten::<ImageStreamImage>(object),
        "ImageStreamImport" => rewritten::<ImageStreamImport>(object),
        "ImageStreamLayers" => rewritten::<ImageStreamLayers>(object),
        "ImageStreamTag" => rewritten::<ImageStreamTag>(object),
        "ImageStreamTagList" => rewritten::<ImageStreamTagList>(object),
        "ImageTag" => rewritten::<ImageTag>(object),
        "ImageTagList" => rewritten::<ImageTagList>(object),
        _ => return None,
    })
}

/// `null` and `[]` are both right for the items of a computed list.
fn same(recorded: &Value, ours: &Value) -> bool {
    let items = |value: &Value| value.get("items").cloned().filter(|items| !items.is_null());
    if recorded["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("List"))
        && items(recorded).is_none()
    {
        return items(ours).is_some_and(|items| items == serde_json::json!([]));
    }
    recorded == ours
}

#[test]
fn every_recorded_object_is_written_as_it_was_read() {
    let Some(directory) = std::env::var_os("IMAGESTREAM_CONFORMANCE_DIR") else {
        eprintln!("skipped: IMAGESTREAM_CONFORMANCE_DIR does not name the recordings");
        return;
    };
    let mut paths = Vec::new();
    files(&Path::new(&directory).join("recordings"), &mut paths);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut different = Vec::new();
    for path in &paths {
        let case: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let steps = ["setup", "after"]
            .iter()
            .flat_map(|key| case[key].as_array().into_iter().flatten());
        for answer in steps.map(|step| &step["response"]).chain([&case["response"]]) {
            let object = &answer["body"];
            if object["apiVersion"] != API_VERSION {
                continue;
            }
            if let Some(ours) = rewrite(object) {
                *seen.entry(object["kind"].to_string()).or_default() += 1;
                if !same(object, &ours) {
                    different.push(format!(
                        "{}\n  recorded {object}\n  ours     {ours}",
                        path.display()
                    ));
                }
            }
        }
    }
    eprintln!("{seen:?}");
    assert!(seen.len() >= 10, "too few kinds: {seen:?}");
    assert!(
        different.is_empty(),
        "{} differ:\n{}",
        different.len(),
        different[..different.len().min(5)].join("\n")
    );
}
