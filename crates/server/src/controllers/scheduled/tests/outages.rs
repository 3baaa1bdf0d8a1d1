//! Sources that can't be read: hosts that do not answer, images that are gone.

use imagestream_testkit::fault::{Fault, FaultKind};

use super::*;

/// What failing registries answer.
fn out_of_order(status: u16) -> FaultKind {
    FaultKind::Status {
        status,
        headers: Vec::new(),
        body: "<html>out of order</html>".into(),
    }
}

#[tokio::test]
async fn an_outage_is_recorded_and_over_when_the_registry_is_back() {
    for fault in [FaultKind::CutBeforeHeaders, out_of_order(503)] {
        let registry = TestRegistry::start(app("old"));
        let place = Place::looking(OFTEN).await;
        let name = format!("{}/team/app:v1", registry.host());
        place.import("s", &[("t", &name)], "Legacy").await;
        let _running = place.control();
        place.looks(1).await;
        registry.add_fault(Fault::on("/v2/*", fault));
        registry.set_content(app("new"));
        let failed = place.until("s", |stream| !failure(stream).is_null()).await;
        assert_eq!(failure(&failed), "InternalError");
        registry.clear_faults();
        let moved = registry.content().digest("team/app", "v1");
        let recovered = place.until("s", |stream| newest(stream) == moved).await;
        assert_eq!(failure(&recovered), &Value::Null);
    }
}

/// A registry with this many tags, each a different image.
fn tags(count: usize) -> Content {
    (0..count).fold(Content::new(), |content, number| {
        content.image(
            "team/app",
            &number.to_string(),
            Image::new().distinct(&number.to_string()),
        )
    })
}

#[tokio::test]
async fn all_who_follow_a_host_that_does_not_answer_are_told_without_asking_it_for_each() {
    const STREAMS: usize = 20;
    const TAGS: usize = 5;
    let registry = TestRegistry::start(tags(STREAMS * TAGS));
    let place = Place::looking(Duration::from_secs(1)).await;
    let names: Vec<String> = (0..STREAMS).map(|number| format!("s{number}")).collect();
    for (number, stream) in names.iter().enumerate() {
        let tags: Vec<(String, String)> = (0..TAGS)
            .map(|tag| {
                (
                    tag.to_string(),
                    format!("{}/team/app:{}", registry.host(), number * TAGS + tag),
                )
            })
            .collect();
        let tags: Vec<(&str, &str)> = tags
            .iter()
            .map(|(tag, from)| (tag.as_str(), from.as_str()))
            .collect();
        place.import(stream, &tags, "Legacy").await;
    }
    let _running = place.control();
    place.looks(1).await;
    let conditions = |stream: &Value| -> Vec<Value> {
        let tags = stream["status"]["tags"].as_array().unwrap().iter();
        tags.filter_map(|tag| Some(tag["conditions"].as_array()?[0].clone()))
            .collect()
    };
    registry.add_fault(Fault::on("/v2/*", out_of_order(500)));
    registry.clear_requests();
    let mut told = Vec::new();
    for stream in &names {
        told.push(
            place
                .until(stream, |stream| conditions(stream).len() == TAGS)
                .await,
        );
    }
    let asked = registry.request_count();
    assert!(
        asked < STREAMS * TAGS,
        "{asked} requests to a host that does not answer"
    );
    for condition in told.iter().flat_map(conditions) {
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("False"), &json!("InternalError"))
        );
        assert!(condition["lastTransitionTime"].is_string());
        let message = condition["message"].as_str().unwrap();
        assert!(message.contains("500 Internal Server Error"), "{message}");
    }
    let throttled = place.status("/hosts").await.unwrap();
    assert_eq!(
        throttled["items"][0]["throttledBecause"], "Unreachable",
        "{throttled}"
    );

    // Back again, with nothing moved: the conditions go, and nothing is read for that.
    registry.clear_requests();
    registry.clear_faults();
    let mut recovered = Vec::new();
    for stream in &names {
        recovered.push(place.until(stream, |stream| conditions(stream).is_empty()).await);
    }
    assert_eq!(gets(&registry), Vec::<String>::new(), "nothing is read");
    for (before, after) in told.iter().zip(&recovered) {
        let images = |stream: &Value| -> Vec<Value> {
            let tags = stream["status"]["tags"].as_array().unwrap().iter();
            tags.map(|tag| {
                json!([
                    tag["tag"],
                    tag["items"].as_array().unwrap().len(),
                    tag["items"][0]["image"]
                ])
            })
            .collect()
        };
        assert_eq!(
            images(before),
            images(after),
            "nothing is lost, and nothing comes twice"
        );
    }
    place.looks(2 * STREAMS as u64 * TAGS as u64).await;
    for (stream, before) in names.iter().zip(&recovered) {
        assert_eq!(
            version(&place.stream(stream).await),
            version(before),
            "nothing more is written"
        );
    }
}

