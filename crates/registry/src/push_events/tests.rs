use serde_json::{Value, json};

use super::*;

const ALL: [Format; 5] = [
    Format::Distribution,
    Format::DockerHub,
    Format::Quay,
    Format::Harbor,
    Format::Github,
];

/// What a body tells, as references; the registry is `?` if it is not told.
fn told(format: Format, body: &Value) -> Vec<String> {
    let pushed = parse(format, body.to_string().as_bytes()).unwrap();
    pushed
        .into_iter()
        .map(|pushed| {
            let registry = pushed.registry.unwrap_or_else(|| "?".to_owned());
            format!("{registry}/{}:{}", pushed.repository, pushed.tag)
        })
        .collect()
}

/// As a real docker-registry 2.8 sends it.
fn distribution(action: &str, tag: &Value) -> Value {
    json!({
        "id": "asdf-asdf-asdf-asdf-0",
        "timestamp": "2006-01-02T15:04:05Z",
        "action": action,
        "target": {
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "size": 1,
            "digest": "sha256:fea8895f450959fa676bcc1df0611ea93823a735a01205fd8622846041d0c7cf",
            "length": 1,
            "repository": "library/test",
            "url": "http://example.com/v2/library/test/manifests/sha256:fea8",
            "tag": tag
        },
        "request": {"id": "asdfasdf", "addr": "client.local", "host": "registrycluster.local:5000", "method": "PUT"},
        "actor": {"name": "test-actor"},
        "source": {"addr": "hostname.local:port"}
    })
}

#[test]
fn distribution_tells_of_pushes_by_tag_among_other_things() {
    let push = distribution("push", &json!("latest"));
    let body = json!({"events": [
        push,
        push,
        distribution("pull", &json!("pulled")),
        distribution("delete", &json!("deleted")),
        distribution("mount", &json!("mounted")),
        distribution("push", &Value::Null),
        distribution("push", &json!("v2")),
    ]});
    assert_eq!(
        told(Format::Distribution, &body),
        [
            "registrycluster.local:5000/library/test:latest",
            "registrycluster.local:5000/library/test:v2"
        ]
    );
    assert!(told(Format::Distribution, &json!({"events": null})).is_empty());
    let mut without_host = push;
    without_host["request"] = Value::Null;
    assert_eq!(
        told(Format::Distribution, &json!({"events": [without_host]})),
        ["?/library/test:latest"]
    );
}

#[test]
fn docker_hub_tells_of_one_tag() {
    let body = json!({
        "callback_url": "https://registry.hub.docker.com/u/svendowideit/testhook/hook/2141b5bi5i5b02bec211i4eeih0242eg11000a/",
        "push_data": {"pushed_at": 1417566161, "pusher": "trustedbuilder", "tag": "v1"},
        "repository": {
            "comment_count": 0, "date_created": 1417494799, "description": "", "dockerfile": "", "full_description": "",
            "is_official": false, "is_private": true, "is_trusted": true, "name": "testhook", "namespace": "svendowideit",
            "owner": "svendowideit", "repo_name": "svendowideit/testhook",
            "repo_url": "https://registry.hub.docker.com/u/svendowideit/testhook/", "star_count": 0, "status": "Active"
        }
    });
    assert_eq!(
        told(Format::DockerHub, &body),
        ["docker.io/svendowideit/testhook:v1"]
    );
}

#[test]
fn quay_tells_of_the_tags_of_one_repository() {
    let body = json!({
        "name": "repository", "repository": "mynamespace/repository", "namespace": "mynamespace",
        "docker_url": "quay.io/mynamespace/repository", "homepage": "https://quay.io/repository/mynamespace/repository",
        "updated_tags": ["latest", "v1"]
    });
    assert_eq!(
        told(Format::Quay, &body),
        [
            "quay.io/mynamespace/repository:latest",
            "quay.io/mynamespace/repository:v1"
        ]
    );
    let build = json!({"build_id": "296ec063", "repository": "a/b", "docker_url": "quay.io/a/b", "trigger_kind": "github"});
    assert!(told(Format::Quay, &build).is_empty(), "a build is no push");
}

#[test]
fn harbor_tells_of_pushes_in_either_form() {
    let digest = "sha256:8a9e9863dbb6e10edb5adfe917c00da84e1700fa76e7ed02476aa6e6fb8ee0d8";
    let data = json!({
        "resources": [
            {"digest": digest, "tag": "latest", "resource_url": "hub.harbor.com/test-webhook/debian:latest"},
            {"digest": digest, "tag": digest, "resource_url": format!("hub.harbor.com/test-webhook/debian@{digest}")},
        ],
        "repository": {"date_created": 1586922308, "name": "debian", "namespace": "test-webhook",
                       "repo_full_name": "test-webhook/debian", "repo_type": "private"}
    });
    let own = |event_type: &str| json!({"type": event_type, "occur_at": 1586922308, "operator": "admin", "event_data": data});
    let expected = ["hub.harbor.com/test-webhook/debian:latest"];
    assert_eq!(told(Format::Harbor, &own("PUSH_ARTIFACT")), expected);
    for other in ["PULL_ARTIFACT", "DELETE_ARTIFACT", "SCANNING_COMPLETED"] {
        assert!(told(Format::Harbor, &own(other)).is_empty(), "{other}");
    }
    let cloud_event = json!({"specversion": "1.0", "id": "1", "source": "/projects/1/webhook/policies/1",
                             "type": "harbor.artifact.pushed", "datacontenttype": "application/json", "data": data});
    assert_eq!(told(Format::Harbor, &cloud_event), expected);
}

