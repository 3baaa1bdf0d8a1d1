//! Many write one stream at once: a thousand edits, imports and deletions of its tags. None is lost, and the history
//! explains itself.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::collections::BTreeMap;

use http::Method;
use imagestream_testkit::content::Content;
use imagestream_testkit::registry::TestRegistry;
use imagestream_tests::client::{Answer, Client, imports, streams};
use imagestream_tests::server::{ADMIN, Place};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const WRITERS: usize = 10;
const STEPS: usize = 100;
/// How often a writer repeats what others kept it from doing.
const TRIES: usize = 200;

/// What a tag was last made, as its one writer knows.
#[derive(Debug, Clone, PartialEq)]
enum Made {
    Absent,
    /// It points at this reference, and says from which step.
    Reference(String, Option<String>),
    /// It was imported and is this image.
    Imported(String),
}

struct Writer {
    client: Client,
    host: String,
    number: usize,
}

impl Writer {
    fn tag_path(tag: &str) -> String {
        format!("/apis/image.openshift.io/v1/namespaces/team/imagestreamtags/app:{tag}")
    }

    /// Sends something until it is not refused because of what others write.
    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        for _ in 0..TRIES {
            let answer = if method == Method::PATCH {
                let request = self.client.request(method.clone(), path);
                let request = request
                    .header("content-type", "application/merge-patch+json")
                    .body(body.to_string());
                Client::answer(request).await.expect("an answer")
            } else {
                self.client.send(method.clone(), path, body).await
            };
            assert!(answer.status < 500, "{method} {path}: {}", answer.text);
            if answer.status != 409 {
                return answer;
            }
        }
        panic!("{method} {path} never went through");
    }

    async fn point(&self, tag: &str, step: usize) -> Made {
        let reference = format!("registry.example.com/team/app:{}-{step}", self.number);
        let body = json!({"kind": "ImageStreamTag", "apiVersion": "image.openshift.io/v1",
            "metadata": {"name": format!("app:{tag}"), "namespace": "team"},
            "tag": {"name": tag, "from": {"kind": "DockerImage", "name": reference}}});
        let answer = self.send(Method::PUT, &Self::tag_path(tag), &body).await;
        assert!((200..300).contains(&answer.status), "{}", answer.text);
        Made::Reference(reference, None)
    }

    async fn annotate(&self, tag: &str, step: usize, before: &Made) -> Made {
        let body = json!({"metadata": {"annotations": {"step": step.to_string()}}});
        let answer = self.send(Method::PATCH, &Self::tag_path(tag), &body).await;
        match before {
            Made::Absent => {
                // As the original says of a tag that is not in the spec.
                assert_eq!(answer.status, 400, "{}", answer.text);
                Made::Absent
            }
            Made::Reference(reference, _) => {
                assert_eq!(answer.status, 200, "{}", answer.text);
                Made::Reference(reference.clone(), Some(step.to_string()))
            }
            Made::Imported(_) => {
                assert_eq!(answer.status, 200, "{}", answer.text);
                before.clone()
            }
        }
    }

    async fn import(&self, tag: &str, step: usize) -> Made {
        let from = format!("{}/team/app:{}", self.host, Self::source(step));
        let body = json!({"kind": "ImageStreamImport", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "app"},
            "spec": {"import": true, "images": [{"from": {"kind": "DockerImage", "name": from}, "to": {"name": tag},
                     "importPolicy": {"insecure": true}}]}});
        let answer = self.send(Method::POST, &imports("team"), &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let result = &answer.json["status"]["images"][0];
        assert_eq!(result["status"]["status"], "Success", "{}", answer.text);
        Made::Imported(result["image"]["metadata"]["name"].as_str().unwrap().to_owned())
    }

    async fn remove(&self, tag: &str, before: &Made) -> Made {
        let answer = self
            .send(Method::DELETE, &Self::tag_path(tag), &Value::Null)
            .await;
        let expected = if *before == Made::Absent { 404 } else { 200 };
        assert_eq!(answer.status, expected, "{}", answer.text);
        Made::Absent
    }

    fn source(step: usize) -> String {
        format!("1.0.{}", step % 8)
    }

    /// Everything that this writer does, to two tags of its own; what it made them.
    async fn run(self) -> BTreeMap<String, Made> {
        let mut made = BTreeMap::new();
        for step in 0..STEPS {
            let tag = format!("w{}-{}", self.number, step % 2);
            let before = made.get(&tag).cloned().unwrap_or(Made::Absent);
            let after = match (step / 2 + self.number) % 5 {
                0 | 3 => self.point(&tag, step).await,
                1 => self.import(&tag, step).await,
                2 => self.annotate(&tag, step, &before).await,
                _ => self.remove(&tag, &before).await,
            };
            made.insert(tag, after);
        }
        made
    }
}

fn named<'a>(list: &'a Value, field: &str, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|entry| entry[field] == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_writes_of_one_stream_at_once_lose_nothing_and_leave_a_history_that_explains_itself() {
    let registry = TestRegistry::start(Content::new().tags("team/app", 8));
    // Nobody but the writers writes.
    let server = Place::new()
        .config(&json!({"controllers": {"enabled": false}}))
        .start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    let stream =
        json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "app"}});
    let _ = client.post(&streams("team"), &stream).await.ok();

    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let writer = Writer {
            client: client.clone(),
            host: registry.host(),
            number,
        };
        writers.spawn(writer.run());
    }
    let mut made = BTreeMap::new();
    while let Some(writer) = writers.join_next().await {
        made.extend(writer.unwrap());
    }
    assert_eq!(made.len(), 2 * WRITERS);

    let stream = client.get(&format!("{}/app", streams("team"))).await.ok();
    let newest = stream["metadata"]["generation"].as_i64().unwrap();
    let (spec, status) = (&stream["spec"]["tags"], &stream["status"]["tags"]);
    for (tag, made) in &made {
        let (wanted, history) = (named(spec, "name", tag), named(status, "tag", tag));
        match made {
            Made::Absent => assert!(
                wanted.is_none() && history.is_none(),
                "{tag} was deleted: {stream:#}"
            ),
            Made::Reference(reference, step) => {
                let wanted = wanted.unwrap_or_else(|| panic!("{tag} is lost"));
                assert_eq!(wanted["from"]["name"], json!(reference), "{tag}");
                assert_eq!(wanted["annotations"]["step"].as_str(), step.as_deref(), "{tag}");
            }
            Made::Imported(image) => {
                assert!(wanted.is_some(), "{tag} is lost");
                assert_eq!(history.unwrap()["items"][0]["image"], json!(image), "{tag}");
            }
        }
    }
    let mut checked = 0;
    for history in status.as_array().unwrap() {
        assert!(
            made.contains_key(history["tag"].as_str().unwrap()),
            "{}",
            history["tag"]
        );
        let mut above = newest;
        for item in history["items"].as_array().unwrap() {
            let generation = item["generation"].as_i64().unwrap();
            assert!(
                generation <= above,
                "{}: {generation} comes after {above}",
                history["tag"]
            );
            above = generation;
            let image = item["image"].as_str().unwrap();
            if !image.is_empty() {
                let found = client
                    .get(&format!("/apis/image.openshift.io/v1/images/{image}"))
                    .await;
                assert_eq!(found.status, 200, "{image}: {}", found.text);
                checked += 1;
            }
        }
    }
    assert!(checked > 0, "no image is in the history");
}
