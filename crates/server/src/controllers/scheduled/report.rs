//! `/imagestream/v1/status`: how following goes, by host and by stream.
//!
//! The server that runs the controllers answers with what it knows; another one only says who does.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::Method;
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::Status;
use imagestream_apiserver::errors;
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::paths::{PathAnswer, PathEndpoint, PathRequest};
use imagestream_apiserver::storage::{ContinueToken, failed};
use imagestream_follow::Why;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::board::{Board, State, stream_name};
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
    /// Streams that follow tags by rule, and the repositories that are listed for them.
    streams_with_rules: usize,
    repositories: usize,
    /// When the controller began.
    since: Option<Timestamp>,
}

/// One registry host.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HostReport {
    pub(super) host: String,
    pub(super) tags: u32,
    pub(super) sources: u32,
    /// Repositories that are listed for rules.
    pub(super) repositories: usize,
    pub(super) checks_per_minute: u32,
    #[serde(rename = "lagSeconds", serialize_with = "as_whole_seconds")]
    pub(super) lag: Duration,
    /// Sources that have moved and wait until their content may be read.
    pub(super) waiting_to_fetch: usize,
    pub(super) failures: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) throttled_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) throttled_because: Option<&'static str>,
    /// Until when lists wait for the host, or for its mirrors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lists_wait_until: Option<Timestamp>,
}

