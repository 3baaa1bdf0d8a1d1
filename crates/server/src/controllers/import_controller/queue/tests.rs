use serde_json::{Value, json};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn pace() -> Pace {
    Pace {
        quiet_period: 5 * SECOND,
        delays: Delays::default(),
        schedule: Some(15 * 60 * SECOND),
    }
}

/// A stream at a version, with one tag for each of these sources.
fn stream(version: u64, tags: &[&str]) -> ImageStream {
    let tag = |from: &&str| json!({"name": from, "generation": version, "from": {"kind": "DockerImage", "name": format!("r.test/{from}")}});
    let tags: Vec<Value> = tags.iter().map(tag).collect();
    serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "n", "resourceVersion": version.to_string(), "generation": version},
        "spec": {"tags": tags},
    }))
    .unwrap()
}

fn key() -> StreamKey {
    StreamKey::of(&stream(1, &[]))
}

/// All hosts have a place.
fn anywhere(_: &str) -> bool {
    true
}

/// How a registry answers.
#[derive(Clone, Copy)]
enum Answer {
    Success,
    Failure(&'static str, &'static str),
}

const NOT_FOUND: Answer = Answer::Failure("NotFound", "not found");

/// What an import of these sources of a stream ends with: the stream as it is recorded at the next version.
fn import(stream: &ImageStream, sources: &BTreeSet<Source>, answer: Answer) -> ImageStreamImport {
    let mut import = super::super::request::request(stream, sources, false).unwrap();
    let mut recorded = stream.clone();
    let version = revision(stream) + 1;
    let mut is_changed = false;
    for image in &import.spec.images {
        let tag = image.to.as_ref().unwrap().name.clone();
        let history = recorded.status.tags.entry(tag.clone()).or_default();
        let result = match answer {
            Answer::Success => {
                is_changed = true;
                history.conditions.clear();
                let item = json!({"image": "sha256:a", "generation": version});
                history.items.insert(0, serde_json::from_value(item).unwrap());
                status::success()
            }
            Answer::Failure(reason, message) => {
                if history
                    .conditions
                    .first()
                    .is_none_or(|known| known.message != message)
                {
                    is_changed = true;
                    let condition = json!({"type": "ImportSuccess", "status": "False", "reason": reason,
                                           "message": message, "generation": version});
                    history.conditions = vec![serde_json::from_value(condition).unwrap()];
                    recorded.spec.tags.get_mut(&tag).unwrap().generation = Some(version as i64);
                }
                status::failure(500, reason, message)
            }
        };
        import
            .status
            .images
            .push(imagestream_api::types::ImageImportStatus {
                status: result,
                ..Default::default()
            });
    }
    if is_changed {
        recorded.metadata.resource_version = Some(version.to_string());
        recorded.metadata.generation = Some(version as i64);
    }
    import.status.import = Some(recorded);
    import
}

/// Lets time pass until the queue's next stream is due, at most until `end`. When, and which sources of it.
fn next(queue: &mut Queue, stream: &ImageStream, end: Instant) -> Option<(Instant, BTreeSet<Source>)> {
    let due = queue.next_due().filter(|due| *due < end)?;
    assert_eq!(queue.start(due, anywhere), Some(key()));
    assert_eq!(queue.start(due, anywhere), None, "a stream is in the queue once");
    let chosen = queue.choose(&key(), &Wants::of(stream), due);
    Some((due, chosen))
}

/// Imports what is due until `end`, which nobody else disturbs. How often.
fn follow(queue: &mut Queue, stream: &mut ImageStream, answer: Answer, end: Instant) -> usize {
    let mut imports = 0;
    while let Some((now, sources)) = next(queue, stream, end) {
        imports += 1;
        let import = import(stream, &sources, answer);
        *stream = import.status.import.clone().unwrap();
        queue.ended(&key(), Some(&Ok(import)), |_| None, now);
        queue.see(&key(), stream, News::Again, now);
        // The watch tells of what was recorded, too.
        queue.see(&key(), stream, News::Written, now);
    }
    imports
}

fn queue_with(stream: &ImageStream, news: News, now: Instant) -> Queue {
    let mut queue = Queue::new(pace());
    queue.see(&key(), stream, news, now);
    queue
}

