//! How the in-process registry answers one request: record, wait, authenticate, limit, look up, and then do to
//! the answer what the faults want.

mod reply;
mod routes;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::auth::{self, Auth, TokenRequest};
use crate::fault::{Fault, FaultKind};
use crate::record::Recorded;
use crate::registry::Shared;
use reply::{Reply, ReplyBody};
use routes::Route;

/// Longest form that the token service reads.
const FORM_LIMIT: usize = 1 << 20;

/// Ends the connection without an answer.
#[derive(Debug)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut on purpose")
    }
}

impl std::error::Error for Cut {}

/// Answers a request.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Cut> {
    let _guard = shared.in_flight.enter();
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let form = match head.method {
        Method::POST => match Limited::new(body, FORM_LIMIT).collect().await {
            Ok(form) => form.to_bytes(),
            Err(_) => return Err(Cut),
        },
        _ => Bytes::new(),
    };
    let form = String::from_utf8_lossy(&form).into_owned();
    let authorization = text_header(&head);
    shared.note(Recorded {
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        authorization: authorization.clone(),
        headers: head.headers.clone(),
        form: form.clone(),
        at,
    });
    let latency = shared.switches().latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let (reply, fault) = decide(&shared, &head, authorization, form).await;
    let reply = match fault {
        None => reply,
        Some(fault) => strike(&shared, &head, reply, &fault).await?,
    };
    Ok(reply.into_response(&head.method))
}

/// The healthy answer, and the fault that shall spoil it.
async fn decide(
    shared: &Shared,
    head: &Parts,
    authorization: Option<String>,
    form: String,
) -> (Reply, Option<FaultKind>) {
    let route = Route::of(head.uri.path());
    let comes_first = matches!(route, Route::Ping | Route::Token);
    let fault = next_fault(shared, head, |fault| {
        comes_first || matches!(fault.kind, FaultKind::ChallengeTo(_))
    })
    .await;
    if route == Route::Token {
        let token_bytes = match fault {
            Some(FaultKind::HugeToken(bytes)) => Some(bytes),
            _ => None,
        };
        return (token(shared, head, authorization, &form, token_bytes), fault);
    }
    let (reply, admitted) = admit(shared, head, authorization.as_deref(), &route);
    if fault.is_some() || comes_first || !admitted {
        return (reply, fault);
    }
    let fault = next_fault(shared, head, |fault| {
        !matches!(fault.kind, FaultKind::ChallengeTo(_))
    })
    .await;
    (reply, fault)
}

/// The healthy answer, and whether the request got past the rate limit and authentication.
fn admit(shared: &Shared, head: &Parts, authorization: Option<&str>, route: &Route<'_>) -> (Reply, bool) {
    let mut switches = shared.switches();
    let now = Instant::now();
    let verdict = switches
        .limiter
        .as_mut()
        .and_then(|limiter| limiter.count(&head.method, head.uri.path(), now));
    let (refused, limit_headers) = match verdict {
        Some(verdict) => (verdict.refused, verdict.headers),
        None => (false, Vec::new()),
    };
    let (reply, admitted) = if refused {
        let message = "You have reached your pull rate limit.";
        (Reply::error(429, "TOOMANYREQUESTS", message), false)
    } else {
        let allowed = auth::check(
            &switches.auth,
            &switches.tokens,
            authorization,
            route.repository(),
            &shared.url,
            now,
        );
        match allowed {
            Ok(()) => (routes::look_up(&switches, route, head, &shared.url), true),
            Err(challenge) => {
                let reply = Reply::error(401, "UNAUTHORIZED", "authentication required");
                (reply.with_header("www-authenticate", challenge), false)
            }
        }
    };
    (reply.with_headers(limit_headers), admitted)
}