#[tokio::test]
async fn an_image_that_is_gone_is_said_once_and_followed_on() {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(OFTEN).await;
    let name = format!("{}/team/app:v1", registry.host());
    place.import("s", &[("t", &name)], "Legacy").await;
    registry.set_content(Content::new().repository("team/app"));
    let _running = place.control();
    registry.clear_requests();
    let gone = place.until("s", |stream| failure(stream) == "NotFound").await;
    assert_eq!(gets(&registry), Vec::<String>::new(), "the look said it all");
    assert_ne!(newest(&gone), "", "its history stays");
    place.looks(2).await;
    let gone = place.stream("s").await;
    place.looks(2).await;
    assert_eq!(version(&place.stream("s").await), version(&gone));
    registry.set_content(app("old"));
    place.until("s", |stream| failure(stream).is_null()).await;
}

#[tokio::test]
async fn nothing_is_kept_of_hosts_that_could_not_be_reached_when_nobody_names_them_any_more() {
    let board = Arc::<Board>::default();
    let (place, _pokes) = board.begin(lists::Lists::default(), Options::default());
    let mut state = place.lock();
    let now = state.clock.now();
    for host in ["gone.test:1", "gone.test:2"] {
        state.scheduler.visit(host, now);
        let failure = Some(imagestream_follow::Failure::Unreachable);
        state
            .scheduler
            .visited(host, now, failure, &imagestream_follow::Feedback::default());
        state
            .causes
            .insert(host.to_owned(), "connection refused".to_owned());
    }
    state.tidy();
    assert!(state.causes.is_empty(), "{:?}", state.causes);
    assert_eq!(state.scheduler.host_reports(now).len(), 0);
}

#[tokio::test]
async fn a_pull_secret_that_is_added_has_what_was_refused_looked_at_and_another_secret_does_not() {
    let registry = TestRegistry::start(app("first"));
    registry.set_auth(Auth::Basic {
        username: "ann".into(),
        password: "p".into(),
    });
    let place = Place::looking(NEVER).await;
    let name = format!("{}/team/app:v1", registry.host());
    place.import("s", &[("t", &name)], "Legacy").await;
    assert_eq!(failure(&place.stream("s").await), "Unauthorized");
    let _running = place.control();
    place
        .until_known(|state| (state.scheduler.tags() == 1).then_some(()))
        .await;
    registry.clear_requests();
    let secrets = &place.server.context.secrets;
    let other = json!({"metadata": {"name": "other", "namespace": "n"}, "type": "Opaque"});
    place.server.store(secrets, other).await;
    let document = json!({"auths": {registry.host(): {"username": "ann", "password": "p"}}}).to_string();
    let pull = json!({"metadata": {"name": "pull", "namespace": "n"}, "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": k8s_openapi::ByteString(document.into_bytes())}});
    place.server.store(secrets, pull).await;
    let first = registry.content().digest("team/app", "v1");
    let stream = place.until("s", |stream| newest(stream) == first).await;
    assert_eq!(failure(&stream), &Value::Null);
    let looks = registry.request_lines();
    let looks = looks.iter().filter(|line| line.starts_with("HEAD")).count();
    assert!(
        looks <= 2,
        "{looks}: one, and one to learn what the registry wants to be shown"
    );
}

#[tokio::test]
async fn an_image_that_was_deleted_comes_back_with_the_next_look_and_nothing_else_is_read_or_written() {
    let registry = TestRegistry::start(app("first"));
    let place = Place::looking(OFTEN).await;
    let name = format!("{}/team/app:v1", registry.host());
    place.import("s", &[("t", &name)], "Legacy").await;
    let image = registry.content().digest("team/app", "v1");
    let before = place.stream("s").await;
    let _running = place.control();
    place.looks(2).await;
    let images = &place.server.context.images;
    let key = images.key("", &image);
    place
        .server
        .context
        .store
        .commit(&[], &[Write::Delete(key)])
        .await
        .unwrap();
    let begun = Instant::now();
    while images.get("", &image).await.unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "it is not imported again");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(version(&place.stream("s").await), version(&before));
    place.looks(2).await;
    registry.clear_requests();
    place.looks(3).await;
    assert_eq!(
        gets(&registry),
        Vec::<String>::new(),
        "nothing is read when all is there"
    );
}
