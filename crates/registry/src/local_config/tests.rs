#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// A home directory with its own search path.
struct Home {
    dir: TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, document: &Value) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, document.to_string()).unwrap();
        path
    }

    /// A helper `name` that does what `script` says after it wrote the server it is asked for to the file `asked`.
    fn helper(&self, name: &str, script: &str) {
        let path = self.path(&format!("bin/docker-credential-{name}"));
        let asked = self.path("asked").display().to_string();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!("#!/bin/sh\nread -r server\necho \"$1 $server\" >> '{asked}'\n{script}\n");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn asked(&self) -> Vec<String> {
        let asked = std::fs::read_to_string(self.path("asked")).unwrap_or_default();
        asked.lines().map(String::from).collect()
    }

    fn environment(&self) -> Environment {
        Environment {
            home: Some(self.dir.path().into()),
            path: Some(self.path("bin").into()),
            ..Environment::default()
        }
    }

    async fn user(&self, environment: &Environment, reference: &str) -> Option<String> {
        let config = LocalConfig::load_with(environment, None).unwrap();
        user(config.credential(reference).await.unwrap())
    }
}

fn user(credential: Option<Credential>) -> Option<String> {
    credential.map(|credential| match credential {
        Credential::Basic { username, .. } => username,
        Credential::IdentityToken { username, token } => format!("{username:?} with {token}"),
    })
}

fn auths(entries: &[(&str, &str)]) -> Value {
    let entries: serde_json::Map<String, Value> = entries
        .iter()
        .map(|(key, user)| ((*key).into(), json!({"username": user, "password": "p"})))
        .collect();
    json!({"auths": entries})
}

#[tokio::test]
async fn the_first_file_that_has_a_credential_gives_it() {
    let home = Home::new();
    home.write("run/containers/auth.json", &auths(&[("a.io", "run")]));
    home.write(
        ".config/containers/auth.json",
        &auths(&[("a.io", "podman"), ("b.io", "podman")]),
    );
    home.write(
        ".docker/config.json",
        &auths(&[("a.io", "docker"), ("b.io", "docker"), ("c.io", "docker")]),
    );
    let mut environment = Environment {
        xdg_runtime_dir: Some(home.path("run")),
        ..home.environment()
    };
    for (reference, expected) in [
        ("a.io/x:1", Some("run")),
        ("b.io/x:1", Some("podman")),
        ("c.io/x:1", Some("docker")),
        ("d.io/x:1", None),
    ] {
        assert_eq!(
            home.user(&environment, reference).await.as_deref(),
            expected,
            "{reference}"
        );
    }
    home.write("elsewhere/config.json", &auths(&[("d.io", "elsewhere")]));
    environment.docker_config = Some(home.path("elsewhere"));
    assert_eq!(
        home.user(&environment, "d.io/x:1").await.as_deref(),
        Some("elsewhere")
    );
    assert_eq!(home.user(&environment, "c.io/x:1").await, None);
}

#[tokio::test]
async fn a_file_that_is_named_is_the_only_one() {
    let home = Home::new();
    home.write(
        ".docker/config.json",
        &auths(&[("a.io", "docker"), ("b.io", "docker")]),
    );
    let named = home.write("named.json", &auths(&[("a.io", "named")]));
    let environment = Environment {
        registry_auth_file: Some(named),
        ..home.environment()
    };
    assert_eq!(home.user(&environment, "a.io/x").await.as_deref(), Some("named"));
    assert_eq!(home.user(&environment, "b.io/x").await, None);
    let given = home.write("given.json", &auths(&[("a.io", "given")]));
    let config = LocalConfig::load_with(&environment, Some(&given)).unwrap();
    assert_eq!(
        user(config.credential("a.io/x").await.unwrap()).as_deref(),
        Some("given")
    );
}

