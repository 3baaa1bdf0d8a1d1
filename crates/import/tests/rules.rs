//! Which tags a rule of a stream chooses, from where they are listed.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod importing;

use std::time::Duration;

use imagestream_api::follow_rules::{RULES_ANNOTATION, Rule, rules};
use imagestream_api::types::{ObjectMeta, Status};
use imagestream_import::{ChosenTags, Credentials, TagListing};
use imagestream_registry::sources::{MirrorGroup, RegistryRules, RulesInput};
use imagestream_testkit::auth::Auth;
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::registry::TestRegistry;
use importing::{at, engine};
use tokio::time::Instant;

fn rule(registry: &TestRegistry, fields: &str) -> Rule {
    let text = format!(
        "[{{repository: {}, importPolicy: {{insecure: true}}, {fields}}}]",
        at(registry, "team/app")
    );
    let metadata = ObjectMeta {
        annotations: Some([(RULES_ANNOTATION.to_owned(), text)].into()),
        ..ObjectMeta::default()
    };
    rules(&metadata).unwrap().remove(0)
}

fn holding(repository: &str, tags: &[&str]) -> TestRegistry {
    let content = tags.iter().fold(Content::new(), |content, tag| {
        content.dangling_tag(repository, tag)
    });
    TestRegistry::start(content)
}

async fn chosen(rule: &Rule, input: &RulesInput) -> Result<ChosenTags, Box<Status>> {
    let listing = TagListing {
        rules: &RegistryRules::new(input),
        credentials: &Credentials::default(),
        deadline: Instant::now() + Duration::from_secs(30),
    };
    engine().choose_tags(rule, &listing).await
}

fn mirrored(source: &TestRegistry, mirrors: &[&TestRegistry], never_contact_source: bool) -> RulesInput {
    RulesInput {
        tag_mirrors: vec![MirrorGroup {
            source: at(source, "team"),
            mirrors: mirrors.iter().map(|mirror| at(mirror, "copies")).collect(),
            never_contact_source,
        }],
        ..RulesInput::default()
    }
}

#[tokio::test]
async fn tags_are_chosen_at_the_source_unless_it_must_not_be_contacted() {
    let source = holding("team/app", &["1.0", "2.0", "3.0"]);
    let mirror = holding("copies/app", &["1.0", "2.0"]);
    let rule = rule(&source, "match: {semver: '*'}, newest: 1");
    let at_source = chosen(&rule, &mirrored(&source, &[&mirror], false))
        .await
        .unwrap();
    assert_eq!(
        (at_source.tags, at_source.has_more),
        (vec!["3.0".to_owned()], true)
    );
    source.clear_requests();
    let at_mirror = chosen(&rule, &mirrored(&source, &[&mirror], true)).await.unwrap();
    assert_eq!(at_mirror.tags, ["2.0"]);
    assert_eq!(source.request_count(), 0);
}

#[tokio::test]
async fn what_a_source_listed_before_it_failed_does_not_count() {
    let (source, broken) = (holding("team/app", &[]), holding("copies/app", &["9.0", "9.1"]));
    let mirror = holding("copies/app", &["1.0"]);
    broken.set_page_size(1);
    // The second page leads elsewhere.
    broken.add_fault(Fault::on(
        "*/tags/list",
        FaultKind::LinkTo("https://elsewhere.test/".to_owned()),
    ));
    let rule = rule(&source, "match: {semver: '*'}");
    let found = chosen(&rule, &mirrored(&source, &[&broken, &mirror], true))
        .await
        .unwrap();
    assert_eq!(found.tags, ["1.0"]);
}

#[tokio::test]
async fn a_repository_that_cannot_be_listed_is_told_as_an_import_would() {
    let registry = holding("team/other", &["1.0"]);
    let rule = rule(&registry, "match: {semver: '*'}");
    let name = at(&registry, "team/app");
    let said = async |input: &RulesInput| {
        let status = chosen(&rule, input).await.unwrap_err();
        (status.code.unwrap(), status.message.unwrap())
    };
    let (code, message) = said(&RulesInput::default()).await;
    assert_eq!(
        (code, message),
        (
            404,
            format!("dockerimage.image.openshift.io \"{name}\" not found")
        )
    );
    registry.set_auth(Auth::basic("user", "password"));
    let (code, message) = said(&RulesInput::default()).await;
    assert!(
        code == 500 && message.ends_with("no basic auth credentials"),
        "{code} {message}"
    );
    registry.clear_requests();
    let blocked = RulesInput {
        blocked: vec![registry.host()],
        ..RulesInput::default()
    };
    let (code, message) = said(&blocked).await;
    assert!(code == 403 && message.contains("blocked"), "{code} {message}");
    assert_eq!(registry.request_count(), 0);
}
