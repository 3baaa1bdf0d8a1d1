//! Sends recorded requests through the rules for streams and compares with what a real server answered.
//!
//! The recordings are not part of this repository: the tests run where `IMAGESTREAM_CONFORMANCE_DIR` names them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imagestream_api::allowed_registries::{AllowedRegistries, RegistryLocation};
use imagestream_api::defaults::{self, ImportMode};
use imagestream_api::field::{self, FieldError};
use imagestream_api::stream::access::Review;
use imagestream_api::stream::repository::RegistryHosts;
use imagestream_api::stream::source::{Source, StreamKey};
use imagestream_api::stream::write::{Answers, Resolved, Write, status_update};
use imagestream_api::tables::{Column, Row};
use imagestream_api::types::*;
use imagestream_api::{validation, views};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The time at which everything happens here; the recordings' times are all of a day in November 2026.
const NOW: &str = "2026-11-23T12:00:00Z";
const RECORDED_DAY: &str = "2026-11-2";

fn cases(categories: &[&str]) -> Option<Vec<(PathBuf, Value)>> {
    let Some(directory) = std::env::var_os("IMAGESTREAM_CONFORMANCE_DIR") else {
        eprintln!("skipped: IMAGESTREAM_CONFORMANCE_DIR does not name the recordings");
        return None;
    };
    let mut found = Vec::new();
    for category in categories {
        let directory = Path::new(&directory).join("recordings").join(category);
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let case = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            found.push((path, case));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Some(found)
}

fn report(different: &[String], compared: usize, at_least: usize) {
    eprintln!("{compared} compared");
    assert!(compared >= at_least, "only {compared} compared");
    assert!(
        different.is_empty(),
        "{} differ:\n{}",
        different.len(),
        different.join("\n")
    );
}

/// One of the two servers that were recorded.
struct Server {
    registries: AllowedRegistries,
    mode: ImportMode,
    hosts: RegistryHosts,
}

impl Server {
    fn of(name: &str) -> Self {
        let internal = "image-registry.openshift-image-registry.svc:5000";
        match name {
            "main" => Self {
                registries: AllowedRegistries::all(),
                mode: ImportMode::Legacy,
                hosts: RegistryHosts {
                    internal: Some(internal.into()),
                    external: Vec::new(),
                },
            },
            "alt" => {
                let locations: Vec<RegistryLocation> = serde_json::from_value(json!([
                    {"domainName": "127.0.0.1:25000"},
                    {"domainName": "allowed.example.com"},
                    {"domainName": "insecure.example.com", "insecure": true},
                    {"domainName": "*.wild.example.com:*"}
                ]))
                .unwrap();
                Self {
                    registries: AllowedRegistries::new(&locations).unwrap(),
                    mode: ImportMode::PreserveOriginal,
                    hosts: RegistryHosts {
                        internal: None,
                        external: vec!["registry.apps.lab.test".into()],
                    },
                }
            }
            other => panic!("unknown server {other}"),
        }
    }
}

/// `/apis/image.openshift.io/v1/namespaces/<namespace>/<resource>[/<name>[/<subresource>]]`
fn target(request: &Value) -> Option<(&str, Vec<&str>)> {
    let path = request["path"].as_str()?;
    let rest = path.strip_prefix("/apis/image.openshift.io/v1/namespaces/")?;
    let mut segments = rest.split('/');
    Some((segments.next()?, segments.collect()))
}

fn body<T: DeserializeOwned>(request: &Value) -> Option<T> {
    serde_json::from_value(request.get("body")?.clone()).ok()
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// Streams, as far as they come from requests that can be repeated without a registry.
#[derive(Default)]
struct Streams(BTreeMap<StreamKey, ImageStream>);

impl Streams {
    /// What the rules make of a request; nothing if it is not about streams, or needs more than the rules.
    fn send(&mut self, request: &Value, server: &Server) -> Option<Result<ImageStream, Box<Status>>> {
        let (namespace, segments) = target(request)?;
        let result = match (request["method"].as_str()?, segments.as_slice()) {
            ("POST", ["imagestreams"]) => {
                let mut stream: ImageStream = body(request)?;
                stream.metadata.namespace = Some(namespace.into());
                stream.metadata.uid = Some("uid".into());
                stream.metadata.creation_timestamp = Some(now());
                stream.metadata.resource_version = None;
                stream.metadata.name.as_ref()?;
                defaults::image_stream(&mut stream, server.mode);
                self.finish(Write::create(stream), request, server)
            }
            (method @ ("PUT" | "PATCH"), ["imagestreams", name, rest @ ..]) => {
                let key = StreamKey {
                    namespace: namespace.into(),
                    name: (*name).into(),
                };
                let stored = self.0.get(&key)?.clone();
                let content_type = request["headers"]["Content-Type"].as_str()?;
                let mut stream: ImageStream = match (method, content_type) {
                    ("PUT", _) => body(request)?,
                    ("PATCH", "application/merge-patch+json") => {
                        let mut patched = serde_json::to_value(&stored).unwrap();
                        merge(&mut patched, request.get("body")?);
                        serde_json::from_value(patched).ok()?
                    }
                    _ => return None,
                };
                stream.metadata.resource_version.as_ref()?;
                stream.metadata.namespace = Some(namespace.into());
                stream.metadata.uid.clone_from(&stored.metadata.uid);
                stream
                    .metadata
                    .creation_timestamp
                    .clone_from(&stored.metadata.creation_timestamp);
                stream.metadata.generation = stored.metadata.generation;
                stream.metadata.self_link = None;
                defaults::image_stream(&mut stream, server.mode);
                match rest {
                    [] => self.finish(Write::update(stream, stored), request, server),
                    ["status"] => status_update(stream, stored).finish(None, &server.registries),
                    _ => return None,
                }
            }
            _ => return None,
        };
        if let Ok(stream) = &result {
            let mut stored = stream.clone();
            stored.metadata.resource_version = Some("1".into());
            self.0.insert(StreamKey::of(stream), stored);
        }
        Some(result)
    }

    fn finish(&self, write: Write, request: &Value, server: &Server) -> Result<ImageStream, Box<Status>> {
        let mut answers = Answers::default();
        for key in write.sources() {
            let found = self.0.get(&key).cloned();
            let source = found.map_or(Source::Missing, |stream| Source::Found(Box::new(stream)));
            answers.sources.insert(key, source);
        }
        for key in write.reviews() {
            let review = Review {
                allowed: request["user"] == "admin",
                ..Review::default()
            };
            answers.reviews.insert(key, review);
        }
        let resolved: Resolved = write.resolve(&answers, &server.hosts, &now());
        resolved.finish(None, &server.registries)
    }
}

fn is_dry_run(case: &Value) -> bool {
    let query = case["request"]["query"].as_str();
    query.is_some_and(|query| query.contains("dryRun"))
}

fn now() -> Time {
    Time(NOW.parse().unwrap())
}

/// An object without what differs from run to run, and without kind and version, which its type has.
fn comparable(object: &Value) -> Value {
    let mut object = lasting(object);
    let fields = object.as_object_mut().unwrap();
    fields.remove("kind");
    fields.remove("apiVersion");
    object
}

fn lasting(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "managedFields" | "uid" | "resourceVersion"))
            .map(|(key, value)| (key.clone(), lasting(value)))
            .collect(),
        Value::Array(items) => items.iter().map(lasting).collect(),
        Value::String(text) if text.starts_with(RECORDED_DAY) => json!("<time>"),
        other => other.clone(),
    }
}

