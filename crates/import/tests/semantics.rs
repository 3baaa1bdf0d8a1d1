//! The rules of an import, shown at the engine: which tags and members are read, from where, by whom, and what is said
//! of each item.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod importing;

use std::time::Duration;

use imagestream_api::types::ImageStreamImportStatus;
use imagestream_import::{Credentials, apply};
use imagestream_testkit::auth::{Auth, TokenService};
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::Fault;
use imagestream_testkit::image::{Format, Image};
use imagestream_testkit::index::{Index, OCI_INDEX};
use imagestream_testkit::layer::{Layer, sha256};
use imagestream_testkit::registry::TestRegistry;
use imagestream_testkit::schema1::Schema1;
use importing::{
    Import, LEGACY, PRESERVE, at, digest, engine, engine_reading, image, image_spec, named, repository, said,
    status_said, tagged, tags_of, to,
};
use serde_json::json;

#[tokio::test]
async fn tags_are_read_in_order_up_to_the_limit_and_the_others_named() {
    let registry = TestRegistry::start(tagged(&["v1", "other", "v2", "3", "3.1", "abc"]));
    let import = Import::repository(at(&registry, "team/app"));
    let result = import.run(&engine_reading(5)).await;
    let found = repository(&result);
    assert_eq!(tags_of(&found.images), ["3.1", "3", "abc", "other", "v1"]);
    assert_eq!(found.additional_tags, ["v2"]);
    assert_eq!(status_said(&found.status), "Success");
    for image in &found.images {
        assert_eq!(digest(image), registry.content().digest("team/app", &image.tag));
    }
    assert!(
        !registry
            .request_lines()
            .iter()
            .any(|line| line.ends_with("/manifests/v2"))
    );
    let whole = import.run(&engine()).await;
    assert_eq!(repository(&whole).images.len(), 6);
    assert!(repository(&whole).additional_tags.is_empty());
}

#[tokio::test]
async fn tags_beyond_the_limit_that_are_read_anyway_are_answered_without_members() {
    let list = Index::of([("linux/amd64", named("a")), ("linux/arm64", named("b"))]);
    let content = tagged(&["1", "2", "3", "4"]).index_of("team/app", "5", &list);
    let registry = TestRegistry::start(content);
    let name = at(&registry, "team/app");
    let mut preferring = image_spec(format!("{name}:4"));
    preferring.to = to("prefers");
    PRESERVE.clone_into(&mut preferring.import_policy.import_mode);
    let mut other_mode = image_spec(format!("{name}:3"));
    LEGACY.clone_into(&mut other_mode.import_policy.import_mode);
    let import = Import::repository(name.clone())
        .and(format!("{name}:5"))
        .and(format!("{name}:2"))
        .mode(PRESERVE)
        .and_spec(preferring)
        .and_spec(other_mode)
        .stream(json!({"spec": {"tags": [{
            "name": "prefers", "annotations": {"importer.image.openshift.io/prefer-arch": "arm64"},
        }]}}));
    let result = import.run(&engine_reading(1)).await;
    let found = repository(&result);
    assert_eq!(tags_of(&found.images), ["1", "2", "5"]);
    assert_eq!(found.additional_tags, ["3", "4"]);
    assert_eq!(result.images[0].manifests.len(), 2);
    assert_eq!(
        digest(&found.images[2]),
        registry.content().digest("team/app", "5")
    );
    assert!(found.images[2].manifests.is_empty());
}

#[tokio::test]
async fn tags_beyond_the_limit_that_are_read_anyway_and_fail_stay_beyond_it() {
    let registry = TestRegistry::start(tagged(&["1", "2", "3", "4", "5"]));
    for tag in ["3", "5"] {
        registry.add_fault(Fault::status(format!("/v2/team/app/manifests/{tag}"), 500));
    }
    let name = at(&registry, "team/app");
    let import = ["5", "4", "3"]
        .iter()
        .fold(Import::repository(name.clone()), |import, tag| {
            import.and(format!("{name}:{tag}"))
        });
    let result = import.run(&engine_reading(1)).await;
    let found = repository(&result);
    assert_eq!(tags_of(&found.images), ["1", "4"]);
    assert_eq!(found.additional_tags, ["2", "3", "5"]);
    assert_eq!(status_said(&found.status), "Success");
    let succeeded = |index: usize| result.images[index].image.is_some();
    assert_eq!([0, 1, 2].map(succeeded), [false, true, false]);
}

