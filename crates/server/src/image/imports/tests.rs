use std::sync::Arc;

use imagestream_api::allowed_registries::{AllowedRegistries, RegistryLocation};
use imagestream_api::types::GROUP;
use imagestream_store::{Limits, Write};
use imagestream_testkit::auth::Auth;
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::image::Image;
use imagestream_testkit::registry::TestRegistry;
use serde_json::{Value, json};

use super::super::testing::{Options, Rival, TestServer, import};

const IMPORTS: &str = "imagestreamimports";

fn registry() -> TestRegistry {
    TestRegistry::start(Content::new().tags("a/b", 3))
}

/// `a/b` of the registry at its first tags, into tags of the same names.
fn two_tags(registry: &TestRegistry) -> Value {
    let tags = registry.content().tag_names("a/b");
    let names: Vec<String> = tags
        .iter()
        .map(|tag| format!("{}/a/b:{tag}", registry.host()))
        .collect();
    import(&[(&names[0], &tags[0]), (&names[1], &tags[1])])
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn requests_for_manifests(registry: &TestRegistry) -> usize {
    let requests = registry.request_lines();
    requests
        .iter()
        .filter(|line| line.contains("/manifests/"))
        .count()
}

/// A server whose streams somebody else may write.
async fn contended() -> (TestServer, Arc<Rival>) {
    let rival = Arc::new(Rival::default());
    let options = Options {
        rival: Some(Arc::clone(&rival)),
        ..Options::default()
    };
    (TestServer::start_with(options).await, rival)
}

/// Writes the stream `s` as it is now.
async fn rewriting(server: &TestServer) -> Write {
    let stream = server.context.streams.get("n", "s").await.unwrap().unwrap();
    server.context.streams.put(&stream.object).unwrap()
}

#[tokio::test]
async fn an_import_is_recorded_with_its_images_in_one_commit_and_shown_as_it_is_stored() {
    let (server, registry) = (TestServer::start().await, registry());
    let answer = server.post("admin", IMPORTS, &two_tags(&registry), 201).await;
    let (code, stream) = server.get("imagestreams/s").await;
    assert_eq!(code, 200);
    assert_eq!(answer["status"]["import"]["spec"], stream["spec"]);
    assert_eq!(answer["status"]["import"]["status"], stream["status"]);
    assert_eq!(answer["status"]["import"]["metadata"], stream["metadata"]);
    assert_eq!(stream["metadata"]["generation"], 1);
    assert_eq!(server.images().await.len(), 2);
    let revision = text(&stream, "/metadata/resourceVersion");
    for image in answer["status"]["images"].as_array().unwrap() {
        assert_eq!(text(image, "/image/metadata/resourceVersion"), revision);
        assert!(!text(image, "/image/metadata/uid").is_empty());
        assert_eq!(text(image, "/image/dockerImageManifest"), "");
    }
    // The import itself is not stored, but looks as if it were.
    assert!(!text(&answer, "/metadata/uid").is_empty());
    assert_eq!(text(&answer, "/metadata/resourceVersion"), "");
}

#[tokio::test]
async fn importing_again_what_is_there_writes_nothing() {
    let (server, registry) = (TestServer::start().await, registry());
    let first = server.post("admin", IMPORTS, &two_tags(&registry), 201).await;
    let revision = server.context.store.current_revision().await.unwrap();
    let again = server.post("admin", IMPORTS, &two_tags(&registry), 201).await;
    assert_eq!(server.context.store.current_revision().await.unwrap(), revision);
    assert_eq!(again["status"]["import"], first["status"]["import"]);
    let image = &again["status"]["images"][0]["image"];
    assert_eq!(
        text(image, "/metadata/resourceVersion"),
        "",
        "not created by this import"
    );
}

#[tokio::test]
async fn what_a_registry_wants_to_be_waited_for_too_long_fails_alone_and_the_rest_is_recorded() {
    let (server, registry, limited) = (TestServer::start().await, registry(), registry());
    // Longer than half of the time that the request has, but not as long as that.
    let later = FaultKind::Status {
        status: 429,
        headers: vec![("retry-after".to_owned(), "20".to_owned())],
        body: r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#.to_owned(),
    };
    limited.add_fault(Fault::on("/v2/a/b/*", later));
    let tag = &registry.content().tag_names("a/b")[0];
    let repository = format!("{}/a/b", limited.host());
    let names = [
        format!("{}/a/b:{tag}", registry.host()),
        format!("{repository}:{tag}"),
    ];
    let mut object = import(&[(&names[0], "good"), (&names[1], "limited")]);
    object["spec"]["repository"] =
        json!({"from": {"kind": "DockerImage", "name": repository}, "importPolicy": {"insecure": true}});
    let answer = server.post("admin", IMPORTS, &object, 201).await;
    let said = |pointer: &str| text(&answer["status"], &format!("{pointer}/status/message")).to_owned();
    let expected = |of: &str| format!("Internal error occurred: {of}toomanyrequests: slow down");
    assert_eq!(said("/images/1"), expected(&format!("{}: ", names[1])));
    assert_eq!(said("/repository"), expected(""));
    assert_eq!(text(&answer, "/status/images/0/status/status"), "Success");
    let tags = &answer["status"]["import"]["status"]["tags"];
    assert_eq!(
        (&tags[0]["tag"], &tags[1]["tag"]),
        (&json!("good"), &json!("limited"))
    );
    assert!(
        tags[0]["items"].is_array() && tags[1]["conditions"].is_array(),
        "{tags}"
    );
    // Nobody waited and came back.
    let asked = |what: &str| {
        let lines = limited.request_lines();
        lines.iter().filter(|line| line.contains(what)).count()
    };
    assert!(
        asked("/manifests/") <= 1 && asked("/tags/list") <= 1,
        "{:?}",
        limited.request_lines()
    );
}

#[tokio::test]
async fn a_failed_tag_is_remembered_with_the_generation_of_the_import() {
    let (server, registry) = (TestServer::start().await, registry());
    server.post("admin", IMPORTS, &two_tags(&registry), 201).await;
    let gone = format!("{}/a/b:gone", registry.host());
    let tag = &registry.content().tag_names("a/b")[0];
    let answer = server.post("admin", IMPORTS, &import(&[(&gone, tag)]), 201).await;
    assert_eq!(answer["status"]["images"][0]["status"]["reason"], "NotFound");
    let stream = &answer["status"]["import"];
    assert_eq!(stream["metadata"]["generation"], 2);
    let spec = stream["spec"]["tags"].as_array().unwrap();
    let spec = spec.iter().find(|spec| spec["name"] == **tag).unwrap();
    assert_eq!(spec["generation"], 2, "asked for again");
    let history = stream["status"]["tags"].as_array().unwrap();
    let history = history.iter().find(|history| history["tag"] == **tag).unwrap();
    assert_eq!(history["items"].as_array().unwrap().len(), 1, "history is kept");
    assert_eq!(history["conditions"][0]["generation"], 2);
}

#[tokio::test]
async fn neither_a_preview_nor_a_dry_run_writes_anything() {
    let (server, registry) = (TestServer::start().await, registry());
    let revision = server.context.store.current_revision().await.unwrap();
    let mut preview = two_tags(&registry);
    preview["spec"]["import"] = json!(false);
    let answer = server.post("admin", IMPORTS, &preview, 201).await;
    assert_eq!(answer["status"]["images"][0]["status"]["status"], "Success");
    assert!(answer["status"].get("import").is_none());

    let dry_run = format!("{IMPORTS}?dryRun=All");
    let answer = server.post("admin", &dry_run, &two_tags(&registry), 201).await;
    assert_eq!(answer["status"]["import"]["metadata"]["generation"], 1);
    assert_eq!(text(&answer, "/status/import/metadata/resourceVersion"), "");
    assert_eq!(server.context.store.current_revision().await.unwrap(), revision);
    assert_eq!(server.get("imagestreams/s").await.0, 404);
}

#[tokio::test]
async fn results_are_applied_to_a_stream_that_changed_meanwhile_without_fetching_again() {
    let ((server, rival), registry) = (contended().await, registry());
    let other = json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "s",
        "labels": {"kept": "yes"}}});
    let created = server.post("admin", "imagestreams", &other, 201).await;
    let creation = rewriting(&server).await;
    let target = "/apis/image.openshift.io/v1/namespaces/n/imagestreams/s";
    assert_eq!(server.send("admin", "DELETE", target, None).await.0, 200);
    rival.intrude(vec![creation]);
    let answer = server.post("admin", IMPORTS, &two_tags(&registry), 201).await;
    assert_eq!(
        answer["status"]["import"]["metadata"]["uid"],
        created["metadata"]["uid"]
    );
    assert_eq!(answer["status"]["import"]["metadata"]["labels"]["kept"], "yes");
    assert_eq!(answer["status"]["import"]["metadata"]["generation"], 2);
    assert_eq!(requests_for_manifests(&registry), 2);
}

