//! `/imagestream/v1/status`: how following goes, by host and by stream.
//!
//! The server that runs the controllers answers with what it knows; another one only says who does.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::Method;
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::Status;
use imagestream_apiserver::errors;
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::paths::{PathAnswer, PathEndpoint, PathRequest};
use imagestream_apiserver::storage::{ContinueToken, failed};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::board::{Board, State};
use super::plan::{Millis, Why};
use super::table::SourceId;
use crate::context::Context;
use crate::controllers::lease::{CONTROLLERS, holder};

/// Where it is.
const PATH: &str = "/imagestream/v1/status";
/// Most items of a page, and those of a page that is asked for without a number.
const PAGE: usize = 500;

/// The whole.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Overview {
    streams: usize,
    tags: usize,
    sources: usize,
    hosts: usize,
    throttled_hosts: usize,
    checks_per_minute: u64,
    lag_seconds: u64,
    /// When the controller began.
    since: Option<Timestamp>,
}

/// One registry host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HostReport {
    host: String,
    tags: u64,
    sources: u32,
    checks_per_minute: u32,
    lag_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttled_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttled_because: Option<&'static str>,
}

/// One stream.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StreamReport {
    namespace: String,
    name: String,
    /// Tags that are followed.
    tags: usize,
    /// The last look at any of their sources since the controller began.
    last_check: Option<Timestamp>,
    next_check: Option<Timestamp>,
    /// When one of them last pointed at something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_change: Option<Value>,
}

/// The endpoint.
pub(crate) struct StatusEndpoint {
    context: Arc<Context>,
    board: Arc<Board>,
}

impl StatusEndpoint {
    pub(crate) fn new(context: &Arc<Context>, board: &Arc<Board>) -> Self {
        Self {
            context: Arc::clone(context),
            board: Arc::clone(board),
        }
    }

    async fn report(&self, request: &PathRequest) -> Result<PathAnswer, Box<Status>> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Err(errors::method_not_allowed().into());
        }
        let options = ListOptions::from_query(&request.request.query, false)?;
        let path = request.request.info.path.strip_prefix(PATH).unwrap_or_default();
        let mut report = match path.trim_end_matches('/') {
            "" => serde_json::to_value(self.known(overview)).map_err(errors::internal_error)?,
            "/hosts" => self.hosts(&options)?,
            "/streams" => self.streams(&options, &request.request.query)?,
            _ => return Err(errors::unknown_resource().into()),
        };
        let held = holder(&*self.context.store, CONTROLLERS).await.map_err(failed)?;
        report["leader"] = json!({
            "isThisServer": self.board.state().is_some(),
            // Nobody needs a lease where there is only one server.
            "holder": held,
        });
        Ok(PathAnswer::json(&report))
    }

    /// What is known; nothing at a server that does not run the controllers.
    fn known<T: Default>(&self, what: impl FnOnce(&State) -> T) -> T {
        let state = self.board.state();
        state.map(|state| what(&state.lock())).unwrap_or_default()
    }

    fn hosts(&self, options: &ListOptions) -> Result<Value, Box<Status>> {
        let mut hosts = self.known(hosts);
        hosts.sort_unstable_by(|one, other| one.host.cmp(&other.host));
        let last = last_of(options)?;
        let after = hosts.partition_point(|host| last.as_ref().is_some_and(|last| host.host <= *last));
        page(hosts.into_iter().skip(after), options, |host| host.host.clone())
    }

    fn streams(&self, options: &ListOptions, query: &str) -> Result<Value, Box<Status>> {
        let namespace = form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "namespace")
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default();
        let last = last_of(options)?.map(|last| {
            let (namespace, name) = last.split_once('/').unwrap_or((&last, ""));
            StreamKey {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }
        });
        // One more than is shown tells whether there is more.
        let wanted = size(options) + 1;
        let mut streams = self.known(|state| {
            let keys = state.table.streams_after(&namespace, last.as_ref());
            keys.take(wanted)
                .map(|key| stream(state, key))
                .collect::<Vec<_>>()
        });
        for stream in &mut streams {
            stream.last_change = self.last_change(&stream.namespace, &stream.name)?;
        }
        page(streams.into_iter(), options, |stream| {
            format!("{}/{}", stream.namespace, stream.name)
        })
    }

    /// When a tag of the stream last pointed at something else.
    fn last_change(&self, namespace: &str, name: &str) -> Result<Option<Value>, Box<Status>> {
        let Some(stored) = self.context.streams.in_memory(namespace, name)? else {
            return Ok(None);
        };
        let tags = stored.object.pointer("/status/tags").and_then(Value::as_array);
        let newest = tags.into_iter().flatten().filter_map(|tag| {
            let created = tag.pointer("/items/0/created")?.as_str()?;
            Some(created.to_owned())
        });
        // Of times of one form the latest is the largest text.
        Ok(newest.max().map(Value::String))
    }
}