#[tokio::test]
async fn a_repository_without_a_possible_name_is_invalid_whatever_its_host() {
    for (written, name) in [
        ("Foo/bar", "Foo/bar"),
        ("quay.io", ""),
        ("localhost:5000", ""),
        ("foo.bar:tag", ""),
    ] {
        let result = Import::repository(written).run(&engine()).await;
        let status = &repository(&result).status;
        let problem = format!("Invalid value: \"{name}\": the provided repository name is not valid");
        let message = format!(".image.openshift.io \"repository\" is invalid: from.name: {problem}");
        assert_eq!(
            (status.code, &status.message),
            (Some(422), &Some(message)),
            "{written}"
        );
        let details = json!({"name": "repository", "group": "image.openshift.io",
            "causes": [{"reason": "FieldValueInvalid", "message": problem, "field": "from.name"}]});
        assert_eq!(json!(status.details), details, "{written}");
    }
}

/// Members for linux/s390x, linux/amd64, linux/arm64 and windows/amd64, in this order.
fn four_platforms() -> Index {
    Index::of(
        ["linux/s390x", "linux/amd64", "linux/arm64", "windows/amd64"]
            .map(|platform| (platform, named(platform))),
    )
}

fn preferring(tag: &str, os: Option<&str>, architecture: Option<&str>) -> serde_json::Value {
    let mut annotations = json!({});
    if let Some(os) = os {
        annotations["importer.image.openshift.io/prefer-os"] = os.into();
    }
    if let Some(architecture) = architecture {
        annotations["importer.image.openshift.io/prefer-arch"] = architecture.into();
    }
    json!({"spec": {"tags": [{"name": tag, "annotations": annotations}]}})
}

#[tokio::test]
async fn the_stream_says_which_member_of_a_list_is_wanted() {
    let registry = TestRegistry::start(Content::new().index_of("team/app", "v1", &four_platforms()));
    let members = registry.content().member_digests("team/app", "v1");
    for (os, architecture, wanted) in [
        (None, None, 1),
        (None, Some("arm64"), 2),
        (Some("windows"), None, 3),
        (Some("windows"), Some("amd64"), 3),
        // Not there: the member for linux/amd64 it is.
        (Some("windows"), Some("arm64"), 1),
        (None, Some(""), 1),
    ] {
        for (target, stream_tag) in [(None, "v1"), (to("prod"), "prod")] {
            let mut spec = image_spec(at(&registry, "team/app:v1"));
            spec.to = target;
            let import = Import::default()
                .and_spec(spec)
                .stream(preferring(stream_tag, os, architecture));
            let result = import.run_anew().await;
            assert_eq!(
                digest(&result.images[0]),
                members[wanted],
                "{os:?} {architecture:?}"
            );
        }
    }
}

#[tokio::test]
async fn digests_and_repositories_are_imported_without_regard_to_preferences() {
    let registry = TestRegistry::start(Content::new().index_of("team/app", "v1", &four_platforms()));
    let members = registry.content().member_digests("team/app", "v1");
    let list = registry.content().digest("team/app", "v1");
    let mut by_digest = image_spec(format!("{}@{list}", at(&registry, "team/app")));
    by_digest.to = to("v1");
    let import = Import::repository(at(&registry, "team/app"))
        .and_spec(by_digest)
        .stream(preferring("v1", None, Some("arm64")));
    let result = import.run_anew().await;
    // The image is that of the member, whatever digest was asked for.
    assert_eq!(digest(&result.images[0]), members[1]);
    assert_eq!(result.images[0].tag, "");
    assert_eq!(digest(&repository(&result).images[0]), members[1]);
    assert_eq!(
        image(&result.images[0]).docker_image_reference,
        format!("{}@{}", at(&registry, "team/app"), members[1])
    );
}