#[test]
fn streams_are_written_and_refused_as_by_a_real_server() {
    let Some(cases) = cases(&["imagestreams"]) else {
        return;
    };
    let (mut written, mut refused, mut different) = (0, 0, Vec::new());
    for (path, case) in cases {
        let mut streams = Streams::default();
        let setup = case["setup"].as_array().unwrap();
        // Roles decide who may refer to what, imports and tags write streams: neither is repeated here.
        let is_repeatable = setup.iter().all(|step| {
            let path = step["request"]["path"].as_str().unwrap_or_default();
            ![
                "rbac.authorization",
                "/imagestreamimports",
                "tags",
                "/imagestreammappings",
                "/limitranges",
            ]
            .iter()
            .any(|part| path.contains(part))
        });
        if !is_repeatable || is_dry_run(&case) {
            continue;
        }
        let default_server = case["server"].as_str().unwrap();
        for step in setup {
            let server = step["request"]["server"].as_str().unwrap_or(default_server);
            streams.send(&step["request"], &Server::of(server));
        }
        let recorded = &case["response"];
        let is_compared = match recorded["status"].as_u64() {
            Some(200 | 201) => recorded["body"]["kind"] == "ImageStream",
            Some(422) => recorded["body"]["details"]["kind"] == "ImageStream",
            _ => false,
        };
        if !is_compared {
            continue;
        }
        let Some(ours) = streams.send(&case["request"], &Server::of(default_server)) else {
            continue;
        };
        let ours = match ours {
            Ok(stream) => {
                written += 1;
                serde_json::to_value(stream)
            }
            Err(status) => {
                refused += 1;
                serde_json::to_value(status)
            }
        };
        let (ours, expected) = (comparable(&ours.unwrap()), comparable(&recorded["body"]));
        if ours != expected {
            different.push(format!(
                "{}\n  recorded {expected}\n  ours     {ours}",
                path.display()
            ));
        }
    }
    eprintln!("{written} written, {refused} refused");
    report(&different, written + refused, 50);
}

