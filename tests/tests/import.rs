//! `imagestream import` reads what `skopeo` reads, from a real registry.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::ffi::OsString;

use imagestream_testkit::content::Content;
use imagestream_testkit::image::{Format, Image};
use imagestream_testkit::real::{Credentials, Options, RealRegistry, tools_are_installed};
use imagestream_testkit::registry::TestRegistry;
use imagestream_testkit::samples;
use imagestream_tests::program::{Import, list};
use serde_json::{Value, json};

const PLAIN: Options = Options {
    tls: false,
    credentials: Credentials::None,
};

fn content() -> Content {
    Content::new()
        .image("demo/hello", "1.0", samples::hello("1.0"))
        .image(
            "demo/hello",
            "plain",
            Image::new()
                .layers(3)
                .format(Format::OciWithoutMediaType)
                .expose("53/udp"),
        )
        .index_of("demo/web", "2.4", &samples::web("2.4"))
}

/// A registry of this kind with content, and the flags that lead there.
fn started(options: Options) -> (RealRegistry, Vec<OsString>) {
    let registry = RealRegistry::start(options);
    registry.fill(&content());
    let flags = match options.tls {
        true => vec!["--trusted-ca".into(), registry.ca_file().into()],
        false => vec!["--insecure".into()],
    };
    (registry, flags)
}

fn import(registry: &RealRegistry, flags: &[OsString], reference: &str) -> Import {
    let reference = format!("{}/{reference}", registry.host());
    Import::run([OsString::from(reference)].iter().chain(flags))
}

/// Compares an imported image with what skopeo reports of `reference`.
fn assert_same_as_skopeo(registry: &RealRegistry, reference: &str, image: &Value) {
    let manifest = registry.inspect_raw(reference);
    let inspected = registry.inspect(reference);
    let config = registry.inspect_config(reference);
    let metadata = &image["dockerImageMetadata"];
    assert_eq!(image["metadata"]["name"], inspected["Digest"], "{reference}");
    assert_eq!(metadata["Id"], manifest["config"]["digest"]);
    let layers: Vec<Value> = list(&manifest["layers"])
        .iter()
        .map(|layer| json!({"name": layer["digest"], "size": layer["size"], "mediaType": layer["mediaType"]}))
        .collect();
    assert_eq!(image["dockerImageLayers"], json!(layers));
    let names: Vec<&Value> = list(&image["dockerImageLayers"])
        .iter()
        .map(|layer| &layer["name"])
        .collect();
    assert_eq!(json!(names), inspected["Layers"]);
    let size: i64 = list(&manifest["layers"])
        .iter()
        .chain([&manifest["config"]])
        .map(|descriptor| descriptor["size"].as_i64().unwrap())
        .sum();
    assert_eq!(metadata["Size"], size);
    assert_eq!(metadata["Architecture"], inspected["Architecture"]);
    assert_eq!(metadata["Created"], inspected["Created"]);
    assert_eq!(metadata["Config"]["Env"], inspected["Env"]);
    assert_eq!(
        metadata["Config"]["Labels"], config["config"]["Labels"],
        "{reference}"
    );
    for field in [
        "Cmd",
        "Entrypoint",
        "User",
        "WorkingDir",
        "ExposedPorts",
        "Volumes",
    ] {
        assert_eq!(metadata["Config"][field], config["config"][field], "{field}");
    }
}

fn single_images_are_read(options: Options, more: impl Fn(&RealRegistry) -> Vec<OsString>) {
    let (registry, mut flags) = started(options);
    flags.extend(more(&registry));
    for reference in ["demo/hello:1.0", "demo/hello:plain"] {
        let import = import(&registry, &flags, reference);
        let item = import.only_image();
        assert_same_as_skopeo(&registry, reference, &item["image"]);
        let digest = item["image"]["metadata"]["name"].as_str().unwrap();
        assert_eq!(
            item["image"]["dockerImageReference"],
            format!("{}/demo/hello@{digest}", registry.host())
        );
        assert_eq!(item["tag"], reference.split(':').nth(1).unwrap());
    }
}

