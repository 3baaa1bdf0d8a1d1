//! A real process that writes to a store until it is killed, and the audit of what it left.
//!
//! The process is this test executable again: its test `writer_process` writes if the environment names a directory.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use imagestream_store::sqlite::{SqliteOptions, SqliteStore};
use imagestream_store::{KeyValue, Precondition, Store, StoreError};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::suite::{changes_until, delete, put};

/// Names the directory to write to.
const DIRECTORY: &str = "IMAGESTREAM_TEST_WRITER_DIRECTORY";
/// Concurrent writers in the process.
pub(crate) const WRITERS: usize = 6;
/// Each writer keeps this many of its newest objects.
const KEPT: u64 = 20;

/// Options under which the log of events is compacted all the time.
pub(crate) fn restless() -> SqliteOptions {
    SqliteOptions {
        history_age: Duration::from_millis(400),
        history_events: 500,
        ..SqliteOptions::default()
    }
}

/// Writes as fast as it can and prints a line for each commit that was acknowledged or failed, until killed.
pub(crate) async fn write_until_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = match SqliteStore::open(directory, restless()).await {
        Ok(store) => Arc::new(store),
        Err(error) => {
            println!("refused {error}");
            return;
        }
    };
    println!("open");
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let counter = format!("/counter/{writer}");
            let found = store.get(&counter, None).await.expect("get");
            let mut number = found.map_or(0, |item| count(&item));
            let mut failed = false;
            loop {
                number += 1;
                let key = object(writer, number);
                let mut writes = vec![
                    put(&counter, number.to_string()),
                    put(&key, value(writer, number)),
                ];
                if let Some(old) = number.checked_sub(KEPT).filter(|old| *old > 0) {
                    writes.push(delete(&object(writer, old)));
                }
                let preconditions = if failed {
                    vec![]
                } else {
                    vec![Precondition::Absent(key)]
                };
                match store.commit(&preconditions, &writes).await {
                    Ok(revision) => {
                        failed = false;
                        println!("ack {writer} {number} {revision}");
                    }
                    Err(error) => {
                        // The same number again; it may be there if nobody knows what became of the commit.
                        number -= 1;
                        failed = matches!(error, StoreError::OutcomeUnknown(_));
                        println!("fail {error}");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        });
    }
    writers.join_next().await.expect("writers").expect("a writer");
}

fn object(writer: usize, number: u64) -> String {
    format!("/object/{writer}/{number:09}")
}

/// Of a size that spreads over several pages, different for each number.
fn value(writer: usize, number: u64) -> Vec<u8> {
    let seed = writer as u64 + number;
    (0..1000 + seed * 37 % 9000)
        .map(|byte| (byte ^ seed) as u8)
        .collect()
}

fn count(item: &KeyValue) -> u64 {
    std::str::from_utf8(&item.value)
        .expect("text")
        .parse()
        .expect("a number")
}

/// The commits of the writer process that were acknowledged: the newest number of each writer, and its revision.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged(BTreeMap<usize, (u64, u64)>);

