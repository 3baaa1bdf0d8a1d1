use super::super::settled::FailureKind;
use super::*;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;
const INTERVAL: Duration = Duration::from_secs(900);
const INTERVAL_MILLIS: Millis = 15 * MINUTE;

fn rules() -> Rules {
    Rules {
        minimum_interval: Duration::from_secs(60),
        per_minute: 1_200,
        at_once: 32,
    }
}

fn quiet() -> HostFeedback {
    HostFeedback::default()
}

/// Lets time pass until `end`: each look takes `latency` and comes to what `outcome` says.
fn run(
    plan: &mut Plan,
    hosts: &dyn Fn(SourceId) -> String,
    (mut now, end): (Millis, Millis),
    latency: Millis,
    mut outcome: impl FnMut(SourceId, Millis) -> (Outcome, HostFeedback),
) {
    let mut under_way = std::collections::VecDeque::new();
    loop {
        while let Some(look) = plan.start(now) {
            under_way.push_back((now + latency, look));
        }
        let ends = under_way.front().map(|(at, _)| *at);
        let starts = plan.next_start();
        let Some(next) = ends.into_iter().chain(starts).min().filter(|next| *next <= end) else {
            return;
        };
        now = now.max(next);
        while under_way.front().is_some_and(|(at, _)| *at <= now) {
            let (_, look) = under_way.pop_front().unwrap();
            let (outcome, feedback) = outcome(look.0, now);
            plan.ended(look, &hosts(look.0), outcome, feedback, 0, now);
        }
    }
}

