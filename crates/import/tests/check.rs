//! Whether an image has moved: what is asked of its registry, and what the answers mean.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod importing;

use std::time::Duration;

use imagestream_api::defaults::ImportMode;
use imagestream_api::types::{ImageStream, Time};
use imagestream_import::check::{Check, CheckError, Checked, Sighting, reference};
use imagestream_import::{Engine, Platform};
use imagestream_registry::sources::{MirrorGroup, RulesInput};
use imagestream_testkit::auth::{Auth, TokenService};
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::Fault;
use imagestream_testkit::image::Image;
use imagestream_testkit::rate_limit::RateLimit;
use imagestream_testkit::registry::TestRegistry;
use importing::{Import, LEGACY, PATIENCE, PRESERVE, at, digest, engine, named, tagged};
use tokio::time::Instant;

/// Runs something with the check of an image as an import would be made of it.
macro_rules! asked {
    ($engine:expr, $verb:ident, $name:expr, $import:expr $(, $more:expr)*) => {{
        let reference = reference($name).unwrap();
        let check = Check {
            reference: &reference,
            insecure: true,
            rules: &$import.rules,
            credentials: &$import.credentials,
            deadline: Instant::now() + PATIENCE,
        };
        $engine.$verb(&check $(, $more)*).await
    }};
}

/// Reads what the only image of an import needs.
macro_rules! read {
    ($engine:expr, $name:expr, $import:expr, $seen:expr) => {{
        let reference = reference($name).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let check = Check {
            reference: &reference,
            insecure: true,
            rules: &$import.rules,
            credentials: &$import.credentials,
            deadline,
        };
        let reading = $engine.read(&check, $seen).await.found.unwrap();
        let wanted = reading.wanted(&$import.spec.images, &ImageStream::default());
        let wanted = wanted[0].clone().unwrap();
        reading
            .read(&wanted, &Time(jiff::Timestamp::now()), deadline)
            .await
    }};
}

async fn check(engine: &Engine, name: &str) -> Checked<Sighting> {
    asked!(engine, check, name, Import::default())
}

fn own() -> Platform {
    engine().platform().clone()
}

#[tokio::test]
async fn an_image_that_is_where_it_was_costs_one_head() {
    let registry = TestRegistry::start(tagged(&["v1"]));
    let (engine, name) = (engine(), at(&registry, "team/app:v1"));
    for _ in 0..2 {
        let checked = check(&engine, &name).await;
        assert_eq!(
            checked.found.unwrap().digest.as_str(),
            registry.content().digest("team/app", "v1")
        );
        assert_eq!((checked.gets, checked.host), (0, registry.host()));
    }
    assert_eq!(
        registry.request_lines(),
        ["HEAD /v2/team/app/manifests/v1"; 2],
        "and nothing else"
    );
}

#[tokio::test]
async fn where_a_head_does_not_help_the_manifest_is_read() {
    let registry = TestRegistry::start(tagged(&["v1"]));
    let name = at(&registry, "team/app:v1");
    let expected = registry.content().digest("team/app", "v1");
    registry.set_digest_header(false);
    let checked = check(&engine(), &name).await;
    assert_eq!(
        (checked.found.unwrap().digest.as_str(), checked.gets),
        (&*expected, 1)
    );
    registry.set_digest_header(true);
    registry.add_fault(Fault::status("/v2/*", 405).method(http::Method::HEAD));
    let checked = check(&engine(), &name).await;
    assert_eq!(
        (checked.found.unwrap().digest.as_str(), checked.gets),
        (&*expected, 1)
    );
}

