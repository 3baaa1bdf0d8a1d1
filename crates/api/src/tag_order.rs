//! The order in which the tags of a repository are imported: `latest`, then versions from newest to oldest,
//! then everything else by name.

use std::cmp::{Ordering, Reverse};

use semver::Version;

/// Sorts tags by priority. Equal keys (`1.0.0` twice, or with different build metadata only) keep their order.
pub fn sort<T: AsRef<str>>(tags: &mut [T]) {
    tags.sort_by_cached_key(|tag| Priority::of(tag.as_ref()));
}

/// A tag's place: the variants are in the order of the classes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Priority {
    Latest,
    /// `N.N` or `N.N-word`.
    Minor(Reverse<Precedence>, HasPrefix),
    /// A semantic version.
    Full(Reverse<Precedence>, HasPrefix),
    Other(String),
}

/// Whether the version is written with a leading `v`; without comes first.
type HasPrefix = bool;

/// A version compared without its build metadata, as semantic versioning says.
#[derive(PartialEq, Eq)]
struct Precedence(Version);

impl Ord for Precedence {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp_precedence(&other.0)
    }
}

impl PartialOrd for Precedence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Priority {
    fn of(tag: &str) -> Self {
        if tag == "latest" {
            return Self::Latest;
        }
        let (version, has_prefix) = tag.strip_prefix('v').map_or((tag, false), |rest| (rest, true));
        if let Ok(full) = Version::parse(version) {
            return Self::Full(Reverse(Precedence(full)), has_prefix);
        }
        match minor(version) {
            Some(minor) => Self::Minor(Reverse(Precedence(minor)), has_prefix),
            None => Self::Other(tag.into()),
        }
    }
}

/// `N.N` or `N.N-word` (letters, digits and `_`), read as `N.N.0` or `N.N.0-word`.
fn minor(text: &str) -> Option<Version> {
    let (numbers, word) = text
        .split_once('-')
        .map_or((text, None), |(numbers, word)| (numbers, Some(word)));
    let (major, minor) = numbers.split_once('.')?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !digits(major) || !digits(minor) || !word.is_none_or(is_word) {
        return None;
    }
    let suffix = word.map(|word| format!("-{word}")).unwrap_or_default();
    Version::parse(&format!("{major}.{minor}.0{suffix}")).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_ordered_by_class_then_version_then_name() {
        let cases = [
            (
                "other, latest, v5.5, 5.2.3, 5.5, v5.3.6-bother, 5.3.6-abba, 5.6",
                "latest, 5.6, 5.5, v5.5, v5.3.6-bother, 5.3.6-abba, 5.2.3, other",
            ),
            (
                "1.1-beta1, 1.2-rc1, 1.1-rc1, 1.1-beta2, 1.2-beta1, 1.2-alpha1, 1.2-beta4, latest",
                "latest, 1.2-rc1, 1.2-beta4, 1.2-beta1, 1.2-alpha1, 1.1-rc1, 1.1-beta2, 1.1-beta1",
            ),
            ("7.1.0, v7.1, 7.1", "7.1, v7.1, 7.1.0"),
            ("v1, other, v2, 3, 3.1, abc", "3.1, 3, abc, other, v1, v2"),
            (
                "latest, v1.2, 1.2, 1.2.3, v1.2.3, 1.2.3-rc1, 1.10, 1.9, 2, v2, alpine, 1.2-rc1, 1.2-alpine3.5, \
                 1.2-rc_1, 01.2, 1.2.03, V1.2",
                "latest, 1.10, 1.9, 1.2, v1.2, 1.2-rc1, 1.2.3, v1.2.3, 1.2.3-rc1, 01.2, 1.2-alpine3.5, 1.2-rc_1, \
                 1.2.03, 2, V1.2, alpine, v2",
            ),
            (
                "1.2-1, 1.2-2, 1.2-10, 1.2, v1.2, 1.2-a",
                "1.2, v1.2, 1.2-a, 1.2-10, 1.2-2, 1.2-1",
            ),
            (
                "8, 8.10, 8.9, 8.9-1107, 8.10-1749, 8.10-1749-source, latest, nightly, v0.0.1",
                "latest, 8.10, 8.10-1749, 8.9, 8.9-1107, v0.0.1, 8, 8.10-1749-source, nightly",
            ),
            (
                "sha-abc, 1.0.0-alpha.1, 1.0.0-alpha.beta, 1.0.0-alpha, 1.0.0",
                "1.0.0, 1.0.0-alpha.beta, 1.0.0-alpha.1, 1.0.0-alpha, sha-abc",
            ),
        ];
        for (input, expected) in cases {
            let mut tags: Vec<&str> = input.split(", ").collect();
            sort(&mut tags);
            assert_eq!(tags.join(", "), expected);
        }
    }

    proptest! {
        #[test]
        fn the_order_does_not_depend_on_the_order_of_the_input(
            tags in proptest::collection::btree_set("latest|v?[0-3]{1,2}\\.[0-3](\\.[0-3])?(-[a-c_.]{1,3})?|[a-z]{1,4}", 0..12)
        ) {
            let mut forwards: Vec<&String> = tags.iter().collect();
            let mut backwards: Vec<&String> = tags.iter().rev().collect();
            sort(&mut forwards);
            sort(&mut backwards);
            prop_assert_eq!(forwards, backwards);
        }
    }
}