impl PathEndpoint for StatusEndpoint {
    fn path(&self) -> &'static str {
        PATH
    }

    fn answer(&self, request: PathRequest) -> BoxFuture<'_, Result<PathAnswer, Box<Status>>> {
        Box::pin(async move { self.report(&request).await })
    }
}

fn overview(state: &State) -> Overview {
    let now = state.now();
    let mut overview = Overview {
        streams: state.table.stream_count(),
        tags: state.table.tags(),
        sources: state.table.source_count(),
        since: Some(state.began_at),
        ..Overview::default()
    };
    for host in state.plan.hosts() {
        overview.hosts += 1;
        overview.throttled_hosts += usize::from(host.throttled(now).is_some());
        overview.checks_per_minute += u64::from(host.per_minute(now));
        overview.lag_seconds = overview.lag_seconds.max(host.lag(now) / 1000);
    }
    overview
}

fn hosts(state: &State) -> Vec<HostReport> {
    let now = state.now();
    let mut tags: HashMap<&str, u64> = HashMap::new();
    for (id, source) in state.table.sources() {
        if let Some(host) = state.plan.host_of(id) {
            *tags.entry(host).or_default() += u64::from(source.tags);
        }
    }
    let reports = state.plan.hosts().map(|host| {
        let throttled = host.throttled(now);
        HostReport {
            host: host.name.to_string(),
            tags: tags.get(&*host.name).copied().unwrap_or_default(),
            sources: host.sources,
            checks_per_minute: host.per_minute(now),
            lag_seconds: host.lag(now) / 1000,
            throttled_until: throttled.and_then(|throttled| at(state, throttled.until)),
            throttled_because: throttled.map(|throttled| match throttled.why {
                Why::RateLimited => "RateLimited",
                Why::Unavailable => "Unavailable",
            }),
        }
    });
    reports.collect()
}

fn stream(state: &State, key: &StreamKey) -> StreamReport {
    let sources = state.table.sources_of(key);
    let looked = |id: &SourceId| Some(state.table.source(*id)?.looked).filter(|looked| *looked > 0);
    let last = sources.iter().filter_map(looked).max();
    let next = sources.iter().filter_map(|id| state.plan.due(*id)).min();
    StreamReport {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        tags: sources.len(),
        last_check: last.and_then(|seconds| at(state, u64::from(seconds) * 1000)),
        next_check: next.and_then(|next| at(state, next)),
        last_change: None,
    }
}

fn at(state: &State, moment: Millis) -> Option<Timestamp> {
    let since = SignedDuration::from_millis(i64::try_from(moment).ok()?);
    let at = state.began_at.checked_add(since).ok()?;
    Timestamp::from_second(at.as_second()).ok()
}

fn size(options: &ListOptions) -> usize {
    let asked = options.limit.and_then(|limit| usize::try_from(limit).ok());
    asked.map_or(PAGE, |asked| asked.clamp(1, PAGE))
}

/// What the page before ended with.
fn last_of(options: &ListOptions) -> Result<Option<String>, Box<Status>> {
    if options.continue_token.is_empty() {
        return Ok(None);
    }
    let token = ContinueToken::decode(&options.continue_token)?;
    Ok(Some(token.last().to_owned()))
}

/// Some items, and where the next page begins if there are more.
fn page<T: Serialize>(
    items: impl Iterator<Item = T>,
    options: &ListOptions,
    name: impl Fn(&T) -> String,
) -> Result<Value, Box<Status>> {
    let mut items: Vec<T> = items.take(size(options) + 1).collect();
    let has_more = items.len() > size(options);
    items.truncate(size(options));
    let next = items.last().filter(|_| has_more);
    let next = next.map(|last| ContinueToken::after(&name(last), -1).encode());
    let items = serde_json::to_value(&items).map_err(errors::internal_error)?;
    Ok(json!({"items": items, "continue": next.unwrap_or_default()}))
}
