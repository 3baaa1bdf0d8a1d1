//! Registries that count, that fail, and that are told on.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use imagestream_follow::{
    Asked, Failure, Feedback, Fetched, Followed, HostBudget, Last, Millis, Options, Poll, Quota, Scheduler,
    Source, SourceId, What, Why,
};

use world::{Registries, World};

const START: u64 = 1_790_000_000_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const INTERVAL: u64 = 15 * MINUTE;

fn tag<'a>(host: &'a str, repository: &'a str, tag: &'a str) -> Source<'a> {
    Source {
        host,
        repository,
        what: What::Tag(tag),
        credential: 1,
        insecure: false,
    }
}

fn follow(scheduler: &mut Scheduler, stream: &str, sources: &[Source<'_>], now: Millis) {
    let names: Vec<String> = (0..sources.len()).map(|number| number.to_string()).collect();
    let followed = sources.iter().zip(&names).map(|(source, tag)| Followed {
        tag,
        source: *source,
        interval: None,
    });
    scheduler.set_stream(stream, followed, now);
}

/// A registry that counts what is fetched, in windows of six hours, and lets questions be free.
struct Counting {
    /// Whether it says when its window ends.
    tells_reset: bool,
    window: Millis,
    left: u64,
    /// What each tag points to, and what was recorded of it.
    points_to: Vec<u32>,
    recorded: Vec<u32>,
    next_change: Millis,
    changes: u32,
    refused: u32,
}

impl Counting {
    const LIMIT: u64 = 100;
    const WINDOW: u64 = 6 * HOUR;
    const TAGS: usize = 500;

    fn new(tells_reset: bool) -> Self {
        Self {
            tells_reset,
            window: Millis(START),
            left: Self::LIMIT,
            points_to: vec![0; Self::TAGS],
            recorded: vec![0; Self::TAGS],
            next_change: Millis(START),
            changes: 0,
            refused: 0,
        }
    }

    /// What happens by itself until `now`: a change every six minutes, a new window every six hours.
    fn pass(&mut self, now: Millis) {
        while self.next_change <= now {
            self.changes += 1;
            // Any order will do that visits all tags.
            let moved = (self.changes as usize * 37) % Self::TAGS;
            self.points_to[moved] += 1;
            self.next_change = Millis(self.next_change.0 + 6 * MINUTE);
        }
        while now.0 >= self.window.0 + Self::WINDOW {
            self.window = Millis(self.window.0 + Self::WINDOW);
            self.left = Self::LIMIT;
        }
    }

    fn feedback(&self, now: Millis) -> Feedback {
        let reset = Duration::from_millis(self.window.0 + Self::WINDOW - now.0);
        Feedback {
            quota: Some(Quota {
                limit: Some(Self::LIMIT),
                remaining: self.left,
                window: Some(Duration::from_millis(Self::WINDOW)),
                reset: self.tells_reset.then_some(reset),
            }),
            ..Feedback::default()
        }
    }

    fn number(scheduler: &Scheduler, source: SourceId) -> usize {
        match scheduler.source(source).map(|source| source.what) {
            Some(What::Tag(tag)) => tag.parse().expect("a number"),
            other => panic!("{other:?}"),
        }
    }
}

impl Registries for Counting {
    fn ask(&mut self, scheduler: &Scheduler, source: SourceId, _: Millis, now: Millis) -> (Asked, Feedback) {
        self.pass(now);
        let number = Self::number(scheduler, source);
        let asked = if self.points_to[number] == self.recorded[number] {
            Asked::Unchanged
        } else {
            Asked::Moved
        };
        (asked, self.feedback(now))
    }

    fn fetch(&mut self, scheduler: &Scheduler, source: SourceId, now: Millis) -> (Fetched, u32, Feedback) {
        self.pass(now);
        if self.left == 0 {
            self.refused += 1;
            let feedback = Feedback {
                refused: true,
                ..self.feedback(now)
            };
            return (Fetched::Failed(Failure::RateLimited), 1, feedback);
        }
        self.left -= 1;
        let number = Self::number(scheduler, source);
        self.recorded[number] = self.points_to[number];
        (Fetched::Done { changed: true }, 1, self.feedback(now))
    }
}

fn a_day_with(mut registry: Counting) -> Counting {
    let mut scheduler = Scheduler::new(Options::default());
    let names: Vec<String> = (0..Counting::TAGS).map(|number| number.to_string()).collect();
    for (number, name) in names.iter().enumerate() {
        let source = tag("hub.example", "team/app", name);
        follow(&mut scheduler, &format!("n/s{number}"), &[source], Millis(START));
    }
    let mut world = World::at(START);
    world.run(&mut scheduler, &mut registry, Millis(START + 24 * HOUR));
    for number in 0..Counting::TAGS {
        for report in scheduler.stream_report(&format!("n/s{number}"), world.now) {
            assert!(!matches!(report.last, Last::Failed(_)), "{report:?}");
        }
    }
    assert!(registry.changes >= 240, "{}", registry.changes);
    let behind = (0..Counting::TAGS)
        .filter(|number| registry.points_to[*number] != registry.recorded[*number])
        .count();
    // What moved within the last interval may not have been seen yet: 10 an hour.
    assert!(behind <= 4, "{behind} tags are behind");
    registry
}

#[test]
fn a_registry_with_100_fetches_in_six_hours_never_refuses_one_if_it_says_when_there_are_more() {
    assert_eq!(a_day_with(Counting::new(true)).refused, 0);
}

#[test]
fn a_registry_that_does_not_say_when_there_are_more_fails_no_import_either() {
    a_day_with(Counting::new(false));
}

#[test]
fn what_moves_more_often_than_may_be_fetched_waits_and_the_newest_state_wins() {
    let mut registry = Counting::new(true);
    registry.left = 3;
    let mut scheduler = Scheduler::new(Options::default());
    let names: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    for name in &names {
        follow(
            &mut scheduler,
            &format!("n/{name}"),
            &[tag("hub.example", "a", name)],
            Millis(START),
        );
    }
    for number in 0..10 {
        registry.points_to[number] = 1;
    }
    registry.next_change = Millis(u64::MAX);
    let mut world = World::at(START);
    world.run(&mut scheduler, &mut registry, Millis(START + HOUR));
    let fetched = registry
        .recorded
        .iter()
        .filter(|recorded| **recorded == 1)
        .count();
    assert!((1..=3).contains(&fetched), "{fetched}");
    let report = &scheduler.host_reports(world.now)[0];
    assert_eq!(report.waiting_to_fetch, 10 - fetched);
    assert_eq!(report.throttled.map(|throttled| throttled.why), Some(Why::Quota));
    for number in 0..10 {
        registry.points_to[number] = 2;
    }
    world.run(&mut scheduler, &mut registry, Millis(START + 7 * HOUR));
    assert!(
        registry.recorded[..10].iter().all(|recorded| *recorded == 2),
        "{:?}",
        &registry.recorded[..10]
    );
    assert_eq!(registry.refused, 0);
}

/// A host that is gone for an hour, beside one that is not.
struct Outage {
    from: Millis,
    to: Millis,
    /// When each request to the one host began.
    asked: VecDeque<Millis>,
    most_in_a_minute: usize,
    during: u32,
    /// When each tag was last answered for.
    answered: BTreeMap<String, Millis>,
    /// When those who follow a tag were told that its host does not answer.
    told: BTreeMap<String, Vec<Millis>>,
    others: u32,
}

impl Registries for Outage {
    fn ask(
        &mut self,
        scheduler: &Scheduler,
        source: SourceId,
        asked: Millis,
        now: Millis,
    ) -> (Asked, Feedback) {
        let source = scheduler.source(source).expect("it is followed");
        let What::Tag(name) = source.what else {
            panic!("only tags are followed");
        };
        if source.host == "well.example" {
            self.others += 1;
            return (Asked::Unchanged, Feedback::default());
        }
        self.asked.push_back(asked);
        while self
            .asked
            .front()
            .is_some_and(|first| first.0 + MINUTE <= asked.0)
        {
            self.asked.pop_front();
        }
        self.most_in_a_minute = self.most_in_a_minute.max(self.asked.len());
        if (self.from..self.to).contains(&asked) {
            self.during += 1;
            return (Asked::Failed(Failure::Unreachable), Feedback::default());
        }
        self.answered.insert(name.to_owned(), now);
        (Asked::Unchanged, Feedback::default())
    }

    fn tell(&mut self, scheduler: &Scheduler, source: SourceId, now: Millis) {
        let source = scheduler.source(source).expect("it is followed");
        let What::Tag(name) = source.what else {
            panic!("tags are followed");
        };
        assert_eq!(source.host, "ill.example");
        assert!(now >= self.from);
        self.told.entry(name.to_owned()).or_default().push(now);
    }
}

#[test]
fn an_outage_of_an_hour_loses_nothing_and_no_storm_follows_it() {
    const TAGS: usize = 5_000;
    const BUDGET: u32 = 1_000;
    let mut scheduler = Scheduler::new(Options {
        host: HostBudget {
            checks_per_minute: BUDGET,
            ..HostBudget::default()
        },
        ..Options::default()
    });
    let names: Vec<String> = (0..TAGS).map(|number| number.to_string()).collect();
    for name in &names {
        let sources = [tag("ill.example", "a", name), tag("well.example", "a", name)];
        follow(&mut scheduler, &format!("n/{name}"), &sources, Millis(START));
    }
    let end = Millis(START + 2 * HOUR);
    let mut registries = Outage {
        from: Millis(START + HOUR),
        to: end,
        asked: VecDeque::new(),
        most_in_a_minute: 0,
        during: 0,
        answered: BTreeMap::new(),
        told: BTreeMap::new(),
        others: 0,
    };
    let mut world = World::at(START);
    world.run(&mut scheduler, &mut registries, Millis(end.0 - 1));
    assert_eq!(registries.answered.len(), TAGS);
    let told = registries.told.values();
    let in_time = |told: &&Vec<Millis>| {
        told.first()
            .is_some_and(|first| first.0 < START + HOUR + INTERVAL + MINUTE)
    };
    // The others were asked, and failed.
    assert!(
        told.clone().filter(in_time).count() + registries.during as usize >= TAGS,
        "{} of {TAGS} are told within an interval",
        told.clone().filter(in_time).count()
    );
    let often: usize = told.map(Vec::len).sum();
    assert!(
        often <= TAGS + registries.during as usize,
        "{often} tellings of {TAGS} tags: each is told once, and again after it was asked"
    );
    // Those that were under way when it began, and then one every few minutes.
    assert!(
        registries.during < 60,
        "{} requests to a host that is gone",
        registries.during
    );
    let report = &scheduler.host_reports(world.now)[0];
    assert_eq!(
        report.throttled.map(|throttled| throttled.why),
        Some(Why::Unreachable)
    );
    assert!(
        report.lag > Duration::from_millis(HOUR - INTERVAL - MINUTE),
        "{report:?}"
    );
    let well = u64::try_from(TAGS).expect("small") * 2 * HOUR / INTERVAL;
    assert!(
        u64::from(registries.others).abs_diff(well) < well / 10,
        "{} of {well}",
        registries.others
    );

    world.run(&mut scheduler, &mut registries, Millis(end.0 + INTERVAL));
    let late: Vec<_> = registries.answered.iter().filter(|(_, at)| **at < end).collect();
    assert!(
        late.is_empty(),
        "{} tags were not checked within an interval after the outage",
        late.len()
    );
    world.run(&mut scheduler, &mut registries, Millis(end.0 + HOUR));
    assert!(
        registries.most_in_a_minute <= BUDGET as usize,
        "{} in a minute",
        registries.most_in_a_minute
    );
}

/// Counts, and says that nothing has moved.
#[derive(Default)]
struct Count(BTreeMap<String, Vec<Millis>>);

impl Registries for Count {
    fn ask(
        &mut self,
        scheduler: &Scheduler,
        source: SourceId,
        asked: Millis,
        _: Millis,
    ) -> (Asked, Feedback) {
        let source = scheduler.source(source).expect("it is followed");
        let name = match source.what {
            What::Tag(tag) => format!("{}/{}:{tag}", source.host, source.repository),
            What::Tags => format!("{}/{}", source.host, source.repository),
        };
        self.0.entry(name).or_default().push(asked);
        (Asked::Unchanged, Feedback::default())
    }
}

#[test]
fn a_thousand_streams_of_one_source_cost_one_request_and_two_credentials_cost_two() {
    let mut scheduler = Scheduler::new(Options::default());
    let shared = tag("r.example", "a", "1");
    for number in 0..1000 {
        follow(&mut scheduler, &format!("n/s{number}"), &[shared], Millis(START));
    }
    assert_eq!((scheduler.tags(), scheduler.sources()), (1000, 1));
    let mut count = Count::default();
    let mut world = World::at(START);
    world.run(&mut scheduler, &mut count, Millis(START + 4 * INTERVAL));
    assert_eq!(count.0["r.example/a:1"].len(), 4);

    let other = Source {
        credential: 2,
        ..shared
    };
    follow(&mut scheduler, "n/other", &[other], world.now);
    world.run(&mut scheduler, &mut count, Millis(START + 8 * INTERVAL));
    assert_eq!(count.0["r.example/a:1"].len(), 4 + 2 * 4);
}

#[test]
fn the_most_frequent_of_those_who_follow_a_source_counts_and_no_one_may_ask_for_more_than_the_minimum() {
    let mut scheduler = Scheduler::new(Options::default());
    let source = tag("r.example", "a", "1");
    let with = |seconds: Option<u64>| Followed {
        tag: "1",
        source,
        interval: seconds.map(Duration::from_secs),
    };
    let count = |scheduler: &mut Scheduler| {
        let mut count = Count::default();
        World::at(START).run(scheduler, &mut count, Millis(START + HOUR));
        count.0["r.example/a:1"].len()
    };
    scheduler.set_stream("n/slow", [with(Some(1800))], Millis(START));
    assert_eq!(count(&mut scheduler), 2);
    let mut scheduler = Scheduler::new(Options::default());
    scheduler.set_stream("n/slow", [with(Some(1800))], Millis(START));
    scheduler.set_stream("n/fast", [with(Some(1))], Millis(START));
    assert_eq!(count(&mut scheduler), 60);
    scheduler.remove_stream("n/fast", Millis(START + HOUR));
    let mut later = Count::default();
    World::at(START + HOUR).run(&mut scheduler, &mut later, Millis(START + 2 * HOUR));
    assert_eq!(later.0["r.example/a:1"].len(), 2);
}

#[test]
fn a_flood_of_pokes_has_a_source_asked_once_in_ten_seconds_and_no_other() {
    let mut scheduler = Scheduler::new(Options::default());
    follow(
        &mut scheduler,
        "n/s",
        &[
            tag("r.example", "a", "1"),
            tag("r.example", "a", "2"),
            tag("r.example", "b", "1"),
        ],
        Millis(START),
    );
    let mut count = Count::default();
    let mut world = World::at(START);
    for step in 0..600 {
        assert_eq!(scheduler.poke("r.example", "a", Some("1"), world.now), 1);
        assert_eq!(scheduler.poke("r.example", "none", Some("1"), world.now), 0);
        assert_eq!(scheduler.poke("other.example", "a", None, world.now), 0);
        world.run(&mut scheduler, &mut count, Millis(START + (step + 1) * 100));
    }
    let asked = &count.0["r.example/a:1"];
    assert!((6..=8).contains(&asked.len()), "{asked:?}");
    assert_eq!(asked[0], Millis(START), "the first poke counts at once");
    let others: usize = count
        .0
        .iter()
        .filter(|(name, _)| *name != "r.example/a:1")
        .map(|(_, all)| all.len())
        .sum();
    assert!(others <= 2, "{:?}", count.0);
    // What was pushed while the source was being asked is seen, too.
    assert!(
        scheduler
            .stream_report("n/s", world.now)
            .next()
            .is_some_and(|report| report.next_check.0 <= world.now.0 + 11_000)
    );
    assert_eq!(scheduler.poke("r.example", "a", None, world.now), 2);
}

#[test]
fn a_new_tag_is_news_for_those_who_follow_which_tags_there_are() {
    let mut scheduler = Scheduler::new(Options::default());
    let list = Source {
        what: What::Tags,
        ..tag("r.example", "a", "")
    };
    follow(&mut scheduler, "n/s", &[list], Millis(START));
    assert_eq!(
        scheduler.poke("r.example", "a", Some("never-seen"), Millis(START)),
        1
    );
    assert!(matches!(scheduler.poll(Millis(START)), Poll::Ask(_)));
}

#[test]
fn a_source_that_nobody_follows_any_more_is_forgotten_even_if_it_is_being_asked() {
    let mut scheduler = Scheduler::new(Options::default());
    follow(
        &mut scheduler,
        "n/s",
        &[tag("r.example", "a", "1")],
        Millis(START),
    );
    let due = Millis(START + INTERVAL);
    let Poll::Ask(source) = scheduler.poll(due) else {
        panic!("it is due");
    };
    scheduler.remove_stream("n/s", due);
    assert_eq!((scheduler.tags(), scheduler.sources()), (0, 1));
    // Somebody else takes it up meanwhile.
    follow(&mut scheduler, "n/t", &[tag("r.example", "a", "1")], due);
    scheduler.remove_stream("n/t", due);
    scheduler.asked(source, due, Asked::Moved, &Feedback::default());
    assert_eq!((scheduler.tags(), scheduler.sources()), (0, 0));
    assert_eq!(scheduler.poll(Millis(due.0 + HOUR)), Poll::Wait(None));
    assert!(scheduler.host_reports(due).is_empty());
}

#[test]
fn what_fails_in_a_way_that_may_pass_is_tried_sooner_and_ever_less_soon() {
    struct Failing(Vec<Millis>);
    impl Registries for Failing {
        fn ask(&mut self, _: &Scheduler, _: SourceId, asked: Millis, _: Millis) -> (Asked, Feedback) {
            self.0.push(asked);
            (Asked::Failed(Failure::Other), Feedback::default())
        }
    }
    let mut scheduler = Scheduler::new(Options::default());
    follow(
        &mut scheduler,
        "n/s",
        &[tag("r.example", "a", "1")],
        Millis(START),
    );
    let mut failing = Failing(Vec::new());
    World::at(START).run(&mut scheduler, &mut failing, Millis(START + 6 * HOUR));
    let first = failing.0[0];
    assert!(failing.0[1].0 - first.0 <= 67_000, "{:?}", failing.0);
    let count = failing.0.len();
    assert!((24..=32).contains(&count), "{count} times in six hours");
    let distinct: BTreeSet<_> = failing.0.iter().collect();
    assert_eq!(distinct.len(), count);
}