#[tokio::test]
async fn a_list_stands_for_the_member_that_an_import_records() {
    let platforms = [("linux/arm64", "arm"), ("linux/amd64", "amd")];
    let members = platforms.map(|(platform, name)| (platform, named(name).platform(platform)));
    let registry = TestRegistry::start(Content::new().index("team/app", "v1", members, false));
    let name = at(&registry, "team/app:v1");
    let engine = engine();
    let found = asked!(engine, name, &name, Import::default()).found.unwrap();
    let content = registry.content();
    let listed = content.member_digests("team/app", "v1");
    let arm = "linux/arm64".parse().unwrap();
    let recorded = |mode, platform: &Platform| found.recorded(mode, platform).to_string();
    assert_eq!(found.digest.as_str(), content.digest("team/app", "v1"));
    assert_eq!(recorded(ImportMode::Legacy, &own()), listed[1]);
    assert_eq!(recorded(ImportMode::Legacy, &arm), listed[0]);
    assert_eq!(
        recorded(ImportMode::PreserveOriginal, &own()),
        found.digest.as_str()
    );
    let imported = Import::images([name]).mode(LEGACY).run(&engine).await;
    assert_eq!(
        digest(&imported.images[0]),
        listed[1],
        "which is what an import records"
    );
}

#[tokio::test]
async fn what_a_name_stands_for_is_read_once_and_is_what_each_import_of_it_finds() {
    let platforms = [("linux/arm64", "arm"), ("linux/amd64", "amd")];
    let members = platforms.map(|(platform, name)| (platform, named(name).platform(platform)));
    let list = Content::new().index("team/app", "v1", members, false);
    for (content, requests) in [(tagged(&["v1"]), [1, 0]), (list, [2, 2])] {
        let registry = TestRegistry::start(content);
        let (reader, name) = (engine(), at(&registry, "team/app:v1"));
        let seen = check(&reader, &name).await.found.unwrap();
        registry.clear_requests();
        let mut sent = 1;
        for (mode, requests) in [LEGACY, PRESERVE].into_iter().zip(requests) {
            let import = Import::images([name.clone()]).mode(mode);
            // Once more, and nothing is asked.
            for requests in [requests, 0] {
                let read = read!(&reader, &name, &import, &seen);
                assert_eq!(read.requests, requests, "{mode}");
                sent += requests;
                assert_eq!(registry.request_count(), usize::try_from(sent).unwrap());
                let (mut found, mut own) =
                    (*read.found.unwrap(), import.run(&engine()).await.images.remove(0));
                for image in [&mut found, &mut own]
                    .into_iter()
                    .filter_map(|of| of.image.as_mut())
                {
                    // A list has no time of its own.
                    image.docker_image_metadata.created = None;
                }
                assert_eq!(
                    serde_json::to_value(&found).unwrap(),
                    serde_json::to_value(&own).unwrap()
                );
                registry.clear_requests();
                sent = 0;
            }
        }
    }
}

#[tokio::test]
async fn a_registry_that_wants_to_be_left_alone_is_not_waited_for() {
    let registry = TestRegistry::start(tagged(&["v1"]));
    let window = Duration::from_secs(3600);
    registry.set_rate_limit(RateLimit::new(1, window).free_heads());
    let (engine, name) = (engine(), at(&registry, "team/app:v1"));
    let first = asked!(engine, name, &name, Import::default());
    let quota = first.feedback.quota.unwrap();
    assert_eq!(
        (quota.limit, quota.remaining, quota.window),
        (Some(1), 0, Some(window))
    );
    // Neither the one who is refused nor the next, who knows of it, waits.
    for _ in 0..2 {
        let refused = asked!(engine, name, &name, Import::default());
        assert_eq!(refused.found.unwrap_err(), CheckError::RateLimited);
        assert!(refused.feedback.is_refusal && refused.feedback.retry_after.is_some());
    }
    // Looks are free, and go on.
    assert!(check(&engine, &name).await.found.is_ok());
    let feedback = engine.client().feedback(&registry.host());
    assert!(feedback.get.is_refusal && !feedback.head.is_refusal);
}

