//! The newest tags of a repository of any size, in memory for as many as are wanted.

use std::collections::BTreeSet;

use super::version::TagVersion;
use super::{Order, Rule};

/// A tag that counts. The order is from oldest to newest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Only if the order is by version.
    version: Option<TagVersion>,
    tag: String,
}

/// Chooses tags for a rule as they come.
#[derive(Debug)]
pub struct Selection<'a> {
    rule: &'a Rule,
    newest: BTreeSet<Candidate>,
    has_more: bool,
}

impl<'a> Selection<'a> {
    /// Nothing chosen yet.
    #[must_use]
    pub fn new(rule: &'a Rule) -> Self {
        Self {
            rule,
            newest: BTreeSet::new(),
            has_more: false,
        }
    }

    /// Takes notice of a tag. The same tag may come twice.
    pub fn add(&mut self, tag: &str) {
        let Some(version) = self.rule.matcher.check(tag) else {
            return;
        };
        let version = match self.rule.order {
            Order::Name => None,
            Order::Semver if version.is_none() => return,
            Order::Semver => version,
        };
        let tag = tag.to_owned();
        self.newest.insert(Candidate { version, tag });
        if self.newest.len() > self.rule.newest {
            self.newest.pop_first();
            self.has_more = true;
        }
    }

    /// Whether more tags count than are wanted.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// The chosen tags, newest first.
    #[must_use]
    pub fn finish(self) -> Vec<String> {
        self.newest
            .into_iter()
            .rev()
            .map(|candidate| candidate.tag)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parse::tests::rule;
    use super::*;

    fn chosen(text: &str, tags: &str) -> String {
        let rule = rule(text);
        let mut selection = Selection::new(&rule);
        for tag in tags.split(' ') {
            selection.add(tag);
        }
        selection.finish().join(" ")
    }

    #[test]
    fn a_rule_chooses_what_matches_and_of_that_the_newest() {
        for (rule, tags, expected) in [
            // By version: pre-releases and everything that is no version do not count.
            (
                "match: {semver: '>=1.2, <3'}",
                "latest 1.1.9 v1.2.0 1.10 1.9 2.0.0-rc.1 3.0.0 2",
                "2 1.10 1.9 v1.2.0",
            ),
            (
                "match: {semver: '^1'}, newest: 2",
                "1.0.0 1.2.0 1.10.0 2.0.0 1.9.0",
                "1.10.0 1.9.0",
            ),
            (
                "match: {semver: '*'}, newest: 1",
                "1.0.0 9.9.9-rc1 2.0.0",
                "2.0.0",
            ),
            // Pre-releases only if asked for, in general or by the range.
            (
                "match: {semver: '>=1.2', preReleases: true}",
                "1.2.0-rc.1 2.0.0-beta 1.1.0 1.1.0-rc.1",
                "2.0.0-beta 1.2.0-rc.1",
            ),
            (
                "match: {semver: '>=2.0.0-rc.2'}",
                "2.0.0-rc.1 2.0.0-rc.3 2.0.0 2.1.0-rc.9",
                "2.0.0 2.0.0-rc.3",
            ),
            (
                "match: {semver: '<2', preReleases: true}",
                "2.0.0-rc.1 1.9.0",
                "1.9.0",
            ),
            // A suffix that is no pre-release.
            (
                "match: {regex: '^(?<version>[0-9.]+)-alpine$', semver: '^1.25'}",
                "1.25.1-alpine 1.25.10-alpine 1.26-alpine 1.25.3 1.24-alpine 1.25.2-alpine-perl",
                "1.26-alpine 1.25.10-alpine 1.25.1-alpine",
            ),
            // By name.
            (
                "match: {glob: 'nightly-*'}, newest: 2",
                "nightly-2024-01-02 nightly-2023-12-31 v1 nightly-2024-01-01",
                "nightly-2024-01-02 nightly-2024-01-01",
            ),
            ("match: {regex: '^[a-c]$'}", "a b c d ab", "c b a"),
            (
                "match: {glob: '*'}, order: semver, newest: 1",
                "main 1.0 2.0 zzz",
                "2.0",
            ),
            (
                "match: {semver: '*'}, order: name",
                "10.0.0 9.0.0 x",
                "9.0.0 10.0.0",
            ),
            // Exclusions.
            (
                "match: {glob: '*'}, exclude: {glob: '*-debug', regex: '^sha-'}",
                "a a-debug sha-1 b",
                "b a",
            ),
            // What a hostile registry lists.
            ("match: {glob: '*'}", "../../x a:b ok ", "ok"),
        ] {
            assert_eq!(chosen(rule, tags), expected, "{rule}");
        }
    }

    #[test]
    fn a_large_repository_leaves_no_more_in_memory_than_is_wanted() {
        let rule = rule("match: {semver: '*'}, newest: 3");
        let mut selection = Selection::new(&rule);
        for number in 0..20_000 {
            selection.add(&format!("1.{}", number * 7_919 % 20_000));
            assert!(selection.newest.len() <= 3);
        }
        assert!(selection.has_more());
        assert_eq!(selection.finish(), ["1.19999", "1.19998", "1.19997"]);
    }

    proptest! {
        #[test]
        fn neither_the_order_of_the_tags_nor_repetitions_matter(
            tags in proptest::collection::vec("v?[0-3](\\.[0-3]){0,2}(-rc\\.[0-2])?", 0..30),
            newest in 1usize..6,
        ) {
            let rule = rule(&format!("match: {{semver: '*', preReleases: true}}, newest: {newest}"));
            let choose = |tags: &mut dyn Iterator<Item = &String>| {
                let mut selection = Selection::new(&rule);
                for tag in tags {
                    selection.add(tag);
                }
                selection.finish()
            };
            let forwards = choose(&mut tags.iter());
            prop_assert!(forwards.len() <= newest);
            prop_assert_eq!(&forwards, &choose(&mut tags.iter().rev().chain(&tags)));
        }
    }
}
