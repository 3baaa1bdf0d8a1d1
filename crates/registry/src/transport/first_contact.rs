//! The first request to a host: it finds out whether the host is reached over TLS or plain HTTP, and what it wants to
//! know of those who ask.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::connections::Reply;
use super::failure::Failure;
use super::flight::{Lead, Turn};
use super::host::Route;
use super::{Request, Transport, challenge, retry};
use crate::error::Error;

/// How long requests wait for the first one to a host before they find the way on their own.
const PATIENCE_WITH_FIRST: Duration = Duration::from_secs(1);
/// How long a host that need not be secure may leave a TLS greeting unanswered before plain HTTP is tried beside it.
const HEAD_START_OF_TLS: Duration = Duration::from_millis(250);

impl Transport {
    /// Makes the first request to a host the one that finds the way: by TLS, or for a host that need not be secure
    /// perhaps without.
    pub(super) async fn find_route(
        &self,
        lead: Lead<'_, Arc<Route>>,
        request: &Request,
        deadline: Instant,
    ) -> Result<(Arc<Route>, Reply), Error> {
        let mut attempt = 0;
        loop {
            let (base, outcome) = self.first_exchange(request).await?;
            let failure = match outcome {
                Ok(reply) => {
                    // Who was faster has learned more by now.
                    let known = self.host.route(self.insecure).known();
                    let known = known.filter(|known| known.base == base);
                    let route = known.unwrap_or_else(|| Arc::new(Route::new(base, reply.reach)));
                    if reply.from_registry {
                        route.learn(challenge::challenges(reply.response.headers()));
                    }
                    lead.settle(route.clone());
                    return Ok((route, reply));
                }
                Err(failure) => failure,
            };
            let wait = retry::quick(attempt);
            if failure.is_momentary() && attempt < retry::QUICK_RETRIES && Instant::now() + wait < deadline {
                attempt += 1;
                self.shared.counters.retries.fetch_add(1, Ordering::Relaxed);
                sleep(wait).await;
                continue;
            }
            let concerns_all = failure.in_connecting;
            let error = failure
                .error
                .of_request(&Method::GET, self.url_text(&base, "/v2/"));
            if concerns_all {
                lead.fail(error.clone());
            }
            return Err(error);
        }
    }

    /// Waits for the way to the host, but not for long: what the first request asks for may take its time.
    pub(super) async fn join_route(&self) -> Turn<'_, Arc<Route>> {
        let route = self.host.route(self.insecure);
        route.join_within(PATIENCE_WITH_FIRST, |_| true).await
    }

    /// Asks over TLS, or over plain HTTP if that is allowed and TLS comes to nothing.
    ///
    /// A host that says nothing to a TLS greeting is soon asked over plain HTTP too, if both share one port: a port
    /// that speaks TLS, however slowly, has no answer of a registry to plain HTTP.
    async fn first_exchange(&self, request: &Request) -> Result<(Url, Result<Reply, Failure>), Error> {
        let (tls, plain) = (self.base("https")?, self.base("http")?);
        let mut over_tls = pin!(self.exchange(&tls, request, None));
        if !self.insecure {
            return Ok((tls.clone(), over_tls.await));
        }
        let share_a_port = tls.port_or_known_default() == plain.port_or_known_default();
        let head_start = if share_a_port {
            HEAD_START_OF_TLS
        } else {
            Duration::MAX
        };
        let early = timeout(head_start, &mut over_tls).await;
        let mut over_plain = pin!(self.exchange(&plain, request, None));
        let mut plain_outcome = None;
        let tls_outcome = match early {
            Ok(outcome) => outcome,
            Err(_) => tokio::select! {
                outcome = &mut over_tls => outcome,
                outcome = &mut over_plain => {
                    if outcome.as_ref().is_ok_and(Reply::is_of_a_registry) {
                        return Ok((plain.clone(), outcome));
                    }
                    plain_outcome = Some(outcome);
                    over_tls.await
                }
            },
        };
        if !tls_outcome.as_ref().is_err_and(Failure::allows_plain_http) {
            return Ok((tls.clone(), tls_outcome));
        }
        let plain_outcome = match plain_outcome {
            Some(outcome) => outcome,
            None => over_plain.await,
        };
        Ok((plain.clone(), plain_outcome))
    }
}
