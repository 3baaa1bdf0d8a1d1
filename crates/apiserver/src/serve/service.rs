//! One request from its head to its answer: who asks, whether they may, whether there is room for it, and how long
//! it may take. Nothing of the body is read before all of that is known.

use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use k8s_openapi::apimachinery::pkg::version::Info;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::audit::AuditLog;
use super::authentication::{Authentication, ShownCertificate};
use super::authorization::{self, Refused};
use super::body::{self, TrackedBody};
use super::compress::compressed;
use super::deadline::{self, Pace};
use super::exchange::{Exchange, Received, Records};
use super::health::{self, HealthCheck, HealthChecks};
use super::limits::{Limits, Place};
use super::metrics::{Labels, Metrics, Rejection};
use super::options::ServeOptions;
use super::patience::Activity;
use super::shutdown::Shutdown;
use crate::authn::{Impersonation, UserInfo, impersonation};
use crate::dispatch::Dispatcher;
use crate::endpoint::Request;
use crate::errors;
use crate::rbac::Authorizer;
use crate::request_info::RequestInfo;
use crate::respond::{self, ResponseBody};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Metrics can't be made.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The audit log can't be written.
    #[error("audit log: {0}")]
    Audit(io::Error),
    /// The version can't be shown.
    #[error("version: {0}")]
    Version(#[from] serde_json::Error),
}

/// Everything between a connection and the endpoints.
pub struct ApiService {
    dispatcher: Arc<Dispatcher>,
    authentication: Authentication,
    authorizer: Arc<Authorizer>,
    health: HealthChecks,
    version: String,
    pub(super) options: ServeOptions,
    limits: Limits,
    pub(super) records: Arc<Records>,
    pub(super) shutdown: Shutdown,
}

/// The other side of a connection.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) certificate: Option<ShownCertificate>,
    pub(super) activity: Arc<Activity>,
}

/// An answer, or why there is none but a status.
type Answer = Result<Response<ResponseBody>, Refusal>;

struct Refusal {
    why: Option<Rejection>,
    status: Box<Status>,
}

impl Refusal {
    fn new(why: Rejection, status: impl Into<Box<Status>>) -> Self {
        Self {
            why: Some(why),
            status: status.into(),
        }
    }
}

impl From<Box<Status>> for Refusal {
    fn from(status: Box<Status>) -> Self {
        Self { why: None, status }
    }
}

impl ApiService {
    /// Puts the parts of a server together. `version` is what `/version` shows.
    ///
    /// # Errors
    /// The audit log can't be started.
    pub fn new(
        dispatcher: Arc<Dispatcher>,
        authentication: Authentication,
        authorizer: Arc<Authorizer>,
        health: Vec<HealthCheck>,
        version: &Info,
        mut options: ServeOptions,
    ) -> Result<Self, ServiceError> {
        let metrics = Metrics::new()?;
        let audit = match options.audit.take() {
            Some(sink) => Some(AuditLog::start(sink, metrics.clone()).map_err(ServiceError::Audit)?),
            None => None,
        };
        let shutdown = Shutdown::default();
        Ok(Self {
            dispatcher,
            authentication,
            authorizer,
            health: HealthChecks::new(health, shutdown.clone()),
            version: serde_json::to_string_pretty(version)?,
            limits: Limits::new(&options),
            options,
            records: Arc::new(Records { metrics, audit }),
            shutdown,
        })
    }

    /// Tells when the server is about to end.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Where others register what is to be seen at `/metrics`, too.
    #[must_use]
    pub fn metrics_registry(&self) -> &prometheus::Registry {
        self.records.metrics.registry()
    }

