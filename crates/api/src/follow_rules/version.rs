//! Versions as registries have them in tags: [semantic versions][1] with an optional `v`, fewer than three numbers and
//! zeros in front.
//!
//! [1]: https://semver.org/

use std::cmp::{Ordering, Reverse};

use semver::{BuildMetadata, Prerelease, Version};

/// A version that a tag names. The order is by precedence; of two spellings of one version the longer one is the newer,
/// and then the one without `v`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TagVersion {
    pub(super) version: Version,
    numbers: usize,
    has_prefix: Reverse<bool>,
}

impl TagVersion {
    /// `[v]N[.N[.N]][-pre.release]`; tags can't hold the `+` of build metadata.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(['v', 'V']);
        let (numbers, pre) = match rest.unwrap_or(text).split_once('-') {
            None => (rest.unwrap_or(text), ""),
            Some((_, "")) => return None,
            Some(parts) => parts,
        };
        let mut parsed = [0; 3];
        let mut count = 0;
        for number in numbers.split('.') {
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            *parsed.get_mut(count)? = is_number.then(|| number.parse().ok())??;
            count += 1;
        }
        let [major, minor, patch] = parsed;
        Some(Self {
            version: Version {
                major,
                minor,
                patch,
                pre: Prerelease::new(pre).ok()?,
                build: BuildMetadata::EMPTY,
            },
            numbers: count,
            has_prefix: Reverse(rest.is_some()),
        })
    }
}

impl Ord for TagVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.version
            .cmp_precedence(&other.version)
            .then(self.numbers.cmp(&other.numbers))
            .then(self.has_prefix.cmp(&other.has_prefix))
    }
}

impl PartialOrd for TagVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_registries_write_them() {
        for (tag, version) in [
            ("1.2.3", Some("1.2.3")),
            ("v1.2.3", Some("1.2.3")),
            ("V1.2", Some("1.2.0")),
            ("1", Some("1.0.0")),
            ("22.04", Some("22.4.0")),
            ("2024.01.09", Some("2024.1.9")),
            ("1.2-rc.1", Some("1.2.0-rc.1")),
            ("1.2.3-alpine3.19", Some("1.2.3-alpine3.19")),
            ("", None),
            ("v", None),
            ("latest", None),
            ("1.2.3.4", None),
            ("1..2", None),
            ("1.2.", None),
            ("1.x", None),
            ("1.2.3-", None),
            ("1.2.3-a_b", None),
            ("1.2.3-01", None),
            ("99999999999999999999", None),
            ("vv1", None),
        ] {
            let found = TagVersion::parse(tag).map(|found| found.version.to_string());
            assert_eq!(found.as_deref(), version, "{tag}");
        }
    }

    #[test]
    fn versions_are_ordered_by_precedence_and_then_by_spelling() {
        let ascending = [
            "0.9",
            "1.0.0-alpha",
            "1.0.0-alpha.2",
            "1.0.0-alpha.10",
            "1.0.0-rc",
            "v1",
            "1",
            "v1.0",
            "1.0",
            "v1.0.0",
            "1.0.0",
            "1.9",
            "1.10",
        ];
        for pair in ascending.windows(2) {
            let [older, newer] = pair else {
                unreachable!("windows of two")
            };
            assert!(
                TagVersion::parse(older) < TagVersion::parse(newer),
                "{older} < {newer}"
            );
        }
    }
}
