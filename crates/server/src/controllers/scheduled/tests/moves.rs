//! What it costs, and what it comes to, when a source moves that many follow.

use std::collections::HashSet;

use imagestream_api::types::Time;
use imagestream_import::Credentials;
use imagestream_import::check::Check;

use super::super::bring::{Found, How, bring, follower, needed};
use super::super::look::{Outcome, Seen, Work};
use super::super::settled::FailureKind;
use super::*;

/// Follows these, and waits until that is so.
async fn control(place: &Place, tags: usize) -> AbortOnDropHandle<()> {
    let running = place.control();
    place
        .until_known(|state| (state.scheduler.tags() == tags).then_some(()))
        .await;
    running
}

fn list(name: &str) -> Content {
    let member = |platform, of: &str| {
        (
            platform,
            Image::new().distinct(&format!("{name}{of}")).platform(platform),
        )
    };
    let members = [member("linux/arm64", "arm"), member("linux/amd64", "amd")];
    Content::new().index("team/app", "v1", members, false)
}

#[tokio::test]
async fn a_move_costs_three_requests_however_many_streams_follow_it_and_they_count() {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(NEVER).await;
    let name = format!("{}/team/app:v1", registry.host());
    let streams: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    for stream in &streams {
        place.import(stream, &[("t", &name)], "Legacy").await;
    }
    let _running = control(&place, 100).await;
    registry.clear_requests();
    registry.set_content(app("new"));
    // It would refuse the fourth.
    registry.set_rate_limit(RateLimit::new(3, NEVER).silent());
    let moved = registry.content().digest("team/app", "v1");
    assert!(place.shared.board.poke(&name));
    for stream in &streams {
        let stream = place.until(stream, |stream| newest(stream) == moved).await;
        assert_eq!(failure(&stream), &Value::Null, "{stream}");
    }
    // One look, and one import.
    place.until_known(|state| (state.looks == 2).then_some(())).await;
    let requests = registry.request_lines();
    let kinds: Vec<&str> = requests
        .iter()
        .map(|line| line.rsplit_once('/').unwrap().0)
        .collect();
    assert_eq!(
        kinds,
        [
            "HEAD /v2/team/app/manifests",
            "GET /v2/team/app/manifests",
            "GET /v2/team/app/blobs"
        ]
    );
    let state = place.shared.board.state().unwrap();
    let mut state = state.lock();
    let now = state.clock.now();
    let reports = state.scheduler.host_reports(now);
    assert_eq!(reports[0].checks_per_minute, 3);
}

