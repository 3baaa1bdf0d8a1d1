//! The connections of the process: pools that differ in what they verify and where they may lead, and the exchange of
//! one request with its redirects.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method};
use reqwest::{Certificate, Response};
use tokio::time::timeout;
use url::Url;

use super::body;
use super::failure::Failure;
use super::host::looks_like_a_registry;
use super::redirect::{self, MAX_REDIRECTS};
use super::resolve::{self, GuardedResolver, Proxies, Reach};
use super::throttle::Counters;
use crate::client::{BuildError, ClientOptions};
use crate::error::Error;

/// Connections are kept that long for the next request.
const IDLE: Duration = Duration::from_secs(90);
/// Environment variables that name proxies, in the spellings in use.
const PROXY_VARIABLES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// All pools. A pool is made when it is first used.
#[derive(Debug)]
pub(super) struct Connections {
    options: ClientOptions,
    certificates: Vec<Certificate>,
    proxies: Arc<Proxies>,
    counters: Arc<Counters>,
    secure: Pools,
    insecure: Pools,
}

#[derive(Debug, Default)]
struct Pools {
    /// For places that the user named.
    named: OnceLock<Result<reqwest::Client, String>>,
    /// For places that a registry named, by the reach of its own address.
    sent_by_public: OnceLock<Result<reqwest::Client, String>>,
    sent_by_private: OnceLock<Result<reqwest::Client, String>>,
    sent_by_link_local: OnceLock<Result<reqwest::Client, String>>,
}

impl Pools {
    fn pool(&self, sent_by: Option<Reach>) -> &OnceLock<Result<reqwest::Client, String>> {
        match sent_by {
            None => &self.named,
            Some(Reach::Public | Reach::Nowhere) => &self.sent_by_public,
            Some(Reach::Private) => &self.sent_by_private,
            Some(Reach::LinkLocal) => &self.sent_by_link_local,
        }
    }
}

/// One request. Not for logs: its form may hold a refresh token.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: &'a [&'a str],
    pub(super) authorization: Option<HeaderValue>,
    /// The body of a `POST`, form-encoded. Its redirects are not followed.
    pub(super) form: Option<String>,
    pub(super) insecure: bool,
    /// Any URL of the registry: the one place that the user named.
    pub(super) registry: &'a Url,
    /// The reach of the registry's address, if it is known already.
    pub(super) reach: Option<Reach>,
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) response: Response,
    /// Whether it is the registry's own, not that of a place it redirected to.
    pub(super) from_registry: bool,
    /// The reach of the registry's address.
    pub(super) reach: Reach,
}

impl Reply {
    /// Whether it is what a registry would answer.
    pub(super) fn is_of_a_registry(&self) -> bool {
        looks_like_a_registry(self.response.status(), self.response.headers())
    }
}

