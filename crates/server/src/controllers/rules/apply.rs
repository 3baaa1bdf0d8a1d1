//! Follows the rules of a stream: lists the repositories, and gives the stream the tags that the rules choose. The import
//! controller imports them, as it does with any tag that is new.

use std::sync::Arc;
use std::time::Duration;

use imagestream_api::allowed_registries::Transport;
use imagestream_api::defaults;
use imagestream_api::field::FieldError;
use imagestream_api::follow_rules::{MAX_NEWEST, Problems, RULES_ANNOTATION, Rule, plan, rules};
use imagestream_api::stream::source::StreamKey;
use imagestream_api::stream::write::Write;
use imagestream_api::types::ImageStream;
use imagestream_apiserver::endpoint::Request;
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::request_info::RequestInfo;
use imagestream_import::{ChosenTags, Credentials, TagListing};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio::time::Instant;

use crate::context::Context;
use crate::controllers::importer::user;
use crate::image::policy;
use crate::image::stream_secrets::{keychain, pull_secrets};
use crate::image::stream_write::{commit, prepare, read};

/// Longest time in which a repository must be listed: a large one has thousands of pages.
const LONGEST_LIST: Duration = Duration::from_secs(10 * 60);
/// How often a stream is written when others write it at the same time.
const ATTEMPTS: usize = 10;

/// What became of the rules of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Followed {
    /// How many repositories were listed.
    pub(super) listed: usize,
    /// The rules that could not be followed; why stands in the stream.
    pub(super) failed: Vec<String>,
    /// Whether the stream was changed.
    pub(super) is_changed: bool,
}

/// What came of listing the repository of a rule.
struct Listed {
    rule: Rule,
    outcome: Result<ChosenTags, String>,
}

/// Lists the repositories of those rules of a stream that are due, and gives the stream the tags that they choose.
///
/// Rules that can't be read change nothing, a repository that can't be listed changes nothing of its rule; both are noted
/// in the stream. Nothing is written if there is nothing to change, if the stream is gone, or if its rules have changed
/// meanwhile: then they are followed anew anyway.
///
/// # Errors
/// 409 if others keep writing the stream; those of the store.
pub(super) async fn apply_rules(
    context: &Arc<Context>,
    key: &StreamKey,
    is_due: impl Fn(&Rule) -> bool + Send,
) -> Result<Followed, Box<Status>> {
    let mut followed = Followed::default();
    let Some((stream, _)) = read(context, &key.namespace, &key.name).await? else {
        return Ok(followed);
    };
    let text = rules_text(&stream).map(str::to_owned);
    let Ok(rules) = rules(&stream.metadata) else {
        followed.is_changed = write(context, key, text.as_deref(), &[]).await?;
        return Ok(followed);
    };
    let mut due = rules;
    due.retain(|rule| is_due(rule));
    let listed = Box::pin(list(context, key, due)).await?;
    followed.listed = listed.len();
    let failed = listed.iter().filter(|listed| listed.outcome.is_err());
    followed.failed = failed.map(|listed| listed.rule.name.clone()).collect();
    followed.is_changed = write(context, key, text.as_deref(), &listed).await?;
    Ok(followed)
}

fn rules_text(stream: &ImageStream) -> Option<&str> {
    let annotations = stream.metadata.annotations.as_ref()?;
    annotations.get(RULES_ANNOTATION).map(String::as_str)
}

/// Lists one repository after the other, with the pull secrets of the namespace.
async fn list(context: &Context, key: &StreamKey, due: Vec<Rule>) -> Result<Vec<Listed>, Box<Status>> {
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let registries = policy::rules(context).await?;
    let (secrets, _) = pull_secrets(context, &key.namespace).await?;
    let credentials = Credentials {
        secrets: keychain(&secrets),
        host: context.host_credentials.clone(),
    };
    let mut listed = Vec::new();
    for rule in due {
        let listing = TagListing {
            rules: &registries,
            credentials: &credentials,
            deadline: Instant::now() + LONGEST_LIST,
        };
        let outcome = match allowed(context, &rule) {
            Err(refusal) => Err(refusal),
            Ok(()) => Box::pin(context.engine.choose_tags(&rule, &listing))
                .await
                .map_err(|status| status.message.unwrap_or_default()),
        };
        listed.push(Listed { rule, outcome });
    }
    Ok(listed)
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

/// Changes the stream as the rules want it; whether it had to be changed.
async fn write(
    context: &Arc<Context>,
    key: &StreamKey,
    text: Option<&str>,
    listed: &[Listed],
) -> Result<bool, Box<Status>> {
    let StreamKey { namespace, name } = key;
    let path = format!("/apis/image.openshift.io/v1/namespaces/{namespace}/imagestreams/{name}");
    let request = Request::new(
        RequestInfo::new("PUT", &path, ""),
        user(),
        String::new(),
        Timestamp::now(),
        Instant::now() + LONGEST_LIST,
    );
    for _ in 0..ATTEMPTS {
        let Some((stored, revision)) = read(context, namespace, name).await? else {
            return Ok(false);
        };
        if rules_text(&stored) != text || stored.metadata.deletion_timestamp.is_some() {
            return Ok(false);
        }
        let edited = edited(&stored, listed, None);
        let internal = |mut edited: ImageStream| {
            defaults::image_stream(&mut edited, context.import_mode);
            Write::internal_update(edited, stored.clone())
        };
        if edited == stored {
            return Ok(false);
        }
        let prepared = match prepare(context, &request, internal(edited)).await {
            // The stream would be invalid or beyond a limit: it stays as it is, with a word why.
            Err(status) if status.code == Some(422) => {
                let refusal = status.message.unwrap_or_default();
                let noted = self::edited(&stored, listed, Some(&refusal));
                if noted == stored {
                    return Ok(false);
                }
                prepare(context, &request, internal(noted)).await?
            }
            prepared => prepared?,
        };
        if commit(context, &prepared, Some(revision)).await?.is_some() {
            return Ok(true);
        }
    }
    let resource = GroupResource::new("image.openshift.io", "imagestreams");
    Err(errors::conflict(resource, name, errors::MODIFIED).into())
}

/// The stream with the tags that the rules want, and with what is wrong with them noted. If the tags were refused, only
/// with the latter.
fn edited(stored: &ImageStream, listed: &[Listed], refusal: Option<&str>) -> ImageStream {
    let mut edited = stored.clone();
    let rules = match rules(&stored.metadata) {
        Ok(rules) => rules,
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(FieldError::to_string).collect();
            Problems::of_all(&errors.join("; ")).write(&mut edited.metadata);
            return edited;
        }
    };
    let mut problems = Problems::of(&stored.metadata);
    problems.retain(&rules);
    for Listed { rule, outcome } in listed {
        let problem = match (outcome, refusal) {
            (Err(problem), _) => Some(problem.clone()),
            (Ok(_), Some(refusal)) => Some(refusal.to_owned()),
            (Ok(chosen), None) => {
                plan(&edited, &rules, rule, &chosen.tags).apply(&mut edited);
                (chosen.has_more && rule.newest == MAX_NEWEST).then(|| {
                    format!("more than {MAX_NEWEST} tags match: only the newest {MAX_NEWEST} are followed")
                })
            }
        };
        problems.set(&rule.name, problem.as_deref());
    }
    problems.write(&mut edited.metadata);
    edited
}

#[cfg(test)]
mod tests;
