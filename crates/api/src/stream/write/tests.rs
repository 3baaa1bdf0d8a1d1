use serde_json::{Value, json};

use super::super::access::Review;
use super::super::source::Source;
use super::*;
use crate::allowed_registries::RegistryLocation;
use crate::defaults::{self, ImportMode};
use crate::types::Time;

fn stream(value: Value) -> ImageStream {
    let mut stream: ImageStream = serde_json::from_value(value).unwrap();
    let metadata = &mut stream.metadata;
    metadata.name = Some("s".into());
    metadata.namespace = Some("n".into());
    metadata.resource_version = Some("7".into());
    defaults::image_stream(&mut stream, ImportMode::Legacy);
    stream
}

fn external(name: &str, reference: &str) -> Value {
    json!({"name": name, "from": {"kind": "DockerImage", "name": reference}, "reference": true})
}

fn tracker(name: &str, of: &str) -> Value {
    json!({"name": name, "from": {"kind": "ImageStreamTag", "name": of}})
}

fn resolved(write: Write) -> Resolved {
    let now = Time("2024-06-01T00:00:00Z".parse().unwrap());
    write.resolve(&Answers::default(), &RegistryHosts::default(), &now)
}

fn written(write: Write) -> ImageStream {
    resolved(write).finish(None, &AllowedRegistries::all()).unwrap()
}

fn message(result: Result<ImageStream, Box<Status>>) -> String {
    result.unwrap_err().message.unwrap()
}

fn newest(stream: &ImageStream, tag: &str) -> Option<(String, i64)> {
    let event = stream.status.tags.get(tag)?.items.first()?;
    Some((event.docker_image_reference.clone(), event.generation))
}

fn some(reference: &str, generation: i64) -> Option<(String, i64)> {
    Some((reference.to_owned(), generation))
}

#[test]
fn a_new_stream_starts_at_one_without_history_but_with_what_its_tags_resolve_to() {
    let sent = stream(json!({
        "metadata": {"generation": 9},
        "spec": {"tags": [external("base", "a/b:1"), tracker("t", "base"), {"name": "u", "generation": 5}]},
        "status": {"dockerImageRepository": "sent", "tags": [{"tag": "x", "items": [{"dockerImageReference": "a"}]}]}
    }));
    let stored = written(Write::create(sent));
    assert_eq!(stored.metadata.generation, Some(1));
    assert!(stored.spec.tags.values().all(|tag| tag.generation == Some(1)));
    assert_eq!(newest(&stored, "base"), some("a/b:1", 1));
    assert_eq!(newest(&stored, "t"), some("a/b:1", 1));
    assert_eq!(newest(&stored, "x"), None);
    assert_eq!(stored.status.docker_image_repository, "");
}

#[test]
fn a_stream_that_an_import_creates_keeps_its_history() {
    let imported = stream(json!({
        "status": {"tags": [{"tag": "x", "items": [{"dockerImageReference": "a", "generation": 1}]}]}
    }));
    let stored = written(Write::create_with_history(imported));
    assert_eq!(newest(&stored, "x"), some("a", 1));
}

#[test]
fn a_clients_update_changes_no_history_but_resolves_tags_and_does_not_follow() {
    let stored = written(Write::create(stream(
        json!({"spec": {"tags": [external("base", "a/b:1"), tracker("t", "base")]}}),
    )));
    let sent = stream(json!({
        "spec": {"tags": [external("base", "a/b:2"), tracker("t", "base")]},
        "status": {"tags": [{"tag": "x", "items": [{"dockerImageReference": "a"}]}]}
    }));
    let new = written(Write::update(sent, stored));
    assert_eq!(new.metadata.generation, Some(2));
    assert_eq!(newest(&new, "base"), some("a/b:2", 2));
    assert_eq!(newest(&new, "t"), some("a/b:1", 1));
    assert_eq!(newest(&new, "x"), None);
}

#[test]
fn the_servers_own_update_changes_the_history_and_follows() {
    let stored = written(Write::create(stream(
        json!({"spec": {"tags": [external("base", "a/b:1"), tracker("t", "base")]}}),
    )));
    let mut changed = stored.clone();
    let event =
        serde_json::from_value(json!({"dockerImageReference": "a/b:3", "image": "x", "generation": 1}));
    changed
        .status
        .tags
        .get_mut("base")
        .unwrap()
        .items
        .insert(0, event.unwrap());
    changed
        .status
        .tags
        .insert("empty".into(), crate::types::NamedTagEventList::default());
    let new = written(Write::internal_update(changed, stored));
    assert_eq!(new.metadata.generation, Some(1), "the spec is the same");
    assert_eq!(newest(&new, "t"), some("a/b:3", 1));
    assert!(!new.status.tags.contains_key("empty"));
}

#[test]
fn asking_for_another_import_resolves_and_reviews_nothing() {
    let from = json!({"kind": "ImageStreamTag", "name": "o:x", "namespace": "m"});
    let spec =
        |generation: i64| json!({"spec": {"tags": [{"name": "t", "from": from, "generation": generation}]}});
    let mut stored = stream(spec(3));
    stored.metadata.generation = Some(3);
    let write = Write::update(stream(spec(0)), stored);
    assert_eq!((write.sources().len(), write.reviews().len()), (0, 0));
    let new = written(write);
    assert_eq!(new.spec.tags["t"].generation, Some(4));
    assert!(new.status.tags.is_empty());
}