#[tokio::test]
async fn a_stream_is_imported_once_it_was_left_alone_for_a_quiet_period() {
    let begun = Instant::now();
    let mut queue = queue_with(&stream(1, &["a"]), News::Written, begun);
    queue.see(&key(), &stream(2, &["a", "b"]), News::Written, begun + 3 * SECOND);
    assert_eq!(queue.start(begun + 7 * SECOND, anywhere), None);
    let (due, sources) = next(&mut queue, &stream(2, &["a", "b"]), begun + HOUR).unwrap();
    assert_eq!(due, begun + 8 * SECOND);
    assert_eq!(sources.len(), 2);
}

#[tokio::test]
async fn a_client_s_own_import_comes_first() {
    let begun = Instant::now();
    let before = stream(1, &["a"]);
    let mut queue = queue_with(&before, News::Written, begun);
    let sources = BTreeSet::from([Source::Tag("a".into())]);
    let imported = import(&before, &sources, Answer::Success).status.import.unwrap();
    queue.see(&key(), &imported, News::Written, begun + 4 * SECOND);
    assert_eq!(queue.next_due(), None);
    assert!(
        queue.streams.is_empty(),
        "what has all that it wants is not remembered"
    );
}

#[tokio::test]
async fn a_stream_that_is_written_all_the_time_is_imported_after_a_minute() {
    let begun = Instant::now();
    let mut queue = Queue::new(pace());
    for second in 0..60 {
        let now = begun + second * SECOND;
        assert_eq!(queue.start(now, anywhere), None);
        queue.see(&key(), &stream(u64::from(second) + 1, &["a"]), News::Written, now);
    }
    assert_eq!(queue.start(begun + 60 * SECOND, anywhere), Some(key()));
}

#[tokio::test]
async fn a_source_that_fails_for_a_day_is_tried_ever_more_rarely_and_a_success_ends_it() {
    let begun = Instant::now();
    let mut stream = stream(1, &["a"]);
    let mut queue = queue_with(&stream, News::Written, begun);
    let tries = follow(&mut queue, &mut stream, NOT_FOUND, begun + 24 * HOUR);
    // 30 s doubled six times, then each 18 to 30 minutes.
    assert!((50..=90).contains(&tries), "{tries}");
    assert_eq!(revision(&stream), 2, "the same failure is written once");
    assert_eq!(
        follow(&mut queue, &mut stream, Answer::Success, begun + 48 * HOUR),
        1
    );
    assert!(queue.streams.is_empty());
}

#[tokio::test]
async fn a_failure_that_is_worded_anew_each_time_is_no_reason_to_be_less_patient() {
    let begun = Instant::now();
    let mut stream = stream(1, &["a"]);
    let mut queue = queue_with(&stream, News::Written, begun);
    const WORDS: [Answer; 2] = [NOT_FOUND, Answer::Failure("InternalError", "connection refused")];
    let mut tries = 0;
    while let Some((now, sources)) = next(&mut queue, &stream, begun + 24 * HOUR) {
        let import = import(&stream, &sources, WORDS[tries % 2]);
        tries += 1;
        stream = import.status.import.clone().unwrap();
        queue.ended(&key(), Some(&Ok(import)), |_| None, now);
        queue.see(&key(), &stream, News::Again, now);
        queue.see(&key(), &stream, News::Written, now);
    }
    assert!((50..=90).contains(&tries), "{tries}");
}

#[tokio::test]
async fn whoever_changes_what_a_failed_tag_wants_begins_anew_and_who_changes_something_else_does_not() {
    let begun = Instant::now();
    let mut failed = stream(1, &["a"]);
    let mut queue = queue_with(&failed, News::Written, begun);
    let later = begun + 6 * HOUR;
    follow(&mut queue, &mut failed, NOT_FOUND, later);
    let due = queue.next_due().unwrap();
    failed.metadata.resource_version = Some("10".into());
    queue.see(&key(), &failed, News::Written, later);
    assert_eq!(queue.next_due(), Some(due));
    // Its generation tells that it is wanted again.
    failed.spec.tags.get_mut("a").unwrap().generation = Some(11);
    failed.metadata.resource_version = Some("11".into());
    queue.see(&key(), &failed, News::Written, later);
    assert_eq!(queue.next_due(), Some(later + 5 * SECOND));
    let soon = later + 45 * SECOND;
    assert_eq!(follow(&mut queue, &mut failed, NOT_FOUND, soon), 2);
}

