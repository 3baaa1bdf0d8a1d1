use imagestream_api::generations;
use serde_json::{Value, json};

use super::*;

const DIGEST_A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const DIGEST_B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn now() -> Time {
    Time(k8s_openapi::jiff::Timestamp::from_second(1_700_000_000).unwrap())
}

fn image(digest: &str) -> Value {
    json!({"metadata": {"name": digest}, "dockerImageReference": format!("r.example/a@{digest}"),
           "dockerImageManifest": "{}", "dockerImageConfig": "{}"})
}

fn success(tag: &str, digest: &str) -> Value {
    json!({"status": {"status": "Success"}, "tag": tag, "image": image(digest)})
}

fn failure(tag: &str, reason: &str, message: &str) -> Value {
    json!({"status": {"status": "Failure", "reason": reason, "message": message}, "tag": tag})
}

fn to(tag: &str) -> Value {
    json!({"from": {"kind": "DockerImage", "name": format!("r.example/a:{tag}")}, "to": {"name": tag}})
}

fn import(spec: &Value, status: &Value) -> ImageStreamImport {
    let mut import = serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "n", "labels": {"not": "copied"}}, "spec": spec, "status": status
    }))
    .unwrap();
    defaults::image_stream_import(&mut import, ImportMode::Legacy);
    import
}

/// Records one result per image in `stream`, with generations counted as the write of a stream counts them.
fn record(images: &[Value], results: &[Value], stream: Option<&ImageStream>) -> Applied {
    let import = import(
        &json!({"import": true, "images": images}),
        &json!({"images": results}),
    );
    let mut applied = apply(&import, stream, &now(), ImportMode::Legacy);
    match stream {
        Some(stored) => generations::on_update(&mut applied.stream, stored),
        None => generations::on_create(&mut applied.stream),
    }
    applied
}

fn tag<'a>(stream: &'a ImageStream, name: &str) -> (&'a TagReference, &'a NamedTagEventList) {
    (&stream.spec.tags[name], &stream.status.tags[name])
}

#[test]
fn a_first_import_creates_the_stream_its_tags_and_the_images() {
    let applied = record(
        &[to("v1"), to("gone")],
        &[success("v1", DIGEST_A), failure("gone", "NotFound", "not there")],
        None,
    );
    assert_eq!(applied.write, StreamWrite::Create);
    let stream = serde_json::to_value(&applied.stream).unwrap();
    let policies = json!({"importPolicy": {"importMode": "Legacy"}, "referencePolicy": {"type": "Source"}});
    let spec_tag = |name: &str| {
        let mut tag = policies.clone();
        tag["name"] = json!(name);
        tag["annotations"] = Value::Null;
        tag["generation"] = json!(1);
        tag["from"] = json!({"kind": "DockerImage", "name": format!("r.example/a:{name}")});
        tag
    };
    assert_eq!(
        stream,
        json!({
            "metadata": {"name": "s", "namespace": "n", "generation": 1,
                         "annotations": {"openshift.io/image.dockerRepositoryCheck": "2023-11-14T22:13:20Z"}},
            "spec": {"lookupPolicy": {"local": false}, "tags": [spec_tag("gone"), spec_tag("v1")]},
            "status": {"dockerImageRepository": "", "tags": [
                {"tag": "gone", "items": null, "conditions": [
                    {"type": "ImportSuccess", "status": "False", "lastTransitionTime": "2023-11-14T22:13:20Z",
                     "reason": "NotFound", "message": "not there", "generation": 1}]},
                {"tag": "v1", "items": [
                    {"created": "2023-11-14T22:13:20Z", "dockerImageReference": format!("r.example/a@{DIGEST_A}"),
                     "image": DIGEST_A, "generation": 1}]}
            ]}
        })
    );
    assert_eq!(applied.images.len(), 1);
    assert!(
        applied.images[0].docker_image_manifest.is_empty()
            && applied.images[0].docker_image_config.is_empty()
    );
}

#[test]
fn repeating_an_import_with_the_same_outcome_writes_nothing() {
    let images = [to("v1"), to("gone")];
    let results = [success("v1", DIGEST_A), failure("gone", "NotFound", "not there")];
    let first = record(&images, &results, None).stream;
    let second = record(&images, &results, Some(&first));
    assert_eq!((second.write, &second.stream), (StreamWrite::Nothing, &first));
    assert_eq!(
        second.images.len(),
        1,
        "the image is created again in case it was pruned"
    );
}