#[tokio::test]
async fn a_list_without_the_own_platform_gives_its_first_member_and_an_empty_one_nothing() {
    let list = Index::of([("linux/s390x", named("s")), ("linux/arm64", named("a"))]);
    let content =
        Content::new()
            .index_of("team/app", "v1", &list)
            .index_of("team/app", "empty", &Index::new());
    let registry = TestRegistry::start(content);
    let result = Import::repository(at(&registry, "team/app")).run_anew().await;
    let found = repository(&result);
    assert_eq!(
        digest(&found.images[1]),
        registry.content().member_digests("team/app", "v1")[0]
    );
    assert_eq!(
        said(&found.images[0]),
        format!(
            "500 InternalError: Internal error occurred: {}: no manifests in manifest list",
            at(&registry, "team/app:empty")
        )
    );
    assert_eq!(
        found.status.message.as_deref(),
        Some("one of the images from this repository failed to import")
    );
    assert_eq!(found.status.reason.as_deref(), Some("ImportFailed"));
    assert_eq!(found.status.code, None);
}

#[tokio::test]
async fn a_preserved_list_comes_with_all_its_members() {
    let list = four_platforms().attested();
    let registry = TestRegistry::start(Content::new().index_of("team/app", "v1", &list));
    let result = Import::images([at(&registry, "team/app:v1")])
        .mode(PRESERVE)
        .run_anew()
        .await;
    let found = image(&result.images[0]);
    let (name, members) = (
        registry.content().digest("team/app", "v1"),
        registry.content().member_digests("team/app", "v1"),
    );
    assert_eq!(found.metadata.name.as_deref(), Some(name.as_str()));
    assert_eq!(found.docker_image_metadata.id, name);
    assert_eq!(found.docker_image_manifest_media_type, OCI_INDEX);
    assert!(found.docker_image_layers.is_empty() && found.docker_image_manifest.is_empty());
    let listed: Vec<_> = found
        .docker_image_manifests
        .iter()
        .map(|member| member.digest.clone())
        .collect();
    assert_eq!(listed, members);
    let read: Vec<_> = result.images[0]
        .manifests
        .iter()
        .map(|image| image.metadata.name.clone().unwrap())
        .collect();
    assert_eq!(read, members);
    for (image, member) in result.images[0].manifests.iter().zip(&members) {
        assert_eq!(
            image.docker_image_reference,
            format!("{}@{member}", at(&registry, "team/app"))
        );
    }
}

#[tokio::test]
async fn a_preserved_list_fails_with_its_first_member_that_fails() {
    let gone = sha256(b"gone");
    let list = Index::of([("linux/amd64", named("a"))]).absent("linux/arm64", &gone);
    let registry = TestRegistry::start(Content::new().index_of("team/app", "v1", &list));
    let name = at(&registry, "team/app");
    let import = Import::images([format!("{name}:v1")]);
    let result = import.run_anew().await;
    assert_eq!(said(&result.images[0]), "Success");
    let result = import.mode(PRESERVE).run_anew().await;
    assert_eq!(
        said(&result.images[0]),
        format!("404 NotFound: dockerimage.image.openshift.io \"{name}@{gone}\" not found")
    );
    assert!(result.images[0].image.is_none() && result.images[0].manifests.is_empty());
}

