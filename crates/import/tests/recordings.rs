//! Runs every recorded import against the registries that it was recorded with, and compares the results.
//!
//! Neither recordings nor registries are part of this repository: the test runs where
//! `IMAGESTREAM_CONFORMANCE_DIR` names the recordings, `IMAGESTREAM_CONFORMANCE_CA` the registries' authority, and the
//! registries are up.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use imagestream_api::defaults::{self, ImportMode};
use imagestream_api::generations;
use imagestream_api::types::{ImageStream, ImageStreamImport, Secret, Time, Typed};
use imagestream_import::apply::{self, apply};
use imagestream_import::{Credentials, Engine, EngineOptions, Platform, Progress, Request};
use imagestream_registry::keychain::Keychain;
use imagestream_registry::sources::{MirrorGroup, RegistryRules, RulesInput};
use imagestream_registry::{Client, ClientOptions};
use serde_json::Value;
use tokio::time::Instant;

/// The host name of the integrated registry in the first of the two recorded configurations.
const INTERNAL_REGISTRY: &str = "image-registry.openshift-image-registry.svc:5000";

/// What was set up before a recorded request.
struct Surroundings {
    rules: RegistryRules,
    credentials: Credentials,
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .map(|list| {
            list.iter()
                .map(|item| item.as_str().unwrap().to_owned())
                .collect()
        })
        .unwrap_or_default()
}

fn mirror_groups(body: &Value, key: &str) -> Vec<MirrorGroup> {
    let groups = body["spec"][key].as_array().cloned().unwrap_or_default();
    groups
        .iter()
        .map(|group| MirrorGroup {
            source: group["source"].as_str().unwrap().to_owned(),
            mirrors: strings(&group["mirrors"]),
            never_contact_source: group["mirrorSourcePolicy"] == "NeverContactSource",
        })
        .collect()
}

fn surroundings(case: &Value, namespace: &str) -> Surroundings {
    let mut input = RulesInput::default();
    let mut secrets: Vec<Secret> = Vec::new();
    for step in case["setup"].as_array().into_iter().flatten() {
        let request = &step["request"];
        let (path, body) = (request["path"].as_str().unwrap(), &request["body"]);
        if path.ends_with("/imagedigestmirrorsets") {
            input
                .digest_mirrors
                .extend(mirror_groups(body, "imageDigestMirrors"));
        } else if path.ends_with("/imagetagmirrorsets") {
            input.tag_mirrors.extend(mirror_groups(body, "imageTagMirrors"));
        } else if path.ends_with("/imagecontentsourcepolicies") {
            input
                .digest_mirrors
                .extend(mirror_groups(body, "repositoryDigestMirrors"));
        } else if path.starts_with("/apis/config.openshift.io/v1/images") {
            input.insecure = strings(&body["spec"]["registrySources"]["insecureRegistries"]);
            input.blocked = strings(&body["spec"]["registrySources"]["blockedRegistries"]);
        } else if path == format!("/api/v1/namespaces/{namespace}/secrets") {
            // The API leaves such secrets to other uses.
            if body["metadata"]["annotations"]["openshift.io/image.excludeSecret"] != "true" {
                secrets.push(serde_json::from_value(body.clone()).unwrap());
            }
        }
    }
    secrets.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    Surroundings {
        rules: RegistryRules::new(&input),
        credentials: Credentials {
            secrets: keychain(&secrets),
            host: None,
        },
    }
}

fn keychain(secrets: &[Secret]) -> Result<Keychain, String> {
    let mut keychain = Keychain::default();
    for secret in secrets {
        let value = |key: &str| {
            let text = secret.string_data.as_ref().and_then(|data| data.get(key));
            let bytes = secret.data.as_ref().and_then(|data| data.get(key));
            text.map(|text| text.clone().into_bytes())
                .or_else(|| bytes.map(|bytes| bytes.0.clone()))
        };
        let added = match secret.type_.as_deref() {
            Some("kubernetes.io/dockerconfigjson") => {
                value(".dockerconfigjson").map(|document| keychain.add_dockerconfigjson(&document))
            }
            Some("kubernetes.io/dockercfg") => {
                value(".dockercfg").map(|document| keychain.add_dockercfg(&document))
            }
            _ => None,
        };
        added.unwrap_or(Ok(())).map_err(|error| error.to_string())?;
    }
    Ok(keychain)
}

