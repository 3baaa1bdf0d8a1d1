use imagestream_apiserver::paths::{PathEndpoint, PathRequest};
use imagestream_follow::Visit;
use imagestream_store::Write;
use imagestream_testkit::auth::Auth;
use imagestream_testkit::content::Content;
use imagestream_testkit::image::Image;
use imagestream_testkit::rate_limit::RateLimit;
use imagestream_testkit::registry::TestRegistry;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::super::ImportMetrics;
use super::board::State;
use super::*;
use crate::image::testing::TestServer;
use crate::settings::{ControllerSettings, ScheduledSettings};

mod lists_read;
mod moves;
mod outages;
mod with_rules;

/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(120);
/// Often.
const OFTEN: Duration = Duration::from_millis(200);
/// As good as never.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// A server with namespace `n`.
struct Place {
    server: TestServer,
    shared: Arc<Shared>,
}

impl Place {
    async fn looking(interval: Duration) -> Self {
        let server = TestServer::start().await;
        let namespace = json!({"metadata": {"name": "n"}, "status": {"phase": "Active"}});
        server.store(&server.context.namespaces, namespace).await;
        let settings = ControllerSettings {
            scheduled: ScheduledSettings {
                interval,
                minimum_interval: Duration::from_millis(1),
                checks_per_minute_per_host: 1_000_000,
                ..ScheduledSettings::default()
            },
            ..ControllerSettings::default()
        };
        let metrics = ImportMetrics::register(&prometheus::Registry::new()).unwrap();
        let shared = Shared::new(&server.context, &settings, metrics, &Arc::default()).unwrap();
        Self { server, shared }
    }

    fn control(&self) -> AbortOnDropHandle<()> {
        let shared = Arc::clone(&self.shared);
        AbortOnDropHandle::new(tokio::spawn(async move {
            let ended = run(shared).await;
            assert!(ended.is_ok(), "{ended:?}");
        }))
    }

    /// Imports as a client does it, with a schedule.
    async fn import(&self, stream: &str, tags: &[(&str, &str)], mode: &str) -> Value {
        let images: Vec<Value> = tags
            .iter()
            .map(|(tag, from)| {
                json!({"from": {"kind": "DockerImage", "name": from}, "to": {"name": tag},
                       "importPolicy": {"insecure": true, "scheduled": true, "importMode": mode}})
            })
            .collect();
        let import = json!({"kind": "ImageStreamImport", "apiVersion": "image.openshift.io/v1",
            "metadata": {"name": stream}, "spec": {"import": true, "images": images}});
        self.server
            .post("admin", "imagestreamimports", &import, 201)
            .await
    }