#[tokio::test]
async fn imports_of_the_same_images_into_one_stream_at_once_all_succeed() {
    let (server, registry) = (TestServer::start().await, registry());
    let imports: Vec<Value> = (0..8)
        .map(|number| {
            let tag = registry.content().tag_names("a/b")[number % 3].clone();
            import(&[(&format!("{}/a/b:{tag}", registry.host()), &format!("t{number}"))])
        })
        .collect();
    let all = imports
        .iter()
        .map(|import| server.post("admin", IMPORTS, import, 201));
    futures::future::join_all(all).await;
    let (_, stream) = server.get("imagestreams/s").await;
    assert_eq!(stream["status"]["tags"].as_array().unwrap().len(), 8);
    assert_eq!(server.images().await.len(), 3);
}

#[tokio::test]
async fn a_client_that_names_a_version_of_the_stream_gets_that_one_or_a_refusal() {
    let ((server, rival), registry) = (contended().await, registry());
    let mut import = two_tags(&registry);
    import["metadata"]["resourceVersion"] = json!("1");
    let missing = server.post("admin", IMPORTS, &import, 404).await;
    assert_eq!(
        missing["message"],
        "imagestreamimports.image.openshift.io \"s\" not found"
    );

    let first = server.post("admin", IMPORTS, &two_tags(&registry), 201).await;
    let version = text(&first, "/status/import/metadata/resourceVersion").to_owned();
    let stale = server.post("admin", IMPORTS, &import, 409).await;
    assert_eq!(
        stale["message"],
        format!(
            "Operation cannot be fulfilled on imagestream.image.openshift.io \"s\": the image stream was updated from \
             \"1\" to \"{version}\""
        )
    );

    import["metadata"]["resourceVersion"] = json!(version);
    import["spec"]["images"][0]["to"]["name"] = json!("another");
    rival.intrude(vec![rewriting(&server).await]);
    let conflict = server.post("admin", IMPORTS, &import, 409).await;
    assert_eq!(conflict["details"]["kind"], "imagestreamimports");
}

