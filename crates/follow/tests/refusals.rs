//! A registry that refuses fetches and never says how many it allows, and what many followers and pushes cost.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod world;

use std::collections::{BTreeSet, VecDeque};

use imagestream_follow::{
    Asked, Failure, Feedback, Fetched, Followed, Last, Millis, Options, Poll, Scheduler, Source, SourceId,
    What,
};

use world::{Registries, World};

const START: u64 = 1_790_000_000_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const TAGS: usize = 500;

fn source(tag: &str) -> Source<'_> {
    Source {
        host: "hub.example",
        repository: "team/app",
        what: What::Tag(tag),
        credential: 0,
        insecure: false,
    }
}

fn follow(scheduler: &mut Scheduler, stream: &str, tag: &str, now: Millis) {
    let followed = Followed {
        tag,
        source: source(tag),
        interval: None,
    };
    scheduler.set_stream(stream, [followed], now);
}

fn number(scheduler: &Scheduler, source: SourceId) -> usize {
    match scheduler.source(source).map(|source| source.what) {
        Some(What::Tag(tag)) => tag.parse().expect("a number"),
        other => panic!("{other:?}"),
    }
}

/// Allows 100 fetches in any six hours and refuses the others, without a word on when. Checks are free.
#[derive(Default)]
struct Silent {
    fetched: VecDeque<Millis>,
    stale: BTreeSet<usize>,
    next_change: u64,
    changes: usize,
    /// Between two changes.
    gap: u64,
    refused: u32,
    checks: u64,
}

impl Silent {
    fn pass(&mut self, now: Millis) {
        while self.next_change <= now.0 && self.gap > 0 {
            self.changes += 1;
            self.stale.insert(self.changes * 37 % TAGS);
            self.next_change += self.gap;
        }
        while self.fetched.front().is_some_and(|at| at.0 + 6 * HOUR <= now.0) {
            self.fetched.pop_front();
        }
    }
}

impl Registries for Silent {
    fn ask(&mut self, scheduler: &Scheduler, source: SourceId, _: Millis, now: Millis) -> (Asked, Feedback) {
        self.pass(now);
        self.checks += 1;
        let is_stale = self.stale.contains(&number(scheduler, source));
        (
            if is_stale { Asked::Moved } else { Asked::Unchanged },
            Feedback::default(),
        )
    }

    fn fetch(&mut self, scheduler: &Scheduler, source: SourceId, now: Millis) -> (Fetched, u32, Feedback) {
        self.pass(now);
        if self.fetched.len() >= 100 {
            self.refused += 1;
            let feedback = Feedback {
                refused: true,
                ..Feedback::default()
            };
            return (Fetched::Failed(Failure::RateLimited), 0, feedback);
        }
        self.fetched.push_back(now);
        self.stale.remove(&number(scheduler, source));
        (Fetched::Done { changed: true }, 1, Feedback::default())
    }
}

#[test]
fn where_nobody_says_how_many_fetches_are_allowed_few_are_refused_none_is_lost_and_checks_go_on() {
    let mut scheduler = Scheduler::new(Options::default());
    for tag in 0..TAGS {
        follow(
            &mut scheduler,
            &format!("n/s{tag}"),
            &tag.to_string(),
            Millis(START),
        );
    }
    // 30 changes an hour: nearly twice as many as it allows.
    let mut registry = Silent {
        next_change: START,
        gap: 2 * MINUTE,
        ..Silent::default()
    };
    let mut world = World::at(START);
    world.run(&mut scheduler, &mut registry, Millis(START + 24 * HOUR));
    assert!(
        registry.refused > 0 && registry.refused < 100,
        "{} refused",
        registry.refused
    );
    // What waits for being fetched is not checked; all others are, once in 15 minutes.
    assert!(registry.checks > 24 * 4 * 250, "{} checks", registry.checks);

    registry.gap = 0;
    world.run(&mut scheduler, &mut registry, Millis(START + 96 * HOUR));
    assert_eq!(registry.stale, BTreeSet::new());
    let reports = (0..TAGS).flat_map(|tag| {
        scheduler
            .stream_report(&format!("n/s{tag}"), Millis(START))
            .collect::<Vec<_>>()
    });
    let not_unchanged: Vec<_> = reports.filter(|report| report.last != Last::Unchanged).collect();
    assert!(not_unchanged.is_empty(), "{not_unchanged:?}");
}

#[test]
fn a_hundred_thousand_streams_follow_one_source_and_leave_it_again() {
    const STREAMS: usize = 100_000;
    let mut scheduler = Scheduler::new(Options::default());
    for stream in 0..STREAMS {
        follow(&mut scheduler, &format!("n{stream}/s"), "latest", Millis(START));
    }
    assert_eq!((scheduler.tags(), scheduler.sources()), (STREAMS, 1));
    let Poll::Ask(source) = scheduler.poll(Millis(START + HOUR)) else {
        panic!("it is due");
    };
    assert_eq!(scheduler.followers(source).count(), STREAMS);
    assert!(matches!(scheduler.poll(Millis(START + HOUR)), Poll::Wait(_)));
    for stream in 0..STREAMS {
        scheduler.remove_stream(&format!("n{stream}/s"), Millis(START));
    }
    scheduler.asked(
        source,
        Millis(START + HOUR),
        Asked::Unchanged,
        &Feedback::default(),
    );
    assert_eq!((scheduler.tags(), scheduler.sources()), (0, 0));
}

#[test]
fn a_flood_of_pushes_to_a_large_repository_that_name_no_tag_has_all_of_it_asked_and_costs_little() {
    let mut scheduler = Scheduler::new(Options::default());
    for tag in 0..5_000 {
        follow(
            &mut scheduler,
            &format!("n/s{tag}"),
            &tag.to_string(),
            Millis(START),
        );
    }
    let now = START + 1;
    let next_checks = |scheduler: &Scheduler| -> Vec<u64> {
        let reports = (0..5_000).flat_map(|tag| {
            scheduler
                .stream_report(&format!("n/s{tag}"), Millis(START))
                .collect::<Vec<_>>()
        });
        reports.map(|report| report.next_check.0).collect()
    };
    for _ in 0..100_000 {
        assert_eq!(
            scheduler.poke("hub.example", "team/app", None, Millis(now)),
            5_000
        );
    }
    assert!(next_checks(&scheduler).iter().all(|at| *at <= now));
    // A push that comes later is seen too.
    let mut registry = Silent::default();
    let mut world = World::at(now);
    world.run(&mut scheduler, &mut registry, Millis(now + 5 * MINUTE));
    assert!(registry.checks >= 5_000);
    for _ in 0..100_000 {
        assert_eq!(scheduler.poke("hub.example", "team/app", None, world.now), 5_000);
    }
    assert!(next_checks(&scheduler).iter().all(|at| *at <= world.now.0));
}
