//! The tags of a repository that rules of streams choose, from a list of any length.

use std::future::Future;

use imagestream_api::follow_rules::{Rule, Selection};
use imagestream_api::types::Status;
use imagestream_registry::sources::RegistryRules;
use imagestream_registry::{Access, HostFeedback, Probed, Repository, TagPages};
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::check::CheckError;
use crate::engine::{Credentials, Engine};
use crate::failure::Failure;
use crate::plan;
use crate::reader::{SessionError, credential};
use crate::repository::{no_list, not_opened};

/// Tags that a rule looks at without letting others do something.
const BATCH: usize = 64;

/// Says when a registry may be asked for a page of a list, and hears how that went: whoever asks registries for other
/// things, too, asks a host less often if it is asked for lists.
pub trait Turns: Sync {
    /// Waits until the host may be asked for one page; for a host that wants to be left alone no longer than until
    /// `patience`.
    fn wait(&self, host: &str, patience: Instant) -> impl Future<Output = Result<(), LeftAlone>> + Send;

    /// The host was asked for a page.
    fn asked(&self, host: &str, outcome: Result<(), &CheckError>, feedback: &HostFeedback);
}

/// A host wants to be left alone for longer than one waits. Nothing is wrong with what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftAlone {
    /// When it may be asked again.
    pub until: Instant,
}

/// The circumstances under which tags are listed.
#[derive(Debug)]
pub struct TagListing<'a, T> {
    /// Mirrors, blocked and insecure registries.
    pub rules: &'a RegistryRules,
    /// Who asks.
    pub credentials: &'a Credentials,
    /// When the list must have ended.
    pub deadline: Instant,
    /// When pages may be asked for.
    pub turns: &'a T,
}

/// What a rule chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenTags {
    /// The tags, newest first.
    pub tags: Vec<String>,
    /// Whether more tags count than the rule may keep.
    pub has_more: bool,
}

/// Why nothing is known of the tags of a repository.
#[derive(Debug, Clone, PartialEq)]
pub enum NotListed {
    /// Its registry has to be left alone.
    LeftAlone(LeftAlone),
    /// It can't be listed, as an import of it would tell.
    Failed(Box<Status>),
}

/// Why one source does not list its tags.
enum NotListedAt {
    LeftAlone(LeftAlone),
    Failed(Failure),
}

impl From<LeftAlone> for NotListedAt {
    fn from(left_alone: LeftAlone) -> Self {
        Self::LeftAlone(left_alone)
    }
}

impl Engine {
    /// Lists a repository once, page by page, and keeps what each of the rules for it chooses. Only one page and the
    /// chosen tags are in memory. The repository is that of the first rule, which all must name alike and contact alike.
    ///
    /// # Errors
    /// If the list was not read to its end: what it held so far does not count.
    pub async fn choose_tags<T: Turns>(
        &self,
        rules: &[&Rule],
        listing: &TagListing<'_, T>,
    ) -> Result<Vec<ChosenTags>, NotListed> {
        let Some(first) = rules.first() else {
            return Ok(Vec::new());
        };
        let repository = &first.repository;
        if listing.rules.blocked(repository) {
            return Err(NotListed::Failed(Box::new(plan::blocked(repository))));
        }
        let name = repository.repository();
        let sources = listing.rules.tag_list_sources(repository);
        let mut failures = Vec::new();
        let mut left_alone: Option<LeftAlone> = None;
        for candidate in &sources.candidates {
            let open = async {
                let credential = credential(listing.credentials, true, listing.deadline, candidate).await?;
                let access = Access {
                    insecure: first.import_policy.insecure || listing.rules.insecure(repository),
                    credential,
                    deadline: listing.deadline,
                    patience: listing.deadline,
                };
                let path = candidate.defaulted().repository_name();
                self.client()
                    .repository(candidate.contacted_host(), &path, access)
                    .map_err(SessionError::Registry)
            };
            let opened = match open.await {
                Ok(opened) => opened,
                Err(error) => {
                    failures.push(not_opened(&name, candidate, error));
                    continue;
                }
            };
            match list(rules, &name, candidate.contacted_host(), &opened, listing).await {
                Ok(chosen) => return Ok(chosen),
                Err(NotListedAt::Failed(failure)) => failures.push(failure),
                Err(NotListedAt::LeftAlone(LeftAlone { until })) => {
                    let until = left_alone.map_or(until, |other| other.until.min(until));
                    left_alone = Some(LeftAlone { until });
                }
            }
        }
        Err(match left_alone {
            Some(left_alone) => NotListed::LeftAlone(left_alone),
            None => NotListed::Failed(Box::new(no_list(&name, &sources, failures).into_status())),
        })
    }
}

/// Lists the tags at one source. Each source begins anew: what another one listed before it failed may not be there.
async fn list<T: Turns>(
    rules: &[&Rule],
    name: &str,
    host: &str,
    repository: &Repository,
    listing: &TagListing<'_, T>,
) -> Result<Vec<ChosenTags>, NotListedAt> {
    let mut selections: Vec<Selection<'_>> = rules.iter().map(|rule| Selection::new(rule)).collect();
    let mut pages = repository.tag_pages();
    // Who has not begun can as well begin later; who has waits as long as there is time.
    let mut patience = Instant::now();
    while pages.has_next() {
        let page = match ask(name, host, &mut pages, listing, patience).await? {
            Some(page) => page,
            None => continue,
        };
        patience = listing.deadline;
        for selection in &mut selections {
            for tags in page.chunks(BATCH) {
                tags.iter().for_each(|tag| selection.add(tag));
                yield_now().await;
            }
        }
        if Instant::now() >= listing.deadline {
            let error = imagestream_registry::Error::Deadline;
            return Err(NotListedAt::Failed(Failure::of_listing(name, &error)));
        }
    }
    let chosen = selections.into_iter().map(|selection| ChosenTags {
        has_more: selection.has_more(),
        tags: selection.finish(),
    });
    Ok(chosen.collect())
}

/// Asks for one page; none if that has to be tried again.
async fn ask<T: Turns>(
    name: &str,
    host: &str,
    pages: &mut TagPages<'_>,
    listing: &TagListing<'_, T>,
    patience: Instant,
) -> Result<Option<Vec<String>>, NotListedAt> {
    listing.turns.wait(host, patience).await?;
    let Probed { found, feedback } = pages.next_if_welcome().await;
    match found {
        Ok(page) => {
            listing.turns.asked(host, Ok(()), &feedback);
            Ok(page)
        }
        Err(error) => {
            let kind = CheckError::of(&error, feedback);
            listing.turns.asked(host, Err(&kind), &feedback);
            match kind {
                CheckError::RateLimited => Ok(None),
                _ => Err(NotListedAt::Failed(Failure::of_listing(name, &error))),
            }
        }
    }
}
