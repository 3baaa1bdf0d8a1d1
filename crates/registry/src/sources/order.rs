//! One order out of several preferences: a topological sort that is the same on every run.

use std::collections::{BTreeMap, BTreeSet};

/// Merges lists of mirrors of `source`. Each list's own order is kept where the others allow it; what is undecided is
/// bytewise. The source counts as the last of a list that does not name it, and is left out when it comes last.
pub(super) fn merge<'a>(source: &str, lists: impl Iterator<Item = &'a [String]>) -> Vec<String> {
    let mut preferences = Preferences::default();
    for list in lists {
        let source_last = (!list.iter().any(|mirror| mirror == source)).then_some(source);
        let order: Vec<&str> = list.iter().map(String::as_str).chain(source_last).collect();
        order
            .windows(2)
            .for_each(|pair| preferences.add(pair[0], pair[1]));
    }
    let mut sorted = preferences.sorted();
    if sorted.last().is_some_and(|last| last == source) {
        sorted.pop();
    }
    sorted
}

/// "This before that", for all pairs of neighbours.
#[derive(Default)]
struct Preferences {
    after: BTreeMap<String, BTreeSet<String>>,
    /// How many nodes are to come before each.
    waiting_for: BTreeMap<String, usize>,
}

impl Preferences {
    fn add(&mut self, first: &str, second: &str) {
        self.waiting_for.entry(first.into()).or_default();
        let waiting = self.waiting_for.entry(second.into()).or_default();
        if first != second && self.after.entry(first.into()).or_default().insert(second.into()) {
            *waiting += 1;
        }
    }

    /// Bytewise first of those that wait for nothing; where all wait for each other, bytewise first of all.
    fn sorted(mut self) -> Vec<String> {
        let mut ready: BTreeSet<String> = self
            .waiting_for
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(node, _)| node.clone())
            .collect();
        let mut sorted = Vec::with_capacity(self.waiting_for.len());
        while let Some(node) = ready
            .pop_first()
            .or_else(|| self.waiting_for.keys().next().cloned())
        {
            self.waiting_for.remove(&node);
            for next in self.after.remove(&node).unwrap_or_default() {
                // A node that was taken to break a cycle waits for nothing any more.
                if let Some(count) = self.waiting_for.get_mut(&next) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert(next);
                    }
                }
            }
            sorted.push(node);
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(lists: &[&str]) -> String {
        let lists: Vec<Vec<String>> = lists
            .iter()
            .map(|list| list.chars().map(String::from).collect())
            .collect();
        merge("S", lists.iter().map(Vec::as_slice)).concat()
    }

    #[test]
    fn lists_are_merged_without_breaking_their_order() {
        let cases: [(&[&str], &str); 10] = [
            (&["A"], "A"),
            (&["BC", "AB"], "ABC"),
            (&["AB", "BC", "CD"], "ABCD"),
            (&["CD", "AB", "BC"], "ABCD"),
            (&["Z", "A"], "AZ"),
            (&["ZB", "A"], "AZB"),
            (&["ABD", "ACD"], "ABCD"),
            (&["AS"], "A"),
            (&["SA"], "SA"),
            (&["ASB", "A"], "ASB"),
        ];
        for (lists, expected) in cases {
            assert_eq!(merged(lists), expected, "{lists:?}");
        }
    }

    #[test]
    fn cycles_are_broken_at_the_bytewise_first() {
        assert_eq!(merged(&["AB", "BA"]), "AB");
        assert_eq!(merged(&["BC", "CD", "DB"]), "BCD");
        assert_eq!(merged(&["BC", "CB", "A"]), "ABC");
        assert_eq!(merged(&["AA"]), "A");
    }
}