#[test]
fn the_repository_is_that_of_the_configured_registries() {
    let hosts = RegistryHosts {
        internal: Some("registry:5000".into()),
        external: vec!["reg.example.com".into()],
    };
    let now = Time("2024-06-01T00:00:00Z".parse().unwrap());
    let write = Write::create(stream(json!({"spec": {"dockerImageRepository": "a/b"}})));
    let resolved = write.resolve(&Answers::default(), &hosts, &now);
    let status = &resolved.stream().status;
    assert_eq!(status.docker_image_repository, "registry:5000/n/s");
    assert_eq!(status.public_docker_image_repository, "reg.example.com/n/s");
}

#[test]
fn denials_come_before_what_cannot_be_resolved_and_do_not_say_what_exists() {
    let from = |kind: &str, name: &str| json!({"kind": kind, "name": name, "namespace": "m"});
    let write = Write::create(stream(json!({"spec": {"tags": [
        {"name": "a", "from": {"kind": "ImageStreamTag", "name": "missing:v1"}},
        {"name": "t", "from": from("ImageStreamTag", "src:v1")},
        {"name": "u", "from": from("ImageStreamImage", "src@sha256:1")}
    ]}})));
    let key = write.reviews().pop_first().unwrap();
    let mut answers = Answers::default();
    let now = Time("2024-06-01T00:00:00Z".parse().unwrap());
    let finish = |answers: &Answers| {
        let resolved = write.clone().resolve(answers, &RegistryHosts::default(), &now);
        message(resolved.finish(Some("not reached"), &AllowedRegistries::all()))
    };
    for source in [
        Source::Missing,
        Source::Unreadable("damaged".into()),
        Source::Found(Box::new(stream(json!({})))),
    ] {
        answers.sources.insert(key.clone(), source);
        assert_eq!(
            finish(&answers),
            "ImageStream.image.openshift.io \"s\" is invalid: []: Internal error: imagestreams \"s\" is invalid: \
             [spec.tags[t].from: Forbidden: m/src: \"\" \"\", spec.tags[u].from: Forbidden: m/src: \"\" \"\", \
             spec.tags[a].from.name: Not found: \"missing:v1\"]"
        );
    }
    let allowed = Review {
        allowed: true,
        ..Review::default()
    };
    answers.reviews.insert(key.clone(), allowed);
    answers.sources.insert(key, Source::Missing);
    assert_eq!(
        finish(&answers),
        "ImageStream.image.openshift.io \"s\" is invalid: []: Internal error: imagestreams \"s\" is invalid: \
         [spec.tags[a].from.name: Not found: \"missing:v1\", spec.tags[t].from.name: Not found: \"src:v1\", \
         spec.tags[u].from.name: Not found: \"src@sha256:1\"]"
    );
}

#[test]
fn a_limit_is_told_at_the_stream_for_a_status_and_about_the_whole_otherwise() {
    let stored = stream(json!({"metadata": {"generation": 1}}));
    let all = AllowedRegistries::all();
    assert_eq!(
        message(status_update(stored.clone(), stored.clone()).finish(Some("too many"), &all)),
        "ImageStream.image.openshift.io \"s\" is invalid: imageStream: Forbidden: too many"
    );
    assert_eq!(
        message(resolved(Write::update(stored.clone(), stored)).finish(Some("too many"), &all)),
        "ImageStream.image.openshift.io \"s\" is invalid: []: Internal error: too many"
    );
}

#[test]
fn limits_do_not_count_what_a_clients_update_resolves_to() {
    let stored = stream(json!({"metadata": {"generation": 1}}));
    let sent = stream(json!({"spec": {"tags": [external("t", "a/b:1")]}}));
    let update = resolved(Write::update(sent.clone(), stored.clone()));
    assert_eq!(update.compared_with().unwrap().status, update.stream().status);
    assert!(update.compared_with().unwrap().spec.tags.is_empty());
    let internal = resolved(Write::internal_update(sent.clone(), stored.clone()));
    assert_eq!(internal.compared_with(), Some(stored));
    assert_eq!(resolved(Write::create(sent)).compared_with(), None);
}

#[test]
fn a_client_cannot_point_at_a_registry_that_is_not_allowed() {
    let registries = AllowedRegistries::new(&[RegistryLocation {
        domain_name: "example.com".into(),
        insecure: false,
    }])
    .unwrap();
    let stored = stream(json!({"metadata": {"generation": 1}}));
    let sent = stream(json!({"spec": {"tags": [external("t", "evil.example.com/a")]}}));
    let refusal = "Forbidden: registry \"evil.example.com\" not allowed by whitelist: \"example.com:443\"";
    let spec = format!("spec.tags[t].from.name: {refusal}");
    let status = format!("status.tags[t].items[0].dockerImageReference: {refusal}");
    let invalid = "ImageStream.image.openshift.io \"s\" is invalid";
    assert_eq!(
        message(resolved(Write::update(sent.clone(), stored)).finish(None, &registries)),
        format!("{invalid}: {spec}")
    );
    assert_eq!(
        message(resolved(Write::create(sent)).finish(None, &registries)),
        format!("{invalid}: [{spec}, {status}]")
    );
}
