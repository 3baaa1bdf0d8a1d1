//! A real registry takes the content of this crate from skopeo and gives it back unchanged.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::process::Command;

use imagestream_testkit::content::Content;
use imagestream_testkit::image::{Format, Image};
use imagestream_testkit::index::Index;
use imagestream_testkit::real::{Credentials, Options, RealRegistry, tools_are_installed};
use imagestream_testkit::samples;
use serde_json::{Value, json};

fn content() -> Content {
    Content::new()
        .image("demo/hello", "1.0", samples::hello("1.0"))
        .image(
            "demo/hello",
            "plain",
            Image::new().format(Format::OciWithoutMediaType),
        )
        .index_of("demo/web", "2.4", &samples::web("2.4"))
        .index_of(
            "demo/web",
            "docker",
            &Index::of([("linux/amd64", Image::new().docker())]).format(Format::Docker),
        )
}

#[test]
fn every_kind_of_registry_keeps_digests() {
    if !tools_are_installed() {
        return;
    }
    for (tls, credentials) in [
        (false, Credentials::None),
        (true, Credentials::None),
        (false, Credentials::Basic),
        (true, Credentials::Token),
    ] {
        let registry = RealRegistry::start(Options { tls, credentials });
        let content = content();
        registry.fill(&content);
        for (repository, tag) in [
            ("demo/hello", "1.0"),
            ("demo/hello", "plain"),
            ("demo/web", "2.4"),
            ("demo/web", "docker"),
        ] {
            let raw = registry.inspect_raw(&format!("{repository}:{tag}"));
            assert_eq!(
                raw,
                content.manifest(repository, tag).json(),
                "{repository}:{tag}, TLS {tls}, {credentials:?}"
            );
        }
        let inspected = registry.inspect("demo/hello:1.0");
        assert_eq!(inspected["Digest"], content.digest("demo/hello", "1.0"));
        assert_eq!(
            inspected["Layers"],
            json!(content.layer_digests("demo/hello", "1.0"))
        );
        let written = content.config("demo/hello", "1.0");
        assert_eq!(inspected["Created"], written["created"]);
        assert_eq!(inspected["Architecture"], written["architecture"]);
        assert_eq!(inspected["Env"], written["config"]["Env"]);
        let config = registry.inspect_config("demo/hello:1.0");
        assert_eq!(config["config"], written["config"]);
        assert_eq!(config["rootfs"], written["rootfs"]);
    }
}

#[test]
fn a_repository_of_120_tags_is_pushed_whole() {
    if !tools_are_installed() {
        return;
    }
    let content = Content::new().tags("demo/many", 120);
    let registry = RealRegistry::start(Options::default());
    registry.fill(&content);
    let inspected = registry.inspect_with_tags("demo/many:1.0.0");
    // This registry lists tags in the order of its directory, which is none.
    let mut tags: Vec<&str> = inspected["RepoTags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag.as_str().unwrap())
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, content.tag_names("demo/many"));
}

#[test]
fn private_registries_refuse_strangers() {
    if !tools_are_installed() {
        return;
    }
    for credentials in [Credentials::Basic, Credentials::Token] {
        let registry = RealRegistry::start(Options {
            tls: false,
            credentials,
        });
        registry.fill(&content());
        assert!(registry.inspect("demo/hello:1.0")["Digest"].is_string());
        let output = Command::new("skopeo")
            .args(["inspect", "--tls-verify=false", "--authfile"])
            .arg(registry.empty_auth_file())
            .arg(format!("docker://{}/demo/hello:1.0", registry.host()))
            .output()
            .unwrap();
        assert!(!output.status.success(), "{credentials:?}");
    }
}

#[test]
fn an_oci_layout_is_what_skopeo_takes_for_one() {
    if !tools_are_installed() {
        return;
    }
    let content = content();
    let directory = tempfile::tempdir().unwrap();
    content.write_oci_layout("demo/web", directory.path()).unwrap();
    let output = Command::new("skopeo")
        .args(["inspect", "--raw"])
        .arg(format!("oci:{}:2.4", directory.path().display()))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let raw: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(raw, content.manifest("demo/web", "2.4").json());
}
