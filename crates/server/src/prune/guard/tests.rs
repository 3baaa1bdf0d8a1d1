#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use imagestream_store::sqlite::{SqliteOptions, SqliteStore};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::prune::marks::{Marked, expire, key, snapshot};

const A: &str = "sha256:aa";

/// Two servers of one store.
struct Fixture {
    store: Arc<GuardedStore>,
    other: Arc<GuardedStore>,
    _directory: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let inner = SqliteStore::open(directory.path(), SqliteOptions::default())
        .await
        .unwrap();
    let open = || async {
        let opened = GuardedStore::open(Arc::new(inner.clone()), "/streams/", "/images/").await;
        Arc::new(opened.unwrap())
    };
    Fixture {
        store: open().await,
        other: open().await,
        _directory: directory,
    }
}

fn pointing_at(stream: &str, image: &str) -> Write {
    let value = json!({"status": {"tags": [{"tag": "t", "items": [{"image": image}]}]}});
    Write::Put(format!("/streams/n/{stream}"), value.to_string().into())
}

fn image(name: &str) -> Write {
    Write::Put(format!("/images/{name}"), "{}".into())
}

impl Fixture {
    async fn write(&self, writes: &[Write]) -> Result<u64, StoreError> {
        self.store.commit(&[], writes).await
    }

    async fn mark(&self, image: &str) -> Marked {
        let marked = marks::mark(&*self.store, &[image.to_owned()], Timestamp::now()).await;
        marked.unwrap().remove(0)
    }

    async fn end(&self, marked: Marked) {
        marks::end(&*self.store, &[marked.image]).await.unwrap();
    }

    /// Deletes an image as a prune does; whether it could.
    async fn delete(&self, marked: &Marked) -> bool {
        let image = &marked.image;
        let same = Precondition::ModRevision(key(image), marked.revision);
        let remembered = Mark::Deleted(Timestamp::now()).write(image).unwrap();
        let writes = [Write::Delete(format!("/images/{image}")), remembered];
        match self.store.commit(&[same], &writes).await {
            Ok(_) => true,
            Err(StoreError::Conflict { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn has(&self, key: &str) -> bool {
        self.store.get(key, None).await.unwrap().is_some()
    }
}

#[tokio::test]
async fn who_points_at_a_marked_image_saves_it() {
    let fixture = fixture().await;
    fixture.write(&[image(A)]).await.unwrap();
    let mark = fixture.mark(A).await;
    fixture.write(&[pointing_at("s", A)]).await.unwrap();
    assert!(!fixture.has(&key(A)).await);
    assert!(!fixture.delete(&mark).await);
    assert!(fixture.has("/images/sha256:aa").await);
}

#[tokio::test]
async fn who_points_at_a_deleted_image_is_told_so_unless_it_is_made_anew() {
    let fixture = fixture().await;
    fixture.write(&[image(A)]).await.unwrap();
    let mark = fixture.mark(A).await;
    assert!(fixture.delete(&mark).await);
    let refused = fixture.write(&[pointing_at("s", A)]).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Conflict { key, .. } if key == "/images/sha256:aa"),
        "{refused}"
    );
    assert!(!fixture.has("/streams/n/s").await);
    fixture.write(&[image(A), pointing_at("s", A)]).await.unwrap();
    fixture.write(&[pointing_at("other", A)]).await.unwrap();
}

fn list_of(name: &str, member: &str) -> Write {
    let value = json!({"dockerImageManifests": [{"digest": member, "mediaType": "x"}]});
    Write::Put(format!("/images/{name}"), value.to_string().into())
}

#[tokio::test]
async fn who_points_at_a_list_saves_its_members_whether_the_list_is_new_or_not() {
    for is_new in [true, false] {
        let fixture = fixture().await;
        let list = list_of("list", A);
        fixture.write(&[image(A)]).await.unwrap();
        if !is_new {
            fixture.write(std::slice::from_ref(&list)).await.unwrap();
            // A list that stays keeps its members: these are marked with it.
            fixture.mark("list").await;
        }
        let mark = fixture.mark(A).await;
        let mut writes = vec![pointing_at("s", "list")];
        writes.extend(is_new.then_some(list));
        fixture.write(&writes).await.unwrap();
        assert!(!fixture.delete(&mark).await, "new: {is_new}");
    }
}

#[tokio::test]
async fn who_points_at_a_list_whose_member_was_deleted_is_told_so_unless_it_is_made_anew() {
    let fixture = fixture().await;
    fixture.write(&[image(A)]).await.unwrap();
    let mark = fixture.mark(A).await;
    assert!(fixture.delete(&mark).await);
    let writes = [list_of("list", A), pointing_at("s", "list")];
    let refused = fixture.write(&writes).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Conflict { key, .. } if key == "/images/sha256:aa"),
        "{refused}"
    );
    let [list, stream] = writes;
    fixture.write(&[list, stream, image(A)]).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_points_at_a_deleted_image_already_can_be_written() {
    let fixture = fixture().await;
    fixture.write(&[image(A)]).await.unwrap();
    let mark = fixture.mark(A).await;
    assert!(fixture.delete(&mark).await);
    let before = fixture.write(&[image(A), pointing_at("s", A)]).await.unwrap();
    // An administrator deletes it although the stream points at it.
    fixture
        .write(&[Write::Delete("/images/sha256:aa".into())])
        .await
        .unwrap();
    let same = Precondition::ModRevision("/streams/n/s".into(), before);
    fixture
        .store
        .commit(&[same], &[pointing_at("s", A)])
        .await
        .unwrap();
    // Who does not say what is replaced might as well begin to point at it.
    fixture.write(&[pointing_at("s", A)]).await.unwrap_err();
}

#[tokio::test]
async fn a_write_of_a_stream_meets_its_own_conflicts_and_others_write_as_before() {
    let fixture = fixture().await;
    fixture.mark(A).await;
    let absent = Precondition::Absent("/streams/n/s".into());
    let commit = |precondition: Precondition| {
        let store = Arc::clone(&fixture.store);
        async move {
            store
                .commit(&[precondition], &[pointing_at("s", "sha256:bb")])
                .await
        }
    };
    commit(absent.clone()).await.unwrap();
    let refused = commit(absent).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Conflict { key, index: 0, .. } if key == "/streams/n/s"));
    fixture
        .write(&[Write::Put("/other".into(), "x".into())])
        .await
        .unwrap();
}

