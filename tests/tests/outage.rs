//! A registry goes away for a while: streams say so and lose nothing, and follow again soon after it is back, gently.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::Method;
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::image::Image;
use imagestream_testkit::registry::TestRegistry;
use imagestream_tests::client::{Client, streams};
use imagestream_tests::program::list;
use imagestream_tests::server::{ADMIN, Place};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Streams that follow the registry that goes away, and tags of each.
const STREAMS: usize = 6;
const TAGS: usize = 10;
/// Tags of each that move while the registry is away.
const MOVED: usize = 3;
/// How often a tag is looked at.
const INTERVAL: Duration = Duration::from_secs(15);
/// Looks that may begin at one host in a minute: most tags need this time for a round.
const PER_MINUTE: usize = 360;
/// Looks that may be under way at one host at once.
const IN_FLIGHT: usize = 32;
/// Longest wait for what must happen. Requests that are not answered are given up after half a minute.
const PATIENCE: Duration = Duration::from_secs(240);

/// How a registry is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    Refuses,
    Answers503,
    Hangs,
}

/// A registry that can go away and come back.
struct Registry {
    up: Option<TestRegistry>,
    host: String,
}

impl Registry {
    fn start(content: Content) -> Self {
        let up = TestRegistry::start(content);
        let host = up.host();
        Self { up: Some(up), host }
    }

    fn up(&self) -> &TestRegistry {
        self.up.as_ref().expect("it is up")
    }

    /// Goes away, and counts who asks from now on.
    fn go(&mut self, how: Outage) {
        self.up().clear_requests();
        match how {
            Outage::Refuses => self.up = None,
            Outage::Answers503 => self.up().add_fault(Fault::status("*", 503)),
            Outage::Hangs => self.up().add_fault(Fault::on("*", FaultKind::Hang)),
        }
    }

    /// Comes back with this content, and has forgotten who asked for what.
    async fn come_back(&mut self, content: Content) {
        if let Some(up) = &self.up {
            up.set_content(content);
            up.clear_requests();
            up.clear_faults();
            return;
        }
        let (_, port) = self.host.rsplit_once(':').expect("a port");
        let port = port.parse().expect("a port");
        let up = TestRegistry::builder(content).port(port);
        self.up = Some(up.start_when_free().await);
    }
}

/// Image `build` of each tag that moves, and the first build of the others.
fn content(build: &str) -> Content {
    let tags = (0..STREAMS).flat_map(|stream| (0..TAGS).map(move |tag| (stream, tag)));
    tags.fold(Content::new(), |content, (stream, tag)| {
        let build = if tag < MOVED { build } else { "first" };
        let image = Image::new().distinct(&format!("{stream} {tag} {build}"));
        content.image(&format!("team/app{stream}"), &tag.to_string(), image)
    })
}

/// A stream whose tags follow those of a repository.
fn stream(name: &str, repository: &str, tags: usize) -> Value {
    let tag = |tag: usize| {
        json!({"name": tag.to_string(), "importPolicy": {"scheduled": true, "insecure": true},
               "from": {"kind": "DockerImage", "name": format!("{repository}:{tag}")}})
    };
    json!({"apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": {"name": name},
           "spec": {"tags": Vec::from_iter((0..tags).map(tag))}})
}

/// The histories of a stream's tags, by tag: the images, the newest first.
fn histories(stream: &Value) -> BTreeMap<String, Vec<String>> {
    let images = |tag: &Value| {
        let items = list(&tag["items"]).iter();
        items
            .filter_map(|item| Some(item["image"].as_str()?.to_owned()))
            .collect()
    };
    let tags = list(&stream["status"]["tags"]).iter();
    tags.filter_map(|tag| Some((tag["tag"].as_str()?.to_owned(), images(tag))))
        .collect()
}

/// The conditions of a stream's tags.
fn conditions(stream: &Value) -> Vec<&Value> {
    let tags = list(&stream["status"]["tags"]).iter();
    tags.flat_map(|tag| list(&tag["conditions"])).collect()
}

/// Whether a stream has the newest image of each tag, and no complaint.
fn is_followed(stream: &Value, registry: &TestRegistry, repository: &str) -> bool {
    let (content, histories) = (registry.content(), histories(stream));
    conditions(stream).is_empty()
        && histories.len() == content.tag_names(repository).len()
        && histories
            .iter()
            .all(|(tag, images)| images.first() == Some(&content.digest(repository, tag)))
}

struct Follower {
    client: Client,
}