#[tokio::test]
async fn a_failure_that_was_there_before_this_server_is_tried_again_some_time_in_ten_minutes() {
    let begun = Instant::now();
    let sources = BTreeSet::from([Source::Tag("a".into())]);
    let failed = import(&stream(1, &["a"]), &sources, NOT_FOUND)
        .status
        .import
        .unwrap();
    let mut waits = BTreeSet::new();
    for number in 0..300 {
        let mut queue = Queue::new(pace());
        let mut key = key();
        key.name = format!("s{number}");
        queue.see(&key, &failed, News::Listed, begun);
        waits.insert(queue.next_due().unwrap() - begun);
    }
    assert!(*waits.first().unwrap() < 60 * SECOND && *waits.last().unwrap() > 540 * SECOND);
    assert!(*waits.last().unwrap() <= 600 * SECOND);
    let in_half_a_minute = waits.iter().filter(|wait| **wait < 30 * SECOND).count();
    assert!(in_half_a_minute < 45, "{in_half_a_minute} of 300");
}

#[tokio::test]
async fn a_rate_limited_source_waits_for_as_long_as_the_registry_asks() {
    let begun = Instant::now();
    let stream = stream(1, &["a"]);
    let mut queue = queue_with(&stream, News::Written, begun);
    let (now, sources) = next(&mut queue, &stream, begun + HOUR).unwrap();
    let answer = Answer::Failure("InternalError", "toomanyrequests: slow down");
    let import = import(&stream, &sources, answer);
    let recorded = import.status.import.clone().unwrap();
    let asked = |host: &str| (host == "r.test").then_some(6 * HOUR);
    queue.ended(&key(), Some(&Ok(import)), asked, now);
    queue.see(&key(), &recorded, News::Again, now);
    let due = queue.next_due().unwrap() - now;
    assert!(due >= 6 * HOUR && due <= 7 * HOUR, "{due:?}");
}

#[tokio::test]
async fn imports_that_fail_as_a_whole_are_repeated_ever_more_rarely_until_the_stream_asks_for_something_else()
{
    let begun = Instant::now();
    let stream = stream(1, &["a"]);
    let mut queue = queue_with(&stream, News::Written, begun);
    let conflict = || Err(Box::new(status::conflict("imagestreamimports", "s", "changed")));
    let mut tries = 0;
    while let Some((now, _)) = next(&mut queue, &stream, begun + HOUR) {
        tries += 1;
        queue.ended(&key(), Some(&conflict()), |_| None, now);
        queue.see(&key(), &stream, News::Again, now);
    }
    assert!((14..=19).contains(&tries), "{tries}");
    let due = queue.next_due().unwrap();
    assert!(due > begun + HOUR);
    // A label is not what was wrong with it.
    let mut labelled = stream.clone();
    labelled.metadata.resource_version = Some("2".into());
    queue.see(&key(), &labelled, News::Written, begun + HOUR);
    assert_eq!(queue.next_due(), Some(due));
    let changed = super::tests::stream(3, &["a"]);
    queue.see(&key(), &changed, News::Written, begun + HOUR);
    assert_eq!(queue.next_due(), Some(begun + HOUR + 5 * SECOND));
}

#[tokio::test]
async fn a_stream_that_is_written_all_the_time_is_not_tried_again_sooner_when_its_imports_fail_as_a_whole() {
    let begun = Instant::now();
    let mut queue = queue_with(&stream(1, &["a"]), News::Written, begun);
    let refusal = || Err(Box::new(status::failure(422, "Invalid", "beyond a limit")));
    let mut tries = 0;
    for second in 1..3600 {
        let now = begun + second * SECOND;
        // Its spec changes each time.
        let stream = stream(u64::from(second) + 1, &["a"]);
        queue.see(&key(), &stream, News::Written, now);
        if queue.start(now, anywhere).is_some() {
            tries += 1;
            queue.ended(&key(), Some(&refusal()), |_| None, now);
            queue.see(&key(), &stream, News::Again, now);
        }
    }
    assert!((50..=60).contains(&tries), "{tries}");
}

