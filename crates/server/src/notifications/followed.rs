//! Which tags of registries some stream follows, for those who are told of pushes: nothing is stored for others.
//!
//! Only hashes are kept, some 20 bytes for each tag. That two tags have the same means a check for nothing, at worst.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use imagestream_api::follow_rules::{self, RULES_ANNOTATION};
use imagestream_api::reference::ImageReference;
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::ImageStream;
use imagestream_apiserver::endpoint::{Object, WatchEvent, WatchEvents};
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::context::Context;
use crate::image::stream_write::{SCHEDULED, key_of, mentioning, readable};

/// Pause before the streams are listed again after a watch was lost.
const PAUSE: Duration = Duration::from_secs(1);
/// Streams that are looked at without letting others do something.
const BATCH: usize = 64;
/// What stands in a stream that follows something.
const WANTED: [&str; 2] = [SCHEDULED, RULES_ANNOTATION];

/// What streams follow.
pub(super) struct FollowedTags {
    context: Arc<Context>,
    hasher: RandomState,
    state: Mutex<State>,
    /// Whose turn it is to learn. Holds the revision of which everything is known; later changes may be.
    turn: tokio::sync::Mutex<u64>,
}

#[derive(Default)]
struct State {
    of_streams: HashMap<StreamKey, Box<[u64]>>,
    counts: HashMap<u64, u32>,
}

impl State {
    fn set(&mut self, key: StreamKey, hashes: Box<[u64]>) {
        for hash in &hashes {
            *self.counts.entry(*hash).or_default() += 1;
        }
        let before = if hashes.is_empty() {
            self.of_streams.remove(&key)
        } else {
            self.of_streams.insert(key, hashes)
        };
        for hash in before.into_iter().flatten() {
            if let Some(count) = self.counts.get_mut(&hash) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&hash);
                }
            }
        }
    }
}

impl FollowedTags {
    /// What the streams follow that are there now, and the changes to come.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn open(context: &Arc<Context>) -> Result<(Arc<Self>, WatchEvents), Box<Status>> {
        let followed = Arc::new(Self {
            context: Arc::clone(context),
            hasher: RandomState::new(),
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        });
        let events = followed.list().await?;
        Ok((followed, events))
    }

    /// Whether some stream wants to know that this tag was pushed.
    pub(super) fn contains(&self, tag: &ImageReference) -> bool {
        let repository = ImageReference {
            tag: String::new(),
            ..tag.clone()
        };
        let hashes = [self.hash(tag), self.hash(&repository)];
        let state = self.lock();
        hashes.iter().any(|hash| state.counts.contains_key(hash))
    }

    /// Learns of changes for as long as it is polled.
    pub(super) async fn learn(self: Arc<Self>, mut events: WatchEvents) {
        loop {
            while let Some(event) = events.next().await {
                if let Err(status) = self.hear(event).await {
                    tracing::warn!(
                        message = status.message,
                        "lost the watch of streams for notifications"
                    );
                    break;
                }
            }
            events = loop {
                sleep(PAUSE).await;
                match self.list().await {
                    Ok(events) => break events,
                    Err(status) => {
                        tracing::warn!(
                            message = status.message,
                            "could not list streams for notifications"
                        );
                    }
                }
            };
        }
    }

    /// Learns of everything that was stored when this was called: it may not have been told yet.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn catch_up(&self) -> Result<(), Box<Status>> {
        let streams = &self.context.streams;
        streams.ready().await?;
        let mut known = self.turn.lock().await;
        let Some(changed) = streams.before(*known)? else {
            // More than is remembered.
            *known = self.read_all().await?;
            return Ok(());
        };
        for (position, (path, _)) in changed.objects.into_iter().enumerate() {
            let (namespace, name) = path.split_once('/').unwrap_or(("", &path));
            let key = StreamKey {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            match streams.in_memory(namespace, name).transpose() {
                None => self.lock().set(key, Box::default()),
                Some(found) => {
                    let stream = found.and_then(|found| mentioning(found.object.into(), &WANTED));
                    if let Some(stream) = readable(stream) {
                        let hashes = self.hashes(&stream);
                        self.lock().set(key, hashes);
                    }
                }
            }
            if position % BATCH == BATCH - 1 {
                yield_now().await;
            }
        }
        *known = changed.reached;
        Ok(())
    }

    async fn list(&self) -> Result<WatchEvents, Box<Status>> {
        let mut known = self.turn.lock().await;
        *known = self.read_all().await?;
        let changes = ListOptions::changes_after(*known);
        drop(known);
        self.context.streams.watch("", changes).await
    }

    /// Reads all streams; the revision that they were read at.
    async fn read_all(&self) -> Result<u64, Box<Status>> {
        let streams = &self.context.streams;
        let (found, revision) = streams
            .all("", &LabelSelector::default(), &FieldSelector::default())
            .await?;
        let mut fresh = State::default();
        for (position, encoded) in found.into_iter().enumerate() {
            if let Some(stream) = readable(mentioning(encoded.into(), &WANTED)) {
                fresh.set(StreamKey::of(&stream), self.hashes(&stream));
            }
            if position % BATCH == BATCH - 1 {
                yield_now().await;
            }
        }
        *self.lock() = fresh;
        Ok(revision)
    }

    async fn hear(&self, event: WatchEvent) -> Result<(), Box<Status>> {
        let mut known = self.turn.lock().await;
        if let WatchEvent::Added(Object::Encoded(object))
        | WatchEvent::Modified(Object::Encoded(object))
        | WatchEvent::Deleted(Object::Encoded(object)) = &event
        {
            if object.revision() <= *known {
                return Ok(());
            }
            // There may be more of the same commit.
            *known = object.revision() - 1;
        }
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                if let Some(stream) = readable(mentioning(object, &WANTED)) {
                    let hashes = self.hashes(&stream);
                    self.lock().set(StreamKey::of(&stream), hashes);
                }
            }
            WatchEvent::Deleted(object) => {
                let object = object.into_value()?;
                let key = key_of(&object);
                self.lock().set(key, Box::default());
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(status),
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of the tags that a stream has scheduled, and of the repositories that its rules name.
    fn hashes(&self, stream: &ImageStream) -> Box<[u64]> {
        let scheduled = stream.spec.tags.values().filter_map(|tag| {
            let from = tag.from.as_ref()?;
            if from.kind.as_deref() != Some("DockerImage") || tag.reference || !tag.import_policy.scheduled {
                return None;
            }
            let reference = ImageReference::parse(from.name.as_deref()?).ok()?;
            // What a digest names is never pushed again.
            reference.id.is_empty().then(|| self.hash(&reference.defaulted()))
        });
        let rules = follow_rules::rules(&stream.metadata).unwrap_or_default();
        let of_rules = rules.iter().map(|rule| self.hash(&rule.repository));
        scheduled.chain(of_rules).collect()
    }

    /// The same for all spellings of a tag; of a repository if there is no tag.
    fn hash(&self, reference: &ImageReference) -> u64 {
        let repository = reference.defaulted().repository_name();
        self.hasher
            .hash_one((reference.contacted_host(), repository, &reference.tag))
    }
}

