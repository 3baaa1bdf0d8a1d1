use imagestream_api::types::GROUP;
use serde_json::{Value, json};

use super::super::testing::TestServer;

mod names;
mod rivalry;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const GONE: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const BOTH: [&str; 2] = ["imagestreamtags", "imagetags"];

fn path(what: &str) -> String {
    format!("/apis/{GROUP}/v1/namespaces/n/{what}")
}

fn docker(name: &str) -> Value {
    json!({"kind": "DockerImage", "name": name})
}

/// A tag as a client sends it to a resource.
fn tag(resource: &str, name: &str, spec: &Value) -> Value {
    let (kind, field) = match resource {
        "imagestreamtags" => ("ImageStreamTag", "tag"),
        _ => ("ImageTag", "spec"),
    };
    let mut object = json!({"kind": kind, "apiVersion": format!("{GROUP}/v1"), "metadata": {"name": name}});
    object[field] = spec.clone();
    object
}

fn spec<'a>(resource: &str, object: &'a Value) -> &'a Value {
    &object[if resource == "imagestreamtags" {
        "tag"
    } else {
        "spec"
    }]
}

fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap_or_default()
}

/// A server with the stream `s`: `both` in spec and status, `wanted` in the spec, `pushed` in the status, `ref` only
/// pointing somewhere, `gone` at an image that does not exist.
async fn server() -> TestServer {
    filled(TestServer::start().await).await
}

async fn filled(server: TestServer) -> TestServer {
    let stream = json!({
        "kind": "ImageStream", "apiVersion": format!("{GROUP}/v1"),
        "metadata": {"name": "s", "labels": {"app": "x"}},
        "spec": {"tags": [{"name": "both", "from": docker("a/b:1"), "annotations": {"of": "tag"}},
                          {"name": "wanted", "from": docker("a/b:2")},
                          {"name": "ref", "from": docker("a/b:3"), "reference": true}]}
    });
    server.post("admin", "imagestreams", &stream, 201).await;
    for (name, tag) in [(DIGEST, "both"), (DIGEST, "pushed"), (GONE, "gone")] {
        let mapping = json!({
            "kind": "ImageStreamMapping", "apiVersion": format!("{GROUP}/v1"), "metadata": {"name": "s"}, "tag": tag,
            "image": {"metadata": {"name": name, "annotations": {"of": "image", "more": "of image"}},
                      "dockerImageReference": format!("r.example/a@{name}")}
        });
        server.post("admin", "imagestreammappings", &mapping, 201).await;
    }
    let gone = format!("/apis/{GROUP}/v1/images/{GONE}");
    assert_eq!(server.send("admin", "DELETE", &gone, None).await.0, 200);
    server
}

async fn stream(server: &TestServer) -> Value {
    server.get("imagestreams/s").await.1
}

