//! Validates every import that was sent to a real server and compares with what that server said.
//!
//! The recordings are not part of this repository: the test runs where `IMAGESTREAM_CONFORMANCE_DIR` names them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

use std::path::{Path, PathBuf};

use imagestream_api::allowed_registries::{AllowedRegistries, RegistryLocation};
use imagestream_api::defaults::{self, ImportMode};
use imagestream_api::field;
use imagestream_api::types::ImageStreamImport;
use imagestream_api::validation;
use serde_json::{Value, json};

/// Every recorded request to import, with the answer.
fn cases(directory: &Path) -> Vec<(PathBuf, Value)> {
    std::fs::read_dir(directory.join("recordings/imagestreamimports"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let case = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            (path, case)
        })
        .collect()
}

/// The two servers that were recorded differ in what they allow and in the default mode.
fn configuration(server: &str) -> (AllowedRegistries, ImportMode) {
    let locations: Vec<RegistryLocation> = match server {
        "main" => return (AllowedRegistries::all(), ImportMode::Legacy),
        "alt" => serde_json::from_value(json!([
            {"domainName": "127.0.0.1:25000"},
            {"domainName": "allowed.example.com"},
            {"domainName": "insecure.example.com", "insecure": true},
            {"domainName": "*.wild.example.com:*"}
        ]))
        .unwrap(),
        other => panic!("unknown server {other}"),
    };
    let registries = AllowedRegistries::new(&locations).unwrap();
    (registries, ImportMode::PreserveOriginal)
}

/// The import of a request as validation sees it: defaulted, and in the namespace of the path.
fn import(request: &Value, mode: ImportMode) -> Option<ImageStreamImport> {
    let mut import: ImageStreamImport = match request.get("bodyRaw").and_then(Value::as_str) {
        Some(text) => serde_json::from_str(text).ok()?,
        None => serde_json::from_value(request["body"].clone()).ok()?,
    };
    let mut segments = request["path"].as_str()?.split('/');
    segments.find(|segment| *segment == "namespaces")?;
    import.metadata.namespace = segments.next().map(str::to_owned);
    defaults::image_stream_import(&mut import, mode);
    Some(import)
}

/// Our answer to a recorded request, if we refuse it. Administrators may import from every registry.
fn refusal(case: &Value) -> Option<Value> {
    let (registries, mode) = configuration(case["server"].as_str().unwrap());
    let import = import(&case["request"], mode)?;
    let mut errors = validation::image_stream_import(&import);
    if errors.is_empty() && case["request"]["user"] != "admin" {
        errors = validation::allowed(&import, &registries);
    }
    let name = import.metadata.name.unwrap_or_default();
    (!errors.is_empty())
        .then(|| serde_json::to_value(field::invalid("ImageStreamImport", &name, &errors)).unwrap())
}

#[test]
fn imports_are_refused_and_accepted_as_by_a_real_server() {
    let Some(directory) = std::env::var_os("IMAGESTREAM_CONFORMANCE_DIR") else {
        eprintln!("skipped: IMAGESTREAM_CONFORMANCE_DIR does not name the recordings");
        return;
    };
    let (mut refused, mut accepted, mut different) = (0, 0, Vec::new());
    for (path, case) in cases(Path::new(&directory)) {
        let answer = &case["response"];
        let expected = match (
            answer["status"].as_u64(),
            answer["body"]["details"]["kind"].as_str(),
        ) {
            (Some(422), Some("ImageStreamImport")) => Some(answer["body"].clone()),
            // In the second case only the stream was refused that the import led to.
            (Some(201), _) | (Some(422), Some("ImageStream")) => None,
            _ => continue,
        };
        *(if expected.is_some() {
            &mut refused
        } else {
            &mut accepted
        }) += 1;
        let ours = refusal(&case);
        if ours != expected {
            different.push(format!(
                "{}\n  recorded {expected:?}\n  ours     {ours:?}",
                path.display()
            ));
        }
    }
    eprintln!("{refused} refused, {accepted} accepted");
    assert!(
        refused >= 25 && accepted >= 100,
        "{refused} refused, {accepted} accepted"
    );
    assert!(
        different.is_empty(),
        "{} differ:\n{}",
        different.len(),
        different.join("\n")
    );
}