#[test]
fn a_named_file_must_exist_and_any_file_must_be_readable() {
    let home = Home::new();
    let text = |authfile: &str, environment: &Environment| {
        let path = home.path(authfile);
        let authfile = (!authfile.is_empty()).then_some(path.as_path());
        LocalConfig::load_with(environment, authfile)
            .err()
            .map(|error| error.to_string())
    };
    let missing = text("missing.json", &home.environment()).unwrap();
    assert!(
        missing.contains("missing.json") && missing.contains("No such file"),
        "{missing}"
    );
    let unset = Environment {
        registry_auth_file: Some(home.path("unset.json")),
        ..home.environment()
    };
    assert!(text("", &unset).unwrap().contains("unset.json"));
    assert_eq!(text("", &home.environment()), None);
    assert_eq!(text("", &Environment::default()), None);
    std::fs::write(home.path("broken.json"), "{\"auths\": hunter2").unwrap();
    let broken = text("broken.json", &home.environment()).unwrap();
    assert!(
        broken.contains("broken.json") && broken.contains("error decoding"),
        "{broken}"
    );
    assert!(!broken.contains("hunter2"), "{broken}");
    std::fs::write(home.path("large.json"), vec![b' '; MAX_DOCUMENT + 1]).unwrap();
    assert!(
        text("large.json", &home.environment())
            .unwrap()
            .contains("more than 1048576 bytes")
    );
}

#[tokio::test]
async fn the_longest_path_wins_and_docker_hub_has_one_name() {
    let home = Home::new();
    home.write(
        ".docker/config.json",
        &auths(&[
            ("a.io", "host"),
            ("a.io/team", "team"),
            ("https://b.io/v2/", "url"),
            (HUB_SERVER, "hub"),
            ("c.io:5000", "port"),
        ]),
    );
    let cases = [
        ("a.io/team/x:1", Some("team")),
        ("a.io/team:1", Some("team")),
        ("a.io/teamwork/x:1", Some("host")),
        ("a.io:443/x:1", None),
        ("b.io/x@sha256:00", Some("url")),
        ("c.io:5000/x", Some("port")),
        ("c.io/x:5000", None),
        ("docker.io/library/busybox:latest", Some("hub")),
        ("index.docker.io/library/busybox:latest", Some("hub")),
        ("localhost/x:latest", None),
    ];
    for (reference, expected) in cases {
        assert_eq!(
            home.user(&home.environment(), reference).await.as_deref(),
            expected,
            "{reference}"
        );
    }
}

#[tokio::test]
async fn identity_tokens_are_kept_with_their_user() {
    let home = Home::new();
    let document = json!({"auths": {
        "a.io": {"auth": "dTo=", "identitytoken": "t"},
        "b.io": {"identitytoken": "t"},
        "c.io": {"auth": "dTpw"},
        "d.io": {},
        "e.io": {"auth": "!"},
    }});
    home.write(".docker/config.json", &document);
    let environment = home.environment();
    assert_eq!(
        home.user(&environment, "a.io/x").await.as_deref(),
        Some("Some(\"u\") with t")
    );
    assert_eq!(
        home.user(&environment, "b.io/x").await.as_deref(),
        Some("None with t")
    );
    assert_eq!(home.user(&environment, "c.io/x").await.as_deref(), Some("u"));
    assert_eq!(home.user(&environment, "d.io/x").await, None);
    let config = LocalConfig::load_with(&environment, None).unwrap();
    let error = config.credential("e.io/x").await.unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains("e.io"), "{error}");
}