#[test]
fn a_stream_that_no_import_wrote_yet_is_written_even_if_nothing_changed() {
    let mut stored = record(&[to("v1")], &[success("v1", DIGEST_A)], None).stream;
    stored.metadata.annotations = None;
    let applied = record(&[to("v1")], &[success("v1", DIGEST_A)], Some(&stored));
    assert_eq!(applied.write, StreamWrite::Update);
    assert_eq!(applied.stream.metadata.generation, Some(1));
}

#[test]
fn another_digest_is_put_before_the_old_one_with_the_next_generation() {
    let first = record(&[to("v1")], &[success("v1", DIGEST_A)], None).stream;
    let applied = record(&[to("v1")], &[success("v1", DIGEST_B)], Some(&first));
    let (spec, status) = tag(&applied.stream, "v1");
    let history: Vec<_> = status
        .items
        .iter()
        .map(|item| (item.image.as_str(), item.generation))
        .collect();
    assert_eq!(history, [(DIGEST_B, 2), (DIGEST_A, 1)]);
    assert_eq!(
        (spec.generation, applied.stream.metadata.generation),
        (Some(2), Some(2))
    );
}

#[test]
fn a_tag_that_asked_for_an_import_gets_the_generation_of_the_answer() {
    let mut stored = record(&[to("v1")], &[success("v1", DIGEST_A)], None).stream;
    stored.spec.tags.get_mut("v1").unwrap().generation = Some(2);
    stored
        .spec
        .tags
        .get_mut("v1")
        .unwrap()
        .reference_policy
        .policy_type = "Local".into();
    stored.metadata.generation = Some(2);
    let applied = record(&[to("v1")], &[success("v1", DIGEST_A)], Some(&stored));
    let (spec, status) = tag(&applied.stream, "v1");
    assert_eq!((status.items.len(), status.items[0].generation), (1, 3));
    assert_eq!(status.items[0].created, stored.status.tags["v1"].items[0].created);
    assert_eq!(
        spec.reference_policy.policy_type, "Local",
        "the tag's own policy is kept"
    );
}

#[test]
fn a_failure_keeps_the_history_and_a_success_removes_its_condition() {
    let first = record(&[to("v1")], &[success("v1", DIGEST_A)], None).stream;
    let failed = record(&[to("v1")], &[failure("v1", "NotFound", "gone")], Some(&first)).stream;
    let (spec, status) = tag(&failed, "v1");
    assert_eq!((status.items.len(), status.conditions.len()), (1, 1));
    assert_eq!((status.conditions[0].generation, spec.generation), (2, Some(2)));
    let recovered = record(&[to("v1")], &[success("v1", DIGEST_A)], Some(&failed)).stream;
    let (_, status) = tag(&recovered, "v1");
    assert_eq!(
        (
            status.items.len(),
            status.conditions.len(),
            status.items[0].generation
        ),
        (1, 0, 3)
    );
}

#[test]
fn a_failure_with_another_text_replaces_the_condition_and_the_same_text_does_not() {
    let first = record(&[to("v1")], &[failure("v1", "NotFound", "one")], None).stream;
    let same = record(&[to("v1")], &[failure("v1", "NotFound", "one")], Some(&first));
    assert_eq!(same.write, StreamWrite::Nothing);
    let other = record(&[to("v1")], &[failure("v1", "NotFound", "two")], Some(&first)).stream;
    let conditions = &tag(&other, "v1").1.conditions;
    assert_eq!(
        (
            conditions.len(),
            conditions[0].message.as_str(),
            conditions[0].generation
        ),
        (1, "two", 2)
    );
}

#[test]
fn an_image_without_target_changes_nothing_but_the_time_of_the_check() {
    let mut untargeted = to("v1");
    untargeted["from"]["name"] = json!("r.example/a");
    untargeted.as_object_mut().unwrap().remove("to");
    let applied = record(&[untargeted], &[success("latest", DIGEST_A)], None);
    assert_eq!(applied.write, StreamWrite::Create);
    assert!(
        applied.images.is_empty()
            && applied.stream.spec.tags.is_empty()
            && applied.stream.status.tags.is_empty()
    );
}