#[tokio::test]
async fn each_stream_gets_of_what_was_read_what_its_own_import_would_have_given_it() {
    let registry = TestRegistry::start(list("old"));
    let place = Place::looking(NEVER).await;
    let name = format!("{}/team/app:v1", registry.host());
    let for_arm = json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "arm"},
        "spec": {"tags": [{"name": "t", "from": {"kind": "DockerImage", "name": name},
            "importPolicy": {"insecure": true, "scheduled": true},
            "annotations": {"importer.image.openshift.io/prefer-arch": "arm64"}}]}});
    place.server.post("admin", "imagestreams", &for_arm, 201).await;
    let kinds = [
        ("legacy", "Legacy"),
        ("whole", "PreserveOriginal"),
        ("arm", "Legacy"),
    ];
    for (stream, mode) in kinds {
        place.import(stream, &[("t", &name)], mode).await;
    }
    place
        .import("both", &[("one", &name), ("two", &name)], "Legacy")
        .await;
    let _running = control(&place, 5).await;
    registry.clear_requests();
    registry.set_content(list("new"));
    let (whole, members) = (
        registry.content().digest("team/app", "v1"),
        registry.content().member_digests("team/app", "v1"),
    );
    assert!(place.shared.board.poke(&name));
    for (stream, image) in [
        ("legacy", &members[1]),
        ("whole", &whole),
        ("arm", &members[0]),
        ("both", &members[1]),
    ] {
        let after = place.until(stream, |stream| newest(stream) == image).await;
        let newest = &after["status"]["tags"][0]["items"][0];
        let reference = format!("{}/team/app@{image}", registry.host());
        assert_eq!(newest["dockerImageReference"], json!(reference));
        assert_eq!(newest["generation"], after["spec"]["tags"][0]["generation"]);
        assert_eq!(after["status"]["tags"][0]["items"].as_array().unwrap().len(), 2);
    }
    let both = place.stream("both").await;
    assert_eq!(both["status"]["tags"][1]["items"][0]["image"], json!(members[1]));
    // The list, two members and their configurations: each once.
    let mut gets = gets(&registry);
    let count = gets.len();
    gets.sort_unstable();
    gets.dedup();
    assert_eq!((count, gets.len()), (5, 5), "{gets:?}");
    // An import of its own finds nothing else.
    for (stream, mode) in kinds {
        let before = place.stream(stream).await;
        place.import(stream, &[("t", &name)], mode).await;
        let after = place.stream(stream).await;
        let items = |stream: &Value| stream["status"]["tags"][0]["items"].clone();
        let pairs = |stream: &Value| -> Vec<Value> {
            let items = items(stream);
            let items = items.as_array().unwrap().iter();
            items
                .map(|item| json!([item["image"], item["dockerImageReference"]]))
                .collect()
        };
        assert_eq!(pairs(&after), pairs(&before), "{stream}");
    }
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_a_move_fails_nothing_and_the_rest_follows() {
    let registry = TestRegistry::start(list("old"));
    let place = Place::looking(NEVER).await;
    let name = format!("{}/team/app:v1", registry.host());
    let streams: Vec<(String, &str)> = (0..40)
        .map(|number| (format!("s{number}"), ["Legacy", "PreserveOriginal"][number % 2]))
        .collect();
    for (stream, mode) in &streams {
        place.import(stream, &[("t", &name)], mode).await;
    }
    let _running = control(&place, streams.len()).await;
    registry.clear_requests();
    registry.set_content(list("new"));
    // The list, two members and their configurations are more than that.
    registry.set_rate_limit(RateLimit::new(3, Duration::from_secs(10)).free_heads());
    let (whole, members) = (
        registry.content().digest("team/app", "v1"),
        registry.content().member_digests("team/app", "v1"),
    );
    assert!(place.shared.board.poke(&name));
    for (stream, mode) in &streams {
        let image = if *mode == "Legacy" { &members[1] } else { &whole };
        place
            .until(stream, |stream| {
                assert_eq!(failure(stream), &Value::Null, "nothing fails");
                newest(stream) == image
            })
            .await;
    }
    let gets = gets(&registry);
    assert!(gets.len() > 5, "it refused nothing: {gets:?}");
    assert!(gets.len() < streams.len(), "{gets:?}");
}