#[test]
fn every_image_of_a_history_is_found_once() {
    let stream = json!({"status": {"tags": [
        {"items": [{"image": "b"}, {"image": "a"}, {"image": ""}]},
        {"items": [{"image": "b", "dockerImageReference": "x/image@b"}]},
    ]}});
    assert_eq!(images(&Bytes::from(stream.to_string())), ["a", "b"]);
}

#[tokio::test]
async fn who_points_at_an_image_whose_mark_has_ended_is_told_that_it_was_deleted_on_every_server() {
    let fixture = fixture().await;
    fixture.write(&[image(A)]).await.unwrap();
    let mark = fixture.mark(A).await;
    assert!(fixture.delete(&mark).await);
    fixture.end(mark).await;
    assert!(!fixture.has(&key(A)).await);
    for server in [&fixture.store, &fixture.other] {
        let refused = server.commit(&[], &[pointing_at("s", A)]).await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::Conflict { key, .. } if key == "/images/sha256:aa"),
            "{refused}"
        );
    }
    fixture.write(&[image(A), pointing_at("s", A)]).await.unwrap();
}

#[tokio::test]
async fn a_server_that_begins_after_a_prune_or_that_followed_it_bewares_of_no_other_images() {
    let fixture = fixture().await;
    fixture.write(&[image(A)]).await.unwrap();
    let mark = fixture.mark(A).await;
    assert!(fixture.delete(&mark).await);
    fixture.end(mark).await;
    let inner = Arc::clone(&fixture.store.inner);
    let new = GuardedStore::open(inner, "/streams/", "/images/").await.unwrap();
    // It was never there: that is for others to care about.
    let writes = [pointing_at("s", "sha256:never")];
    for server in [&*fixture.store, &new] {
        server.commit(&[], &writes).await.unwrap();
    }
    // It may have been there: this server has missed the mark.
    fixture.other.commit(&[], &writes).await.unwrap_err();
}

#[tokio::test]
async fn of_two_prunes_that_mark_an_image_one_can_end_the_others_mark_and_every_server_bewares() {
    let fixture = fixture().await;
    fixture.write(&[image(A)]).await.unwrap();
    let first = fixture.mark(A).await;
    // Somebody saves the image, and does not need it any more.
    fixture.write(&[pointing_at("s", A)]).await.unwrap();
    fixture
        .write(&[Write::Delete("/streams/n/s".into())])
        .await
        .unwrap();
    // This server has seen nothing of its mark.
    fixture.other.learn(None).await.unwrap();
    let second = fixture.mark(A).await;
    assert!(fixture.delete(&second).await);
    fixture.end(first).await;
    let refused = fixture.other.commit(&[], &[pointing_at("s", A)]).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_list_that_is_written_saves_its_members_and_one_that_came_too_late_is_not_pointed_at() {
    let fixture = fixture().await;
    fixture.write(&[image(A)]).await.unwrap();
    let mark = fixture.mark(A).await;
    fixture.write(&[list_of("list", A)]).await.unwrap();
    assert!(!fixture.delete(&mark).await);
    let mark = fixture.mark(A).await;
    assert!(fixture.delete(&mark).await);
    fixture.end(mark).await;
    fixture.write(&[list_of("late", A)]).await.unwrap();
    let refused = fixture.write(&[pointing_at("s", "late")]).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Conflict { key, .. } if key == "/images/sha256:aa"),
        "{refused}"
    );
}

