//! The client library [`kube`](https://docs.rs/kube) works with streams as with any other kind.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use imagestream_testkit::content::Content;
use imagestream_testkit::registry::TestRegistry;
use imagestream_testkit::samples;
use imagestream_tests::client::{self, Client as PlainClient};
use imagestream_tests::server::{ADMIN, DEV, Server, VIEWER};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{ApiResource, DeleteParams, ListParams, Object, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Config, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// As much of a stream's spec as these tests need.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StreamSpec {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<TagReference>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TagReference {
    name: String,
    #[serde(default)]
    reference: bool,
    from: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
}

type ImageStream = Object<StreamSpec, Value>;
type ImageStreamImport = Object<Value, Value>;

fn kind(name: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("image.openshift.io", "v1", name))
}

async fn connect(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.unwrap()).unwrap()
}

/// A server with namespace `team`, and the administrator's client.
async fn started() -> (Server, Client) {
    let server = Server::start();
    let client = connect(&server.kubeconfig()).await;
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("team".into());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    (server, client)
}

fn streams(client: &Client) -> Api<ImageStream> {
    Api::namespaced_with(client.clone(), "team", &kind("ImageStream"))
}

fn tag(name: &str) -> TagReference {
    TagReference {
        name: name.into(),
        reference: true,
        from: json!({"kind": "DockerImage", "name": format!("registry.example.com/team/app:{name}")}),
        generation: None,
    }
}

fn stream(name: &str) -> ImageStream {
    let spec = StreamSpec {
        tags: vec![tag("v1")],
    };
    Object::new(name, &kind("ImageStream"), spec)
}