#[tokio::test]
async fn helpers_are_asked_for_their_registries_and_the_store_for_the_others() {
    let home = Home::new();
    home.helper(
        "own",
        r#"echo '{"ServerURL":"a.io","Username":"own","Secret":"s"}'"#,
    );
    home.helper("store", r#"echo '{"Username":"<token>","Secret":"refresh"}'"#);
    let document = json!({
        "auths": {"a.io": {"username": "file", "password": "p"}, "b.io": {"username": "file", "password": "p"}, "c.io": {}},
        "credHelpers": {"a.io": "own"}, "credsStore": "store",
    });
    home.write(".docker/config.json", &document);
    let environment = home.environment();
    assert_eq!(home.user(&environment, "a.io/x:1").await.as_deref(), Some("own"));
    assert_eq!(home.user(&environment, "b.io/x:1").await.as_deref(), Some("file"));
    assert_eq!(
        home.user(&environment, "c.io/x:1").await.as_deref(),
        Some("None with refresh")
    );
    assert_eq!(
        home.user(&environment, "docker.io/library/x:1").await.as_deref(),
        Some("None with refresh")
    );
    assert_eq!(
        home.asked(),
        ["get a.io", "get c.io", "get https://index.docker.io/v1/"]
    );
}

#[tokio::test]
async fn a_helper_without_credentials_is_no_failure() {
    let home = Home::new();
    home.helper("none", "echo 'credentials not found in native keychain'; exit 1");
    home.helper("empty", r#"echo '{"Username":"","Secret":""}'"#);
    home.write(
        ".config/containers/auth.json",
        &json!({"credHelpers": {"a.io": "none"}}),
    );
    home.write(".docker/config.json", &json!({"credsStore": "empty"}));
    assert_eq!(home.user(&home.environment(), "a.io/x").await, None);
    assert_eq!(home.asked().len(), 2);
}

#[tokio::test]
async fn a_helper_is_asked_once_for_each_server() {
    let home = Home::new();
    home.helper("own", r#"echo '{"Username":"u","Secret":"s"}'"#);
    home.write(".docker/config.json", &json!({"credsStore": "own"}));
    let config = LocalConfig::load_with(&home.environment(), None).unwrap();
    let (first, second, other) = tokio::join!(
        config.credential("a.io/x"),
        config.credential("a.io/y:1"),
        config.credential("b.io/x")
    );
    for credential in [first, second, other] {
        assert_eq!(user(credential.unwrap()).as_deref(), Some("u"));
    }
    let mut asked = home.asked();
    asked.sort();
    assert_eq!(asked, ["get a.io", "get b.io"]);
}

#[tokio::test]
async fn what_goes_wrong_with_a_helper_is_named() {
    let home = Home::new();
    home.helper("fails", "printf 'no\\033[31m luck'; exit 3");
    home.helper("noise", "echo nonsense");
    home.helper("floods", "exec head -c 100000 /dev/zero");
    home.write("bin/docker-credential-plain", &json!({}));
    let document = json!({"credHelpers": {
        "a.io": "fails", "b.io": "noise", "c.io": "floods", "d.io": "missing", "e.io": "../evil", "f.io": "plain", "g.io": "",
    }});
    home.write(".docker/config.json", &document);
    let mut environment = home.environment();
    let search: Vec<PathBuf> = vec![home.path("bin"), "/usr/bin".into(), "/bin".into()];
    environment.path = Some(std::env::join_paths(search).unwrap());
    let config = LocalConfig::load_with(&environment, None).unwrap();
    let cases = [
        (
            "a.io",
            "credential helper docker-credential-fails failed: no [31m luck",
        ),
        (
            "b.io",
            "credential helper docker-credential-noise: error decoding its answer",
        ),
        (
            "c.io",
            "credential helper docker-credential-floods: error decoding its answer",
        ),
        (
            "d.io",
            "credential helper docker-credential-missing is not in PATH",
        ),
        ("e.io", "invalid name of a credential helper: \"../evil\""),
        (
            "f.io",
            "credential helper docker-credential-plain: Permission denied (os error 13)",
        ),
        ("g.io", "invalid name of a credential helper: \"\""),
    ];
    for (host, text) in cases {
        let error = config.credential(&format!("{host}/x:1")).await.unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test]
async fn helpers_are_not_taken_from_relative_directories() {
    let helpers = Helpers::new(Some("bin::.".into()));
    assert!(matches!(helpers.get("x", "a.io").await, Err(HelperError::Missing(name)) if name == "x"));
}

#[tokio::test]
async fn a_helper_that_hangs_is_killed() {
    let home = Home::new();
    let pid_file = home.path("pid");
    home.helper(
        "hangs",
        &format!("echo $$ > '{}'; exec sleep 600", pid_file.display()),
    );
    // As short as this machine manages to start the helper in.
    let mut pid = String::new();
    for seconds in [1, 2, 4, 8, 16, 32] {
        let helpers = Helpers::with_timeout(home.path("bin").into(), Duration::from_secs(seconds));
        assert!(matches!(
            helpers.get("hangs", "a.io").await,
            Err(HelperError::Timeout(_))
        ));
        pid = std::fs::read_to_string(&pid_file).unwrap_or_default();
        if pid.ends_with('\n') {
            break;
        }
    }
    assert!(pid.ends_with('\n'), "the helper starts");
    let process = PathBuf::from("/proc").join(pid.trim());
    // The runtime reaps what it killed a moment later.
    tokio::time::timeout(Duration::from_secs(60), async {
        while process.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the helper is gone");
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_named() {
    let home = Home::new();
    let path = home.write(
        ".docker/config.json",
        &json!({"auths": {"r.io/a": {"auth": "!"}}}),
    );
    let config = LocalConfig::load_with(&home.environment(), None).unwrap();
    let error = config.credential("r.io/a/b:latest").await.unwrap_err();
    let text = format!(
        "credentials file {}: auth of \"r.io/a\": illegal base64 data at input byte 0",
        path.display()
    );
    assert_eq!(error.to_string(), text);
}
