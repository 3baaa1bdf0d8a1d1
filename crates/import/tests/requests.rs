//! An import asks a registry for each thing once, and for nothing that it knows already.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod importing;

use std::collections::BTreeMap;

use imagestream_testkit::auth::Auth;
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::Fault;
use imagestream_testkit::image::Image;
use imagestream_testkit::index::Index;
use imagestream_testkit::registry::TestRegistry;
use importing::{Import, LEGACY, PRESERVE, at, engine, image_spec, repository, said, status_said, to};

const REPOSITORY: &str = "team/app";

/// How many requests there were of each sort.
fn sorted(registry: &TestRegistry) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for request in registry.requests() {
        let path = &request.path;
        let sort = match request.method.as_str() {
            "HEAD" => "head",
            _ if path.ends_with("/tags/list") => "tags",
            _ if path.contains("/manifests/") => "manifest",
            _ if path.contains("/blobs/") => "blob",
            "GET" if path == "/token" => "token",
            _ => "other",
        };
        *counts.entry(sort).or_default() += 1;
    }
    counts
}

fn counts<const N: usize>(expected: [(&'static str, usize); N]) -> BTreeMap<&'static str, usize> {
    expected.into()
}

fn linux_index(build: &str) -> Index {
    let image = |architecture: &str| Image::new().distinct(&format!("{build} for {architecture}"));
    Index::of([
        ("linux/amd64", image("amd64")),
        ("linux/arm64", image("arm64")),
        ("linux/s390x", image("s390x")),
    ])
}

#[tokio::test]
async fn a_repository_costs_its_pages_manifests_and_configs_and_how_to_get_in() {
    let ways = [
        (Auth::None, false, 0, 0),
        (Auth::None, true, 0, 0),
        (Auth::basic("ann", "secret"), true, 1, 0),
        (Auth::bearer("ann", "secret"), true, 1, 1),
        (Auth::bearer_for_everyone(), false, 1, 1),
    ];
    for (auth, named, challenges, tokens) in ways {
        let shown = format!("{auth:?}");
        let registry = TestRegistry::start(Content::new().tags(REPOSITORY, 20));
        registry.set_page_size(8);
        registry.set_auth(auth);
        let mut import = Import::repository(at(&registry, REPOSITORY));
        if named {
            import = import.by(&registry, "ann", "secret");
        }
        let result = import.run_anew().await;
        assert_eq!(status_said(&repository(&result).status), "Success", "{shown}");
        assert_eq!(repository(&result).images.len(), 20);
        let expected = 3 + 20 + 20 + challenges + tokens;
        assert_eq!(
            registry.request_count(),
            expected,
            "{shown}: {:#?}",
            registry.request_lines()
        );
    }
}

#[tokio::test]
async fn the_config_that_tags_share_is_read_once_and_their_manifest_once_per_tag() {
    // Only its manifest tells that a tag names the same image as another.
    let registry = TestRegistry::start(Content::new().tags_sharing(REPOSITORY, 12, 3));
    let result = Import::repository(at(&registry, REPOSITORY)).run_anew().await;
    assert_eq!(status_said(&repository(&result).status), "Success");
    assert_eq!(
        sorted(&registry),
        counts([("tags", 1), ("manifest", 12), ("blob", 3)])
    );
}

#[tokio::test]
async fn of_an_index_only_what_is_imported_is_read() {
    let index = linux_index("1").attested();
    let registry = TestRegistry::start(Content::new().index_of(REPOSITORY, "v1", &index));
    let import = Import::repository(at(&registry, REPOSITORY));
    let result = import.run_anew().await;
    assert_eq!(status_said(&repository(&result).status), "Success");
    assert_eq!(
        sorted(&registry),
        counts([("tags", 1), ("manifest", 2), ("blob", 1)])
    );

    registry.clear_requests();
    let result = import.mode(PRESERVE).run_anew().await;
    assert_eq!(status_said(&repository(&result).status), "Success");
    // Three images and an attestation for each; attestations name their own subject, so none is shared.
    let members = registry.content().member_digests(REPOSITORY, "v1");
    let configs: std::collections::BTreeSet<String> = members
        .iter()
        .map(|member| registry.content().config_digest(REPOSITORY, member))
        .collect();
    assert_eq!(members.len(), 6);
    assert_eq!(
        sorted(&registry),
        counts([("tags", 1), ("manifest", 7), ("blob", configs.len())])
    );
}

#[tokio::test]
async fn an_image_that_many_items_ask_for_is_read_once() {
    let registry = TestRegistry::start(Content::new().index_of(REPOSITORY, "v1", &linux_index("1")));
    let name = format!("{}:v1", at(&registry, REPOSITORY));
    let mut import = Import::repository(at(&registry, REPOSITORY));
    for (tag, mode) in [
        ("a", LEGACY),
        ("b", LEGACY),
        ("c", PRESERVE),
        ("d", PRESERVE),
        ("e", ""),
    ] {
        let mut spec = image_spec(name.clone());
        spec.to = to(tag);
        mode.clone_into(&mut spec.import_policy.import_mode);
        import = import.and_spec(spec);
    }
    let result = import.run_anew().await;
    for image in result.images.iter().chain(&repository(&result).images) {
        assert_eq!(said(image), "Success");
    }
    // The list and its three members, in whichever mode they are wanted.
    assert_eq!(
        sorted(&registry),
        counts([("tags", 1), ("manifest", 4), ("blob", 3)])
    );
}

#[tokio::test]
async fn an_unchanged_repository_costs_a_question_per_tag_the_second_time() {
    let content = Content::new()
        .tags(REPOSITORY, 10)
        .alias(REPOSITORY, "latest", "1.0.9")
        .index_of(REPOSITORY, "multi", &linux_index("1").attested());
    for (auth, mode) in [
        (Auth::None, LEGACY),
        (Auth::None, PRESERVE),
        (Auth::bearer("ann", "secret"), LEGACY),
        (Auth::bearer("ann", "secret"), PRESERVE),
    ] {
        let registry = TestRegistry::start(content.clone());
        registry.set_auth(auth);
        let engine = engine();
        let import = Import::repository(at(&registry, REPOSITORY))
            .mode(mode)
            .by(&registry, "ann", "secret");
        let first = import.run(&engine).await;
        assert_eq!(status_said(&repository(&first).status), "Success");
        registry.clear_requests();
        let second = import.run(&engine).await;
        assert_eq!(sorted(&registry), counts([("tags", 1), ("head", 12)]), "{mode}");
        let digests = |result: &imagestream_api::types::ImageStreamImportStatus| -> Vec<String> {
            repository(result).images.iter().map(importing::digest).collect()
        };
        assert_eq!(digests(&second), digests(&first));
    }
}

#[tokio::test]
async fn a_tag_that_moved_is_the_only_one_that_is_read_again() {
    let mut content = Content::new().tags(REPOSITORY, 10);
    let registry = TestRegistry::start(content.clone());
    let engine = engine();
    let import = Import::repository(at(&registry, REPOSITORY));
    import.run(&engine).await;
    let moved = content.add_image(REPOSITORY, Some("1.0.3"), &Image::new().distinct("another build"));
    registry.set_content(content);
    registry.clear_requests();
    let result = import.run(&engine).await;
    assert_eq!(
        sorted(&registry),
        counts([("tags", 1), ("head", 10), ("manifest", 1), ("blob", 1)])
    );
    let again: Vec<String> = registry
        .request_lines()
        .into_iter()
        .filter(|line| line.starts_with("GET") && line.contains("/manifests/"))
        .collect();
    assert_eq!(again, ["GET /v2/team/app/manifests/1.0.3"]);
    let images = &repository(&result).images;
    let found = images.iter().find(|image| image.tag == "1.0.3").unwrap();
    assert_eq!(importing::digest(found), moved);
}

#[tokio::test]
async fn a_tag_that_is_gone_is_said_to_be_gone() {
    let mut content = Content::new().tags(REPOSITORY, 2);
    let registry = TestRegistry::start(content.clone());
    let engine = engine();
    let name = format!("{}:1.0.0", at(&registry, REPOSITORY));
    let import = Import::images([name.clone()]);
    assert_eq!(said(&import.run(&engine).await.images[0]), "Success");
    content.remove_tag(REPOSITORY, "1.0.0");
    registry.set_content(content);
    assert_eq!(
        said(&import.run(&engine).await.images[0]),
        format!("404 NotFound: dockerimage.image.openshift.io \"{name}\" not found")
    );
}

#[tokio::test]
async fn a_registry_that_does_not_say_digests_is_read_again() {
    let registry = TestRegistry::start(Content::new().tags(REPOSITORY, 3));
    registry.set_digest_header(false);
    let engine = engine();
    let import = Import::repository(at(&registry, REPOSITORY));
    import.run(&engine).await;
    registry.clear_requests();
    let result = import.run(&engine).await;
    assert_eq!(status_said(&repository(&result).status), "Success");
    assert_eq!(
        sorted(&registry),
        counts([("tags", 1), ("head", 3), ("manifest", 3)])
    );
}

#[tokio::test]
async fn what_one_repository_or_registry_gave_is_not_taken_for_what_another_has() {
    let image = || Image::new().distinct("the same everywhere");
    let content = || {
        Content::new()
            .image(REPOSITORY, "v1", image())
            .image("team/copy", "v1", image())
    };
    let (one, other) = (TestRegistry::start(content()), TestRegistry::start(content()));
    let digest = one.content().digest(REPOSITORY, "v1");
    let engine = engine();
    let read = async |registry: &TestRegistry, name: String| {
        registry.clear_requests();
        let result = Import::images([name]).run(&engine).await;
        assert_eq!(said(&result.images[0]), "Success");
        sorted(registry)
    };
    let whole = counts([("manifest", 1), ("blob", 1)]);
    for reference in [":v1".to_owned(), format!("@{digest}")] {
        let at_first = at(&one, REPOSITORY) + &reference;
        read(&one, at_first.clone()).await;
        assert_eq!(read(&one, at_first).await, counts([("head", 1)]), "{reference}");
    }
    assert_eq!(read(&one, at(&one, "team/copy:v1")).await, whole);
    assert_eq!(
        read(&other, format!("{}@{digest}", at(&other, REPOSITORY))).await,
        whole
    );
}

#[tokio::test]
async fn a_caller_whom_the_registry_refuses_gets_nothing_of_what_another_has_read() {
    for auth in [Auth::basic("ann", "secret"), Auth::bearer("ann", "secret")] {
        let registry = TestRegistry::start(Content::new().index_of(REPOSITORY, "v1", &linux_index("1")));
        registry.set_auth(auth);
        let digest = registry.content().digest(REPOSITORY, "v1");
        let engine = engine();
        let names = [
            at(&registry, "team/app:v1"),
            format!("{}@{digest}", at(&registry, REPOSITORY)),
        ];
        for mode in [LEGACY, PRESERVE] {
            let by_ann = Import::images(names.clone())
                .mode(mode)
                .by(&registry, "ann", "secret");
            for image in by_ann.run(&engine).await.images {
                assert_eq!(said(&image), "Success");
            }
            for refused in [
                Import::images(names.clone()).mode(mode),
                Import::images(names.clone())
                    .mode(mode)
                    .by(&registry, "eve", "guess"),
            ] {
                for image in refused.run(&engine).await.images {
                    assert!(image.image.is_none() && image.manifests.is_empty());
                    assert_ne!(said(&image), "Success");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_registry_that_hides_what_it_refuses_is_believed() {
    let registry = TestRegistry::start(Content::new().tags(REPOSITORY, 1));
    let engine = engine();
    let name = at(&registry, "team/app:1.0.0");
    let import = Import::images([name.clone()]);
    assert_eq!(said(&import.run(&engine).await.images[0]), "Success");
    registry.add_fault(Fault::error(
        "/v2/*/manifests/*",
        404,
        "MANIFEST_UNKNOWN",
        "manifest unknown",
    ));
    let result = import.run(&engine).await;
    assert_eq!(
        said(&result.images[0]),
        format!("404 NotFound: dockerimage.image.openshift.io \"{name}\" not found")
    );
    assert!(result.images[0].image.is_none());
}