    /// Answers a request, whatever happens.
    pub(super) async fn answer(
        &self,
        peer: &Peer,
        request: http::Request<Incoming>,
    ) -> Response<TrackedBody> {
        let (mut head, body) = request.into_parts();
        let may_have_body = !body.is_end_stream();
        let now = Timestamp::now();
        let info = RequestInfo::new(
            head.method.as_str(),
            head.uri.path(),
            head.uri.query().unwrap_or_default(),
        );
        let is_watch = info.is_resource && info.verb == "watch";
        let id = Uuid::new_v4().to_string();
        let audit_id = HeaderValue::from_str(&id);
        let knows_its_clients = !info.is_resource
            && self
                .dispatcher
                .api
                .find_path(&info.path)
                .is_some_and(|endpoint| endpoint.knows_its_clients());
        let received = Received {
            labels: Labels::of(&info, &self.dispatcher.api),
            uri: if knows_its_clients {
                head.uri.path().to_owned()
            } else {
                head.uri.to_string()
            },
            user_agent: user_agent(&head),
            source: peer.address.ip().to_canonical().to_string(),
            now,
            id,
            is_probe: HealthChecks::is_health(&info.path),
            info: &info,
        };
        let mut exchange = Exchange::begin(&self.records, peer.activity.begin(), received);
        let answer = AssertUnwindSafe(async {
            let user = if knows_its_clients {
                UserInfo::anonymous()
            } else {
                self.user(peer, &mut exchange, &mut head, &info, now)?
            };
            if !info.is_resource
                && let Some(answer) = self.own_path(&info.path, &head).await
            {
                return Ok((answer?, None));
            }
            self.work(&head, body, info, user, now).await
        })
        .catch_unwind()
        .await;
        let mut place = None;
        let mut response = match answer {
            Ok(Ok((response, kept))) => {
                place = kept;
                response
            }
            Ok(Err(Refusal { why, status })) => {
                if let Some(why) = why {
                    exchange.rejected(why);
                }
                let mut response = respond::status(&status, &head);
                if may_have_body && head.version < Version::HTTP_2 {
                    peer.activity.leave_unread();
                    let is_broken = matches!(
                        why,
                        Some(Rejection::BodyTooLarge | Rejection::BodyTimeout | Rejection::BodyMalformed)
                    );
                    // What comes next in the connection is not a request.
                    if is_broken {
                        response
                            .headers_mut()
                            .insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                }
                response
            }
            // The panic hook has told where and why.
            Err(_) => {
                exchange.panicked();
                tracing::error!(method = %head.method, path = head.uri.path(), "a request met a programming error");
                respond::status(
                    &errors::internal_error("this request caused an error in the server"),
                    &head,
                )
            }
        };
        let headers = response.headers_mut();
        // Documents that clients may keep say so themselves.
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Ok(audit_id) = audit_id {
            headers.insert(AUDIT_ID, audit_id);
        }
        exchange.answered(response.status().as_u16());
        if is_watch && response.status() == StatusCode::OK {
            exchange.watching();
            let ending = self.shutdown.begun_owned();
            return response.map(|body| TrackedBody::until(ending, body, exchange, place));
        }
        let response = if is_watch {
            response
        } else {
            compressed(&head, response)
        };
        response.map(|body| TrackedBody::whole(body, exchange))
    }

    /// Whose request it is, if they may make it.
    fn user(
        &self,
        peer: &Peer,
        exchange: &mut Exchange,
        head: &mut Parts,
        info: &RequestInfo,
        now: Timestamp,
    ) -> Result<UserInfo, Refusal> {
        let shown = self
            .authentication
            .user(peer.certificate.as_ref(), &head.headers, now);
        // Nobody after this needs to know a token.
        head.headers.remove(AUTHORIZATION);
        let Some(mut user) = shown else {
            return Err(Refusal::new(Rejection::Unauthorized, errors::unauthorized()));
        };
        exchange.authenticated(&user);
        let wanted = Impersonation::from_headers(&head.headers)
            .map_err(|error| Box::new(errors::bad_request(error.to_string())))?;
        impersonation::remove_headers(&mut head.headers);
        if let Some(wanted) = wanted {
            authorization::check_impersonation(&self.authorizer, &user, &wanted)
                .map_err(|refused| Self::forbidden(exchange, refused))?;
            exchange.impersonated(&wanted.user);
            user = wanted.user;
        }
        let decision = authorization::check(&self.authorizer, &user, info, self.dispatcher.scope(info))
            .map_err(|refused| Self::forbidden(exchange, refused))?;
        exchange.decided(&decision);
        Ok(user)
    }

    /// Reads the body of a request and has it answered, if there is room for it. A watch keeps its place.
    async fn work(
        &self,
        head: &Parts,
        body: Incoming,
        info: RequestInfo,
        user: UserInfo,
        now: Timestamp,
    ) -> Result<(Response<ResponseBody>, Option<Place>), Refusal> {
        let started = Instant::now();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let mut request = Request::new(info, user, query, now, started);
        request.user_agent = user_agent(head).to_owned();
        let pace = self.pace(&request, head);
        request.deadline = started + deadline::allowed(&self.options, pace, &request.query)?;
        let (place, why) = match pace {
            Pace::Watch => (self.limits.watch(), Rejection::TooManyWatches),
            _ => (self.limits.request(&request.user), Rejection::TooManyRequests),
        };
        let place = place.ok_or_else(|| Refusal::new(why, overloaded()))?;
        let _counted = (pace != Pace::Watch).then(|| self.records.metrics.in_flight(is_write(&head.method)));
        let body = if is_write(&head.method) {
            let deadline = request.deadline.min(started + self.options.body_timeout);
            body::read(head, body, deadline)
                .await
                .map_err(|(why, status)| Refusal::new(why, status))?
        } else {
            Bytes::new()
        };
        let deadline = request.deadline;
        let dispatched = self.dispatcher.dispatch(Arc::new(request), head, body);
        match timeout_at(deadline, Box::pin(dispatched)).await {
            Ok(response) => Ok((response, (pace == Pace::Watch).then_some(place))),
            Err(_) => Err(Refusal::new(Rejection::RequestTimeout, errors::request_timeout())),
        }
    }

    fn forbidden(exchange: &mut Exchange, refused: Refused) -> Refusal {
        exchange.decided(&refused.decision);
        Refusal::new(Rejection::Forbidden, refused.status)
    }

    fn pace(&self, request: &Request, head: &Parts) -> Pace {
        if request.info.is_resource && request.info.verb == "watch" {
            Pace::Watch
        } else if self.dispatcher.is_long_running(request) {
            Pace::LongRunning
        } else if is_write(&head.method) {
            Pace::Write
        } else {
            Pace::Read
        }
    }

    /// The answer of a path that is about the server itself.
    async fn own_path(&self, path: &str, head: &Parts) -> Option<Answer> {
        if HealthChecks::is_health(path) {
            let Some(_place) = self.limits.health() else {
                return Some(Err(Refusal::new(Rejection::TooManyRequests, overloaded())));
            };
            return Some(Ok(self
                .health
                .answer(path, head.uri.query().unwrap_or_default())
                .await));
        }
        let (content_type, text) = match path {
            "/version" | "/version/" => ("application/json", Ok(self.version.clone())),
            "/metrics" => (prometheus::TEXT_FORMAT, self.records.metrics.text()),
            _ => return None,
        };
        if head.method != Method::GET && head.method != Method::HEAD {
            return Some(Err(Box::new(errors::method_not_allowed()).into()));
        }
        Some(match text {
            Ok(text) => {
                let mut response = health::text(StatusCode::OK, text);
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                Ok(response)
            }
            Err(error) => Err(Box::new(errors::internal_error(error)).into()),
        })
    }
}

/// Whether a request with this method has a body that is looked at.
fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn user_agent(head: &Parts) -> &str {
    let value = head.headers.get(USER_AGENT);
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn overloaded() -> Status {
    errors::too_many_requests("Too many requests, please try again later.", 1)
}