fn names<'a>(tags: &'a Value, field: &str) -> Vec<&'a str> {
    let tags = tags.as_array().into_iter().flatten();
    tags.map(|tag| tag[field].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_tag_is_shown_or_it_is_said_what_is_missing() {
    let server = server().await;
    for (what, code, expected) in [
        ("imagestreamtags/s:both", 200, ""),
        ("imagestreamtags/s:pushed", 200, ""),
        (
            "imagestreamtags/s:wanted",
            404,
            r#"imagestreamtags.image.openshift.io "s:wanted" not found"#,
        ),
        (
            "imagestreamtags/s:ref",
            404,
            r#"imagestreamtags.image.openshift.io "s:ref" not found"#,
        ),
        (
            "imagestreamtags/s:none",
            404,
            r#"imagestreamtags.image.openshift.io "s:none" not found"#,
        ),
        (
            "imagestreamtags/s:gone",
            404,
            &format!("imagestreamtags.image.openshift.io \"{GONE}\" not found"),
        ),
        (
            "imagestreamtags/o:x",
            404,
            r#"imagestreamtags.image.openshift.io "o" not found"#,
        ),
        (
            "imagestreamtags/s",
            400,
            "ImageStreamTags must be retrieved with <name>:<tag>",
        ),
        ("imagetags/s:both", 200, ""),
        ("imagetags/s:pushed", 200, ""),
        ("imagetags/s:wanted", 200, ""),
        ("imagetags/s:ref", 200, ""),
        ("imagetags/s:gone", 200, ""),
        (
            "imagetags/s:none",
            404,
            r#"imagetags.image.openshift.io "s:none" not found"#,
        ),
        (
            "imagetags/o:x",
            404,
            r#"imagetags.image.openshift.io "o" not found"#,
        ),
        (
            "imagetags/s:a:b",
            400,
            "ImageTags must be retrieved with <name>:<tag>",
        ),
    ] {
        let (answered, answer) = server.get(what).await;
        assert_eq!((answered, message(&answer)), (code, expected), "{what}");
    }
    let of_image = json!({"of": "image", "more": "of image"});
    let merged = json!({"of": "tag", "more": "of image"});
    let (_, object) = server.get("imagestreamtags/s:both").await;
    assert_eq!(object["image"]["metadata"]["annotations"], merged);
    assert_eq!(object["metadata"]["labels"], json!({"app": "x"}));
    let (_, object) = server.get("imagetags/s:both").await;
    assert_eq!(object["image"]["metadata"]["annotations"], of_image);
    assert_eq!(server.get("imagetags/s:gone").await.1["image"], Value::Null);
}

#[tokio::test]
async fn a_created_tag_is_in_the_spec_of_its_stream_which_is_made_if_need_be() {
    for resource in BOTH {
        let server = server().await;
        for (name, from, expected) in [
            ("s:new", "x/y:1", "s:new"),
            ("s:pushed", "x/y:2", "s:pushed"),
            ("s:", "x/y:3", "s:latest"),
            ("o:t", "x/y:4", "o:t"),
        ] {
            let object = tag(resource, name, &json!({"from": docker(from)}));
            let created = server.post("admin", resource, &object, 201).await;
            assert_eq!(created["metadata"]["name"], expected, "{resource}");
            let (of_stream, of_tag) = expected.split_once(':').unwrap();
            assert_eq!(spec(resource, &created)["name"], of_tag, "{resource} {name}");
            let (_, stream) = server.get(&format!("imagestreams/{of_stream}")).await;
            let tags = stream["spec"]["tags"].as_array().unwrap();
            let stored = tags.iter().find(|stored| stored["name"] == of_tag).unwrap();
            assert_eq!(stored, spec(resource, &created), "{resource} {name}");
            assert_eq!(stored["from"], docker(from));
            assert_eq!(stored["generation"], stream["metadata"]["generation"]);
            assert_eq!(created["metadata"]["uid"], stream["metadata"]["uid"]);
            assert_eq!(
                created["metadata"]["resourceVersion"],
                stream["metadata"]["resourceVersion"]
            );
        }
    }
}

#[tokio::test]
async fn a_tag_that_cannot_be_created_changes_nothing() {
    let server = server().await;
    let before = stream(&server).await;
    let reference = json!({"from": docker("x/y")});
    let nowhere = json!({"from": {"kind": "ImageStreamTag", "name": "nosuch:x"}});
    for (resource, name, spec, code, expected) in [
        (
            "imagestreamtags",
            "s:both",
            &reference,
            409,
            r#"imagestreamtag.image.openshift.io "s:both" already exists"#,
        ),
        (
            "imagetags",
            "s:both",
            &reference,
            409,
            r#"imagetags.image.openshift.io "s:both" already exists"#,
        ),
        (
            "imagestreamtags",
            "s",
            &reference,
            500,
            r#""s" must be of the form <stream_name>:<tag>"#,
        ),
        (
            "imagetags",
            "s:t",
            &Value::Null,
            422,
            "ImageTag.image.openshift.io \"s:t\" is invalid: spec: Required value: spec is a required field during \
             creation",
        ),
        (
            "imagestreamtags",
            "s:t",
            &json!({"from": docker("BAD NAME")}),
            422,
            "ImageStreamTag.image.openshift.io \"s:t\" is invalid: tag.from.name: Invalid value: \"BAD NAME\": \
             invalid reference format",
        ),
        (
            "imagetags",
            "s:t",
            &nowhere,
            422,
            "ImageStream.image.openshift.io \"s\" is invalid: []: Internal error: imagestreams \"s\" is invalid: \
             spec.tags[t].from.name: Not found: \"nosuch:x\"",
        ),
    ] {
        let (answered, answer) = server
            .send("admin", "POST", &path(resource), Some(&tag(resource, name, spec)))
            .await;
        assert_eq!(
            (answered, message(&answer)),
            (code, expected),
            "{resource} {name}"
        );
    }
    for resource in BOTH {
        let mut generated = tag(resource, "", &reference);
        generated["metadata"] = json!({"generateName": "s:"});
        let (code, answer) = server
            .send("admin", "POST", &path(resource), Some(&generated))
            .await;
        let expected = "Internal error occurred: metadata.name was not generated";
        assert_eq!((code, message(&answer)), (500, expected));
    }
    assert_eq!(stream(&server).await, before);
}

#[tokio::test]
async fn a_stream_tag_without_tag_makes_the_stream_alone() {
    let server = server().await;
    let object = tag("imagestreamtags", "o:t", &Value::Null);
    let created = server.post("admin", "imagestreamtags", &object, 201).await;
    assert_eq!(created["tag"], Value::Null);
    assert_eq!(server.get("imagestreams/o").await.1["spec"].get("tags"), None);
}

#[tokio::test]
async fn an_update_replaces_the_tag_of_the_spec() {
    let server = server().await;
    let put = async |resource: &str, name: &str, object: &Value| {
        let target = path(&format!("{resource}/{name}"));
        server.send("admin", "PUT", &target, Some(object)).await
    };
    for (name, code, generation) in [
        ("s:both", 200, 2),
        ("s:pushed", 201, 3),
        ("s:new", 201, 4),
        ("o:t", 201, 1),
    ] {
        let mut object = tag(
            "imagestreamtags",
            name,
            &json!({"name": "x", "from": docker("x/y")}),
        );
        object["metadata"]["annotations"] = json!({"new": "1"});
        object["lookupPolicy"] = json!({"local": true});
        let (answered, answer) = put("imagestreamtags", name, &object).await;
        assert_eq!(answered, code, "{answer}");
        assert_eq!(answer["tag"]["from"], docker("x/y"));
        assert_eq!(answer["tag"]["annotations"], json!({"new": "1"}), "{name}");
        assert_eq!(answer["tag"]["generation"], generation, "{name}");
        assert_eq!(answer["lookupPolicy"]["local"], false);
    }
    // What was read can be written back: nothing happens.
    for resource in BOTH {
        let what = format!("{resource}/s:both");
        let (_, object) = server.get(&what).await;
        assert_eq!(put(resource, "s:both", &object).await, (200, object));
    }
    // Without tag the annotations alone change; 0 asks for a new import.
    let (_, mut object) = server.get("imagestreamtags/s:both").await;
    object["metadata"]["annotations"] = json!({"newer": "2"});
    object["tag"] = Value::Null;
    let (code, answer) = put("imagestreamtags", "s:both", &object).await;
    assert_eq!((code, &answer["tag"]["from"]), (200, &docker("x/y")));
    assert_eq!(answer["tag"]["annotations"], json!({"newer": "2"}));
    assert_eq!(answer["tag"]["generation"], 2);
    let (_, mut object) = server.get("imagestreamtags/s:both").await;
    object["tag"]["generation"] = json!(0);
    let (code, answer) = put("imagestreamtags", "s:both", &object).await;
    let (_, stream) = server.get("imagestreams/s").await;
    assert_eq!(
        (code, &answer["tag"]["generation"]),
        (200, &stream["metadata"]["generation"])
    );
}

#[tokio::test]
async fn an_update_of_an_image_tag_without_spec_removes_it_and_keeps_the_history() {
    let server = server().await;
    for (name, code) in [("s:both", 200), ("s:pushed", 201)] {
        let what = format!("imagetags/{name}");
        let (_, mut object) = server.get(&what).await;
        object["spec"] = Value::Null;
        let (answered, answer) = server.send("admin", "PUT", &path(&what), Some(&object)).await;
        assert_eq!((answered, &answer["spec"]), (code, &Value::Null), "{answer}");
        assert_eq!(answer["status"], object["status"]);
    }
    let stream = stream(&server).await;
    assert_eq!(names(&stream["spec"]["tags"], "name"), ["ref", "wanted"]);
    assert_eq!(
        names(&stream["status"]["tags"], "tag"),
        ["both", "gone", "pushed", "ref"]
    );
}

#[tokio::test]
async fn an_update_that_may_not_be_made_changes_nothing() {
    let server = server().await;
    let before = stream(&server).await;
    let version = before["metadata"]["resourceVersion"].as_str().unwrap();
    let reference = json!({"name": "both", "from": docker("x/y")});
    let with = |resource: &str, name: &str, spec: &Value, metadata: &Value| {
        let mut object = tag(resource, name, spec);
        let fields = metadata.as_object().unwrap().clone();
        object["metadata"].as_object_mut().unwrap().extend(fields);
        object
    };
    let old = json!({"resourceVersion": "1"});
    let outdated = |resource: &str| {
        format!(
            "Operation cannot be fulfilled on {resource}.image.openshift.io \"s:both\": another caller has updated \
             the resource version to {version}"
        )
    };
    for resource in BOTH {
        for (name, code, expected) in [
            ("s:both", 409, outdated(resource)),
            (
                "o:t",
                404,
                format!("{resource}.image.openshift.io \"o:t\" not found"),
            ),
        ] {
            let object = with(resource, name, &reference, &old);
            let target = path(&format!("{resource}/{name}"));
            let (answered, answer) = server.send("admin", "PUT", &target, Some(&object)).await;
            assert_eq!((answered, message(&answer)), (code, expected.as_str()));
        }
    }
    for (resource, name, object, code, expected) in [
        (
            "imagestreamtags",
            "s:pushed",
            with("imagestreamtags", "s:pushed", &Value::Null, &json!({})),
            400,
            "imagestreamtag pushed is not a spec tag in imagestream n/s, cannot be updated",
        ),
        (
            "imagestreamtags",
            "s:both",
            with(
                "imagestreamtags",
                "s:both",
                &reference,
                &json!({"labels": {"x": "y"}}),
            ),
            422,
            "ImageStreamTag.image.openshift.io \"s:both\" is invalid: metadata: Invalid value: \"\": may not update \
             fields other than metadata.annotations",
        ),
        (
            "imagetags",
            "s:both",
            with("imagetags", "s:both", &reference, &json!({})),
            422,
            "ImageTag.image.openshift.io \"s:both\" is invalid: [metadata: Invalid value: \"\": may not update fields \
             other than spec, status: Invalid value: \"\": may not update fields other than spec]",
        ),
        (
            "imagestreamtags",
            "s:both",
            with("imagestreamtags", "s:other", &reference, &json!({})),
            400,
            "the name of the object (s:other) does not match the name on the URL (s:both)",
        ),
    ] {
        let target = path(&format!("{resource}/{name}"));
        let (answered, answer) = server.send("admin", "PUT", &target, Some(&object)).await;
        assert_eq!((answered, message(&answer)), (code, expected));
    }
    assert_eq!(stream(&server).await, before);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_makes_what_is_not_there() {
    let server = server().await;
    for resource in BOTH {
        let field = if resource == "imagestreamtags" {
            "tag"
        } else {
            "spec"
        };
        let patch = async |name: &str, patch: Value| {
            let target = path(&format!("{resource}/{name}"));
            server.send("admin", "PATCH", &target, Some(&patch)).await
        };
        let (code, answer) = patch("s:both", json!({field: {"from": {"name": resource}}})).await;
        assert_eq!((code, &spec(resource, &answer)["from"]), (200, &docker(resource)));
        let created = json!({field: {"name": resource, "from": docker("x/y")}});
        let (code, answer) = patch(&format!("s:{resource}"), created.clone()).await;
        assert_eq!(
            (code, &spec(resource, &answer)["from"]),
            (201, &docker("x/y")),
            "{answer}"
        );
        let (code, _) = patch(&format!("{resource}:{resource}"), created).await;
        assert_eq!(code, 201);
    }
}

#[tokio::test]
async fn a_deleted_tag_is_gone_from_spec_and_status() {
    for resource in BOTH {
        let server = server().await;
        let delete = async |name: &str, options: Option<Value>| {
            let target = path(&format!("{resource}/{name}"));
            server.send("admin", "DELETE", &target, options.as_ref()).await
        };
        let uid = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}});
        let (code, answer) = delete("s:both", Some(uid)).await;
        let expected = format!(
            "Operation cannot be fulfilled on {resource}.image.openshift.io \"s:both\": the UID precondition was not met"
        );
        assert_eq!((code, message(&answer)), (409, expected.as_str()));
        for name in ["s:both", "s:pushed", "s:wanted", "s:ref", "s:gone"] {
            let (code, answer) = delete(name, None).await;
            let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
            assert_eq!((code, answer), (200, success), "{resource} {name}");
            let (code, answer) = delete(name, None).await;
            let expected = format!("{resource}.image.openshift.io \"{name}\" not found");
            assert_eq!((code, message(&answer)), (404, expected.as_str()));
        }
        let stream = stream(&server).await;
        assert_eq!(
            (stream["spec"].get("tags"), stream["status"].get("tags")),
            (None, None)
        );
        let (code, answer) = delete("o:t", None).await;
        let expected = format!("{resource}.image.openshift.io \"o\" not found");
        assert_eq!((code, message(&answer)), (404, expected.as_str()));
        assert_eq!(server.images().await, [DIGEST], "images outlive tags");
    }
}