#[tokio::test]
async fn a_stream_is_never_imported_twice_at_once_and_what_changed_meanwhile_is_seen_afterwards() {
    let begun = Instant::now();
    let first = stream(1, &["a"]);
    let mut queue = queue_with(&first, News::Written, begun);
    let (now, sources) = next(&mut queue, &first, begun + HOUR).unwrap();
    let second = stream(2, &["b"]);
    queue.see(&key(), &second, News::Written, now + SECOND);
    queue.see(&key(), &second, News::Listed, now + SECOND);
    assert_eq!(queue.start(now + HOUR, anywhere), None);
    assert!(!queue.is_current(&key(), &second));
    let import = import(&first, &sources, Answer::Success);
    queue.ended(&key(), Some(&Ok(import)), |_| None, now + 2 * SECOND);
    queue.see(&key(), &second, News::Again, now + 2 * SECOND);
    let (due, sources) = next(&mut queue, &second, begun + HOUR).unwrap();
    assert_eq!(due, now + 6 * SECOND, "quiet since it was written");
    assert_eq!(sources, BTreeSet::from([Source::Tag("b".into())]));
    // One that is deleted meanwhile is forgotten when its import has ended.
    queue.forget(&key());
    assert!(!queue.streams.is_empty());
    queue.ended(&key(), None, |_| None, due);
    queue.forget(&key());
    assert!(queue.streams.is_empty() && queue.due.is_empty());
}

#[tokio::test]
async fn what_is_gone_when_all_streams_are_listed_anew_is_forgotten() {
    let begun = Instant::now();
    let mut queue = queue_with(&stream(1, &["a"]), News::Listed, begun);
    queue.retain(&BTreeSet::from([key()]));
    assert!(queue.next_due().is_some());
    queue.retain(&BTreeSet::new());
    assert_eq!(queue.next_due(), None);
}

#[tokio::test]
async fn a_new_secret_lets_what_was_refused_be_tried_again_and_nothing_else() {
    let begun = Instant::now();
    for (answer, is_sooner) in [
        (Answer::Failure("Unauthorized", "no entry"), true),
        (
            Answer::Failure("InternalError", "toomanyrequests: slow down"),
            true,
        ),
        (NOT_FOUND, false),
    ] {
        let mut stream = stream(1, &["a"]);
        let mut queue = queue_with(&stream, News::Written, begun);
        follow(&mut queue, &mut stream, answer, begun + 6 * HOUR);
        let due = queue.next_due().unwrap();
        // A minute before it would be tried again.
        let later = due - 60 * SECOND;

        assert_eq!(queue.secrets_changed("other", later), []);
        let changed = queue.secrets_changed("n", later);
        assert_eq!(changed.len(), usize::from(is_sooner));
        queue.see(&key(), &stream, News::Again, later);
        let expected = if is_sooner { later + 5 * SECOND } else { due };
        assert_eq!(queue.next_due(), Some(expected));
    }
}

#[tokio::test]
async fn a_scheduled_tag_that_failed_is_left_to_the_schedule_if_there_is_one() {
    let begun = Instant::now();
    for (schedule, least) in [(Some(15 * 60 * SECOND), 1), (None, 50)] {
        let mut stream = stream(1, &["a"]);
        stream.spec.tags.get_mut("a").unwrap().import_policy.scheduled = true;
        let mut queue = Queue::new(Pace { schedule, ..pace() });
        queue.see(&key(), &stream, News::Written, begun);
        let tries = follow(&mut queue, &mut stream, NOT_FOUND, begun + 24 * HOUR);
        assert!((least..=least * 2 - 1).contains(&tries), "{tries}");
        assert_eq!(queue.streams.is_empty(), schedule.is_some());
    }
}

fn named(name: &str) -> StreamKey {
    StreamKey {
        name: name.into(),
        ..key()
    }
}

#[tokio::test]
async fn streams_that_wait_for_a_host_cost_nothing_and_go_in_turn_when_it_has_a_place() {
    let begun = Instant::now();
    let mut queue = Queue::new(pace());
    for (number, name) in (0..).zip(["a", "b", "c"]) {
        queue.see(
            &named(name),
            &stream(1, &["t"]),
            News::Written,
            begun + number * SECOND,
        );
    }
    let now = begun + HOUR;
    let busy = || Obstacle::BusyHost("r.test".into());
    let other = |host: &str| host != "r.test";
    for name in ["a", "b", "c"] {
        assert_eq!(queue.start(now, other), Some(named(name)));
        queue.park(&named(name), busy());
    }
    assert_eq!((queue.next_due(), queue.start(now, other)), (None, None));
    assert_eq!(queue.start(now, anywhere), Some(named("a")));
    queue.park(&named("a"), busy());
    assert_eq!(queue.start(now, anywhere), Some(named("a")), "it keeps its turn");

    // One that became due before is first even if it does not have to wait; one that became due later is not.
    queue.see(&named("d"), &stream(1, &["t"]), News::Written, begun);
    queue.see(
        &named("e"),
        &stream(1, &["t"]),
        News::Written,
        begun + 60 * SECOND,
    );
    for name in ["d", "b", "c", "e"] {
        assert_eq!(queue.start(now, anywhere), Some(named(name)));
    }
    assert_eq!(queue.start(now, anywhere), None);
    assert!(queue.parked.is_empty());
}

