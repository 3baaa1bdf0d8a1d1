//! The OpenAPI documents that are served describe what is answered: by this server, and by a real one of the original.
//!
//! Answers of the original are checked where `IMAGESTREAM_CONFORMANCE_DIR` names recordings of them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imagestream_testkit::registry::TestRegistry;
use imagestream_testkit::samples;
use imagestream_tests::client::{Client, imports, streams};
use imagestream_tests::server::{ADMIN, Server};
use jsonschema::Validator;
use serde_json::{Value, json};

const GROUP: &str = "image.openshift.io";

/// A validator for each kind of the group. Fields that a schema does not name are errors. Any field may be null: that is as
/// Kubernetes' clients have it, and its documents have no word for it.
async fn validators(client: &Client) -> BTreeMap<String, Validator> {
    let mut document = client.get(&format!("/openapi/v3/apis/{GROUP}/v1")).await.ok();
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    for schema in schemas.values_mut() {
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
            continue;
        };
        for property in properties.values_mut() {
            *property = json!({"anyOf": [property.take(), {"type": "null"}]});
        }
        if schema.get("additionalProperties").is_none() {
            schema["additionalProperties"] = false.into();
        }
    }
    let mut kinds = BTreeMap::new();
    for (name, schema) in schemas.iter() {
        for kind in schema["x-kubernetes-group-version-kind"]
            .as_array()
            .into_iter()
            .flatten()
        {
            if kind["group"] == GROUP {
                kinds.insert(kind["kind"].as_str().unwrap().to_owned(), name.clone());
            }
        }
    }
    let validator = |name: &str| {
        let schema =
            json!({"$ref": format!("#/components/schemas/{name}"), "components": document["components"]});
        jsonschema::draft202012::new(&schema).unwrap()
    };
    kinds
        .iter()
        .map(|(kind, name)| (kind.clone(), validator(name)))
        .collect()
}

/// What is wrong with an answer, if it is an object of the group; nothing if it is something else.
fn problems(validators: &BTreeMap<String, Validator>, answer: &Value) -> Option<Vec<String>> {
    let is_ours = answer["apiVersion"].as_str()?.starts_with(GROUP);
    let validator = validators.get(answer["kind"].as_str()?).filter(|_| is_ours)?;
    let errors = validator.iter_errors(answer);
    Some(
        errors
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect(),
    )
}

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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_as_openapi_says() {
    let server = Server::start();
    let client = Client::new(&server, ADMIN);
    let validators = validators(&client).await;
    client.create_namespace("team").await;
    let registry = TestRegistry::start(samples::demo());
    let repository = "demo/web";
    let import = json!({"kind": "ImageStreamImport", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "app"},
        "spec": {"import": true, "repository": {"from": {"kind": "DockerImage", "name": format!("{}/{repository}", registry.host())},
                 "importPolicy": {"insecure": true}}}});
    let mut answers = vec![client.post(&imports("team"), &import).await.ok()];
    let stream = answers[0]["status"]["import"].clone();
    let tag = stream["status"]["tags"][0]["tag"].as_str().unwrap().to_owned();
    let image = stream["status"]["tags"][0]["items"][0]["image"]
        .as_str()
        .unwrap()
        .to_owned();
    for path in [
        streams("team"),
        format!("{}/app", streams("team")),
        format!("{}/app/layers", streams("team")),
        format!("/apis/{GROUP}/v1/namespaces/team/imagestreamtags"),
        format!("/apis/{GROUP}/v1/namespaces/team/imagestreamtags/app:{tag}"),
        format!("/apis/{GROUP}/v1/namespaces/team/imagetags"),
        format!("/apis/{GROUP}/v1/namespaces/team/imagetags/app:{tag}"),
        format!("/apis/{GROUP}/v1/namespaces/team/imagestreamimages/app@{image}"),
        format!("/apis/{GROUP}/v1/images"),
        format!("/apis/{GROUP}/v1/images/{image}"),
    ] {
        answers.push(client.get(&path).await.ok());
    }
    for answer in &answers {
        let found =
            problems(&validators, answer).unwrap_or_else(|| panic!("no schema for {}", answer["kind"]));
        assert!(found.is_empty(), "{}: {found:#?}", answer["kind"]);
    }
    // The check can fail.
    for (place, value) in [
        ("/spec/lookupPolicy/local", json!("yes")),
        ("/spec", json!({"lookupPolice": {}})),
    ] {
        let mut wrong = answers[2].clone();
        *wrong.pointer_mut(place).unwrap() = value;
        assert_eq!(problems(&validators, &wrong).unwrap().len(), 1, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_original_answered_is_as_openapi_says() {
    let Some(directory) = std::env::var_os("IMAGESTREAM_CONFORMANCE_DIR") else {
        eprintln!("skipped: IMAGESTREAM_CONFORMANCE_DIR does not name the recordings");
        return;
    };
    let server = Server::start();
    let validators = validators(&Client::new(&server, ADMIN)).await;
    let mut paths = Vec::new();
    files(&Path::new(&directory).join("recordings"), &mut paths);
    let mut checked = 0;
    let mut wrong = Vec::new();
    for path in &paths {
        let case: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let steps = ["setup", "after"]
            .into_iter()
            .flat_map(|part| case[part].as_array().into_iter().flatten());
        for step in steps.chain([&case]) {
            let Some(found) = problems(&validators, &step["response"]["body"]) else {
                continue;
            };
            checked += 1;
            for problem in found {
                wrong.push(format!(
                    "{}: {}: {problem}",
                    path.display(),
                    step["response"]["body"]["kind"]
                ));
            }
        }
    }
    println!("{checked} objects");
    assert!(checked > 500, "only {checked} objects were found");
    assert!(
        wrong.is_empty(),
        "{} problems, {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(20)]
    );
}
