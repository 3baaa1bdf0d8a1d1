//! What fails is noted, tried again with patience, and disturbs nothing else.

use super::*;

fn scheduled(from: &[(&str, &str)]) -> Value {
    let mut spec = tags(from);
    for tag in spec["tags"].as_array_mut().unwrap() {
        tag["importPolicy"]["scheduled"] = json!(true);
    }
    spec
}

#[tokio::test]
async fn a_listing_that_failed_is_noted_in_the_stream_and_tried_again_until_the_repository_is_imported() {
    let registry = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    registry.add_fault(Fault::error("*/tags/list", 401, "UNAUTHORIZED", "who are you").times(3));
    let _controller = place.control(at_once());
    let repository = format!("{}/team/app", registry.host());
    let stream = json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
        "metadata": {"name": "s", "annotations": {"openshift.io/image.insecureRepository": "true"}},
        "spec": {"dockerImageRepository": repository}});
    place.server.post("admin", STREAMS, &stream, 201).await;
    let note = |stream: &Value| {
        let note = stream["metadata"]["annotations"][crate::image::repository_note::ANNOTATION].as_str();
        note.map_or(Value::Null, |note| serde_json::from_str(note).unwrap())
    };
    // What it was first is in the history of the store.
    let mut seen = Vec::new();
    let stream = place.until("s", |stream| note(stream)["status"] == "True").await;
    for revision in 1.. {
        let key = place.server.context.streams.key("n", "s");
        let store = &place.server.context.store;
        let Ok(found) = store.get(&key, Some(revision)).await else {
            break;
        };
        let value = found.map_or(Value::Null, |found| serde_json::from_slice(&found.value).unwrap());
        let note = note(&value);
        if !note.is_null() && !seen.contains(&note) {
            seen.push(note);
        }
    }
    assert_eq!(seen.len(), 2, "the same failure is noted once: {seen:?}");
    assert_eq!(
        (&seen[0]["status"], &seen[0]["reason"], &seen[0]["repository"]),
        (&json!("False"), &json!("Unauthorized"), &json!(repository))
    );
    assert_eq!(stream["status"]["tags"].as_array().map(Vec::len), Some(3));
    place.settle(&registry.host(), "other").await;
    assert_eq!(tries(&registry, "/team/app/tags/list"), 4);
    // Another repository is another one to import.
    place
        .patch(
            "s",
            json!({"spec": {"dockerImageRepository": format!("{}/other/app", registry.host())}}),
        )
        .await;
    place
        .until("s", |stream| note(stream)["repository"] != json!(repository))
        .await;
    assert_eq!(tries(&registry, "/other/app/tags/list"), 1);
}

#[tokio::test]
async fn a_registry_that_wants_to_be_left_alone_is_for_as_long_as_it_says() {
    let registry = TestRegistry::start(content());
    let other = TestRegistry::start(content());
    // It lets nobody in for an hour, much longer than an import may take.
    registry.set_rate_limit(RateLimit::new(0, Duration::from_secs(3600)));
    let place = Place::new(Duration::ZERO).await;
    let delays = Delays {
        rate_limited: Duration::from_millis(1),
        unreachable: Duration::from_millis(1),
        ..never_again()
    };
    let _controller = place.control(delays);
    place
        .create(
            "s",
            tags(&[("t", &format!("{}/team/app:1.0.0", registry.host()))]),
        )
        .await;
    let failed = place.until("s", |stream| !condition(stream, "t").is_null()).await;
    let message = condition(&failed, "t")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("toomanyrequests"), "{message}");
    let once = tries(&registry, "/team/app/manifests/");
    for name in ["a", "b", "c"] {
        place.settle(&other.host(), name).await;
    }
    assert_eq!(tries(&registry, "/team/app/manifests/"), once);
}

