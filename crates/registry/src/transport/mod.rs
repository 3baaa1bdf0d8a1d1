//! How a request gets to a registry and its answer back: scheme, challenge, token, redirect, retry, throttle.
//!
//! The first request to a host finds out how the host is reached; the others wait for that and then go all at once.
//! So an import asks for nothing but what it wants to know: there is no separate
//! [ping](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#determining-support) unless a host
//! does not look like a registry.

mod basic;
mod bearer;
mod body;
mod challenge;
mod connections;
mod failure;
mod first_contact;
mod flight;
mod host;
mod redirect;
mod resolve;
pub(crate) mod retry;
mod throttle;
mod tries;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use self::bearer::{Token, TokenRequest, Tokens};
use self::connections::{Call, Connections, Reply};
use self::failure::Failure;
use self::flight::Turn;
use self::host::{Host, Hosts, Route};
use self::throttle::{Counters, Kind, Slot};
use self::tries::Tries;
use crate::client::{Activity, BuildError, ClientOptions};
use crate::credential::Credential;
use crate::error::{Error, status_line};
use crate::feedback::{HostFeedback, HostFeedbacks};
use crate::repository::Repository;

/// A quota that is full again so soon is waited for; a longer one may be the caller's for the rest of the day.
const LONGEST_QUOTA_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// Everything that a process shares.
#[derive(Clone, Debug)]
pub(crate) struct Network(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: ClientOptions,
    connections: Connections,
    hosts: Hosts,
    tokens: Tokens,
    counters: Arc<Counters>,
}

impl Network {
    pub(crate) fn new(options: ClientOptions) -> Result<Self, BuildError> {
        let counters = Arc::<Counters>::default();
        Ok(Self(Arc::new(Shared {
            connections: Connections::new(options.clone(), counters.clone())?,
            options,
            hosts: Hosts::default(),
            tokens: Tokens::default(),
            counters,
        })))
    }

    pub(crate) fn transport(&self, host: &str, insecure: bool) -> Result<Transport, Error> {
        if let Some(port) = host::impossible_port(host) {
            let scheme = if insecure { "http" } else { "https" };
            let error = Error::Network(format!("dial tcp: address {port}: invalid port"));
            return Err(error.of_request(&Method::GET, format!("{scheme}://{host}/v2/")));
        }
        let host = self.0.hosts.host(host, &self.0.options, &self.0.counters)?;
        Ok(Transport {
            shared: self.0.clone(),
            host,
            insecure,
        })
    }

    pub(crate) fn activity(&self) -> Activity {
        self.0.counters.snapshot()
    }

    pub(crate) fn feedback(&self, host: &str) -> HostFeedbacks {
        let known = self.0.hosts.known(host);
        known.map(|host| host.feedback()).unwrap_or_default()
    }
}

/// The way to one host.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    shared: Arc<Shared>,
    host: Arc<Host>,
    insecure: bool,
}

/// What a verb asks for.
#[derive(Debug)]
pub(crate) struct Request {
    /// `GET` or `HEAD`.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) accept: &'static [&'static str],
    /// What a 404 means, if its body does not matter.
    pub(crate) not_found: Option<Error>,
    /// What is asked for, in a word.
    pub(crate) what: &'static str,
    /// Most bytes of it.
    pub(crate) limit: usize,
}

/// The question whether a host is a registry.
fn ping() -> Request {
    Request {
        method: Method::GET,
        path: "/v2/".to_owned(),
        accept: &[],
        not_found: None,
        what: "answer",
        limit: 0,
    }
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What was asked for at the registry.
    pub(crate) url: Url,
}

impl Answer {
    /// A header that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a request carried to show who asks.
enum Shown {
    Nothing,
    Password,
    Token(Token),
}

impl Shown {
    fn authorization(&self, credential: Option<&Credential>) -> Option<HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Password => basic::authorization(credential),
            Self::Token(token) => Some(token.authorization()),
        }
    }

    /// The registry knows who asks, whatever it thinks of the request.
    fn was_accepted(&self) {
        if let Self::Token(token) = self {
            token.accept();
        }
    }
}

/// One request under way.
struct Attempt<'a> {
    route: Arc<Route>,
    shown: Shown,
    slot: Slot<'a>,
}