#[tokio::test]
async fn a_stream_that_is_put_off_is_due_then_and_whoever_writes_it_has_it_looked_at_before() {
    let begun = Instant::now();
    let mut queue = queue_with(&stream(1, &["a"]), News::Written, begun);
    let (now, _) = next(&mut queue, &stream(1, &["a"]), begun + HOUR).unwrap();
    queue.put_off(&key(), now + HOUR);
    assert_eq!(queue.start(now + HOUR - SECOND, anywhere), None);
    assert_eq!(queue.next_due(), Some(now + HOUR));
    queue.see(&key(), &stream(2, &["a", "b"]), News::Written, now + SECOND);
    assert_eq!(queue.next_due(), Some(now + 6 * SECOND));
    assert_eq!(queue.start(now + HOUR, anywhere), Some(key()));
    assert_eq!(queue.start(now + HOUR, anywhere), None, "it is in the queue once");
}

#[tokio::test]
async fn a_new_secret_has_a_stream_that_is_put_off_looked_at_after_a_quiet_period() {
    let begun = Instant::now();
    let stream = stream(1, &["a"]);
    let mut queue = queue_with(&stream, News::Written, begun);
    let (now, _) = next(&mut queue, &stream, begun + HOUR).unwrap();
    queue.put_off(&key(), now + HOUR);
    assert_eq!(queue.secrets_changed("other", now), []);
    assert_eq!(queue.secrets_changed("n", now), [key()]);
    queue.see(&key(), &stream, News::Again, now);
    assert_eq!(queue.next_due(), Some(now + 5 * SECOND));
    assert_eq!(queue.start(now + HOUR, anywhere), Some(key()));
    assert_eq!(queue.start(now + HOUR, anywhere), None, "it is in the queue once");
}

#[tokio::test]
async fn streams_that_wait_for_a_namespace_are_due_when_it_is_known() {
    let begun = Instant::now();
    let mut queue = queue_with(&stream(1, &["a"]), News::Written, begun);
    let (now, _) = next(&mut queue, &stream(1, &["a"]), begun + HOUR).unwrap();
    queue.park(&key(), Obstacle::UnknownNamespace("n".into()));
    queue.namespace_is_known("other");
    assert_eq!(
        (queue.next_due(), queue.start(now + HOUR, anywhere)),
        (None, None)
    );
    queue.namespace_is_known("n");
    assert_eq!(queue.start(now, anywhere), Some(key()));
}

#[tokio::test]
async fn whoever_writes_or_deletes_a_stream_that_waits_for_a_host_ends_the_wait() {
    let begun = Instant::now();
    let mut queue = queue_with(&stream(1, &["a"]), News::Written, begun);
    for is_written in [true, false] {
        next(&mut queue, &stream(1, &["a"]), begun + HOUR).unwrap();
        queue.park(&key(), Obstacle::BusyHost("r.test".into()));
        if is_written {
            queue.see(&key(), &stream(2, &["a"]), News::Written, begun + 10 * SECOND);
            assert_eq!(queue.next_due(), Some(begun + 15 * SECOND));
        } else {
            queue.forget(&key());
        }
        assert!(queue.parked.is_empty());
    }
    assert!(queue.streams.is_empty() && queue.due.is_empty());
}

#[tokio::test]
async fn what_was_refused_is_tried_within_minutes_when_a_secret_may_have_been_missed() {
    let begun = Instant::now();
    for (answer, is_sooner) in [
        (Answer::Failure("Unauthorized", "no entry"), true),
        (NOT_FOUND, false),
    ] {
        let mut stream = stream(1, &["a"]);
        let mut queue = queue_with(&stream, News::Written, begun);
        follow(&mut queue, &mut stream, answer, begun + 6 * HOUR);
        let due = queue.next_due().unwrap();
        let before = due - 15 * 60 * SECOND;
        queue.secrets_may_have_changed(before);
        queue.see(&key(), &stream, News::Listed, before);
        let waits = queue.next_due().unwrap() - before;
        assert_eq!(waits <= 10 * 60 * SECOND, is_sooner, "{waits:?}");
    }
}
