//! The client against real registries and one that misbehaves, where a set of them is running:
//! `IMAGESTREAM_CONFORMANCE_CA` names their certificate authority.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::time::Duration;

use imagestream_api::digest::Digest;
use imagestream_registry::{Access, Client, ClientOptions, Credential, Error, ManifestAt, Repository};
use tokio::time::Instant;

fn client() -> Option<Client> {
    let authority = std::env::var_os("IMAGESTREAM_CONFORMANCE_CA")?;
    let ca = std::fs::read(authority).expect("the registries' authority");
    let options = ClientOptions {
        trusted_ca_pem: Some(ca),
        proxies_from_environment: false,
        ..ClientOptions::default()
    };
    Some(Client::new(options).expect("client"))
}

fn repository(
    client: &Client,
    port: u16,
    path: &str,
    insecure: bool,
    user: Option<(&str, &str)>,
) -> Repository {
    let credential = user.map(|(name, password)| Credential::Basic {
        username: name.into(),
        password: password.into(),
    });
    let access = Access {
        insecure,
        credential,
        deadline: Instant::now() + Duration::from_secs(10),
        patience: Instant::now() + Duration::from_secs(10),
    };
    client
        .repository(&format!("127.0.0.1:{port}"), path, access)
        .expect("repository")
}

fn tag(tag: &str) -> ManifestAt {
    ManifestAt::Tag(tag.to_owned())
}

#[tokio::test]
async fn registries_are_read_by_every_way_of_access() {
    let Some(client) = client() else { return };
    let user = Some(("labuser", "labpass"));
    for (port, path, insecure, user) in [
        (25000, "lab/schema2", true, None),
        (25001, "lab/schema2", false, None),
        (25002, "lab/schema2", true, None),
        (25003, "private/app", true, user),
        (25004, "private/app", true, user),
        (25004, "public/app", true, None),
        (25007, "private/app", false, user),
    ] {
        let repository = repository(&client, port, path, insecure, user);
        let tags = repository
            .tags()
            .await
            .unwrap_or_else(|error| panic!("{port} {path}: {error}"));
        assert!(tags.contains(&"v1".to_owned()), "{port} {path}: {tags:?}");
        let manifest = repository
            .manifest(&tag("v1"))
            .await
            .unwrap_or_else(|error| panic!("{port}: {error}"));
        let head = repository.manifest_head(&tag("v1")).await.expect("head");
        assert_eq!(head, Some(manifest.digest.clone()), "{port} {path}");
        let document: serde_json::Value = serde_json::from_slice(&manifest.body).expect("JSON");
        let config = Digest::parse(document["config"]["digest"].as_str().expect("digest")).expect("digest");
        let blob = repository
            .blob(&config)
            .await
            .unwrap_or_else(|error| panic!("{port}: {error}"));
        assert_eq!(
            repository.blob_size(&config).await,
            Ok(blob.len() as u64),
            "{port} {path}"
        );
        let by_digest = repository
            .manifest(&ManifestAt::Digest(manifest.digest))
            .await
            .expect("by digest");
        assert_eq!(by_digest.body, manifest.body);
    }
}

