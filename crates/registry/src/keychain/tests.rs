#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A keychain whose credential for each key has the key as its user.
fn keychain(keys: &[&str]) -> Keychain {
    let entries: serde_json::Map<String, Value> = keys
        .iter()
        .map(|key| ((*key).into(), json!({"username": key, "password": "p"})))
        .collect();
    let mut keychain = Keychain::default();
    keychain
        .add_dockercfg(Value::from(entries).to_string().as_bytes())
        .unwrap();
    keychain
}

fn user(found: Option<Match>) -> Option<String> {
    found.map(|found| match found {
        Match::Credential(Credential::Basic { username, .. }) => username,
        other => panic!("{other:?}"),
    })
}

fn with_entry(entry: &Value) -> Result<Option<(String, String)>, KeychainError> {
    let mut keychain = Keychain::default();
    keychain.add_dockerconfigjson(json!({"auths": {"r.io": entry}}).to_string().as_bytes())?;
    Ok(match keychain.lookup("r.io/x:latest").unwrap() {
        Match::Credential(Credential::Basic { username, password }) => Some((username, password)),
        Match::Nobody => None,
        other => panic!("{other:?}"),
    })
}

#[test]
fn keys_match_references() {
    let cases = [
        ("quay.io", "quay.io/a/b:latest", true),
        ("quay.io", "quay.io/a/b@sha256:3c87", true),
        ("quay.io/a", "quay.io/a/b:latest", true),
        ("quay.io/a", "quay.io/ab/c:latest", true),
        ("quay.io/a/b", "quay.io/a:latest", false),
        ("*.example.com", "r.example.com/x:latest", true),
        ("*.example.com", "a.b.example.com/x:latest", false),
        ("*.example.com", "example.com/x:latest", false),
        ("*.*.example.com", "a.b.example.com/x:latest", true),
        ("r*.example.com", "r2.example.com/x:latest", true),
        ("r.example.com", "r.example.com:5000/x:latest", false),
        ("r.example.com:5000", "r.example.com:5000/x:latest", true),
        ("r.example.com:5000", "r.example.com/x:latest", false),
        ("r.example.com:*", "r.example.com:5000/x:latest", false),
        ("https://r.example.com", "r.example.com/x:latest", true),
        (
            "http://127.0.0.1:25003/v2/",
            "127.0.0.1:25003/private/app:v1",
            true,
        ),
        ("https://r.example.com/v1/", "r.example.com/x:latest", true),
        ("https://r.example.com/v2/x", "r.example.com/x:latest", true),
        ("https://r.example.com/v2/y", "r.example.com/x:latest", false),
        ("https://r.example.com/v1", "r.example.com/x:latest", false),
        ("https://r.example.com/", "r.example.com/x:latest", true),
        ("https://user@r.example.com/?q#f", "r.example.com/x:latest", true),
        (
            "https://index.docker.io/v1/",
            "docker.io/library/busybox:latest",
            true,
        ),
        (
            "https://index.docker.io/v1/",
            "index.docker.io/library/busybox:latest",
            true,
        ),
        (
            "https://index.docker.io/v1/",
            "registry-1.docker.io/library/busybox:latest",
            false,
        ),
        ("https://index.docker.io/v1/", "localhost/x:latest", true),
        ("https://index.docker.io/v1/", "localhost:5000/x:latest", false),
        ("https://index.docker.io/v1/", "quay.io/x:latest", false),
        ("https://index.docker.io/v1/", "busybox", true),
        ("https://index.docker.io/v1/", "", false),
        ("docker.io", "docker.io/library/busybox:latest", true),
        ("registry-1.docker.io", "docker.io/library/busybox:latest", false),
        ("", "quay.io/x", false),
    ];
    for (key, reference, expected) in cases {
        assert_eq!(
            keychain(&[key]).lookup(reference).is_some(),
            expected,
            "{key} {reference}"
        );
    }
}