impl Follower {
    /// A stream, as soon as it is as it must be.
    async fn until(&self, name: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let stream = self.client.get(&format!("{}/{name}", streams("team"))).await.ok();
            if is_right(&stream) {
                return stream;
            }
            assert!(begun.elapsed() < PATIENCE, "{stream:#}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// All streams of the registry, each as soon as it is as it must be.
    async fn until_all(&self, is_right: impl Fn(usize, &Value) -> bool) -> Vec<Value> {
        let mut all = Vec::new();
        for number in 0..STREAMS {
            all.push(
                self.until(&format!("s{number}"), |stream| is_right(number, stream))
                    .await,
            );
        }
        all
    }
}

/// The registry is away; its streams are to say why in words like these.
async fn go_away_and_come_back(how: Outage, why: &[&str]) {
    let mut registry = Registry::start(content("first"));
    let other = |build: &str| Content::new().image("team/other", "0", Image::new().distinct(build));
    let healthy = TestRegistry::start(other("first"));
    let server = Place::new()
        .config(&json!({
            "controllers": {"quietPeriod": "100ms"},
            "scheduled": {"interval": format!("{}s", INTERVAL.as_secs()), "minimumInterval": "1s",
                          "checksPerMinutePerHost": PER_MINUTE},
        }))
        .start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    for number in 0..STREAMS {
        let body = stream(
            &format!("s{number}"),
            &format!("{}/team/app{number}", registry.host),
            TAGS,
        );
        let _ = client.post(&streams("team"), &body).await.ok();
    }
    let body = stream("healthy", &format!("{}/team/other", healthy.host()), 1);
    let _ = client.post(&streams("team"), &body).await.ok();
    let follower = Follower { client };
    let is_right =
        |number: usize, stream: &Value| is_followed(stream, registry.up(), &format!("team/app{number}"));
    let before = follower.until_all(is_right).await;

    // Away: everybody is told, and nothing is lost.
    registry.go(how);
    let went = Instant::now();
    let told = follower
        .until_all(|_, stream| conditions(stream).len() == TAGS)
        .await;
    println!("{how:?}: all were told after {:?}", went.elapsed());
    for (before, told) in before.iter().zip(&told) {
        assert_eq!(histories(before), histories(told), "nothing is lost");
        for condition in conditions(told) {
            assert_eq!(
                (&condition["type"], &condition["status"], &condition["reason"]),
                (&json!("ImportSuccess"), &json!("False"), &json!("InternalError"))
            );
            let message = condition["message"].as_str().unwrap();
            assert!(why.iter().all(|word| message.contains(word)), "{message}");
            assert!(condition["lastTransitionTime"].is_string(), "{condition}");
        }
    }
    let hosts = follower.client.get("/imagestream/v1/status/hosts").await.ok();
    let shown = list(&hosts["items"])
        .iter()
        .find(|host| host["host"] == *registry.host);
    assert_eq!(
        shown.expect("its host")["throttledBecause"],
        "Unreachable",
        "{hosts}"
    );
    if let Some(up) = &registry.up {
        let asked = up.request_count();
        println!("{how:?}: {asked} requests meanwhile");
        assert!(
            asked < 2 * STREAMS * TAGS,
            "{asked} requests to who does not answer"
        );
    }

    // Others notice nothing of it.
    healthy.set_content(other("second"));
    follower
        .until("healthy", |stream| is_followed(stream, &healthy, "team/other"))
        .await;

    // Back: all conditions go, what moved is followed, and that within the budget.
    // Whatever is counted falls between these two moments.
    let back = Instant::now();
    registry.come_back(content("second")).await;
    let up = registry.up();
    let is_right = |number: usize, stream: &Value| is_followed(stream, up, &format!("team/app{number}"));
    let recovered = follower.until_all(is_right).await;
    let requests = up.requests();
    let took = back.elapsed();
    for (before, after) in before.iter().zip(&recovered) {
        let (before, after) = (histories(before), histories(after));
        for (tag, images) in &before {
            assert!(after[tag].ends_with(images), "nothing is lost: {after:?}");
            let moved = usize::from(tag.parse::<usize>().unwrap() < MOVED);
            assert_eq!(
                after[tag].len(),
                images.len() + moved,
                "nothing comes twice: {after:?}"
            );
        }
    }
    let looks = requests
        .iter()
        .filter(|request| request.method == Method::HEAD)
        .count();
    let reads = requests
        .iter()
        .filter(|request| request.method == Method::GET && request.path.contains("/manifests/"))
        .count();
    println!("{how:?}: recovered after {took:?} with {looks} looks and {reads} reads of manifests");
    let seconds = usize::try_from(took.as_secs()).unwrap() + 1;
    assert!(
        looks <= PER_MINUTE * seconds / 60 + IN_FLIGHT,
        "{looks} looks in {took:?}"
    );
    assert_eq!(reads, STREAMS * MOVED, "what did not move is not read");
}

#[tokio::test]
async fn a_registry_that_refuses_connections_is_followed_on_when_it_is_back() {
    go_away_and_come_back(Outage::Refuses, &["connection refused"]).await;
}

#[tokio::test]
async fn a_registry_that_answers_503_is_followed_on_when_it_is_back() {
    go_away_and_come_back(Outage::Answers503, &["503 Service Unavailable"]).await;
}

#[tokio::test]
async fn a_registry_that_never_answers_is_followed_on_when_it_is_back() {
    go_away_and_come_back(Outage::Hangs, &["context deadline exceeded"]).await;
}
