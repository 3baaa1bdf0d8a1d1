use proptest::prelude::*;

use super::*;

const D: &str = "sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25";

/// input, registry, namespace, name, tag, id, defaulted and exact, URL.
#[rustfmt::skip]
const ACCEPTED: &[[&str; 8]] = &[
    ["foo", "", "", "foo", "", "", "docker.io/library/foo:latest", "https://registry-1.docker.io"],
    ["foo:tag", "", "", "foo", "tag", "", "docker.io/library/foo:tag", "https://registry-1.docker.io"],
    ["foo@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "", "", "foo", "", "sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "docker.io/library/foo@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "https://registry-1.docker.io"],
    ["foo:tag@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "", "", "foo", "tag", "sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "docker.io/library/foo@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "https://registry-1.docker.io"],
    ["bar/foo", "", "bar", "foo", "", "", "docker.io/bar/foo:latest", "https://registry-1.docker.io"],
    ["bar/foo:tag", "", "bar", "foo", "tag", "", "docker.io/bar/foo:tag", "https://registry-1.docker.io"],
    ["bar/foo@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "", "bar", "foo", "", "sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "docker.io/bar/foo@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "https://registry-1.docker.io"],
    ["bar/foo/baz", "", "bar", "foo/baz", "", "", "docker.io/bar/foo/baz:latest", "https://registry-1.docker.io"],
    ["bar/foo/baz:tag", "", "bar", "foo/baz", "tag", "", "docker.io/bar/foo/baz:tag", "https://registry-1.docker.io"],
    ["docker.io/foo", "docker.io", "", "foo", "", "", "docker.io/library/foo:latest", "https://registry-1.docker.io"],
    ["docker.io/bar/foo:tag", "docker.io", "bar", "foo", "tag", "", "docker.io/bar/foo:tag", "https://registry-1.docker.io"],
    ["docker.io/library/foo", "docker.io", "library", "foo", "", "", "docker.io/library/foo:latest", "https://registry-1.docker.io"],
    ["index.docker.io/foo", "index.docker.io", "", "foo", "", "", "index.docker.io/library/foo:latest", "https://registry-1.docker.io"],
    ["index.docker.io/bar/foo", "index.docker.io", "bar", "foo", "", "", "index.docker.io/bar/foo:latest", "https://registry-1.docker.io"],
    ["registry-1.docker.io/bar", "registry-1.docker.io", "", "bar", "", "", "registry-1.docker.io/library/bar:latest", "https://registry-1.docker.io"],
    ["registry-1.docker.io/a/b:c", "registry-1.docker.io", "a", "b", "c", "", "registry-1.docker.io/a/b:c", "https://registry-1.docker.io"],
    ["library/busybox:1", "", "library", "busybox", "1", "", "docker.io/library/busybox:1", "https://registry-1.docker.io"],
    ["quay.io/org/app", "quay.io", "org", "app", "", "", "quay.io/org/app:latest", "https://quay.io"],
    ["quay.io/org/app:v1.2", "quay.io", "org", "app", "v1.2", "", "quay.io/org/app:v1.2", "https://quay.io"],
    ["quay.io/org/app@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "quay.io", "org", "app", "", "sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "quay.io/org/app@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "https://quay.io"],
    ["quay.io/org/app:v1@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "quay.io", "org", "app", "v1", "sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "quay.io/org/app@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "https://quay.io"],
    ["quay.io/app", "quay.io", "", "app", "", "", "quay.io/app:latest", "https://quay.io"],
    ["quay.io/a/b/c/d:x", "quay.io", "a", "b/c/d", "x", "", "quay.io/a/b/c/d:x", "https://quay.io"],
    ["bar:5000/foo", "bar:5000", "", "foo", "", "", "bar:5000/foo:latest", "https://bar:5000"],
    ["bar:5000/foo/baz:tag", "bar:5000", "foo", "baz", "tag", "", "bar:5000/foo/baz:tag", "https://bar:5000"],
    ["localhost/bar", "localhost", "", "bar", "", "", "localhost/bar:latest", "https://localhost"],
    ["localhost:5000/foo", "localhost:5000", "", "foo", "", "", "localhost:5000/foo:latest", "https://localhost:5000"],
    ["localhost:5000/foo/bar:tag", "localhost:5000", "foo", "bar", "tag", "", "localhost:5000/foo/bar:tag", "https://localhost:5000"],
    ["10.0.0.1:5000/a/b", "10.0.0.1:5000", "a", "b", "", "", "10.0.0.1:5000/a/b:latest", "https://10.0.0.1:5000"],
    ["bar.foo/baz", "bar.foo", "", "baz", "", "", "bar.foo/baz:latest", "https://bar.foo"],
    ["bar.foo/a/b/c@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "bar.foo", "a", "b/c", "", "sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "bar.foo/a/b/c@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "https://bar.foo"],
    ["registry/extra/openshift/app", "", "registry", "extra/openshift/app", "", "", "docker.io/registry/extra/openshift/app:latest", "https://registry-1.docker.io"],
    ["QUAY.io/org/app", "QUAY.io", "org", "app", "", "", "QUAY.io/org/app:latest", "https://QUAY.io"],
    ["Foo/bar", "", "Foo", "bar", "", "", "docker.io/Foo/bar:latest", "https://registry-1.docker.io"],
    ["a--b/c", "", "a--b", "c", "", "", "docker.io/a--b/c:latest", "https://registry-1.docker.io"],
    ["foo__bar", "", "", "foo__bar", "", "", "docker.io/library/foo__bar:latest", "https://registry-1.docker.io"],
    ["0/1", "", "0", "1", "", "", "docker.io/0/1:latest", "https://registry-1.docker.io"],
    ["x:1", "", "", "x", "1", "", "docker.io/library/x:1", "https://registry-1.docker.io"],
    ["foo:_x", "", "", "foo", "_x", "", "docker.io/library/foo:_x", "https://registry-1.docker.io"],
    ["sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "", "", "sha256", "3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "", "docker.io/library/sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "https://registry-1.docker.io"],
    ["quay.io", "quay.io", "", "", "", "", "", "https://quay.io"],
    ["foo.bar:tag", "foo.bar:tag", "", "", "", "", "", "https://foo.bar:tag"],
    ["foo-bar.baz_qux", "foo-bar.baz_qux", "", "", "", "", "", "https://foo-bar.baz_qux"],
    ["localhost", "localhost", "", "", "", "", "", "https://localhost"],
    ["localhostx", "localhostx", "", "", "", "", "", "https://localhostx"],
    ["localhost:5000", "localhost:5000", "", "", "", "", "", "https://localhost:5000"],
    ["quay.io@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "quay.io@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "", "", "", "sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25", "", "https://quay.io@sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25"],
];

#[test]
fn accepted_references_are_split_defaulted_and_formatted() {
    for [input, registry, namespace, name, tag, id, exact, url] in ACCEPTED {
        let parsed = ImageReference::parse(input).unwrap_or_else(|e| panic!("{input}: {e}"));
        let parts = [
            &parsed.registry,
            &parsed.namespace,
            &parsed.name,
            &parsed.tag,
            &parsed.id,
        ];
        assert_eq!(parts, [registry, namespace, name, tag, id], "{input}");
        assert_eq!(parsed.defaulted().exact(), *exact, "{input}");
        assert_eq!(parsed.registry_url(), *url, "{input}");
    }
}

#[test]
fn rejected_references_say_why() {
    let cases: Vec<(String, &str)> = vec![
        (String::new(), "repository name must have at least one component"),
        ("Foo".into(), "repository name must be lowercase"),
        ("SHA".into(), "repository name must be lowercase"),
        ("quay.io/Org/app".into(), "repository name must be lowercase"),
        ("foo/".into(), "invalid reference format"),
        ("/foo".into(), "invalid reference format"),
        ("foo//bar".into(), "invalid reference format"),
        (
            "registry/extra/openshift//ruby-19-centos".into(),
            "invalid reference format",
        ),
        ("a-|///bbb".into(), "invalid reference format"),
        ("foo___bar".into(), "invalid reference format"),
        ("foo_.bar".into(), "invalid reference format"),
        ("foo:".into(), "invalid reference format"),
        ("foo@".into(), "invalid reference format"),
        ("foo:tag:tag".into(), "invalid reference format"),
        ("foo:.x".into(), "invalid reference format"),
        ("foo@sha256:abc".into(), "invalid reference format"),
        ("abc@badid".into(), "invalid reference format"),
        ("a/b@sha256:something".into(), "invalid reference format"),
        (
            "foo@md5:00000000000000000000000000000000".into(),
            "unsupported digest algorithm",
        ),
        (
            "foo@sha256:00000000000000000000000000000000".into(),
            "invalid checksum digest length",
        ),
        ("[::1]:5000/foo".into(), "invalid reference format"),
        ("https://quay.io/foo".into(), "invalid reference format"),
        ("foo bar".into(), "invalid reference format"),
        ("*".into(), "invalid reference format"),
        (format!("foo:{}", "a".repeat(129)), "invalid reference format"),
        (
            "a".repeat(256),
            "repository name must not be more than 255 characters",
        ),
    ];
    for (input, text) in cases {
        let error = ImageReference::parse(&input).expect_err(&input);
        assert_eq!(error.to_string(), text, "{input}");
    }
}

#[test]
fn derived_forms_keep_or_drop_tag_and_id() {
    let both = ImageReference::parse(&format!("quay.io/a/b:v1@{D}")).unwrap();
    assert_eq!(both.most_specific().tag, "");
    assert_eq!(both.exact(), format!("quay.io/a/b@{D}"));
    let named = ImageReference {
        name: "b".into(),
        id: "abc".into(),
        ..ImageReference::default()
    };
    assert_eq!(named.exact(), "b:abc");
    assert_eq!(
        (
            named.most_specific().tag.as_str(),
            named.most_specific().id.as_str()
        ),
        ("abc", "")
    );

    let minimal = |text: &str| ImageReference::parse(text).unwrap().minimal().exact();
    assert_eq!(minimal("index.docker.io/library/foo:latest"), "docker.io/foo");
    assert_eq!(minimal("quay.io/library/foo:latest"), "quay.io/library/foo");
    assert_eq!(minimal("foo:1"), "foo:1");

    let library = |text: &str| ImageReference::parse(text).unwrap().with_library();
    assert_eq!(library("docker.io/foo:1"), "docker.io/library/foo:1");
    assert_eq!(library("foo:1"), "foo:1");
}

#[test]
fn normalised_forms_are_those_of_the_distribution_client() {
    let cases = [
        ("foo:1", Ok("docker.io/library/foo:1")),
        ("a/b", Ok("docker.io/a/b")),
        ("index.docker.io/foo", Ok("docker.io/library/foo")),
        ("quay.io/a/b:v1", Ok("quay.io/a/b:v1")),
        ("localhost/a", Ok("localhost/a")),
        ("bar:5000/foo", Ok("bar:5000/foo")),
        ("quay.io", Err(ReferenceError::Format)),
    ];
    for (input, expected) in cases {
        let actual = ImageReference::parse(input).unwrap().normalised();
        assert_eq!(actual, expected.map(String::from), "{input}");
    }
    assert_eq!(
        normalise(&"a".repeat(64)),
        Err(ReferenceError::Format),
        "an image id is no repository"
    );
    assert_eq!(normalise("*:latest"), Err(ReferenceError::Format));
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused_without_panic(text in ".{0,300}") {
        let _ = ImageReference::parse(&text).map(|r| (r.defaulted().exact(), r.minimal().exact(), r.normalised()));
    }

    #[test]
    fn what_was_formatted_parses_to_the_same(
        text in "([a-z]{1,5}\\.[a-z]{2}(:[0-9]{1,4})?/)?([a-z0-9]{1,4}(__|-|_)?[a-z0-9]/){0,3}[a-z0-9]{1,8}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?"
    ) {
        let parsed = ImageReference::parse(&text).unwrap();
        prop_assert_eq!(parsed.exact(), text.as_str());
        prop_assert_eq!(ImageReference::parse(&parsed.exact()).unwrap(), parsed);
    }
}
