//! The tags of a repository that a rule of a stream chooses, from a list of any length.

use imagestream_api::follow_rules::{Rule, Selection};
use imagestream_api::types::Status;
use imagestream_registry::Access;
use imagestream_registry::sources::RegistryRules;
use tokio::time::Instant;

use crate::engine::{Credentials, Engine};
use crate::failure::Failure;
use crate::plan;
use crate::reader::{SessionError, credential};
use crate::repository::{no_list, not_opened};

/// The circumstances under which tags are listed.
#[derive(Debug)]
pub struct TagListing<'a> {
    /// Mirrors, blocked and insecure registries.
    pub rules: &'a RegistryRules,
    /// Who asks.
    pub credentials: &'a Credentials,
    /// When the list must have ended.
    pub deadline: Instant,
}

/// What a rule chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenTags {
    /// The tags, newest first.
    pub tags: Vec<String>,
    /// Whether more tags count than the rule may keep.
    pub has_more: bool,
}

impl Engine {
    /// Lists the repository of a rule, page by page, and keeps what the rule chooses. Only one page and the chosen tags
    /// are in memory.
    ///
    /// # Errors
    /// Why the repository can't be listed, as an import of it would tell.
    pub async fn choose_tags(
        &self,
        rule: &Rule,
        listing: &TagListing<'_>,
    ) -> Result<ChosenTags, Box<Status>> {
        let repository = &rule.repository;
        let rules = listing.rules;
        if rules.blocked(repository) {
            return Err(Box::new(plan::blocked(repository)));
        }
        let name = repository.repository();
        let sources = rules.tag_list_sources(repository);
        let mut failures = Vec::new();
        for candidate in &sources.candidates {
            let open = async {
                let credential = credential(listing.credentials, true, listing.deadline, candidate).await?;
                let access = Access {
                    insecure: rule.import_policy.insecure || rules.insecure(repository),
                    credential,
                    deadline: listing.deadline,
                };
                let path = candidate.defaulted().repository_name();
                self.client()
                    .repository(candidate.contacted_host(), &path, access)
                    .map_err(SessionError::Registry)
            };
            // Each source begins anew: what another one listed before it failed may not be there.
            let mut selection = Selection::new(rule);
            let failure = match open.await {
                Err(error) => not_opened(&name, candidate, error),
                Ok(repository) => match repository.visit_tags(|tag| selection.add(tag)).await {
                    Ok(()) => {
                        return Ok(ChosenTags {
                            has_more: selection.has_more(),
                            tags: selection.finish(),
                        });
                    }
                    Err(error) => Failure::of_listing(&name, &error),
                },
            };
            failures.push(failure);
        }
        Err(Box::new(no_list(&name, &sources, failures).into_status()))
    }
}
