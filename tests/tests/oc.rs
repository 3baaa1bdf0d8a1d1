//! The requests that `oc` makes, in its order and with its headers, as an ordinary user; and what `kubectl` can ask of the
//! same endpoints.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use http::Method;
use imagestream_testkit::content::Content;
use imagestream_testkit::registry::TestRegistry;
use imagestream_testkit::samples;
use imagestream_tests::client::{Answer, Client};
use imagestream_tests::kubectl::{Kubectl, is_installed};
use imagestream_tests::server::{ADMIN, DEV, NOBODY, Server};
use serde_json::{Value, json};

const PROJECTS: &str = "/apis/project.openshift.io/v1/projects";
const REQUESTS: &str = "/apis/project.openshift.io/v1/projectrequests";
const ME: &str = "/apis/user.openshift.io/v1/users/~";
const IMAGES: &str = "/apis/image.openshift.io/v1/namespaces";
/// What typed clients accept.
const TYPED: &str = "application/json, */*";
/// What `oc get` accepts.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// A request of `oc`.
async fn ask(client: &Client, method: Method, path: &str, accept: &str, body: &Value) -> Answer {
    let mut request = client.request(method.clone(), path).header("accept", accept);
    if !body.is_null() {
        let content_type = match method {
            Method::PATCH => "application/strategic-merge-patch+json",
            _ => "application/json",
        };
        request = request
            .header("content-type", content_type)
            .body(body.to_string());
    }
    Client::answer(request).await.expect("an answer")
}

async fn get(client: &Client, path: &str) -> Answer {
    ask(client, Method::GET, path, TYPED, &Value::Null).await
}

fn project_request(name: &str) -> Value {
    json!({"kind": "ProjectRequest", "apiVersion": "project.openshift.io/v1",
           "metadata": {"name": name, "creationTimestamp": null}, "displayName": "The Shop",
           "description": "where things are sold"})
}

