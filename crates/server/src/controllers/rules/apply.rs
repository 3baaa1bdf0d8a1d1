//! Gives a stream the tags that its rules chose, and notes in it what is wrong with the rules. The import controller
//! imports the tags, as it does with any tag that is new.

use std::sync::Arc;
use std::time::Duration;

use imagestream_api::defaults;
use imagestream_api::field::FieldError;
use imagestream_api::follow_rules::{MAX_NEWEST, Problems, RULES_ANNOTATION, Rule, plan, rules};
use imagestream_api::stream::source::StreamKey;
use imagestream_api::stream::write::Write;
use imagestream_api::types::{ImageStream, Status};
use imagestream_apiserver::endpoint::Request;
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::request_info::RequestInfo;
use imagestream_import::ChosenTags;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::context::Context;
use crate::controllers::importer::user;
use crate::image::stream_write::{commit, prepare, read};

/// Longest time in which a stream must be written.
const LONGEST_WRITE: Duration = Duration::from_secs(60);
/// How often a stream is written when others write it at the same time, among them those who follow its other rules.
const ATTEMPTS: usize = 30;

/// What came of listing the repository of a rule.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) rule: Rule,
    pub(super) outcome: Result<ChosenTags, String>,
}

/// The annotation that holds the rules of a stream.
pub(super) fn rules_text(stream: &ImageStream) -> Option<&str> {
    let annotations = stream.metadata.annotations.as_ref()?;
    annotations.get(RULES_ANNOTATION).map(String::as_str)
}

/// Notes in a stream what is wrong with its rules as a whole, or that nothing is; whether it had to be changed.
///
/// # Errors
/// 409 if others keep writing the stream; those of the store.
pub(super) async fn tell(context: &Arc<Context>, key: &StreamKey) -> Result<bool, Box<Status>> {
    let Some((stream, _)) = read(context, &key.namespace, &key.name).await? else {
        return Ok(false);
    };
    write(context, key, rules_text(&stream), &[]).await
}

/// Changes a stream as its rules in the annotation `text` want it; whether it had to be changed.
///
/// Rules that can't be read change nothing, a repository that could not be listed changes nothing of its rule; both are
/// noted in the stream. Nothing is written if there is nothing to change, if the stream is gone, or if its rules have
/// changed meanwhile: then they are followed anew anyway.
///
/// # Errors
/// 409 if others keep writing the stream; those of the store.
pub(super) async fn write(
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
        Instant::now() + LONGEST_WRITE,
    );
    for _ in 0..ATTEMPTS {
        let Some((stored, revision)) = read(context, namespace, name).await? else {
            return Ok(false);
        };
        if rules_text(&stored) != text || stored.metadata.deletion_timestamp.is_some() {
            return Ok(false);
        }
        let edited = edited(&stored, listed, None);
        if edited == stored {
            return Ok(false);
        }
        let written = match put(context, &request, edited, &stored, revision).await {
            // The stream would be invalid or beyond a limit: it stays as it is, with a word why.
            Err(status) if is_refusal(&status) => {
                let refusal = status.message.unwrap_or_default();
                let noted = self::edited(&stored, listed, Some(&refusal));
                if noted == stored {
                    return Ok(false);
                }
                put(context, &request, noted, &stored, revision).await?
            }
            written => written?,
        };
        if written {
            return Ok(true);
        }
    }
    let resource = GroupResource::new("image.openshift.io", "imagestreams");
    Err(errors::conflict(resource, name, errors::MODIFIED).into())
}

/// Stores a stream in place of what was read; whether that was still there.
async fn put(
    context: &Context,
    request: &Request,
    mut edited: ImageStream,
    stored: &ImageStream,
    revision: u64,
) -> Result<bool, Box<Status>> {
    defaults::image_stream(&mut edited, context.import_mode);
    let write = Write::internal_update(edited, stored.clone());
    let prepared = prepare(context, request, write).await?;
    Ok(commit(context, &prepared, Some(revision)).await?.is_some())
}

/// Whether somebody does not want the stream to be like that.
fn is_refusal(status: &Status) -> bool {
    matches!(status.code, Some(400 | 403 | 413 | 422))
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