#[tokio::test]
async fn a_registry_that_refuses_configurations_is_not_waited_for_and_asked_for_nothing_twice() {
    let platforms = [("linux/arm64", "arm"), ("linux/amd64", "amd")];
    let members = platforms.map(|(platform, name)| (platform, named(name).platform(platform)));
    let list = Content::new().index("team/list", "v1", members, false);
    for (name, content, manifests) in [
        ("team/app:v1", tagged(&["v1"]), [0, 0]),
        ("team/list:v1", list, [1, 0]),
    ] {
        let registry = TestRegistry::start(content);
        registry.set_rate_limit(RateLimit::new(0, Duration::from_secs(3600)).only("/v2/*/blobs/*"));
        let (engine, name) = (engine(), at(&registry, name));
        let seen = check(&engine, &name).await.found.unwrap();
        for manifests in manifests {
            let import = Import::images([name.clone()]).mode(LEGACY);
            let refused = read!(&engine, &name, &import, &seen);
            assert_eq!(refused.found.unwrap_err(), CheckError::RateLimited);
            assert!(refused.feedback.is_refusal && refused.feedback.retry_after.is_some());
            assert_eq!(refused.gets, manifests, "{name}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_image_is_the_result_and_no_refusal() {
    let registry = TestRegistry::start(tagged(&["v1"]));
    registry.add_fault(Fault::status("/v2/*/blobs/*", 404));
    let (engine, name) = (engine(), at(&registry, "team/app:v1"));
    let seen = check(&engine, &name).await.found.unwrap();
    let import = Import::images([name.clone()]).mode(LEGACY);
    let read = read!(&engine, &name, &import, &seen);
    let (found, own) = (read.found.unwrap(), import.run(&engine).await.images.remove(0));
    assert_eq!(found.status, own.status);
    assert!(found.image.is_none(), "{found:?}");
}

#[tokio::test]
async fn what_is_wrong_decides_the_kind_of_failure() {
    let registry = TestRegistry::start(tagged(&["v1"]));
    let found = async |name: &str| check(&engine(), name).await.found.unwrap_err();
    assert_eq!(found(&at(&registry, "team/app:v2")).await, CheckError::NotFound);
    registry.add_fault(Fault::error("/v2/*", 403, "DENIED", "no"));
    let denied = found(&at(&registry, "team/app:v1")).await;
    assert!(matches!(denied, CheckError::Unauthorized(_)), "{denied:?}");
    registry.clear_faults();
    registry.add_fault(Fault::status("/v2/*", 500));
    let broken = found(&at(&registry, "team/app:v1")).await;
    assert!(matches!(broken, CheckError::Unreachable { .. }), "{broken:?}");
    registry.clear_faults();
    registry.add_fault(Fault::status("/v2/*", 418));
    let odd = found(&at(&registry, "team/app:v1")).await;
    assert!(matches!(odd, CheckError::Failed(_)), "{odd:?}");
    registry.clear_faults();
    let name = at(&registry, "team/app:v1");
    drop(registry);
    let gone = found(&name).await;
    assert!(matches!(gone, CheckError::Unreachable { .. }), "{gone:?}");
}

#[tokio::test]
async fn a_blocked_registry_is_not_asked_and_a_mirror_is_asked_first() {
    let (source, mirror) = (
        TestRegistry::start(tagged(&["v1"])),
        TestRegistry::start(tagged(&["v1"])),
    );
    let name = at(&source, "team/app:v1");
    let mirrored = MirrorGroup {
        source: source.host(),
        mirrors: vec![mirror.host()],
        never_contact_source: false,
    };
    let rules = |input: RulesInput| Import::default().rules(&input);
    let import = rules(RulesInput {
        tag_mirrors: vec![mirrored],
        insecure: vec![source.host(), mirror.host()],
        ..RulesInput::default()
    });
    let checked = asked!(engine(), check, &name, import);
    assert_eq!((checked.found.is_ok(), checked.host), (true, mirror.host()));
    assert_eq!(source.request_count(), 0);
    let import = rules(RulesInput {
        blocked: vec![source.host()],
        ..RulesInput::default()
    });
    let checked = asked!(engine(), check, &name, import);
    assert_eq!(checked.found.unwrap_err(), CheckError::Blocked);
    assert_eq!(source.request_count(), 0);
}

#[tokio::test]
async fn checks_see_what_the_secrets_of_their_namespace_let_them_see() {
    let registry = TestRegistry::start(tagged(&["v1"]));
    registry.set_auth(Auth::bearer("ann", "right"));
    let name = at(&registry, "team/app:v1");
    let by_ann = |password| Import::default().by(&registry, "ann", password);
    assert!(asked!(engine(), check, &name, by_ann("right")).found.is_ok());
    let refused = asked!(engine(), check, &name, Import::default()).found;
    assert!(matches!(refused, Err(CheckError::Unauthorized(_))), "{refused:?}");
}

#[tokio::test]
async fn a_wrong_secret_keeps_nobody_from_what_everybody_may_read() {
    let for_everybody = || Auth::Bearer(TokenService::new().anonymous("team/*"));
    // One that does not look at secrets when it is checked finds nothing wrong with them until it is read.
    for auth in [for_everybody(), Auth::None] {
        let registry = TestRegistry::start(tagged(&["v1"]));
        registry.set_auth(auth);
        // The check reads the manifest, and keeps it.
        registry.add_fault(Fault::status("/v2/*/manifests/*", 405).method(http::Method::HEAD));
        let (engine, name) = (engine(), at(&registry, "team/app:v1"));
        let import = Import::images([name.clone()]).mode(LEGACY);
        let by_ann = import.by(&registry, "ann", "wrong");
        let seen = asked!(engine, check, &name, by_ann).found.unwrap();
        registry.set_auth(for_everybody());
        let found = read!(&engine, &name, &by_ann, &seen).found.unwrap();
        assert_eq!(found.status.status.as_deref(), Some("Success"), "{found:?}");
    }
}

#[tokio::test]
async fn what_was_seen_is_read_where_it_was_seen() {
    let registries = [0; 2].map(|_| TestRegistry::start(tagged(&["v1"])));
    let [source, mirror] = &registries;
    let (engine, name) = (engine(), at(source, "team/app:v1"));
    let mirrored = MirrorGroup {
        source: source.host(),
        mirrors: vec![mirror.host()],
        never_contact_source: false,
    };
    let import = Import::images([name.clone()]).mode(LEGACY).rules(&RulesInput {
        tag_mirrors: vec![mirrored],
        insecure: vec![source.host(), mirror.host()],
        ..RulesInput::default()
    });
    // It is known of the mirror, which then fails.
    asked!(engine, name, &name, import).found.unwrap();
    mirror.add_fault(Fault::status("/v2/*", 500));
    let seen = asked!(engine, check, &name, import).found.unwrap();
    mirror.clear_requests();
    let read = read!(&engine, &name, &import, &seen);
    assert_eq!(
        (read.found.unwrap().image.is_some(), read.host),
        (true, source.host())
    );
    assert_eq!(mirror.request_count(), 0, "it is not asked again");
}

#[tokio::test]
async fn a_check_ends_with_its_deadline() {
    let registry = TestRegistry::start(Content::new().image("team/app", "v1", Image::new()));
    registry.set_latency(Duration::from_secs(60));
    let reference = reference(&at(&registry, "team/app:v1")).unwrap();
    let import = Import::default();
    let checked = engine()
        .check(&Check {
            reference: &reference,
            insecure: true,
            rules: &import.rules,
            credentials: &import.credentials,
            deadline: Instant::now() + Duration::from_millis(200),
        })
        .await;
    assert!(
        matches!(checked.found, Err(CheckError::Unreachable { .. })),
        "{:?}",
        checked.found
    );
}