#[test]
fn a_success_without_image_is_recorded_as_an_unknown_error() {
    let applied = record(
        &[to("v1")],
        &[json!({"status": {"status": "Success"}, "tag": "v1"})],
        None,
    );
    let condition = &tag(&applied.stream, "v1").1.conditions[0];
    assert_eq!(
        (condition.reason.as_str(), condition.message.as_str()),
        ("", "unknown error prevented import")
    );
}

#[test]
fn tags_of_a_repository_are_recorded_and_those_that_failed_only_as_conditions() {
    let spec = json!({"import": true, "repository": {"from": {"kind": "DockerImage", "name": "r.example/a"},
        "importPolicy": {"scheduled": true}, "referencePolicy": {"type": "Local"}}});
    let status = json!({"repository": {"status": {"status": "Failure"}, "images": [
        success("v1", DIGEST_A), failure("old", "InternalError", "boom")]}});
    let applied = apply(&import(&spec, &status), None, &now(), ImportMode::Legacy);
    let (spec, _) = tag(&applied.stream, "v1");
    assert_eq!(
        spec.from.as_ref().unwrap().name.as_deref(),
        Some("r.example/a:v1")
    );
    assert!(spec.import_policy.scheduled && spec.reference_policy.policy_type == "Local");
    assert!(!applied.stream.spec.tags.contains_key("old"));
    assert_eq!(applied.stream.status.tags["old"].conditions.len(), 1);
}

#[test]
fn members_of_a_list_are_created_before_it_and_each_image_once() {
    let mut list = success("v1", DIGEST_A);
    list["manifests"] = json!([image(DIGEST_B), image(DIGEST_B)]);
    let applied = record(&[to("v1"), to("v2")], &[list.clone(), list], None);
    let names: Vec<_> = applied
        .images
        .iter()
        .map(|image| image.metadata.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, [DIGEST_B, DIGEST_A]);
}

#[test]
fn of_two_sources_for_one_tag_the_last_wins() {
    let applied = record(
        &[to("v1"), to("v1")],
        &[success("v1", DIGEST_A), success("v1", DIGEST_B)],
        None,
    );
    let history: Vec<_> = tag(&applied.stream, "v1")
        .1
        .items
        .iter()
        .map(|item| item.image.as_str())
        .collect();
    assert_eq!(history, [DIGEST_B, DIGEST_A]);
}

#[test]
fn manifests_are_returned_only_to_those_who_asked_and_never_recorded() {
    let has_manifest = |import_it: bool, include: bool, targeted: bool| {
        let mut spec_image = to("v1");
        spec_image["includeManifest"] = json!(include);
        if !targeted {
            spec_image["from"]["name"] = json!("r.example/a");
            spec_image.as_object_mut().unwrap().remove("to");
        }
        let mut result = success("v1", DIGEST_A);
        result["manifests"] = json!([image(DIGEST_B)]);
        let mut import = import(
            &json!({"import": import_it, "images": [spec_image]}),
            &json!({"images": [result]}),
        );
        clear_manifests(&import.spec, &mut import.status);
        let result = &import.status.images[0];
        let shows =
            |image: &Image| !image.docker_image_manifest.is_empty() && !image.docker_image_config.is_empty();
        (shows(result.image.as_ref().unwrap()), shows(&result.manifests[0]))
    };
    assert_eq!(has_manifest(false, false, true), (false, true));
    assert_eq!(has_manifest(false, true, true), (true, true));
    assert_eq!(has_manifest(true, true, true), (false, false));
    assert_eq!(has_manifest(true, true, false), (true, true));
    assert_eq!(has_manifest(true, false, false), (false, true));
}

#[test]
fn items_with_the_same_image_all_show_the_one_that_was_created() {
    let mut elsewhere = success("v1", DIGEST_A);
    elsewhere["image"]["dockerImageReference"] = json!("mirror.example/a@x");
    let spec = json!({"import": true, "images": [to("v1"), to("v2")]});
    let mut import = import(&spec, &json!({"images": [success("v1", DIGEST_A), elsewhere]}));
    let mut applied = apply(&import, None, &now(), ImportMode::Legacy);
    applied.images[0].metadata.uid = Some("stored".into());
    show_recorded(&import.spec, &mut import.status, &applied.images);
    for result in &import.status.images {
        let image = result.image.as_ref().unwrap();
        assert_eq!(image.metadata.uid.as_deref(), Some("stored"));
        assert_eq!(image.docker_image_reference, format!("r.example/a@{DIGEST_A}"));
    }
}
