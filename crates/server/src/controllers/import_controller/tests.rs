use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use imagestream_testkit::auth::Auth;
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::rate_limit::RateLimit;
use imagestream_testkit::registry::TestRegistry;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::super::ImportMetrics;
use super::*;
use crate::image::testing::TestServer;
use crate::settings::ControllerSettings;

mod failures;

const STREAMS: &str = "imagestreams";
/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// As good as never.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Nothing is tried twice.
fn never_again() -> Delays {
    Delays {
        not_found: NEVER,
        unauthorized: NEVER,
        rate_limited: NEVER,
        refused: NEVER,
        unreachable: NEVER,
        longest: NEVER,
        spread: Duration::ZERO,
    }
}

/// Everything is tried again at once.
fn at_once() -> Delays {
    let now = Duration::from_millis(1);
    Delays {
        not_found: now,
        unauthorized: now,
        rate_limited: now,
        refused: now,
        unreachable: now,
        longest: now,
        spread: now,
    }
}

/// A server with namespace `n` and the metrics of its controllers.
struct Place {
    server: TestServer,
    registry: prometheus::Registry,
    shared: Arc<Shared>,
}

impl Place {
    async fn new(quiet_period: Duration) -> Self {
        let server = TestServer::start().await;
        let namespace = json!({"metadata": {"name": "n"}, "status": {"phase": "Active"}});
        server.store(&server.context.namespaces, namespace).await;
        let registry = prometheus::Registry::new();
        let metrics = ImportMetrics::register(&registry).unwrap();
        let settings = ControllerSettings {
            quiet_period,
            ..ControllerSettings::default()
        };
        let shared = Shared::new(&server.context, &settings, metrics, &Arc::default()).unwrap();
        Self {
            server,
            registry,
            shared,
        }
    }

    fn control(&self, delays: Delays) -> AbortOnDropHandle<()> {
        let shared = Arc::clone(&self.shared);
        AbortOnDropHandle::new(tokio::spawn(async move {
            let ended = run_with(shared, delays).await;
            assert!(ended.is_ok(), "{ended:?}");
        }))
    }

    async fn create(&self, name: &str, spec: Value) -> Value {
        let stream = json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
                            "metadata": {"name": name}, "spec": spec});
        self.server.post("admin", STREAMS, &stream, 201).await
    }

    async fn patch(&self, name: &str, patch: Value) {
        let target = format!("/apis/image.openshift.io/v1/namespaces/n/{STREAMS}/{name}");
        let (code, body) = self.server.send("admin", "PATCH", &target, Some(&patch)).await;
        assert_eq!(code, 200, "{body}");
    }

    async fn stream(&self, name: &str) -> Value {
        let (code, stream) = self.server.get(&format!("{STREAMS}/{name}")).await;
        assert_eq!(code, 200, "{stream}");
        stream
    }

    /// The stream, as soon as it is as it must be.
    async fn until(&self, name: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let stream = self.stream(name).await;
            if is_right(&stream) {
                return stream;
            }
            assert!(begun.elapsed() < PATIENCE, "{stream}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until something else was imported after all that was to be done before.
    async fn settle(&self, host: &str, name: &str) {
        self.create(name, tags(&[("t", &format!("{host}/other/app:1.0.0"))]))
            .await;
        self.until(name, |stream| !item(stream, "t").is_null()).await;
    }
}

fn tags(tags: &[(&str, &str)]) -> Value {
    let tag = |(name, from): &(&str, &str)| json!({"name": name, "from": {"kind": "DockerImage", "name": from}, "importPolicy": {"insecure": true}});
    json!({"tags": tags.iter().map(tag).collect::<Vec<_>>()})
}

fn history<'a>(stream: &'a Value, tag: &str) -> &'a Value {
    let tags = stream["status"]["tags"].as_array();
    tags.into_iter()
        .flatten()
        .find(|history| history["tag"] == tag)
        .unwrap_or(&Value::Null)
}

/// The newest image of a tag.
fn item<'a>(stream: &'a Value, tag: &str) -> &'a Value {
    &history(stream, tag)["items"][0]
}

fn condition<'a>(stream: &'a Value, tag: &str) -> &'a Value {
    &history(stream, tag)["conditions"][0]
}

fn content() -> Content {
    Content::new().tags("team/app", 3).tags("other/app", 1)
}

fn tries(registry: &TestRegistry, what: &str) -> usize {
    let lines = registry.request_lines();
    lines.iter().filter(|line| line.contains(what)).count()
}

