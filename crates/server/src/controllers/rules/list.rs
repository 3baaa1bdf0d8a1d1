//! Lists a repository for all rules that name it: once for those whose streams would ask with equal credentials.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use imagestream_api::allowed_registries::Transport;
use imagestream_api::follow_rules::{Rule, rules};
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::Status;
use imagestream_import::{Credentials, LeftAlone, NotListed, TagListing, Turns};
use imagestream_registry::sources::RegistryRules;
use tokio::time::Instant;

use super::apply::{Listed, rules_text, write};
use super::work::Repository;
use crate::context::Context;
use crate::controllers::scheduled::credentials::{Fingerprint, NamespaceCredentials};
use crate::image::policy;
use crate::image::stream_secrets::{keychain, pull_secrets};
use crate::image::stream_write::read;

/// Longest time in which a repository must be listed: a large one has thousands of pages, and its host may want to be
/// left alone in between.
const LONGEST_LIST: Duration = Duration::from_secs(10 * 60);
/// Most rules that one list serves: each keeps its tags until the list has ended.
const RULES_AT_ONCE: usize = 128;

/// What became of the rules for a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Followed {
    /// How often the repository was listed, or could not be.
    pub(super) listed: usize,
    /// Rules that could not be followed; why stands in their streams.
    pub(super) failed: usize,
    /// Streams that were changed.
    pub(super) changed: usize,
    /// Streams that could not be read or written for a reason that is not that of their rules.
    pub(super) left_behind: usize,
    /// Until when a host wants to be left alone. Nothing is known of the rules that would ask it.
    pub(super) left_alone: Option<Instant>,
}

/// A stream with its rules for the repository.
struct Follower {
    key: StreamKey,
    /// The annotation that they stand in.
    text: Option<String>,
    rules: Vec<Rule>,
    credentials: Arc<Credentials>,
    listed: Vec<Listed>,
}

/// What is needed to follow rules.
pub(super) struct Lister<'a, T> {
    pub(super) context: &'a Arc<Context>,
    pub(super) turns: &'a T,
    /// Tells whose credentials are equal.
    pub(super) credentials: &'a NamespaceCredentials,
}