/// What an attempt came to, if not to an error.
enum Step {
    Done(Answer),
    Again,
    /// The answer broke off.
    Failed(Failure),
}

impl Transport {
    /// Gets an answer, however many attempts that takes within the deadline and the patience of the access.
    pub(crate) async fn fetch(&self, repository: &Repository, request: &Request) -> Result<Answer, Error> {
        let mut tries = Tries::of(repository, &request.method, repository.access.patience);
        self.within_deadline(repository, request, &mut tries).await
    }

    /// Gets an answer, or none at once if the host wants to be left alone; and what it said of how often it may be
    /// asked.
    pub(crate) async fn fetch_if_welcome(
        &self,
        repository: &Repository,
        request: &Request,
    ) -> (Result<Answer, Error>, HostFeedback) {
        let mut tries = Tries::of(repository, &request.method, Instant::now());
        let outcome = self.within_deadline(repository, request, &mut tries).await;
        (outcome, tries.feedback)
    }

    async fn within_deadline(
        &self,
        repository: &Repository,
        request: &Request,
        tries: &mut Tries,
    ) -> Result<Answer, Error> {
        let attempts = Box::pin(self.attempts(repository, request, tries));
        match timeout_at(repository.access.deadline, attempts).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let scheme = if self.insecure { "http" } else { "https" };
                let url = format!("{scheme}://{}{}", self.host.name, request.path);
                Err(Error::Deadline.of_request(&request.method, url))
            }
        }
    }

    /// Waits for a turn at the host.
    async fn enter(&self, tries: &mut Tries) -> Result<Slot<'_>, Error> {
        let throttle = &self.host.throttle;
        let entered = throttle.enter(tries.kind, tries.caller, tries.patience).await;
        if entered.is_err() {
            tries.feedback.is_refusal = true;
            tries.feedback.retry_after = throttle.pause_left(tries.kind);
        }
        entered
    }

    async fn attempts(
        &self,
        repository: &Repository,
        request: &Request,
        tries: &mut Tries,
    ) -> Result<Answer, Error> {
        let deadline = repository.access.deadline;
        loop {
            let (attempt, outcome) = match self.join_route().await {
                Turn::Failed(error) => return Err(error),
                Turn::Lead(lead) => {
                    let slot = self.enter(tries).await?;
                    if self.host.route(self.insecure).known().is_some() {
                        // Somebody found the way while this request waited for its turn.
                        continue;
                    }
                    let (route, reply) = self.find_route(lead, request, deadline).await?;
                    (
                        Attempt {
                            route,
                            shown: Shown::Nothing,
                            slot,
                        },
                        Ok(reply),
                    )
                }
                Turn::Known(route) => {
                    let shown = self.credentials(&route, repository, tries).await;
                    let url = self.url_text(&route.base, &request.path);
                    let shown = shown.map_err(|error| error.of_request(&request.method, url))?;
                    let slot = self.enter(tries).await?;
                    let authorization = shown.authorization(repository.access.credential.as_ref());
                    let outcome = self.exchange(&route.base, request, authorization).await;
                    (Attempt { route, shown, slot }, outcome)
                }
            };
            let route = attempt.route.clone();
            let step = match outcome {
                Ok(reply) => self.settle(request, attempt, reply, tries).await?,
                Err(failure) => Step::Failed(failure),
            };
            match step {
                Step::Done(answer) => return Ok(answer),
                Step::Again => {}
                Step::Failed(failure) => self.recover(&route, request, failure, tries).await?,
            }
        }
    }

    /// What to show, by the challenges that are known.
    async fn credentials(
        &self,
        route: &Route,
        repository: &Repository,
        tries: &mut Tries,
    ) -> Result<Shown, Error> {
        let challenges = route.challenges();
        let credential = repository.access.credential.as_ref();
        if let Some(challenge) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
            let request = TokenRequest {
                challenge,
                repository: &repository.name,
                credential,
                insecure: self.insecure,
                registry: &route.base,
                reach: route.reach,
                patience: tries.patience,
            };
            let (connections, counters) = (&self.shared.connections, &self.shared.counters);
            let token = self
                .shared
                .tokens
                .token(connections, counters, &request, tries.rejected.as_ref())
                .await?;
            return Ok(Shown::Token(token));
        }
        if challenges.iter().any(|challenge| challenge.scheme == "basic") {
            if credential.and_then(Credential::user_and_password).is_some() {
                return Ok(Shown::Password);
            }
            // Another repository of the host may have asked for it: without an own refusal, it is worth a try.
            if tries.challenged {
                return Err(Error::NoBasicCredentials);
            }
        }
        Ok(Shown::Nothing)
    }

    async fn exchange(
        &self,
        base: &Url,
        request: &Request,
        authorization: Option<HeaderValue>,
    ) -> Result<Reply, Failure> {
        let url = url_of(base, &request.path);
        let call = Call {
            method: request.method.clone(),
            url,
            accept: request.accept,
            authorization,
            form: None,
            insecure: self.insecure,
            registry: base,
            reach: None,
        };
        self.shared.connections.exchange(&call).await
    }

    /// Reads an answer and decides what it means for this request and for the host.
    async fn settle(
        &self,
        request: &Request,
        attempt: Attempt<'_>,
        reply: Reply,
        tries: &mut Tries,
    ) -> Result<Step, Error> {
        let Attempt { route, shown, slot } = attempt;
        let (status, headers) = (reply.response.status(), reply.response.headers().clone());
        route.see(status, &headers);
        self.heed_quota(tries.kind, &headers, tries.patience);
        tries.feedback = HostFeedback::of_answer(status, &headers, now());
        self.host.told(&request.method, tries.feedback);
        let patience = self.shared.connections.patience();
        if status.is_success() {
            let body = if request.method == Method::HEAD {
                Bytes::new()
            } else {
                let large = Some(&self.host.large_bodies);
                match body::read(reply.response, request.what, request.limit, patience, large).await {
                    Ok(body) => body,
                    Err(failure) => return Ok(Step::Failed(failure)),
                }
            };
            slot.answered();
            shown.was_accepted();
            return Ok(Step::Done(Answer {
                headers,
                body,
                url: url_of(&route.base, &request.path),
            }));
        }
        let from_registry = reply.from_registry;
        let body = body::read_error(reply.response, patience).await;
        let challenges = if from_registry {
            challenge::challenges(&headers)
        } else {
            Vec::new()
        };
        let error = Error::of_response(status, challenge::bearer_error(&challenges), &body);
        match status {
            StatusCode::UNAUTHORIZED => {
                slot.answered();
                let may_help = match &shown {
                    _ if challenges.is_empty() => false,
                    Shown::Nothing => !tries.challenged,
                    Shown::Password => false,
                    Shown::Token(token) if token.was_accepted() && tries.rejected.is_none() => {
                        tries.rejected = Some(token.clone());
                        true
                    }
                    Shown::Token(_) => false,
                };
                tries.challenged = true;
                route.learn(challenges);
                if may_help {
                    return Ok(Step::Again);
                }
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                slot.refused();
                let asked = retry::retry_after(&headers, now());
                if status == StatusCode::TOO_MANY_REQUESTS || asked.is_some() {
                    let wait = asked.unwrap_or_default().max(retry::backoff(tries.throttled));
                    let until = Instant::now() + wait;
                    self.host
                        .throttle
                        .pause(tries.kind, until, Some((tries.caller, error.clone())));
                    if until < tries.patience {
                        drop(slot);
                        tries.throttled += 1;
                        self.shared.counters.retries.fetch_add(1, Ordering::Relaxed);
                        self.shared.counters.wait_for_rate_limit(until).await;
                        return Ok(Step::Again);
                    }
                }
            }
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => slot.refused(),
            _ => slot.answered(),
        }
        drop(slot);
        let hides = matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
        if hides
            && tries.has_credential
            && matches!(shown, Shown::Nothing)
            && self.learn_challenge(&route).await
        {
            tries.has_credential = false;
            return Ok(Step::Again);
        }
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            shown.was_accepted();
        }
        if retry::is_momentary(status) && self.quick_retry(tries).await {
            return Ok(Step::Again);
        }
        self.confirm_registry(&route).await?;
        let meaning = request
            .not_found
            .clone()
            .filter(|_| status == StatusCode::NOT_FOUND);
        Err(meaning.unwrap_or(error))
    }

    /// Waits a moment and returns true, or false if there were moments enough.
    async fn quick_retry(&self, tries: &mut Tries) -> bool {
        let wait = retry::quick(tries.quick);
        if tries.quick >= retry::QUICK_RETRIES || Instant::now() + wait >= tries.deadline {
            return false;
        }
        tries.quick += 1;
        self.shared.counters.retries.fetch_add(1, Ordering::Relaxed);
        sleep(wait).await;
        true
    }

    /// Slows down before a quota is used up, where the registry reports one.
    fn heed_quota(&self, kind: Kind, headers: &HeaderMap, patience: Instant) {
        let Some(limit) = retry::rate_limit(headers) else {
            return;
        };
        self.host.throttle.at_most(limit.remaining);
        if let (0, Some(reset)) = (limit.remaining, limit.reset) {
            let until = Instant::now() + reset.min(LONGEST_QUOTA_WAIT * 2);
            if reset <= LONGEST_QUOTA_WAIT && until < patience {
                self.host.throttle.pause(kind, until, None);
            }
        }
    }

    /// Decides whether a request without a whole answer is made again.
    async fn recover(
        &self,
        route: &Arc<Route>,
        request: &Request,
        failure: Failure,
        tries: &mut Tries,
    ) -> Result<(), Error> {
        if failure.in_connecting {
            // The way does not lead there any more. The next request looks for another one.
            self.host
                .route(self.insecure)
                .forget(|known| Arc::ptr_eq(known, route));
        }
        if failure.is_momentary() && self.quick_retry(tries).await {
            return Ok(());
        }
        let (method, path) = if failure.in_connecting {
            (&Method::GET, "/v2/")
        } else {
            (&request.method, request.path.as_str())
        };
        Err(failure.error.of_request(method, self.url_text(&route.base, path)))
    }

    /// Asks a host that did not ask back what it wants to know, once; whether it has a challenge by now.
    ///
    /// Some registries hide from strangers what they have, and only their `/v2/` says that one may log in.
    async fn learn_challenge(&self, route: &Route) -> bool {
        if route.challenges().is_empty()
            && let Turn::Lead(lead) = route.challenge.join(|()| true).await
        {
            match self.exchange(&route.base, &ping(), None).await {
                Ok(reply) => {
                    route.see(reply.response.status(), reply.response.headers());
                    if reply.response.status() == StatusCode::UNAUTHORIZED && reply.from_registry {
                        route.learn(challenge::challenges(reply.response.headers()));
                    }
                    lead.settle(());
                }
                // The next one who needs it asks again; this one has its answer already.
                Err(failure) => tracing::debug!(error = %failure.error, "no answer to a ping"),
            }
        }
        !route.challenges().is_empty()
    }

    /// An error of something that is no registry is not worth repeating; that it is none is.
    async fn confirm_registry(&self, route: &Route) -> Result<(), Error> {
        if route.is_registry() {
            return Ok(());
        }
        let lead = match route.ping.join(|()| true).await {
            Turn::Known(()) => return Ok(()),
            Turn::Failed(error) => return Err(error),
            Turn::Lead(lead) => lead,
        };
        let error = match self.exchange(&route.base, &ping(), None).await {
            Ok(reply) => {
                let status = reply.response.status();
                route.see(status, reply.response.headers());
                if route.is_registry() {
                    lead.settle(());
                    return Ok(());
                }
                let endpoint = format!("{}://{}", route.base.scheme(), self.host.name);
                Error::NotARegistry {
                    endpoint,
                    status: status_line(status),
                }
            }
            Err(failure) => failure
                .error
                .of_request(&Method::GET, self.url_text(&route.base, "/v2/")),
        };
        lead.fail(error.clone());
        Err(error)
    }

    fn base(&self, scheme: &str) -> Result<Url, Error> {
        let url = Url::parse(&format!("{scheme}://{}/v2/", self.host.name));
        url.map_err(|error| Error::Malformed(format!("host of a registry: {error}")))
    }

    /// A URL as the user would write it.
    fn url_text(&self, base: &Url, path: &str) -> String {
        format!("{}://{}{path}", base.scheme(), self.host.name)
    }
}

/// The URL of a request. Not joined: a path that begins with two slashes would name another host.
fn url_of(base: &Url, path: &str) -> Url {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(query);
    url
}

fn now() -> SystemTime {
    jiff::Timestamp::now().into()
}

#[cfg(test)]
mod tests;
