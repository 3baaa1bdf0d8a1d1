//! What the rules controller does at a time.

use std::collections::{BTreeMap, BTreeSet};

use imagestream_api::follow_rules::Rule;
use imagestream_api::stream::source::StreamKey;

use super::schedule::repository;

/// A repository that rules have listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Repository {
    /// Host and path, the same for all spellings.
    pub(super) name: String,
    /// Whether the rules have it listed without verified TLS.
    pub(super) insecure: bool,
}

impl Repository {
    /// That of a rule.
    pub(super) fn of(rule: &Rule) -> Self {
        Self {
            name: repository(&rule.repository),
            insecure: rule.import_policy.insecure,
        }
    }

    /// Its host.
    pub(super) fn host(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// List a repository for these rules of streams.
    List(Repository, BTreeMap<StreamKey, BTreeSet<String>>),
    /// Tell a stream what is wrong with its rules, which stand in the annotation with this hash.
    Tell(StreamKey, u64),
}