/// The first fault of this sort that strikes; delays are sat out on the way.
async fn next_fault(shared: &Shared, head: &Parts, sort: impl Fn(&Fault) -> bool) -> Option<FaultKind> {
    let mut found = None;
    let mut delays = Vec::new();
    for fault in &mut shared.switches().faults {
        if !sort(fault) || !fault.strikes(&head.method, head.uri.path()) {
            continue;
        }
        if let FaultKind::Delay(delay) = fault.kind {
            delays.push(delay);
            continue;
        }
        found = Some(fault.kind.clone());
        break;
    }
    for delay in delays {
        tokio::time::sleep(delay).await;
    }
    found
}

fn token(
    shared: &Shared,
    head: &Parts,
    authorization: Option<String>,
    form: &str,
    token_bytes: Option<usize>,
) -> Reply {
    let mut switches = shared.switches();
    let Auth::Bearer(service) = switches.auth.clone() else {
        return Reply::error(404, "UNSUPPORTED", "no token service");
    };
    let post = head.method == Method::POST;
    let encoded = if post {
        form
    } else {
        head.uri.query().unwrap_or_default()
    };
    let request = TokenRequest {
        authorization,
        post,
        parameters: url::form_urlencoded::parse(encoded.as_bytes())
            .into_owned()
            .collect(),
    };
    let (status, body) = switches
        .tokens
        .answer(&service, &request, token_bytes, Instant::now());
    Reply::json(status, &body)
}

/// Does to the answer what the fault wants.
async fn strike(shared: &Shared, head: &Parts, reply: Reply, fault: &FaultKind) -> Result<Reply, Cut> {
    let path_and_query = head.uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(match fault {
        FaultKind::CutBeforeHeaders => return Err(Cut),
        FaultKind::Hang => match std::future::pending::<Infallible>().await {},
        FaultKind::CutAfterHeaders => reply.cut_after(0),
        FaultKind::CutMidBody => {
            let half = reply.body.len() / 2;
            reply.cut_after(half)
        }
        FaultKind::WrongDigestHeader => {
            let digest = crate::layer::sha256(b"another content");
            reply.with_header("docker-content-digest", digest)
        }
        FaultKind::WrongBody => reply.with_other_body(),
        FaultKind::HugeBody(bytes) => reply.huge(Some(*bytes)),
        FaultKind::EndlessBody => reply.huge(None),
        FaultKind::MalformedJson => {
            let body = Bytes::from_static(b"{\"schemaVersion\": 2, \"config\": {\"digest\": ");
            reply.with_body_as_if_right(body)
        }
        FaultKind::DeepJson(depth) => {
            let body = format!(
                "{{\"schemaVersion\": 2, \"config\": {}{}}}",
                "[".repeat(*depth),
                "]".repeat(*depth)
            );
            reply.with_body_as_if_right(body.into())
        }
        FaultKind::RedirectTo(url) => Reply::redirect(url.clone()),
        FaultKind::RedirectToBase(base) => {
            Reply::redirect(format!("{}{path_and_query}", base.trim_end_matches('/')))
        }
        FaultKind::RedirectLoop => Reply::redirect(format!("{}{path_and_query}", shared.url)),
        FaultKind::SlowDrip { bytes, every } => reply.drip(*bytes, *every),
        FaultKind::Missing => Route::of(head.uri.path()).missing(),
        FaultKind::Status {
            status,
            headers,
            body,
        } => headers.iter().fold(
            Reply::new(*status, Bytes::from(body.clone())),
            |reply, (name, value)| reply.with_header(name, value.clone()),
        ),
        FaultKind::EndlessTags => routes::endless_tags(head),
        FaultKind::LinkTo(url) => reply.with_header("link", format!("<{url}>; rel=\"next\"")),
        FaultKind::ChallengeTo(realm) => Reply::error(401, "UNAUTHORIZED", "authentication required")
            .with_header(
                "www-authenticate",
                format!("Bearer realm=\"{realm}\",service=\"elsewhere\""),
            ),
        // Seen to where the token is made, and before the answer.
        FaultKind::HugeToken(_) | FaultKind::Delay(_) => reply,
    })
}

fn text_header(head: &Parts) -> Option<String> {
    let value = head.headers.get(AUTHORIZATION)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}
