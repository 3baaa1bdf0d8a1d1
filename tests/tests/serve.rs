//! What `imagestream serve` promises to whoever starts it: its line, its files, its end, and what it refuses.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use imagestream_testkit::auth::Auth;
use imagestream_testkit::content::Content;
use imagestream_testkit::registry::TestRegistry;
use imagestream_testkit::samples;
use imagestream_tests::client::{Client, imports, streams};
use imagestream_tests::program;
use imagestream_tests::server::{ADMIN, DEV, NOBODY, Place, Server, VIEWER};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn serve(directory: &Path) -> Command {
    command(Command::new(program::path()), directory)
}

/// A server that is expected to end by itself; if it doesn't, `timeout` ends it.
fn serve_in_vain(directory: &Path) -> Command {
    let mut timeout = Command::new("timeout");
    timeout.arg("60").arg(program::path());
    command(timeout, directory)
}

fn command(mut command: Command, directory: &Path) -> Command {
    command
        .arg("serve")
        .env_clear()
        .env("HOME", directory)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .current_dir(directory)
        .stdin(Stdio::null());
    command
}

/// The exit code of a server that does not start, and its only line on standard error.
fn refused(command: &mut Command) -> (i32, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    assert!(stdout.is_empty(), "nothing is ready: {stdout:?}");
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    (
        status.code().expect("it exits by itself"),
        text.trim_end().to_owned(),
    )
}

#[test]
fn what_others_must_not_read_is_for_the_owner_alone_and_a_clean_end_says_nothing() {
    let server = Server::start();
    let data = server.place().path("data");
    assert_eq!(mode(&data), 0o700);
    for private in ["admin.kubeconfig", "secret.key", "pki/ca.key", "pki/admin.key"] {
        assert_eq!(mode(&data.join(private)), 0o600, "{private}");
    }
    let config = std::fs::read_to_string(server.kubeconfig()).unwrap();
    assert!(
        config.contains(&server.url()),
        "the port is the one that was bound: {config}"
    );
    let place = server.stop();
    assert_eq!(place.log(), "");
}