#[tokio::test]
async fn pending_tags_are_imported_as_a_client_would_and_all_else_is_left_alone() {
    let registry = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    let host = registry.host();
    let mut spec = tags(&[
        ("one", &format!("{host}/team/app:1.0.0")),
        ("gone", &format!("{host}/team/app:gone")),
    ]);
    let more = json!([
        {"name": "pointer", "from": {"kind": "DockerImage", "name": format!("{host}/team/app:1.0.1")}, "reference": true},
        {"name": "follower", "from": {"kind": "ImageStreamTag", "name": "one"}},
    ]);
    spec["tags"]
        .as_array_mut()
        .unwrap()
        .extend(more.as_array().unwrap().clone());
    place.create("before", spec.clone()).await;
    let _controller = place.control(never_again());
    place.create("after", spec).await;
    for name in ["before", "after"] {
        let stream = place
            .until(name, |stream| {
                !item(stream, "one").is_null() && !condition(stream, "gone").is_null()
            })
            .await;
        assert_eq!(
            item(&stream, "one")["image"],
            registry.content().digest("team/app", "1.0.0")
        );
        assert_eq!(item(&stream, "one")["generation"], 2);
        assert_eq!(condition(&stream, "gone")["reason"], "NotFound");
        assert_eq!(item(&stream, "follower")["image"], item(&stream, "one")["image"]);
        let checked = &stream["metadata"]["annotations"]["openshift.io/image.dockerRepositoryCheck"];
        assert!(checked.is_string(), "{stream}");
    }
    let success = format!(
        "openshift_imagestreamcontroller_success_count{{registry=\"{host}\",scheduled=\"false\"}} 2\n"
    );
    let failure = format!("error_count{{reason=\"NotFound\",registry=\"{host}\",scheduled=\"false\"}} 2\n");
    // An import is counted after the stream shows it.
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let shown = prometheus::TextEncoder::new()
            .encode_to_string(&place.registry.gather())
            .unwrap();
        if shown.contains(&success) && shown.contains(&failure) {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{shown}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_stream_that_others_keep_writing_is_imported_and_the_registry_asked_once() {
    let registry = TestRegistry::start(content());
    // Long enough for many writes.
    let slow = FaultKind::Delay(Duration::from_millis(300));
    registry.add_fault(Fault::on("*/manifests/*", slow));
    let place = Place::new(Duration::ZERO).await;
    let spec = tags(&[("t", &format!("{}/team/app:1.0.0", registry.host()))]);
    place.create("s", spec).await;
    let _controller = place.control(at_once());
    let mut writes = 0;
    let begun = Instant::now();
    while item(&place.stream("s").await, "t").is_null() {
        assert!(begun.elapsed() < PATIENCE, "it is never imported");
        let labels = json!({"metadata": {"labels": {"a": writes.to_string()}}});
        place.patch("s", labels).await;
        writes += 1;
    }
    assert!(writes > 1, "nobody wrote it meanwhile");
    assert_eq!(tries(&registry, "/team/app/manifests/1.0.0"), 1);
}

#[tokio::test]
async fn a_tag_that_is_changed_while_it_is_imported_gets_what_it_wants_now() {
    let registry = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    let host = registry.host();
    let from = |version: &str| tags(&[("t", &format!("{host}/team/app:{version}"))]);
    place.create("s", from("1.0.0")).await;
    let streams = &place.server.context.streams;
    let stored = streams.get("n", "s").await.unwrap().unwrap();
    let stream: ImageStream = typed(stored.object).unwrap();
    let sources = BTreeSet::from([Source::Tag("t".into())]);
    let import = request(&stream, &sources, false).unwrap();
    place.patch("s", json!({"spec": from("1.0.1")})).await;
    // One that was begun before.
    let imported = place.shared.importer.import(&stream, import).await.unwrap();
    assert!(imported.spec.images.is_empty(), "{imported:?}");
    assert_eq!(item(&place.stream("s").await, "t"), &Value::Null);
    let _controller = place.control(never_again());
    let stream = place.until("s", |stream| !item(stream, "t").is_null()).await;
    assert_eq!(
        item(&stream, "t")["image"],
        registry.content().digest("team/app", "1.0.1")
    );
}

#[tokio::test]
async fn a_source_that_always_fails_is_not_asked_in_a_loop_and_the_same_failure_writes_nothing() {
    let registry = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    let host = registry.host();
    let _controller = place.control(never_again());
    place
        .create("s", tags(&[("t", &format!("{host}/team/app:gone"))]))
        .await;
    place.until("s", |stream| !condition(stream, "t").is_null()).await;
    place.settle(&host, "first").await;
    let once = tries(&registry, "/team/app/manifests/gone");
    assert!(once > 0);

    // Somebody wants it tried again. It fails as before, so that it stays pending for all to see.
    let mut spec = tags(&[("t", &format!("{host}/team/app:gone"))]);
    spec["tags"][0]["generation"] = json!(0);
    place.patch("s", json!({"spec": spec})).await;
    let pending = place.stream("s").await;
    let begun = Instant::now();
    while tries(&registry, "/team/app/manifests/gone") < 2 * once {
        assert!(begun.elapsed() < PATIENCE, "it is not tried again");
        sleep(Duration::from_millis(10)).await;
    }
    place.settle(&host, "second").await;
    // Labels are no reason to try again.
    place
        .patch("s", json!({"metadata": {"labels": {"a": "b"}}}))
        .await;
    place.settle(&host, "third").await;
    assert_eq!(tries(&registry, "/team/app/manifests/gone"), 2 * once);
    let stream = place.stream("s").await;
    assert_eq!(stream["status"], pending["status"]);
    assert_eq!(
        stream["metadata"]["generation"],
        pending["metadata"]["generation"]
    );
}

#[tokio::test]
async fn what_failed_is_tried_again_until_it_succeeds_and_then_no_more() {
    let registry = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    let host = registry.host();
    let _controller = place.control(at_once());
    place
        .create("s", tags(&[("t", &format!("{host}/team/app:later"))]))
        .await;
    let failed = place.until("s", |stream| !condition(stream, "t").is_null()).await;
    assert_eq!(condition(&failed, "t")["reason"], "NotFound");
    registry.set_content(content().alias("team/app", "later", "1.0.2"));
    let stream = place.until("s", |stream| !item(stream, "t").is_null()).await;
    assert_eq!(condition(&stream, "t"), &Value::Null);
    assert_eq!(
        item(&stream, "t")["image"],
        registry.content().digest("team/app", "1.0.2")
    );
    let after = tries(&registry, "/team/app/manifests/later");
    place.settle(&host, "other").await;
    assert_eq!(tries(&registry, "/team/app/manifests/later"), after);
}

#[tokio::test]
async fn a_secret_that_is_added_ends_the_wait_of_what_was_refused_for_want_of_it() {
    let registry = TestRegistry::start(content());
    registry.set_auth(Auth::Basic {
        username: "u".into(),
        password: "p".into(),
    });
    let place = Place::new(Duration::ZERO).await;
    let host = registry.host();
    let _controller = place.control(never_again());
    place
        .create("s", tags(&[("t", &format!("{host}/team/app:1.0.0"))]))
        .await;
    let failed = place.until("s", |stream| !condition(stream, "t").is_null()).await;
    assert_eq!(condition(&failed, "t")["reason"], "Unauthorized", "{failed}");
    // One that has nothing to do with images is no reason.
    let other = TestRegistry::start(content());
    let once = tries(&registry, "/team/app/manifests/");
    let secret = json!({"metadata": {"name": "other", "namespace": "n"}, "type": "Opaque"});
    place.server.store(&place.server.context.secrets, secret).await;
    for name in ["a", "b", "c"] {
        place.settle(&other.host(), name).await;
    }
    assert_eq!(tries(&registry, "/team/app/manifests/"), once);
    let config = json!({"auths": {&host: {"username": "u", "password": "p"}}}).to_string();
    let secret = json!({"metadata": {"name": "pull", "namespace": "n"}, "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": BASE64_STANDARD.encode(config)}});
    place.server.store(&place.server.context.secrets, secret).await;
    place.until("s", |stream| !item(stream, "t").is_null()).await;
}

#[tokio::test]
async fn a_stream_in_a_namespace_that_ends_is_left_alone() {
    let registry = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    place
        .create(
            "s",
            tags(&[("t", &format!("{}/team/app:1.0.0", registry.host()))]),
        )
        .await;
    let namespaces = &place.server.context.namespaces;
    let found = namespaces.get("", "n").await.unwrap().unwrap();
    let mut ending = found.object;
    ending["status"]["phase"] = json!("Terminating");
    namespaces.replace(ending, found.revision).await.unwrap().unwrap();
    namespaces.ready().await.unwrap();
    let mut controller = ImportController::new(Arc::clone(&place.shared), at_once());
    let _events = controller.list().await.unwrap();
    let key = controller.queue.start(Instant::now(), |_| true).unwrap();
    controller.import(key);
    assert_eq!(controller.workers.count(), 0);
    assert_eq!(controller.queue.next_due(), None);
    assert_eq!(registry.request_lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stream_whose_namespace_is_not_known_yet_is_imported_when_it_is() {
    let registry = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    let _controller = place.control(never_again());
    let mut spec = tags(&[("t", &format!("{}/team/app:1.0.0", registry.host()))]);
    spec["tags"][0]["generation"] = json!(1);
    let stream = json!({"metadata": {"name": "s", "namespace": "late", "generation": 1}, "spec": spec});
    let context = &place.server.context;
    place.server.store(&context.streams, stream).await;
    place.settle(&registry.host(), "other").await;
    assert_eq!(
        tries(&registry, "/team/app/"),
        0,
        "it is not known whether the namespace is to stay"
    );
    let namespace = json!({"metadata": {"name": "late"}, "status": {"phase": "Active"}});
    place.server.store(&context.namespaces, namespace).await;
    let begun = Instant::now();
    loop {
        let found = context.streams.get("late", "s").await.unwrap().unwrap();
        if !item(&found.object, "t").is_null() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{}", found.object);
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_secret_that_is_written_while_streams_are_looked_at_is_heard_of() {
    let place = Place::new(Duration::ZERO).await;
    let context = &place.server.context;
    // Looking at so many is interrupted so often.
    const INTERRUPTIONS: usize = 4;
    for number in 0..INTERRUPTIONS * BATCH {
        let stream = json!({"metadata": {"name": format!("s{number}"), "namespace": "n"}, "spec": {}});
        place.server.store(&context.streams, stream).await;
    }
    context.streams.ready().await.unwrap();
    let mut controller = ImportController::new(Arc::clone(&place.shared), never_again());
    let mut written = 0;
    let mut heard = {
        let mut list = std::pin::pin!(controller.list());
        loop {
            if let std::task::Poll::Ready(events) = futures::poll!(&mut list) {
                break events.unwrap();
            }
            let secret = json!({"metadata": {"name": format!("s{written}"), "namespace": "n"}});
            place.server.store(&context.secrets, secret).await;
            written += 1;
        }
    };
    context.secrets.ready().await.unwrap();
    let last = format!("s{}", written - 1);
    let mut seen = 0;
    while let Some(Heard::Of(Event::Secret(WatchEvent::Added(secret)))) =
        tokio::time::timeout(PATIENCE, heard.next()).await.unwrap()
    {
        seen += 1;
        if text(&secret.into_value().unwrap(), "name") == last {
            break;
        }
    }
    assert!(seen >= INTERRUPTIONS, "{seen} of {written}");
}

#[tokio::test]
async fn streams_that_wait_for_a_busy_host_are_not_looked_at_before_it_has_a_place() {
    let silent = TestRegistry::start(content());
    silent.add_fault(Fault::on("*", FaultKind::Hang));
    let place = Place::new(Duration::ZERO).await;
    let from = format!("{}/team/app:1.0.0", silent.host());
    for number in 0..PLACES {
        place.create(&format!("s{number}"), tags(&[("t", &from)])).await;
    }
    place.server.context.namespaces.ready().await.unwrap();
    let mut controller = ImportController::new(Arc::clone(&place.shared), never_again());
    let _events = controller.list().await.unwrap();
    let start = |controller: &mut ImportController| {
        let places = &controller.places;
        let started = controller
            .queue
            .start(Instant::now(), |host| places.has_place(host));
        started.inspect(|key| controller.import(key.clone()))
    };
    while start(&mut controller).is_some() {}
    assert_eq!(controller.workers.count(), places::OF_A_STRANGER);
    assert_eq!(controller.queue.next_due(), None, "time alone changes nothing");
    // One place, one stream.
    controller
        .places
        .give_back(&BTreeSet::from([silent.host()]), &BTreeMap::new());
    assert!(start(&mut controller).is_some());
    assert_eq!(start(&mut controller), None);
    assert_eq!(controller.workers.count(), places::OF_A_STRANGER + 1);
}

#[tokio::test]
async fn a_stored_stream_that_cannot_be_read_does_not_keep_others_from_being_imported() {
    let registry = TestRegistry::start(content());
    let place = Place::new(Duration::ZERO).await;
    let streams = &place.server.context.streams;
    for name in ["a", "z"] {
        let broken = json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"tags": 7}});
        place.server.store(streams, broken).await;
    }
    let _controller = place.control(never_again());
    place.settle(&registry.host(), "m").await;
    let broken = json!({"metadata": {"name": "b", "namespace": "n"}, "spec": {"tags": 7}});
    place.server.store(streams, broken).await;
    place.settle(&registry.host(), "n").await;
}
