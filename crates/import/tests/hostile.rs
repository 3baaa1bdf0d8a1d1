//! Whatever a registry does, each item says what went wrong, in time and in little memory.
//!
//! That a registry with a public address may not lead to a local one can't be shown with registries on loopback: the
//! tests of the registry client's address rules do. What is shown here is that even a local registry may not lead to
//! where machines find their credentials.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod importing;

use std::net::TcpListener;
use std::time::Duration;

use imagestream_api::types::ImageStreamImportStatus;
use imagestream_testkit::auth::Auth;
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::image::{Image, OCI_MANIFEST};
use imagestream_testkit::index::{Index, OCI_INDEX};
use imagestream_testkit::layer::sha256;
use imagestream_testkit::registry::TestRegistry;
use importing::{Import, LEGACY, PRESERVE, at, digest, engine, repository, said, status_said};
use peak_alloc::PeakAlloc;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One at a time, for all tests of a process share its memory.
static MEASURING: Mutex<()> = Mutex::const_new(());

const DEADLINE: Duration = Duration::from_secs(10);
/// How much later than its deadline an import may end where the machine is busy; one that misses it does not end.
const SLACK: Duration = Duration::from_secs(20);
const MANIFESTS: &str = "/v2/*/manifests/*";

/// The result of an import, which must come in this time and in less than so many MiB.
async fn bounded_by(mebibytes: usize, deadline: Duration, import: Import) -> ImageStreamImportStatus {
    let _alone = MEASURING.lock().await;
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let start = Instant::now();
    let result = import.within(deadline).run_anew().await;
    let (time, peak) = (start.elapsed(), MEMORY.peak_usage().saturating_sub(before));
    assert!(time < deadline + SLACK, "took {time:?}");
    assert!(peak < mebibytes << 20, "took {} MiB of memory", peak >> 20);
    result
}

async fn bounded(import: Import) -> ImageStreamImportStatus {
    bounded_by(64, DEADLINE, import).await
}

fn one_image() -> Content {
    Content::new().image("team/app", "v1", Image::new())
}

/// What is said of `team/app:v1` when its registry does this on such paths; a neighbour is not affected.
async fn said_when(pattern: &str, kind: FaultKind) -> String {
    let registry = TestRegistry::builder(one_image()).without_record().start();
    registry.add_fault(Fault::on(pattern, kind));
    let healthy = TestRegistry::start(one_image());
    let import = Import::images([at(&registry, "team/app:v1"), at(&healthy, "team/app:v1")]);
    let result = bounded(import).await;
    assert_eq!(said(&result.images[1]), "Success");
    assert!(result.images[0].image.is_none());
    let said = said(&result.images[0]);
    said.replace(&registry.host(), "HOST")
}

fn page(media_type: &str, body: &str) -> FaultKind {
    FaultKind::Status {
        status: 200,
        headers: vec![("content-type".to_owned(), media_type.to_owned())],
        body: body.to_owned(),
    }
}