#[tokio::test]
async fn a_request_that_is_dropped_stops_fetching_and_leaves_nothing() {
    let (server, registry) = (TestServer::start().await, registry());
    // What is never answered ends with the request, or with the time that an import has: half a minute.
    registry.add_fault(Fault::on("*/manifests/*", FaultKind::Hang));
    let revision = server.context.store.current_revision().await.unwrap();
    let tags = two_tags(&registry);
    let until = async |is_so: fn(&TestRegistry) -> bool| {
        while !is_so(&registry) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let begun = std::time::Instant::now();
    tokio::select! {
        _ = server.post("admin", IMPORTS, &tags, 201) => panic!("nothing was answered"),
        () = until(|registry| requests_for_manifests(registry) > 0) => {}
    }
    until(|registry| registry.in_flight() == 0).await;
    assert!(begun.elapsed() < server.context.import_timeout, "it goes on");
    assert_eq!(server.context.store.current_revision().await.unwrap(), revision);
}

#[tokio::test]
async fn more_images_than_one_transaction_holds_are_all_there_before_the_stream_is() {
    let limits = Limits {
        operations: 4,
        bytes: 1 << 20,
    };
    let server = TestServer::start_with(Options {
        limits: Some(limits),
        ..Options::default()
    })
    .await;
    let registry = TestRegistry::start(Content::new().tags("a/b", 10));
    let import = json!({"kind": "ImageStreamImport", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "s"},
        "spec": {"import": true, "repository": {
            "from": {"kind": "DockerImage", "name": format!("{}/a/b", registry.host())},
            "importPolicy": {"insecure": true}}}});
    let answer = server.post("admin", IMPORTS, &import, 201).await;
    let stream = &answer["status"]["import"];
    assert_eq!(stream["status"]["tags"].as_array().unwrap().len(), 10);
    assert_eq!(server.images().await.len(), 10);
    let version = |value: &Value, pointer: &str| text(value, pointer).parse::<u64>().unwrap();
    let of_stream = version(stream, "/metadata/resourceVersion");
    let images = answer["status"]["repository"]["images"].as_array().unwrap();
    let versions = images
        .iter()
        .map(|image| version(image, "/image/metadata/resourceVersion"));
    assert!(versions.clone().all(|version| version <= of_stream));
    assert!(versions.min().unwrap() < of_stream);
}

