//! Short ways to read from a test registry.

use std::time::Duration;

use imagestream_registry::{Access, Client, ClientOptions, Credential, Error, ManifestAt, Repository};
use imagestream_testkit::content::Content;
use imagestream_testkit::image::Image;
use imagestream_testkit::registry::TestRegistry;
use tokio::time::Instant;

/// Long enough for every test that does not wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One image at `team/app:v1`.
pub(crate) fn one_image() -> Content {
    Content::new().image("team/app", "v1", Image::new().layers(1))
}

pub(crate) fn options() -> ClientOptions {
    ClientOptions {
        proxies_from_environment: false,
        ..ClientOptions::default()
    }
}

pub(crate) fn client() -> Client {
    Client::new(options()).unwrap()
}

/// A client that trusts the certificate of this registry.
pub(crate) fn trusting(registry: &TestRegistry) -> Client {
    let ca = registry.ca_pem().unwrap().as_bytes().to_vec();
    Client::new(ClientOptions {
        trusted_ca_pem: Some(ca),
        ..options()
    })
    .unwrap()
}

/// Anonymous access that need not be secure.
pub(crate) fn insecure() -> Access {
    Access {
        insecure: true,
        credential: None,
        deadline: Instant::now() + PATIENCE,
        patience: Instant::now() + PATIENCE,
    }
}

/// Anonymous access that must be secure.
pub(crate) fn secure() -> Access {
    Access {
        insecure: false,
        ..insecure()
    }
}

pub(crate) fn within(time: Duration) -> Access {
    Access {
        deadline: Instant::now() + time,
        patience: Instant::now() + time,
        ..insecure()
    }
}

pub(crate) fn user(name: &str, password: &str) -> Option<Credential> {
    Some(Credential::Basic {
        username: name.into(),
        password: password.into(),
    })
}

pub(crate) fn app(client: &Client, registry: &TestRegistry, access: Access) -> Repository {
    client.repository(&registry.host(), "team/app", access).unwrap()
}

pub(crate) fn v1() -> ManifestAt {
    ManifestAt::Tag("v1".to_owned())
}

/// The text of the failure of reading `team/app:v1`.
pub(crate) async fn failure(client: &Client, registry: &TestRegistry, access: Access) -> String {
    match app(client, registry, access).manifest(&v1()).await {
        Ok(_) => "no failure".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[allow(dead_code, reason = "not every test file asks for a config")]
pub(crate) async fn config(repository: &Repository, registry: &TestRegistry) -> Result<bytes::Bytes, Error> {
    let digest = registry.content().config_digest("team/app", "v1");
    repository
        .blob(&imagestream_api::digest::Digest::parse(&digest).unwrap())
        .await
}