#[tokio::test]
async fn each_misdeed_has_its_words() {
    let misdeeds = [
        (
            MANIFESTS,
            FaultKind::HugeBody(1 << 30),
            "manifest is larger than the limit of 4194304 bytes",
        ),
        (
            MANIFESTS,
            FaultKind::EndlessBody,
            "manifest is larger than the limit of 4194304 bytes",
        ),
        (
            "/v2/*/blobs/*",
            FaultKind::HugeBody(1 << 30),
            "blob is larger than the limit of 8388608 bytes",
        ),
        (
            "/v2/*/blobs/*",
            FaultKind::EndlessBody,
            "blob is larger than the limit of 8388608 bytes",
        ),
        (
            MANIFESTS,
            FaultKind::DeepJson(100_000),
            "error decoding JSON: invalid type: sequence, expected a string at line 1 column 32",
        ),
        (
            MANIFESTS,
            FaultKind::MalformedJson,
            "unexpected end of JSON input",
        ),
        (
            "*",
            page("text/html", "<html>sign in</html>"),
            "error decoding JSON: expected value at line 1 column 1",
        ),
        (MANIFESTS, FaultKind::RedirectLoop, "stopped after 10 redirects"),
        (
            MANIFESTS,
            FaultKind::RedirectTo("http://169.254.169.254/latest/meta-data/".to_owned()),
            "refusing to connect to 169.254.169.254: its address is not a public one, and it was named by a registry \
             that has no such address itself",
        ),
        (
            MANIFESTS,
            FaultKind::ChallengeTo("http://169.254.169.254/token".to_owned()),
            "refusing to connect to 169.254.169.254: its address is not a public one, and it was named by a registry \
             that has no such address itself",
        ),
        (
            MANIFESTS,
            FaultKind::RedirectTo("file:///etc/passwd".to_owned()),
            "refusing a redirect to a file URL",
        ),
        (
            MANIFESTS,
            FaultKind::ChallengeTo("file:///etc/passwd".to_owned()),
            "the realm of the registry's bearer challenge is no URL",
        ),
        (MANIFESTS, FaultKind::CutBeforeHeaders, "EOF"),
        (MANIFESTS, FaultKind::CutAfterHeaders, "EOF"),
        (MANIFESTS, FaultKind::CutMidBody, "EOF"),
        ("/v2/*/blobs/*", FaultKind::CutMidBody, "EOF"),
        ("/v2/*/blobs/*", FaultKind::Missing, "unknown blob"),
    ];
    let mut unexpected = Vec::new();
    for (pattern, kind, words) in misdeeds {
        let case = format!("{pattern} {kind:?}");
        let said = said_when(pattern, kind).await;
        let begin = "500 InternalError: Internal error occurred: HOST/team/app:v1: ";
        if !said.starts_with(begin) || !said.ends_with(words) {
            unexpected.push(format!("{case}: {said}"));
        }
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}

#[tokio::test]
async fn a_registry_that_is_down_is_named_with_the_reason() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let result =
        bounded(Import::repository(format!("{closed}/team/app")).and(format!("{closed}/team/app:v1"))).await;
    assert_eq!(
        said(&result.images[0]),
        format!(
            "500 InternalError: Internal error occurred: {closed}/team/app:v1: Get \"http://{closed}/v2/\": \
             dial tcp {closed}: connect: connection refused"
        )
    );
    assert_eq!(
        status_said(&repository(&result).status),
        format!(
            "500 InternalError: Internal error occurred: Get \"http://{closed}/v2/\": \
             dial tcp {closed}: connect: connection refused"
        )
    );
}

#[tokio::test]
async fn who_drips_or_hangs_is_left_at_the_deadline_and_holds_up_nobody() {
    let kinds = [
        FaultKind::SlowDrip {
            bytes: 1,
            every: Duration::from_millis(500),
        },
        FaultKind::Hang,
    ];
    let cases = kinds.iter().flat_map(|kind| {
        let patterns = [MANIFESTS, "/v2/*/blobs/*", "/v2/*/tags/list"];
        patterns.map(|pattern| left_at_the_deadline(kind, pattern))
    });
    futures::future::join_all(cases).await;
}