#[tokio::test]
async fn failures_are_told_in_the_words_of_registry_clients() {
    let Some(client) = client() else { return };
    let wrong = Some(("labuser", "wrong"));
    let table = [
        (
            25000,
            "lab/schema2",
            "v1",
            false,
            None,
            r#"Get "https://127.0.0.1:25000/v2/": http: server gave HTTP response to HTTPS client"#,
        ),
        (
            25002,
            "lab/schema2",
            "v1",
            false,
            None,
            r#"Get "https://127.0.0.1:25002/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority"#,
        ),
        (
            25009,
            "lab/schema2",
            "v1",
            false,
            None,
            r#"Get "https://127.0.0.1:25009/v2/": dial tcp 127.0.0.1:25009: connect: connection refused"#,
        ),
        (
            25009,
            "lab/schema2",
            "v1",
            true,
            None,
            r#"Get "http://127.0.0.1:25009/v2/": dial tcp 127.0.0.1:25009: connect: connection refused"#,
        ),
        (
            25008,
            "lab/x",
            "v1",
            true,
            None,
            r#"endpoint "http://127.0.0.1:25008" does not support v2 API (got 404 Not Found)"#,
        ),
        (
            25003,
            "private/app",
            "v1",
            true,
            None,
            r#"Get "http://127.0.0.1:25003/v2/private/app/manifests/v1": no basic auth credentials"#,
        ),
        (
            25004,
            "private/app",
            "v1",
            true,
            wrong,
            r#"Get "http://127.0.0.1:25004/v2/private/app/manifests/v1": unauthorized: incorrect username or password"#,
        ),
        (
            25006,
            "f/m500",
            "v1",
            true,
            None,
            "received unexpected HTTP status: 500 Internal Server Error",
        ),
        (
            25006,
            "f/m503",
            "v1",
            true,
            None,
            "received unexpected HTTP status: 503 Service Unavailable",
        ),
        (25006, "f/m403", "v1", true, None, "denied"),
        (25006, "f/m400", "v1", true, None, "name invalid"),
        (
            25006,
            "f/m404name",
            "v1",
            true,
            None,
            "name unknown: repository name not known to registry",
        ),
        (
            25006,
            "f/m418",
            "v1",
            true,
            None,
            r#"error parsing HTTP 418 response body: error decoding JSON: expected ident at line 1 column 2: "teapot""#,
        ),
    ];
    for (port, path, reference, insecure, user, text) in table {
        let outcome = repository(&client, port, path, insecure, user)
            .manifest(&tag(reference))
            .await;
        assert_eq!(
            outcome.err().map(|error| error.to_string()).as_deref(),
            Some(text),
            "{port} {path}"
        );
    }
}

#[tokio::test]
async fn codes_can_be_told_apart() {
    let Some(client) = client() else { return };
    for (port, path, code) in [
        (25000, "lab/schema2", "MANIFEST_UNKNOWN"),
        (25006, "f/nosuch", "MANIFEST_UNKNOWN"),
        (25006, "f/m401noauth", "UNAUTHORIZED"),
        (25004, "private/app", "UNAUTHORIZED"),
    ] {
        let error = repository(&client, port, path, true, None)
            .manifest(&tag("nosuch"))
            .await
            .expect_err(path);
        assert!(error.has_code(code), "{port} {path}: {error:?}");
    }
    let error = repository(&client, 25000, "lab/nosuch", true, None)
        .tags()
        .await
        .expect_err("unknown");
    assert!(error.has_code("NAME_UNKNOWN"), "{error:?}");
}

#[tokio::test]
async fn tag_lists_are_read_in_all_their_oddities() {
    let Some(client) = client() else { return };
    let tags = |path: &'static str| {
        let repository = repository(&client, 25006, path, true, None);
        async move { repository.tags().await }
    };
    assert_eq!(
        tags("f/paginated").await,
        Ok(vec!["p0".into(), "p1".into(), "p2".into()])
    );
    assert_eq!(tags("f/tagsnull").await, Ok(vec![]));
    assert_eq!(tags("f/tagsdup").await, Ok(vec!["v1".into(), "v1".into()]));
    assert_eq!(tags("f/tagsweird").await.map(|tags| tags.len()), Ok(6));
    assert_eq!(
        tags("f/badtags").await,
        Err(Error::Malformed("unexpected end of JSON input".into()))
    );
}

#[tokio::test]
async fn a_registry_that_asks_for_patience_gets_it_until_the_deadline() {
    let Some(client) = client() else { return };
    let start = Instant::now();
    let error = repository(&client, 25006, "f/tags429", true, None)
        .tags()
        .await
        .expect_err("limited");
    assert_eq!(error.to_string(), "toomanyrequests: slow down");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn blobs_are_verified_wherever_they_come_from() {
    let Some(client) = client() else { return };
    let config = Digest::parse(&config_of(&client).await).expect("digest");
    let blob = |path| {
        let (repository, config) = (repository(&client, 25006, path, true, None), config.clone());
        async move { repository.blob(&config).await }
    };
    assert!(blob("f/redirect").await.is_ok());
    assert!(matches!(
        blob("f/cfgmismatch").await,
        Err(Error::Integrity { what: "blob", .. })
    ));
    let unknown = repository(&client, 25006, "f/ok", true, None)
        .blob(&Digest::sha256_of(b"?"))
        .await;
    assert_eq!(unknown, Err(Error::UnknownBlob));
}

async fn config_of(client: &Client) -> String {
    let manifest = repository(client, 25006, "f/ok", true, None)
        .manifest(&tag("v1"))
        .await
        .expect("manifest");
    let document: serde_json::Value = serde_json::from_slice(&manifest.body).expect("JSON");
    document["config"]["digest"].as_str().expect("digest").to_owned()
}