fn with_credentials(registry: &RealRegistry) -> Vec<OsString> {
    vec!["--authfile".into(), registry.auth_file().into()]
}

#[test]
fn images_are_read_over_plain_http() {
    if tools_are_installed() {
        single_images_are_read(PLAIN, |_| Vec::new());
    }
}

#[test]
fn images_are_read_over_tls_of_a_trusted_authority() {
    if tools_are_installed() {
        let tls = Options { tls: true, ..PLAIN };
        single_images_are_read(tls, |_| Vec::new());
    }
}

#[test]
fn images_are_read_with_basic_credentials() {
    if tools_are_installed() {
        let basic = Options {
            tls: true,
            credentials: Credentials::Basic,
        };
        single_images_are_read(basic, with_credentials);
    }
}

#[test]
fn images_are_read_with_tokens() {
    if tools_are_installed() {
        let token = Options {
            tls: false,
            credentials: Credentials::Token,
        };
        single_images_are_read(token, with_credentials);
    }
}

#[test]
fn private_images_stay_closed_without_credentials() {
    if !tools_are_installed() {
        return;
    }
    for credentials in [Credentials::Basic, Credentials::Token] {
        let (registry, mut flags) = started(Options {
            tls: false,
            credentials,
        });
        flags.extend(["--authfile".into(), registry.empty_auth_file().into()]);
        let import = import(&registry, &flags, "demo/hello:1.0");
        assert_eq!(import.code, 1, "{credentials:?} {import:?}");
        let item = &import.images()[0];
        assert_eq!(item["status"]["status"], "Failure", "{credentials:?} {import:?}");
        assert!(item["image"].is_null());
    }
}

#[test]
fn tls_of_an_unknown_authority_is_refused() {
    if !tools_are_installed() {
        return;
    }
    let (registry, _) = started(Options { tls: true, ..PLAIN });
    let import = import(&registry, &[], "demo/hello:1.0");
    assert_eq!(import.code, 1, "{import:?}");
    assert_eq!(import.images()[0]["status"]["reason"], "InternalError");
}

#[test]
fn an_image_is_read_by_digest() {
    if !tools_are_installed() {
        return;
    }
    let (registry, flags) = started(PLAIN);
    let digest = content().digest("demo/hello", "1.0");
    let reference = format!("demo/hello@{digest}");
    let import = import(&registry, &flags, &reference);
    let item = import.only_image();
    assert_eq!(item["image"]["metadata"]["name"], digest);
    assert!(item["tag"].is_null());
    assert_same_as_skopeo(&registry, &reference, &item["image"]);
}

#[test]
fn of_an_index_the_image_for_the_platform_is_read() {
    if !tools_are_installed() {
        return;
    }
    let (registry, flags) = started(PLAIN);
    let members = content().member_digests("demo/web", "2.4");
    for (platform, at) in [("linux/amd64", 0), ("linux/arm64", 1)] {
        let mut flags = flags.clone();
        flags.extend(["--platform".into(), platform.into()]);
        let import = import(&registry, &flags, "demo/web:2.4");
        let image = &import.only_image()["image"];
        assert_eq!(image["metadata"]["name"], members[at], "{platform}");
        assert_same_as_skopeo(&registry, &format!("demo/web@{}", members[at]), image);
    }
}

