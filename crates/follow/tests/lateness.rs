//! Nothing is late: whatever happens, what is due and may be asked is asked at that moment, and nothing else is. A model that is
//! too simple to be wrong runs beside the scheduler, step by step.

#![allow(
    clippy::panic,
    clippy::too_many_arguments,
    reason = "a failed expectation is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use imagestream_follow::{
    Asked, Failure, Feedback, Fetched, Followed, HostBudget, Millis, Options, Poll, Scheduler, Source,
    SourceId, What,
};
use proptest::prelude::*;

const START: Millis = Millis(1_731_628_800_000);
const INTERVALS: [u64; 3] = [900_000, 300_000, 60_000];
const REGISTRIES: [&str; 3] = ["docker.io", "quay.io", "localhost:5000"];
const REPOSITORIES: [&str; 2] = ["library/nginx", "team/app"];
const TAGS: [&str; 3] = ["latest", "1.0", "2.0"];
const IN_FLIGHT: u32 = 3;

/// A source by its number: host, repository, tag or all, and one of two credentials.
fn source(number: usize) -> Source<'static> {
    let tag = number / 6 % 4;
    Source {
        host: REGISTRIES[number % 3],
        repository: REPOSITORIES[number / 3 % 2],
        what: TAGS.get(tag).map_or(What::Tags, |tag| What::Tag(tag)),
        credential: (number / 24) as u64,
        insecure: false,
    }
}

const SOURCES: usize = 48;

#[derive(Clone, Debug)]
enum Event {
    /// A stream follows these sources at these intervals.
    Set(u8, Vec<(usize, usize)>),
    Remove(u8),
    /// Time passes, and everything is asked that may be asked.
    Pass(u64),
    /// One of those under way is reported.
    Report(usize, u8),
    /// A push to the place of a source; or to its repository.
    Push(usize, bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..5_u8, prop::collection::vec((0..SOURCES, 0..3_usize), 0..8)).prop_map(|(s, t)| Event::Set(s, t)),
        1 => (0..5_u8).prop_map(Event::Remove),
        6 => prop_oneof![0..1_000_u64, 0..100_000_u64, 0..2_000_000_u64].prop_map(Event::Pass),
        12 => (0..9_usize, 0..6_u8).prop_map(|(which, outcome)| Event::Report(which, outcome)),
        2 => (0..SOURCES, any::<bool>()).prop_map(|(source, all)| Event::Push(source, all)),
    ]
}

/// What has to be true of a source.
#[derive(Debug)]
struct Known {
    /// Not checked before then,
    from: u64,
    /// and when a minute has passed beyond then with a place free, it was.
    until: u64,
}

#[derive(Default)]
struct Model {
    streams: BTreeMap<u8, Vec<(usize, usize)>>,
    known: BTreeMap<usize, Known>,
    under_way: Vec<(SourceId, usize, bool)>,
    moved: BTreeSet<usize>,
}

impl Model {
    fn interval(&self, source: usize) -> Option<u64> {
        self.streams
            .values()
            .flatten()
            .filter(|tag| tag.0 == source)
            .map(|tag| INTERVALS[tag.1])
            .min()
    }

    /// After streams have changed: what is new has its turn within an interval, what nobody follows none.
    fn followed(&mut self, now: u64, before: &BTreeMap<usize, u64>) {
        for source in 0..SOURCES {
            match (before.get(&source), self.interval(source)) {
                (_, None) => {
                    self.known.remove(&source);
                    if !self.under_way.iter().any(|asked| asked.1 == source) {
                        self.moved.remove(&source);
                    }
                }
                (None, Some(interval)) => {
                    self.known.insert(
                        source,
                        Known {
                            from: now,
                            until: now + interval,
                        },
                    );
                }
                (Some(old), Some(interval)) => {
                    // Between two intervals it may be checked at any time, but not later than either says.
                    if *old != interval
                        && let Some(known) = self.known.get_mut(&source)
                    {
                        known.from = now.min(known.from);
                        known.until = if known.until <= now {
                            known.until
                        } else {
                            now + interval
                        };
                    }
                }
            }
        }
    }

    fn intervals(&self) -> BTreeMap<usize, u64> {
        (0..SOURCES)
            .filter_map(|source| Some((source, self.interval(source)?)))
            .collect()
    }
}