#[test]
fn the_line_is_the_only_one_and_an_interrupt_ends_the_server_well() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = serve(directory.path())
        .env("IMAGESTREAM_LISTEN", "127.0.0.1:0")
        .env("IMAGESTREAM_DATA_DIR", directory.path().join("from-environment"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = server.stdout.take().unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"\n") {
        let mut byte = [0];
        out.read_exact(&mut byte).expect("the line");
        text.extend(byte);
    }
    kill(Pid::from_raw(server.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    out.read_to_end(&mut text).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
    let text = String::from_utf8(text).unwrap();
    let port = text
        .strip_prefix("imagestream ready at https://127.0.0.1:")
        .and_then(|rest| rest.strip_suffix('\n'))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(port.parse::<u16>().unwrap() > 0);
    assert!(
        directory
            .path()
            .join("from-environment/admin.kubeconfig")
            .exists()
    );
}

#[tokio::test]
async fn what_was_stored_and_who_is_trusted_stays_over_a_restart() {
    let server = Server::start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    let stream =
        json!({"apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": {"name": "app"}});
    let before = client.post(&streams("team"), &stream).await.ok();
    let authority = server.ca_pem();
    let server = server.stop().start();
    assert_eq!(server.ca_pem(), authority);
    let after = Client::new(&server, ADMIN)
        .get(&format!("{}/app", streams("team")))
        .await;
    assert_eq!(after.ok()["metadata"], before["metadata"]);
}

#[test]
fn a_second_server_on_a_directory_is_refused_and_harms_nobody() {
    let first = Server::start();
    let data = first.place().path("data");
    let kubeconfig = std::fs::read_to_string(first.kubeconfig()).unwrap();
    let mut second = serve_in_vain(first.place().path("").as_path());
    let refusal = refused(
        second
            .arg("--data-dir")
            .arg(&data)
            .args(["--listen", "127.0.0.1:0"]),
    );
    let expected = format!(
        "error: can't serve: {} is in use by another server (process {})",
        data.display(),
        first.pid()
    );
    assert_eq!(refusal, (1, expected));
    assert_eq!(std::fs::read_to_string(first.kubeconfig()).unwrap(), kubeconfig);
    assert_eq!(first.stop().log(), "");
}

#[test]
fn an_address_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let (code, error) = refused(serve_in_vain(directory.path()).args(["--listen", &address]));
    assert_eq!(code, 1);
    assert!(
        error.starts_with(&format!("error: can't serve: can't listen on {address}: ")),
        "{error}"
    );
}

#[test]
fn settings_that_cannot_be_used_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(at("bad.csv"), "only-a-token\n").unwrap();
    std::fs::write(at("bad.yaml"), "kind: Deployment\napiVersion: apps/v1\n").unwrap();
    std::fs::write(at("bad.pem"), "no certificate").unwrap();
    std::fs::write(at("short.key"), "short").unwrap();
    for (config, expected) in [
        (
            json!({"import": {"maxImagesPerRepositry": 3}}),
            "import.maxImagesPerRepositry: unknown key, did you mean maxImagesPerRepository?",
        ),
        (
            json!({"scheduled": {"interval": "1s"}}),
            "scheduled.interval: 1s: expected at least scheduled.minimumInterval, which is 60s",
        ),
        (
            json!({"listen": "here"}),
            "listen: \"here\": expected ADDRESS:PORT",
        ),
        (
            json!({"authentication": {"tokenAuthFile": at("none.csv")}}),
            "authentication.tokenAuthFile: ",
        ),
        (
            json!({"authentication": {"tokenAuthFile": at("bad.csv")}}),
            "authentication.tokenAuthFile: ",
        ),
        (
            json!({"authentication": {"clientCAFile": at("bad.pem")}}),
            "authentication.clientCAFile: ",
        ),
        (
            json!({"authorization": {"rbacFile": at("bad.yaml")}}),
            "authorization.rbacFile: ",
        ),
        (
            json!({"import": {"trustedCAFile": at("bad.pem")}}),
            "import.trustedCAFile: ",
        ),
        (
            json!({"import": {"authFile": at("none.json")}}),
            "import.authFile: ",
        ),
        (
            json!({"import": {"allowedRegistries": [{"domainName": "a:b:c"}]}}),
            "import.allowedRegistries: ",
        ),
        (
            json!({"audit": {"logFile": at("none/audit.log")}}),
            "audit.logFile: ",
        ),
        (
            json!({"secrets": {"keyFile": at("short.key")}}),
            "secrets.keyFile: ",
        ),
    ] {
        std::fs::write(at("config.yaml"), config.to_string()).unwrap();
        let mut command = serve_in_vain(directory.path());
        command.args(["--config", "config.yaml", "--data-dir", "data"]);
        if config["listen"].is_null() {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let (code, error) = refused(&mut command);
        assert!(
            error.contains(expected),
            "{config}: expected {expected}, got {error}"
        );
        assert_eq!(code, 2, "{config}: {error}");
    }
}

/// The status of an import of `team/app:v1` by a user whose namespace has no secrets.
async fn imported(place: Place, registry: &TestRegistry) -> Value {
    let server = place.start();
    let client = Client::new(&server, ADMIN);
    client.create_namespace("team").await;
    let import = json!({
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStreamImport",
        "metadata": {"name": "app"},
        "spec": {"images": [{
            "from": {"kind": "DockerImage", "name": format!("{}/team/app:v1", registry.host())},
            "importPolicy": {"insecure": true},
        }]},
    });
    let answer = client.post(&imports("team"), &import).await.ok();
    answer["status"]["images"][0]["status"].clone()
}

#[tokio::test]
async fn credentials_of_whoever_starts_the_server_are_not_lent_to_its_users_unless_that_is_meant() {
    let registry = TestRegistry::start(Content::new().image("team/app", "v1", samples::hello("1.0")));
    registry.set_auth(Auth::basic("reader", "s3cret"));
    let credentials = json!({"auths": {registry.host(): {"auth": "cmVhZGVyOnMzY3JldA=="}}}).to_string();
    let at_home = |place: &Place| {
        // The home directory of a server is its place.
        std::fs::create_dir(place.path(".docker")).unwrap();
        place.write(".docker/config.json", &credentials)
    };

    let place = Place::new();
    at_home(&place);
    let status = imported(place, &registry).await;
    assert_eq!(status["reason"], "Unauthorized", "{status}");

    let place = Place::new();
    let file = at_home(&place);
    let status = imported(place.config(&json!({"import": {"authFile": file}})), &registry).await;
    assert_eq!(status["status"], "Success", "{status}");
}

#[tokio::test]
async fn users_and_roles_come_and_go_with_their_files_while_the_server_runs() {
    let server = Server::start();
    Client::new(&server, ADMIN).create_namespace("team").await;
    let streams = &streams("team");
    let (dev, viewer) = (Client::new(&server, DEV), Client::new(&server, VIEWER));
    assert_eq!(dev.get(streams).await.status, 200);
    assert_eq!(viewer.get(streams).await.status, 200);

    let content = |name: &str| std::fs::read_to_string(server.place().path(name)).unwrap();
    let (tokens, roles) = (content("tokens.csv"), content("roles.yaml"));
    let tokens: String = tokens
        .lines()
        .filter(|line| !line.starts_with("dev-token"))
        .map(|line| format!("{line}\n"))
        .collect();
    server
        .place()
        .write("tokens.csv", &format!("{tokens}new-token,dev,dev-uid,\n"));
    server
        .place()
        .write("roles.yaml", &roles.replace("name: viewer}", "name: nobody}"));
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let new = Client::new(&server, Some("new-token")).get(streams).await.status;
        let statuses = [
            dev.get(streams).await.status,
            new,
            viewer.get(streams).await.status,
        ];
        if statuses == [401, 200, 403] {
            break;
        }
        assert!(Instant::now() < end, "{statuses:?}\n{}", server.place().log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let nobody = Client::new(&server, NOBODY);
    assert_eq!(nobody.get(streams).await.status, 200);
}
