//! A million tags over fifty hosts for a day: each is checked once in its interval, in little memory, and a restart
//! delays none.
//!
//! By default the interval is six hours. With `IMAGESTREAM_LONG_TESTS=1` it is fifteen minutes: 96 million checks, which
//! take minutes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod world;

use std::time::Duration;

use imagestream_follow::{
    Asked, Feedback, Followed, HostBudget, Millis, Options, Scheduler, Source, SourceId, What,
};
use peak_alloc::PeakAlloc;

use world::{Registries, World};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const HOSTS: u32 = 50;
const TAGS: u32 = 1_000_000;
const TAGS_OF_A_STREAM: u32 = 5;
const START: u64 = 1_790_000_000_123;

/// Remembers when each tag was asked for last, in milliseconds since the start.
struct Quiet {
    interval: u64,
    last: Vec<u32>,
    checks: u64,
    /// Distances between checks that are off by more than a tenth of the interval.
    wrong: u64,
    /// When the scheduler that asks began.
    restarted: u32,
    /// Tags whose check fell into the time between two schedulers.
    delayed: u64,
}

impl Registries for Quiet {
    fn ask(
        &mut self,
        scheduler: &Scheduler,
        source: SourceId,
        asked: Millis,
        _: Millis,
    ) -> (Asked, Feedback) {
        let Some(What::Tag(tag)) = scheduler.source(source).map(|source| source.what) else {
            panic!("only tags are followed");
        };
        let number: usize = tag
            .rsplit('-')
            .next()
            .and_then(|digits| digits.parse().ok())
            .expect("a number");
        let at = u32::try_from(asked.0 - START).expect("within a month");
        let last = std::mem::replace(&mut self.last[number], at);
        let distance = u64::from(at - last);
        let tolerance = self.interval / 10;
        // The first time it is as long since the start as its moment in the interval is.
        let is_right = if last == 0 {
            distance <= self.interval + tolerance
        } else {
            distance.abs_diff(self.interval) <= tolerance
        };
        let is_delayed = !is_right && last < self.restarted && distance <= 2 * self.interval + tolerance;
        self.delayed += u64::from(is_delayed);
        self.wrong += u64::from(!is_right && !is_delayed);
        self.checks += 1;
        (Asked::Unchanged, Feedback::default())
    }
}

fn options(interval: Duration) -> Options {
    Options {
        interval,
        host: HostBudget {
            checks_per_minute: 2_400,
            ..HostBudget::default()
        },
        ..Options::default()
    }
}

/// A scheduler that follows a million tags under names as they are.
fn followed(interval: Duration, now: Millis) -> Scheduler {
    let mut scheduler = Scheduler::new(options(interval));
    for stream in 0..TAGS / TAGS_OF_A_STREAM {
        let host = format!("registry-{}.example.com", stream % HOSTS);
        let repository = format!("team-{}/service-{stream}/backend", stream % 977);
        let tags: Vec<String> = (0..TAGS_OF_A_STREAM)
            .map(|tag| format!("1.{tag}-{}", stream * TAGS_OF_A_STREAM + tag))
            .collect();
        let followed = tags.iter().map(|tag| Followed {
            tag,
            source: Source {
                host: &host,
                repository: &repository,
                what: What::Tag(tag),
                credential: 7,
                insecure: false,
            },
            interval: None,
        });
        scheduler.set_stream(
            &format!("project-{}/service-{stream}", stream % 977),
            followed,
            now,
        );
    }
    scheduler
}

#[test]
fn a_million_tags_are_checked_once_in_an_interval_in_under_500_bytes_each_even_over_a_restart() {
    let long = std::env::var_os("IMAGESTREAM_LONG_TESTS").is_some_and(|value| value == "1");
    let interval = Duration::from_secs(if long { 15 * 60 } else { 6 * 60 * 60 });
    let interval_ms = u64::try_from(interval.as_millis()).expect("small");
    let mut registries = Quiet {
        interval: interval_ms,
        last: vec![0; TAGS as usize],
        checks: 0,
        wrong: 0,
        restarted: 0,
        delayed: 0,
    };
    let mut world = World::at(START);

    let before = ALLOCATOR.current_usage();
    let mut scheduler = followed(interval, world.now);
    world.run(&mut scheduler, &mut registries, Millis(START + 12 * 3_600_000));
    let bytes = ALLOCATOR.current_usage().saturating_sub(before);
    let each = bytes / TAGS as usize;
    println!("{each} bytes a tag");
    assert!(each < 500, "{each} bytes a tag");
    assert_eq!(scheduler.tags(), TAGS as usize);

    // Another process takes over, which knows nothing of when what was checked.
    drop(scheduler);
    const GAP: u64 = 20_000;
    let mut world = World::at(world.now.0 + GAP);
    registries.restarted = u32::try_from(world.now.0 - START).expect("within a month");
    let mut scheduler = followed(interval, world.now);
    world.run(&mut scheduler, &mut registries, Millis(START + 24 * 3_600_000));

    let expected = u64::from(TAGS) * 24 * 3_600_000 / interval_ms;
    assert!(
        registries.checks.abs_diff(expected) <= expected / 100,
        "{} checks, expected {expected}",
        registries.checks
    );
    assert_eq!(registries.wrong, 0, "checks at the wrong time");
    // No more than were due while nobody scheduled, or under way when the first scheduler ended.
    let due = u64::from(TAGS) * (GAP + 1000) / interval_ms;
    assert!(
        registries.delayed <= due + due / 10,
        "{} delayed, {due} expected",
        registries.delayed
    );
    let reports = scheduler.host_reports(world.now);
    assert_eq!(reports.len(), HOSTS as usize);
    for report in reports {
        assert_eq!(
            (report.tags, report.throttled),
            (TAGS / HOSTS, None),
            "{report:?}"
        );
        assert!(report.lag < Duration::from_secs(60), "{report:?}");
    }
}
