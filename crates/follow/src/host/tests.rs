use super::*;

const INTERVAL: Duration = Duration::from_secs(15 * 60);

#[test]
fn no_minute_holds_more_checks_than_are_allowed_and_a_busy_one_hardly_less() {
    for per_minute in [1_u32, 7, 60, 1_000, 6_000, 180_000] {
        let mut pace = Pace::new(per_minute);
        let (mut now, mut begun) = (Millis(1_000_000), Vec::new());
        while now.0 < 1_180_000 {
            if pace.at() <= now {
                pace.take(now);
                begun.push(now.0);
            } else {
                now = pace.at();
            }
        }
        let mut first = 0;
        for (last, at) in begun.iter().enumerate() {
            while begun[first] + 60_000 <= *at {
                first += 1;
            }
            assert!(last - first < per_minute as usize, "{per_minute} a minute");
        }
        assert!(
            begun.len() * 10 >= 29 * per_minute as usize,
            "{} of 3 * {per_minute}",
            begun.len()
        );
    }
}

#[test]
fn the_last_minute_forgets_what_is_older() {
    let mut minute = LastMinute::default();
    for second in 0..120 {
        minute.count(Millis(1_000_000 + second * 1000));
    }
    let seen = minute.total(Millis(1_120_000));
    assert!((54..=60).contains(&seen), "{seen}");
    assert_eq!(minute.total(Millis(1_300_000)), 0);
}

#[test]
fn what_has_moved_is_fetched_before_what_only_may_have() {
    let mut host = Host::new("h", &HostBudget::default());
    for (id, is_unsure) in [(1, true), (2, false), (3, true), (4, false)] {
        host.queue_moved(id, is_unsure, false);
    }
    // It was refused, and goes on where it was.
    host.queue_moved(5, true, true);
    host.drop_moved(3);
    assert_eq!(host.moved(), 4);
    let order: Vec<u32> = std::iter::from_fn(|| host.take_moved()).collect();
    assert_eq!(order, [2, 4, 5, 1]);
}

#[test]
fn a_host_that_cannot_be_reached_is_paused_from_the_third_time_on_and_not_after_it_answers() {
    let mut host = Host::new("h", &HostBudget::default());
    for _ in 0..2 {
        host.not_reached(INTERVAL, Millis(1000));
        assert_eq!(host.throttled(Millis(1000)), None);
    }
    host.not_reached(INTERVAL, Millis(1000));
    assert_eq!(
        host.throttled(Millis(1000)),
        Some((Millis(16_000), Why::Unreachable))
    );
    // Others that were under way.
    host.not_reached(INTERVAL, Millis(1001));
    assert_eq!(
        host.throttled(Millis(1001)),
        Some((Millis(16_000), Why::Unreachable))
    );
    // Its pause is over, and nobody knows yet whether it answers.
    assert_eq!(
        host.throttled(Millis(17_500)),
        Some((Millis(17_500), Why::Unreachable))
    );
    host.not_reached(INTERVAL, Millis(16_000));
    assert_eq!(
        host.throttled(Millis(16_000)),
        Some((Millis(46_000), Why::Unreachable))
    );
    host.reached(Millis(16_001));
    assert_eq!(host.throttled(Millis(16_001)), None);
}

#[test]
fn a_host_that_cannot_be_reached_is_tried_several_times_in_an_interval() {
    for (interval, longest) in [
        (INTERVAL, LONGEST_PAUSE.as_secs()),
        (Duration::from_secs(90), 30),
        (Duration::from_secs(15), 5),
        (Duration::from_secs(1), 1),
    ] {
        let mut host = Host::new("h", &HostBudget::default());
        let mut now = Millis(1000);
        for _ in 0..20 {
            host.not_reached(interval, now);
            now = host.throttled(now).map_or(now, |(until, _)| until);
        }
        host.not_reached(interval, now);
        let until = now.after(Duration::from_secs(longest));
        assert_eq!(
            host.throttled(now),
            Some((until, Why::Unreachable)),
            "{interval:?}"
        );
    }
}

#[test]
fn a_refusal_lasts_as_long_as_the_host_says_or_ever_longer() {
    let mut host = Host::new("h", &HostBudget::default());
    host.refused(Some(Duration::from_secs(77)), Millis(0));
    assert_eq!(host.throttled(Millis(1)), Some((Millis(77_000), Why::Refused)));
    // An answer to what was asked before changes nothing.
    host.reached(Millis(2));
    assert_eq!(host.throttled(Millis(2)), Some((Millis(77_000), Why::Refused)));
    host.reached(Millis(77_000));
    let mut until = Millis(77_000);
    for expected in [5, 10, 20] {
        host.refused(None, until);
        until = until.after(Duration::from_secs(expected));
        assert_eq!(host.throttled(Millis(until.0 - 1)), Some((until, Why::Refused)));
    }
}