impl<T: Turns> Lister<'_, T> {
    /// Lists a repository, and gives streams the tags that their rules with these names choose.
    ///
    /// # Errors
    /// Those of the store, before anything was listed.
    pub(super) async fn follow(
        &self,
        repository: &Repository,
        followers: &BTreeMap<StreamKey, BTreeSet<String>>,
    ) -> Result<Followed, Box<Status>> {
        let registries = policy::rules(self.context).await?;
        let mut followed = Followed::default();
        let (mut some, mut count) = (Vec::new(), 0);
        let mut keychains = HashMap::new();
        for (key, names) in followers {
            match self.read(repository, key, names, &mut keychains).await {
                Ok(Some(follower)) => {
                    count += follower.rules.len();
                    some.push(follower);
                }
                Ok(None) => {}
                Err(status) => left_behind(key, &status, &mut followed),
            }
            if count >= RULES_AT_ONCE {
                Box::pin(self.serve(std::mem::take(&mut some), &registries, &mut followed)).await;
                keychains.clear();
                count = 0;
            }
        }
        Box::pin(self.serve(some, &registries, &mut followed)).await;
        Ok(followed)
    }

    /// A stream that still has rules for the repository.
    async fn read(
        &self,
        repository: &Repository,
        key: &StreamKey,
        names: &BTreeSet<String>,
        known: &mut HashMap<String, Arc<Credentials>>,
    ) -> Result<Option<Follower>, Box<Status>> {
        let Some((stream, _)) = read(self.context, &key.namespace, &key.name).await? else {
            return Ok(None);
        };
        // That they can't be read any more is told when that is heard of.
        let mut rules = rules(&stream.metadata).unwrap_or_default();
        rules.retain(|rule| names.contains(&rule.name) && Repository::of(rule) == *repository);
        if rules.is_empty() {
            return Ok(None);
        }
        let credentials = match known.get(&key.namespace) {
            Some(known) => Arc::clone(known),
            None => {
                let (secrets, _) = pull_secrets(self.context, &key.namespace).await?;
                let credentials = Arc::new(Credentials {
                    secrets: keychain(&secrets),
                    host: self.context.host_credentials.clone(),
                });
                known.insert(key.namespace.clone(), Arc::clone(&credentials));
                credentials
            }
        };
        Ok(Some(Follower {
            key: key.clone(),
            text: rules_text(&stream).map(str::to_owned),
            rules,
            credentials,
            listed: Vec::new(),
        }))
    }

    /// Lists the repository for these streams, and gives them their tags.
    async fn serve(&self, mut followers: Vec<Follower>, registries: &RegistryRules, followed: &mut Followed) {
        for group in self.groups(&followers, registries) {
            self.list(&mut followers, &group, registries, followed).await;
        }
        for Follower {
            key, text, listed, ..
        } in followers
        {
            followed.failed += listed.iter().filter(|listed| listed.outcome.is_err()).count();
            if listed.is_empty() {
                continue;
            }
            match Box::pin(write(self.context, &key, text.as_deref(), &listed)).await {
                Ok(is_changed) => followed.changed += usize::from(is_changed),
                Err(status) => left_behind(&key, &status, followed),
            }
        }
    }

    /// Rules that one list serves, as positions of followers and of rules in them: those who spell the repository
    /// alike, as errors repeat it, and would ask with equal credentials.
    fn groups(&self, followers: &[Follower], registries: &RegistryRules) -> Vec<Vec<(usize, usize)>> {
        let mut groups = HashMap::<(Fingerprint, String), Vec<(usize, usize)>>::new();
        for (at, follower) in followers.iter().enumerate() {
            for (which, rule) in follower.rules.iter().enumerate() {
                let credentials = &follower.credentials;
                let fingerprint = self
                    .credentials
                    .fingerprint(credentials, &rule.repository, registries);
                let spelled = rule.repository.repository();
                groups
                    .entry((fingerprint, spelled))
                    .or_default()
                    .push((at, which));
            }
        }
        groups.into_values().collect()
    }

    /// Lists the repository for a group.
    async fn list(
        &self,
        followers: &mut [Follower],
        group: &[(usize, usize)],
        registries: &RegistryRules,
        followed: &mut Followed,
    ) {
        let outcome = {
            let members = group.iter().filter_map(|(at, which)| {
                let follower = followers.get(*at)?;
                Some((follower, follower.rules.get(*which)?))
            });
            let (streams, rules): (Vec<&Follower>, Vec<&Rule>) = members.unzip();
            let (Some(stream), Some(rule)) = (streams.first(), rules.first()) else {
                return;
            };
            let listing = TagListing {
                rules: registries,
                credentials: &stream.credentials,
                deadline: Instant::now() + LONGEST_LIST,
                turns: self.turns,
            };
            match allowed(self.context, rule) {
                Err(refusal) => Err(refusal),
                Ok(()) => match Box::pin(self.context.engine.choose_tags(&rules, &listing)).await {
                    Ok(chosen) => Ok(chosen),
                    Err(NotListed::Failed(status)) => Err(status.message.unwrap_or_default()),
                    Err(NotListed::LeftAlone(LeftAlone { until })) => {
                        followed.left_alone = followed.left_alone.max(Some(until));
                        return;
                    }
                },
            }
        };
        followed.listed += 1;
        for (position, (at, which)) in group.iter().enumerate() {
            let Some(follower) = followers.get_mut(*at) else {
                continue;
            };
            let outcome = match &outcome {
                Ok(chosen) => chosen.get(position).cloned().map(Ok),
                Err(problem) => Some(Err(problem.clone())),
            };
            if let (Some(rule), Some(outcome)) = (follower.rules.get(*which).cloned(), outcome) {
                follower.listed.push(Listed { rule, outcome });
            }
        }
    }
}

/// Whether images may be imported from the repository: whoever wrote the rule may not have been asked yet.
fn allowed(context: &Context, rule: &Rule) -> Result<(), String> {
    let transport = if rule.import_policy.insecure {
        Transport::Any
    } else {
        Transport::Secure
    };
    context
        .allowed_registries
        .check(&rule.repository.registry, transport)
        .map_err(|refusal| refusal.to_string())
}

fn left_behind(key: &StreamKey, status: &Status, followed: &mut Followed) {
    let StreamKey { namespace, name } = key;
    tracing::warn!(
        namespace,
        name,
        message = status.message,
        "could not follow a rule of a stream"
    );
    followed.left_behind += 1;
}

#[cfg(test)]
mod tests;
