//! A process that writes is killed at random moments: nothing it acknowledged is lost, nothing is half there.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod process;
mod suite;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use process::{Acknowledged, Writer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_process() {
    process::write_until_killed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_killed_at_random_moments_loses_and_tears_nothing() {
    let long = std::env::var_os("IMAGESTREAM_LONG_TESTS").is_some_and(|value| value == "1");
    let kills = if long { 250 } else { 20 };
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut acknowledged = Acknowledged::default();
    for round in 0_u64..kills {
        // Seeds of this process: different moments each time.
        let random = RandomState::new().hash_one(round);
        let mut writer = Writer::start(directory.path(), &[], &[]);
        // Some are killed while they open the store.
        if round % 5 != 4 {
            let mut left = random % 400;
            writer
                .read_until(&mut acknowledged, |_| {
                    left = left.saturating_sub(1);
                    left == 0
                })
                .await;
        }
        tokio::time::sleep(Duration::from_micros(random / 400 % 20_000)).await;
        writer.kill(&mut acknowledged).await;
        acknowledged.audit(directory.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_is_kept_out_until_the_first_is_gone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut acknowledged = Acknowledged::default();
    let mut first = Writer::start(directory.path(), &[], &[]);
    first
        .read_until(&mut acknowledged, |line| line.starts_with("ack"))
        .await;
    let mut second = Writer::start(directory.path(), &[], &[]);
    let refused = second.line().await.expect("a line");
    let expected = format!(
        "refused {} is in use by another process",
        directory.path().display()
    );
    assert_eq!(refused, expected);
    first
        .read_until(&mut acknowledged, |line| line.starts_with("ack"))
        .await;
    first.kill(&mut acknowledged).await;
    acknowledged.audit(directory.path()).await;
}