/// The 422 for errors.
fn invalid(kind: &str, metadata: &ObjectMeta, errors: &[FieldError]) -> Option<Value> {
    let name = metadata.name.as_deref().unwrap_or_default();
    (!errors.is_empty()).then(|| serde_json::to_value(field::invalid(kind, name, errors)).unwrap())
}

/// What is wrong with a created object of any kind but a stream.
fn refusal_of_create(request: &Value, resource: &str, server: &Server) -> Option<Value> {
    let namespace = target(request).map(|(namespace, _)| namespace.to_owned());
    match resource {
        "imagestreamtags" => {
            let mut object: ImageStreamTag = body(request)?;
            object.metadata.namespace = namespace;
            defaults::image_stream_tag(&mut object, server.mode);
            let errors = validation::image_stream_tag(&object, &server.registries);
            invalid("ImageStreamTag", &object.metadata, &errors)
        }
        "imagetags" => {
            let mut object: ImageTag = body(request)?;
            object.metadata.namespace = namespace;
            defaults::image_tag(&mut object, server.mode);
            let errors = validation::image_tag(&object, &server.registries);
            invalid("ImageTag", &object.metadata, &errors)
        }
        "imagestreammappings" => {
            let mut object: ImageStreamMapping = body(request)?;
            object.metadata.namespace = namespace;
            let errors = validation::image_stream_mapping(&object);
            invalid("ImageStreamMapping", &object.metadata, &errors)
        }
        "images" => {
            let mut object: Image = body(request)?;
            if object.metadata.name.is_none() {
                object.metadata.name.clone_from(&object.metadata.generate_name);
            }
            invalid("Image", &object.metadata, &validation::image(&object))
        }
        "imagesignatures" => {
            let object: ImageSignature = body(request)?;
            invalid(
                "ImageSignature",
                &object.metadata,
                &validation::image_signature(&object),
            )
        }
        _ => None,
    }
}

#[test]
fn other_objects_are_refused_as_by_a_real_server() {
    let categories = [
        "imagestreamtags",
        "imagetags",
        "imagestreammappings",
        "images",
        "imagesignatures",
    ];
    let Some(cases) = cases(&categories) else { return };
    let (mut compared, mut different) = (0, Vec::new());
    for (path, case) in cases {
        let (request, recorded) = (&case["request"], &case["response"]);
        let resource = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let is_create = request["method"] == "POST" && request["path"].as_str().unwrap().ends_with(resource);
        let expected = match recorded["status"].as_u64() {
            Some(201) => None,
            Some(422) if recorded["body"]["details"]["kind"] != "ImageStream" => {
                Some(recorded["body"].clone())
            }
            _ => continue,
        };
        if !is_create {
            continue;
        }
        let ours = refusal_of_create(request, resource, &Server::of(case["server"].as_str().unwrap()));
        compared += 1;
        // The tag and the reference are filled in before validation.
        let is_filled_in = expected.is_none() && ours.as_ref().is_some_and(is_about_what_is_filled_in);
        if ours != expected && !is_filled_in {
            different.push(format!(
                "{}\n  recorded {expected:?}\n  ours     {ours:?}",
                path.display()
            ));
        }
    }
    report(&different, compared, 30);
}

fn is_about_what_is_filled_in(status: &Value) -> bool {
    let causes = status["details"]["causes"].as_array().unwrap();
    causes
        .iter()
        .all(|cause| cause["field"] == "spec.name" || cause["field"] == "image.dockerImageReference")
}

#[test]
fn tags_cannot_be_changed_where_a_real_server_refuses() {
    let Some(cases) = cases(&["imagestreamtags", "imagetags"]) else {
        return;
    };
    let (mut compared, mut different) = (0, Vec::new());
    for (path, case) in cases {
        let (request, recorded) = (&case["request"], &case["response"]);
        if request["method"] != "PUT" || recorded["status"] != 422 {
            continue;
        }
        // A refused request changes nothing: the stream afterwards is the stream before.
        let Some(stream) = stream_afterwards(&case) else {
            continue;
        };
        let server = Server::of(case["server"].as_str().unwrap());
        let name = request["body"]["metadata"]["name"].as_str().unwrap();
        let tag = name.split_once(':').unwrap().1;
        let ours = if request["path"].as_str().unwrap().contains("/imagetags/") {
            let mut object: ImageTag = body(request).unwrap();
            let stored = views::image_tag(&stream, tag, None).unwrap();
            defaults::image_tag(&mut object, server.mode);
            fill_from(&mut object.metadata, &stored.metadata);
            let errors = validation::image_tag_update(&object, &stored, &server.registries);
            invalid("ImageTag", &object.metadata, &errors)
        } else {
            let mut object: ImageStreamTag = body(request).unwrap();
            let stored = views::image_stream_tag(&stream, tag, None);
            defaults::image_stream_tag(&mut object, server.mode);
            fill_from(&mut object.metadata, &stored.metadata);
            object.image.clone_from(&stored.image);
            object.conditions.clone_from(&stored.conditions);
            let errors = validation::image_stream_tag_update(&object, &stored, &server.registries);
            invalid("ImageStreamTag", &object.metadata, &errors)
        };
        compared += 1;
        if ours.as_ref() != Some(&recorded["body"]) {
            different.push(format!(
                "{}\n  recorded {}\n  ours     {ours:?}",
                path.display(),
                recorded["body"]
            ));
        }
    }
    report(&different, compared, 5);
}

