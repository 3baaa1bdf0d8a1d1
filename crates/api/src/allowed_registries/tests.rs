use super::Transport::{Any, Insecure, Secure};
use super::*;

fn configured(names: &[&str], insecure: bool) -> AllowedRegistries {
    let locations: Vec<RegistryLocation> = names
        .iter()
        .map(|name| RegistryLocation {
            domain_name: (*name).into(),
            insecure,
        })
        .collect();
    AllowedRegistries::new(&locations).unwrap()
}

const FOUR: [&str; 4] = ["localhost:5000", "docker.io", "example.com:*", "registry.com:80"];
const SIX: [&str; 6] = [
    "localhost:5000",
    "docker.io",
    "example.com:*",
    "registry.com:80",
    "*.foo.com",
    "*domain.ltd",
];

#[test]
fn an_entry_becomes_a_host_and_a_port() {
    for (name, insecure, pattern) in [
        ("host", false, r#"whitelist: "host:443""#),
        ("host", true, r#"whitelist: "host:80""#),
        ("host:5000", false, r#"whitelist: "host:5000""#),
        ("host:5000", true, r#"whitelist: "host:5000""#),
    ] {
        assert_eq!(configured(&[name], insecure).to_string(), pattern);
    }
    assert_eq!(configured(&[], false).to_string(), r#"whitelist: "*:*""#);
    assert_eq!(
        configured(&["b", "a", "b", "b:443"], false).to_string(),
        r#"whitelist: "b:443", "a:443""#
    );
}

#[test]
fn an_entry_with_two_colons_is_refused() {
    let location = RegistryLocation {
        domain_name: "a:b:c".into(),
        insecure: false,
    };
    assert_eq!(
        AllowedRegistries::new(&[location]).unwrap_err().to_string(),
        r#"failed to parse allowed registry "a:b:c": too many colons"#
    );
}

#[test]
fn the_integrated_registry_comes_first_and_once() {
    let allowed = configured(&["example.com"], true)
        .with_integrated("registry.svc:5000")
        .unwrap();
    assert_eq!(
        allowed.to_string(),
        r#"whitelist: "registry.svc:5000", "example.com:80""#
    );
    assert_eq!(
        allowed.clone().with_integrated("registry.svc:5000").unwrap(),
        allowed
    );
    assert_eq!(
        allowed.with_integrated("plain").unwrap().to_string(),
        r#"whitelist: "plain:443", "registry.svc:5000", "example.com:80""#
    );
}

#[test]
fn registries_that_match_a_pattern_are_allowed() {
    let cases: &[(&[&str], bool, Transport, &[&str])] = &[
        (
            &["*"],
            false,
            Secure,
            &["localhost:443", "localhost", "docker.io", ""],
        ),
        (&["*"], true, Any, &["localhost", "localhost:80", ""]),
        (&["*"], true, Insecure, &["localhost", "docker.io", ""]),
        (&["*:*"], false, Secure, &["localhost:1", "x", "", "docker.io"]),
        (&["*:*"], false, Insecure, &["localhost:1", "x", "", "docker.io"]),
        (&["*:*"], false, Any, &["localhost:1", "x", "", "docker.io"]),
        (&[], false, Any, &["localhost:1", "x", ""]),
        (
            &FOUR,
            false,
            Secure,
            &[
                "registry-1.docker.io:443",
                "index.docker.io",
                "",
                "docker.io",
                "example.com:1",
            ],
        ),
        (
            &SIX,
            true,
            Insecure,
            &["a.b.c.d.foo.com:80", "mydomain.ltd", "domain.ltd"],
        ),
        (&SIX, false, Any, &["my.domain.ltd:443", "my.domain.ltd"]),
        (
            &["registry-1.docker.io"],
            false,
            Secure,
            &["docker.io", "registry-1.docker.io"],
        ),
        (&["example.com"], false, Any, &["example.com"]),
    ];
    for (names, insecure, transport, registries) in cases {
        for registry in *registries {
            let answer = configured(names, *insecure).check(registry, *transport);
            assert_eq!(answer, Ok(()), "{names:?} {transport:?} {registry}");
        }
    }
}

#[test]
fn other_registries_are_refused_with_the_patterns() {
    let four = r#""localhost:5000", "docker.io:443", "example.com:*", "registry.com:80""#;
    let six = r#""localhost:5000", "docker.io:80", "example.com:*", "registry.com:80", and 2 more ..."#;
    let six_secure =
        r#""localhost:5000", "docker.io:443", "example.com:*", "registry.com:80", and 2 more ..."#;
    for (names, insecure, transport, registry, shown, patterns) in [
        (
            &["*"][..],
            false,
            Secure,
            "localhost:5000",
            "localhost:5000",
            r#""*:443""#,
        ),
        (&["*"], true, Any, "localhost:443", "localhost:443", r#""*:80""#),
        (&FOUR, false, Secure, "registry.com", "registry.com", four),
        (&SIX, true, Insecure, "foo.com", "foo.com", six),
        (
            &SIX,
            false,
            Any,
            "my.domain.ltd:80",
            "my.domain.ltd:80",
            six_secure,
        ),
        (
            &["example.com:*"],
            false,
            Secure,
            "",
            "docker.io:443",
            r#""example.com:*""#,
        ),
        (
            &["example.com:*"],
            false,
            Insecure,
            "",
            "docker.io:80",
            r#""example.com:*""#,
        ),
        (
            &["example.com"],
            false,
            Any,
            "",
            "docker.io",
            r#""example.com:443""#,
        ),
        (
            &["example.com"],
            true,
            Secure,
            "example.com",
            "example.com",
            r#""example.com:80""#,
        ),
        (
            &["example.com:5000"],
            false,
            Any,
            "example.com",
            "example.com",
            r#""example.com:5000""#,
        ),
        (
            &["registry-1.docker.io"],
            false,
            Secure,
            "",
            "docker.io:443",
            r#""registry-1.docker.io:443""#,
        ),
    ] {
        let refused = configured(names, insecure)
            .check(registry, transport)
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(r#"registry "{shown}" not allowed by whitelist: {patterns}"#),
            "{names:?} {transport:?} {registry}"
        );
    }
}

#[test]
fn five_patterns_are_all_told() {
    assert_eq!(
        configured(&SIX[..5], false).to_string(),
        r#"whitelist: "localhost:5000", "docker.io:443", "example.com:*", "registry.com:80", "*.foo.com:443""#
    );
}

#[test]
fn without_patterns_nothing_is_allowed() {
    let nothing = AllowedRegistries { patterns: Vec::new() };
    assert_eq!(
        nothing.check("x", Secure).unwrap_err().to_string(),
        r#"registry "x" not allowed by empty whitelist"#
    );
}

#[test]
fn a_glob_matches_the_whole_text() {
    for (pattern, matching, other) in [
        (
            "*.docker.io",
            &["registry-1.docker.io", ".docker.io"][..],
            &["docker.io", "fakedocker.io", "foo.docker.io.fake"][..],
        ),
        ("???", &["foo", "..."], &["", "aa", "longfoo"]),
        (
            "foo.??.registry.url",
            &["foo.ab.registry.url"],
            &["foo.a.registry.url", "foo.abc.registry.url"],
        ),
        (
            "*foo.??.registry.*",
            &["foo.ab.registry.url", "barfoo.xx.registry.local"],
            &["foo.x.registry.foo", "xfoo.xx.registry"],
        ),
        ("docker", &["docker"], &["foodocker", "dock", "*docker*"]),
        ("a*b*c", &["abc", "aXbYc", "abbcbc"], &["ab", "ac", "abcd"]),
        ("*", &["", "x"], &[]),
        ("", &[""], &["x"]),
    ] {
        for text in matching {
            assert!(glob_matches(pattern, text), "{pattern} should match {text}");
        }
        for text in other {
            assert!(!glob_matches(pattern, text), "{pattern} should not match {text}");
        }
    }
}

#[test]
fn the_endpoint_of_a_reference_has_the_port_of_its_transport() {
    for (registry, secure, insecure) in [
        ("", "docker.io:443", "docker.io:80"),
        ("docker.io", "registry-1.docker.io:443", "registry-1.docker.io:80"),
        (
            "index.docker.io",
            "registry-1.docker.io:443",
            "registry-1.docker.io:80",
        ),
        (
            "registry-1.docker.io",
            "registry-1.docker.io:443",
            "registry-1.docker.io:80",
        ),
        ("h", "h:443", "h:80"),
        ("h:5000", "h:5000", "h:5000"),
    ] {
        let reference = ImageReference {
            registry: registry.into(),
            ..ImageReference::default()
        };
        assert_eq!(endpoint(&reference, false), secure);
        assert_eq!(endpoint(&reference, true), insecure);
    }
}