#[test]
fn an_index_is_kept_whole_with_its_attestations() {
    if !tools_are_installed() {
        return;
    }
    let (registry, mut flags) = started(PLAIN);
    flags.extend(["--import-mode".into(), "PreserveOriginal".into()]);
    let import = import(&registry, &flags, "demo/web:2.4");
    let item = import.only_image();
    let raw = registry.inspect_raw("demo/web:2.4");
    assert_eq!(
        item["image"]["metadata"]["name"],
        content().digest("demo/web", "2.4")
    );
    let entries: Vec<Value> = list(&raw["manifests"])
        .iter()
        .map(|entry| {
            let platform = &entry["platform"];
            let mut expected = json!({
                "digest": entry["digest"],
                "mediaType": entry["mediaType"],
                "manifestSize": entry["size"],
                "architecture": platform["architecture"],
                "os": platform["os"],
            });
            if platform["variant"].is_string() {
                expected["variant"] = platform["variant"].clone();
            }
            expected
        })
        .collect();
    assert_eq!(item["image"]["dockerImageManifests"], json!(entries));
    let members: Vec<&Value> = list(&item["manifests"])
        .iter()
        .map(|member| &member["metadata"]["name"])
        .collect();
    assert_eq!(json!(members), json!(content().member_digests("demo/web", "2.4")));
    for member in &list(&item["manifests"])[..3] {
        let digest = member["metadata"]["name"].as_str().unwrap();
        assert_same_as_skopeo(&registry, &format!("demo/web@{digest}"), member);
    }
}

#[test]
fn a_repository_of_120_tags_is_read_whole() {
    if !tools_are_installed() {
        return;
    }
    let content = Content::new().tags("demo/many", 120);
    let registry = RealRegistry::start(PLAIN);
    registry.fill(&content);
    let repository = format!("{}/demo/many", registry.host());
    let import = Import::run([&repository, "--all", "--max-tags", "-1", "--insecure"]);
    assert_eq!(import.code, 0, "{}", import.stderr);
    let images = import.repository_images();
    assert_eq!(images.len(), 120);
    assert_eq!(import.additional_tags().len(), 0);
    // Newest first; see the order of versions at https://semver.org/#spec-item-11.
    let tags: Vec<&str> = images.iter().map(|item| item["tag"].as_str().unwrap()).collect();
    assert_eq!(tags[..3], ["1.11.9", "1.11.8", "1.11.7"]);
    for item in images {
        let tag = item["tag"].as_str().unwrap();
        assert_eq!(
            item["image"]["metadata"]["name"],
            content.digest("demo/many", tag)
        );
        assert_eq!(
            item["image"]["dockerImageMetadata"]["Id"],
            content.config_digest("demo/many", tag)
        );
    }
    assert_same_as_skopeo(&registry, "demo/many:1.11.9", &images[0]["image"]);

    let import = Import::run([&repository, "--all", "--insecure"]);
    assert_eq!(import.repository_images().len(), 50);
    assert_eq!(import.additional_tags().len(), 70);
    assert_eq!(import.additional_tags()[69], "1.0.0");
}

#[test]
fn one_failure_leaves_its_neighbours_alone() {
    let registry = TestRegistry::start(samples::demo());
    let host = registry.host();
    let import = Import::run([
        format!("{host}/demo/hello:latest"),
        format!("{host}/demo/hello:gone"),
        "--insecure".to_owned(),
    ]);
    assert_eq!(import.code, 1, "{import:?}");
    let images = import.images();
    assert_eq!(images[0]["status"]["status"], "Success", "{import:?}");
    assert_eq!(images[1]["status"]["reason"], "NotFound");
    assert_eq!(
        images[1]["status"]["message"],
        format!("dockerimage.image.openshift.io \"{host}/demo/hello:gone\" not found")
    );

    let import = Import::run([format!("{host}/demo/broken"), "--all".into(), "--insecure".into()]);
    assert_eq!(import.code, 1, "{import:?}");
    let images = import.repository_images();
    assert_eq!(images[0]["tag"], "latest");
    assert_eq!(images[0]["status"]["status"], "Success");
    assert_eq!(images[1]["tag"], "old");
    assert_eq!(images[1]["status"]["status"], "Failure");
    assert_eq!(
        import.json["status"]["repository"]["status"]["reason"],
        "ImportFailed"
    );
}

#[test]
fn bad_usage_has_an_exit_code_of_its_own() {
    for arguments in [
        &["--no-such-flag"][..],
        &[],
        &["a/b:c", "--import-mode", "Sideways"],
    ] {
        let import = Import::run(arguments);
        assert_eq!(import.code, 2, "{arguments:?} {import:?}");
    }
}