#[tokio::test]
async fn who_may_not_create_images_imports_only_from_allowed_registries() {
    let registry = registry();
    let allowed = RegistryLocation {
        domain_name: "registry.example.com".into(),
        insecure: false,
    };
    let server = TestServer::start_with(Options {
        allowed_registries: AllowedRegistries::new(&[allowed]).unwrap(),
        ..Options::default()
    })
    .await;
    let refused = server.post("dev", IMPORTS, &two_tags(&registry), 422).await;
    let host = registry.host();
    assert_eq!(
        text(&refused, "/details/causes/0/message"),
        format!(
            "Forbidden: importing images from registry \"{host}\" is forbidden: registry \"{host}\" not allowed by \
             whitelist: \"registry.example.com:443\""
        )
    );
    assert_eq!(registry.request_count(), 0);

    // Administrators may look, but the stream has its own list.
    let mut preview = two_tags(&registry);
    preview["spec"]["import"] = json!(false);
    server.post("admin", IMPORTS, &preview, 201).await;
    let refused = server.post("admin", IMPORTS, &two_tags(&registry), 422).await;
    assert_eq!(refused["details"]["kind"], "ImageStream");
    assert_eq!(server.get("imagestreams/s").await.0, 404);
    assert_eq!(
        server.images().await.len(),
        2,
        "images outlive the refusal of their stream"
    );
}

#[tokio::test]
async fn nothing_is_asked_of_a_blocked_registry() {
    let (server, registry) = (TestServer::start().await, registry());
    let configuration = json!({"metadata": {"name": "cluster"},
        "spec": {"registrySources": {"blockedRegistries": [registry.host()]}}});
    server.store(&server.context.image_configs, configuration).await;
    let answer = server.post("admin", IMPORTS, &two_tags(&registry), 201).await;
    let status = &answer["status"]["images"][0]["status"];
    assert_eq!(status["reason"], "Forbidden");
    assert_eq!(
        text(status, "/message"),
        format!("forbidden: registry {} blocked", registry.host())
    );
    assert_eq!(registry.request_count(), 0);
}

