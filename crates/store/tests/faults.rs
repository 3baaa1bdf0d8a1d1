//! What a SQLite store does when its disk fails it: clear errors, no silent loss, and recovery.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod process;
mod suite;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use imagestream_store::sqlite::{OpenError, SqliteOptions, SqliteStore};
use imagestream_store::{Store, StoreError, WatchItem};
use process::{Acknowledged, Writer};
use suite::{delete, next_commit, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_process() {
    process::write_until_killed().await;
}

async fn open(directory: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(directory, SqliteOptions::default()).await
}

/// Says that a test is skipped, or fails where every tool must be there.
fn skip(reason: &str) {
    let required = std::env::var_os("IMAGESTREAM_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{reason}");
    println!("skipped: {reason}");
}

/// A small file system of its own, unmounted on drop.
struct Disk {
    place: tempfile::TempDir,
}

impl Disk {
    fn mount(options: &str) -> Option<Self> {
        let place = tempfile::tempdir().expect("temporary directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(place.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            Some(Self { place })
        } else {
            skip("a tmpfs can't be mounted (needs root)");
            None
        }
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.place.path())
            .status();
        assert!(status.expect("mount").success(), "remount with {options}");
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("store")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is left mounted is for the test's author to see.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.place.path())
            .status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_commits_keeps_reads_and_recovers_with_space() {
    let Some(disk) = Disk::mount("size=6m") else {
        return;
    };
    let store = open(&disk.directory()).await.expect("open");
    let mut watch = store.watch("/", store.current_revision().await.expect("revision"));
    let mut expected = BTreeMap::new();
    let refused = loop {
        let key = format!("/{:04}", expected.len());
        let writes = [
            put(&key, vec![7; 30_000]),
            put("/count", expected.len().to_string()),
        ];
        match store.commit(&[], &writes).await {
            Ok(revision) => expected.insert(key, revision),
            Err(error) => break error,
        };
        assert!(expected.len() < 1000, "6 MB hold no 30 MB");
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused}");
    assert!(expected.len() > 10);
    // What is left of the space goes to small commits.
    let mut filled = 0;
    while store.commit(&[], &[put("/fill", "x")]).await.is_ok() {
        filled += 1;
        assert!(filled < 10_000, "space for ever");
    }
    let unhealthy = store.health().await;
    assert!(matches!(unhealthy, Err(StoreError::Full(_))), "{unhealthy:?}");

    let holds = async |store: &SqliteStore, expected: &BTreeMap<String, u64>| {
        let page = store.list("/0", None, 0, None).await.expect("list");
        let stored: BTreeMap<_, _> = page
            .items
            .into_iter()
            .map(|item| (item.key, item.mod_revision))
            .collect();
        assert_eq!(&stored, expected);
        let count = store.get("/count", None).await.expect("get").expect("exists");
        assert_eq!(
            count.value,
            (expected.len() - 1).to_string(),
            "no torn transaction"
        );
    };
    holds(&store, &expected).await;
    for revision in expected.values() {
        assert_eq!(next_commit(&mut watch).await.0, *revision);
    }
    for _ in 0..filled {
        assert_eq!(next_commit(&mut watch).await.1[0].key, "/fill");
    }

    disk.remount("size=60m");
    store.health().await.expect("healthy as soon as there is space");
    let key = format!("/{:04}", expected.len());
    let writes = [put(&key, "x"), put("/count", expected.len().to_string())];
    expected.insert(key, store.commit(&[], &writes).await.expect("commit"));
    holds(&store, &expected).await;
    store.close().await;
    let store = open(&disk.directory()).await.expect("open again");
    holds(&store, &expected).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_on_a_full_disk_opens_again_after_a_kill_without_loss() {
    let Some(disk) = Disk::mount("size=4m") else {
        return;
    };
    let mut acknowledged = Acknowledged::default();
    for _ in 0..3 {
        let mut writer = Writer::start(&disk.directory(), &[], &[]);
        let line = writer.read_until(&mut acknowledged, |line| {
            !line.starts_with("ack") && line != "open"
        });
        let line = line.await.expect("the disk fills up");
        assert!(line.contains("full"), "{line}");
        writer.kill(&mut acknowledged).await;
    }
    disk.remount("size=60m");
    acknowledged.audit(&disk.directory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_file_sizes_fails_commits_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut acknowledged = Acknowledged::default();
    // The signal is ignored so that the write fails instead; the limit counts blocks of 512 or 1024 bytes.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 3000; exec \"$0\" \"$@\""];
    let mut writer = Writer::start(directory.path(), &limited, &[]);
    let failed = writer.read_until(&mut acknowledged, |line| line.starts_with("fail"));
    failed.await.expect("the limit is reached");
    writer.kill(&mut acknowledged).await;
    acknowledged.audit(directory.path()).await;
}

/// A library that makes syncing fail while a file exists, for a process that it is loaded into.
fn failing_sync(directory: &Path) -> Option<PathBuf> {
    let source = directory.join("sync.c");
    let library = directory.join("sync.so");
    let code = r#"
        #include <errno.h>
        #include <stdlib.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        static int fails(void) { return access(getenv("SYNC_FAILS"), F_OK) == 0; }
        int fsync(int fd) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fsync, fd); }
        int fdatasync(int fd) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fdatasync, fd); }
    "#;
    std::fs::write(&source, code).expect("write");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .status();
    if built.is_ok_and(|status| status.success()) {
        Some(library)
    } else {
        skip("no C compiler builds a shared library");
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_fails_acknowledges_nothing_and_the_writer_goes_on_when_it_works_again() {
    let place = tempfile::tempdir().expect("temporary directory");
    let Some(library) = failing_sync(place.path()) else {
        return;
    };
    let (switch, directory) = (place.path().join("fails"), place.path().join("store"));
    let mut acknowledged = Acknowledged::default();
    let environment = [("LD_PRELOAD", &*library), ("SYNC_FAILS", &*switch)];
    let mut writer = Writer::start(&directory, &[], &environment);
    for _ in 0..3 {
        let mut left = 50;
        let some = writer.read_until(&mut acknowledged, |line| {
            left -= usize::from(line.starts_with("ack"));
            left == 0
        });
        some.await.expect("commits");
        std::fs::write(&switch, "").expect("switch on");
        let failed = writer.read_until(&mut acknowledged, |line| line.starts_with("fail"));
        let failed = failed.await.expect("a failure");
        assert!(failed.contains("outcome"), "{failed}");
        // Each writer may still be about to report what was acknowledged before; from then on all fail.
        let (mut lines, mut acks) = (0, 0);
        let reports = writer.read_until(&mut acknowledged, |line| {
            lines += 1;
            acks += usize::from(line.starts_with("ack"));
            lines == 40
        });
        reports.await.expect("reports");
        assert!(acks <= process::WRITERS, "{acks} of 40 were acknowledged");
        std::fs::remove_file(&switch).expect("switch off");
    }
    let works = writer.read_until(&mut acknowledged, |line| line.starts_with("ack"));
    works.await.expect("commits again");
    std::fs::write(&switch, "").expect("switch on");
    let failed = writer.read_until(&mut acknowledged, |line| line.starts_with("fail"));
    failed.await.expect("a failure");
    writer.kill(&mut acknowledged).await;
    acknowledged.audit(&directory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_directory_is_refused_and_opens_when_it_is_writable_again() {
    let Some(disk) = Disk::mount("size=20m") else {
        return;
    };
    let store = open(&disk.directory()).await.expect("open");
    let revision = store.commit(&[], &[put("/k", "v")]).await.expect("commit");
    store.close().await;
    disk.remount("ro");
    let refused = open(&disk.directory()).await.expect_err("read-only");
    assert!(matches!(refused, OpenError::Io { .. }), "{refused}");
    assert!(refused.to_string().contains("Read-only file system"), "{refused}");
    disk.remount("rw");
    let store = open(&disk.directory()).await.expect("open");
    assert_eq!(store.current_revision().await.expect("revision"), revision);
    store.close().await;
}

/// A closed store with some history, as the bytes of its database.
async fn database(directory: &Path) -> (PathBuf, Vec<u8>) {
    let store = open(directory).await.expect("open");
    for number in 0..60_usize {
        let key = format!("/k/{}", number * 7 % 20);
        let write = if number % 9 == 8 {
            delete(&key)
        } else {
            put(&key, vec![number as u8; number * 97 % 5000])
        };
        store.commit(&[], &[write]).await.expect("commit");
    }
    store.close().await;
    let path = directory.join("imagestream.db");
    let bytes = std::fs::read(&path).expect("read");
    (path, bytes)
}

/// All that a store tells: the present, some of the past, and every event.
async fn contents(store: &SqliteStore) -> Result<String, StoreError> {
    let end = store.current_revision().await?;
    let mut all = format!("{:?}", store.list("", None, 0, None).await?);
    for number in 0..20 {
        all += &format!("{:?}", store.get(&format!("/k/{number}"), None).await?);
    }
    let mut watch = store.watch("", 1);
    let mut reached = 1;
    while reached < end {
        let item = watch.next().await.expect("an item")?;
        let (WatchItem::Commit { revision, .. } | WatchItem::Progress(revision)) = item;
        reached = revision;
        all += &format!("{item:?}");
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_or_missing_database_is_refused_and_the_whole_one_opens_again() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (path, bytes) = database(directory.path()).await;
    for length in [
        0,
        1,
        99,
        100,
        2048,
        bytes.len() / 2,
        bytes.len() - 2048,
        bytes.len() - 1,
    ] {
        std::fs::write(&path, &bytes[..length]).expect("truncate");
        let refused = open(directory.path())
            .await
            .expect_err(&format!("{length} bytes"));
        assert!(
            matches!(refused, OpenError::Corrupt { .. }),
            "{length} bytes: {refused}"
        );
        assert!(refused.to_string().contains("restore a backup"));
        assert_eq!(
            std::fs::read(&path).expect("read").len(),
            length,
            "left as it was"
        );
    }
    std::fs::remove_file(&path).expect("remove");
    let refused = open(directory.path()).await.expect_err("missing");
    assert!(refused.to_string().contains("missing or empty"), "{refused}");
    std::fs::write(&path, &bytes).expect("restore");
    open(directory.path()).await.expect("open").close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_reported_or_harmless_but_never_told_as_truth() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (path, bytes) = database(place.path()).await;
    let store = open(place.path()).await.expect("open");
    let truth = contents(&store).await.expect("whole");
    store.close().await;
    let bytes_now = std::fs::read(&path).expect("read");
    assert_eq!(bytes_now.len(), bytes.len());
    let long = std::env::var_os("IMAGESTREAM_LONG_TESTS").is_some_and(|value| value == "1");
    let flips = if long { 5000 } else { 400 };
    let mut reported = 0;
    for flip in 0..flips {
        let mut damaged = bytes.clone();
        // Spread evenly, each time another bit.
        let at = bytes.len() * flip / flips + flip % 13;
        let at = at.min(bytes.len() - 1);
        damaged[at] ^= 1 << (flip % 8);
        std::fs::write(&path, &damaged).expect("write");
        match open(place.path()).await {
            Err(_) => reported += 1,
            Ok(store) => {
                match contents(&store).await {
                    Err(error) => {
                        assert!(matches!(error, StoreError::Corrupt(_)), "byte {at}: {error}");
                        reported += 1;
                    }
                    Ok(told) => assert!(told == truth, "byte {at} bit {} changed what is told", flip % 8),
                }
                store.close().await;
            }
        }
    }
    assert!(reported > flips / 2, "only {reported} of {flips} were noticed");
}

#[tokio::test]
async fn the_database_of_another_program_is_left_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("imagestream.db");
    let other = rusqlite::Connection::open(&path).expect("open");
    other.execute_batch("CREATE TABLE theirs (a)").expect("create");
    drop(other);
    let before = std::fs::read(&path).expect("read");
    let refused = open(directory.path()).await.expect_err("foreign");
    assert!(matches!(refused, OpenError::Foreign(_)), "{refused}");
    assert!(std::fs::read(&path).expect("read") == before);
    std::fs::write(&path, "no database at all, but a text of some length".repeat(100)).expect("write");
    let refused = open(directory.path()).await.expect_err("text");
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
}
