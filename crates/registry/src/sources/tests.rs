#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use super::*;

const D: &str = "sha256:3c87c572822935df60f0f5d3665bd376841a7fcfeb806b5f212de6a00e9a7b25";

fn group(source: &str, mirrors: &[&str]) -> MirrorGroup {
    MirrorGroup {
        source: source.into(),
        mirrors: mirrors.iter().map(|mirror| (*mirror).into()).collect(),
        never_contact_source: false,
    }
}

fn never(source: &str, mirrors: &[&str]) -> MirrorGroup {
    MirrorGroup {
        never_contact_source: true,
        ..group(source, mirrors)
    }
}

fn digest_mirrors(groups: Vec<MirrorGroup>) -> RulesInput {
    RulesInput {
        digest_mirrors: groups,
        ..RulesInput::default()
    }
}

fn tag_mirrors(groups: Vec<MirrorGroup>) -> RulesInput {
    RulesInput {
        tag_mirrors: groups,
        ..RulesInput::default()
    }
}

fn scopes(scopes: &[&str]) -> Vec<String> {
    scopes.iter().map(|scope| (*scope).into()).collect()
}

/// The references that are tried, with `D` for the digest.
fn tried(input: &RulesInput, reference: &str) -> Vec<String> {
    let reference = ImageReference::parse(&reference.replace("@D", &format!("@{D}"))).unwrap();
    let by = if reference.id.is_empty() {
        PullBy::Tag
    } else {
        PullBy::Digest
    };
    let sources = RegistryRules::new(input).pull_sources(&reference, by);
    sources
        .candidates
        .iter()
        .map(|candidate| candidate.exact().replace(D, "D"))
        .collect()
}

fn blocked(input: &RulesInput, reference: &str) -> bool {
    RegistryRules::new(input).blocked(&ImageReference::parse(reference).unwrap())
}

fn insecure(input: &RulesInput, reference: &str) -> bool {
    RegistryRules::new(input).insecure(&ImageReference::parse(reference).unwrap())
}

#[test]
fn mirrors_are_tried_in_order_and_the_source_last() {
    let mirrored = digest_mirrors(vec![group(
        "quay.io/openshift",
        &["mirror.example.com/openshift4"],
    )]);
    let lists = digest_mirrors(vec![
        group("quay.io", &["b.io", "c.io"]),
        group("quay.io", &["a.io", "b.io"]),
    ]);
    let three = digest_mirrors(vec![
        group("quay.io", &["c.io", "d.io"]),
        group("quay.io", &["a.io", "b.io"]),
        group("quay.io", &["b.io", "c.io"]),
    ]);
    let cases: [(&RulesInput, &str, &[&str]); 9] = [
        (
            &mirrored,
            "quay.io/openshift/test@D",
            &["mirror.example.com/openshift4/test@D", "quay.io/openshift/test@D"],
        ),
        (
            &mirrored,
            "docker.io/openshift/test@D",
            &["docker.io/openshift/test@D"],
        ),
        (
            &mirrored,
            "quay.io/openshift2/test@D",
            &["quay.io/openshift2/test@D"],
        ),
        (
            &mirrored,
            "quay.io/openshift/test:v1",
            &["quay.io/openshift/test:v1"],
        ),
        (
            &mirrored,
            "quay.io/openshift@D",
            &["mirror.example.com/openshift4@D", "quay.io/openshift@D"],
        ),
        (
            &lists,
            "quay.io/x/y@D",
            &["a.io/x/y@D", "b.io/x/y@D", "c.io/x/y@D", "quay.io/x/y@D"],
        ),
        (
            &three,
            "quay.io/x@D",
            &["a.io/x@D", "b.io/x@D", "c.io/x@D", "d.io/x@D", "quay.io/x@D"],
        ),
        (&RulesInput::default(), "busybox", &["busybox"]),
        // The tag beside a digest plays no part.
        (
            &mirrored,
            "quay.io/openshift/t:v1@D",
            &["mirror.example.com/openshift4/t@D", "quay.io/openshift/t@D"],
        ),
    ];
    for (input, reference, expected) in cases {
        assert_eq!(tried(input, reference), expected, "{reference}");
    }
}