#[tokio::test]
async fn an_image_is_read_from_a_mirror_that_the_configuration_names() {
    let (server, mirror) = (TestServer::start().await, registry());
    let host = mirror.host();
    let set = json!({"metadata": {"name": "m"}, "spec": {"imageTagMirrors": [
        {"source": "registry.example.com/x", "mirrors": [format!("{host}/a")]}]}});
    server.store(&server.context.tag_mirror_sets, set).await;
    let tag = &mirror.content().tag_names("a/b")[0];
    let import = import(&[(&format!("registry.example.com/x/b:{tag}"), tag)]);
    let answer = server.post("admin", IMPORTS, &import, 201).await;
    let item = &answer["status"]["images"][0];
    assert_eq!(item["status"]["status"], "Success", "{item}");
    assert!(text(item, "/image/dockerImageReference").starts_with("registry.example.com/x/b@sha256:"));
}

fn pull_secret(namespace: &str, registry: &TestRegistry) -> Value {
    use base64::Engine;
    let document = json!({"auths": {registry.host(): {"username": "u", "password": "p"}}}).to_string();
    let data = base64::engine::general_purpose::STANDARD.encode(document);
    json!({"metadata": {"name": "pull", "namespace": namespace}, "type": "kubernetes.io/dockerconfigjson",
           "data": {".dockerconfigjson": data}})
}

#[tokio::test]
async fn only_pull_secrets_of_the_namespace_are_used() {
    let (server, registry) = (TestServer::start().await, registry());
    registry.set_auth(Auth::bearer("u", "p"));
    server
        .store(&server.context.secrets, pull_secret("m", &registry))
        .await;
    let status = |answer: &Value| answer["status"]["images"][0]["status"]["status"].clone();
    let foreign = server.post("admin", IMPORTS, &two_tags(&registry), 201).await;
    assert_eq!(status(&foreign), "Failure");

    let mut excluded = pull_secret("n", &registry);
    excluded["metadata"]["annotations"] = json!({"openshift.io/image.excludeSecret": "true"});
    server.store(&server.context.secrets, excluded).await;
    let answer = server.post("admin", IMPORTS, &two_tags(&registry), 201).await;
    assert_eq!(status(&answer), "Failure");

    let mut own = pull_secret("n", &registry);
    own["metadata"]["name"] = json!("own");
    server.store(&server.context.secrets, own).await;
    let answer = server.post("admin", IMPORTS, &two_tags(&registry), 201).await;
    assert_eq!(status(&answer), "Success");
    assert!(!answer.to_string().contains("dockerconfigjson"));
}

#[tokio::test]
async fn a_limit_that_keeps_tags_out_is_noted_in_a_stream_that_exists() {
    let (server, registry) = (TestServer::start().await, registry());
    let tags = registry.content().tag_names("a/b");
    let of = |tag: &str| format!("{}/a/b:{tag}", registry.host());
    server
        .post("admin", IMPORTS, &import(&[(&of(&tags[0]), "v1")]), 201)
        .await;
    let limit = json!({"metadata": {"name": "l", "namespace": "n"}, "spec": {"limits": [
        {"type": "openshift.io/ImageStream", "max": {"openshift.io/images": "1"}}]}});
    server.store(&server.context.limit_ranges, limit).await;
    let refused = server
        .post("admin", IMPORTS, &import(&[(&of(&tags[1]), "v2")]), 422)
        .await;
    let message = text(&refused, "/message");
    assert!(message.contains("exceeds the maximum limit"), "{message}");
    let (_, stream) = server.get("imagestreams/s").await;
    assert_eq!(stream["metadata"]["generation"], 1);
    let noted = &stream["status"]["tags"][1];
    assert_eq!((&noted["tag"], &noted["items"]), (&json!("v2"), &Value::Null));
    assert_eq!(text(noted, "/conditions/0/message"), message);
    assert_eq!(noted["conditions"][0]["generation"], 2);
    assert_eq!(server.images().await.len(), 2);

    let elsewhere = json!({"kind": "ImageStreamImport", "apiVersion": "image.openshift.io/v1",
        "metadata": {"name": "new"}, "spec": {"import": true, "images": [
            {"from": {"kind": "DockerImage", "name": of(&tags[1])}, "to": {"name": "a"}, "importPolicy": {"insecure": true}},
            {"from": {"kind": "DockerImage", "name": of(&tags[2])}, "to": {"name": "b"}, "importPolicy": {"insecure": true}}]}});
    server.post("admin", IMPORTS, &elsewhere, 422).await;
    assert_eq!(server.get("imagestreams/new").await.0, 404);
    assert_eq!(server.images().await.len(), 3);
}

