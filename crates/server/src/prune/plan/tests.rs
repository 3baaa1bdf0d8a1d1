#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-06-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// An item that is so many hours old.
fn item(image: &str, hours: i64) -> Value {
    let created = now() - jiff::SignedDuration::from_hours(hours);
    json!({"created": created.to_string(), "dockerImageReference": format!("r.example/a@{image}"), "image": image, "generation": 1})
}

fn stream(name: &str, hours: i64, spec: &Value, tags: &Value) -> ImageStream {
    let created = now() - jiff::SignedDuration::from_hours(hours);
    serde_json::from_value(json!({
        "metadata": {"namespace": "n", "name": name, "creationTimestamp": created.to_string()},
        "spec": {"tags": spec}, "status": {"dockerImageRepository": "", "tags": tags},
    }))
    .unwrap()
}

fn image(hours: i64, size: i64, members: &[&str], is_managed: bool) -> ImageFacts {
    ImageFacts {
        created: Some(now() - jiff::SignedDuration::from_hours(hours)),
        is_managed,
        size,
        members: members.iter().map(|member| (*member).to_owned()).collect(),
        revision: 1,
        is_held: false,
        is_going: false,
    }
}

/// Ten images of which `gone` is not there; `list` has the members `m1` and `m2`.
fn facts() -> Images {
    let mut images = Images::new();
    for name in ["a1", "a2", "a3", "a4", "a5", "b1", "m1", "m2"] {
        images.insert(name.into(), image(100, 10, &[], false));
    }
    images.insert("list".into(), image(100, 0, &["m1", "m2"], false));
    images.insert("young".into(), image(0, 10, &[], false));
    images.insert("pushed".into(), image(100, 99, &[], true));
    images
}

fn pruned(stream: &ImageStream, others: &[&ImageStream], options: &Options) -> Vec<(String, usize, Why)> {
    let mut in_use = InUse::default();
    in_use.add(stream);
    others.iter().for_each(|other| in_use.add(other));
    items(stream, &facts(), &in_use, |size| size > 50, options, now())
        .into_iter()
        .map(|item| (item.tag, item.revision, item.why))
        .collect()
}

fn history() -> Value {
    json!([{"tag": "latest", "items": [item("a1", 9), item("a2", 10), item("a3", 20), item("a4", 30), item("a5", 40)]}])
}

#[test]
fn what_comes_after_the_newest_revisions_goes() {
    let stream = stream("s", 100, &json!([]), &history());
    let t = |revision| ("latest".to_owned(), revision, Why::Superseded);
    assert_eq!(pruned(&stream, &[], &Options::default()), [t(3), t(4)]);
    let options = Options {
        keep_tag_revisions: 1,
        ..Options::default()
    };
    assert_eq!(pruned(&stream, &[], &options), [t(1), t(2), t(3), t(4)]);
    let options = Options {
        keep_tag_revisions: 0,
        ..Options::default()
    };
    assert_eq!(pruned(&stream, &[], &options).len(), 5);
}

#[test]
fn what_is_young_stays_and_so_does_all_of_a_young_stream() {
    let options = Options {
        keep_younger_than_seconds: 35 * 3600,
        keep_tag_revisions: 0,
        ..Options::default()
    };
    let old = stream("s", 100, &json!([]), &history());
    assert_eq!(
        pruned(&old, &[], &options),
        [("latest".to_owned(), 4, Why::Superseded)]
    );
    let young = stream("s", 34, &json!([]), &history());
    assert_eq!(pruned(&young, &[], &options), []);
}

#[test]
fn an_item_whose_image_is_gone_goes_wherever_it_stands_but_one_that_names_none_is_as_others_are() {
    let tags = json!([{"tag": "t", "items": [item("gone", 9), item("a1", 10)]}, {"tag": "ref", "items": [item("", 50)]}]);
    let stream = stream("s", 100, &json!([]), &tags);
    assert_eq!(
        pruned(&stream, &[], &Options::default()),
        [("t".to_owned(), 0, Why::ImageMissing)]
    );
}

#[test]
fn what_streams_follow_stays() {
    let follows_tag =
        json!([{"name": "x", "from": {"kind": "ImageStreamTag", "name": "s:latest", "namespace": "n"}}]);
    let follows_image = json!([{"name": "x", "from": {"kind": "ImageStreamImage", "name": "s@a4"}}]);
    let subject = stream("s", 100, &json!([]), &history());
    let options = Options {
        keep_tag_revisions: 0,
        ..Options::default()
    };
    let kept = |spec: &Value| {
        let other = stream("other", 100, spec, &json!([]));
        let pruned = pruned(&subject, &[&other], &options);
        let revisions: Vec<usize> = pruned.into_iter().map(|(_, revision, _)| revision).collect();
        (0..5)
            .filter(|revision| !revisions.contains(revision))
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(&follows_tag), [0]);
    assert_eq!(kept(&follows_image), [3]);
}

#[test]
fn limits_of_size_look_at_neither_age_nor_number() {
    let tags = json!([{"tag": "t", "items": [item("pushed", 0), item("a1", 100)]}]);
    let stream = stream("s", 0, &json!([]), &tags);
    let options = Options {
        prune_over_size_limit: true,
        keep_tag_revisions: 0,
        ..Options::default()
    };
    assert_eq!(
        pruned(&stream, &[], &options),
        [("t".to_owned(), 0, Why::OverSizeLimit)]
    );
}

#[test]
fn images_go_that_nothing_names_and_members_stay_with_their_list() {
    let named = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<HashSet<_>>()
    };
    let options = Options::default();
    assert_eq!(
        images(&facts(), &named(&["a1", "list"]), &options, now()),
        ["a2", "a3", "a4", "a5", "b1", "pushed"]
    );
    let managed_only = Options {
        all: false,
        ..Options::default()
    };
    assert_eq!(images(&facts(), &named(&[]), &managed_only, now()), ["pushed"]);
    let of_namespace = Options {
        namespace: "n".into(),
        ..Options::default()
    };
    assert!(images(&facts(), &named(&[]), &of_namespace, now()).is_empty());
    let mut young_list = facts();
    young_list.insert("list".into(), image(0, 0, &["m1", "m2"], false));
    let gone = images(&young_list, &named(&[]), &options, now());
    assert!(
        !gone.iter().any(|name| name.starts_with('m') || name == "list"),
        "{gone:?}"
    );
}

#[test]
fn what_is_held_goes_but_keeps_its_members_and_what_is_going_does_not_go_again() {
    let nothing = HashSet::new();
    let pruned = |change: fn(&mut ImageFacts)| {
        let mut facts = facts();
        change(facts.get_mut("list").unwrap());
        images(&facts, &nothing, &Options::default(), now())
    };
    let held = pruned(|list| list.is_held = true);
    assert!(held.contains(&"list".to_owned()), "{held:?}");
    let going = pruned(|list| {
        list.is_held = true;
        list.is_going = true;
    });
    assert!(!going.contains(&"list".to_owned()), "{going:?}");
    for pruned in [held, going] {
        assert!(!pruned.iter().any(|name| name.starts_with('m')), "{pruned:?}");
    }
}