/// What a server fills in if the request does not say it.
fn fill_from(metadata: &mut ObjectMeta, stored: &ObjectMeta) {
    for (given, kept) in [
        (&mut metadata.uid, &stored.uid),
        (&mut metadata.namespace, &stored.namespace),
    ] {
        if given.is_none() {
            given.clone_from(kept);
        }
    }
    metadata.creation_timestamp.clone_from(&stored.creation_timestamp);
    metadata.resource_version.clone_from(&stored.resource_version);
    metadata.generation = stored.generation;
}

fn stream_afterwards(case: &Value) -> Option<ImageStream> {
    let steps = case["after"].as_array()?;
    let answers = steps.iter().map(|step| &step["response"]["body"]);
    let stream = answers.into_iter().find(|body| body["kind"] == "ImageStream")?;
    serde_json::from_value(stream.clone()).ok()
}

#[test]
fn tags_are_shown_as_by_a_real_server() {
    let Some(cases) = cases(&["imagestreamtags", "imagetags"]) else {
        return;
    };
    let (mut compared, mut different) = (0, Vec::new());
    for (path, case) in cases {
        let Some(stream) = stream_afterwards(&case) else {
            continue;
        };
        // What a dry run shows is not stored.
        if is_dry_run(&case) {
            continue;
        }
        let answers = case["after"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|step| &step["response"]);
        let shown = answers.chain([&case["response"]]).map(|answer| &answer["body"]);
        for recorded in shown {
            // The image is not recorded on its own; what the view leaves alone in it serves instead.
            let known: Option<Image> = serde_json::from_value(recorded["image"].clone())
                .ok()
                .filter(|image: &Image| image.metadata.uid.is_some());
            let Some((_, tag)) = recorded["metadata"]["name"]
                .as_str()
                .and_then(|name| name.split_once(':'))
            else {
                continue;
            };
            let current = recorded["metadata"]["resourceVersion"].as_str();
            if current != stream.metadata.resource_version.as_deref() {
                continue;
            }
            let ours = match recorded["kind"].as_str() {
                Some("ImageStreamTag") => {
                    serde_json::to_value(views::image_stream_tag(&stream, tag, known.as_ref()))
                }
                Some("ImageTag") => serde_json::to_value(views::image_tag(&stream, tag, known.as_ref())),
                _ => continue,
            };
            compared += 1;
            let (ours, expected) = (comparable(&ours.unwrap()), comparable(recorded));
            if ours != expected {
                different.push(format!(
                    "{}\n  recorded {expected}\n  ours     {ours}",
                    path.display()
                ));
            }
        }
    }
    report(&different, compared, 10);
}

fn columns(columns: &[Column]) -> Value {
    serde_json::to_value(columns).unwrap()
}

#[test]
fn tables_have_the_columns_of_a_real_server() {
    let categories = [
        "images",
        "imagestreams",
        "imagestreamtags",
        "imagetags",
        "imagestreamimages",
    ];
    let Some(cases) = cases(&categories) else { return };
    let (mut compared, mut different) = (0, Vec::new());
    for (path, case) in cases {
        let table = &case["response"]["body"];
        if table["kind"] != "Table" {
            continue;
        }
        let ours = match path.parent().unwrap().file_name().unwrap().to_str().unwrap() {
            "images" => columns(Image::COLUMNS),
            "imagestreams" => columns(ImageStream::COLUMNS),
            "imagestreamtags" => columns(ImageStreamTag::COLUMNS),
            "imagetags" => columns(ImageTag::COLUMNS),
            _ => columns(ImageStreamImage::COLUMNS),
        };
        compared += 1;
        if ours != table["columnDefinitions"] {
            different.push(path.display().to_string());
        }
    }
    report(&different, compared, 4);
}