/// A server whose administrator lets everybody make projects.
async fn started() -> Server {
    let server = Server::start();
    let binding = json!({"kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "everybody-provisions"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "self-provisioner"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let made = Client::new(&server, ADMIN).post(bindings, &binding).await;
    assert_eq!(made.status, 201, "{made:?}");
    server
}

/// `oc new-project`.
async fn new_project(client: &Client, name: &str) -> Value {
    let may = get(client, REQUESTS).await.ok();
    assert_eq!(
        (&may["kind"], &may["status"]),
        (&json!("Status"), &json!("Success"))
    );
    let answer = ask(client, Method::POST, REQUESTS, TYPED, &project_request(name)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn whoami_tells_every_user_who_they_are_and_nobody_else() {
    let server = Server::start();
    for (token, name) in [(NOBODY, "nobody"), (DEV, "dev"), (ADMIN, "admin")] {
        let client = Client::new(&server, token);
        let user = get(&client, ME).await.ok();
        assert_eq!(user["kind"], "User");
        assert_eq!(user["apiVersion"], "user.openshift.io/v1");
        assert_eq!(user["metadata"]["name"], name);
        assert_eq!(user["metadata"]["uid"], format!("{name}-uid"));
        assert_eq!(user["identities"], Value::Null);
        let groups = user["groups"].as_array().unwrap();
        assert!(groups.contains(&json!("system:authenticated")), "{user}");
    }
    let nobody = Client::new(&server, NOBODY);
    let other = get(&nobody, "/apis/user.openshift.io/v1/users/dev").await;
    assert_eq!((other.status, &other.json["reason"]), (403, &json!("Forbidden")));
    let admin = Client::new(&server, ADMIN);
    let missing = get(&admin, "/apis/user.openshift.io/v1/users/dev").await;
    assert_eq!(missing.status, 404);
    assert_eq!(
        missing.json["message"],
        "users.user.openshift.io \"dev\" not found"
    );
    let unknown = get(&Client::new(&server, "no-such-token"), ME).await;
    assert_eq!(unknown.status, 401);
    // Newer clients ask in Kubernetes' own way first.
    let review = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = ask(&nobody, Method::POST, path, TYPED, &review).await.ok();
    assert_eq!(answer["status"]["userInfo"]["username"], "nobody");
    let protobuf = ask(
        &nobody,
        Method::GET,
        ME,
        "application/vnd.kubernetes.protobuf,application/json",
        &Value::Null,
    )
    .await;
    assert_eq!(protobuf.status, 200);
    assert_eq!(
        protobuf.headers["content-type"],
        "application/vnd.kubernetes.protobuf"
    );
}

#[tokio::test]
async fn new_project_makes_a_namespace_in_which_its_requester_may_do_everything_and_others_nothing() {
    let server = started().await;
    let (user, stranger) = (Client::new(&server, NOBODY), Client::new(&server, DEV));
    let project = new_project(&user, "shop").await;
    assert_eq!(project["kind"], "Project");
    assert_eq!(project["apiVersion"], "project.openshift.io/v1");
    assert_eq!(project["status"], json!({"phase": "Active"}));
    assert_eq!(
        project["metadata"]["annotations"],
        json!({"openshift.io/description": "where things are sold", "openshift.io/display-name": "The Shop",
               "openshift.io/requester": "nobody"})
    );
    // oc project, oc projects, oc get projects
    let shown = get(&user, &format!("{PROJECTS}/shop")).await.ok();
    assert_eq!(shown, project);
    let list = get(&user, PROJECTS).await.ok();
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("ProjectList"), &json!("project.openshift.io/v1"))
    );
    assert_eq!(names(&list), ["shop"]);
    let table = ask(&user, Method::GET, PROJECTS, TABLE, &Value::Null).await.ok();
    assert_eq!(table["kind"], "Table");
    let columns = table["columnDefinitions"].as_array().unwrap().iter();
    let columns: Vec<&str> = columns.map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Name", "Display Name", "Status"]);
    assert_eq!(table["rows"][0]["cells"], json!(["shop", "The Shop", "Active"]));
    let binding = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings/admin";
    let binding = get(&user, binding).await.ok();
    assert_eq!(binding["roleRef"]["name"], "admin");
    assert_eq!(
        binding["subjects"],
        json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "nobody"}])
    );

    // The others: nothing of it.
    assert!(names(&get(&stranger, PROJECTS).await.ok()).is_empty());
    for path in [
        format!("{PROJECTS}/shop"),
        format!("{PROJECTS}/missing"),
        // Not a way around the rule by which one's own namespace counts.
        "/api/v1/namespaces/shop".into(),
        format!("{IMAGES}/shop/imagestreams"),
    ] {
        let refused = get(&stranger, &path).await;
        assert_eq!(refused.status, 403, "{path}: {refused:?}");
    }
    let elsewhere = get(
        &user,
        "/apis/project.openshift.io/v1/namespaces/shop/projects/default",
    )
    .await;
    assert!(elsewhere.status >= 400, "{elsewhere:?}");
    let refused = get(&stranger, &format!("{PROJECTS}/shop")).await;
    assert_eq!(
        refused.json["message"],
        "projects.project.openshift.io \"shop\" is forbidden: User \"dev\" cannot get resource \"projects\" in API group \
         \"project.openshift.io\" in the namespace \"shop\""
    );
    // The administrator sees all of them.
    let all = get(&Client::new(&server, ADMIN), PROJECTS).await.ok();
    assert!(names(&all).contains(&"default") && names(&all).contains(&"shop"));

    for (name, status, message) in [
        (
            "shop",
            409,
            "project.project.openshift.io \"shop\" already exists",
        ),
        (
            "kube-shop",
            403,
            "project.project.openshift.io \"kube-shop\" is forbidden: cannot request a project starting with \"kube-\"",
        ),
        (
            "s",
            422,
            "ProjectRequest.project.openshift.io \"s\" is invalid: metadata.name: Invalid value: \"s\": must be at least 2 \
             characters long",
        ),
    ] {
        let answer = ask(&stranger, Method::POST, REQUESTS, TYPED, &project_request(name)).await;
        assert_eq!(
            (answer.status, answer.json["message"].as_str().unwrap()),
            (status, message)
        );
    }
    let tried = format!("{REQUESTS}?dryRun=All");
    let tried = ask(&user, Method::POST, &tried, TYPED, &project_request("tried")).await;
    assert_eq!(tried.status, 201, "{tried:?}");
    assert_eq!(names(&get(&user, PROJECTS).await.ok()), ["shop"]);
}

#[tokio::test]
async fn who_may_not_make_projects_is_told_so_before_they_try() {
    let server = Server::start();
    let admin = Client::new(&server, ADMIN);
    let user = Client::new(&server, NOBODY);
    let refused = get(&user, REQUESTS).await;
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.json["message"],
        "You may not request a new project via this API."
    );
    let refused = ask(&user, Method::POST, REQUESTS, TYPED, &project_request("shop")).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(get(&admin, "/api/v1/namespaces/shop").await.status, 404);
}

