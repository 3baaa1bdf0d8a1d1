//! What the program promises beside its result: streams, environment, proxies, progress, completion.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use imagestream_testkit::content::Content;
use imagestream_testkit::image::Image;
use imagestream_testkit::registry::TestRegistry;
use imagestream_testkit::samples;
use imagestream_tests::program::{Import, path};
use imagestream_tests::proxy::Proxy;

fn content() -> Content {
    Content::new()
        .image("team/app", "v1", samples::hello("1.0"))
        .image("team/app", "v2", Image::new().layers(1))
        .dangling_tag("team/app", "gone")
}

fn run(arguments: &[&str]) -> Output {
    Command::new(path())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("imagestream starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn only_the_result_goes_to_standard_output() {
    let registry = TestRegistry::start(content());
    let repository = format!("{}/team/app", registry.host());
    let output = run(&["import", "--insecure", "--all", &repository]);
    assert_eq!(output.status.code(), Some(1));
    let table = text(&output.stdout);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let first: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(first, ["TAG", "gone", "v1", "v2"]);
    assert_eq!(rows[1][1], "failed");
    let errors = text(&output.stderr);
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(
        errors.contains(&format!("{repository}:gone")) && errors.contains("not found"),
        "{errors}"
    );
}

#[test]
fn a_result_in_yaml_says_what_the_one_in_json_says() {
    let registry = TestRegistry::start(content());
    let reference = format!("{}/team/app:v1", registry.host());
    let yaml = text(&run(&["import", "--insecure", "-o", "yaml", &reference]).stdout);
    let digest = registry.content().digest("team/app", "v1");
    assert!(
        yaml.starts_with("apiVersion: image.openshift.io/v1\nkind: ImageStreamImport\n"),
        "{yaml}"
    );
    assert!(yaml.contains(&digest), "{yaml}");
}

#[test]
fn options_come_from_the_environment_too_and_flags_win() {
    let registry = TestRegistry::start(content());
    let repository = format!("{}/team/app", registry.host());
    let environment = [("IMAGESTREAM_INSECURE", "true"), ("IMAGESTREAM_MAX_TAGS", "1")];
    let limited = Import::run_in(&environment, ["--all", &repository]);
    assert_eq!(
        (limited.repository_images().len(), limited.additional_tags().len()),
        (1, 2)
    );
    let all = Import::run_in(&environment, ["--all", "--max-tags", "-1", &repository]);
    assert_eq!(
        (all.repository_images().len(), all.additional_tags().len()),
        (3, 0)
    );
}

#[test]
fn registries_are_reached_through_the_proxy_of_the_environment() {
    let registry = TestRegistry::start(content());
    let proxy = Proxy::to(&registry.host());
    let environment = [
        ("HTTPS_PROXY", proxy.url.as_str()),
        ("HTTP_PROXY", proxy.url.as_str()),
    ];
    // Nobody but the proxy knows this name.
    let import = Import::run_in(&environment, ["--insecure", "registry.invalid:5000/team/app:v1"]);
    import.only_image();
    let asked = proxy.asked();
    assert!(
        asked.contains(&"CONNECT registry.invalid:5000".to_owned()),
        "TLS is tried first: {asked:?}"
    );
    assert!(
        asked.contains(&"GET registry.invalid:5000".to_owned()),
        "{asked:?}"
    );
}

#[test]
fn tls_goes_through_the_proxy_end_to_end() {
    let registry = TestRegistry::builder(content()).tls().start();
    let proxy = Proxy::to(&registry.host());
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("ca.crt");
    std::fs::write(&authority, registry.ca_pem().unwrap()).unwrap();
    let authority = authority.to_str().unwrap();
    let reference = format!("{}/team/app:v1", registry.host());
    let environment = [("HTTPS_PROXY", proxy.url.as_str())];
    Import::run_in(&environment, ["--trusted-ca", authority, &reference]).only_image();
    let tunnel = format!("CONNECT {}", registry.host());
    let asked = proxy.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|asked| *asked == tunnel),
        "{asked:?}"
    );

    let around = [("HTTPS_PROXY", proxy.url.as_str()), ("NO_PROXY", "127.0.0.1")];
    Import::run_in(&around, ["--trusted-ca", authority, &reference]).only_image();
    assert_eq!(proxy.asked().len(), asked.len(), "NO_PROXY names the registry");
}

#[test]
fn progress_is_shown_on_a_terminal() {
    let registry = TestRegistry::start(content());
    registry.set_latency(Duration::from_millis(300));
    let command = format!(
        "{} import --insecure --all {}/team/app",
        path().display(),
        registry.host()
    );
    // `script` gives the program a terminal. It is in Debian's essential package bsdutils.
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("script starts");
    let terminal = String::from_utf8_lossy(&output.stdout);
    assert!(terminal.contains("/3 images"), "{terminal}");
    assert!(terminal.contains("in flight"), "{terminal}");
}

#[test]
fn completion_and_version_are_printed() {
    let completion = run(&["completion", "bash"]);
    assert!(completion.status.success() && text(&completion.stdout).contains("--include-manifest"));
    assert_eq!(
        text(&run(&["version"]).stdout),
        format!("imagestream {}\n", env!("CARGO_PKG_VERSION"))
    );
}
