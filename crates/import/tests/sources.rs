//! Where an import reads from: mirrors, sources that are blocked or never contacted, and how securely.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod importing;

use imagestream_registry::sources::{MirrorGroup, RulesInput};
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::Fault;
use imagestream_testkit::registry::TestRegistry;
use importing::{Import, at, named, repository, said, status_said, tagged, tags_of};

fn mirrored(
    source: &TestRegistry,
    mirrors: &[&TestRegistry],
    never_contact_source: bool,
) -> Vec<MirrorGroup> {
    vec![MirrorGroup {
        source: at(source, "team"),
        mirrors: mirrors.iter().map(|mirror| at(mirror, "copies/team")).collect(),
        never_contact_source,
    }]
}

fn holding(repository: &str, image: &str) -> TestRegistry {
    TestRegistry::start(Content::new().image(repository, "v1", named(image)))
}

#[tokio::test]
async fn mirrors_are_asked_in_their_order_by_digest_or_by_tag_and_the_source_is_what_is_written() {
    for by_digest in [true, false] {
        let source = holding("team/app", "same");
        let (empty, mirror) = (holding("other/app", "other"), holding("copies/team/app", "same"));
        let groups = mirrored(&source, &[&empty, &mirror], false);
        let (digest_mirrors, tag_mirrors) = if by_digest {
            (groups, vec![])
        } else {
            (vec![], groups)
        };
        let rules = RulesInput {
            digest_mirrors,
            tag_mirrors,
            ..RulesInput::default()
        };
        let asked = source.content().digest("team/app", "v1");
        let digest_name = format!("{}@{asked}", at(&source, "team/app"));
        let import = Import::images([digest_name.clone(), at(&source, "team/app:v1")]).rules(&rules);
        let result = import.run_anew().await;
        for image in &result.images {
            assert_eq!(said(image), "Success");
            assert_eq!(importing::image(image).docker_image_reference, digest_name);
        }
        // One of the two was for the mirrors: manifest and config came from the second of them.
        let reference = if by_digest { asked.as_str() } else { "v1" };
        let path = format!("GET /v2/copies/team/app/manifests/{reference}");
        assert_eq!(empty.request_lines(), std::slice::from_ref(&path));
        assert_eq!(mirror.request_lines()[0], path);
        assert_eq!(mirror.request_count(), 2);
        assert_eq!(source.request_count(), 2);
    }
}

#[tokio::test]
async fn when_all_sources_fail_the_reasons_are_listed_in_order() {
    let (source, one, two) = (
        TestRegistry::start(Content::new()),
        TestRegistry::start(Content::new()),
        TestRegistry::start(Content::new()),
    );
    two.add_fault(Fault::status("*", 500));
    let rules = RulesInput {
        tag_mirrors: mirrored(&source, &[&one, &two], false),
        ..RulesInput::default()
    };
    let result = Import::images([at(&source, "team/app:v1")])
        .rules(&rules)
        .run_anew()
        .await;
    let said = said(&result.images[0]);
    let [one, two, source] = [(&one, "copies/team"), (&two, "copies/team"), (&source, "team")]
        .map(|(registry, path)| at(registry, &format!("{path}/app:v1")));
    let begin = format!(
        "500 InternalError: Internal error occurred: [dockerimage.image.openshift.io \"{one}\" not found, {two}: "
    );
    assert!(said.starts_with(&begin), "{said}");
    assert!(said.contains("received unexpected HTTP status: 500"), "{said}");
    assert!(
        said.ends_with(&format!(
            ", dockerimage.image.openshift.io \"{source}\" not found]"
        )),
        "{said}"
    );
}

#[tokio::test]
async fn a_source_that_must_never_be_contacted_is_not() {
    let source = holding("team/app", "same");
    let mirror = holding("copies/team/app", "same");
    let rules = RulesInput {
        tag_mirrors: mirrored(&source, &[&mirror], true),
        digest_mirrors: mirrored(&source, &[&mirror], true),
        ..RulesInput::default()
    };
    let asked = source.content().digest("team/app", "v1");
    let import = Import::repository(at(&source, "team/app"))
        .and(at(&source, "team/app:v1"))
        .and(at(&source, "team/app:gone"))
        .and(format!("{}@{asked}", at(&source, "team/app")))
        .rules(&rules);
    let result = import.run_anew().await;
    assert_eq!(said(&result.images[0]), "Success");
    assert_eq!(
        said(&result.images[1]),
        format!(
            "404 NotFound: dockerimage.image.openshift.io \"{}\" not found",
            at(&mirror, "copies/team/app:gone")
        )
    );
    assert_eq!(said(&result.images[2]), "Success");
    assert_eq!(tags_of(&repository(&result).images), ["v1"]);
    assert_eq!(source.request_lines(), [""; 0]);
}

#[tokio::test]
async fn the_tags_of_a_repository_are_listed_at_the_source() {
    let source = TestRegistry::start(tagged(&["v1", "v2"]));
    let mirror = holding("copies/team/app", "v1");
    let rules = RulesInput {
        tag_mirrors: mirrored(&source, &[&mirror], false),
        ..RulesInput::default()
    };
    let result = Import::repository(at(&source, "team/app"))
        .rules(&rules)
        .run_anew()
        .await;
    assert_eq!(tags_of(&repository(&result).images), ["v1", "v2"]);
    assert_eq!(status_said(&repository(&result).status), "Success");
    assert!(
        !mirror
            .request_lines()
            .iter()
            .any(|line| line.contains("tags/list"))
    );
}

#[tokio::test]
async fn blocked_registries_are_not_asked_and_the_items_say_so() {
    let (blocked, open) = (
        TestRegistry::start(tagged(&["v1"])),
        TestRegistry::start(tagged(&["v1"])),
    );
    let rules = RulesInput {
        blocked: vec![blocked.host()],
        ..RulesInput::default()
    };
    let import = Import::repository(at(&blocked, "team/app"))
        .and(at(&blocked, "team/app:v1"))
        .and(at(&open, "team/app:v1"))
        .rules(&rules);
    let result = import.run_anew().await;
    let refused = format!("403 Forbidden: forbidden: registry {} blocked", blocked.host());
    assert_eq!(said(&result.images[0]), refused);
    assert_eq!(result.images[0].tag, "");
    assert_eq!(status_said(&repository(&result).status), refused);
    assert_eq!(said(&result.images[1]), "Success");
    assert_eq!(blocked.request_count(), 0);
}

#[tokio::test]
async fn each_item_says_for_itself_whether_its_registry_must_be_secure() {
    let registry = TestRegistry::start(tagged(&["v1", "v2"]));
    let mut import = Import::images([at(&registry, "team/app:v1"), at(&registry, "team/app:v2")]);
    import.spec.images[1].import_policy.insecure = false;
    let result = import.run_anew().await;
    assert_eq!(said(&result.images[0]), "Success");
    assert!(
        said(&result.images[1]).starts_with("500 InternalError: "),
        "{}",
        said(&result.images[1])
    );
    assert!(
        !registry
            .request_lines()
            .iter()
            .any(|line| line.ends_with("manifests/v2"))
    );
    // Or the administrator says it for all.
    let rules = RulesInput {
        insecure: vec![registry.host()],
        ..RulesInput::default()
    };
    let result = import.secure().rules(&rules).run_anew().await;
    assert_eq!(
        result.images.iter().map(said).collect::<Vec<_>>(),
        ["Success", "Success"]
    );
}
