//! Whatever streams come and go, are poked and answered for: the scheduler follows what it was told, asks nothing else,
//! keeps to its budget, and forgets nobody.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use imagestream_follow::{
    Asked, Failure, Feedback, Fetched, Followed, HostBudget, Millis, Options, Poll, Scheduler, Source,
    SourceId, What,
};
use proptest::prelude::*;

const START: u64 = 1_790_000_000_000;
const INTERVAL: u64 = 600_000;
const IN_FLIGHT: u32 = 3;

/// A source, by numbers: host, repository, tag (0: the list of tags), credential.
type Numbers = (u8, u8, u8, u8);

#[derive(Debug, Clone)]
enum Step {
    Set(u8, Vec<(u8, Numbers, Option<u16>)>),
    Poke(u8, u8, Option<u8>),
    Pass(u32),
    /// Answers the oldest of what is under way.
    Answer(u8),
    /// From now on the first host can't be reached, or can be.
    Down(bool),
}

fn numbers() -> impl Strategy<Value = Numbers> {
    (0..2_u8, 0..2_u8, 0..3_u8, 0..2_u8)
}

fn step() -> impl Strategy<Value = Step> {
    let followed = (0..4_u8, numbers(), proptest::option::of(0..2000_u16));
    prop_oneof![
        3 => (0..4_u8, proptest::collection::vec(followed, 0..5)).prop_map(|(stream, tags)| Step::Set(stream, tags)),
        2 => (0..3_u8, 0..3_u8, proptest::option::of(1..3_u8)).prop_map(|(host, repository, tag)| Step::Poke(host, repository, tag)),
        4 => (1..INTERVAL as u32).prop_map(Step::Pass),
        8 => (0..8_u8).prop_map(Step::Answer),
        2 => prop_oneof![3 => Just(true), 1 => Just(false)].prop_map(Step::Down),
    ]
}

/// Who follows what, in the plainest way.
#[derive(Default)]
struct Model(BTreeMap<u8, BTreeMap<u8, Numbers>>);

impl Model {
    fn sources(&self) -> BTreeSet<Numbers> {
        self.0.values().flat_map(BTreeMap::values).copied().collect()
    }

    fn followers(&self, source: Numbers) -> BTreeSet<(String, String)> {
        let mut followers = BTreeSet::new();
        for (stream, tags) in &self.0 {
            for (tag, followed) in tags {
                if *followed == source {
                    followers.insert((stream.to_string(), tag.to_string()));
                }
            }
        }
        followers
    }
}

fn set(scheduler: &mut Scheduler, stream: u8, tags: &[(u8, Numbers, Option<u16>)], now: Millis) {
    let texts: Vec<[String; 4]> = tags
        .iter()
        .map(|(tag, source, _)| [tag, &source.0, &source.1, &source.2].map(u8::to_string))
        .collect();
    let followed =
        tags.iter().zip(&texts).map(
            |((_, source, interval), [name, host, repository, tag])| Followed {
                tag: name,
                source: Source {
                    host,
                    repository,
                    what: if source.2 == 0 { What::Tags } else { What::Tag(tag) },
                    credential: source.3.into(),
                    insecure: false,
                },
                interval: interval.map(|seconds| Duration::from_secs(seconds.into())),
            },
        );
    scheduler.set_stream(&stream.to_string(), followed, now);
}

fn numbers_of(source: &Source<'_>) -> Numbers {
    let number = |text: &str| text.parse().expect("a number");
    let tag = match source.what {
        What::Tag(tag) => number(tag),
        What::Tags => 0,
    };
    let credential = u8::try_from(source.credential).expect("small");
    (number(source.host), number(source.repository), tag, credential)
}

/// What is under way at each host.
#[derive(Default)]
struct UnderWay {
    what: Vec<(SourceId, Numbers, Doing)>,
    is_down: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Ask,
    Fetch,
    Tell,
}

impl Doing {
    fn of(poll: Poll) -> Result<(SourceId, Self), Option<Millis>> {
        match poll {
            Poll::Ask(source) => Ok((source, Self::Ask)),
            Poll::Fetch(source) => Ok((source, Self::Fetch)),
            Poll::Tell(source) => Ok((source, Self::Tell)),
            Poll::Wait(until) => Err(until),
        }
    }
}

impl UnderWay {
    fn asking(&self, host: u8) -> u32 {
        let asked = self
            .what
            .iter()
            .filter(|(_, source, doing)| source.0 == host && *doing == Doing::Ask);
        u32::try_from(asked.count()).expect("few")
    }