#[tokio::test]
async fn a_list_in_a_list_is_no_image_and_as_a_member_stands_for_its_own_choice() {
    for (format, kind) in [
        (Format::Oci, "*ocischema.DeserializedImageIndex"),
        (Format::Docker, "*manifestlist.DeserializedManifestList"),
    ] {
        let inner = Index::of([("linux/arm64", named("b")), ("linux/amd64", named("a"))]).format(format);
        let outer = Index::new().format(format).nested(inner);
        let registry = TestRegistry::start(Content::new().index_of("team/app", "v1", &outer));
        let import = Import::images([at(&registry, "team/app:v1")]);
        let result = import.run_anew().await;
        assert_eq!(
            said(&result.images[0]),
            format!("500 InternalError: Internal error occurred: unsupported image manifest type: {kind}")
        );
        let result = import.mode(PRESERVE).run_anew().await;
        let inner = &registry.content().member_digests("team/app", "v1")[0];
        let chosen = &registry.content().member_digests("team/app", inner)[1];
        let member = &result.images[0].manifests[0];
        assert_eq!(member.metadata.name.as_ref(), Some(chosen));
        assert_eq!(
            member.docker_image_reference,
            format!("{}@{inner}", at(&registry, "team/app"))
        );
    }
}

fn raw_layer(name: &str, bytes: usize) -> Layer {
    Layer::raw(name.repeat(bytes).into_bytes())
}

#[tokio::test]
async fn sizes_of_schema_1_layers_are_taken_from_the_manifest_or_else_asked_for_once_each() {
    let (base, top) = (raw_layer("b", 100), raw_layer("t", 23));
    let sized = Schema1::new("team/app", "sized")
        .layer(&base, json!({}))
        .layer(&base, json!({}))
        .layer(&top, json!({"Size": 13_502_144}));
    let unsized_ = Schema1::new("team/app", "unsized")
        .layer(&base, json!({}))
        .layer(&base, json!({}))
        .layer(&top, json!({}));
    let content = Content::new()
        .schema1("team/app", "sized", &sized)
        .schema1("team/app", "unsized", &unsized_);
    let registry = TestRegistry::start(content);
    let engine = engine();
    let layer_heads = || {
        let requests = registry.request_lines();
        requests
            .iter()
            .filter(|line| line.starts_with("HEAD") && line.contains("/blobs/"))
            .count()
    };

    let result = Import::images([at(&registry, "team/app:sized")])
        .run(&engine)
        .await;
    assert_eq!(image(&result.images[0]).docker_image_metadata.size, 13_502_144);
    assert_eq!(layer_heads(), 0);

    let import = Import::images([at(&registry, "team/app:unsized")]);
    for _ in 0..2 {
        let result = import.run(&engine).await;
        let found = image(&result.images[0]);
        assert_eq!(
            digest(&result.images[0]),
            registry.content().digest("team/app", "unsized")
        );
        assert_eq!(found.docker_image_metadata.size, 123);
        let sizes: Vec<_> = found.docker_image_layers.iter().map(|layer| layer.size).collect();
        assert_eq!(sizes, [100, 100, 23]);
        // The second time they are known.
        assert_eq!(layer_heads(), 2);
    }
}

#[tokio::test]
async fn a_schema_1_layer_that_cannot_be_measured_fails_its_image_without_naming_it() {
    let old = Schema1::new("team/app", "v1").layer(&raw_layer("b", 100), json!({}));
    let registry = TestRegistry::start(Content::new().schema1("team/app", "v1", &old));
    registry.add_fault(Fault::status("/v2/*/blobs/*", 404));
    let result = Import::images([at(&registry, "team/app:v1")]).run_anew().await;
    assert_eq!(
        said(&result.images[0]),
        "500 InternalError: Internal error occurred: unknown blob"
    );
}

#[tokio::test]
async fn a_layer_that_is_there_twice_counts_once() {
    let layer = || Layer::file("srv/twice", b"twice");
    let registry = TestRegistry::start(Content::new().image(
        "team/app",
        "v1",
        Image::new().layer(layer()).layer(layer()),
    ));
    let result = Import::images([at(&registry, "team/app:v1")]).run_anew().await;
    let found = image(&result.images[0]);
    assert_eq!(found.docker_image_layers.len(), 3);
    let distinct: std::collections::BTreeMap<_, _> = found
        .docker_image_layers
        .iter()
        .map(|layer| (&layer.name, layer.size))
        .collect();
    assert_eq!(distinct.len(), 2);
    let layers: i64 = distinct.values().sum();
    let config = i64::try_from(found.docker_image_config.len()).unwrap();
    assert_eq!(found.docker_image_metadata.size, layers + config);
}

