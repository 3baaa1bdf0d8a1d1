//! Projects and oneself, as OpenShift's clients ask for them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use imagestream_tests::client::Client;
use imagestream_tests::kubectl::{Kubectl, is_installed};
use imagestream_tests::server::{ADMIN, DEV, NOBODY, Server};
use reqwest::Method;
use serde_json::{Value, json};

const PROJECTS: &str = "/apis/project.openshift.io/v1/projects";
const REQUESTS: &str = "/apis/project.openshift.io/v1/projectrequests";
const ONESELF: &str = "/apis/user.openshift.io/v1/users/~";
const PATIENCE: Duration = Duration::from_secs(60);

/// Roles come in force a moment after they are stored.
async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn request(name: &str) -> Value {
    json!({"kind": "ProjectRequest", "apiVersion": "project.openshift.io/v1", "metadata": {"name": name},
           "displayName": "My own", "description": "For a try"})
}

/// Lets `dev` ask for projects.
async fn provision(server: &Server) {
    let binding = json!({"kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "dev-provisions"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "self-provisioner"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dev"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let _ = Client::new(server, ADMIN).post(bindings, &binding).await.ok();
    let dev = Client::new(server, DEV);
    until("dev may ask for projects", || async {
        dev.post(&format!("{REQUESTS}?dryRun=All"), &request("tried"))
            .await
            .status
            == 201
    })
    .await;
}

/// What a watch shows in its first second.
async fn watched(client: &Client, from: &str) -> Vec<String> {
    let query = format!("watch=true&timeoutSeconds=1&resourceVersion={from}");
    let events = client.get(&format!("{PROJECTS}?{query}")).await.text;
    let events = events.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        let (kind, name) = (&event["object"]["kind"], &event["object"]["metadata"]["name"]);
        [&event["type"], kind, name]
            .map(|text| text.as_str().unwrap())
            .join(" ")
    });
    events.collect()
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_who_they_are_and_nobody_who_others_are() {
    let server = Server::start();
    let dev = Client::new(&server, DEV);
    assert_eq!(
        dev.get(ONESELF).await.ok(),
        json!({"kind": "User", "apiVersion": "user.openshift.io/v1",
               "metadata": {"name": "dev", "uid": "dev-uid", "creationTimestamp": null},
               "identities": null, "groups": ["system:authenticated"]})
    );
    let admin = Client::new(&server, ADMIN).get(ONESELF).await.ok();
    assert_eq!(admin["groups"], json!(["system:authenticated", "system:masters"]));
    assert_eq!(
        dev.get("/apis/user.openshift.io/v1/users/admin").await.status,
        403
    );
    assert_eq!(
        Client::new(&server, ADMIN)
            .get("/apis/user.openshift.io/v1/users/dev")
            .await
            .status,
        404
    );
    assert_eq!(Client::new(&server, None).get(ONESELF).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_a_project_may_do_everything_in_it_and_sees_no_other() {
    let server = Server::start();
    let (admin, dev) = (Client::new(&server, ADMIN), Client::new(&server, DEV));
    admin.create_namespace("team").await;
    assert_eq!(
        Client::new(&server, NOBODY)
            .post(REQUESTS, &request("no"))
            .await
            .status,
        403
    );
    assert_eq!(names(&dev.get(PROJECTS).await.ok()), Vec::<&str>::new());
    provision(&server).await;
    assert_eq!(
        admin.get("/api/v1/namespaces/tried").await.status,
        404,
        "a dry run makes nothing"
    );
    assert_eq!(dev.get(REQUESTS).await.ok()["status"], "Success");

    let made = dev.post(REQUESTS, &request("mine")).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(
        (&made.json["kind"], &made.json["apiVersion"]),
        (&json!("Project"), &json!("project.openshift.io/v1"))
    );
    assert_eq!(
        made.json["metadata"]["annotations"],
        json!({"openshift.io/description": "For a try", "openshift.io/display-name": "My own",
               "openshift.io/requester": "dev"})
    );
    assert_eq!(made.json["status"], json!({"phase": "Active"}));
    let again = dev.post(REQUESTS, &request("mine")).await;
    assert_eq!(
        (again.status, &again.json["message"]),
        (
            409,
            &json!("project.project.openshift.io \"mine\" already exists")
        )
    );
    let wrong = dev.post(REQUESTS, &request("Not_a_name")).await;
    assert_eq!(
        (wrong.status, &wrong.json["reason"]),
        (422, &json!("Invalid")),
        "{}",
        wrong.text
    );

    let mine = format!("{PROJECTS}/mine");
    until("dev sees the project", || async {
        dev.get(&mine).await.status == 200
    })
    .await;
    assert_eq!(names(&dev.get(PROJECTS).await.ok()), ["mine"]);
    assert_eq!(
        names(&admin.get(PROJECTS).await.ok()),
        ["default", "mine", "team"]
    );
    let hidden = dev.get(&format!("{PROJECTS}/team")).await;
    assert_eq!(
        (hidden.status, &hidden.json["message"]),
        (
            403,
            &json!(
                "projects.project.openshift.io \"team\" is forbidden: User \"dev\" cannot get resource \"projects\" \
                      in API group \"project.openshift.io\" in the namespace \"team\""
            )
        )
    );
    let missing = admin.get(&format!("{PROJECTS}/none")).await;
    assert_eq!(
        (missing.status, &missing.json["message"]),
        (404, &json!("projects.project.openshift.io \"none\" not found"))
    );
    assert_eq!(watched(&dev, "").await, ["ADDED Project mine"]);

    let stream =
        json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "app"}});
    let _ = dev
        .post(
            "/apis/image.openshift.io/v1/namespaces/mine/imagestreams",
            &stream,
        )
        .await
        .ok();
    let elsewhere = dev.delete(&format!("{PROJECTS}/team")).await;
    assert_eq!(elsewhere.status, 403);
    assert_eq!(dev.delete(&mine).await.ok()["kind"], "Project");
    until("the project is gone", || async {
        admin.get(&mine).await.status == 404
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_seen_a_project_is_told_of_its_end_and_nobody_else() {
    let server = Server::start();
    let (admin, dev) = (Client::new(&server, ADMIN), Client::new(&server, DEV));
    provision(&server).await;
    for name in ["mine", "lost"] {
        assert_eq!(dev.post(REQUESTS, &request(name)).await.status, 201);
    }
    assert_eq!(admin.post(REQUESTS, &request("hidden")).await.status, 201);
    let listed = dev.get(PROJECTS).await.ok();
    assert_eq!(names(&listed), ["lost", "mine"]);

    // By the time the watch begins nothing is left that tells who could see what.
    let binding = "/apis/rbac.authorization.k8s.io/v1/namespaces/lost/rolebindings/admin";
    let _ = admin.delete(binding).await.ok();
    assert_eq!(dev.post(REQUESTS, &request("later")).await.status, 201);
    for name in ["hidden", "lost", "mine", "later"] {
        let project = format!("{PROJECTS}/{name}");
        let _ = admin.delete(&project).await.ok();
        until("the project is gone", || async {
            admin.get(&project).await.status == 404
        })
        .await;
    }
    let from = listed["metadata"]["resourceVersion"].as_str().unwrap();
    let events = watched(&dev, from).await;
    let about = |name: &str| -> Vec<&str> {
        let events = events.iter().filter(|event| event.ends_with(name));
        events.map(String::as_str).collect()
    };
    assert_eq!(about("mine"), ["DELETED Project mine"]);
    assert_eq!(about("lost"), ["DELETED Project lost"]);
    assert_eq!(
        events.len(),
        2,
        "what came and went meanwhile, and what others have, is not for dev: {events:?}"
    );
    assert!(watched(&Client::new(&server, NOBODY), from).await.is_empty());
}

/// A watch that goes on.
struct Watch {
    response: reqwest::Response,
    received: Vec<u8>,
}

impl Watch {
    async fn begin(client: &Client) -> Self {
        let path = format!("{PROJECTS}?watch=true");
        let request = client.request(Method::GET, &path);
        Self {
            response: request.send().await.unwrap().error_for_status().unwrap(),
            received: Vec::new(),
        }
    }

    /// The type and the name of the next event.
    async fn next(&mut self) -> String {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                let name = &event["object"]["metadata"]["name"];
                return [&event["type"], name]
                    .map(|text| text.as_str().unwrap())
                    .join(" ");
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.expect("an event").unwrap().expect("the watch goes on");
            self.received.extend_from_slice(&chunk);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_of_every_project_that_its_user_makes_is_let_into_and_loses() {
    let server = Server::start();
    let (admin, dev) = (Client::new(&server, ADMIN), Client::new(&server, DEV));
    provision(&server).await;
    admin.create_namespace("shared").await;
    let mut watch = Watch::begin(&dev).await;
    let mut told = BTreeSet::new();
    let mut made = BTreeSet::new();
    for number in 0..50 {
        let name = format!("p{number}");
        assert_eq!(dev.post(REQUESTS, &request(&name)).await.status, 201);
        made.insert(format!("ADDED {name}"));
    }
    while told.len() < made.len() {
        told.insert(watch.next().await);
    }
    assert_eq!(told, made);

    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/shared/rolebindings";
    let binding = json!({"kind": "RoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "dev"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dev"}]});
    let _ = admin.post(bindings, &binding).await.ok();
    assert_eq!(watch.next().await, "ADDED shared");
    let _ = admin.delete(&format!("{bindings}/dev")).await.ok();
    assert_eq!(watch.next().await, "DELETED shared");
}

#[test]
fn kubectl_shows_projects_in_a_table_of_their_own() {
    if !is_installed() {
        return;
    }
    let server = Server::start();
    let kubectl = Kubectl::new(server.kubeconfig());
    let _ = kubectl.ok_with(&["create", "-f", "-"], &request("shown").to_string());
    let table = kubectl.ok(&["get", "projects"]);
    let mut lines = table.lines();
    let head: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "DISPLAY", "NAME", "STATUS"]);
    let shown: Vec<_> = lines.last().unwrap().split_whitespace().collect();
    assert_eq!(shown, ["shown", "My", "own", "Active"]);
    assert!(
        kubectl
            .ok(&["explain", "project"])
            .contains("A namespace, with what people call it.")
    );
}