/// One stream.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StreamReport {
    namespace: String,
    name: String,
    /// Tags that are followed.
    tags: usize,
    /// Rules that are followed.
    rules: usize,
    /// The last look at any of their sources, or list, since the controller began.
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
            "" => serde_json::to_value(self.overview()).map_err(errors::internal_error)?,
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

    fn overview(&self) -> Overview {
        let mut overview = known(&self.board, overview);
        let rules = self.board.rules.look(|rules| {
            let hosts = rules.hosts();
            let repositories = hosts.values().map(|host| host.repositories).sum();
            (rules.count(), repositories)
        });
        (overview.streams_with_rules, overview.repositories) = rules.unwrap_or_default();
        overview
    }

    fn hosts(&self, options: &ListOptions) -> Result<Value, Box<Status>> {
        let hosts = hosts(&self.board);
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
        let from = first_of(&namespace, last);
        let mut keys: BTreeSet<StreamKey> = known(&self.board, |state| {
            let keys = state.streams.range((from.clone(), Bound::Unbounded));
            keys.take(wanted).cloned().collect()
        });
        let with_rules = self.board.rules.look(|rules| {
            let keys = rules.streams_from(from);
            keys.take(wanted).cloned().collect::<Vec<_>>()
        });
        keys.extend(with_rules.unwrap_or_default());
        let keys = keys
            .into_iter()
            .filter(|key| namespace.is_empty() || key.namespace == namespace);
        let mut streams: Vec<StreamReport> = keys.take(wanted).map(|key| self.stream(&key)).collect();
        for stream in &mut streams {
            stream.last_change = self.last_change(&stream.namespace, &stream.name)?;
        }
        page(streams.into_iter(), options, |stream| {
            format!("{}/{}", stream.namespace, stream.name)
        })
    }

    fn stream(&self, key: &StreamKey) -> StreamReport {
        let state = self.board.state();
        let mut report = match state {
            Some(state) => stream(&state.lock(), key),
            None => StreamReport::of(key),
        };
        if let Some(rules) = self.board.rules.look(|rules| rules.stream(key)).flatten() {
            report.rules = rules.rules;
            report.last_check = report.last_check.max(rules.last_check.and_then(shown));
            let next = [report.next_check, rules.next_check.and_then(shown)];
            report.next_check = next.into_iter().flatten().min();
        }
        report
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

/// What is known; nothing at a server that does not run the controllers.
fn known<T: Default>(board: &Board, what: impl FnOnce(&mut State) -> T) -> T {
    let state = board.state();
    state.map(|state| what(&mut state.lock())).unwrap_or_default()
}

fn overview(state: &mut State) -> Overview {
    let now = state.clock.now();
    let hosts = state.scheduler.host_reports(now);
    let checks = hosts.iter().map(|host| u64::from(host.checks_per_minute));
    let lag = hosts.iter().map(|host| host.lag.as_secs()).max();
    Overview {
        streams: state.streams.len(),
        tags: state.scheduler.tags(),
        sources: state.scheduler.sources(),
        hosts: hosts.len(),
        throttled_hosts: hosts.iter().filter(|host| host.throttled.is_some()).count(),
        checks_per_minute: checks.sum(),
        lag_seconds: lag.unwrap_or_default(),
        since: Some(state.began),
        ..Overview::default()
    }
}

/// All hosts at which something is followed, by name.
pub(super) fn hosts(board: &Board) -> Vec<HostReport> {
    let mut hosts = known(board, scheduled_hosts);
    let lists = board.rules.look(|rules| rules.hosts());
    for (name, listed) in lists.unwrap_or_default() {
        let at = match hosts.binary_search_by(|host| host.host.cmp(&name)) {
            Ok(at) => at,
            Err(at) => {
                let host = HostReport {
                    host: name,
                    ..HostReport::default()
                };
                hosts.insert(at, host);
                at
            }
        };
        if let Some(host) = hosts.get_mut(at) {
            host.repositories = listed.repositories;
            host.lists_wait_until = listed.left_alone_until.and_then(shown);
        }
    }
    hosts
}

fn scheduled_hosts(state: &mut State) -> Vec<HostReport> {
    let clock = state.clock;
    let at = |moment| whole_seconds(clock.shown(moment)?);
    let hosts = state.scheduler.host_reports(clock.now()).into_iter();
    let reports = hosts.map(|host| HostReport {
        tags: host.tags,
        sources: host.sources,
        checks_per_minute: host.checks_per_minute,
        lag: host.lag,
        waiting_to_fetch: host.waiting_to_fetch,
        failures: host.failures,
        throttled_until: host.throttled.and_then(|throttled| at(throttled.until)),
        throttled_because: host.throttled.map(|throttled| match throttled.why {
            Why::Refused => "Refused",
            Why::Unreachable => "Unreachable",
            Why::Quota => "Quota",
        }),
        host: host.host,
        ..HostReport::default()
    });
    reports.collect()
}

impl StreamReport {
    fn of(key: &StreamKey) -> Self {
        Self {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            tags: 0,
            rules: 0,
            last_check: None,
            next_check: None,
            last_change: None,
        }
    }
}

/// Where the streams of a namespace (all: empty) begin after the one that is named.
fn first_of(namespace: &str, last: Option<StreamKey>) -> Bound<StreamKey> {
    let first = StreamKey {
        namespace: namespace.to_owned(),
        name: String::new(),
    };
    match last {
        Some(last) if last >= first => Bound::Excluded(last),
        _ => Bound::Included(first),
    }
}

fn stream(state: &State, key: &StreamKey) -> StreamReport {
    let at = |moment| whole_seconds(state.clock.shown(moment)?);
    let now = state.clock.now();
    let tags: Vec<_> = state.scheduler.stream_report(&stream_name(key), now).collect();
    let last = tags.iter().filter_map(|tag| tag.last_check).max();
    let next = tags.iter().map(|tag| tag.next_check).min();
    StreamReport {
        tags: tags.len(),
        last_check: last.and_then(at),
        next_check: next.and_then(at),
        ..StreamReport::of(key)
    }
}

/// A moment as the system's clock shows it.
fn shown(moment: Instant) -> Option<Timestamp> {
    let (now, clock) = (Instant::now(), Timestamp::now());
    let shown = match moment.checked_duration_since(now) {
        Some(ahead) => clock.checked_add(ahead),
        None => clock.checked_sub(now.duration_since(moment)),
    };
    whole_seconds(shown.ok()?)
}

fn whole_seconds(moment: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(moment.as_second()).ok()
}

fn as_whole_seconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(span.as_secs())
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
