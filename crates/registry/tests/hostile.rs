//! A registry that lies, floods or leads astray: everything read is bounded, verified and stays where it may go.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod reading;

use std::time::Duration;

use imagestream_api::digest::Digest;
use imagestream_registry::{Error, ManifestAt};
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::layer::Layer;
use imagestream_testkit::registry::{LinkForm, TestRegistry};
use imagestream_testkit::schema1::Schema1;
use reading::{app, client, failure, insecure, one_image, secure, trusting, v1, within};
use tokio::time::Instant;

/// A registry whose manifests have this fault.
fn with(kind: FaultKind) -> TestRegistry {
    let registry = TestRegistry::start(one_image());
    registry.add_fault(Fault::on("/v2/*/manifests/*", kind));
    registry
}

#[tokio::test]
async fn a_manifest_of_a_gigabyte_is_refused_by_its_announced_length() {
    let registry = with(FaultKind::HugeBody(1 << 30));
    let text = failure(&client(), &registry, insecure()).await;
    assert!(
        text.ends_with("manifest is larger than the limit of 4194304 bytes"),
        "{text}"
    );
}

#[tokio::test]
async fn a_manifest_without_end_is_read_to_the_limit_only() {
    let registry = with(FaultKind::EndlessBody);
    let text = failure(&client(), &registry, insecure()).await;
    assert!(
        text.ends_with("manifest is larger than the limit of 4194304 bytes"),
        "{text}"
    );
}