#[tokio::test]
async fn delete_project_ends_it_for_its_administrator_only_and_never_the_default_one() {
    let server = started().await;
    let (user, stranger) = (Client::new(&server, NOBODY), Client::new(&server, DEV));
    let _ = new_project(&user, "shop").await;
    let shop = format!("{PROJECTS}/shop");
    assert_eq!(stranger.delete(&shop).await.status, 403);
    let admin = Client::new(&server, ADMIN);
    let refused = admin.delete(&format!("{PROJECTS}/default")).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let watch = format!("{PROJECTS}?watch=true&timeoutSeconds=60&fieldSelector=metadata.name%3Dshop");
    // It has begun once it is answered, so that nothing is missed.
    let mut watching = user
        .request(Method::GET, &watch)
        .send()
        .await
        .expect("a watch that begins");
    let answer = user.delete(&shop).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut text = String::new();
    while !text.contains("\"DELETED\"") {
        let chunk = watching.chunk().await.expect("a watch that goes on");
        let chunk = chunk.expect("a watch that ends with the project");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(!text.contains("\"Namespace\""), "{text}");
    assert!(text.contains("\"Project\""), "{text}");
    assert!(names(&get(&user, PROJECTS).await.ok()).is_empty());
}

#[tokio::test]
async fn images_are_imported_tagged_looked_up_and_described_by_the_requests_of_oc() {
    let content = Content::new()
        .image("team/app", "v1", samples::hello("1.0"))
        .image("team/app", "v2", samples::hello("2.0"));
    let digest = content.digest("team/app", "v1");
    let registry = TestRegistry::start(content);
    let host = registry.host();
    let server = started().await;
    let user = Client::new(&server, NOBODY);
    let _ = new_project(&user, "shop").await;
    let at = |rest: &str| format!("{IMAGES}/shop/{rest}");

    // oc import-image app --from=... --confirm --insecure
    let missing = get(&user, &at("imagestreams/app")).await;
    assert_eq!(
        (missing.status, &missing.json["reason"]),
        (404, &json!("NotFound"))
    );
    let import = |tag: &str, version: Option<&str>| {
        json!({"kind": "ImageStreamImport", "apiVersion": "image.openshift.io/v1",
            "metadata": {"name": "app", "namespace": "shop", "resourceVersion": version, "creationTimestamp": null},
            "spec": {"import": true, "images": [{
                "from": {"kind": "DockerImage", "name": format!("{host}/team/app:{tag}")}, "to": {"name": "latest"},
                "importPolicy": {"insecure": true, "importMode": "Legacy"}, "referencePolicy": {"type": "Source"}}]},
            "status": {}})
    };
    let path = at("imagestreamimports");
    let imported = ask(&user, Method::POST, &path, TYPED, &import("v1", None)).await;
    assert_eq!(imported.status, 201, "{imported:?}");
    assert_eq!(
        imported.json["status"]["images"][0]["status"]["status"],
        "Success"
    );
    assert_eq!(imported.json["status"]["import"]["metadata"]["name"], "app");
    assert_eq!(imported.json["status"]["images"][0]["tag"], "v1");
    // The second one names the state that the client saw.
    let stream = get(&user, &at("imagestreams/app")).await.ok();
    let version = stream["metadata"]["resourceVersion"].as_str();
    let again = ask(&user, Method::POST, &path, TYPED, &import("v1", version)).await;
    assert_eq!(again.status, 201, "{again:?}");

    // oc tag app:latest app:prod: a snapshot. PUT, and POST if there is no such thing.
    let tag = |name: &str, kind: &str, from: &str| {
        json!({"kind": "ImageStreamTag", "apiVersion": "image.openshift.io/v1",
            "metadata": {"name": format!("app:{name}"), "namespace": "shop", "creationTimestamp": null},
            "tag": {"name": name, "annotations": null, "from": {"kind": kind, "name": from}, "generation": null,
                    "importPolicy": {"importMode": "Legacy"}, "referencePolicy": {"type": "Source"}},
            "generation": 0, "lookupPolicy": {"local": false}, "image": {"metadata": {"creationTimestamp": null},
            "dockerImageMetadata": null, "dockerImageLayers": null}})
    };
    let snapshot = tag("prod", "ImageStreamImage", &format!("app@{digest}"));
    let mut written = ask(
        &user,
        Method::PUT,
        &at("imagestreamtags/app:prod"),
        TYPED,
        &snapshot,
    )
    .await;
    if matches!(written.status, 403..=405) {
        written = ask(&user, Method::POST, &at("imagestreamtags"), TYPED, &snapshot).await;
    }
    assert_eq!(written.status, 201, "{written:?}");
    assert_eq!(written.json["image"]["metadata"]["name"], digest);
    let alias = tag("tip", "ImageStreamTag", "latest");
    let written = ask(&user, Method::PUT, &at("imagestreamtags/app:tip"), TYPED, &alias).await;
    assert!(matches!(written.status, 200 | 201), "{written:?}");

    // oc get is, istag
    let table = ask(
        &user,
        Method::GET,
        &at("imagestreams?limit=500"),
        TABLE,
        &Value::Null,
    )
    .await
    .ok();
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["rows"][0]["cells"][0], "app");
    let table = ask(
        &user,
        Method::GET,
        &at("imagestreamtags?limit=500"),
        TABLE,
        &Value::Null,
    )
    .await
    .ok();
    assert_eq!(table["rows"].as_array().unwrap().len(), 3, "{table}");
    // oc describe is, istag, isimage (by the start of its digest)
    let stream = get(&user, &at("imagestreams/app")).await.ok();
    assert_eq!(stream["status"]["tags"].as_array().unwrap().len(), 3);
    let shown = get(&user, &at("imagestreamtags/app:prod")).await.ok();
    assert!(shown["image"]["dockerImageMetadata"].is_object());
    let start = &digest["sha256:".len()..][..12];
    for id in [digest.as_str(), start, &format!("sha256:{start}")] {
        let shown = get(&user, &at(&format!("imagestreamimages/app@{id}"))).await.ok();
        assert_eq!(shown["metadata"]["name"], format!("app@{id}"));
        assert_eq!(shown["image"]["metadata"]["name"], digest);
    }
    // oc set image-lookup app
    let lookup = json!({"spec": {"lookupPolicy": {"local": true}}});
    let path = at("imagestreams/app?fieldManager=kubectl-set");
    let patched = ask(&user, Method::PATCH, &path, TYPED, &lookup).await.ok();
    assert_eq!(patched["spec"]["lookupPolicy"], json!({"local": true}));
    // oc tag -d app:prod
    let gone = user.delete(&at("imagestreamtags/app:prod")).await;
    assert_eq!(gone.status, 200, "{gone:?}");
    let gone = user.delete(&at("imagestreamtags/app:prod")).await;
    assert_eq!(gone.status, 404);
    assert_eq!(
        gone.json["message"],
        "imagestreamtags.image.openshift.io \"app:prod\" not found"
    );
    // Nobody else saw any of it.
    let stranger = Client::new(&server, DEV);
    assert_eq!(get(&stranger, &at("imagestreams/app")).await.status, 403);
}