#[test]
fn keys_are_normalised() {
    let cases = [
        ("https://index.docker.io/v1/", "index.docker.io"),
        ("index.docker.io/v1", "index.docker.io/v1"),
        ("https://r.io/v2/a/b", "r.io/a/b"),
        ("http://r.io:5000/", "r.io:5000"),
        ("r.io/v3/a", "r.io/v3/a"),
        ("*.r.io", "*.r.io"),
    ];
    for (key, expected) in cases {
        assert_eq!(normalise_key(key), expected, "{key}");
    }
}

#[test]
fn longer_paths_come_first_and_only_the_first_match_counts() {
    let keychain = keychain(&[
        "quay.io",
        "quay.io/a/b",
        "quay.io/a",
        "docker.io",
        "https://index.docker.io/v1/",
    ]);
    let found = |reference| user(keychain.lookup(reference));
    assert_eq!(found("quay.io/a/b:latest").as_deref(), Some("quay.io/a/b"));
    assert_eq!(found("quay.io/a/c:latest").as_deref(), Some("quay.io/a"));
    assert_eq!(found("quay.io/x/c:latest").as_deref(), Some("quay.io"));
    // The fallback is for references that match nothing.
    assert_eq!(
        found("docker.io/library/busybox:latest").as_deref(),
        Some("docker.io")
    );
}

#[test]
fn reverse_bytewise_order_puts_names_before_wildcards() {
    let keychain = keychain(&["*.example.com", "r.example.com", "*.example.com/team"]);
    assert_eq!(
        user(keychain.lookup("r.example.com/team/x:1")).as_deref(),
        Some("r.example.com")
    );
    assert_eq!(
        user(keychain.lookup("s.example.com/team/x:1")).as_deref(),
        Some("*.example.com/team")
    );
}

