use serde_json::{Value, json};

use super::*;

const REGISTRY: &str = "r:5000";

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

fn now() -> Time {
    Time("2024-06-01T00:00:00Z".parse().unwrap())
}

/// Each tag with the references and images of its events, newest first.
type Histories<'a> = &'a [(&'a str, &'a [(&'a str, &'a str)])];

fn stream(namespace: &str, name: &str, tags: Value, histories: Histories<'_>) -> ImageStream {
    let histories: Vec<Value> = histories
        .iter()
        .map(|(tag, events)| {
            let items: Vec<Value> = events
                .iter()
                .map(|(reference, image)| {
                    json!({"created": "2024-01-01T00:00:00Z", "dockerImageReference": reference, "image": image,
                           "generation": 1})
                })
                .collect();
            json!({"tag": tag, "items": items})
        })
        .collect();
    let mut stream = json!({
        "metadata": {"namespace": namespace, "name": name, "generation": 7},
        "spec": {},
        "status": {"tags": histories}
    });
    stream["spec"]["tags"] = tags;
    serde_json::from_value(stream).unwrap()
}

fn tag(kind: &str, name: &str) -> Value {
    json!([{"name": "t1", "from": {"kind": kind, "name": name}}])
}

fn sources_with(source: ImageStream) -> Sources {
    Sources::from([(StreamKey::of(&source), Source::Found(Box::new(source)))])
}

fn resolved(stream: &mut ImageStream, stored: Option<&ImageStream>, sources: &Sources) -> Vec<String> {
    resolve(stream, stored, sources, Some(REGISTRY), &now())
        .iter()
        .map(FieldError::to_string)
        .collect()
}

/// Reference, image, generation and time of the newest event.
fn newest_of(stream: &ImageStream, tag: &str) -> Option<(String, String, i64, String)> {
    let event = stream.status.tags.get(tag)?.items.first()?;
    Some((
        event.docker_image_reference.clone(),
        event.image.clone(),
        event.generation,
        event.created.as_ref().unwrap().0.to_string(),
    ))
}

#[test]
fn each_kind_of_reference_becomes_an_event() {
    let d = digest("a");
    let at_d = |stream: &str| format!("{REGISTRY}/n/{stream}@{d}");
    let (own, other) = (at_d("s"), at_d("o"));
    let (then, at_once) = ("2024-01-01T00:00:00Z", "2024-06-01T00:00:00Z");
    let mut reference = tag("DockerImage", "r:5000/n/s:t1");
    reference[0]["reference"] = json!(true);
    let mut elsewhere = tag("ImageStreamTag", "o:x");
    elsewhere[0]["reference"] = json!(true);
    type Event<'a> = Option<(&'a str, &'a str, &'a str)>;
    let rows: [(Value, Histories<'_>, Event<'_>); 9] = [
        (tag("DockerImage", "t2"), &[], None),
        (json!([{"name": "t1"}]), &[], None),
        (reference, &[], Some(("r:5000/n/s:t1", "", at_once))),
        (
            tag("ImageStreamTag", "s:other"),
            &[("other", &[(&own, &d)])],
            Some((&own, &d, then)),
        ),
        (
            tag("ImageStreamTag", "other"),
            &[("other", &[(&own, &d)])],
            Some((&own, &d, then)),
        ),
        (
            tag("ImageStreamTag", "missing"),
            &[("other", &[(&own, &d)])],
            None,
        ),
        (
            tag("ImageStreamImage", &format!("s@{d}")),
            &[("other", &[("r:5000/n/s@x", "x"), (&own, &d)])],
            Some((&own, &d, at_once)),
        ),
        (
            tag("ImageStreamImage", "s@aaaa"),
            &[("other", &[("r:5000/n/s@x", "x"), (&own, &d)])],
            Some((&own, &d, at_once)),
        ),
        (
            tag("ImageStreamImage", "s@12345"),
            &[("other", &[("r:5000/n/s:12345", "12345")])],
            Some(("r:5000/n/s:12345", "12345", at_once)),
        ),
    ];
    for (tags, histories, expected) in rows {
        let mut stream = stream("n", "s", tags.clone(), histories);
        assert_eq!(resolved(&mut stream, None, &Sources::new()), [""; 0], "{tags}");
        let expected = expected.map(|(reference, image, created)| {
            (reference.to_owned(), image.to_owned(), 7, created.to_owned())
        });
        assert_eq!(newest_of(&stream, "t1"), expected, "{tags}");
    }
    for (tags, source, expected) in [
        (tag("ImageStreamTag", "o:x"), other.as_str(), own.as_str()),
        (elsewhere, &other, &other),
        (tag("ImageStreamTag", "o:x"), "quay.io/a/b:c", "quay.io/a/b:c"),
        (
            tag("ImageStreamTag", "o:x"),
            "r:5000/n/other:c",
            "r:5000/n/other:c",
        ),
    ] {
        let mut target = stream("n", "s", tags.clone(), &[]);
        let sources = sources_with(stream("n", "o", json!([]), &[("x", &[(source, &d)])]));
        assert_eq!(resolved(&mut target, None, &sources), [""; 0], "{tags}");
        assert_eq!(newest_of(&target, "t1").unwrap().0, expected, "{tags}");
    }
}