/// A registry does this on such paths of one of its repositories.
async fn left_at_the_deadline(kind: &FaultKind, pattern: &str) {
    let content = one_image()
        .tags("team/many", 5)
        .image("team/app", "v2", Image::new().distinct("2"));
    let registry = TestRegistry::start(content);
    registry.add_fault(Fault::on(pattern.replacen('*', "team/app", 1), kind.clone()));
    let import = Import::repository(at(&registry, "team/app"))
        .and(at(&registry, "team/app:v1"))
        .and(at(&registry, "team/many:1.0.0"));
    // The others are patient for a while with the first request to a host.
    let time = Duration::from_secs(15);
    let start = Instant::now();
    let result = import.within(time).run_anew().await;
    assert!(start.elapsed() < time + SLACK, "{:?}", start.elapsed());
    assert_eq!(said(&result.images[1]), "Success", "{kind:?} {pattern}");
    if pattern.ends_with("tags/list") {
        assert_eq!(said(&result.images[0]), "Success");
        let said = status_said(&repository(&result).status);
        assert!(said.ends_with("context deadline exceeded"), "{said}");
        return;
    }
    let of_repository = &repository(&result).images;
    assert_eq!(of_repository.len(), 2);
    for image in of_repository.iter().chain([&result.images[0]]) {
        let said = said(image);
        assert!(
            said.starts_with("500 InternalError: Internal error occurred: 127."),
            "{said}"
        );
        assert!(said.ends_with("context deadline exceeded"), "{said}");
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_once_is_made_again() {
    for kind in [
        FaultKind::CutBeforeHeaders,
        FaultKind::CutAfterHeaders,
        FaultKind::CutMidBody,
    ] {
        let registry = TestRegistry::start(one_image());
        registry.add_fault(Fault::on(MANIFESTS, kind.clone()).times(1));
        registry.add_fault(Fault::on("/v2/*/blobs/*", kind.clone()).times(1));
        let result = bounded(Import::images([at(&registry, "team/app:v1")])).await;
        assert_eq!(said(&result.images[0]), "Success", "{kind:?}");
    }
}

#[tokio::test]
async fn what_is_asked_for_by_digest_must_be_it() {
    let registry = TestRegistry::start(one_image());
    registry.add_fault(Fault::on(MANIFESTS, FaultKind::WrongBody));
    let asked = registry.content().digest("team/app", "v1");
    let name = format!("{}@{asked}", at(&registry, "team/app"));
    let result = bounded(Import::images([name.clone()])).await;
    let said = said(&result.images[0]);
    let begin = format!(
        "500 InternalError: Internal error occurred: {name}: content integrity error: the manifest retrieved with \
         digest {asked} does not match the digest calculated from the content sha256:"
    );
    assert!(said.starts_with(&begin), "{said}");
}

#[tokio::test]
async fn what_is_asked_for_by_tag_is_named_by_its_own_bytes() {
    for kind in [FaultKind::WrongDigestHeader, FaultKind::WrongBody] {
        let registry = TestRegistry::start(one_image());
        registry.add_fault(Fault::on(MANIFESTS, kind.clone()));
        let name = at(&registry, "team/app");
        let result = bounded(Import::images([format!("{name}:v1")])).await;
        let image = importing::image(&result.images[0]);
        let own = sha256(image.docker_image_manifest.as_bytes());
        assert_eq!(digest(&result.images[0]), own, "{kind:?}");
        assert_eq!(image.docker_image_reference, format!("{name}@{own}"));
        let is_announced = own == registry.content().digest("team/app", "v1");
        assert_eq!(is_announced, matches!(kind, FaultKind::WrongDigestHeader));
    }
}

#[tokio::test]
async fn a_digest_that_the_registry_lies_about_does_not_make_known_content_count() {
    // By its header the tag still is what was read before; then it is what was read before.
    let mut content = one_image();
    let registry = TestRegistry::start(content.clone());
    let engine = engine();
    let import = Import::images([at(&registry, "team/app:v1")]);
    let first = digest(&import.run(&engine).await.images[0]);
    let second = content.add_image("team/app", Some("v1"), &Image::new().distinct("2"));
    registry.set_content(content);
    registry.add_fault(Fault::on(MANIFESTS, FaultKind::WrongDigestHeader));
    let found = digest(&import.run(&engine).await.images[0]);
    assert_ne!(found, first);
    assert_eq!(found, second);
}

#[tokio::test]
async fn members_and_configs_must_be_what_the_list_and_the_manifest_say() {
    let index = Index::of([("linux/amd64", Image::new()), ("linux/arm64", Image::new())]);
    let registry = TestRegistry::start(Content::new().index_of("team/app", "v1", &index));
    registry.add_fault(Fault::on("/v2/*/manifests/sha256:*", FaultKind::WrongBody));
    for mode in [LEGACY, PRESERVE] {
        let result = bounded(Import::images([at(&registry, "team/app:v1")]).mode(mode)).await;
        assert!(
            said(&result.images[0]).contains("content integrity error: the manifest retrieved with digest")
        );
        assert!(result.images[0].image.is_none() && result.images[0].manifests.is_empty());
    }
    let registry = TestRegistry::start(one_image());
    registry.add_fault(Fault::on("/v2/*/blobs/*", FaultKind::WrongBody));
    let result = bounded(Import::images([at(&registry, "team/app:v1")])).await;
    let config = registry.content().config_digest("team/app", "v1");
    let said = said(&result.images[0]);
    let words = format!("content integrity error: the blob retrieved with digest {config} does not match");
    assert!(said.contains(&words), "{said}");
}

#[tokio::test]
async fn tag_lists_without_end_or_sense_are_refused() {
    let deep = format!("{{\"tags\":{}", "[".repeat(100_000));
    let cases = [
        (FaultKind::EndlessTags, "the tag list has more than 10000 pages"),
        (
            FaultKind::HugeBody(1 << 30),
            "tag list is larger than the limit of 8388608 bytes",
        ),
        (
            FaultKind::EndlessBody,
            "tag list is larger than the limit of 8388608 bytes",
        ),
        (
            FaultKind::LinkTo("http://elsewhere.test/v2/".to_owned()),
            "leads to another host: http://elsewhere.test",
        ),
        (
            FaultKind::LinkTo("/v2/team/app/tags/list".to_owned()),
            "lead in a circle",
        ),
        (
            page("application/json", &deep),
            "error decoding JSON: invalid type: sequence, expected a string at line 1 column 9",
        ),
        (
            page("text/html", "<html>sign in</html>"),
            "error decoding JSON: expected value at line 1 column 1",
        ),
    ];
    for (kind, words) in cases {
        let registry = TestRegistry::builder(one_image()).without_record().start();
        registry.add_fault(Fault::on("/v2/*/tags/list", kind.clone()));
        // What never ends is told by its size, which takes a slow machine a while.
        let import = Import::repository(at(&registry, "team/app")).and(at(&registry, "team/app:v1"));
        let result = bounded_by(64, 6 * DEADLINE, import).await;
        let listing = repository(&result);
        let said_of_listing = status_said(&listing.status);
        assert!(
            said_of_listing.starts_with("500 InternalError: Internal error occurred: "),
            "{said_of_listing}"
        );
        assert!(said_of_listing.ends_with(words), "{kind:?}: {said_of_listing}");
        assert!(listing.images.is_empty() && listing.additional_tags.is_empty());
        assert_eq!(said(&result.images[0]), "Success");
    }
}

#[tokio::test]
async fn documents_nested_deeply_fail_wherever_they_are() {
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    let lists = deep("[", "]");
    let objects = deep("{\"a\":", "}").replacen(":}", ":1}", 1);
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let content = Content::new()
        .image("team/app", "config", Image::new().raw_config(lists.clone()))
        .image(
            "team/app",
            "labels",
            Image::new().raw_config(format!("{{\"config\":{{\"Labels\":{objects}}}}}")),
        )
        .raw_manifest(
            "team/app",
            "annotations",
            OCI_MANIFEST,
            format!("{{\"annotations\":{objects}}}"),
        )
        .raw_manifest(
            "team/app",
            "members",
            OCI_INDEX,
            format!("{{\"manifests\":{lists}}}"),
        )
        .raw_manifest("team/app", "whole", OCI_INDEX, lists.clone())
        .raw_manifest(
            "team/app",
            "signatures",
            signed,
            format!("{{\"signatures\":{lists}}}"),
        );
    let registry = TestRegistry::start(content);
    let result = bounded(Import::repository(at(&registry, "team/app"))).await;
    let images = &repository(&result).images;
    assert_eq!(images.len(), 6);
    for image in images {
        let said = said(image);
        assert!(
            said.starts_with("500 InternalError: Internal error occurred: "),
            "{}: {said}",
            image.tag
        );
        assert!(said.len() < 500, "{}: {said}", image.tag);
    }
}

#[tokio::test]
async fn a_token_of_a_megabyte_is_refused() {
    let registry = TestRegistry::start(one_image());
    registry.set_auth(Auth::bearer_for_everyone());
    registry.add_fault(Fault::on("/token", FaultKind::HugeToken(1 << 20)));
    let result = bounded(Import::images([at(&registry, "team/app:v1")])).await;
    let said = said(&result.images[0]);
    assert!(
        said.ends_with("token is larger than the limit of 65536 bytes"),
        "{said}"
    );
    assert!(said.starts_with("500 InternalError: "), "{said}");
}

/// An index that names these digests.
fn index_naming(digests: impl Iterator<Item = String>, size: usize) -> String {
    let entries: Vec<_> = digests
        .map(|digest| {
            json!({
                "mediaType": OCI_MANIFEST, "digest": digest, "size": size,
                "platform": {"os": "linux", "architecture": "amd64"},
            })
        })
        .collect();
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string()
}

fn invented(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|at| sha256(&at.to_le_bytes()))
}

#[tokio::test]
async fn lists_of_very_many_members_are_read_or_refused() {
    let built = Image::new().build();
    let one = built.manifest.digest.clone();
    let with_one = |count: usize| [one.clone()].into_iter().chain(invented(count - 1));
    let content = one_image()
        .raw_manifest("team/app", "most", OCI_INDEX, index_naming(with_one(10_000), 500))
        .raw_manifest("team/app", "more", OCI_INDEX, index_naming(with_one(10_001), 500));
    let registry = TestRegistry::start(content);
    let names = [at(&registry, "team/app:most"), at(&registry, "team/app:more")];

    let result = bounded(Import::images(names.clone())).await;
    assert_eq!(digest(&result.images[0]), one);
    let refused = format!(
        "500 InternalError: Internal error occurred: {}: manifest has more than 10000 members",
        names[1]
    );
    assert_eq!(said(&result.images[1]), refused);

    // All members are wanted; the first that is missing ends it.
    let result = bounded(Import::images(names.clone()).mode(PRESERVE)).await;
    let said_of_most = said(&result.images[0]);
    assert!(
        said_of_most.starts_with("404 NotFound: dockerimage.image.openshift.io "),
        "{said_of_most}"
    );
    assert_eq!(said(&result.images[1]), refused);
    assert!(registry.request_count() < 1000, "{}", registry.request_count());
}

#[tokio::test]
async fn a_list_cannot_name_itself() {
    // No list can hold its own digest, so its registry has to lie.
    let member = sha256(b"the list itself");
    let body = index_naming([member.clone()].into_iter(), 300);
    let registry =
        TestRegistry::start(Content::new().raw_manifest("team/app", "v1", OCI_INDEX, body.clone()));
    registry.add_fault(Fault::on(
        format!("/v2/*/manifests/{member}"),
        page(OCI_INDEX, &body),
    ));
    for mode in [LEGACY, PRESERVE] {
        registry.clear_requests();
        let result = bounded(Import::images([at(&registry, "team/app:v1")]).mode(mode)).await;
        let said = said(&result.images[0]);
        let words =
            format!("content integrity error: the manifest retrieved with digest {member} does not match");
        assert!(said.contains(&words), "{said}");
        assert_eq!(registry.request_count(), 2);
    }
}

#[tokio::test]
async fn a_large_image_that_a_list_names_ten_thousand_times_does_not_fill_the_memory() {
    let large = Image::new().raw_config(format!("{{\"os\":\"{}\"}}", "x".repeat(4 << 20)));
    let built = large.build();
    let names = std::iter::repeat_n(built.manifest.digest.clone(), 10_000);
    let index = index_naming(names, built.manifest.body.len());
    let content = Content::new()
        .image("team/app", "large", large)
        .raw_manifest("team/app", "many", OCI_INDEX, index);
    let registry = TestRegistry::start(content);
    let result = bounded_by(
        2048,
        DEADLINE,
        Import::images([at(&registry, "team/app:many")]).mode(PRESERVE),
    )
    .await;
    let said = said(&result.images[0]);
    assert!(
        said.contains("the result of this import is larger than the limit"),
        "{said}"
    );
}

#[tokio::test]
async fn a_large_image_that_is_asked_for_very_often_does_not_fill_the_memory() {
    let large = Image::new().raw_config(format!("{{\"os\":\"{}\"}}", "x".repeat(4 << 20)));
    let registry = TestRegistry::start(Content::new().image("team/app", "large", large));
    let names = std::iter::repeat_n(at(&registry, "team/app:large"), 1000);
    let result = bounded_by(640, DEADLINE, Import::images(names)).await;
    let (read, refused): (Vec<_>, Vec<_>) =
        result.images.iter().map(said).partition(|said| said == "Success");
    assert!(read.len() >= 50, "{}", read.len());
    for said in refused {
        assert!(
            said.ends_with("the result of this import is larger than the limit of 268435456 bytes"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn very_many_endless_manifests_at_once_do_not_fill_the_memory() {
    let mut content = Content::new();
    for tag in 0..500 {
        content = content.dangling_tag("team/app", &format!("t{tag}"));
    }
    let registry = TestRegistry::builder(content).without_record().start();
    registry.add_fault(Fault::on(MANIFESTS, FaultKind::EndlessBody));
    let result = bounded_by(160, DEADLINE, Import::repository(at(&registry, "team/app"))).await;
    assert_eq!(repository(&result).images.len(), 500);
    for image in &repository(&result).images {
        let said = said(image);
        assert!(
            said.ends_with("limit of 4194304 bytes") || said.ends_with("context deadline exceeded"),
            "{said}"
        );
    }
}
