#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use imagestream_apiserver::schema::{Object, Schema};
use serde_json::Value;

use super::{authentication, authorization, config, core, image, rbac};

static KINDS: [&Object; 28] = [
    &image::IMAGE,
    &image::IMAGE_SIGNATURE,
    &image::IMAGE_STREAM,
    &image::IMAGE_STREAM_TAG,
    &image::IMAGE_TAG,
    &image::IMAGE_STREAM_IMAGE,
    &image::IMAGE_STREAM_IMPORT,
    &image::IMAGE_STREAM_LAYERS,
    &image::IMAGE_STREAM_MAPPING,
    &image::SECRET_LIST,
    &core::NAMESPACE,
    &core::SECRET,
    &core::LIMIT_RANGE,
    &core::RESOURCE_QUOTA,
    &core::EVENT,
    &rbac::ROLE,
    &rbac::CLUSTER_ROLE,
    &rbac::ROLE_BINDING,
    &rbac::CLUSTER_ROLE_BINDING,
    &authentication::SELF_SUBJECT_REVIEW,
    &authorization::SUBJECT_ACCESS_REVIEW,
    &authorization::LOCAL_SUBJECT_ACCESS_REVIEW,
    &authorization::SELF_SUBJECT_ACCESS_REVIEW,
    &authorization::SELF_SUBJECT_RULES_REVIEW,
    &config::IMAGE_CONFIG,
    &config::IMAGE_DIGEST_MIRROR_SET,
    &config::IMAGE_TAG_MIRROR_SET,
    &config::IMAGE_CONTENT_SOURCE_POLICY,
];

fn collect(schema: Schema, found: &mut BTreeMap<String, &'static Object>) {
    match schema {
        Schema::List(list) => collect(list.items, found),
        Schema::Map(values) => collect(*values, found),
        Schema::Object(object) => {
            let name = format!("{}.{}", object.home, object.name);
            if found.insert(name, object).is_none() {
                for field in object.fields {
                    collect(field.schema, found);
                }
            }
        }
        _ => {}
    }
}

fn all() -> BTreeMap<String, &'static Object> {
    let mut found = BTreeMap::new();
    for kind in KINDS {
        collect(Schema::Object(kind), &mut found);
    }
    found
}

#[test]
fn every_field_has_one_name_one_number_and_a_sentence() {
    for (name, object) in all() {
        assert!(object.description.ends_with('.'), "{name}");
        let mut names = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        for field in object.fields {
            assert!(field.description.ends_with('.'), "{name}.{}", field.name);
            assert!(names.insert(field.name), "{name}.{}", field.name);
            assert!(
                field.number == 0 || numbers.insert((field.inlined_from, field.number)),
                "{name}.{}",
                field.name
            );
        }
    }
}

#[test]
fn every_kind_says_what_it_is_and_is_called() {
    for kind in KINDS {
        for name in ["kind", "apiVersion", "metadata"] {
            assert!(kind.field(name).is_some(), "{}.{name}", kind.name);
        }
    }
}

#[test]
fn types_have_the_fields_that_a_real_server_publishes() {
    let Some(directory) = std::env::var_os("IMAGESTREAM_CONFORMANCE_DIR") else {
        eprintln!("skipped: IMAGESTREAM_CONFORMANCE_DIR does not name the recordings");
        return;
    };
    let path = Path::new(&directory).join("openapi/openapi-v3-apis-image.openshift.io-v1.json");
    let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let published = document["components"]["schemas"].as_object().unwrap();
    let ours = all();
    let mut compared = 0;
    for (name, schema) in published {
        let Some(object) = ours.get(name) else {
            // Lists of kinds are described where resources are.
            let is_ours = name.starts_with(image::HOME) && !name.ends_with("List");
            assert!(!is_ours, "{name} is missing");
            continue;
        };
        let theirs: BTreeSet<&str> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let names = object.fields.iter().map(|field| field.name).collect();
        assert_eq!(theirs, names, "fields of {name}");
        let theirs: BTreeSet<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let required = object.fields.iter().filter(|field| field.required);
        assert_eq!(
            theirs,
            required.map(|field| field.name).collect(),
            "required of {name}"
        );
        assert_eq!(
            schema["x-kubernetes-map-type"] == "atomic",
            object.atomic,
            "who owns {name}"
        );
        compared += 1;
    }
    assert!(compared >= 40, "only {compared} types were compared");
}
