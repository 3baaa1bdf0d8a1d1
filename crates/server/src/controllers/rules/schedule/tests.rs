use serde_json::json;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn key(name: &str) -> StreamKey {
    StreamKey {
        namespace: "n".into(),
        name: name.into(),
    }
}

fn stream(rules: &str, has_followed: bool) -> ImageStream {
    let annotations = if has_followed {
        json!({RULE_ANNOTATION: "a"})
    } else {
        json!({})
    };
    serde_json::from_value(json!({"metadata": {"annotations": {RULES_ANNOTATION: rules}},
                                  "spec": {"tags": [{"name": "t", "annotations": annotations}]}}))
    .unwrap()
}

/// One rule for a repository.
fn one(repository: &str) -> ImageStream {
    stream(
        &format!("[{{repository: {repository}, match: {{glob: '*'}}}}]"),
        false,
    )
}

const TWO: &str = "[{name: a, repository: q.test/a, match: {glob: '*'}}, \
                    {name: b, repository: q.test/b, match: {glob: '*'}, interval: 1m}]";

fn schedule() -> (Schedule, Instant) {
    let pace = Pace {
        interval: 15 * MINUTE,
        minimum_interval: 2 * MINUTE,
    };
    (Schedule::new(pace), Instant::now())
}

/// All that is due now, in a word each.
fn started(schedule: &mut Schedule, now: Instant) -> (Vec<String>, Vec<Work>) {
    let begun: Vec<Work> = std::iter::from_fn(|| schedule.start(now)).collect();
    let words = begun.iter().map(|work| match work {
        Work::List(repository, followers) => {
            let streams: Vec<&str> = followers.keys().map(|key| key.name.as_str()).collect();
            format!("{} for {}", repository.name, streams.join(" "))
        }
        Work::Tell(key, _) => format!("tell {}", key.name),
    });
    (words.collect(), begun)
}

/// Does all that is due now.
fn done(schedule: &mut Schedule, now: Instant) -> Vec<String> {
    let (words, begun) = started(schedule, now);
    for work in begun {
        schedule.ended(&work, Done::Fully, now);
    }
    words
}

