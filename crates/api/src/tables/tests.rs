use super::*;

fn now() -> Time {
    Time("2024-06-10T12:00:00Z".parse().unwrap())
}

const TWO_DAYS_AGO: &str = "2024-06-08T12:00:00Z";
const TWO_HOURS_AGO: &str = "2024-06-10T10:00:00Z";

fn cells<T: Row + serde::de::DeserializeOwned>(object: Value) -> Value {
    let object: T = serde_json::from_value(object).unwrap();
    let cells = object.cells(&now());
    assert_eq!(cells.len(), T::COLUMNS.len());
    json!(cells)
}

#[test]
fn an_image_shows_where_it_can_be_pulled() {
    assert_eq!(
        cells::<Image>(json!({"metadata": {"name": "sha256:a"}, "dockerImageReference": "a/b:c"})),
        json!(["sha256:a", "a/b:c"])
    );
}

#[test]
fn a_stream_shows_the_repository_that_reaches_furthest_and_its_last_change() {
    let status = json!({"tags": [{"tag": "a", "items": [{"created": TWO_DAYS_AGO}]},
                                 {"tag": "b", "items": [{"created": TWO_HOURS_AGO}, {"created": TWO_DAYS_AGO}]}]});
    let mut stream = json!({"metadata": {"name": "s"}, "status": status});
    assert_eq!(
        cells::<ImageStream>(stream.clone()),
        json!(["s", "", "b,a", "2 hours ago"])
    );
    stream["status"]["dockerImageRepository"] = json!("internal");
    assert_eq!(cells::<ImageStream>(stream.clone())[1], "internal");
    stream["spec"]["dockerImageRepository"] = json!("spec");
    assert_eq!(cells::<ImageStream>(stream.clone())[1], "spec");
    stream["status"]["publicDockerImageRepository"] = json!("public");
    assert_eq!(cells::<ImageStream>(stream)[1], "public");
    assert_eq!(
        cells::<ImageStream>(json!({"metadata": {"name": "s"}, "status": {"tags": [{"tag": "a"}]}})),
        json!(["s", "", "a", ""])
    );
}

#[test]
fn a_stream_tag_and_a_stream_image_show_when_they_came() {
    let image = json!({"metadata": {"name": "sha256:a"}, "dockerImageReference": "a/b:c"});
    let tag = json!({"metadata": {"name": "s:t", "creationTimestamp": TWO_HOURS_AGO}, "image": image});
    assert_eq!(
        cells::<ImageStreamTag>(tag),
        json!(["s:t", "a/b:c", "2 hours ago", "sha256:a"])
    );
    assert_eq!(
        cells::<ImageStreamTag>(json!({"metadata": {"name": "s:t"}})),
        json!(["s:t", "", "292 years ago", ""])
    );
    let object = json!({"metadata": {"name": "s@a", "creationTimestamp": TWO_HOURS_AGO}, "image": image});
    assert_eq!(
        cells::<ImageStreamImage>(object),
        json!(["s@a", "2 hours ago", "a/b:c", "sha256:a"])
    );
    let priorities = |columns: &[Column]| columns.iter().map(|column| column.priority).collect::<Vec<_>>();
    assert_eq!(priorities(ImageStreamTag::COLUMNS), [0, 0, 0, 1]);
    assert_eq!(priorities(ImageStreamImage::COLUMNS), [0, 0, 1, 1]);
}

#[test]
fn an_image_tag_shows_where_it_comes_from_and_what_became_of_it() {
    let image = "sha256:0000000000";
    let newer = "sha256:0000000002";
    let from = |kind: &str, name: &str| json!({"kind": kind, "name": name});
    let by_image = || json!({"name": "t", "from": from("ImageStreamImage", &format!("a@{image}"))});
    let of_generation = |generation: i64| {
        let mut spec = by_image();
        spec["generation"] = json!(generation);
        spec
    };
    let event = |image: &str, generation: i64, created: Option<&str>| json!({"created": created, "image": image, "dockerImageReference": "a/b:c", "generation": generation});
    let ago = Some(TWO_DAYS_AGO);
    let with_condition = |status: &str, changed: Option<&str>| {
        json!({"tag": "t", "conditions": [{"type": "ImportSuccess", "status": status, "reason": "AbjectFailure",
                                           "lastTransitionTime": changed}]})
    };
    let mut scheduled = json!({"importPolicy": {"scheduled": true}, "reference": true});
    scheduled["from"] = json!({"kind": "ImageStreamTag", "namespace": "a", "name": "b:c"});
    let rows = [
        (Value::Null, Value::Null, json!(["", "", null, ""])),
        (json!({"name": "1"}), Value::Null, json!(["", "", null, ""])),
        (
            json!({"from": {}}),
            Value::Null,
            json!(["Tag", "InvalidRefKind", null, ""]),
        ),
        (
            json!({"reference": true, "from": from("DockerImage", "a/b:c")}),
            Value::Null,
            json!(["Ref", "a/b:c", null, ""]),
        ),
        (
            json!({"from": from("ImageStreamTag", "b:c")}),
            Value::Null,
            json!(["Tag", "istag/b:c", null, ""]),
        ),
        (
            json!({"from": from("ImageStreamImage", image)}),
            Value::Null,
            json!(["Tag", "InvalidRefName", null, ""]),
        ),
        (
            scheduled,
            Value::Null,
            json!(["Scheduled", "istag a/b:c", null, ""]),
        ),
        (
            by_image(),
            Value::Null,
            json!(["Tag", format!("image/{image}"), null, ""]),
        ),
        (
            by_image(),
            with_condition("False", Some(TWO_HOURS_AGO)),
            json!(["Tag", "ImportFailed (AbjectFailure)", null, "2 hours ago"]),
        ),
        (
            by_image(),
            with_condition("", None),
            json!(["Tag", format!("image/{image}"), null, ""]),
        ),
        (
            of_generation(2),
            json!({"items": [event(image, 1, None)]}),
            json!(["Tag", "Importing", 1, ""]),
        ),
        (
            of_generation(2),
            json!({"items": [event(image, 2, ago), event(image, 1, None)]}),
            json!(["Tag", format!("image/{image}"), 2, "2 days ago"]),
        ),
        (
            Value::Null,
            json!({"items": [event(image, 2, ago)]}),
            json!(["Push", format!("image/{image}"), 1, "2 days ago"]),
        ),
        (
            of_generation(3),
            json!({"items": [event(newer, 4, ago), event(image, 2, None)]}),
            json!(["Push", format!("image/{newer}"), 2, "2 days ago"]),
        ),
        (
            Value::Null,
            json!({"items": [event("", 2, ago)]}),
            json!(["Push", "a/b:c", 1, "2 days ago"]),
        ),
        (
            json!({"generation": 1, "from": from("ImageStreamTag", "other")}),
            json!({"items": [event(newer, 2, ago)]}),
            json!(["Track", format!("image/{newer}"), 1, "2 days ago"]),
        ),
    ];
    for (index, (spec, status, expected)) in rows.into_iter().enumerate() {
        let object = json!({"metadata": {"name": format!("foo:{index}")}, "spec": spec, "status": status});
        let mut row = vec![json!(format!("foo:{index}"))];
        row.extend(expected.as_array().unwrap().iter().cloned());
        assert_eq!(cells::<ImageTag>(object), Value::Array(row));
    }
}