/// Removes what differs from run to run.
fn comparable(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| {
                !["uid", "resourceVersion", "creationTimestamp", "managedFields"].contains(&key.as_str())
            })
            .map(|(key, value)| (key.clone(), comparable(value)))
            .collect(),
        Value::Array(items) => items.iter().map(comparable).collect(),
        Value::String(text) if is_recent_time(text) => "<time>".into(),
        other => other.clone(),
    }
}

/// A time of the recording or of this test, unlike those inside of images.
fn is_recent_time(text: &str) -> bool {
    text.len() == 20 && text.ends_with('Z') && text >= "2026-11-01T00:00:00Z" && text.as_bytes()[10] == b'T'
}

/// The kind of failure that a text of a network or parsing library names.
fn kind_of(text: &str) -> Option<usize> {
    const KINDS: [&[&str]; 7] = [
        &["connection refused"],
        &[
            "HTTP response to HTTPS client",
            "corrupt message",
            "plain HTTP",
            "not TLS",
        ],
        &["x509: ", "certificate", "UnknownIssuer"],
        &["no such host", "dns error", "failed to lookup", "resolve"],
        &["deadline exceeded", "timed out", "timeout", "Timeout"],
        &["EOF", "connection reset", "connection closed", "broken pipe"],
        &[
            "cannot unmarshal",
            "error decoding",
            "invalid character",
            "unexpected end of JSON",
            "looking for beginning",
            "missing field",
            " at line ",
            "invalid type",
        ],
    ];
    KINDS
        .iter()
        .position(|words| words.iter().any(|word| text.contains(word)))
}

fn differences(path: &str, recorded: &Value, ours: &Value, found: &mut Vec<String>) {
    match (recorded, ours) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let (one, other) = (
                    one.get(key).unwrap_or(&Value::Null),
                    other.get(key).unwrap_or(&Value::Null),
                );
                differences(&format!("{path}.{key}"), one, other, found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                differences(&format!("{path}[{index}]"), one, other, found);
            }
        }
        (Value::String(one), Value::String(other))
            if path.ends_with(".message") && kind_of(one).is_some() && kind_of(one) == kind_of(other) => {}
        _ if recorded == ours => {}
        _ => found.push(format!("  {path}\n    recorded {recorded}\n    ours     {ours}")),
    }
}

/// Where imports run.
struct Scene<'a> {
    engine: &'a Engine,
    surroundings: Surroundings,
    mode: ImportMode,
}

impl Scene<'_> {
    /// What the server answers to an import, without what only a store knows.
    async fn import(&self, body: &Value, namespace: &str, stream: Option<&ImageStream>) -> ImageStreamImport {
        let mut import: ImageStreamImport = serde_json::from_value(body.clone()).unwrap();
        import.metadata.namespace = Some(namespace.to_owned());
        defaults::image_stream_import(&mut import, self.mode);
        let now = Time(k8s_openapi::jiff::Timestamp::now());
        import.status = self
            .engine
            .run(&Request {
                spec: &import.spec,
                stream,
                rules: &self.surroundings.rules,
                credentials: &self.surroundings.credentials,
                now: &now,
                deadline: Instant::now() + Duration::from_secs(12),
                patience: Instant::now() + Duration::from_secs(12),
                progress: &Progress::default(),
            })
            .await;
        if import.spec.import {
            let mut applied = apply(&import, stream, &now, self.mode);
            match stream {
                Some(stored) => generations::on_update(&mut applied.stream, stored),
                None => generations::on_create(&mut applied.stream),
            }
            apply::show_recorded(&import.spec, &mut import.status, &applied.images);
            import.status.import = Some(applied.stream);
        }
        apply::clear_manifests(&import.spec, &mut import.status);
        import
    }
}

