//! Rules by which a stream follows the tags of repositories: all tags that match a pattern or a range of versions, or
//! the newest few of them. They stand in an annotation of the stream.
//!
//! Nothing here lists a repository: [`Selection`] is fed with its tags, page by page, and [`plan`] says what the tags
//! that it chose mean for the spec.

mod matcher;
mod parse;
mod plan;
mod problems;
mod selection;
mod version;

use std::time::Duration;

use crate::reference::ImageReference;

pub use matcher::Matcher;
pub use parse::rules;
pub use plan::{Plan, plan};
pub use problems::Problems;
pub use selection::Selection;

/// The annotation of a stream that holds its rules, a list in YAML or JSON.
pub const RULES_ANNOTATION: &str = "follow.imagestream/rules";
/// The annotation of a tag in the spec that names the rule that made it. Tags without it are nobody's but their
/// author's.
pub const RULE_ANNOTATION: &str = "follow.imagestream/rule";
/// The annotation of a stream that says which of its rules are not followed and why; absent if all are.
pub const PROBLEMS_ANNOTATION: &str = "follow.imagestream/problems";

/// Most rules of one stream.
pub const MAX_RULES: usize = 20;
/// Most tags that one rule keeps in a stream. More would make objects that no store takes.
pub const MAX_NEWEST: usize = 500;
/// Largest annotation with rules, in bytes.
pub const MAX_RULES_BYTES: usize = 64 << 10;

/// Which tags of a repository a stream has.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What the rule is called in its stream.
    pub name: String,
    /// The repository, as the stream's author wrote it: without tag and digest.
    pub repository: ImageReference,
    /// Which tags count.
    pub matcher: Matcher,
    /// Which of them are the newest.
    pub order: Order,
    /// How many of the newest are wanted; at most [`MAX_NEWEST`].
    pub newest: usize,
    /// What becomes of tags that the rule made and no longer chooses.
    pub removal: Removal,
    /// How the tags are imported.
    pub import_policy: ImportPolicy,
    /// How often the repository is listed, if the stream says so.
    pub interval: Option<Duration>,
}

/// Which of two tags is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// The one with the higher version. Tags that are no versions do not count.
    Semver,
    /// The one whose name comes later, byte by byte.
    Name,
}

/// What becomes of tags that a rule made and no longer chooses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Removal {
    /// They stay.
    #[default]
    Keep,
    /// They are removed, with their history.
    Prune,
}

/// How the tags of a rule are imported.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ImportPolicy {
    /// Certificates are not verified and plain HTTP is allowed, for the list of tags too.
    pub insecure: bool,
    /// Imported again on a schedule.
    pub scheduled: bool,
    /// `Legacy` or `PreserveOriginal`; the server's default if empty.
    pub import_mode: String,
}
