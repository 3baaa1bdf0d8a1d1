use imagestream_api::defaults::ImportMode;

use super::super::followed::Recorded;
use super::super::settled::Fixed;
use super::*;

fn key(name: &str) -> StreamKey {
    StreamKey {
        namespace: "n".into(),
        name: name.into(),
    }
}

fn follow(source: &str, image: &str, interval: Option<u64>) -> (Followed, Fingerprint) {
    let followed = Followed {
        tag: "t".into(),
        reference: source.parse_reference(),
        source: source.into(),
        insecure: false,
        interval: interval.map(Duration::from_secs),
        mode: ImportMode::Legacy,
        platform: "linux/amd64".parse().unwrap(),
        recorded: Recorded {
            image: image.into(),
            failure: None,
        },
    };
    (followed, Fingerprint(0))
}

trait ParseReference {
    fn parse_reference(&self) -> imagestream_api::reference::ImageReference;
}

impl ParseReference for str {
    fn parse_reference(&self) -> imagestream_api::reference::ImageReference {
        imagestream_api::reference::ImageReference::parse(self).unwrap()
    }
}

const DEFAULT: Duration = Duration::from_secs(900);

#[test]
fn streams_share_a_source_only_if_they_ask_for_it_in_the_same_way() {
    let mut table = Table::default();
    let plain = follow("r.test/a:1", "", None);
    let mut insecure = plain.clone();
    insecure.0.insecure = true;
    let mut of_ann = plain.clone();
    of_ann.1 = Fingerprint(7);
    let first = table.set(&key("one"), std::slice::from_ref(&plain)).planned;
    assert_eq!(table.set(&key("two"), &[plain]).planned, first);
    for other in [insecure, of_ann] {
        let planned = table.set(&key(&format!("{other:?}")), &[other]).planned;
        assert_ne!(planned, first);
    }
    assert_eq!((table.source_count(), table.tags()), (3, 4));
    assert_eq!(table.followers(first[0]), [key("one"), key("two")]);
    assert_eq!(table.named("r.test/a:1").len(), 3);
    assert_eq!(table.named("r.test/a:2"), []);
}

#[test]
fn a_source_ends_with_its_last_follower_and_its_siblings_stay() {
    let mut table = Table::default();
    let kinds: Vec<(Followed, Fingerprint)> = (0..4)
        .map(|fingerprint| (follow("r.test/a:1", "", None).0, Fingerprint(fingerprint)))
        .collect();
    for (i, kind) in kinds.iter().enumerate() {
        table.set(&key(&i.to_string()), std::slice::from_ref(kind));
    }
    // From the middle of the siblings, the newest and the oldest.
    for (ended, left) in [(1, 3), (3, 2), (0, 1), (2, 0)] {
        let changes = table.set(&key(&format!("{ended}")), &[]);
        assert_eq!((changes.ended.len(), changes.planned.len()), (1, 0));
        assert_eq!(table.named("r.test/a:1").len(), left);
    }
    assert_eq!(
        (table.source_count(), table.tags(), table.keys().len()),
        (0, 0, 0)
    );
}

#[test]
fn a_stream_that_stays_as_it_was_changes_nothing_and_settled_sources_stay_settled() {
    let mut table = Table::default();
    let tags = [
        follow("r.test/a:1", "sha256:m", None),
        follow("r.test/a:2", "sha256:x", None),
    ];
    let planned = table.set(&key("s"), &tags).planned;
    let at = Settled::At {
        named: Fixed::of("sha256:l"),
        recorded: Fixed::of("sha256:m"),
    };
    table.source_mut(planned[0]).unwrap().settled = at;
    assert_eq!(table.set(&key("s"), &tags), Changes::default());
    assert_eq!(table.source(planned[0]).unwrap().settled, at);
    // One that has recorded something else has to be brought there.
    table.set(&key("late"), &[follow("r.test/a:1", "", None)]);
    assert_eq!(table.source(planned[0]).unwrap().settled, Settled::Nothing);
}

#[test]
fn the_shortest_interval_of_those_who_follow_counts() {
    let mut table = Table::default();
    let of = |interval| [follow("r.test/a:1", "", interval)];
    let id = table.set(&key("hourly"), &of(Some(3600))).planned[0];
    assert_eq!(table.interval(id, DEFAULT), Duration::from_secs(3600));
    assert_eq!(table.set(&key("plain"), &of(None)).planned, [id]);
    assert_eq!(table.interval(id, DEFAULT), DEFAULT);
    table.set(&key("fast"), &of(Some(60)));
    assert_eq!(table.interval(id, DEFAULT), Duration::from_secs(60));
    assert_eq!(table.set(&key("fast"), &[]).planned, [id], "it is planned anew");
    assert_eq!(table.interval(id, DEFAULT), DEFAULT);
}

#[test]
fn two_tags_of_a_stream_that_follow_one_source_are_two_tags_and_one_follower() {
    let mut table = Table::default();
    let twice = [follow("r.test/a:1", "", None), follow("r.test/a:1", "", Some(60))];
    let id = table.set(&key("s"), &twice).planned[0];
    assert_eq!((table.tags(), table.source(id).unwrap().tags), (2, 2));
    assert_eq!(table.followers(id), [key("s")]);
    assert_eq!(table.interval(id, DEFAULT), Duration::from_secs(60));
    let changes = table.set(&key("s"), &twice[..1]);
    assert_eq!((changes.planned, changes.ended), (vec![id], vec![]));
    assert_eq!((table.tags(), table.sources_of(&key("s"))), (1, vec![id]));
}