#[tokio::test]
async fn a_manifest_that_drips_ends_at_the_deadline() {
    let registry = with(FaultKind::SlowDrip {
        bytes: 1,
        every: Duration::from_millis(50),
    });
    let start = Instant::now();
    let text = failure(&client(), &registry, within(Duration::from_millis(400))).await;
    assert!(text.ends_with("context deadline exceeded"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_registry_that_never_answers_ends_at_the_deadline() {
    let registry = with(FaultKind::Hang);
    let text = failure(&client(), &registry, within(Duration::from_millis(400))).await;
    assert!(text.ends_with("context deadline exceeded"), "{text}");
}

#[tokio::test]
async fn a_manifest_that_is_not_what_its_digest_says_is_refused() {
    let registry = with(FaultKind::WrongBody);
    let digest = Digest::parse(&registry.content().digest("team/app", "v1")).unwrap();
    let outcome = app(&client(), &registry, insecure())
        .manifest(&ManifestAt::Digest(digest.clone()))
        .await;
    let text = outcome.unwrap_err().to_string();
    let begin = format!(
        "content integrity error: the manifest retrieved with digest {digest} does not match the digest \
         calculated from the content sha256:"
    );
    assert!(text.starts_with(&begin), "{text}");
}

#[tokio::test]
async fn the_digest_of_a_tagged_manifest_is_calculated_not_believed() {
    let registry = with(FaultKind::WrongDigestHeader);
    let manifest = app(&client(), &registry, insecure())
        .manifest(&v1())
        .await
        .unwrap();
    assert_eq!(
        manifest.digest.as_str(),
        registry.content().digest("team/app", "v1")
    );
}

#[tokio::test]
async fn the_digest_of_a_signed_manifest_is_that_of_its_payload() {
    let manifest = Schema1::new("team/old", "v1")
        .layer(&Layer::file("etc/base", b"base"), serde_json::json!({"id": "a"}));
    let registry = TestRegistry::start(one_image().schema1("team/old", "v1", &manifest));
    let old = client()
        .repository(&registry.host(), "team/old", insecure())
        .unwrap();
    let digest = Digest::parse(&registry.content().digest("team/old", "v1")).unwrap();
    let tagged = old.manifest(&v1()).await.unwrap();
    assert_eq!(tagged.digest, digest);
    assert!(!digest.verifies(&tagged.body), "the signatures are no part of it");
    assert_eq!(
        old.manifest(&ManifestAt::Digest(digest.clone()))
            .await
            .unwrap()
            .digest,
        digest
    );
    registry.add_fault(Fault::on("/v2/*/manifests/*", FaultKind::WrongBody));
    assert!(old.manifest(&ManifestAt::Digest(digest)).await.is_err());
}

#[tokio::test]
async fn a_blob_that_is_not_what_its_digest_says_is_refused() {
    let registry = TestRegistry::start(one_image());
    registry.add_fault(Fault::on("/v2/*/blobs/*", FaultKind::WrongBody));
    let outcome = reading::config(&app(&client(), &registry, insecure()), &registry).await;
    assert!(
        matches!(outcome, Err(Error::Integrity { what: "blob", .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_tag_list_without_end_ends() {
    let registry = TestRegistry::builder(one_image()).without_record().start();
    registry.add_fault(Fault::on("/v2/*/tags/list", FaultKind::EndlessTags));
    let error = app(&client(), &registry, insecure()).tags().await.unwrap_err();
    assert_eq!(error.to_string(), "the tag list has more than 10000 pages");
}

#[tokio::test]
async fn pages_of_tags_are_followed_in_either_form_and_to_no_other_host() {
    let content = one_image().tags("team/many", 25);
    let registry = TestRegistry::start(content);
    registry.set_page_size(10);
    let client = client();
    for form in [LinkForm::Relative, LinkForm::Absolute] {
        registry.set_link_form(form);
        let many = client
            .repository(&registry.host(), "team/many", insecure())
            .unwrap();
        assert_eq!(many.tags().await.unwrap().len(), 25, "{form:?}");
    }
    let other = TestRegistry::start(one_image());
    registry.add_fault(Fault::on(
        "*/tags/list",
        FaultKind::LinkTo(format!("{}/v2/team/app/tags/list", other.url())),
    ));
    let error = app(&client, &registry, insecure()).tags().await.unwrap_err();
    assert!(error.to_string().contains("leads to another host"), "{error}");
    assert_eq!(other.request_count(), 0);
}

#[tokio::test]
async fn tags_of_a_large_repository_are_shown_page_by_page() {
    let mut content = one_image();
    for number in 0..12_345 {
        content = content.dangling_tag("team/large", &format!("t{number:05}"));
    }
    let registry = TestRegistry::start(content);
    let repository = client()
        .repository(&registry.host(), "team/large", insecure())
        .unwrap();
    let (mut shown, mut pages) = (Vec::new(), repository.tag_pages());
    while let Some(page) = pages.next_if_welcome().await.found.unwrap() {
        assert!(page.len() <= 1_000);
        shown.extend(page);
    }
    assert_eq!(shown, repository.tags().await.unwrap());
    let pages = registry.request_lines();
    let asked = pages
        .iter()
        .filter(|line| line.contains("tags/list?") && line.contains("n=1000"));
    assert_eq!(asked.count(), 13, "pages of a thousand: {pages:?}");
    registry.add_fault(Fault::on(
        "*/tags/list",
        FaultKind::LinkTo("/v2/team/large/tags/list?n=1".to_owned()),
    ));
    let mut pages = repository.tag_pages();
    let error = loop {
        if let Err(error) = pages.next_if_welcome().await.found {
            break error;
        }
        assert!(pages.has_next());
    };
    assert!(error.to_string().contains("circle"), "{error}");
}

#[tokio::test]
async fn a_page_that_a_registry_refuses_is_told_at_once_and_can_be_asked_for_again() {
    let mut content = one_image();
    for number in 0..2_500 {
        content = content.dangling_tag("team/large", &format!("t{number:05}"));
    }
    let registry = TestRegistry::start(content);
    let (first, second) = (client(), client());
    let one = first
        .repository(&registry.host(), "team/large", insecure())
        .unwrap();
    let other = second
        .repository(&registry.host(), "team/large", insecure())
        .unwrap();
    let mut pages = one.tag_pages();
    pages.next_if_welcome().await.found.unwrap();
    registry.add_fault(
        Fault::on(
            "*/tags/list",
            FaultKind::Status {
                status: 429,
                headers: vec![("retry-after".to_owned(), "1".to_owned())],
                body: String::new(),
            },
        )
        .times(1),
    );
    let refused = pages.next_if_welcome().await;
    assert!(refused.found.is_err() && refused.feedback.is_refusal);
    assert_eq!(refused.feedback.retry_after, Some(Duration::from_secs(1)));
    let mut tags = 1_000;
    while pages.has_next() {
        match pages.next_if_welcome().await.found {
            Ok(page) => tags += page.unwrap_or_default().len(),
            // It wants to be left alone for a second.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    assert_eq!(tags, other.tags().await.unwrap().len());
}

#[tokio::test]
async fn pages_of_tags_that_lead_in_a_circle_are_given_up() {
    let registry = TestRegistry::start(one_image());
    registry.add_fault(Fault::on(
        "*/tags/list",
        FaultKind::LinkTo("/v2/team/app/tags/list?n=1".to_owned()),
    ));
    let error = app(&client(), &registry, insecure()).tags().await.unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
    assert!(registry.request_count() <= 3, "{:?}", registry.request_lines());
}

#[tokio::test]
async fn tag_lists_that_are_no_tag_lists_are_refused() {
    let page = |body: String| FaultKind::Status {
        status: 200,
        headers: Vec::new(),
        body,
    };
    let deep = format!("{{\"tags\":{}", "[".repeat(100_000));
    for kind in [
        FaultKind::MalformedJson,
        page("<html>sign in</html>".to_owned()),
        page(deep),
        page(String::new()),
    ] {
        let registry = TestRegistry::start(one_image());
        registry.add_fault(Fault::on("*/tags/list", kind.clone()));
        let outcome = app(&client(), &registry, insecure()).tags().await;
        assert!(
            matches!(outcome, Err(Error::Malformed(_))),
            "{kind:?}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let registry = with(FaultKind::RedirectLoop);
    let text = failure(&client(), &registry, insecure()).await;
    assert!(text.ends_with("stopped after 10 redirects"), "{text}");
    assert_eq!(registry.request_count(), 11);
}

#[tokio::test]
async fn a_redirect_from_tls_to_plain_http_is_refused() {
    let registry = TestRegistry::builder(one_image()).tls().start();
    let plain = TestRegistry::start(one_image());
    registry.add_fault(Fault::on("/v2/*/blobs/*", FaultKind::RedirectToBase(plain.url())));
    let outcome = reading::config(&app(&trusting(&registry), &registry, secure()), &registry).await;
    assert!(
        outcome
            .unwrap_err()
            .to_string()
            .ends_with("refusing a redirect from https to http")
    );
    assert_eq!(plain.request_count(), 0);
}

#[tokio::test]
async fn nobody_is_sent_to_where_machines_get_their_credentials() {
    let registry = with(FaultKind::RedirectTo(
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ));
    let text = failure(&client(), &registry, insecure()).await;
    assert!(text.contains("refusing to connect to 169.254.169.254"), "{text}");
    let registry = with(FaultKind::ChallengeTo("http://169.254.169.254/token".to_owned()));
    let text = failure(&client(), &registry, insecure()).await;
    assert!(text.contains("refusing to connect to 169.254.169.254"), "{text}");
}