#[tokio::test]
async fn a_limit_of_one_namespace_keeps_no_other_from_what_was_read() {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(OFTEN).await;
    let namespace = json!({"metadata": {"name": "m"}, "status": {"phase": "Active"}});
    let context = &place.server.context;
    place.server.store(&context.namespaces, namespace).await;
    let name = format!("{}/team/app:v1", registry.host());
    place.import("s", &[("t", &name)], "Legacy").await;
    let mut foreign = place.stream("s").await;
    foreign["metadata"]["namespace"] = json!("m");
    foreign["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    place.server.store(&context.streams, foreign).await;
    let limit = json!({"metadata": {"name": "l", "namespace": "n"}, "spec": {"limits": [
        {"type": "openshift.io/ImageStream", "max": {"openshift.io/images": "1"}}]}});
    place.server.store(&context.limit_ranges, limit).await;
    let _running = control(&place, 2).await;
    let old = registry.content().digest("team/app", "v1");
    registry.set_content(app("new"));
    let moved = registry.content().digest("team/app", "v1");
    let begun = Instant::now();
    loop {
        let foreign = context.streams.get("m", "s").await.unwrap().unwrap();
        if newest(&foreign.object) == moved {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{}", foreign.object);
        sleep(Duration::from_millis(10)).await;
    }
    place.looks(3).await;
    assert_eq!(newest(&place.stream("s").await), old, "it is beyond its limit");
}

#[tokio::test]
async fn what_others_have_read_is_for_those_only_who_may_still_see_it() {
    let registry = TestRegistry::start(app("old"));
    registry.set_auth(Auth::bearer_for_everyone());
    let place = Place::looking(NEVER).await;
    let name = format!("{}/team/app:v1", registry.host());
    place.import("s", &[("t", &name)], "Legacy").await;
    registry.set_content(app("new"));
    let reference = imagestream_import::check::reference(&name).unwrap();
    let (rules, credentials) = (RegistryRules::default(), Credentials::default());
    let check = Check {
        reference: &reference,
        insecure: true,
        rules: &rules,
        credentials: &credentials,
        deadline: Instant::now() + PATIENCE,
    };
    let checked = place.server.context.engine.check(&check).await;
    let sighting = checked.found.unwrap();
    // Others are let in, and read it.
    registry.set_auth(Auth::bearer("ann", "p"));
    let document = json!({"auths": {registry.host(): {"username": "ann", "password": "p"}}}).to_string();
    let secret = json!({"metadata": {"name": "pull", "namespace": "n"}, "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": k8s_openapi::ByteString(document.into_bytes())}});
    place.server.store(&place.server.context.secrets, secret).await;
    place.import("other", &[("t", &name)], "Legacy").await;
    let moved = registry.content().digest("team/app", "v1");
    assert_eq!(newest(&place.stream("other").await), moved);

    let look = Look {
        shared: Arc::clone(&place.shared),
        name: Name::of(&reference).unwrap(),
        reference,
        insecure: true,
        credentials: Arc::new(Credentials::default()),
        rules: Arc::new(RegistryRules::default()),
        settled: Settled::default(),
    };
    let seen = Seen {
        sighting,
        at: Instant::now().checked_sub(Duration::from_secs(61)).unwrap(),
    };
    let follower = StreamKey {
        namespace: "n".into(),
        name: "s".into(),
    };
    place.server.context.streams.ready().await.unwrap();
    let looked = Box::pin(look.work(Work::Fetch(seen), || vec![follower.clone()])).await;
    assert_eq!(looked.outcome, Outcome::Failed(FailureKind::Unauthorized));
    assert_ne!(newest(&place.stream("s").await), moved);
}

#[tokio::test]
async fn tags_that_have_no_room_for_what_was_read_at_the_same_time_get_it_one_after_the_other() {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(NEVER).await;
    let name = format!("{}/team/app:v1", registry.host());
    let tags = ["a", "b", "c", "d", "e"].map(|tag| (tag, &*name));
    place.import("s", &tags, "Legacy").await;
    registry.set_content(app("new"));
    let moved = registry.content().digest("team/app", "v1");
    let reference = imagestream_import::check::reference(&name).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let check = Check {
        reference: &reference,
        insecure: true,
        rules: &RegistryRules::default(),
        credentials: &Credentials::default(),
        deadline,
    };
    let engine = &place.server.context.engine;
    let seen = engine.check(&check).await.found.unwrap();
    let reading = engine.read(&check, &seen).await.found.unwrap();
    let key = StreamKey {
        namespace: "n".into(),
        name: "s".into(),
    };
    place.server.context.streams.ready().await.unwrap();
    let (stream, tags) = follower(&place.shared, &key).await.unwrap();
    let needed = needed(&place.shared, &stream, tags, &reading, &|_| true);
    let wanted = needed[0].1.clone().unwrap();
    let now = Time(jiff::Timestamp::now());
    let result = reading.read(&wanted, &now, deadline).await.found.unwrap();
    let found = Found {
        reading: &reading,
        wanted: &wanted,
        result: &result,
        at_once: 2,
        is_mine: &|_| true,
    };
    let is_behind = |tag: &super::super::followed::Followed| tag.recorded.image != *moved;
    let brought = bring(&place.shared, &[key], is_behind, How::Record(&found)).await;
    assert_eq!((brought.tags, brought.is_complete), (5, true));
    let stream = place.stream("s").await;
    let tags = stream["status"]["tags"].as_array().unwrap();
    let written: HashSet<i64> = tags
        .iter()
        .map(|tag| {
            assert_eq!(tag["items"][0]["image"], json!(moved));
            tag["items"][0]["generation"].as_i64().unwrap()
        })
        .collect();
    assert_eq!(written.len(), 3, "two, two and one: {stream}");
}