    async fn stream(&self, name: &str) -> Value {
        let (code, stream) = self.server.get(&format!("imagestreams/{name}")).await;
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

    /// Waits for a state of the controller.
    async fn until_known<T>(&self, what: impl Fn(&State) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let state = self.shared.board.state();
            if let Some(found) = state.and_then(|state| what(&state.lock())) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not happen");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the status says at a path and query.
    async fn status(&self, target: &str) -> Result<Value, Box<Status>> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = format!("/imagestream/v1/status{path}");
        let user = imagestream_apiserver::authn::UserInfo::default();
        let info = imagestream_apiserver::request_info::RequestInfo::new("GET", &path, query);
        let now = jiff::Timestamp::now();
        let request = imagestream_apiserver::endpoint::Request::new(
            info,
            user,
            query.to_owned(),
            now,
            Instant::now() + PATIENCE,
        );
        let endpoint = StatusEndpoint::new(&self.server.context, &self.shared.board);
        let answer = endpoint.answer(PathRequest {
            request: Arc::new(request),
            method: http::Method::GET,
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
        });
        Ok(serde_json::from_slice(&answer.await?.body).unwrap())
    }

    /// Waits for this many looks that end from now on.
    async fn looks(&self, looks: u64) {
        let count = |state: &State| state.looks;
        let before = self.until_known(|state| Some(count(state))).await;
        self.until_known(|state| (count(state) >= before + looks).then_some(()))
            .await;
    }
}

fn newest(stream: &Value) -> &str {
    stream["status"]["tags"][0]["items"][0]["image"]
        .as_str()
        .unwrap_or_default()
}

fn failure(stream: &Value) -> &Value {
    &stream["status"]["tags"][0]["conditions"][0]["reason"]
}

fn version(stream: &Value) -> &Value {
    &stream["metadata"]["resourceVersion"]
}

fn app(name: &str) -> Content {
    Content::new().image("team/app", "v1", Image::new().distinct(name))
}

fn gets(registry: &TestRegistry) -> Vec<String> {
    let lines = registry.request_lines().into_iter();
    lines.filter(|line| line.starts_with("GET")).collect()
}

#[tokio::test]
async fn a_tag_that_moves_is_imported_and_one_that_does_not_is_left_alone() {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(OFTEN).await;
    let name = format!("{}/team/app:v1", registry.host());
    place.import("s", &[("t", &name)], "Legacy").await;
    let before = place.stream("s").await;
    registry.clear_requests();
    let _running = place.control();
    place.looks(3).await;
    assert_eq!(
        version(&place.stream("s").await),
        version(&before),
        "nothing is written"
    );
    assert_eq!(gets(&registry), Vec::<String>::new(), "nothing is read");
    registry.set_content(app("new"));
    let moved = registry.content().digest("team/app", "v1");
    let after = place.until("s", |stream| newest(stream) == moved).await;
    assert_eq!(after["status"]["tags"][0]["items"].as_array().unwrap().len(), 2);
    let policy = &after["spec"]["tags"][0]["importPolicy"];
    assert_eq!(
        policy,
        &json!({"insecure": true, "scheduled": true, "importMode": "Legacy"})
    );
    place.looks(2).await;
    let settled = place.stream("s").await;
    place.looks(3).await;
    assert_eq!(version(&place.stream("s").await), version(&settled));
}

#[tokio::test]
async fn a_look_that_panics_is_made_again_and_what_is_known_of_hosts_is_kept() {
    #![allow(clippy::panic, reason = "a look that panics is what is tested")]
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(OFTEN).await;
    let name = format!("{}/team/app:v1", registry.host());
    place.import("s", &[("t", &name)], "Legacy").await;
    let (mut controller, mut pokes) = Scheduled::begin(Arc::clone(&place.shared)).await.unwrap();
    let events = controller.list().await.unwrap();
    let refusal = imagestream_follow::Feedback {
        refused: true,
        retry_after: Some(NEVER),
        quota: None,
    };
    let begun = loop {
        let next = controller.place.lock().next();
        match next {
            Next::Look(begun) => break begun,
            Next::Wait(wait) => sleep(wait.unwrap()).await,
        }
    };
    {
        let mut state = controller.place.lock();
        let now = state.clock.now();
        state.scheduler.visit("other.test", now);
        state.scheduler.visited("other.test", now, None, &refusal);
    }
    let doing = Doing {
        id: begun.id,
        done: Done::of(&begun.work),
        key: begun.key,
        host: begun.host,
        settled: begun.settled,
    };
    controller.looks.begin(doing, async { panic!("a mistake") });
    let _running = AbortOnDropHandle::new(tokio::spawn(async move {
        controller.follow(events, &mut pokes).await.unwrap();
    }));
    registry.set_content(app("new"));
    let moved = registry.content().digest("team/app", "v1");
    place.until("s", |stream| newest(stream) == moved).await;
    let state = place.shared.board.state().unwrap();
    let mut state = state.lock();
    let now = state.clock.now();
    assert!(matches!(
        state.scheduler.visit("other.test", now),
        Visit::LeftAlone(_)
    ));
}

#[tokio::test]
async fn fifty_streams_of_one_tag_cost_one_request_and_all_follow_it() {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(OFTEN).await;
    let name = format!("{}/team/app:v1", registry.host());
    let streams: Vec<String> = (0..50).map(|number| format!("s{number}")).collect();
    for stream in &streams {
        place.import(stream, &[("t", &name)], "Legacy").await;
    }
    registry.clear_requests();
    let _running = place.control();
    place
        .until_known(|state| (state.scheduler.tags() == 50).then_some(()))
        .await;
    place.looks(3).await;
    let (requests, looks) = place
        .until_known(|state| Some((registry.request_count(), state.looks)))
        .await;
    let requests = u64::try_from(requests).unwrap();
    // One may be under way.
    assert!(
        (looks..=looks + 1).contains(&requests),
        "{requests} requests for {looks} looks"
    );
    registry.set_content(app("new"));
    let moved = registry.content().digest("team/app", "v1");
    registry.clear_requests();
    for stream in &streams {
        place.until(stream, |stream| newest(stream) == moved).await;
    }
    let gets = gets(&registry);
    assert_eq!(gets.len(), 2, "one manifest and its configuration: {gets:?}");
}

#[tokio::test]
async fn a_registry_that_allows_little_reading_is_read_later_and_nothing_fails() {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(OFTEN).await;
    let name = format!("{}/team/app:v1", registry.host());
    place.import("s", &[("t", &name)], "Legacy").await;
    let mut limit = RateLimit::new(1, Duration::from_secs(2)).free_heads();
    let _running = place.control();
    limit.headers = true;
    registry.set_rate_limit(limit.only("/v2/*/manifests/*"));
    for content in ["one", "two", "three"] {
        registry.set_content(app(content));
        let moved = registry.content().digest("team/app", "v1");
        place
            .until("s", |stream| {
                assert_eq!(failure(stream), &Value::Null, "nothing fails");
                newest(stream) == moved
            })
            .await;
    }
}

#[tokio::test]
async fn a_registry_that_refuses_configurations_for_an_hour_fails_nothing() {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(OFTEN).await;
    let name = format!("{}/team/app:v1", registry.host());
    place.import("s", &[("t", &name)], "Legacy").await;
    let _running = place.control();
    // Much longer than an import may take.
    registry.set_rate_limit(RateLimit::new(0, Duration::from_secs(3600)).only("/v2/*/blobs/*"));
    registry.set_content(app("new"));
    let is_left_alone = || {
        let state = place.shared.board.state()?;
        let mut state = state.lock();
        let now = state.clock.now();
        state.scheduler.host_reports(now).first()?.throttled
    };
    place
        .until("s", |stream| {
            assert_eq!(failure(stream), &Value::Null, "nothing fails");
            is_left_alone().is_some()
        })
        .await;
    let asked = registry.request_lines();
    assert_eq!(
        asked.iter().filter(|line| line.contains("/blobs/")).count(),
        2,
        "{asked:?}"
    );
    assert_eq!(failure(&place.stream("s").await), &Value::Null);
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_keeps_no_other_from_being_followed() {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(OFTEN).await;
    let name = format!("{}/team/app:v1", registry.host());
    let broken = json!({"metadata": {"name": "broken", "namespace": "n"}, "spec": {"tags": "none"}});
    place.server.store(&place.server.context.streams, broken).await;
    place.import("s", &[("t", &name)], "Legacy").await;
    let _running = place.control();
    place.looks(1).await;
    let broken = json!({"metadata": {"name": "later", "namespace": "n"}, "spec": {"tags": "none"}});
    place.server.store(&place.server.context.streams, broken).await;
    registry.set_content(app("new"));
    let moved = registry.content().digest("team/app", "v1");
    place.until("s", |stream| newest(stream) == moved).await;
}

#[tokio::test]
async fn who_hears_of_a_push_has_its_followers_look_at_once() {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(NEVER).await;
    let name = format!("{}/team/app:v1", registry.host());
    place.import("s", &[("t", &name)], "Legacy").await;
    assert!(!place.shared.board.poke(&name), "nobody listens yet");
    let _running = place.control();
    place
        .until_known(|state| (state.scheduler.tags() == 1).then_some(()))
        .await;
    registry.set_content(app("new"));
    let other = format!("{}/team/app:v2", registry.host());
    assert!(place.shared.board.poke(&other) && place.shared.board.poke(&name));
    assert!(
        place.shared.board.poke("not a reference"),
        "nobody has to hear of it"
    );
    let moved = registry.content().digest("team/app", "v1");
    place.until("s", |stream| newest(stream) == moved).await;
}

#[tokio::test]
async fn a_push_that_was_told_while_an_older_image_was_imported_is_looked_at_as_soon_as_that_is_in_the_stream()
 {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(NEVER).await;
    let name = format!("{}/team/app:v1", registry.host());
    // What an import writes that began before the push and ends after it was told.
    place.import("s", &[("t", &name)], "Legacy").await;
    let streams = &place.server.context.streams;
    let imported = streams.get("n", "s").await.unwrap().unwrap().object;
    let target = "/apis/image.openshift.io/v1/namespaces/n/imagestreams/s";
    assert_eq!(place.server.send("admin", "DELETE", target, None).await.0, 200);

    let _running = place.control();
    place
        .until_known(|state| (state.scheduler.tags() == 0).then_some(()))
        .await;
    registry.set_content(app("new"));
    assert!(place.shared.board.poke(&name));
    let noted = Name::of(&ImageReference::parse(&name).unwrap()).unwrap();
    place
        .until_known(|state| state.pushed.contains(&noted, state.clock.now()).then_some(()))
        .await;
    place.server.store(streams, imported).await;
    let moved = registry.content().digest("team/app", "v1");
    place.until("s", |stream| newest(stream) == moved).await;
}

#[tokio::test]
async fn streams_stop_sharing_when_the_secrets_of_one_change_and_those_see_what_they_may() {
    let registry = TestRegistry::start(app("old"));
    registry.set_auth(Auth::bearer_for_everyone());
    let place = Place::looking(OFTEN).await;
    let namespace = json!({"metadata": {"name": "m"}, "status": {"phase": "Active"}});
    place
        .server
        .store(&place.server.context.namespaces, namespace)
        .await;
    let name = format!("{}/team/app:v1", registry.host());
    place.import("s", &[("t", &name)], "Legacy").await;
    let mut foreign = place.stream("s").await;
    foreign["metadata"]["namespace"] = json!("m");
    foreign["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    place.server.store(&place.server.context.streams, foreign).await;
    let _running = place.control();
    let sources = |wanted: usize| {
        place.until_known(move |state| {
            let followed = &state.scheduler;
            (followed.tags() == 2 && followed.sources() == wanted).then_some(())
        })
    };
    sources(1).await;
    let document = json!({"auths": {registry.host(): {"username": "ann", "password": "p"}}}).to_string();
    let secret = json!({"metadata": {"name": "pull", "namespace": "n"}, "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": k8s_openapi::ByteString(document.into_bytes())}});
    place.server.store(&place.server.context.secrets, secret).await;
    sources(2).await;
    registry.set_auth(Auth::bearer("ann", "p"));
    registry.set_content(app("new"));
    let moved = registry.content().digest("team/app", "v1");
    place.until("s", |stream| newest(stream) == moved).await;
    let foreign = place.server.context.streams.get("m", "s").await.unwrap().unwrap();
    assert_ne!(
        newest(&foreign.object),
        moved,
        "who may not see it has not got it"
    );
}

#[tokio::test]
async fn what_is_no_longer_scheduled_or_no_longer_there_is_not_followed() {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(OFTEN).await;
    let name = format!("{}/team/app:v1", registry.host());
    for stream in ["s", "gone"] {
        place.import(stream, &[("t", &name)], "Legacy").await;
    }
    let _running = place.control();
    let tags =
        |wanted: usize| place.until_known(move |state| (state.scheduler.tags() == wanted).then_some(()));
    tags(2).await;
    let target = |name: &str| format!("/apis/image.openshift.io/v1/namespaces/n/imagestreams/{name}");
    let (code, _) = place.server.send("admin", "DELETE", &target("gone"), None).await;
    assert_eq!(code, 200);
    tags(1).await;
    let mut spec = place.stream("s").await["spec"].clone();
    spec["tags"][0]["importPolicy"]["scheduled"] = json!(false);
    let (code, body) = place
        .server
        .send("admin", "PATCH", &target("s"), Some(&json!({"spec": spec})))
        .await;
    assert_eq!(code, 200, "{body}");
    tags(0).await;
    place
        .until_known(|state| (state.scheduler.sources() == 0).then_some(()))
        .await;
}

#[tokio::test]
async fn the_status_tells_what_is_followed_by_host_and_by_stream_page_by_page() {
    let registry = TestRegistry::start(app("old"));
    let place = Place::looking(OFTEN).await;
    assert_eq!(place.status("").await.unwrap()["leader"]["isThisServer"], false);
    assert_eq!(place.status("/hosts").await.unwrap()["items"], json!([]));
    let name = format!("{}/team/app:v1", registry.host());
    for stream in ["a", "b", "c"] {
        place.import(stream, &[("t", &name)], "Legacy").await;
    }
    let _running = place.control();
    place
        .until_known(|state| (state.scheduler.tags() == 3).then_some(()))
        .await;
    place.looks(1).await;
    let overview = place.status("").await.unwrap();
    let figures = ["streams", "tags", "sources", "hosts", "throttledHosts"].map(|field| &overview[field]);
    assert_eq!(figures, [3, 3, 1, 1, 0]);
    assert_eq!(overview["leader"], json!({"isThisServer": true, "holder": null}));
    let hosts = place.status("/hosts").await.unwrap();
    let host = &hosts["items"][0];
    assert_eq!(
        (&host["host"], &host["tags"]),
        (&json!(registry.host()), &json!(3))
    );
    assert!(host["checksPerMinute"].as_u64() >= Some(1), "{host}");
    let first = place.status("/streams?namespace=n&limit=2").await.unwrap();
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&first), ["a", "b"]);
    let stream = &first["items"][0];
    for field in ["lastCheck", "nextCheck", "lastChange"] {
        assert!(stream[field].is_string(), "{field}: {stream}");
    }
    let next = first["continue"].as_str().unwrap();
    let second = place
        .status(&format!("/streams?limit=2&continue={next}"))
        .await
        .unwrap();
    assert_eq!(
        (names(&second), &second["continue"]),
        (vec!["c".to_owned()], &json!(""))
    );
    assert_eq!(
        names(&place.status("/streams?namespace=m").await.unwrap()),
        Vec::<String>::new()
    );
    let code = |refused: Result<Value, Box<Status>>| refused.unwrap_err().code;
    assert_eq!(code(place.status("/others").await), Some(404));
    assert_eq!(code(place.status("/streams?continue=x").await), Some(400));
}