fn status(error: &kube::Error) -> (u16, &str, &str) {
    match error {
        kube::Error::Api(status) => (status.code, &status.reason, &status.message),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn streams_are_created_read_changed_and_deleted_as_types() {
    let (_server, client) = started().await;
    let streams = streams(&client);
    let post = PostParams::default();
    let created = streams.create(&post, &stream("app")).await.unwrap();
    assert!(created.metadata.uid.is_some());
    assert_eq!(created.spec.tags[0].generation, Some(1));

    let mut changed = streams.get("app").await.unwrap();
    assert_eq!(changed.resource_version(), created.resource_version());
    changed.spec.tags.push(tag("v2"));
    let replaced = streams.replace("app", &post, &changed).await.unwrap();
    assert_eq!(replaced.metadata.generation, Some(2));

    let patch = json!({"metadata": {"labels": {"tier": "front"}}});
    let patched = streams
        .patch("app", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    assert_eq!(patched.labels()["tier"], "front");
    assert_eq!(patched.spec, replaced.spec);

    let deleted = streams.delete("app", &DeleteParams::default()).await.unwrap();
    assert_eq!(deleted.right().map(|status| status.is_success()), Some(true));
    assert!(streams.get_opt("app").await.unwrap().is_none());
}

#[tokio::test]
async fn the_kinds_are_found_by_discovery() {
    let (_server, client) = started().await;
    let wanted = GroupVersionKind::gvk("image.openshift.io", "v1", "ImageStream");
    let (found, capabilities) = kube::discovery::pinned_kind(&client, &wanted).await.unwrap();
    assert_eq!(found.plural, "imagestreams");
    assert!(capabilities.supports_operation(kube::discovery::verbs::WATCH));
    let discovery = kube::Discovery::new(client).run().await.unwrap();
    assert!(discovery.has_group("image.openshift.io"));
}

#[tokio::test]
async fn an_import_answers_with_what_it_found() {
    let content = Content::new().image("team/app", "v1", samples::hello("1.0"));
    let digest = content.digest("team/app", "v1");
    let registry = TestRegistry::start(content);
    let (_server, client) = started().await;
    let imports: Api<ImageStreamImport> =
        Api::namespaced_with(client.clone(), "team", &kind("ImageStreamImport"));
    let spec = json!({
        "import": true,
        "images": [{
            "from": {"kind": "DockerImage", "name": format!("{}/team/app:v1", registry.host())},
            "importPolicy": {"insecure": true},
        }],
    });
    let mut import = Object::new("app", &kind("ImageStreamImport"), spec);
    import.status = Some(json!({}));
    let imported = imports.create(&PostParams::default(), &import).await.unwrap();
    let status = imported.status.unwrap();
    assert_eq!(
        status["images"][0]["image"]["metadata"]["name"], digest,
        "{status}"
    );
    let stream = streams(&client).get("app").await.unwrap();
    assert_eq!(stream.status.unwrap()["tags"][0]["items"][0]["image"], digest);
}

#[tokio::test]
async fn a_list_in_pages_has_every_stream_once() {
    let (_server, client) = started().await;
    let streams = streams(&client);
    let names: Vec<String> = (0..25).map(|at| format!("app-{at:02}")).collect();
    for name in &names {
        streams
            .create(&PostParams::default(), &stream(name))
            .await
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut page = ListParams::default().limit(10);
    let mut revisions = Vec::new();
    loop {
        let list = streams.list(&page).await.unwrap();
        assert!(list.items.len() <= 10);
        // Pages are of one state, whatever happens in between.
        if seen.is_empty() {
            assert_eq!(list.metadata.remaining_item_count, Some(15));
            streams.delete("app-24", &DeleteParams::default()).await.unwrap();
        }
        seen.extend(list.items.iter().map(|stream| stream.name_any()));
        revisions.push(list.metadata.resource_version);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(seen, names);
    revisions.dedup();
    assert_eq!(revisions.len(), 1, "{revisions:?}");
}

#[tokio::test]
async fn of_two_changes_to_one_state_the_second_is_refused() {
    let (_server, client) = started().await;
    let streams = streams(&client);
    let post = PostParams::default();
    let mut first = streams.create(&post, &stream("app")).await.unwrap();
    let mut second = first.clone();
    first.labels_mut().insert("by".into(), "first".into());
    streams.replace("app", &post, &first).await.unwrap();
    second.labels_mut().insert("by".into(), "second".into());
    let refused = streams.replace("app", &post, &second).await.unwrap_err();
    assert_eq!(status(&refused).0, 409, "{refused}");
    assert_eq!(status(&refused).1, "Conflict");
    assert_eq!(streams.get("app").await.unwrap().labels()["by"], "first");
    let taken = streams.create(&post, &stream("app")).await.unwrap_err();
    assert_eq!((status(&taken).0, status(&taken).1), (409, "AlreadyExists"));

    // Ten at once, each on what it has read: exactly as many succeed as changes are seen.
    let tasks: Vec<_> = (0..10)
        .map(|at| {
            let streams = streams.clone();
            tokio::spawn(async move {
                let mut stream = streams.get("app").await.unwrap();
                let count = stream.annotations().len();
                stream
                    .annotations_mut()
                    .insert(format!("n{at}"), count.to_string());
                streams
                    .replace("app", &PostParams::default(), &stream)
                    .await
                    .is_ok()
            })
        })
        .collect();
    let mut succeeded = 0;
    for task in tasks {
        succeeded += usize::from(task.await.unwrap());
    }
    assert!(succeeded > 0);
    assert_eq!(streams.get("app").await.unwrap().annotations().len(), succeeded);
}

#[tokio::test]
async fn access_is_refused_to_those_who_have_none() {
    let (server, client) = started().await;
    streams(&client)
        .create(&PostParams::default(), &stream("app"))
        .await
        .unwrap();
    let viewer = connect(&server.kubeconfig_of(VIEWER, "team")).await;
    assert_eq!(streams(&viewer).get("app").await.unwrap().name_any(), "app");
    let refused = streams(&viewer)
        .delete("app", &DeleteParams::default())
        .await
        .unwrap_err();
    assert_eq!(
        status(&refused),
        (
            403,
            "Forbidden",
            "imagestreams.image.openshift.io \"app\" is forbidden: User \"viewer\" cannot delete resource \"imagestreams\" in API group \"image.openshift.io\" in the namespace \"team\""
        )
    );
    let secrets: Api<Secret> = Api::namespaced(viewer, "team");
    let refused = secrets.list(&ListParams::default()).await.unwrap_err();
    assert_eq!(status(&refused).0, 403, "{refused}");
    let dev = connect(&server.kubeconfig_of(DEV, "team")).await;
    let secrets: Api<Secret> = Api::namespaced(dev, "team");
    assert!(secrets.list(&ListParams::default()).await.is_ok());
    let stranger = connect(&server.kubeconfig_of("no-such-token", "team")).await;
    let refused = streams(&stranger).list(&ListParams::default()).await.unwrap_err();
    assert_eq!((status(&refused).0, status(&refused).1), (401, "Unauthorized"));
}

/// What a watcher knows of the streams: name to tags.
#[derive(Debug, Default)]
struct Known {
    streams: BTreeMap<String, Vec<String>>,
    listing: BTreeMap<String, Vec<String>>,
}

impl Known {
    fn take(&mut self, event: watcher::Event<ImageStream>) {
        let seen = |stream: ImageStream| {
            let tags = stream.spec.tags.iter().map(|tag| tag.name.clone()).collect();
            (stream.name_any(), tags)
        };
        match event {
            watcher::Event::Init => self.listing.clear(),
            watcher::Event::InitApply(stream) => self.listing.extend([seen(stream)]),
            watcher::Event::InitDone => self.streams = std::mem::take(&mut self.listing),
            watcher::Event::Apply(stream) => self.streams.extend([seen(stream)]),
            watcher::Event::Delete(stream) => {
                self.streams.remove(&stream.name_any());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_survives_a_restart_of_the_server_and_misses_nothing() {
    let (mut server, client) = started().await;
    let events = watcher(streams(&client), watcher::Config::default().page_size(2)).default_backoff();
    pin_mut!(events);
    let mut known = Known::default();
    let mut expected = BTreeMap::new();
    for round in 0..3 {
        // A client of its own, which doesn't know of the server before.
        let writer = PlainClient::new(&server, ADMIN);
        let path = client::streams("team");
        for at in 0..5 {
            let name = format!("app-{round}-{at}");
            let _ = writer.post(&path, &json!(stream(&name))).await.ok();
            expected.insert(name, vec!["v1".to_owned()]);
        }
        let gone = format!("app-{round}-0");
        let _ = writer.delete(&format!("{path}/{gone}")).await.ok();
        expected.remove(&gone);
        let mut changed = stream(&format!("app-{round}-1"));
        changed.spec.tags.push(tag("v2"));
        let path = format!("{path}/{}", changed.name_any());
        let stored = writer.get(&path).await.ok();
        changed.metadata.resource_version = stored["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        let _ = writer.put(&path, &json!(changed)).await.ok();
        expected.insert(changed.name_any(), vec!["v1".to_owned(), "v2".to_owned()]);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while known.streams != expected {
            let event = tokio::time::timeout_at(deadline, events.next())
                .await
                .unwrap_or_else(|_| panic!("known: {known:?}, expected: {expected:?}"));
            // Errors are of connections that ended with the server.
            if let Some(Ok(event)) = event {
                known.take(event);
            }
        }
        server = match round {
            0 => server.stop().start(),
            _ => server.kill().start(),
        };
    }
}