#[cfg(test)]
mod tests {
    use imagestream_api::follow_rules::RULES_ANNOTATION;
    use imagestream_store::Write;
    use serde_json::{Value, json};

    use super::*;
    use crate::image::testing::TestServer;

    fn stream(tags: &Value, rules: &str) -> Value {
        json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
               "metadata": {"name": "s", "namespace": "n", "annotations": {RULES_ANNOTATION: rules}},
               "spec": {"tags": tags}})
    }

    fn scheduled(name: &str, from: &str) -> Value {
        json!({"name": name, "from": {"kind": "DockerImage", "name": from}, "importPolicy": {"scheduled": true}})
    }

    fn is_followed(followed: &FollowedTags, tag: &str) -> bool {
        followed.contains(&ImageReference::parse(tag).unwrap().defaulted())
    }

    #[tokio::test]
    async fn scheduled_tags_and_repositories_of_rules_are_followed_in_every_spelling() {
        let server = TestServer::start().await;
        let digest = format!("quay.io/a/b@sha256:{}", "0".repeat(64));
        let mut unscheduled = scheduled("d", "quay.io/a/b:unscheduled");
        unscheduled["importPolicy"] = json!({});
        let mut pointed = scheduled("e", "quay.io/a/b:pointed");
        pointed["reference"] = json!(true);
        let tags = json!([
            scheduled("a", "nginx"),
            scheduled("b", "registry-1.docker.io/user/app:v1"),
            scheduled("c", &digest),
            unscheduled,
            pointed,
        ]);
        let stream = stream(&tags, "[{repository: 'r.test:5000/x', match: {glob: '*'}}]");
        server.store(&server.context.streams, stream).await;
        let (followed, _events) = FollowedTags::open(&server.context).await.unwrap();
        for (tag, expected) in [
            ("docker.io/library/nginx:latest", true),
            ("index.docker.io/nginx:latest", true),
            ("docker.io/user/app:v1", true),
            ("r.test:5000/x:whatever", true),
            ("docker.io/library/nginx:other", false),
            ("docker.io/user/nginx:latest", false),
            ("quay.io/library/nginx:latest", false),
            ("quay.io/a/b:unscheduled", false),
            ("quay.io/a/b:pointed", false),
            ("r.test/x:whatever", false),
        ] {
            assert_eq!(is_followed(&followed, tag), expected, "{tag}");
        }
    }

    #[tokio::test]
    async fn a_stream_that_can_not_be_read_keeps_nobody_from_the_others() {
        let server = TestServer::start().await;
        let streams = &server.context.streams;
        server
            .store(streams, stream(&json!([scheduled("a", "q.test/a:1")]), "[]"))
            .await;
        let damaged = |name: &str, bytes: &'static [u8]| {
            Write::Put(streams.key("n", name), bytes::Bytes::from_static(bytes))
        };
        let mistyped: &[u8] = br#"{"metadata":{"name":"mistyped","namespace":"n"},"spec":{"tags":7}}"#;
        for (name, bytes) in [
            ("short", &b"{"[..]),
            ("text", b"what is no object at all"),
            ("torn", br#"{"metadata":{"name":"torn","namespa"#),
            ("uid", br#""uid":"#),
            ("mistyped", mistyped),
        ] {
            server
                .context
                .store
                .commit(&[], &[damaged(name, bytes)])
                .await
                .unwrap();
        }
        let (followed, mut events) = FollowedTags::open(&server.context).await.unwrap();
        assert!(is_followed(&followed, "q.test/a:1"));
        server
            .context
            .store
            .commit(&[], &[damaged("later", mistyped)])
            .await
            .unwrap();
        followed.hear(events.next().await.unwrap()).await.unwrap();
        assert!(is_followed(&followed, "q.test/a:1"));
    }

    #[tokio::test]
    async fn what_streams_no_longer_follow_is_forgotten() {
        let server = TestServer::start().await;
        let (followed, mut events) = FollowedTags::open(&server.context).await.unwrap();
        let path = "/apis/image.openshift.io/v1/namespaces/n/imagestreams/s";
        let first = stream(
            &json!([scheduled("a", "q.test/a:1"), scheduled("b", "q.test/a:1")]),
            "[]",
        );
        server.post("admin", "imagestreams", &first, 201).await;
        followed.hear(events.next().await.unwrap()).await.unwrap();
        assert!(is_followed(&followed, "q.test/a:1"));
        let patch = json!({"spec": {"tags": [scheduled("a", "q.test/a:2")]}});
        assert_eq!(server.send("admin", "PATCH", path, Some(&patch)).await.0, 200);
        followed.hear(events.next().await.unwrap()).await.unwrap();
        assert!(!is_followed(&followed, "q.test/a:1") && is_followed(&followed, "q.test/a:2"));
        assert_eq!(server.send("admin", "DELETE", path, None).await.0, 200);
        followed.hear(events.next().await.unwrap()).await.unwrap();
        let state = followed.lock();
        assert!(state.counts.is_empty() && state.of_streams.is_empty());
    }

    #[tokio::test]
    async fn what_was_stored_before_is_known_whoever_has_heard_of_it_and_news_of_before_change_nothing() {
        let server = TestServer::start().await;
        let (followed, mut events) = FollowedTags::open(&server.context).await.unwrap();
        let path = "/apis/image.openshift.io/v1/namespaces/n/imagestreams/s";
        let first = stream(&json!([scheduled("a", "q.test/a:1")]), "[]");
        server.post("admin", "imagestreams", &first, 201).await;
        assert!(!is_followed(&followed, "q.test/a:1"), "nobody has heard of it");
        followed.catch_up().await.unwrap();
        assert!(is_followed(&followed, "q.test/a:1"));
        let patch = json!({"spec": {"tags": [scheduled("a", "q.test/a:2")]}});
        assert_eq!(server.send("admin", "PATCH", path, Some(&patch)).await.0, 200);
        followed.catch_up().await.unwrap();
        assert!(!is_followed(&followed, "q.test/a:1") && is_followed(&followed, "q.test/a:2"));
        assert_eq!(server.send("admin", "DELETE", path, None).await.0, 200);
        followed.catch_up().await.unwrap();
        for _ in 0..3 {
            followed.hear(events.next().await.unwrap()).await.unwrap();
            let state = followed.lock();
            assert!(state.counts.is_empty() && state.of_streams.is_empty());
        }
        // What comes later is news.
        server.post("admin", "imagestreams", &first, 201).await;
        followed.hear(events.next().await.unwrap()).await.unwrap();
        assert!(is_followed(&followed, "q.test/a:1"));
    }
}