/// A registry where ann may read everything and everybody `team/public`.
fn partly_public() -> TestRegistry {
    let content = Content::new().image("team/public", "v1", named("public")).image(
        "team/private",
        "v1",
        named("private"),
    );
    let registry = TestRegistry::start(content);
    let service = TokenService::new()
        .account("ann", "secret")
        .anonymous("team/public");
    registry.set_auth(Auth::Bearer(service));
    registry
}

#[tokio::test]
async fn a_wrong_password_does_not_keep_anybody_from_what_is_public() {
    let registry = partly_public();
    let (public, private) = (at(&registry, "team/public:v1"), at(&registry, "team/private:v1"));
    let result = Import::images([public, private.clone()])
        .by(&registry, "ann", "wrong")
        .run_anew()
        .await;
    assert_eq!(said(&result.images[0]), "Success");
    assert_eq!(
        said(&result.images[1]),
        format!("401 Unauthorized: incorrect username or password for image \"{private}\"")
    );
    assert!(result.images[1].image.is_none());
}

#[tokio::test]
async fn what_only_the_right_password_opened_is_lost_when_another_one_was_wrong() {
    let registry = partly_public();
    let result = Import::images([at(&registry, "team/public:v1"), at(&registry, "team/private:v1")])
        .by_at(&at(&registry, "team/public"), "ann", "wrong")
        .by_at(&at(&registry, "team/private"), "ann", "secret")
        .run_anew()
        .await;
    assert_eq!(said(&result.images[0]), "Success");
    assert!(result.images[0].image.is_some());
    // Success with the secret, refused without it: the first status stays and the image is gone.
    assert_eq!(said(&result.images[1]), "Success");
    assert!(result.images[1].image.is_none());
}

#[tokio::test]
async fn a_repository_alone_is_not_read_again_without_password() {
    let registry = partly_public();
    let result = Import::repository(at(&registry, "team/public"))
        .by(&registry, "ann", "wrong")
        .run_anew()
        .await;
    let found = repository(&result);
    assert_eq!(found.status.code, Some(500));
    assert!(found.images.is_empty());
    // Beside an image that suffers from the same password it is.
    let result = Import::repository(at(&registry, "team/public"))
        .and(at(&registry, "team/public:v1"))
        .by(&registry, "ann", "wrong")
        .run_anew()
        .await;
    assert_eq!(status_said(&repository(&result).status), "Success");
    assert_eq!(said(&result.images[0]), "Success");
}

#[tokio::test]
async fn secrets_that_cannot_be_read_fail_every_item_with_their_error() {
    let registry = TestRegistry::start(tagged(&["v1"]));
    let mut import = Import::repository(at(&registry, "team/app")).and(at(&registry, "team/app:v1"));
    import.credentials = Credentials {
        secrets: Err("bad secret".to_owned()),
        host: None,
    };
    let result = import.run_anew().await;
    let begin = "500 InternalError: Internal error occurred: ";
    assert_eq!(
        said(&result.images[0]),
        format!("{begin}{}: bad secret", at(&registry, "team/app:v1"))
    );
    assert_eq!(
        status_said(&repository(&result).status),
        format!("{begin}{}: bad secret", at(&registry, "team/app"))
    );
    assert_eq!(registry.request_count(), 0);
}