/// Runs one case; its differences.
async fn run(case: &Value, client: &Client) -> Vec<String> {
    let body = &case["request"]["body"];
    let recorded = &case["response"]["body"];
    let is_alternative = case["server"] == "alt";
    let mode = if is_alternative {
        ImportMode::PreserveOriginal
    } else {
        ImportMode::Legacy
    };
    let engine = Engine::new(
        client.clone(),
        EngineOptions {
            max_images_per_repository: Some(if is_alternative { 5 } else { 50 }),
            platform: Platform {
                os: "linux".into(),
                architecture: "amd64".into(),
            },
        },
    );
    let text = |key: &str| recorded["metadata"][key].as_str().unwrap().to_owned();
    let (namespace, name) = (text("namespace"), text("name"));
    let scene = Scene {
        engine: &engine,
        surroundings: surroundings(case, &namespace),
        mode,
    };
    let mut stream = None;
    for step in case["setup"].as_array().into_iter().flatten() {
        let body = &step["request"]["body"];
        if step["request"]["method"] != "POST" || body["metadata"]["name"] != *name {
            continue;
        }
        if body["kind"] == "ImageStream" {
            let mut created: ImageStream = serde_json::from_value(body.clone()).unwrap();
            created.metadata.namespace = Some(namespace.clone());
            defaults::image_stream(&mut created, mode);
            generations::on_create(&mut created);
            stream = Some(created);
        } else if body["kind"] == "ImageStreamImport" {
            let import = scene.import(body, &namespace, stream.as_ref()).await;
            stream = import.status.import.or(stream);
        }
    }
    let mut import = scene.import(body, &namespace, stream.as_ref()).await;
    import.metadata = serde_json::from_value(recorded["metadata"].clone()).unwrap();
    if let Some(stream) = &mut import.status.import {
        // What the server shows of its own registry.
        if is_alternative {
            stream.status.public_docker_image_repository =
                format!("registry.apps.lab.test/{namespace}/{name}");
        } else {
            stream.status.docker_image_repository = format!("{INTERNAL_REGISTRY}/{namespace}/{name}");
        }
    }
    let ours = serde_json::to_value(Typed::new(&import)).unwrap();
    let mut found = Vec::new();
    differences("", &comparable(recorded), &comparable(&ours), &mut found);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_import_gives_the_recorded_result() {
    let (Some(directory), Some(authority)) = (
        std::env::var_os("IMAGESTREAM_CONFORMANCE_DIR"),
        std::env::var_os("IMAGESTREAM_CONFORMANCE_CA"),
    ) else {
        eprintln!(
            "skipped: IMAGESTREAM_CONFORMANCE_DIR and IMAGESTREAM_CONFORMANCE_CA don't name the recordings"
        );
        return;
    };
    let only = std::env::var("IMAGESTREAM_CONFORMANCE_ONLY").unwrap_or_default();
    let directory = Path::new(&directory);
    let client = Client::new(ClientOptions {
        trusted_ca_pem: Some(std::fs::read(authority).unwrap()),
        ..ClientOptions::default()
    })
    .unwrap();
    let deviations = std::fs::read(directory.join("deviations.json")).unwrap();
    let deviations: Value = serde_json::from_slice(&deviations).unwrap();
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(directory.join("recordings/imagestreamimports")).unwrap() {
        let case: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let name = format!("imagestreamimports/{}", case["name"].as_str().unwrap());
        let is_import =
            case["response"]["body"]["kind"] == "ImageStreamImport" && case["request"]["body"].is_object();
        if is_import && deviations.get(&name).is_none() && name.contains(&only) {
            cases.push((name, case));
        }
    }
    let count = cases.len();
    let failed: Vec<String> = futures::stream::iter(cases)
        .map(async |(name, case)| (name, run(&case, &client).await))
        .buffer_unordered(8)
        .filter_map(async |(name, found)| {
            (!found.is_empty()).then(|| format!("{name}\n{}", found[..found.len().min(4)].join("\n")))
        })
        .collect()
        .await;
    eprintln!(
        "{} of {count} recorded imports give the recorded result",
        count - failed.len()
    );
    assert!(
        failed.is_empty(),
        "{} differ:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