#[tokio::test]
async fn scheduled_tags_that_are_new_wait_for_a_registry_that_wants_to_be_left_alone_without_a_failure() {
    const STREAMS: usize = 60;
    let registry = TestRegistry::start(content());
    let other = TestRegistry::start(content());
    registry.set_rate_limit(RateLimit::new(0, Duration::from_secs(3600)));
    let place = Place::new(Duration::ZERO).await;
    let from = format!("{}/team/app:1.0.0", registry.host());
    let versions = futures::future::join_all((0..STREAMS).map(|number| {
        let name = format!("s{number}");
        let spec = scheduled(&[("t", &from)]);
        let place = &place;
        async move { place.create(&name, spec).await["metadata"]["resourceVersion"].clone() }
    }));
    let versions = versions.await;
    let _controller = place.control(at_once());
    // It is of some use that there are tags from elsewhere.
    let there = format!("{}/team/app:1.0.0", other.host());
    place
        .create("both", scheduled(&[("here", &from), ("there", &there)]))
        .await;
    let both = place
        .until("both", |stream| !item(stream, "there").is_null())
        .await;
    assert_eq!(history(&both, "here"), &Value::Null);
    for name in ["a", "b", "c"] {
        place.settle(&other.host(), name).await;
    }
    for (number, version) in versions.iter().enumerate() {
        let stream = place.stream(&format!("s{number}")).await;
        assert_eq!(
            &stream["metadata"]["resourceVersion"], version,
            "nothing is written"
        );
    }
    let asked = tries(&registry, "/team/app/manifests/");
    assert!(asked <= places::OF_A_STRANGER, "{asked} requests");
    let shown = prometheus::TextEncoder::new()
        .encode_to_string(&place.registry.gather())
        .unwrap();
    assert!(!shown.contains("error_count{"), "{shown}");
}

#[tokio::test]
async fn only_what_the_schedule_would_read_itself_waits_for_a_host_that_it_leaves_alone() {
    let registry = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    let from = format!("{}/team/app:1.0.0", registry.host());
    place.create("followed", scheduled(&[("t", &from)])).await;
    place.create("other", tags(&[("t", &from)])).await;
    place.server.context.namespaces.ready().await.unwrap();
    let mut controller = ImportController::new(Arc::clone(&place.shared), never_again());
    let _events = controller.list().await.unwrap();
    let _schedule = place
        .shared
        .board
        .begin_with_a_host_that_refuses(&registry.host());
    while let Some(key) = controller.queue.start(Instant::now(), |_| true) {
        controller.import(key);
    }
    let begun: Vec<_> = controller.workers.works().map(|begun| &*begun.key.name).collect();
    assert_eq!(begun, ["other"]);
    let waits = controller.queue.next_due().unwrap() - Instant::now();
    assert!(waits > Duration::from_secs(3000), "{waits:?}");
}

#[tokio::test]
async fn a_repository_does_not_wait_for_the_host_of_a_tag_of_the_same_stream() {
    let registry = TestRegistry::start(content());
    let refusing = TestRegistry::start(content());
    refusing.set_rate_limit(RateLimit::new(0, Duration::from_secs(3600)));
    let place = Place::new(Duration::ZERO).await;
    let _controller = place.control(never_again());
    let from = format!("{}/other/app:1.0.0", refusing.host());
    place.create("first", tags(&[("t", &from)])).await;
    place
        .until("first", |stream| !condition(stream, "t").is_null())
        .await;
    let mut spec = tags(&[("t", &from)]);
    spec["dockerImageRepository"] = json!(format!("{}/team/app", registry.host()));
    let stream = json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
        "metadata": {"name": "s", "annotations": {"openshift.io/image.insecureRepository": "true"}},
        "spec": spec});
    place.server.post("admin", STREAMS, &stream, 201).await;
    let stream = place.until("s", |stream| !item(stream, "1.0.0").is_null()).await;
    let message = condition(&stream, "t")["message"].as_str().unwrap();
    assert!(message.contains("toomanyrequests"), "{message}");
}

#[tokio::test]
async fn a_secret_that_is_added_ends_the_wait_for_a_host_that_refused_without_it() {
    let registry = TestRegistry::start(content());
    let from = format!("{}/team/app:1.0.0", registry.host());
    let place = Place::new(Duration::ZERO).await;
    place.create("s", tags(&[("t", &from)])).await;
    place.server.context.namespaces.ready().await.unwrap();
    let mut controller = ImportController::new(Arc::clone(&place.shared), never_again());
    let _events = controller.list().await.unwrap();
    let waits = |controller: &mut ImportController| {
        let key = controller.queue.start(Instant::now(), |_| true).unwrap();
        controller.import(key);
        controller.queue.next_due().unwrap() - Instant::now()
    };
    let hour = Duration::from_secs(3600);
    controller
        .resting
        .refused(&registry.host(), "n", Some(hour), Instant::now());
    assert!(waits(&mut controller) > hour / 2);
    let secret =
        json!({"metadata": {"name": "pull", "namespace": "n"}, "type": "kubernetes.io/dockerconfigjson"});
    let secret = WatchEvent::Added(secret.into());
    assert!(controller.hear(Event::Secret(secret)).is_none());
    assert!(waits(&mut controller) <= Duration::from_secs(60));
}

