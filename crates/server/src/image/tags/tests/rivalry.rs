//! Many who edit one stream at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;

use super::{BOTH, docker, filled, message, names, path, server, stream, tag};
use crate::image::testing::{Options, Rival, TestServer};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_edits_of_one_stream_at_once_lose_none() {
    let server = Arc::new(server().await);
    let mut edits = JoinSet::new();
    for number in 0..200 {
        let server = Arc::clone(&server);
        edits.spawn(async move {
            let resource = BOTH[number % 2];
            let name = format!("s:t{number}");
            let object = tag(
                resource,
                &name,
                &json!({"name": format!("t{number}"), "from": docker(&format!("x/y:{number}"))}),
            );
            let target = path(resource);
            match number % 4 {
                0 | 1 => server.send("admin", "POST", &target, Some(&object)).await.0,
                2 => {
                    let target = format!("{target}/{name}");
                    server.send("admin", "PUT", &target, Some(&object)).await.0
                }
                _ => {
                    let target = format!("{target}/{name}");
                    server.send("admin", "PATCH", &target, Some(&object)).await.0
                }
            }
        });
    }
    let codes: BTreeSet<u16> = edits.join_all().await.into_iter().collect();
    assert_eq!(codes, BTreeSet::from([201]));
    let stream = stream(&server).await;
    let tags = names(&stream["spec"]["tags"], "name");
    let mut expected: Vec<String> = (0..200).map(|number| format!("t{number}")).collect();
    expected.extend(["both", "ref", "wanted"].map(str::to_owned));
    expected.sort();
    assert_eq!(tags, expected);
    assert_eq!(stream["metadata"]["generation"], 201);
}

#[tokio::test]
async fn edits_are_repeated_on_what_others_made_of_the_stream_so_many_times() {
    let rival = Arc::new(Rival::default());
    let options = Options {
        rival: Some(Arc::clone(&rival)),
        ..Options::default()
    };
    let server = filled(TestServer::start_with(options).await).await;
    let spec = json!({"name": "new", "from": docker("x/y")});
    for resource in BOTH {
        let one = path(&format!("{resource}/s:new"));
        let gave_up = |operation: &str| {
            format!(
                "The {operation} operation against {resource}.image.openshift.io could not be completed at this time, \
                 please try again."
            )
        };
        let conflict = format!(
            "Operation cannot be fulfilled on {resource}.image.openshift.io \"s\": the object has been modified; \
             please apply your changes to the latest version and try again"
        );
        let object = tag(resource, "s:new", &spec);
        let mut named = object.clone();
        for (method, target, lost, attempts, code, expected) in [
            ("POST", path(resource), 10, 10, 500, gave_up("create")),
            ("POST", path(resource), 9, 10, 201, String::new()),
            ("DELETE", one.clone(), 10, 10, 500, gave_up("delete")),
            ("DELETE", one.clone(), 9, 10, 200, String::new()),
            ("PATCH", one.clone(), 4, 4, 409, conflict.clone()),
            ("PATCH", one.clone(), 3, 4, 201, String::new()),
        ] {
            rival.forestall(lost);
            let body = (method != "DELETE").then_some(&object);
            let (answered, answer) = server.send("admin", method, &target, body).await;
            assert_eq!(
                (answered, message(&answer)),
                (code, expected.as_str()),
                "{method} {lost}"
            );
            assert_eq!(rival.tried(), attempts, "{method} {lost}");
            if code == 500 {
                assert_eq!(answer["details"]["retryAfterSeconds"], 2);
            }
        }
        // Who names the state that is changed is told at once that it is another one.
        rival.forestall(1);
        named["metadata"]["resourceVersion"] = stream(&server).await["metadata"]["resourceVersion"].clone();
        let patch = json!({"metadata": named["metadata"], if resource == "imagetags" { "spec" } else { "tag" }:
                           {"from": docker("x/z")}});
        let (code, answer) = server.send("admin", "PATCH", &one, Some(&patch)).await;
        assert_eq!(
            (code, message(&answer), rival.tried()),
            (409, conflict.as_str(), 1)
        );
        assert_eq!(server.send("admin", "DELETE", &one, None).await.0, 200);
    }
}