#[test]
fn a_reference_that_names_the_same_place_replaces_the_image() {
    let mut stored = stream(
        "n",
        "s",
        tag("DockerImage", "old"),
        &[("t1", &[("r:5000/n/s:v1image1", "v1image1")])],
    );
    stored.spec.tags.get_mut("t1").unwrap().generation = Some(1);
    let mut new = stored.clone();
    let spec = new.spec.tags.get_mut("t1").unwrap();
    spec.from.as_mut().unwrap().name = Some("r:5000/n/s:v1image1".into());
    spec.reference = true;
    assert_eq!(resolved(&mut new, Some(&stored), &Sources::new()), [""; 0]);
    assert_eq!(new.status.tags["t1"].items.len(), 1);
    let (reference, image, generation, created) = newest_of(&new, "t1").unwrap();
    assert_eq!(
        (reference.as_str(), image.as_str(), generation),
        ("r:5000/n/s:v1image1", "", 7)
    );
    assert_eq!(created, "2024-01-01T00:00:00Z");
}

#[test]
fn a_tag_that_points_where_it_did_is_left_alone() {
    let mut stored = stream("n", "s", tag("ImageStreamTag", "gone:x"), &[]);
    stored.spec.tags.get_mut("t1").unwrap().generation = Some(3);
    let mut new = stored.clone();
    assert_eq!(sources(&new, Some(&stored)), BTreeSet::new());
    assert_eq!(resolved(&mut new, Some(&stored), &Sources::new()), [""; 0]);
    assert_eq!(new, stored);
}

#[test]
fn a_source_in_the_same_stream_takes_the_generation_too() {
    let mut stream = stream(
        "n",
        "s",
        tag("ImageStreamTag", "other"),
        &[("other", &[("a/b:c", "x")])],
    );
    resolved(&mut stream, None, &Sources::new());
    assert_eq!(newest_of(&stream, "other").unwrap().2, 7);
}

#[test]
fn a_tag_may_refer_to_one_that_is_resolved_with_it() {
    let tags = json!([
        {"name": "a", "from": {"kind": "ImageStreamTag", "name": "z"}},
        {"name": "z", "from": {"kind": "DockerImage", "name": "a/b:c"}, "reference": true}
    ]);
    let mut stream = stream("n", "s", tags, &[]);
    resolved(&mut stream, None, &Sources::new());
    assert_eq!(newest_of(&stream, "a"), newest_of(&stream, "z"));
    assert!(newest_of(&stream, "a").is_some());
}

#[test]
fn other_streams_have_to_be_read_once() {
    let from =
        |kind: &str, namespace: &str, name: &str| json!({"kind": kind, "namespace": namespace, "name": name});
    let stream = stream(
        "n",
        "s",
        json!([
            {"name": "a", "from": from("ImageStreamTag", "", "o:1")},
            {"name": "b", "from": from("ImageStreamImage", "n", "o@2")},
            {"name": "c", "from": from("ImageStreamTag", "m", "x")},
            {"name": "d", "from": from("ImageStreamTag", "n", "s:x")},
            {"name": "e", "from": from("DockerImage", "", "o:1")},
            {"name": "f", "from": from("ImageStreamTag", "", "a:b:c")},
        ]),
        &[],
    );
    let key = |namespace: &str, name: &str| StreamKey {
        namespace: namespace.into(),
        name: name.into(),
    };
    assert_eq!(
        sources(&stream, None),
        BTreeSet::from([key("m", "s"), key("n", "o")])
    );
}

#[test]
fn what_cannot_be_resolved_is_said_with_its_path() {
    let (a, b) = (digest("a"), digest("b"));
    let malformed = "must be of the form <tag>, <repo>:<tag>, <id>, or <repo>@<id>";
    let key = StreamKey {
        namespace: "n".into(),
        name: "gone".into(),
    };
    let unreadable = Sources::from([(key, Source::Unreadable("boom".into()))]);
    let ambiguous = sources_with(stream(
        "n",
        "o",
        json!([]),
        &[("x", &[("r", &b)]), ("y", &[("r", &a), ("q", &b)])],
    ));
    let none = Sources::new();
    for (tags, sources, expected) in [
        (tag("ImageStreamTag", "a:b:c"), &none, format!("Invalid value: \"a:b:c\": {malformed}")),
        (tag("ImageStreamImage", "a@b@c"), &none, format!("Invalid value: \"a@b@c\": {malformed}")),
        (tag("Foo", "x"), &none, format!("Invalid value: \"x\": {malformed}")),
        (tag("DockerImage", ""), &none, format!("Invalid value: \"\": {malformed}")),
        (tag("ImageStreamTag", "gone:x"), &none, "Not found: \"gone:x\"".into()),
        (
            tag("ImageStreamTag", "gone:x"),
            &unreadable,
            "Invalid value: \"gone:x\": unable to retrieve image stream: boom".into(),
        ),
        (
            tag("ImageStreamImage", "o@c"),
            &ambiguous,
            "Invalid value: \"o@c\": error generating tag event: imagestreamimage.image.openshift.io \"c\" not found"
                .into(),
        ),
        (
            tag("ImageStreamImage", "o@sha256:"),
            &ambiguous,
            format!(
                "Invalid value: \"o@sha256:\": error generating tag event: Operation cannot be fulfilled on \
                 imagestreamimage.image.openshift.io \"sha256:\": multiple images match the prefix \"sha256:\": {a}, {b}"
            ),
        ),
    ] {
        let mut stream = stream("n", "s", tags, &[]);
        let path = "spec.tags[t1].from.name";
        assert_eq!(resolved(&mut stream, None, sources), [format!("{path}: {expected}")]);
        assert!(stream.status.tags.is_empty());
    }
}

#[test]
fn an_id_is_the_start_of_a_name_or_of_a_digests_hex() {
    for (image, id, expected) in [
        (digest("a"), "sha256:aa", true),
        (digest("a"), "aaa", true),
        (digest("a"), "ab", false),
        ("sha256:short".into(), "short", false),
        ("12345".into(), "123", true),
        ("12345".into(), "345", false),
    ] {
        assert_eq!(id_matches(&image, id), expected, "{image} {id}");
    }
}
