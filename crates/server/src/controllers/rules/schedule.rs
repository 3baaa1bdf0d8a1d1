//! When the rules of which stream are followed. Pure.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use imagestream_api::follow_rules::{PROBLEMS_ANNOTATION, RULE_ANNOTATION, RULES_ANNOTATION, Rule, rules};
use imagestream_api::reference::ImageReference;
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::ImageStream;
use tokio::time::Instant;

/// Shortest time between two lists for one rule, whatever is pushed.
const LEAST_GAP: Duration = Duration::from_secs(10);
/// Pause after rules could not be followed for a reason that is not theirs.
const PAUSE: Duration = Duration::from_secs(60);

/// Most streams whose rules are followed at once at one host, so that one that never answers keeps no other waiting.
const AT_ONCE_PER_HOST: usize = 8;
/// Pause before a stream is tried again whose hosts have enough to do.
const CROWDED: Duration = Duration::from_secs(1);

/// What the administrator decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// For rules that do not say.
    pub(super) interval: Duration,
    /// Shortest one that a rule may ask for.
    pub(super) minimum_interval: Duration,
}

/// How one learns of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is one of those that are there: its rules may have been followed a moment ago.
    Listed,
    /// It has changed.
    Changed,
}

/// Rules of one stream that are to be followed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) key: StreamKey,
    /// Their names; none if what is to be told is that they can't be read.
    pub(super) rules: BTreeSet<String>,
    /// Of the annotation that they stood in.
    version: u64,
    /// Where their repositories are.
    hosts: BTreeSet<String>,
}

/// The rules of one stream.
struct Entry {
    /// Tells one annotation from another.
    version: u64,
    rules: BTreeMap<String, Item>,
    /// Whether somebody is at it.
    is_under_way: bool,
    /// As it stands in the order of what is due.
    due: Option<Instant>,
}

struct Item {
    repository: String,
    interval: Duration,
    begun: Option<Instant>,
    due: Instant,
}

impl Item {
    fn host(&self) -> &str {
        self.repository.split('/').next().unwrap_or_default()
    }
}

/// The rules of all streams.
pub(super) struct Schedule {
    pace: Pace,
    entries: HashMap<StreamKey, Entry>,
    order: BTreeSet<(Instant, StreamKey)>,
    /// How many streams are at work at each host.
    at_work: HashMap<String, usize>,
}