#[tokio::test(start_paused = true)]
async fn new_rules_are_due_at_once_and_then_once_in_their_interval_but_not_below_the_minimum() {
    let (mut schedule, now) = schedule();
    schedule.see(&key("s"), &stream(TWO, false), Seen::Changed, now);
    let (words, begun) = started(&mut schedule, now);
    assert_eq!(words, ["q.test/a for s", "q.test/b for s"]);
    assert_eq!(schedule.next_due(), None, "one list of a repository at a time");
    for work in begun {
        schedule.ended(&work, Done::Fully, now);
    }
    assert_eq!(schedule.next_due(), Some(now + 2 * MINUTE));
    assert_eq!(done(&mut schedule, now + MINUTE), [""; 0]);
    assert_eq!(done(&mut schedule, now + 2 * MINUTE), ["q.test/b for s"]);
    assert_eq!(done(&mut schedule, now + 15 * MINUTE).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_repository_is_listed_once_for_all_streams_as_often_as_one_of_them_wants() {
    let (mut schedule, now) = schedule();
    let often = stream(
        "[{repository: q.test/a, match: {glob: '*'}, interval: 5m}]",
        false,
    );
    schedule.see(&key("one"), &one("q.test/a"), Seen::Changed, now);
    schedule.see(&key("two"), &often, Seen::Changed, now);
    assert_eq!(done(&mut schedule, now), ["q.test/a for one two"]);
    assert_eq!(schedule.next_due(), Some(now + 5 * MINUTE));
    schedule.forget(&key("two"), now + MINUTE);
    assert_eq!(done(&mut schedule, now + 5 * MINUTE), ["q.test/a for one"]);
    assert_eq!(schedule.next_due(), Some(now + 20 * MINUTE));
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_something_else_changes_nothing_and_one_of_the_rules_counts_soon() {
    let (mut schedule, now) = schedule();
    schedule.see(&key("s"), &stream(TWO, false), Seen::Changed, now);
    let (_, begun) = started(&mut schedule, now);
    schedule.see(&key("s"), &stream(TWO, true), Seen::Changed, now);
    assert_eq!(done(&mut schedule, now), [""; 0], "its own edit");
    schedule.see(&key("s"), &one("q.test/c"), Seen::Changed, now + 20 * SECOND);
    assert_eq!(done(&mut schedule, now + 20 * SECOND), ["q.test/c for s"]);
    for work in begun {
        schedule.ended(&work, Done::Fully, now + 20 * SECOND);
    }
    schedule.forget(&key("s"), now + 20 * SECOND);
    assert_eq!(done(&mut schedule, now + MINUTE), [""; 0]);
    assert_eq!(schedule.next_due(), None);
    assert!(schedule.streams.is_empty() && schedule.repositories.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_the_rules_of_what_is_being_listed_has_it_listed_again() {
    let (mut schedule, now) = schedule();
    schedule.see(&key("s"), &one("q.test/a"), Seen::Changed, now);
    let (_, begun) = started(&mut schedule, now);
    let other = stream("[{repository: q.test/a, match: {glob: 'x'}}]", false);
    schedule.see(&key("s"), &other, Seen::Changed, now + SECOND);
    schedule.ended(&begun[0], Done::Fully, now + 2 * SECOND);
    assert_eq!(schedule.next_due(), Some(now + LEAST_GAP));
}

#[tokio::test(start_paused = true)]
async fn edits_in_a_loop_have_nothing_listed_more_often_than_the_least_gap() {
    let (mut schedule, begun) = schedule();
    let (mut lists, mut told) = (0, 0);
    for second in 0..100 {
        let now = begun + second * SECOND;
        // Another repository each time, and now and then what is no rule at all.
        let edited = match second % 3 {
            0 => stream(&format!("{{{second}"), false),
            _ => one(&format!("q.test/a{second}")),
        };
        schedule.see(&key("s"), &edited, Seen::Changed, now);
        for word in done(&mut schedule, now) {
            match word.starts_with("tell") {
                true => told += 1,
                false => lists += 1,
            }
        }
    }
    assert!((9..=11).contains(&(lists + told)), "{lists} {told}");
    // The last edit counts.
    let end = begun + 120 * SECOND;
    assert_eq!(done(&mut schedule, end).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_deleted_and_made_again_has_nothing_listed_more_often_than_the_least_gap() {
    let (mut schedule, begun) = schedule();
    let mut lists = 0;
    for second in 0..100 {
        let now = begun + second * SECOND;
        schedule.see(&key("s"), &one("q.test/a"), Seen::Changed, now);
        lists += done(&mut schedule, now).len();
        schedule.forget(&key("s"), now);
        lists += done(&mut schedule, now).len();
        // Nor does a stream of another name.
        schedule.see(&key(&format!("s{second}")), &one("q.test/a"), Seen::Changed, now);
        lists += done(&mut schedule, now).len();
        schedule.forget(&key(&format!("s{second}")), now);
    }
    assert_eq!(lists, 10);
    assert!(schedule.streams.len() < 20, "{}", schedule.streams.len());
}

#[tokio::test(start_paused = true)]
async fn when_a_server_starts_rules_that_were_followed_before_are_due_within_their_interval() {
    let (mut schedule, now) = schedule();
    for number in 0..100 {
        let rules = format!("[{{repository: q.test/a{number}, match: {{glob: '*'}}}}]");
        let seen = stream(&rules, true);
        schedule.see(&key(&format!("s{number}")), &seen, Seen::Listed, now);
    }
    schedule.see(&key("new"), &one("q.test/new"), Seen::Listed, now);
    assert_eq!(
        schedule.start(now).map(|work| matches!(work, Work::List(..))),
        Some(true)
    );
    let within = |from: Duration, to: Duration| {
        let due = schedule.order.iter().map(|(due, _)| *due - now);
        due.filter(|due| (from..to).contains(due)).count()
    };
    assert_eq!(within(Duration::ZERO, 15 * MINUTE), 100);
    assert!(within(Duration::ZERO, 7 * MINUTE) > 20 && within(8 * MINUTE, 15 * MINUTE) > 20);
}

#[tokio::test(start_paused = true)]
async fn a_push_makes_a_repository_due_but_a_flood_of_them_not_more_often() {
    let (mut schedule, now) = schedule();
    schedule.see(&key("s"), &stream(TWO, false), Seen::Changed, now);
    done(&mut schedule, now);
    let pushed = ImageReference::parse("q.test/a:new").unwrap();
    for _ in 0..3 {
        schedule.poke(&repository(&pushed), now + SECOND);
    }
    assert_eq!(schedule.next_due(), Some(now + LEAST_GAP));
    let (words, begun) = started(&mut schedule, now + LEAST_GAP);
    assert_eq!(words, ["q.test/a for s"]);
    // What is pushed while the repository is listed is not missed.
    schedule.poke("q.test/a", now + LEAST_GAP);
    schedule.ended(&begun[0], Done::Fully, now + LEAST_GAP);
    assert_eq!(schedule.next_due(), Some(now + 2 * LEAST_GAP));
    schedule.poke("q.test/unknown", now + LEAST_GAP);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_has_enough_to_do_keeps_no_other_waiting() {
    let (mut schedule, now) = schedule();
    for number in 0..20 {
        let seen = one(&format!("slow.test/a{number}"));
        schedule.see(&key(&format!("slow{number}")), &seen, Seen::Changed, now);
    }
    schedule.see(&key("z"), &one("z.test/a"), Seen::Changed, now);
    let (words, begun) = started(&mut schedule, now);
    assert_eq!(
        (words.len(), words.last().map(String::as_str)),
        (AT_ONCE_PER_HOST + 1, Some("z.test/a for z")),
        "{words:?}"
    );
    assert_eq!(schedule.next_due(), Some(now + CROWDED));
    for work in &begun {
        schedule.ended(work, Done::Fully, now);
    }
    assert!(schedule.at_work.is_empty());
    assert_eq!(started(&mut schedule, now + CROWDED).0.len(), AT_ONCE_PER_HOST);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_wants_to_be_left_alone_is_not_asked_before_whatever_happens() {
    let (mut schedule, now) = schedule();
    schedule.see(&key("s"), &one("q.test/a"), Seen::Changed, now);
    let (_, begun) = started(&mut schedule, now);
    let until = now + 5 * MINUTE;
    schedule.ended(&begun[0], Done::LeftAlone(until), now);
    schedule.poke("q.test/a", now + MINUTE);
    schedule.see(&key("t"), &one("q.test/a"), Seen::Changed, now + MINUTE);
    assert_eq!(schedule.next_due(), Some(until));
    let hosts = schedule.host_reports(now + MINUTE);
    assert_eq!(hosts["q.test"].left_alone_until, Some(until));
    assert_eq!(done(&mut schedule, until), ["q.test/a for s t"]);
    assert_eq!(schedule.host_reports(until)["q.test"].left_alone_until, None);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_done_is_tried_again_ever_more_rarely() {
    let (mut schedule, now) = schedule();
    schedule.see(&key("s"), &one("q.test/a"), Seen::Changed, now);
    let (mut at, mut pauses) = (now, Vec::new());
    for _ in 0..6 {
        let (_, begun) = started(&mut schedule, at);
        schedule.ended(&begun[0], Done::Partly, at);
        let next = schedule.next_due().unwrap();
        pauses.push((next - at).as_secs() / 60);
        at = next;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 15, 15]);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_is_told_once() {
    let (mut schedule, now) = schedule();
    schedule.see(&key("s"), &stream("{", false), Seen::Changed, now);
    let (words, begun) = started(&mut schedule, now);
    assert_eq!(words, ["tell s"]);
    schedule.ended(&begun[0], Done::Partly, now);
    assert_eq!(schedule.next_due(), Some(now + PAUSE));
    assert_eq!(done(&mut schedule, now + PAUSE), ["tell s"]);
    assert_eq!(schedule.next_due(), None);
    let mut without_rules = stream("{", false);
    without_rules.metadata.annotations = Some([(PROBLEMS_ANNOTATION.to_owned(), "{}".to_owned())].into());
    schedule.see(&key("s"), &without_rules, Seen::Changed, now + 2 * PAUSE);
    assert_eq!(
        done(&mut schedule, now + 2 * PAUSE),
        ["tell s"],
        "what was wrong is to be forgotten"
    );
}

#[tokio::test(start_paused = true)]
async fn how_it_goes_is_known_for_each_stream() {
    let (mut schedule, now) = schedule();
    schedule.see(&key("s"), &stream(TWO, false), Seen::Changed, now);
    schedule.see(&key("gone"), &one("q.test/a"), Seen::Changed, now);
    schedule.forget(&key("gone"), now);
    let first = schedule.stream_report(&key("s"), now).unwrap();
    assert_eq!(
        (first.rules, first.last_check, first.next_check),
        (2, None, Some(now))
    );
    done(&mut schedule, now);
    let then = schedule.stream_report(&key("s"), now).unwrap();
    assert_eq!(
        (then.last_check, then.next_check),
        (Some(now), Some(now + 2 * MINUTE))
    );
    assert_eq!(schedule.stream_report(&key("gone"), now), None);
    let from = schedule.streams_from(Bound::Unbounded);
    assert_eq!(from.collect::<Vec<_>>(), [&key("s")]);
    assert_eq!(schedule.count(), 1);
}