#[test]
fn digest_mirrors_and_tag_mirrors_serve_their_own_kind_of_pull() {
    let input = RulesInput {
        digest_mirrors: vec![group("quay.io", &["digests.io"])],
        tag_mirrors: vec![group("quay.io", &["tags.io"])],
        ..RulesInput::default()
    };
    assert_eq!(
        tried(&input, "quay.io/a/b@D"),
        ["digests.io/a/b@D", "quay.io/a/b@D"]
    );
    assert_eq!(
        tried(&input, "quay.io/a/b:v1"),
        ["tags.io/a/b:v1", "quay.io/a/b:v1"]
    );
}

#[test]
fn references_are_matched_in_their_normalised_form() {
    let input = tag_mirrors(vec![group("docker.io/library", &["127.0.0.1:5000/hub"])]);
    for reference in [
        "busybox:1",
        "docker.io/busybox:1",
        "index.docker.io/library/busybox:1",
    ] {
        assert_eq!(
            tried(&input, reference),
            ["127.0.0.1:5000/hub/busybox:1", reference]
        );
    }
    assert_eq!(
        tried(&input, "busybox"),
        ["127.0.0.1:5000/hub/busybox", "busybox"]
    );
}

#[test]
fn the_most_specific_source_counts_alone() {
    let input = tag_mirrors(vec![
        group("quay.io", &["outer.io"]),
        group("quay.io/a/b", &["inner.io/z"]),
    ]);
    assert_eq!(
        tried(&input, "quay.io/a/b/c:1"),
        ["inner.io/z/c:1", "quay.io/a/b/c:1"]
    );
    assert_eq!(
        tried(&input, "quay.io/a/bc:1"),
        ["outer.io/a/bc:1", "quay.io/a/bc:1"]
    );
}

#[test]
fn a_scope_nested_in_a_mirrored_one_keeps_its_mirrors() {
    let input = RulesInput {
        insecure: scopes(&["quay.io/a/b"]),
        tag_mirrors: vec![group("quay.io", &["far.io"]), never("quay.io/a", &["near.io/m"])],
        ..RulesInput::default()
    };
    assert_eq!(tried(&input, "quay.io/a/b/c:1"), ["near.io/m/b/c:1"]);
}

#[test]
fn groups_without_a_real_mirror_say_nothing() {
    let input = tag_mirrors(vec![never("quay.io", &[]), never("quay.io", &["quay.io"])]);
    assert_eq!(tried(&input, "quay.io/a:1"), ["quay.io/a:1"]);
}

#[test]
fn a_source_that_ranks_before_a_mirror_is_tried_once_at_its_rank() {
    let input = tag_mirrors(vec![group("quay.io", &["a.io", "quay.io", "b.io"])]);
    assert_eq!(
        tried(&input, "quay.io/x:1"),
        ["a.io/x:1", "quay.io/x:1", "b.io/x:1"]
    );
}

#[test]
fn a_source_that_is_never_to_be_contacted_is_no_candidate() {
    let input = RulesInput {
        digest_mirrors: vec![group("quay.io", &["d.io"])],
        tag_mirrors: vec![
            never("quay.io", &["a.io", "quay.io", "b.io"]),
            group("quay.io", &["a.io"]),
        ],
        ..RulesInput::default()
    };
    assert_eq!(tried(&input, "quay.io/x:1"), ["a.io/x:1", "b.io/x:1"]);
    assert_eq!(tried(&input, "quay.io/x@D"), ["d.io/x@D", "quay.io/x@D"]);
    let sources =
        RegistryRules::new(&input).pull_sources(&ImageReference::parse("quay.io/x:1").unwrap(), PullBy::Tag);
    assert!(sources.source_excluded);
    assert!(!blocked(&input, "quay.io/x:1"));
}

#[test]
fn tags_are_listed_at_the_source_unless_it_must_not_be_contacted() {
    let listed = |input: &RulesInput| -> Vec<String> {
        let reference = ImageReference::parse("quay.io/a/b:v1").unwrap();
        let sources = RegistryRules::new(input).tag_list_sources(&reference);
        sources.candidates.iter().map(ImageReference::exact).collect()
    };
    assert_eq!(
        listed(&tag_mirrors(vec![group("quay.io", &["m.io"])])),
        ["quay.io/a/b"]
    );
    assert_eq!(
        listed(&tag_mirrors(vec![never("quay.io/a", &["m.io/x", "n.io"])])),
        ["m.io/x/b", "n.io/b"]
    );
    assert_eq!(
        listed(&digest_mirrors(vec![never("quay.io", &["m.io"])])),
        ["quay.io/a/b"]
    );
}