#[tokio::test]
async fn a_dry_run_answers_as_if_and_stores_nothing() {
    let server = server().await;
    let before = (
        stream(&server).await,
        server.context.store.current_revision().await.unwrap(),
    );
    let reference = json!({"from": docker("x/y")});
    for resource in BOTH {
        for (method, what, object, code) in [
            (
                "POST",
                resource.to_owned(),
                Some(tag(resource, "s:new", &reference)),
                201,
            ),
            (
                "POST",
                resource.to_owned(),
                Some(tag(resource, "o:new", &reference)),
                201,
            ),
            (
                "PATCH",
                format!("{resource}/s:new"),
                Some(tag(
                    resource,
                    "s:new",
                    &json!({"name": "new", "from": docker("x/y")}),
                )),
                201,
            ),
            ("DELETE", format!("{resource}/s:both"), None, 200),
        ] {
            let target = format!("{}?dryRun=All", path(&what));
            let (answered, answer) = server.send("admin", method, &target, object.as_ref()).await;
            assert_eq!(answered, code, "{method} {what}: {answer}");
        }
    }
    let after = (
        stream(&server).await,
        server.context.store.current_revision().await.unwrap(),
    );
    assert_eq!(after, before);
    assert_eq!(server.get("imagestreams/o").await.0, 404);
}