#[tokio::test]
async fn manifests_are_answered_to_who_asks_for_them_and_does_not_record() {
    let list = Index::of([("linux/amd64", named("a"))]);
    let registry = TestRegistry::start(tagged(&["v1"]).index_of("team/app", "list", &list));
    let engine = engine();
    for (record, include) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut import = Import::repository(at(&registry, "team/app"))
            .and(at(&registry, "team/app:v1"))
            .and(at(&registry, "team/app:v1"));
        import.spec.import = record;
        import.spec.images[0].to = to("v1");
        for image in &mut import.spec.images {
            image.include_manifest = include;
        }
        import.spec.repository.as_mut().unwrap().include_manifest = include;
        let mut result = import.run(&engine).await;
        apply::clear_manifests(&import.spec, &mut result);
        let has = |found: &imagestream_api::types::ImageImportStatus| {
            let image = image(found);
            assert_eq!(
                image.docker_image_manifest.is_empty(),
                image.docker_image_config.is_empty()
            );
            !image.docker_image_manifest.is_empty()
        };
        assert_eq!(has(&result.images[0]), include && !record, "recorded");
        assert_eq!(has(&result.images[1]), include, "not recorded");
        for image in &repository(&result).images {
            assert_eq!(has(image), include && !record, "of the repository");
        }
    }
}

#[tokio::test]
async fn an_item_that_fails_fails_alone() {
    let content = tagged(&["a", "c"])
        .dangling_tag("team/app", "b")
        .image_without_config("team/app", "d", named("d"));
    let registry = TestRegistry::start(content);
    let name = at(&registry, "team/app");
    let result = Import::repository(name.clone())
        .and(format!("{name}:b"))
        .and(format!("{name}:a"))
        .and("*")
        .run_anew()
        .await;
    let found = repository(&result);
    let of_b = format!("404 NotFound: dockerimage.image.openshift.io \"{name}:b\" not found");
    let of_d = format!("500 InternalError: Internal error occurred: {name}:d: unknown blob");
    assert_eq!(tags_of(&found.images), ["a", "b", "c", "d"]);
    assert_eq!(
        found.images.iter().map(said).collect::<Vec<_>>(),
        ["Success", &of_b, "Success", &of_d]
    );
    assert_eq!(
        found.status.message.as_deref(),
        Some("2 of the images from this repository failed to import")
    );
    assert_eq!(said(&result.images[0]), of_b);
    assert_eq!(said(&result.images[1]), "Success");
    assert_eq!(
        said(&result.images[2]),
        "500 InternalError: Internal error occurred: unable to parse docker reference *:latest: invalid reference format"
    );
}

#[tokio::test]
async fn a_repository_that_is_not_there_is_not_found() {
    let registry = TestRegistry::start(Content::new().repository("team/empty"));
    let result = Import::repository(at(&registry, "team/gone")).run_anew().await;
    assert_eq!(
        status_said(&repository(&result).status),
        format!(
            "404 NotFound: dockerimage.image.openshift.io \"{}\" not found",
            at(&registry, "team/gone")
        )
    );
    let result = Import::repository(at(&registry, "team/empty")).run_anew().await;
    assert_eq!(status_said(&repository(&result).status), "Success");
    assert!(repository(&result).images.is_empty());
}

/// Waits until the registry sees it; fails if that takes too long.
async fn until(condition: impl Fn() -> bool) {
    let seen = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap();
}

#[tokio::test]
async fn an_import_that_nobody_waits_for_any_more_asks_nothing_more() {
    let registry = TestRegistry::start(Content::new().tags("team/many", 300).image(
        "team/app",
        "v1",
        named("app"),
    ));
    registry.set_latency(Duration::from_millis(20));
    let engine = engine();
    let import = Import::repository(at(&registry, "team/many"));
    tokio::select! {
        _ = import.run(&engine) => panic!("300 tags take longer"),
        () = until(|| registry.request_count() > 20) => {}
    }
    until(|| registry.in_flight() == 0).await;
    // Another import goes through, and nothing of the first follows but what was on its way already.
    let result: ImageStreamImportStatus = Import::images([at(&registry, "team/app:v1")]).run(&engine).await;
    assert_eq!(said(&result.images[0]), "Success");
    let lines = registry.request_lines();
    let (of_second, of_first): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.contains("/team/app/"));
    assert_eq!(of_second.len(), 2, "{of_second:?}");
    assert!(of_first.len() < 300, "{}", of_first.len());
}