fn run(events: Vec<Event>) {
    let host = HostBudget {
        checks_per_minute: 60_000_000,
        checks_in_flight: IN_FLIGHT,
        fetches_in_flight: 1,
    };
    let mut scheduler = Scheduler::new(Options {
        host,
        ..Options::default()
    });
    let mut model = Model::default();
    let mut now = START.0;
    for event in events {
        match event {
            Event::Set(stream, tags) => {
                let before = model.intervals();
                let names: Vec<String> = (0..tags.len()).map(|name| name.to_string()).collect();
                let followed = names
                    .iter()
                    .zip(&tags)
                    .map(|(tag, &(number, interval))| Followed {
                        tag,
                        source: source(number),
                        interval: Some(Duration::from_millis(INTERVALS[interval])),
                    });
                scheduler.set_stream(&format!("team/{stream}"), followed, Millis(now));
                model.streams.insert(stream, tags);
                model.followed(now, &before);
            }
            Event::Remove(stream) => {
                let before = model.intervals();
                scheduler.remove_stream(&format!("team/{stream}"), Millis(now));
                model.streams.remove(&stream);
                model.followed(now, &before);
            }
            Event::Pass(time) => {
                let end = now + time;
                now = pass(&mut scheduler, &mut model, now, end);
            }
            Event::Report(which, outcome) if !model.under_way.is_empty() => {
                let at = which % model.under_way.len();
                let (id, number, fetch) = model.under_way.remove(at);
                report(&mut scheduler, &mut model, now, id, number, fetch, outcome);
            }
            Event::Report(..) => {}
            Event::Push(number, all) => {
                let pushed = source(number);
                let tag = match pushed.what {
                    What::Tag(tag) if !all => Some(tag),
                    _ => None,
                };
                let hits = |other: &usize| {
                    let other = source(*other);
                    (other.host, other.repository) == (pushed.host, pushed.repository)
                        && (tag.is_none() || other.what == What::Tags || other.what == pushed.what)
                };
                let matched = scheduler.poke(pushed.host, pushed.repository, tag, Millis(now));
                // What is under way counts although nobody follows it any more.
                let asked = model.under_way.iter().map(|asked| asked.1);
                let concerned: BTreeSet<usize> =
                    model.known.keys().copied().chain(asked).filter(hits).collect();
                assert_eq!(matched, concerned.len());
                for (_, known) in model.known.iter_mut().filter(|(other, _)| hits(other)) {
                    known.from = known.from.min(now);
                    known.until = known.until.min(now + 11_000);
                }
            }
        }
        assert_eq!(
            scheduler.tags(),
            model.streams.values().map(Vec::len).sum::<usize>()
        );
        let asked = model.under_way.iter().map(|asked| asked.1);
        let sources: BTreeSet<usize> = model.known.keys().copied().chain(asked).collect();
        assert_eq!(scheduler.sources(), sources.len());
    }
}

/// Asks whatever is to be asked until `end`, and sees that nothing is asked that is not, and that nothing is late.
fn pass(scheduler: &mut Scheduler, model: &mut Model, mut now: u64, end: u64) -> u64 {
    loop {
        let wait = loop {
            let (id, fetch) = match scheduler.poll(Millis(now)) {
                Poll::Ask(id) => (id, false),
                Poll::Fetch(id) => (id, true),
                Poll::Tell(_) => panic!("its host answers"),
                Poll::Wait(at) => break at,
            };
            let number = (0..SOURCES)
                .find(|number| Some(source(*number)) == scheduler.source(id))
                .unwrap_or(SOURCES);
            let followers = scheduler.followers(id).count();
            assert_eq!(
                followers,
                model
                    .streams
                    .values()
                    .flatten()
                    .filter(|tag| tag.0 == number)
                    .count()
            );
            assert!(followers > 0, "nobody follows {number}");
            assert!(
                !model.under_way.iter().any(|asked| asked.1 == number),
                "{number} is under way"
            );
            if fetch {
                assert!(model.moved.remove(&number), "{number} did not move");
            } else {
                let known = &model.known[&number];
                assert!(known.from <= now, "{number} at {now}: {known:?}");
            }
            model.under_way.push((id, number, fetch));
        };
        for host in REGISTRIES {
            let checks = model
                .under_way
                .iter()
                .filter(|asked| source(asked.1).host == host && !asked.2);
            let checks = checks.count();
            assert!(checks <= IN_FLIGHT as usize);
            for (number, known) in &model.known {
                // What moved waits for being fetched, not for a check.
                let waits =
                    !model.moved.contains(number) && !model.under_way.iter().any(|asked| asked.1 == *number);
                let may_be_asked = source(*number).host == host && checks < IN_FLIGHT as usize;
                assert!(
                    !(waits && may_be_asked) || known.until >= now,
                    "{number} is late at {now}: {known:?}"
                );
            }
        }
        match wait {
            Some(Millis(at)) if at <= end => {
                assert!(at > now);
                now = at;
            }
            _ => return end,
        }
    }
}

fn report(
    scheduler: &mut Scheduler,
    model: &mut Model,
    now: u64,
    id: SourceId,
    number: usize,
    fetch: bool,
    outcome: u8,
) {
    let failure = [Failure::NotFound, Failure::Unauthorized, Failure::Other]
        .get(usize::from(outcome))
        .copied();
    let feedback = Feedback::default();
    if fetch {
        let fetched = failure.map_or(Fetched::Done { changed: true }, Fetched::Failed);
        scheduler.fetched(id, Millis(now), fetched, 1, &feedback);
    } else if outcome == 3 {
        scheduler.asked(id, Millis(now), Asked::Moved, &feedback);
        model.moved.insert(number);
    } else {
        scheduler.asked(
            id,
            Millis(now),
            failure.map_or(Asked::Unchanged, Asked::Failed),
            &feedback,
        );
    }
    let (Some(interval), Some(known)) = (model.interval(number), model.known.get_mut(&number)) else {
        model.moved.remove(&number);
        return;
    };
    // When exactly is for other tests to say; here it is not sooner than can be, and not later than may be.
    known.from = now.min(known.from.max(now.saturating_sub(1)));
    known.until = now + interval * 11 / 10;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_everything_followed_is_checked_in_time_and_nothing_else(
        events in prop::collection::vec(event(), 1..120)
    ) {
        run(events);
    }
}