    fn answer(&mut self, scheduler: &mut Scheduler, how: u8, now: Millis) {
        if self.what.is_empty() {
            return;
        }
        let (source, numbers, doing) = self.what.remove(0);
        let failures = [
            Failure::NotFound,
            Failure::Unreachable,
            Failure::RateLimited,
            Failure::Other,
        ];
        let failure = match numbers.0 {
            0 if self.is_down => Some(Failure::Unreachable),
            _ => failures.get(usize::from(how)).copied(),
        };
        let feedback = Feedback::default();
        match doing {
            Doing::Fetch => {
                let outcome = failure.map_or(Fetched::Done { changed: true }, Fetched::Failed);
                scheduler.fetched(source, now, outcome, 1, &feedback);
            }
            Doing::Ask => {
                let well = match how % 3 {
                    0 => Asked::Unchanged,
                    1 => Asked::Moved,
                    _ => Asked::Unsure,
                };
                scheduler.asked(source, now, failure.map_or(well, Asked::Failed), &feedback);
            }
            Doing::Tell => scheduler.told(source, now),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_scheduler_follows_what_it_was_told_and_nothing_else(steps in proptest::collection::vec(step(), 1..120)) {
        let mut scheduler = Scheduler::new(Options {
            interval: Duration::from_millis(INTERVAL),
            host: HostBudget { checks_per_minute: 600, checks_in_flight: IN_FLIGHT, fetches_in_flight: 1 },
            ..Options::default()
        });
        let mut model = Model::default();
        let mut under_way = UnderWay::default();
        let mut now = Millis(START);
        for step in &steps {
            match step {
                Step::Set(stream, tags) => {
                    set(&mut scheduler, *stream, tags, now);
                    let mut followed = BTreeMap::new();
                    for (tag, source, _) in tags {
                        followed.entry(*tag).or_insert(*source);
                    }
                    if followed.is_empty() {
                        model.0.remove(stream);
                    } else {
                        model.0.insert(*stream, followed);
                    }
                    let named: Vec<_> = scheduler.stream_report(&stream.to_string(), now).map(|report| report.tag).collect();
                    prop_assert_eq!(named.len(), model.0.get(stream).map_or(0, BTreeMap::len));
                }
                Step::Poke(host, repository, tag) => {
                    let wanted = model.sources().into_iter().filter(|source| {
                        source.0 == *host && source.1 == *repository && tag.is_none_or(|tag| source.2 == tag || source.2 == 0)
                    });
                    let wanted = wanted.count();
                    let poked = scheduler.poke(&host.to_string(), &repository.to_string(),
                        tag.map(|tag| tag.to_string()).as_deref(), now);
                    // Those that are being asked and that nobody follows any more may be among them.
                    prop_assert!(poked >= wanted && poked <= wanted + under_way.what.len());
                }
                Step::Pass(span) => now = Millis(now.0 + u64::from(*span)),
                Step::Answer(how) => under_way.answer(&mut scheduler, *how, now),
                Step::Down(is_down) => under_way.is_down = *is_down,
            }
            loop {
                let (source, doing) = match Doing::of(scheduler.poll(now)) {
                    Ok(found) => found,
                    Err(until) => {
                        prop_assert!(until.is_none_or(|until| until > now));
                        break;
                    }
                };
                let Some(found) = scheduler.source(source) else {
                    return Err(TestCaseError::fail("a source that is not there"));
                };
                let found = numbers_of(&found);
                prop_assert!(under_way.what.iter().all(|(other, _, _)| *other != source), "asked twice at once");
                let followers: BTreeSet<_> = scheduler.followers(source)
                    .map(|(stream, tag)| (stream.to_owned(), tag.to_owned())).collect();
                prop_assert!(!followers.is_empty());
                prop_assert_eq!(followers, model.followers(found));
                under_way.what.push((source, found, doing));
                prop_assert!(under_way.asking(found.0) <= IN_FLIGHT);
            }
            let tags: usize = model.0.values().map(BTreeMap::len).sum();
            prop_assert_eq!(scheduler.tags(), tags);
            let sources = model.sources().len();
            prop_assert!(scheduler.sources() >= sources && scheduler.sources() <= sources + under_way.what.len());
        }
        // When all goes well again, everything is asked within two intervals (the longest that was asked for is 2,000 s,
        // and a host may be left alone for up to 15 minutes).
        let mut missing = model.sources();
        let end = Millis(now.0 + 2 * 2_000_000 + 900_000);
        while now < end {
            while !under_way.what.is_empty() {
                let (source, found, doing) = under_way.what.remove(0);
                match doing {
                    Doing::Fetch => {
                        scheduler.fetched(source, now, Fetched::Done { changed: false }, 1, &Feedback::default());
                    }
                    Doing::Ask => {
                        missing.remove(&found);
                        scheduler.asked(source, now, Asked::Unchanged, &Feedback::default());
                    }
                    Doing::Tell => scheduler.told(source, now),
                }
            }
            match Doing::of(scheduler.poll(now)) {
                Ok((source, doing)) => {
                    let Some(found) = scheduler.source(source) else {
                        return Err(TestCaseError::fail("a source that is not there"));
                    };
                    under_way.what.push((source, numbers_of(&found), doing));
                }
                Err(until) => now = until.unwrap_or(end),
            }
        }
        prop_assert!(missing.is_empty(), "never asked: {:?}", missing);
    }
}