impl Schedule {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            entries: HashMap::new(),
            order: BTreeSet::new(),
            at_work: HashMap::new(),
        }
    }

    /// Takes notice of the rules of a stream. New ones are due at once; in a list, at some moment of their interval, so
    /// that not all are when a server starts.
    pub(super) fn see(&mut self, key: &StreamKey, stream: &ImageStream, seen: Seen, now: Instant) {
        let annotations = stream.metadata.annotations.as_ref();
        let of = |name: &str| annotations.and_then(|annotations| annotations.get(name));
        // Without rules there is still to be forgotten what was wrong with them.
        let text = of(RULES_ANNOTATION).map(String::as_str);
        let text = text.or_else(|| of(PROBLEMS_ANNOTATION).map(|_| ""));
        let Some(text) = text.filter(|_| stream.metadata.deletion_timestamp.is_none()) else {
            return self.forget(key);
        };
        let version = hash(text);
        let before = self.entries.get(key);
        if before.is_some_and(|entry| entry.version == version) {
            return;
        }
        let is_under_way = before.is_some_and(|entry| entry.is_under_way);
        // Of a stream that was never seen nobody knows whether its rules were just written.
        let spread = seen == Seen::Listed && before.is_none() && has_followed(stream);
        let items = match rules(&stream.metadata) {
            Ok(rules) => rules
                .iter()
                .map(|rule| self.item(key, rule, spread, now))
                .collect(),
            Err(_) => BTreeMap::new(),
        };
        self.take_out(key);
        // Rules that can't be read are looked at once, for that to be told.
        let told = items.is_empty().then_some(now);
        let entry = Entry {
            version,
            rules: items,
            is_under_way,
            due: None,
        };
        self.entries.insert(key.clone(), entry);
        self.put_in(key, told);
    }

    fn item(&self, key: &StreamKey, rule: &Rule, spread: bool, now: Instant) -> (String, Item) {
        let interval = rule
            .interval
            .unwrap_or(self.pace.interval)
            .max(self.pace.minimum_interval);
        let phase = hash(&(&key.namespace, &key.name, &rule.name)) % 1_000;
        let wait = interval * u32::try_from(phase).unwrap_or_default() / 1_000;
        let item = Item {
            repository: repository(&rule.repository),
            interval,
            begun: None,
            due: if spread { now + wait } else { now },
        };
        (rule.name.clone(), item)
    }

    /// Forgets a stream.
    pub(super) fn forget(&mut self, key: &StreamKey) {
        self.take_out(key);
        self.entries.remove(key);
    }

    /// Forgets all streams but these.
    pub(super) fn retain(&mut self, keys: &BTreeSet<StreamKey>) {
        self.entries.retain(|key, _| keys.contains(key));
        self.order.retain(|(_, key)| keys.contains(key));
    }

    /// Something was pushed to a repository.
    pub(super) fn poke(&mut self, repository: &str, now: Instant) {
        let mut poked = Vec::new();
        for (key, entry) in &mut self.entries {
            let mut is_poked = false;
            for item in entry
                .rules
                .values_mut()
                .filter(|item| item.repository == repository)
            {
                let earliest = item.begun.map_or(now, |begun| now.max(begun + LEAST_GAP));
                item.due = item.due.min(earliest);
                is_poked = true;
            }
            if is_poked {
                poked.push(key.clone());
            }
        }
        for key in poked {
            self.take_out(&key);
            self.put_in(&key, None);
        }
    }

    /// When something is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.order.first().map(|(due, _)| *due)
    }

    /// What is due, if something is and its hosts have not enough to do. [`Schedule::ended`] must follow.
    pub(super) fn start(&mut self, now: Instant) -> Option<Due> {
        loop {
            let (due, key) = self.order.first().cloned()?;
            if due > now {
                return None;
            }
            self.take_out(&key);
            let entry = self.entries.get_mut(&key)?;
            let is_due = |item: &&mut Item| item.due <= now;
            let hosts: BTreeSet<String> = (entry.rules.values_mut().filter(is_due))
                .map(|item| item.host().to_owned())
                .collect();
            let is_crowded = |host: &String| self.at_work.get(host).is_some_and(|at| *at >= AT_ONCE_PER_HOST);
            if hosts.iter().any(is_crowded) {
                for item in entry.rules.values_mut().filter(is_due) {
                    item.due = now + CROWDED;
                }
                self.put_in(&key, None);
                continue;
            }
            for host in &hosts {
                *self.at_work.entry(host.clone()).or_default() += 1;
            }
            entry.is_under_way = true;
            let mut rules = BTreeSet::new();
            for (name, item) in entry.rules.iter_mut().filter(|(_, item)| item.due <= now) {
                item.begun = Some(now);
                item.due = now + item.interval;
                rules.insert(name.clone());
            }
            let version = entry.version;
            return Some(Due {
                key,
                rules,
                version,
                hosts,
            });
        }
    }

    /// Rules were followed, or could not be for a reason that is not theirs.
    pub(super) fn ended(&mut self, ended: &Due, is_followed: bool, now: Instant) {
        for host in &ended.hosts {
            if let Some(at) = self.at_work.get_mut(host) {
                *at -= 1;
                if *at == 0 {
                    self.at_work.remove(host);
                }
            }
        }
        let Some(entry) = self.entries.get_mut(&ended.key) else {
            return;
        };
        entry.is_under_way = false;
        let is_current = entry.version == ended.version;
        if !is_followed && is_current {
            for name in &ended.rules {
                if let Some(item) = entry.rules.get_mut(name) {
                    item.due = item.due.min(now + PAUSE);
                }
            }
        }
        // What can't be read has no rules: it is told when the annotation has changed, or could not be told.
        let again = if is_current { now + PAUSE } else { now };
        let is_told = is_followed && is_current;
        let told = (entry.rules.is_empty() && !is_told).then_some(again);
        self.put_in(&ended.key, told);
    }

    fn take_out(&mut self, key: &StreamKey) {
        if let Some(due) = self.entries.get_mut(key).and_then(|entry| entry.due.take()) {
            self.order.remove(&(due, key.clone()));
        }
    }

    /// Puts a stream where its first rule is due, or at `told` if it has none. One stream is in one pair of hands.
    fn put_in(&mut self, key: &StreamKey, told: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| !entry.is_under_way) else {
            return;
        };
        let due = entry.rules.values().map(|item| item.due).min().or(told);
        entry.due = due;
        if let Some(due) = due {
            self.order.insert((due, key.clone()));
        }
    }
}