#[test]
fn github_tells_of_versions_of_container_packages() {
    let package = |package_type: &str, tag: &str, url: &str| {
        json!({
            "id": 1, "name": "Hello", "namespace": "Octo-Org", "ecosystem": "CONTAINER", "package_type": package_type,
            "package_version": {
                "version": "sha256:55f8", "package_url": url,
                "container_metadata": {"tag": {"name": tag, "digest": "sha256:55f8"}}
            }
        })
    };
    let url = "ghcr.io/octo-org/hello:v1";
    for (body, expected) in [
        (
            json!({"action": "published", "package": package("CONTAINER", "v1", url)}),
            vec!["ghcr.io/octo-org/hello:v1"],
        ),
        (
            json!({"action": "updated", "registry_package": package("container", "v1", url)}),
            vec!["ghcr.io/octo-org/hello:v1"],
        ),
        (
            json!({"action": "published", "package": package("CONTAINER", "v1", "")}),
            vec!["ghcr.io/octo-org/hello:v1"],
        ),
        (
            json!({"action": "published", "package": package("CONTAINER", "", "ghcr.io/octo-org/hello:")}),
            vec![],
        ),
        (
            json!({"action": "published", "package": package("npm", "v1", "")}),
            vec![],
        ),
        (
            json!({"action": "deleted", "package": package("CONTAINER", "v1", url)}),
            vec![],
        ),
        (
            json!({"zen": "Keep it logically awesome.", "hook_id": 1, "hook": {}}),
            vec![],
        ),
        (
            json!({"action": "published", "package": {"package_type": "CONTAINER", "package_version": null}}),
            vec![],
        ),
    ] {
        assert_eq!(told(Format::Github, &body), expected, "{body}");
    }
}

#[test]
fn what_is_no_tag_is_passed_over() {
    for (host, repository, tag) in [
        ("r.test", "../../etc", "v1"),
        ("r.test", "a/b", "v1@sha256:0"),
        ("r.test", "a/b:c", "v1"),
        ("r.test", "A/b", "v1"),
        ("r.test", "", "v1"),
        ("r.test/x", "a/b", "v1"),
        ("user@r.test", "a/b", "v1"),
        ("r.test\r\nHost: x", "a/b", "v1"),
        (&"h".repeat(300), "a/b", "v1"),
        ("r.test", &"a/".repeat(200), "v1"),
        ("r.test", "a/b", &"v".repeat(129)),
    ] {
        let body = json!({"events": [{"action": "push", "target": {"repository": repository, "tag": tag},
                                      "request": {"host": host}}]});
        assert!(
            told(Format::Distribution, &body).is_empty(),
            "{host} {repository} {tag}"
        );
    }
    for host in ["registry", "r.test", "r.test:5000", "localhost", "127.0.0.1:5000"] {
        let body = json!({"events": [{"action": "push", "target": {"repository": "a", "tag": "b"},
                                      "request": {"host": host}}]});
        assert_eq!(told(Format::Distribution, &body), [format!("{host}/a:b")]);
    }
}

#[test]
fn bodies_are_bounded_in_size_count_and_depth() {
    for format in ALL {
        assert_eq!(
            parse(format, &vec![b' '; MAX_BYTES + 1]),
            Err(EventError::TooLarge)
        );
        for body in ["", "[", "7", "\"x\"", "<html>"] {
            assert!(
                matches!(parse(format, body.as_bytes()), Err(EventError::Malformed(_))),
                "{format:?} {body}"
            );
        }
        let deep = format!("{{\"events\": {}", "[".repeat(100_000));
        assert!(
            matches!(parse(format, deep.as_bytes()), Err(EventError::Malformed(_))),
            "{format:?}"
        );
        assert_eq!(parse(format, b"{}"), Ok(BTreeSet::new()), "{format:?}");
    }
    let tags = |count: usize| {
        let tags: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
        json!({"repository": "a/b", "docker_url": "quay.io/a/b", "updated_tags": tags}).to_string()
    };
    assert_eq!(
        parse(Format::Quay, tags(MAX_PUSHES).as_bytes()).unwrap().len(),
        MAX_PUSHES
    );
    assert_eq!(
        parse(Format::Quay, tags(MAX_PUSHES + 1).as_bytes()),
        Err(EventError::TooMany)
    );
}
