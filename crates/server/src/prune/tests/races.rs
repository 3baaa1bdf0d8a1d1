//! What others write in the middle of a prune, and what a prune deletes in the middle of an import.

use std::sync::Arc;
use std::time::Duration;

use imagestream_store::{Limits, Write};
use imagestream_testkit::content::Content;
use imagestream_testkit::registry::TestRegistry;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{IMAGES, STREAMS, digest, everything_old, make_image, make_stream, names};
use crate::image::testing::{Options as ServerOptions, Rival, TestServer, import};
use crate::prune::marks::{Mark, STATE, snapshot};
use crate::prune::plan::Options;
use crate::prune::read;
use crate::prune::run::{prune, prune_known};

const IMPORTS: &str = "imagestreamimports";
/// Far longer than an import without a registry's delays takes, and far shorter than tests may.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a prune that deletes images leaves in the store.
fn deletion(images: &[&str]) -> Vec<Write> {
    let mut writes = vec![Write::Put(STATE.into(), r#"{"ended":0}"#.into())];
    for image in images {
        writes.push(Mark::Deleted(Timestamp::now()).write(image).unwrap());
        writes.push(Write::Delete(format!("/image.openshift.io/images/{image}")));
    }
    writes
}

#[tokio::test]
async fn an_image_that_came_after_images_were_read_is_not_missing() {
    let server = TestServer::start().await;
    let images = read::images(&server.context).await.unwrap();
    make_image(&server, 1).await;
    make_stream(&server, "s", &[1]).await;
    let options = Options {
        confirm: true,
        ..everything_old()
    };
    let now = Timestamp::now() + SignedDuration::from_secs(1);
    let report = prune_known(&server.context, images, &options, now).await.unwrap();
    assert!(report.streams.is_empty(), "{:?}", report.streams);
    let (_, stream) = server.send("admin", "GET", &format!("{STREAMS}/s"), None).await;
    assert_eq!(
        stream["status"]["tags"][0]["items"][0]["image"],
        digest(1),
        "{stream}"
    );
}

#[tokio::test]
async fn an_import_makes_anew_what_is_deleted_between_its_images_and_its_stream() {
    const TAGS: usize = 30;
    const IN_FIRST: usize = 24;
    let registry = TestRegistry::start(Content::new().tags("a/b", TAGS));
    let rival = Arc::new(Rival::default());
    let server = TestServer::start_with(ServerOptions {
        limits: Some(Limits {
            operations: IN_FIRST + 1,
            bytes: 1 << 20,
        }),
        rival: Some(Arc::clone(&rival)),
        ..ServerOptions::default()
    })
    .await;
    let tags = registry.content().tag_names("a/b");
    let names: Vec<String> = tags
        .iter()
        .map(|tag| format!("{}/a/b:{tag}", registry.host()))
        .collect();
    let wanted: Vec<(&str, &str)> = names
        .iter()
        .map(String::as_str)
        .zip(tags.iter().map(String::as_str))
        .collect();
    let mut preview = import(&wanted);
    preview["spec"]["import"] = json!(false);
    let preview = server.post("admin", IMPORTS, &preview, 201).await;
    let images: Vec<&str> = preview["status"]["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["image"]["metadata"]["name"].as_str().unwrap())
        .collect();

    // More than an import is tried again for: the first transaction made them, the last is about to point at them.
    rival.intrude(deletion(&images[..12]));
    let import = import(&wanted);
    let importing = server.post("admin", IMPORTS, &import, 201);
    tokio::time::timeout(PATIENCE, importing)
        .await
        .expect("the import ends");
    let there = server.images().await;
    assert_eq!(there.len(), TAGS);
    assert!(images.iter().all(|image| there.iter().any(|name| name == image)));
}

#[tokio::test]
async fn an_import_into_a_stream_whose_history_names_a_deleted_image_ends() {
    let registry = TestRegistry::start(Content::new().tags("a/b", 1));
    let server = TestServer::start().await;
    make_stream(&server, "s", &[7]).await;
    let deletion = deletion(&[&digest(7)]);
    server.context.store.commit(&[], &deletion).await.unwrap();
    let tag = &registry.content().tag_names("a/b")[0];
    let import = import(&[(&format!("{}/a/b:{tag}", registry.host()), "new")]);
    let importing = server.post("admin", IMPORTS, &import, 201);
    tokio::time::timeout(PATIENCE, importing)
        .await
        .expect("the import ends");
}

#[tokio::test]
async fn members_of_a_list_that_came_after_images_were_read_stay() {
    let server = TestServer::start().await;
    make_image(&server, 1).await;
    make_image(&server, 2).await;
    let images = read::images(&server.context).await.unwrap();
    let list = json!({"metadata": {"name": digest(3)}, "dockerImageReference": "r.example/a",
                      "dockerImageManifests": [{"digest": digest(1), "mediaType": "application/vnd.oci.image.manifest.v1+json", "manifestSize": 1,
                                                "architecture": "amd64", "os": "linux"}]});
    let (code, body) = server.send("admin", "POST", IMAGES, Some(&list)).await;
    assert_eq!(code, 201, "{body}");
    let options = Options {
        confirm: true,
        ..everything_old()
    };
    let now = Timestamp::now() + SignedDuration::from_secs(1);
    let report = prune_known(&server.context, images, &options, now).await.unwrap();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(names(&server).await, [digest(1), digest(3)]);
}

#[tokio::test]
async fn after_a_prune_nothing_is_left_of_its_marks_and_a_stream_is_written_at_once() {
    let rival = Arc::new(Rival::default());
    let server = TestServer::start_with(ServerOptions {
        rival: Some(Arc::clone(&rival)),
        ..ServerOptions::default()
    })
    .await;
    make_stream(&server, "s", &[]).await;
    make_image(&server, 1).await;
    let options = Options {
        confirm: true,
        ..everything_old()
    };
    let now = Timestamp::now() + SignedDuration::from_secs(1);
    let report = prune(&server.context, &options, now).await.unwrap();
    assert_eq!(report.images.len(), 1);
    assert_eq!(snapshot(&*server.context.store).await.unwrap().marks, []);

    rival.forestall(0);
    let target = format!("{STREAMS}/s");
    let change = json!({"metadata": {"labels": {"a": "b"}}});
    let (code, body) = server.send("admin", "PATCH", &target, Some(&change)).await;
    assert_eq!(code, 200, "{body}");
    assert_eq!(rival.tried(), 1);
}

#[tokio::test]
async fn a_client_that_writes_a_stream_which_points_at_a_pruned_image_is_told_so_at_once() {
    let rival = Arc::new(Rival::default());
    let server = TestServer::start_with(ServerOptions {
        rival: Some(Arc::clone(&rival)),
        ..ServerOptions::default()
    })
    .await;
    make_stream(&server, "s", &[]).await;
    make_image(&server, 1).await;
    let options = Options {
        confirm: true,
        ..everything_old()
    };
    let now = Timestamp::now() + SignedDuration::from_secs(1);
    prune(&server.context, &options, now).await.unwrap();
    rival.forestall(0);
    let (_, mut stream) = server.send("admin", "GET", &format!("{STREAMS}/s"), None).await;
    stream["status"]["tags"] = json!([{"tag": "t", "items": [
        {"created": "2020-01-01T00:00:00Z", "image": digest(1), "generation": 1,
         "dockerImageReference": format!("r.example/a@{}", digest(1))}]}]);
    let target = format!("{STREAMS}/s/status");
    let writing = server.send("admin", "PUT", &target, Some(&stream));
    let (code, body) = tokio::time::timeout(PATIENCE, writing).await.expect("it ends");
    assert_eq!((code, &body["reason"]), (409, &json!("Conflict")), "{body}");
    assert!(body["message"].as_str().unwrap().contains(&digest(1)), "{body}");
    assert_eq!(rival.tried(), 0, "nothing is left to try");
}