fn planned(sources: u32, hosts: u32) -> (Plan, impl Fn(SourceId) -> String) {
    let host = move |id: SourceId| format!("r{}.test", id.0 % hosts);
    let mut plan = Plan::new(rules());
    for id in (0..sources).map(SourceId) {
        let phase = u64::from(id.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        plan.set(id, &host(id), INTERVAL, phase, 0);
    }
    (plan, host)
}

#[test]
fn each_source_is_looked_at_once_in_its_interval_and_none_with_all_others() {
    let (mut plan, host) = planned(10_000, 50);
    let mut looks = vec![Vec::new(); 10_000];
    let mut by_minute = vec![0_u32; 24 * 60 + 1];
    run(&mut plan, &host, (0, DAY), 50, |id, now| {
        looks[id.0 as usize].push(now);
        by_minute[usize::try_from(now / MINUTE).unwrap()] += 1;
        (Outcome::Unchanged, quiet())
    });
    for (source, looks) in looks.iter().enumerate() {
        assert!(looks[0] <= INTERVAL_MILLIS + 1_000, "{source}: {:?}", looks[0]);
        for pair in looks.windows(2) {
            let gap = pair[1] - pair[0];
            assert!(
                gap.abs_diff(INTERVAL_MILLIS) <= INTERVAL_MILLIS / 10,
                "{source}: {gap}"
            );
        }
    }
    let busiest = by_minute.iter().max().unwrap();
    assert!(*busiest < 10_000 / 15 * 5 / 4, "{busiest} in one minute");
}

#[test]
fn a_host_is_never_asked_more_than_its_budget_and_the_rest_is_late() {
    // Twice as many as 1,200 a minute can do.
    let (mut plan, host) = planned(36_000, 1);
    let mut starts = Vec::new();
    run(&mut plan, &host, (0, HOUR), 10, |_, now| {
        starts.push(now);
        (Outcome::Unchanged, quiet())
    });
    let most = starts
        .iter()
        .enumerate()
        .map(|(i, from)| starts[i..].partition_point(|at| *at < from + MINUTE));
    let most = most.max().unwrap();
    assert!(most <= 1_200 + 21, "{most}");
    assert!(starts.len() > 1_150 * 60, "{}", starts.len());
    assert!(plan.hosts().next().unwrap().lag(HOUR) > MINUTE);
}

#[test]
fn a_silent_host_is_tried_ever_more_rarely_and_holds_up_no_other() {
    let (mut plan, host) = planned(2_000, 2);
    let mut tries = Vec::new();
    let mut others = 0;
    run(&mut plan, &host, (0, 2 * HOUR), 100, |id, now| {
        if host(id) == "r1.test" {
            others += 1;
            return (Outcome::Unchanged, quiet());
        }
        tries.push(now);
        match now < HOUR {
            true => (Outcome::Failed(FailureKind::Unavailable), quiet()),
            false => (Outcome::Unchanged, quiet()),
        }
    });
    let during = tries.iter().filter(|at| **at < HOUR).count();
    assert!(during < 100, "{during} tries of a host that is away");
    assert!(others >= 7_000, "{others}");
    let after: Vec<_> = tries.iter().filter(|at| **at >= HOUR).collect();
    assert!(*after[0] < HOUR + 2 * MINUTE, "it is found again");
    let caught_up = after.iter().filter(|at| ***at < HOUR + INTERVAL_MILLIS).count();
    assert!(caught_up >= 1_000, "{caught_up} within an interval");
    for (i, from) in after.iter().enumerate() {
        let in_a_minute = after[i..].partition_point(|at| **at < **from + MINUTE);
        assert!(in_a_minute <= 1_221, "no storm: {in_a_minute}");
    }
}

#[test]
fn a_host_that_refuses_is_left_alone_for_as_long_as_it_says() {
    let (mut plan, host) = planned(200, 1);
    let wait = Duration::from_secs(1_800);
    let refusal = HostFeedback {
        is_refusal: true,
        retry_after: Some(wait),
        quota: None,
    };
    let mut looks = Vec::new();
    run(&mut plan, &host, (0, HOUR), 10, |_, now| {
        looks.push(now);
        match looks.len() {
            1 => (Outcome::RateLimited, refusal),
            _ => (Outcome::Unchanged, quiet()),
        }
    });
    assert!(looks[1] >= looks[0] + millis(wait), "{} {}", looks[0], looks[1]);
    let throttled = |at| plan.hosts().next().unwrap().throttled(at);
    assert_eq!(throttled(HOUR), None);
}

#[test]
fn content_is_not_asked_for_where_none_is_left_while_looks_go_on() {
    let (mut plan, host) = planned(1, 1);
    let name = host(SourceId(0));
    let look = plan.start(plan.next_start().unwrap()).unwrap();
    let quota = imagestream_registry::Quota {
        limit: Some(100),
        remaining: 0,
        window: Some(Duration::from_secs(21_600)),
        reset: None,
    };
    let feedback = HostFeedback {
        quota: Some(quota),
        ..quiet()
    };
    plan.ended(look, &name, Outcome::Unchanged, feedback, 1, HOUR);
    assert!(!plan.may_fetch(&name, HOUR + MINUTE) && plan.may_fetch(&name, 2 * HOUR));
    assert!(plan.may_fetch("other.test", HOUR));
    assert!(plan.next_start().unwrap() <= HOUR + INTERVAL_MILLIS);
    assert_eq!(
        plan.hosts().next().unwrap().throttled(HOUR).unwrap().why,
        Why::RateLimited
    );
}

#[test]
fn who_is_poked_is_looked_at_soon_but_not_each_time() {
    let (mut plan, host) = planned(1, 1);
    let id = SourceId(0);
    plan.poke(id, 1_000);
    let look = plan.start(1_000).unwrap();
    // While it is looked at, and ever again afterwards.
    plan.poke(id, 1_100);
    plan.ended(look, &host(id), Outcome::Unchanged, quiet(), 0, 1_200);
    for now in 1_300..2_000 {
        plan.poke(id, now);
        assert_eq!(plan.start(now), None);
    }
    assert!(plan.next_start().unwrap() <= 1_200 + LEAST_GAP);
}

#[test]
fn what_is_not_planned_any_more_is_not_looked_at_and_its_number_may_be_used_again() {
    let (mut plan, host) = planned(1, 1);
    let id = SourceId(0);
    let look = plan.start(DAY).unwrap();
    plan.remove(id);
    assert_eq!((plan.next_start(), plan.hosts().count()), (None, 0));
    plan.set(id, "other.test", INTERVAL, 0, DAY);
    let other = plan.start(2 * DAY).unwrap();
    assert_ne!(other, look);
    assert!(!plan.ended(look, &host(id), Outcome::Unchanged, quiet(), 0, 2 * DAY));
    assert!(plan.ended(other, "other.test", Outcome::Unchanged, quiet(), 0, 2 * DAY));
}

#[test]
fn another_interval_counts_at_once_and_not_below_the_minimum() {
    let mut plan = Plan::new(rules());
    let id = SourceId(0);
    plan.set(id, "r.test", Duration::from_secs(DAY / 1_000), DAY - 1, 0);
    plan.set_interval(id, Duration::from_secs(1), 10_000);
    assert!(plan.due(id).unwrap() <= 10_000 + MINUTE);
    let look = plan.start(MINUTE * 2).unwrap();
    plan.ended(look, "r.test", Outcome::Unchanged, quiet(), 0, MINUTE * 2);
    assert!(plan.due(id).unwrap() >= MINUTE * 2 + MINUTE / 2);
}
