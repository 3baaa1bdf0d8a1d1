//! Which tags a rule of a stream chooses, from where they are listed.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod importing;

use std::sync::Mutex;
use std::time::Duration;

use imagestream_api::follow_rules::{RULES_ANNOTATION, Rule, rules};
use imagestream_api::types::{ObjectMeta, Status};
use imagestream_import::check::CheckError;
use imagestream_import::{ChosenTags, Credentials, LeftAlone, NotListed, TagListing, Turns};
use imagestream_registry::HostFeedback;
use imagestream_registry::sources::{MirrorGroup, RegistryRules, RulesInput};
use imagestream_testkit::auth::Auth;
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::registry::TestRegistry;
use importing::{at, engine};
use tokio::time::{Instant, sleep_until};

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

/// Lets everybody ask at once, and leaves nobody alone for longer than that is waited for.
#[derive(Default)]
struct Patient {
    asked: Mutex<Vec<String>>,
    pause: Mutex<Option<Instant>>,
}

impl Turns for Patient {
    async fn wait(&self, _: &str, patience: Instant) -> Result<(), LeftAlone> {
        let pause = self.pause.lock().unwrap().take();
        match pause {
            Some(until) if until > patience => Err(LeftAlone { until }),
            Some(until) => {
                sleep_until(until).await;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn asked(&self, host: &str, outcome: Result<(), &CheckError>, feedback: &HostFeedback) {
        let outcome = outcome.map_or_else(ToString::to_string, |()| "fine".to_owned());
        self.asked.lock().unwrap().push(format!("{host} {outcome}"));
        if feedback.is_refusal {
            let wait = feedback.retry_after.unwrap_or_default() + Duration::from_millis(100);
            *self.pause.lock().unwrap() = Some(Instant::now() + wait);
        }
    }
}

async fn all_chosen(
    rules: &[&Rule],
    input: &RulesInput,
    turns: &Patient,
) -> Result<Vec<ChosenTags>, NotListed> {
    let listing = TagListing {
        rules: &RegistryRules::new(input),
        credentials: &Credentials::default(),
        deadline: Instant::now() + Duration::from_secs(300),
        turns,
    };
    engine().choose_tags(rules, &listing).await
}

async fn chosen(rule: &Rule, input: &RulesInput) -> Result<ChosenTags, Box<Status>> {
    match all_chosen(&[rule], input, &Patient::default()).await {
        Ok(mut chosen) => Ok(chosen.remove(0)),
        Err(NotListed::Failed(status)) => Err(status),
        Err(NotListed::LeftAlone(left_alone)) => panic!("{left_alone:?}"),
    }
}

fn refusal(seconds: u32) -> FaultKind {
    FaultKind::Status {
        status: 429,
        headers: vec![("retry-after".to_owned(), seconds.to_string())],
        body: String::new(),
    }
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

#[tokio::test]
async fn one_list_serves_all_rules_for_a_repository() {
    let registry = holding("team/app", &["1.0", "2.0", "nightly"]);
    let (versions, names) = (
        rule(&registry, "match: {semver: '*'}, newest: 1"),
        rule(&registry, "match: {glob: 'n*'}"),
    );
    let turns = Patient::default();
    let found = all_chosen(&[&versions, &names], &RulesInput::default(), &turns)
        .await
        .unwrap();
    let tags: Vec<Vec<String>> = found.into_iter().map(|chosen| chosen.tags).collect();
    assert_eq!(tags, [["2.0"], ["nightly"]]);
    assert_eq!(
        *turns.asked.lock().unwrap(),
        [format!("{} fine", registry.host())]
    );
}

#[tokio::test]
async fn a_registry_that_refuses_is_left_alone_before_a_list_and_waited_for_within_one() {
    let registry = holding("team/app", &["1", "2", "3"]);
    registry.set_page_size(1);
    let rule = rule(&registry, "match: {glob: '*'}");
    let turns = Patient::default();
    let found = async || all_chosen(&[&rule], &RulesInput::default(), &turns).await;
    registry.add_fault(Fault::on("*/tags/list", refusal(1)).times(1).after(1));
    assert_eq!(found().await.unwrap()[0].tags, ["3", "2", "1"]);
    assert_eq!(turns.asked.lock().unwrap().len(), 4, "one page twice");
    // At the first page, and at a later one for longer than the list may take.
    for (after, seconds) in [(0, 1), (1, 3600)] {
        registry.clear_faults();
        registry.add_fault(Fault::on("*/tags/list", refusal(seconds)).after(after));
        sleep_until(Instant::now() + Duration::from_millis(1_200)).await;
        let error = found().await.unwrap_err();
        assert!(matches!(error, NotListed::LeftAlone(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_list_that_breaks_off_chooses_nothing() {
    let registry = holding("team/app", &["1", "2", "3"]);
    registry.set_page_size(1);
    registry.add_fault(Fault::status("*/tags/list", 500).after(2));
    let rule = rule(&registry, "match: {glob: '*'}");
    assert!(chosen(&rule, &RulesInput::default()).await.is_err());
}