/// A running writer process.
pub(crate) struct Writer {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    /// Starts the process; `wrapper` is put before its command line.
    pub(crate) fn start(directory: &Path, wrapper: &[&str], environment: &[(&str, &Path)]) -> Self {
        let executable = std::env::current_exe().expect("this executable");
        let mut line: Vec<std::ffi::OsString> = wrapper.iter().map(Into::into).collect();
        line.push(executable.into());
        let mut child = Command::new(&line[0])
            .args(&line[1..])
            .args(["writer_process", "--exact", "--nocapture"])
            .env(DIRECTORY, directory)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("start the writer process");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    /// The next line of its report; none at its end.
    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            let line = timeout(Duration::from_secs(60), self.lines.next_line()).await;
            let line = line.expect("a report in time").expect("a pipe")?;
            // The test harness prints its own lines, and the start of one before ours.
            if let Some(start) = ["ack ", "fail ", "refused ", "open"]
                .iter()
                .filter_map(|word| line.find(word))
                .min()
            {
                return Some(line[start..].to_owned());
            }
        }
    }

    /// Reads acknowledgements until `stop` says so for a line, and returns that line.
    pub(crate) async fn read_until(
        &mut self,
        acknowledged: &mut Acknowledged,
        mut stop: impl FnMut(&str) -> bool,
    ) -> Option<String> {
        while let Some(line) = self.line().await {
            acknowledged.note(&line);
            if stop(&line) {
                return Some(line);
            }
        }
        None
    }

    /// Kills the process (SIGKILL) and reads what it still reported.
    pub(crate) async fn kill(mut self, acknowledged: &mut Acknowledged) {
        self.child.start_kill().expect("kill");
        self.read_until(acknowledged, |_| false).await;
        self.child.wait().await.expect("reap");
    }
}

impl Acknowledged {
    fn note(&mut self, line: &str) {
        let mut words = line.split(' ');
        if words.next() != Some("ack") {
            return;
        }
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        // The last line may be cut off by the kill.
        if let (Some(writer), Some(count), Some(revision)) = (number(), number(), number()) {
            self.0.insert(writer as usize, (count, revision));
        }
    }

    /// Opens the store and checks it: nothing acknowledged is missing, no transaction is torn, the log of events
    /// matches the objects.
    pub(crate) async fn audit(&self, directory: &Path) {
        // Nothing is compacted between reading a revision and following what came after it.
        let store = SqliteStore::open(directory, SqliteOptions::default())
            .await
            .expect("open");
        self.audit_open(&store).await;
        store.close().await;
    }

    pub(crate) async fn audit_open(&self, store: &dyn Store) {
        for writer in 0..WRITERS {
            let counter = store.get(&format!("/counter/{writer}"), None).await.expect("get");
            let stored = counter.as_ref().map_or(0, count);
            if let Some((number, revision)) = self.0.get(&writer) {
                assert!(stored >= *number, "{number} was acknowledged, {stored} is there");
                let revision_now = counter.as_ref().map_or(0, |item| item.mod_revision);
                assert!(stored > *number || revision_now == *revision);
            }
            let objects = store
                .list(&format!("/object/{writer}/"), None, 0, None)
                .await
                .expect("list");
            let expected: Vec<_> = (1..=stored)
                .rev()
                .take(KEPT as usize)
                .map(|number| (object(writer, number), value(writer, number)))
                .collect();
            let found: Vec<_> = objects
                .items
                .iter()
                .rev()
                .map(|item| (item.key.clone(), item.value.to_vec()))
                .collect();
            assert_eq!(found, expected, "the objects of a writer go with its counter");
        }
        events_match_objects(store).await;
    }
}

/// From each revision that can still be read, the events lead to what is there now.
async fn events_match_objects(store: &dyn Store) {
    let now = store.list("/", None, 0, None).await.expect("list");
    let present = keyed(now.items);
    for back in [1, 7, 60, 300] {
        let start = now.revision.saturating_sub(back).max(1);
        let then = match store.list("/", None, 0, Some(start)).await {
            Ok(page) => page.items,
            Err(StoreError::Compacted) => continue,
            Err(error) => panic!("{error}"),
        };
        let mut state = keyed(then);
        let mut watch = store.watch("/", start);
        if start < now.revision {
            for change in changes_until(&mut watch, now.revision).await {
                assert_eq!(
                    state.remove(&change.key),
                    change.previous,
                    "before {}",
                    change.revision
                );
                state.extend(change.current.map(|item| (change.key, item)));
            }
        }
        assert_eq!(state, present, "events after {start}");
    }
}

fn keyed(items: Vec<KeyValue>) -> BTreeMap<String, KeyValue> {
    items.into_iter().map(|item| (item.key.clone(), item)).collect()
}
