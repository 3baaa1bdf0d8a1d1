//! Scheduled tags and rules at the same registry.

use imagestream_api::follow_rules::RULES_ANNOTATION;
use imagestream_testkit::fault::{Fault, FaultKind};

use super::*;
use crate::controllers::rules;

/// The controller of rules.
fn control_rules(place: &Place) -> AbortOnDropHandle<()> {
    let shared = Arc::clone(&place.shared);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let ended = rules::run(shared).await;
        assert!(ended.is_ok(), "{ended:?}");
    }))
}

fn registry() -> TestRegistry {
    let image = |name: &str| Image::new().distinct(name);
    let content = Content::new().image("a/b", "1", image("1"));
    TestRegistry::start(content.image("a/b", "2", image("2")))
}

/// The stream `r`, with a rule for the repository `a/b`.
async fn store_rule(place: &Place, registry: &TestRegistry) {
    let rules = format!(
        "[{{repository: {}/a/b, match: {{glob: '*'}}, importPolicy: {{insecure: true}}}}]",
        registry.host()
    );
    let stream = json!({"metadata": {"name": "r", "namespace": "n", "annotations": {RULES_ANNOTATION: rules}},
                        "spec": {}});
    place.server.store(&place.server.context.streams, stream).await;
}

fn refusal() -> FaultKind {
    FaultKind::Status {
        status: 429,
        headers: vec![("retry-after".to_owned(), "3600".to_owned())],
        body: String::new(),
    }
}

/// The only item of a list of the status, as soon as it is as it must be.
async fn until_status(place: &Place, list: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let report = place.status(list).await.unwrap();
        let found = report["items"].as_array().and_then(|items| items.first());
        if let Some(found) = found.filter(|found| is_right(found)) {
            return found.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{report}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_registry_that_refuses_a_list_is_not_looked_at_either() {
    let place = Place::looking(OFTEN).await;
    let registry = registry();
    let from = format!("{}/a/b:1", registry.host());
    place.import("s", &[("t", &from)], "Legacy").await;
    let _scheduled = place.control();
    place.looks(2).await;
    registry.add_fault(Fault::on("*/tags/list", refusal()));
    store_rule(&place, &registry).await;
    let _rules = control_rules(&place);
    let host = until_status(&place, "/hosts", |host| host["listsWaitUntil"].is_string()).await;
    assert_eq!(host["throttledBecause"], "Refused", "{host}");
    assert!(host["throttledUntil"].is_string(), "{host}");
    // Looks that were under way may end.
    registry.clear_requests();
    sleep(5 * OFTEN).await;
    assert!(registry.request_count() <= 1, "{:?}", registry.request_lines());
}

#[tokio::test]
async fn a_registry_that_refuses_a_look_is_asked_for_no_list_either() {
    let place = Place::looking(OFTEN).await;
    let registry = registry();
    let from = format!("{}/a/b:1", registry.host());
    place.import("s", &[("t", &from)], "Legacy").await;
    store_rule(&place, &registry).await;
    let (_scheduled, _rules) = (place.control(), control_rules(&place));
    let is_listed = |stream: &Value| stream["rules"] == 1 && stream["lastCheck"].is_string();
    until_status(&place, "/streams?namespace=n", is_listed).await;
    registry.add_fault(Fault::on("*/manifests/*", refusal()));
    until_status(&place, "/hosts", |host| host["listsWaitUntil"].is_string()).await;
    registry.clear_requests();
    sleep(5 * OFTEN).await;
    assert!(registry.request_count() <= 1, "{:?}", registry.request_lines());
}

#[tokio::test]
async fn the_status_tells_of_streams_that_only_have_rules() {
    let place = Place::looking(NEVER).await;
    let registry = registry();
    store_rule(&place, &registry).await;
    let (_scheduled, _rules) = (place.control(), control_rules(&place));
    let is_listed = |stream: &Value| stream["lastCheck"].is_string();
    let stream = until_status(&place, "/streams", is_listed).await;
    assert_eq!(
        (&stream["name"], &stream["tags"], &stream["rules"]),
        (&json!("r"), &json!(0), &json!(1))
    );
    assert!(stream["nextCheck"].is_string(), "{stream}");
    let host = until_status(&place, "/hosts", |_| true).await;
    assert_eq!(
        (&host["host"], &host["repositories"], &host["checksPerMinute"]),
        (&json!(registry.host()), &json!(1), &json!(1))
    );
    let whole = place.status("").await.unwrap();
    assert_eq!(
        (&whole["streamsWithRules"], &whole["repositories"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        place.status("/streams?namespace=other").await.unwrap()["items"],
        json!([])
    );
    place
        .until("r", |stream| {
            stream["spec"]["tags"]
                .as_array()
                .is_some_and(|tags| tags.len() == 2)
        })
        .await;
}