#[tokio::test]
async fn lists_show_the_tags_of_the_streams_that_are_chosen() {
    let server = server().await;
    let other = tag("imagetags", "o:t", &json!({"from": docker("x/y")}));
    server.post("admin", "imagetags", &other, 201).await;
    for (what, expected) in [
        ("imagestreamtags", vec!["s:both", "s:gone", "s:pushed"]),
        (
            "imagetags",
            vec!["o:t", "s:both", "s:gone", "s:pushed", "s:ref", "s:wanted"],
        ),
        (
            "imagetags?labelSelector=app%3Dx",
            vec!["s:both", "s:gone", "s:pushed", "s:ref", "s:wanted"],
        ),
        ("imagetags?labelSelector=app%21%3Dx", vec!["o:t"]),
        ("imagetags?fieldSelector=metadata.name%3Ds", vec![]),
        ("imagetags?fieldSelector=metadata.name%3Ds%3Aboth", vec![]),
        (
            "imagestreamtags?fieldSelector=metadata.name%21%3Ds%3Aboth",
            vec!["s:gone", "s:pushed"],
        ),
        ("imagestreamtags?fieldSelector=metadata.namespace%3Dm", vec![]),
        ("imagetags?limit=1", vec!["o:t"]),
    ] {
        let (code, list) = server.get(what).await;
        assert_eq!(code, 200, "{list}");
        let items = list["items"].as_array().unwrap().iter();
        let found: Vec<_> = items
            .map(|item| item["metadata"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected, "{what}");
        assert_eq!(list["metadata"], json!({}), "{what}");
    }
    for resource in BOTH {
        let everywhere = format!("/apis/{GROUP}/v1/{resource}");
        let (_, list) = server.send("admin", "GET", &everywhere, None).await;
        assert_eq!(list["items"], server.get(resource).await.1["items"]);
        let (code, answer) = server
            .get(&format!(
                "{resource}?fieldSelector=spec.dockerImageRepository%3Dx"
            ))
            .await;
        let expected = "\"spec.dockerImageRepository\" is not a known field selector: only \"metadata.name\", \
                        \"metadata.namespace\"";
        assert_eq!((code, message(&answer)), (400, expected));
        let (code, answer) = server.get(&format!("{resource}?watch=true")).await;
        let expected =
            format!("watch is not supported on resources of kind \"{resource}.image.openshift.io\"");
        assert_eq!((code, message(&answer)), (405, expected.as_str()));
    }
}

#[tokio::test]
async fn a_tag_of_another_namespace_is_for_those_who_may_pull_from_there() {
    let server = server().await;
    let other =
        json!({"kind": "ImageStream", "apiVersion": format!("{GROUP}/v1"), "metadata": {"name": "o"}});
    let target = format!("/apis/{GROUP}/v1/namespaces/m/imagestreams");
    assert_eq!(server.send("admin", "POST", &target, Some(&other)).await.0, 201);
    let from = json!({"kind": "ImageStreamTag", "namespace": "m", "name": "o:x"});
    let object = tag("imagetags", "s:new", &json!({"from": from}));
    let refused = server.post("dev", "imagetags", &object, 422).await;
    let expected = "ImageStream.image.openshift.io \"s\" is invalid: []: Internal error: imagestreams \"s\" is invalid: \
                    spec.tags[new].from: Forbidden: m/o: ";
    assert!(message(&refused).starts_with(expected), "{refused}");
    server.grant(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: pull, namespace: m}
rules: [{apiGroups: [image.openshift.io], resources: [imagestreams/layers], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: pull, namespace: m}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: pull}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dev}]
",
    );
    server.post("dev", "imagetags", &object, 201).await;
}
