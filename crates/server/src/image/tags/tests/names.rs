//! Tags of streams whose names no stream has, and of streams as of a time that is not there.

use serde_json::{Value, json};

use super::{BOTH, DIGEST, docker, message, path, server, stream, tag};

const NONE: &str = "Name parameter required.";
const DOTS: &str = r#"Name parameter invalid: "..": may not be '..'"#;
const PERCENT: &str = r#"Name parameter invalid: "a%b": may not contain '%'"#;

#[tokio::test]
async fn a_tag_of_a_stream_that_there_can_not_be_is_a_bad_request() {
    let server = server().await;
    for resource in BOTH {
        for (name, expected) in [(":v", NONE), ("..:v", DOTS)] {
            let mut spec = json!({"name": "v", "from": docker("a/b:1")});
            let sent = tag(resource, name, &spec);
            let refused = server.post("admin", resource, &sent, 400).await;
            assert_eq!(message(&refused), expected, "{resource} {name}");
            // What is wrong with the object itself is told first.
            spec["from"]["kind"] = json!("Other");
            let sent = tag(resource, name, &spec);
            server.post("admin", resource, &sent, 422).await;
        }
        for (name, expected) in [("..:v", DOTS), ("a%25b:v", PERCENT)] {
            let one = path(&format!("{resource}/{name}"));
            let mut sent = tag(
                resource,
                &name.replace("%25", "%"),
                &json!({"name": "v", "from": docker("a/b:1")}),
            );
            sent["metadata"]["namespace"] = json!("n");
            for (method, body) in [("GET", None), ("PUT", Some(&sent)), ("DELETE", None)] {
                let (code, refused) = server.send("admin", method, &one, body).await;
                assert_eq!((code, message(&refused)), (400, expected), "{method} {one}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_there_can_not_be_is_a_bad_request() {
    let server = server().await;
    for what in [
        "imagestreams/a%25b",
        "imagestreams/a%25b/status",
        "imagestreams/a%25b/layers",
        "imagestreamimages/a%25b@x",
    ] {
        let (code, refused) = server.get(what).await;
        assert_eq!((code, message(&refused)), (400, PERCENT), "{what}");
    }
    let (code, refused) = server
        .send("admin", "DELETE", &path("imagestreams/a%25b"), None)
        .await;
    assert_eq!((code, message(&refused)), (400, PERCENT));
    let mut sent = stream(&server).await;
    sent["metadata"] = json!({"name": "a%b", "namespace": "n", "resourceVersion": "1"});
    let (code, refused) = server
        .send("admin", "PUT", &path("imagestreams/a%25b"), Some(&sent))
        .await;
    assert_eq!((code, message(&refused)), (400, PERCENT));
}

#[tokio::test]
async fn what_a_tag_refers_to_can_be_no_stream_at_all() {
    let server = server().await;
    for (kind, name, expected) in [
        ("ImageStreamTag", ":v1", NONE),
        ("ImageStreamImage", "@id", NONE),
        ("ImageStreamTag", "..:v1", DOTS),
        ("ImageStreamTag", "a%b:v1", PERCENT),
        (
            "ImageStreamTag",
            "a/b:v1",
            r#"Name parameter invalid: "a/b": may not contain '/'"#,
        ),
    ] {
        let from = json!({"kind": kind, "name": name});
        let sent = json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "new"},
                          "spec": {"tags": [{"name": "t", "from": from}]}});
        let refused: Value = server.post("admin", "imagestreams", &sent, 422).await;
        assert_eq!(
            message(&refused),
            format!(
                "ImageStream.image.openshift.io \"new\" is invalid: []: Internal error: imagestreams \"new\" is invalid: \
                 spec.tags[t].from.name: Invalid value: \"{name}\": unable to retrieve image stream: {expected}"
            )
        );
    }
}

#[tokio::test]
async fn a_tag_is_read_of_a_stream_no_older_than_the_version_that_is_asked_for() {
    let server = server().await;
    let current = stream(&server).await["metadata"]["resourceVersion"].clone();
    let current = current.as_str().unwrap();
    for what in [
        "imagestreamtags/s:both",
        "imagetags/s:both",
        "imagestreams/s/layers",
        "imagestreams/s",
    ] {
        for version in ["0", current] {
            let (code, _) = server.get(&format!("{what}?resourceVersion={version}")).await;
            assert_eq!(code, 200, "{what} {version}");
        }
        let (code, refused) = server.get(&format!("{what}?resourceVersion=abc")).await;
        assert_eq!(
            (code, message(&refused)),
            (
                500,
                r#"resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax"#
            ),
            "{what}"
        );
        let (code, refused) = server.get(&format!("{what}?resourceVersion=999999999")).await;
        assert_eq!((code, &refused["reason"]), (504, &json!("Timeout")), "{what}");
        assert!(
            message(&refused).starts_with("Timeout: Too large resource version: 999999999"),
            "{refused}"
        );
        // Options of lists mean nothing to a read.
        let (code, _) = server
            .get(&format!("{what}?limit=many&resourceVersionMatch=Any"))
            .await;
        assert_eq!(code, 200, "{what}");
    }
    // An image of a stream is read of the stream as it is.
    let image = format!("imagestreamimages/s@{DIGEST}?resourceVersion=abc");
    assert_eq!(server.get(&image).await.0, 200);
}