#[tokio::test]
async fn what_cannot_be_an_import_is_refused_before_any_registry_is_asked() {
    let (server, registry) = (TestServer::start().await, registry());
    let mut generated = two_tags(&registry);
    generated["metadata"] = json!({"generateName": "gen-"});
    let answer = server.post("admin", IMPORTS, &generated, 500).await;
    assert_eq!(
        answer["message"],
        "Internal error occurred: metadata.name was not generated"
    );

    let mut named = two_tags(&registry);
    named["metadata"]["name"] = json!("Bad_Name");
    named["spec"]["images"][0]["from"]["kind"] = json!("Foo");
    let answer = server.post("admin", IMPORTS, &named, 422).await;
    let causes = answer["details"]["causes"].as_array().unwrap();
    let fields: Vec<&str> = causes.iter().map(|cause| text(cause, "/field")).collect();
    assert_eq!(fields, ["spec.images[0].from.kind", "metadata.name"]);

    let mut other = two_tags(&registry);
    other["kind"] = json!("ImageStream");
    server.post("admin", IMPORTS, &other, 400).await;
    assert_eq!(registry.request_count(), 0);
}

#[tokio::test]
async fn an_image_that_no_store_would_take_fails_the_import_after_the_images_before_it() {
    let server = TestServer::start().await;
    let members = [("linux/amd64", Image::new()), ("linux/", Image::new().layers(2))];
    let content = Content::new()
        .image("a/first", "v0", Image::new().layers(4))
        .index("a/b", "v1", members, false)
        .image("a/last", "v1", Image::new().layers(3));
    let registry = TestRegistry::start(content);
    let of = |image: &str| format!("{}/a/{image}", registry.host());
    let mut import = import(&[
        (&of("first:v0"), "v0"),
        (&of("b:v1"), "v1"),
        (&of("last:v1"), "v2"),
    ]);
    import["spec"]["images"][1]["importPolicy"]["importMode"] = json!("PreserveOriginal");
    let answer = server.post("admin", IMPORTS, &import, 422).await;
    assert_eq!(answer["details"]["kind"], "Image");
    assert_eq!(
        server.images().await.len(),
        3,
        "the first one and the members of the list"
    );
    assert_eq!(server.get("imagestreams/s").await.0, 404);
}

#[tokio::test]
async fn images_of_a_refused_stream_stay_unless_they_are_only_tried() {
    let (server, registry) = (TestServer::start().await, registry());
    let mut tags = two_tags(&registry);
    tags["spec"]["images"][1]["referencePolicy"] = json!({"type": "Bogus"});
    let tried = format!("/apis/{GROUP}/v1/namespaces/n/{IMPORTS}?dryRun=All");
    assert_eq!(server.send("admin", "POST", &tried, Some(&tags)).await.0, 422);
    assert_eq!(server.images().await, Vec::<String>::new());
    // Again, when they are there.
    for _ in 0..2 {
        let refused = server.post("admin", IMPORTS, &tags, 422).await;
        assert_eq!(refused["details"]["kind"], "ImageStream");
        assert_eq!(server.images().await.len(), 2);
        assert_eq!(server.get("imagestreams/s").await.0, 404);
    }
}
