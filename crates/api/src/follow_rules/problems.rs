//! Which rules of a stream are not followed and why, noted in an annotation.

use std::collections::BTreeMap;

use super::{PROBLEMS_ANNOTATION, Rule};
use crate::types::ObjectMeta;

/// Longest message that is noted, in bytes; registries word some of them.
const MAX_MESSAGE: usize = 1024;
/// Under which name stands what is wrong with the rules as a whole. No rule has it.
const ALL: &str = "";

/// What is noted in a stream: messages by the names of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(BTreeMap<String, String>);

impl Problems {
    /// What is noted in a stream; nothing if that can't be read.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        let annotations = metadata.annotations.as_ref();
        let noted = annotations.and_then(|annotations| annotations.get(PROBLEMS_ANNOTATION));
        let read = noted.and_then(|noted| serde_json::from_str(noted).ok());
        Self(read.unwrap_or_default())
    }

    /// That the rules of the stream can't be followed at all.
    #[must_use]
    pub fn of_all(message: &str) -> Self {
        let mut problems = Self::default();
        problems.set(ALL, Some(message));
        problems
    }

    /// Says what is wrong with one rule now, or that nothing is.
    pub fn set(&mut self, rule: &str, message: Option<&str>) {
        match message {
            None => self.0.remove(rule),
            Some(message) => {
                let end = message.floor_char_boundary(MAX_MESSAGE);
                self.0.insert(rule.to_owned(), message[..end].to_owned())
            }
        };
    }

    /// Forgets what is wrong with rules that are not among these, or was wrong with all of them.
    pub fn retain(&mut self, rules: &[Rule]) {
        self.0
            .retain(|name, _| rules.iter().any(|rule| rule.name == *name));
    }

    /// Notes it in a stream.
    pub fn write(&self, metadata: &mut ObjectMeta) {
        if self.0.is_empty() {
            if let Some(annotations) = &mut metadata.annotations {
                annotations.remove(PROBLEMS_ANNOTATION);
            }
            return;
        }
        // Maps of strings are always written.
        let text = serde_json::to_string(&self.0).unwrap_or_default();
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(PROBLEMS_ANNOTATION.to_owned(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::rule;
    use super::*;

    #[test]
    fn problems_are_noted_until_they_are_solved_or_their_rule_is_gone() {
        let mut metadata = ObjectMeta::default();
        Problems::default().write(&mut metadata);
        assert_eq!(metadata, ObjectMeta::default(), "nothing to note");
        let mut problems = Problems::of_all("no list");
        problems.set("a", Some("not found"));
        problems.set("b", Some(&"ä".repeat(MAX_MESSAGE)));
        problems.write(&mut metadata);
        assert_eq!(Problems::of(&metadata).0["b"].len(), MAX_MESSAGE);
        let mut problems = Problems::of(&metadata);
        problems.retain(&[rule("name: a, match: {glob: x}")]);
        problems.write(&mut metadata);
        assert_eq!(
            metadata.annotations.as_ref().unwrap()[PROBLEMS_ANNOTATION],
            r#"{"a":"not found"}"#
        );
        problems.set("a", None);
        problems.write(&mut metadata);
        assert_eq!(metadata.annotations, Some(BTreeMap::new()));
    }
}
