//! Whatever a registry does, a credential is told to nobody it is not for.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod importing;

use imagestream_registry::ClientOptions;
use imagestream_testkit::auth::{Auth, TokenService};
use imagestream_testkit::content::Content;
use imagestream_testkit::fault::{Fault, FaultKind};
use imagestream_testkit::image::Image;
use imagestream_testkit::registry::TestRegistry;
use importing::{Import, at, engine_with, repository, said, status_said};
use serde_json::json;

const MANIFESTS: &str = "/v2/*/manifests/*";

fn one_image() -> Content {
    Content::new().image("team/app", "v1", Image::new())
}

#[tokio::test]
async fn a_place_redirected_to_sees_no_credential() {
    let image = || one_image();
    for auth in [Auth::basic("ann", "secret"), Auth::bearer("ann", "secret")] {
        for pattern in [MANIFESTS, "/v2/*/blobs/*", "/v2/*/tags/list"] {
            let (registry, store) = (TestRegistry::start(image()), TestRegistry::start(image()));
            registry.set_auth(auth.clone());
            registry.add_fault(Fault::on(pattern, FaultKind::RedirectToBase(store.url())));
            let import = Import::repository(at(&registry, "team/app")).by(&registry, "ann", "secret");
            let result = import.run_anew().await;
            assert_eq!(status_said(&repository(&result).status), "Success");
            assert_eq!(store.request_count(), 1, "{:?}", store.request_lines());
            assert_eq!(store.requests()[0].authorization, None);
        }
    }
}

#[tokio::test]
async fn a_place_redirected_to_that_asks_for_a_password_is_not_given_it() {
    let (registry, store) = (TestRegistry::start(one_image()), TestRegistry::start(one_image()));
    store.set_auth(Auth::basic("ann", "secret"));
    registry.add_fault(Fault::on("/v2/*/blobs/*", FaultKind::RedirectToBase(store.url())));
    let import = Import::images([at(&registry, "team/app:v1")])
        .by(&registry, "ann", "secret")
        .by_at(&store.host(), "ann", "secret");
    let result = import.run_anew().await;
    assert_eq!(
        said(&result.images[0]),
        format!(
            "401 Unauthorized: you may not have access to the container image \"{}\"",
            at(&registry, "team/app:v1")
        )
    );
    assert!(
        store
            .requests()
            .iter()
            .all(|request| request.authorization.is_none())
    );
}

#[tokio::test]
async fn the_secret_that_fits_best_counts_also_if_it_holds_no_password() {
    let registry = TestRegistry::start(one_image());
    registry.set_auth(Auth::basic("ann", "secret"));
    let mut import = Import::images([at(&registry, "team/app:v1")]).by(&registry, "ann", "secret");
    let document = json!({"auths": {at(&registry, "team"): {"identitytoken": "t"}}}).to_string();
    let secrets = import.credentials.secrets.as_mut().unwrap();
    secrets.add_dockerconfigjson(document.as_bytes()).unwrap();
    let result = import.run_anew().await;
    assert_eq!(
        said(&result.images[0]),
        format!(
            "401 Unauthorized: you may not have access to the container image \"{}\"",
            at(&registry, "team/app:v1")
        )
    );
}

/// An engine that trusts the certificate of this registry alone.
fn trusting(registry: &TestRegistry) -> imagestream_import::Engine {
    let options = ClientOptions {
        trusted_ca_pem: Some(registry.ca_pem().unwrap().as_bytes().to_vec()),
        ..ClientOptions::default()
    };
    engine_with(options, None)
}

#[tokio::test]
async fn a_secure_registry_can_have_the_password_sent_neither_in_clear_nor_to_who_cannot_prove_its_name() {
    let registry = TestRegistry::builder(one_image()).tls().start();
    let (in_clear, unproven) = (
        TestRegistry::start(one_image()),
        TestRegistry::builder(one_image()).tls().start(),
    );
    for (thief, words) in [(&in_clear, "over plain http"), (&unproven, "x509")] {
        registry.clear_faults();
        registry.add_fault(Fault::on(
            "*",
            FaultKind::ChallengeTo(format!("{}/token", thief.url())),
        ));
        let import = Import::images([at(&registry, "team/app:v1")])
            .secure()
            .by(&registry, "ann", "secret");
        let result = import.run(&trusting(&registry)).await;
        let said = said(&result.images[0]);
        assert!(
            said.starts_with("500 InternalError: Internal error occurred: "),
            "{said}"
        );
        assert!(said.contains(words), "{said}");
        assert_eq!(thief.request_count(), 0);
    }
}

#[tokio::test]
async fn a_token_service_elsewhere_is_given_the_password_and_its_token_goes_to_the_registry_only() {
    // Registries do have their token services elsewhere.
    let service = TestRegistry::start(Content::new());
    service.set_auth(Auth::bearer("ann", "secret"));
    let registry = TestRegistry::start(one_image());
    let realm = format!("{}/token", service.url());
    registry.set_auth(Auth::Bearer(
        TokenService::new().account("ann", "secret").realm(&realm),
    ));
    let import = Import::images([at(&registry, "team/app:v1")]).by(&registry, "ann", "secret");
    import.run_anew().await;
    assert!(!service.requests().is_empty());
    for request in service.requests() {
        assert_eq!(request.path, "/token");
        assert!(request.authorization.unwrap().starts_with("Basic "));
    }
    for request in registry.requests() {
        let shown = request.authorization.unwrap_or_default();
        assert!(
            shown.is_empty() || shown.starts_with("Bearer "),
            "the password went to the registry"
        );
    }
}