#[tokio::test]
async fn an_import_that_panics_is_tried_again_and_disturbs_no_other() {
    #![allow(clippy::panic, reason = "an import that panics is what is tested")]
    let registry = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    place
        .create(
            "s",
            tags(&[("t", &format!("{}/team/app:1.0.0", registry.host()))]),
        )
        .await;
    place.server.context.namespaces.ready().await.unwrap();
    let mut controller = ImportController::new(Arc::clone(&place.shared), never_again());
    let events = controller.list().await.unwrap();
    let key = controller.queue.start(Instant::now(), |_| true).unwrap();
    let hosts = BTreeSet::from([registry.host()]);
    controller.begin(Begun { key, hosts }, async { panic!("a mistake") });
    let _controller = AbortOnDropHandle::new(tokio::spawn(async move {
        controller.follow(events).await.unwrap();
    }));
    place.until("s", |stream| !item(stream, "t").is_null()).await;
}

#[tokio::test]
async fn an_import_beyond_a_limit_is_noted_in_the_stream_and_not_repeated_at_once() {
    let registry = TestRegistry::start(content());
    let other = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    let limit = json!({"metadata": {"name": "l", "namespace": "n"}, "spec": {"limits": [
        {"type": "openshift.io/ImageStream", "max": {"openshift.io/images": "1"}}]}});
    place
        .server
        .store(&place.server.context.limit_ranges, limit)
        .await;
    let _controller = place.control(never_again());
    let host = registry.host();
    place
        .create(
            "s",
            tags(&[
                ("one", &format!("{host}/team/app:1.0.0")),
                ("two", &format!("{host}/team/app:1.0.1")),
            ]),
        )
        .await;
    let refused = place
        .until("s", |stream| !condition(stream, "two").is_null())
        .await;
    assert_eq!(condition(&refused, "two")["reason"], "Invalid", "{refused}");
    for name in ["a", "b", "c"] {
        place.settle(&other.host(), name).await;
    }
    assert_eq!(tries(&registry, "/team/app/manifests/1.0.1"), 1);
}

#[tokio::test]
async fn a_tag_that_may_not_move_because_of_a_limit_is_tried_with_patience_and_nothing_is_written() {
    let registry = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    let limit = json!({"metadata": {"name": "l", "namespace": "n"}, "spec": {"limits": [
        {"type": "openshift.io/ImageStream", "max": {"openshift.io/images": "1"}}]}});
    place
        .server
        .store(&place.server.context.limit_ranges, limit)
        .await;
    let _controller = place.control(never_again());
    let from = |version: &str| tags(&[("t", &format!("{}/team/app:{version}", registry.host()))]);
    place.create("s", from("1.0.0")).await;
    place.until("s", |stream| !item(stream, "t").is_null()).await;
    place.patch("s", json!({"spec": from("1.0.1")})).await;
    let wanted = place.stream("s").await;
    // Whoever wrote the stream with each try would begin anew each time.
    let begun = Instant::now();
    while tries(&registry, "/team/app/manifests/1.0.1") < 4 {
        assert!(begun.elapsed() < PATIENCE, "it is not tried");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(place.stream("s").await, wanted);
}

#[tokio::test]
async fn registries_that_never_answer_do_not_keep_others_waiting() {
    let silent = [(); 4].map(|()| TestRegistry::start(content()));
    let other = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    for (host, registry) in silent.iter().enumerate() {
        registry.add_fault(Fault::on("*", FaultKind::Hang));
        let from = format!("{}/team/app:1.0.0", registry.host());
        for number in 0..PLACES {
            place
                .create(&format!("s{host}-{number}"), tags(&[("t", &from)]))
                .await;
        }
    }
    let _controller = place.control(never_again());
    place.settle(&other.host(), "a").await;
    place.settle(&other.host(), "b").await;
    for host in 0..silent.len() {
        for number in 0..PLACES {
            let unanswered = place.stream(&format!("s{host}-{number}")).await;
            assert_eq!(
                condition(&unanswered, "t"),
                &Value::Null,
                "the others did not wait for its end"
            );
        }
    }
}