#[test]
fn mirrors_that_make_no_reference_are_named_not_tried() {
    let input = tag_mirrors(vec![never(
        "quay.io/a",
        &["no host", "m.io", "UPPER.io/X", "plain/name"],
    )]);
    let sources =
        RegistryRules::new(&input).pull_sources(&ImageReference::parse("quay.io/a:1").unwrap(), PullBy::Tag);
    assert!(sources.candidates.is_empty() && sources.source_excluded);
    let mut unusable = sources.unusable_mirrors;
    unusable.sort();
    assert_eq!(unusable, ["UPPER.io/X", "m.io", "no host", "plain/name"]);
}

#[test]
fn blocked_scopes_block_what_they_cover() {
    let cases: [(&[&str], &str, bool); 15] = [
        (&["quay.io"], "quay.io/a/b", true),
        (&["quay.io"], "quay.io:443/a/b", false),
        (&["quay.io"], "other.quay.io/a/b", false),
        (&["127.0.0.1"], "127.0.0.1:5000/a", false),
        (&["127.0.0.1:5000"], "127.0.0.1:5000/a", true),
        (&["docker.io"], "busybox", true),
        (&["index.docker.io"], "index.docker.io/busybox", true),
        (&["docker.io/library"], "busybox", true),
        (&["docker.io/library"], "index.docker.io/library/busybox@D", true),
        (&["quay.io/a"], "quay.io/a/b:v1", true),
        (&["quay.io/a"], "quay.io/ab/c", false),
        (&["*.example.com"], "r.example.com/x", true),
        (&["*.example.com"], "a.r.example.com:5000/x/y", true),
        (&["*.example.com"], "example.com/x", false),
        (&["*.example.com"], "quay.io/r.example.com/x", false),
    ];
    for (list, reference, expected) in cases {
        let input = RulesInput {
            blocked: scopes(list),
            ..RulesInput::default()
        };
        assert_eq!(
            blocked(&input, &reference.replace("@D", &format!("@{D}"))),
            expected,
            "{list:?} {reference}"
        );
    }
}

#[test]
fn a_blocked_source_with_mirrors_of_its_own_is_not_rejected() {
    let input = RulesInput {
        blocked: scopes(&["quay.io"]),
        ..digest_mirrors(vec![group("quay.io", &["mirror.example.com"])])
    };
    assert!(!blocked(&input, "quay.io/openshift/test"));
    assert_eq!(
        tried(&input, "quay.io/openshift/test@D"),
        ["mirror.example.com/openshift/test@D", "quay.io/openshift/test@D"]
    );
    let inside = RulesInput {
        blocked: scopes(&["quay.io/secret"]),
        ..digest_mirrors(vec![group("quay.io", &["mirror.example.com"])])
    };
    assert!(blocked(&inside, "quay.io/secret/x"));
    assert!(!blocked(&inside, "quay.io/public/x"));
}

#[test]
fn insecure_registries_are_whole_hosts() {
    let listed = |list: &[&str]| RulesInput {
        insecure: scopes(list),
        ..RulesInput::default()
    };
    assert!(insecure(&listed(&["r.io:5000"]), "r.io:5000/a"));
    assert!(!insecure(&listed(&["r.io"]), "r.io:5000/a"));
    assert!(!insecure(&listed(&["r.io/a"]), "r.io/a/b"));
    assert!(insecure(&listed(&["docker.io"]), "busybox"));
    assert!(!insecure(&listed(&["docker.io"]), "index.docker.io/busybox"));
    assert!(!insecure(&listed(&["*.example.com"]), "r.example.com/x"));
    // An entry of its own takes the flag over from the wildcard it is nested in.
    let nested = RulesInput {
        blocked: scopes(&["r.example.com"]),
        ..listed(&["*.example.com"])
    };
    assert!(insecure(&nested, "r.example.com/x"));
}