impl Connections {
    pub(super) fn new(options: ClientOptions, counters: Arc<Counters>) -> Result<Self, BuildError> {
        // Another part of the process may have chosen a provider already: then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificates = match &options.trusted_ca_pem {
            Some(pem) => Certificate::from_pem_bundle(pem)
                .map_err(|error| BuildError(format!("trusted certificates: {error}")))
                .and_then(|found| {
                    // Whoever names a file means to trust somebody.
                    (!found.is_empty())
                        .then_some(found)
                        .ok_or_else(|| BuildError("trusted certificates: there is none in the file".into()))
                })?,
            None => Vec::new(),
        };
        HeaderValue::from_str(&options.user_agent)
            .map_err(|_| BuildError("user agent is no header value".to_owned()))?;
        let variables = PROXY_VARIABLES.iter().filter_map(|name| std::env::var(name).ok());
        let proxies = if options.proxies_from_environment {
            Proxies::named(variables)
        } else {
            Proxies::default()
        };
        Ok(Self {
            options,
            certificates,
            proxies: Arc::new(proxies),
            counters,
            secure: Pools::default(),
            insecure: Pools::default(),
        })
    }

    /// How long a registry may take to begin its answer or to go on with it.
    pub(super) fn patience(&self) -> Duration {
        self.options.response_timeout
    }

    /// Sends one request and follows its redirects.
    pub(super) async fn exchange(&self, call: &Call<'_>) -> Result<Reply, Failure> {
        let mut url = call.url.clone();
        let mut authorization = call.authorization.clone();
        let mut reach = call.reach;
        for _ in 0..=MAX_REDIRECTS {
            let from_registry = redirect::is_same_place(&url, call.registry);
            let sent_by = if from_registry {
                None
            } else {
                Some(reach.unwrap_or(Reach::Public))
            };
            let response = self.send(call, &url, authorization.as_ref(), sent_by).await?;
            let reach = *reach.get_or_insert_with(|| self.reach_of(&url, &response));
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok());
            let location =
                location.filter(|_| is_redirect(response.status().as_u16()) && call.form.is_none());
            let Some(location) = location else {
                return Ok(Reply {
                    response,
                    from_registry,
                    reach,
                });
            };
            let next = redirect::target(&url, location, call.insecure).map_err(Failure::of)?;
            // What comes with a redirect is of no interest, but the connection is.
            body::read_error(response, self.patience()).await;
            if !redirect::is_same_place(&url, &next) {
                authorization = None;
            }
            url = next;
        }
        Err(Failure::of(Error::Refused(format!(
            "stopped after {MAX_REDIRECTS} redirects"
        ))))
    }

    async fn send(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
        sent_by: Option<Reach>,
    ) -> Result<Response, Failure> {
        if let (Some(from), Some(address)) = (sent_by, resolve::literal_address(url))
            && !from.may_send_to(resolve::reach(address))
        {
            return Err(Failure::of(Error::Refused(
                resolve::RefusedAddress(address.to_string()).to_string(),
            )));
        }
        if sent_by.is_some() && url.host_str().is_some_and(|name| self.proxies.is_name(name)) {
            let refused = resolve::RefusedAddress(url.host_str().unwrap_or_default().to_owned());
            return Err(Failure::of(Error::Refused(refused.to_string())));
        }
        let mut request = self
            .client(call.insecure, sent_by)?
            .request(call.method.clone(), url.clone());
        for accepted in call.accept {
            request = request.header(ACCEPT, *accepted);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(form) = &call.form {
            request = request
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.clone());
        }
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        match timeout(self.patience(), request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Failure::of_request(&error, url)),
            Err(_) => Err(Failure::timed_out()),
        }
    }

    /// The reach of the address that answered. What answers through a proxy counts as public: the proxy hides where it
    /// is, and it alone knows where it can connect to.
    fn reach_of(&self, url: &Url, response: &Response) -> Reach {
        if let Some(address) = resolve::literal_address(url) {
            return resolve::reach(address);
        }
        match response.remote_addr().map(|address| address.ip()) {
            Some(address) if !self.proxies.is_address(address) => resolve::reach(address),
            _ => Reach::Public,
        }
    }

    fn client(&self, insecure: bool, sent_by: Option<Reach>) -> Result<&reqwest::Client, Failure> {
        let pools = if insecure { &self.insecure } else { &self.secure };
        let client = pools
            .pool(sent_by)
            .get_or_init(|| self.make_client(insecure, sent_by));
        client
            .as_ref()
            .map_err(|reason| Failure::of(Error::Network(reason.clone())))
    }

    fn make_client(&self, insecure: bool, sent_by: Option<Reach>) -> Result<reqwest::Client, String> {
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(&self.options.user_agent)
            .connect_timeout(self.options.connect_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(self.options.max_in_flight_per_host)
            .dns_resolver(GuardedResolver {
                sent_by,
                proxies: self.proxies.clone(),
            });
        if !self.options.proxies_from_environment {
            client = client.no_proxy();
        }
        client = if insecure {
            client.tls_danger_accept_invalid_certs(true)
        } else {
            client.tls_certs_merge(self.certificates.iter().cloned())
        };
        client.build().map_err(|error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            format!("tls: no certificate can be verified: {cause}")
        })
    }
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}