#[test]
fn of_one_key_the_first_that_was_added_counts() {
    let mut keychain = Keychain::default();
    keychain
        .add_dockerconfigjson(br#"{"auths": {"https://r.io/v1/": {"username": "b", "password": "p"}, "r.io": {"username": "a", "password": "p"}}}"#)
        .unwrap();
    keychain
        .add_dockercfg(br#"{"r.io": {"username": "c", "password": "p"}}"#)
        .unwrap();
    assert_eq!(user(keychain.lookup("r.io/x")).as_deref(), Some("b"));
    let mut repeated = Keychain::default();
    repeated
        .add_dockercfg(
            br#"{"r.io": {"username": "a", "password": "p"}, "r.io": {"username": "b", "password": "p"}}"#,
        )
        .unwrap();
    assert_eq!(user(repeated.lookup("r.io/x")).as_deref(), Some("b"));
}

#[test]
fn auth_wins_over_the_fields_beside_it() {
    let pair = |username: &str, password: &str| Some((username.to_owned(), password.to_owned()));
    let both = json!({"username": "x", "password": "y", "auth": STANDARD.encode("u:p:q")});
    assert_eq!(with_entry(&both).unwrap(), pair("u", "p:q"));
    assert_eq!(
        with_entry(&json!({"auth": STANDARD_NO_PAD.encode("user:p")})).unwrap(),
        pair("user", "p")
    );
    assert_eq!(
        with_entry(&json!({"auth": STANDARD.encode("u:p\0\0")})).unwrap(),
        pair("u", "p")
    );
    assert_eq!(
        with_entry(&json!({"username": "u", "password": "p", "auth": ""})).unwrap(),
        pair("u", "p")
    );
    assert_eq!(
        with_entry(&json!({"username": "u", "email": "e@x"})).unwrap(),
        pair("u", "")
    );
}

#[test]
fn an_entry_that_holds_no_password_is_nobodys_and_hides_those_that_fit_less_well() {
    for entry in [
        json!({}),
        Value::Null,
        json!({"identitytoken": "t"}),
        json!({"registrytoken": "t"}),
    ] {
        assert_eq!(with_entry(&entry).unwrap(), None, "{entry}");
        let mut keychain = keychain(&["r.io"]);
        keychain
            .add_dockercfg(json!({"r.io/team": entry}).to_string().as_bytes())
            .unwrap();
        assert_eq!(keychain.lookup("r.io/team/x:1"), Some(Match::Nobody), "{entry}");
        assert_eq!(user(keychain.lookup("r.io/other/x:1")).as_deref(), Some("r.io"));
    }
}

#[test]
fn documents_without_entries_are_empty_keychains() {
    for document in [
        &b"{}"[..],
        br#"{"auths": null}"#,
        br#"{"auths": {}, "credsStore": "x"}"#,
    ] {
        let mut keychain = Keychain::default();
        keychain.add_dockerconfigjson(document).unwrap();
        assert!(keychain.is_empty());
    }
}

#[test]
fn a_broken_document_is_refused_without_quoting_it() {
    let documents: [(&[u8], &str); 5] = [
        (
            b"hunter2",
            "error decoding registry credentials: invalid character or type at line 1 column 1",
        ),
        (b"{\"auths\": {", "unexpected end of JSON input"),
        (b"", "unexpected end of JSON input"),
        (
            br#"{"auths": {"r.io": "hunter2"}}"#,
            "error decoding registry credentials: invalid character or type at line 1 column 28",
        ),
        (
            br#"{"auths": {"r.io": {"auth": "hunter2!"}}}"#,
            "illegal base64 data at input byte 7",
        ),
    ];
    for (document, text) in documents {
        let mut keychain = Keychain::default();
        assert_eq!(
            keychain.add_dockerconfigjson(document).unwrap_err().to_string(),
            text
        );
    }
    let no_colon = json!({"auth": STANDARD.encode("hunter2")});
    assert_eq!(
        with_entry(&no_colon).unwrap_err(),
        KeychainError::Auth(AuthError::Form)
    );
}

#[test]
fn a_document_with_one_broken_entry_adds_nothing() {
    let mut keychain = Keychain::default();
    let document = br#"{"a.io": {"username": "u", "password": "p"}, "b.io": {"auth": "!"}}"#;
    assert!(keychain.add_dockercfg(document).is_err());
    assert!(keychain.is_empty());
}

#[test]
fn size_and_entries_are_bounded() {
    let mut keychain = Keychain::default();
    let large = vec![b' '; MAX_DOCUMENT + 1];
    assert_eq!(keychain.add_dockercfg(&large), Err(KeychainError::TooLarge));
    let many: serde_json::Map<String, Value> = (0..=MAX_ENTRIES)
        .map(|i| (format!("h{i}.io"), json!({"username": "u"})))
        .collect();
    let many = Value::from(many).to_string();
    assert_eq!(
        keychain.add_dockercfg(many.as_bytes()),
        Err(KeychainError::TooManyEntries)
    );
}

#[test]
fn debug_output_shows_no_password() {
    let mut keychain = Keychain::default();
    keychain
        .add_dockercfg(br#"{"r.io": {"username": "ann", "password": "hunter2"}}"#)
        .unwrap();
    assert!(!format!("{keychain:?}").contains("hunter2"));
}

proptest! {
    #[test]
    fn no_document_and_no_reference_is_a_panic(document in proptest::collection::vec(any::<u8>(), 0..100), key in "\\PC{0,30}", reference in "\\PC{0,30}") {
        let mut keychain = keychain(&[&key]);
        let before = keychain.entries.len();
        if keychain.add_dockerconfigjson(&document).is_err() {
            prop_assert_eq!(keychain.entries.len(), before);
        }
        if let Some(found) = user(keychain.lookup(&reference)) {
            prop_assert_eq!(found, key);
        }
    }

    #[test]
    fn a_credential_is_never_given_to_another_host(key in "[a-z]{1,4}\\.[a-z]{2}(:[0-9]{2})?", host in "[a-z]{1,4}\\.[a-z]{2}(:[0-9]{2})?") {
        let found = keychain(&[&key]).lookup(&format!("{host}/x:latest"));
        prop_assert_eq!(found.is_some(), key == host);
    }
}