#[tokio::test]
async fn what_oc_looks_for_and_does_not_need_is_not_found() {
    let server = Server::start();
    for token in [NOBODY, ADMIN] {
        let client = Client::new(&server, token);
        for path in ["/.well-known/oauth-authorization-server", "/version/openshift"] {
            assert_eq!(get(&client, path).await.status, 404, "{path}");
        }
    }
    let admin = Client::new(&server, ADMIN);
    for path in [
        "/apis/route.openshift.io/v1/namespaces/default/routes",
        "/apis/template.openshift.io/v1/namespaces/openshift/templates",
        "/apis/config.openshift.io/v1/clusteroperators/openshift-apiserver",
    ] {
        let answer = get(&admin, path).await;
        assert_eq!(
            (answer.status, &answer.json["kind"], &answer.json["reason"]),
            (404, &json!("Status"), &json!("NotFound")),
            "{path}"
        );
    }
    let groups = get(&admin, "/apis").await.ok();
    let groups = groups["groups"].as_array().unwrap().iter();
    let groups: Vec<&str> = groups.map(|group| group["name"].as_str().unwrap()).collect();
    for group in ["project.openshift.io", "user.openshift.io", "image.openshift.io"] {
        assert!(groups.contains(&group), "{groups:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_asks_for_projects_makes_them_and_deletes_them() {
    if !is_installed() {
        return;
    }
    let server = started().await;
    let user = Kubectl::new(server.kubeconfig_of(NOBODY, "default"));
    let request = project_request("shop").to_string();
    let made: Value =
        serde_json::from_str(&user.ok_with(&["create", "-f", "-", "-o", "json"], &request)).unwrap();
    assert_eq!(
        (&made["kind"], &made["metadata"]["name"]),
        (&json!("Project"), &json!("shop"))
    );
    let table = user.ok(&["get", "projects"]);
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    assert_eq!(
        lines,
        [["NAME", "DISPLAY NAME", "STATUS"], ["shop", "The Shop", "Active"]]
    );
    assert_eq!(
        user.json(&["get", "project", "shop"])["status"]["phase"],
        "Active"
    );
    let me = user.json(&["get", "users.user.openshift.io", "~"]);
    assert_eq!(me["metadata"]["name"], "nobody");
    let explained = user.ok(&["explain", "projectrequests.displayName"]);
    assert!(explained.contains("displayName <string>"), "{explained}");
    let ended = user.ok(&["delete", "project", "shop", "--timeout=60s"]);
    assert!(ended.contains("\"shop\" deleted"), "{ended}");
    assert!(user.fails(&["get", "project", "shop"]).contains("shop"));
}