/// The repository of a reference, the same for all spellings.
pub(super) fn repository(reference: &ImageReference) -> String {
    format!(
        "{}/{}",
        reference.contacted_host(),
        reference.defaulted().repository_name()
    )
}

/// Whether rules of a stream were followed before: then nobody waits for it now.
fn has_followed(stream: &ImageStream) -> bool {
    let has = |annotations: &Option<BTreeMap<String, String>>, name: &str| {
        annotations
            .as_ref()
            .is_some_and(|annotations| annotations.contains_key(name))
    };
    has(&stream.metadata.annotations, PROBLEMS_ANNOTATION)
        || stream
            .spec
            .tags
            .values()
            .any(|tag| has(&tag.annotations, RULE_ANNOTATION))
}

fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

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

    const TWO: &str = "[{name: a, repository: q.test/a, match: {glob: '*'}}, \
                        {name: b, repository: q.test/b, match: {glob: '*'}, interval: 1m}]";

    fn schedule() -> (Schedule, Instant) {
        let pace = Pace {
            interval: 15 * MINUTE,
            minimum_interval: 2 * MINUTE,
        };
        (Schedule::new(pace), Instant::now())
    }

    fn started(schedule: &mut Schedule, now: Instant) -> Vec<String> {
        schedule
            .start(now)
            .map(|due| Vec::from_iter(due.rules))
            .unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn new_rules_are_due_at_once_and_then_once_in_their_interval_but_not_below_the_minimum() {
        let (mut schedule, now) = schedule();
        schedule.see(&key("s"), &stream(TWO, false), Seen::Changed, now);
        let due = schedule.start(now).unwrap();
        assert_eq!(Vec::from_iter(due.rules.clone()), ["a", "b"]);
        assert_eq!(
            (schedule.start(now + MINUTE * 60), schedule.next_due()),
            (None, None),
            "one at a time"
        );
        schedule.ended(&due, true, now);
        assert_eq!(schedule.next_due(), Some(now + 2 * MINUTE));
        assert_eq!(schedule.start(now + MINUTE), None);
        let due = schedule.start(now + 2 * MINUTE).unwrap();
        assert_eq!(Vec::from_iter(due.rules.clone()), ["b"]);
        schedule.ended(&due, true, now + 2 * MINUTE);
        assert_eq!(started(&mut schedule, now + 15 * MINUTE), ["a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_of_something_else_changes_nothing_and_one_of_the_rules_everything() {
        let (mut schedule, now) = schedule();
        schedule.see(&key("s"), &stream(TWO, false), Seen::Changed, now);
        let due = schedule.start(now).unwrap();
        schedule.see(&key("s"), &stream(TWO, true), Seen::Changed, now);
        assert_eq!(schedule.start(now), None, "its own edit");
        let other = "[{name: c, repository: q.test/c, match: {glob: '*'}}]";
        schedule.see(&key("s"), &stream(other, true), Seen::Changed, now);
        assert_eq!(schedule.start(now), None, "one at a time");
        schedule.ended(&due, true, now);
        assert_eq!(started(&mut schedule, now), ["c"]);
        schedule.forget(&key("s"));
        assert_eq!(schedule.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn when_a_server_starts_rules_that_were_followed_before_are_due_within_their_interval() {
        let (mut schedule, now) = schedule();
        let rules = "[{name: a, repository: q.test/a, match: {glob: '*'}}]";
        for number in 0..100 {
            schedule.see(
                &key(&format!("s{number}")),
                &stream(rules, true),
                Seen::Listed,
                now,
            );
        }
        schedule.see(&key("new"), &stream(rules, false), Seen::Listed, now);
        assert_eq!(schedule.start(now).unwrap().key, key("new"));
        let within = |from: Duration, to: Duration| {
            let due = schedule.order.iter().map(|(due, _)| *due - now);
            due.filter(|due| (from..to).contains(due)).count()
        };
        assert_eq!(within(Duration::ZERO, 15 * MINUTE), 100);
        assert!(within(Duration::ZERO, 7 * MINUTE) > 20 && within(8 * MINUTE, 15 * MINUTE) > 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_makes_rules_of_its_repository_due_but_a_flood_of_them_not_more_often() {
        let (mut schedule, now) = schedule();
        schedule.see(&key("s"), &stream(TWO, false), Seen::Changed, now);
        let due = schedule.start(now).unwrap();
        schedule.ended(&due, true, now);
        let pushed = ImageReference::parse("q.test/a:new").unwrap();
        for _ in 0..3 {
            schedule.poke(&repository(&pushed), now + Duration::from_secs(1));
        }
        assert_eq!(schedule.next_due(), Some(now + LEAST_GAP));
        assert_eq!(started(&mut schedule, now + LEAST_GAP), ["a"]);
        // What is pushed while the repository is listed is not missed.
        schedule.poke("q.test/a", now + LEAST_GAP);
        schedule.ended(
            &Due {
                rules: ["a".to_owned()].into(),
                ..due
            },
            true,
            now + LEAST_GAP,
        );
        assert_eq!(schedule.next_due(), Some(now + 2 * LEAST_GAP));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_has_enough_to_do_keeps_no_other_waiting() {
        let (mut schedule, now) = schedule();
        let at = |host: &str| {
            stream(
                &format!("[{{repository: {host}/a, match: {{glob: '*'}}}}]"),
                false,
            )
        };
        for number in 0..20 {
            schedule.see(
                &key(&format!("slow{number}")),
                &at("slow.test"),
                Seen::Changed,
                now,
            );
        }
        schedule.see(&key("z"), &at("other.test"), Seen::Changed, now);
        let begun: Vec<Due> = std::iter::from_fn(|| schedule.start(now)).collect();
        let keys: Vec<&str> = begun.iter().map(|due| due.key.name.as_str()).collect();
        assert_eq!(
            (keys.len(), keys.last()),
            (AT_ONCE_PER_HOST + 1, Some(&"z")),
            "{keys:?}"
        );
        assert_eq!(schedule.next_due(), Some(now + CROWDED));
        for due in &begun {
            schedule.ended(due, true, now);
        }
        assert!(schedule.at_work.is_empty());
        let later = now + CROWDED;
        assert_eq!(
            std::iter::from_fn(|| schedule.start(later)).count(),
            AT_ONCE_PER_HOST
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_not_be_done_is_tried_again_and_what_can_not_be_read_is_told_once() {
        let (mut schedule, now) = schedule();
        schedule.see(&key("s"), &stream(TWO, false), Seen::Changed, now);
        let due = schedule.start(now).unwrap();
        schedule.ended(&due, false, now);
        assert_eq!(schedule.next_due(), Some(now + PAUSE));
        schedule.see(&key("s"), &stream("{", false), Seen::Changed, now);
        let due = schedule.start(now).unwrap();
        assert!(due.rules.is_empty());
        schedule.ended(&due, true, now);
        assert_eq!(schedule.next_due(), None);
        let mut without_rules = stream("{", false);
        without_rules.metadata.annotations = Some([(PROBLEMS_ANNOTATION.to_owned(), "{}".to_owned())].into());
        schedule.see(&key("s"), &without_rules, Seen::Changed, now);
        assert!(schedule.start(now).is_some(), "what was wrong is to be forgotten");
    }
}
