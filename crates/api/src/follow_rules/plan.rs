//! What the tags that a rule chose mean for the spec of its stream.

use std::collections::{BTreeMap, BTreeSet};

use super::{RULE_ANNOTATION, Removal, Rule};
use crate::stream::tag_edit;
use crate::types::{ImageStream, ObjectReference, TagReference};
use crate::validation::tag::DOCKER_IMAGE;

/// Changes to the tags of a stream, all on behalf of one rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Tags of the spec that are new or different.
    pub put: BTreeMap<String, TagReference>,
    /// Tags that are removed, with their history.
    pub removed: BTreeSet<String>,
    /// Chosen tags that are left alone, because somebody else or another rule made them.
    pub left_alone: BTreeSet<String>,
}

impl Plan {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.removed.is_empty()
    }

    /// Makes the changes.
    pub fn apply(self, stream: &mut ImageStream) {
        stream.spec.tags.extend(self.put);
        for tag in self.removed {
            tag_edit::remove(stream, &tag);
        }
    }
}

/// What has to change in a stream so that it has the tags that one of its `rules` chose.
///
/// Only tags that the rule made are changed or removed. A tag that a rule made which the stream no longer has belongs
/// to the first rule that chooses it. Nothing is removed if nothing was chosen at all: a repository that is empty or
/// was moved must not take all images along.
#[must_use]
pub fn plan(stream: &ImageStream, rules: &[Rule], rule: &Rule, chosen: &[String]) -> Plan {
    let mut plan = Plan::default();
    for name in chosen {
        let stored = stream.spec.tags.get(name);
        let is_free = match stored {
            Some(tag) => owner(tag).is_some_and(|owner| owner == rule.name || is_gone(rules, owner)),
            // Images that were pushed are not the rule's to replace.
            None => stream
                .status
                .tags
                .get(name)
                .is_none_or(|history| history.items.is_empty()),
        };
        if !is_free {
            plan.left_alone.insert(name.clone());
            continue;
        }
        let wanted = wanted(rule, name, stored);
        if stored != Some(&wanted) {
            plan.put.insert(name.clone(), wanted);
        }
    }
    if rule.removal == Removal::Prune && !chosen.is_empty() {
        let chosen: BTreeSet<&String> = chosen.iter().collect();
        let own = stream
            .spec
            .tags
            .iter()
            .filter(|(_, tag)| owner(tag) == Some(&rule.name));
        let dropped = own.filter(|(name, _)| !chosen.contains(name));
        plan.removed = dropped.map(|(name, _)| name.clone()).collect();
    }
    plan
}

/// The rule that made a tag.
fn owner(tag: &TagReference) -> Option<&str> {
    let annotations = tag.annotations.as_ref()?;
    annotations.get(RULE_ANNOTATION).map(String::as_str)
}

fn is_gone(rules: &[Rule], name: &str) -> bool {
    rules.iter().all(|rule| rule.name != name)
}