#[tokio::test]
async fn marks_of_a_prune_that_was_cut_short_expire() {
    let fixture = fixture().await;
    fixture.write(&[image(A)]).await.unwrap();
    let mark = fixture.mark(A).await;
    let store = &*fixture.store;
    let now = Timestamp::now();
    expire(store, now).await.unwrap();
    assert!(fixture.has(&key(A)).await, "it is not cut short");
    expire(store, now + SignedDuration::from_mins(20)).await.unwrap();
    assert_eq!(snapshot(store).await.unwrap().marks, []);
    assert!(!fixture.delete(&mark).await, "it can't go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_of_the_server_that_prunes_ever_points_at_an_image_that_is_not_there() {
    let fixture = fixture().await;
    let store = Arc::clone(&fixture.store);
    stress(fixture, store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_of_a_server_that_misses_marks_ever_points_at_an_image_that_is_not_there() {
    let fixture = fixture().await;
    let store = Arc::clone(&fixture.other);
    stress(fixture, store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_of_a_server_that_follows_marks_ever_points_at_an_image_that_is_not_there() {
    let fixture = fixture().await;
    let store = Arc::clone(&fixture.other);
    let following = tokio::spawn(Arc::clone(&store).follow());
    stress(fixture, store).await;
    following.abort();
}

/// Writers that know images from before, and one who deletes what nobody points at, without a pause on either side.
/// `store` is the writers'.
async fn stress(fixture: Fixture, store: Arc<GuardedStore>) {
    const IMAGES: u32 = 4;
    const WRITES: u32 = 300;
    let fixture = Arc::new(fixture);
    let name = |number: u32| format!("sha256:{number:02}");
    for number in 0..IMAGES {
        fixture.write(&[image(&name(number))]).await.unwrap();
    }
    let (is_over, deletions) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut writers = JoinSet::new();
    for writer in 0..3_u32 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for step in 0..WRITES {
                let wanted = name((step * 7 + writer) % IMAGES);
                // It was there when the writer looked, some time ago.
                let stream = pointing_at(&writer.to_string(), &wanted);
                match store.commit(&[], std::slice::from_ref(&stream)).await {
                    Ok(_) => {}
                    Err(StoreError::Conflict { key, .. }) if key == format!("/images/{wanted}") => {
                        store.commit(&[], &[image(&wanted), stream]).await.unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    let pruner = tokio::spawn({
        let (fixture, is_over, deletions) =
            (Arc::clone(&fixture), Arc::clone(&is_over), Arc::clone(&deletions));
        async move {
            while !is_over.load(Ordering::Relaxed) {
                for number in 0..IMAGES {
                    let wanted = name(number);
                    if !fixture.has(&format!("/images/{wanted}")).await {
                        continue;
                    }
                    let mark = fixture.mark(&wanted).await;
                    let streams = fixture.store.list("/streams/", None, 0, None).await.unwrap();
                    let is_pointed_at = streams
                        .items
                        .iter()
                        .any(|item| images(&item.value).contains(&wanted));
                    if !is_pointed_at && fixture.delete(&mark).await {
                        deletions.fetch_add(1, Ordering::Relaxed);
                    }
                    fixture.end(mark).await;
                }
            }
        }
    });
    let checker = tokio::spawn({
        let (fixture, is_over) = (Arc::clone(&fixture), Arc::clone(&is_over));
        async move {
            while !is_over.load(Ordering::Relaxed) {
                // One snapshot.
                let all = fixture.store.list("/", None, 0, None).await.unwrap();
                let there: Vec<&str> = all.items.iter().map(|item| item.key.as_str()).collect();
                for item in all.items.iter().filter(|item| item.key.starts_with("/streams/")) {
                    for image in images(&item.value) {
                        let key = format!("/images/{image}");
                        assert!(there.contains(&key.as_str()), "{} points at {image}", item.key);
                    }
                }
            }
        }
    });
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    pruner.await.unwrap();
    checker.await.unwrap();
    assert!(deletions.load(Ordering::Relaxed) > 0, "nothing was ever deleted");
}