/// A tag as the rule wants it; what the rule says nothing about stays as it is stored.
fn wanted(rule: &Rule, name: &str, stored: Option<&TagReference>) -> TagReference {
    let mut tag = stored.cloned().unwrap_or_default();
    name.clone_into(&mut tag.name);
    let annotations = tag.annotations.get_or_insert_default();
    annotations.insert(RULE_ANNOTATION.to_owned(), rule.name.clone());
    let from = tag.from.get_or_insert_default();
    *from = ObjectReference {
        kind: Some(DOCKER_IMAGE.to_owned()),
        name: Some(format!("{}:{name}", rule.repository.repository())),
        ..ObjectReference::default()
    };
    tag.reference = false;
    tag.import_policy.insecure = rule.import_policy.insecure;
    tag.import_policy.scheduled = rule.import_policy.scheduled;
    if !rule.import_policy.import_mode.is_empty() {
        tag.import_policy
            .import_mode
            .clone_from(&rule.import_policy.import_mode);
    }
    tag
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::parse::tests::rule;
    use super::*;

    fn made_by(rule: &str, tag: &str) -> Value {
        json!({"name": tag, "annotations": {RULE_ANNOTATION: rule},
               "from": {"kind": "DockerImage", "name": format!("quay.io/org/app:{tag}")}})
    }

    fn stream(spec: &Value, status: &Value) -> ImageStream {
        serde_json::from_value(json!({"spec": {"tags": spec}, "status": {"tags": status}})).unwrap()
    }

    fn planned(
        stream: &ImageStream,
        rules: &[Rule],
        chosen: &[&str],
    ) -> (Vec<String>, Vec<String>, Vec<String>) {
        let chosen: Vec<String> = chosen.iter().map(|tag| (*tag).to_owned()).collect();
        let plan = plan(stream, rules, &rules[0], &chosen);
        (
            plan.put.into_keys().collect(),
            Vec::from_iter(plan.removed),
            Vec::from_iter(plan.left_alone),
        )
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn chosen_tags_are_made_once_and_bear_the_name_of_the_rule() {
        let rules = [rule(
            "match: {glob: '*'}, importPolicy: {insecure: true, importMode: PreserveOriginal}",
        )];
        let mut stream = stream(&json!([]), &json!([]));
        let chosen = names(&["1", "2"]);
        let first = plan(&stream, &rules, &rules[0], &chosen);
        first.apply(&mut stream);
        let tag = &stream.spec.tags["2"];
        assert_eq!(
            tag.from.as_ref().unwrap().name.as_deref(),
            Some("quay.io/org/app:2")
        );
        assert_eq!(owner(tag), Some("quay.io/org/app"));
        assert!(tag.import_policy.insecure && !tag.import_policy.scheduled);
        assert_eq!(tag.import_policy.import_mode, "PreserveOriginal");
        assert!(
            plan(&stream, &rules, &rules[0], &chosen).is_empty(),
            "nothing changes twice"
        );
    }

    #[test]
    fn a_tag_of_somebody_else_is_left_alone_whatever_it_points_at() {
        let rules = [
            rule("match: {glob: '*'}, removal: prune"),
            rule("name: other, match: {glob: '*'}"),
        ];
        let by_hand =
            json!({"name": "hand", "from": {"kind": "DockerImage", "name": "quay.io/org/app:hand"}});
        let spec = json!([by_hand, {"name": "empty"}, made_by("other", "theirs")]);
        let pushed =
            json!([{"tag": "pushed", "items": [{"image": "i"}]}, {"tag": "failed", "conditions": [{}]}]);
        let stream = stream(&spec, &pushed);
        assert_eq!(
            planned(&stream, &rules, &["hand", "empty", "theirs", "pushed", "failed"]),
            (
                names(&["failed"]),
                vec![],
                names(&["empty", "hand", "pushed", "theirs"])
            )
        );
        assert_eq!(
            planned(&stream, &rules, &["x"]),
            (names(&["x"]), vec![], vec![]),
            "nor removed"
        );
    }

    #[test]
    fn tags_that_are_no_longer_chosen_go_only_if_the_rule_prunes() {
        let history = json!([{"tag": "old", "items": [{"image": "i"}]}]);
        let stored = stream(
            &json!([
                made_by("quay.io/org/app", "old"),
                made_by("quay.io/org/app", "new")
            ]),
            &history,
        );
        for (removal, expected) in [("keep", vec![]), ("prune", names(&["old"]))] {
            let rules = [rule(&format!("match: {{glob: '*'}}, removal: {removal}"))];
            assert_eq!(
                planned(&stored, &rules, &["new"]),
                (vec![], expected, vec![]),
                "{removal}"
            );
            assert_eq!(
                planned(&stored, &rules, &[]),
                (vec![], vec![], vec![]),
                "{removal}, nothing chosen"
            );
        }
        let rules = [rule("match: {glob: '*'}, removal: prune")];
        let mut after = stored.clone();
        plan(&stored, &rules, &rules[0], &names(&["new"])).apply(&mut after);
        assert_eq!(
            (after.spec.tags.len(), after.status.tags.len()),
            (1, 0),
            "with their history"
        );
    }

    #[test]
    fn a_changed_rule_changes_its_tags_and_keeps_what_others_wrote_on_them() {
        let mut made = made_by("quay.io/org/app", "1");
        made["annotations"]["mine"] = json!("x");
        made["importPolicy"] = json!({"importMode": "Legacy"});
        made["referencePolicy"] = json!({"type": "Local"});
        let stream = stream(&json!([made]), &json!([]));
        let rules = [rule("match: {glob: '*'}, importPolicy: {scheduled: true}")];
        let plan = plan(&stream, &rules, &rules[0], &names(&["1"]));
        let tag = &plan.put["1"];
        assert!(tag.import_policy.scheduled && tag.import_policy.import_mode == "Legacy");
        assert_eq!(tag.annotations.as_ref().unwrap()["mine"], "x");
        assert_eq!(tag.reference_policy.policy_type, "Local");
    }

    #[test]
    fn tags_of_a_rule_that_is_gone_belong_to_the_next_that_chooses_them() {
        let stream = stream(
            &json!([made_by("renamed", "1"), made_by("renamed", "2")]),
            &json!([]),
        );
        let rules = [rule("match: {glob: '*'}, removal: prune")];
        assert_eq!(planned(&stream, &rules, &["1"]), (names(&["1"]), vec![], vec![]));
    }
}
