//! Bearer tokens: asked for once, shared by all requests of the same scope and credential, renewed when they end.
//!
//! See the [Docker token](https://distribution.github.io/distribution/spec/auth/token/) and
//! [OAuth2](https://distribution.github.io/distribution/spec/auth/oauth/) specifications.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use url::{Url, form_urlencoded};

use super::challenge::{self, Challenge};
use super::connections::{Call, Connections};
use super::failure::Failure;
use super::flight::{Flight, Turn};
use super::resolve::Reach;
use super::throttle::Counters;
use super::{basic, body, now, retry};
use crate::credential::Credential;
use crate::error::Error;
use crate::json;

/// Largest answer of a token service.
const MAX_TOKEN_BYTES: usize = 64 << 10;
/// Tokens live at least this long, whatever the service says: the specification's default.
const MIN_LIFETIME: Duration = Duration::from_secs(60);
/// ... and are not kept longer than this.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// A token is not used when it ends that soon: it has a way to go.
const MARGIN: Duration = Duration::from_secs(5);
/// Longest realm or service of a challenge, in bytes.
const MAX_PARAMETER_BYTES: usize = 2 << 10;
/// Requests to token services that are under way at the same time.
const MAX_AT_ONCE: usize = 16;
/// Most tokens that are kept.
const MAX_TOKENS: usize = 4096;
/// How this client is called when it exchanges a refresh token.
const CLIENT_ID: &str = "imagestream";

/// A token, as good as its registry finds it.
#[derive(Clone, Debug)]
pub(super) struct Token {
    authorization: HeaderValue,
    expires: Instant,
    accepted: Arc<AtomicBool>,
}

impl Token {
    /// The value of `Authorization`.
    pub(super) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// The registry has answered a request with this token.
    pub(super) fn accept(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    /// Whether it ever did: a token that was good once has ended, one that never was will not get better.
    pub(super) fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.accepted, &other.accepted)
    }
}

/// What a token is asked for.
#[derive(Clone, Debug)]
pub(super) struct TokenRequest<'a> {
    pub(super) challenge: &'a Challenge,
    pub(super) repository: &'a str,
    pub(super) credential: Option<&'a Credential>,
    pub(super) insecure: bool,
    /// Any URL of the registry.
    pub(super) registry: &'a Url,
    /// The reach of the registry's address.
    pub(super) reach: Reach,
    /// Until when the service is waited for.
    pub(super) patience: Instant,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    registry: String,
    realm: String,
    service: Option<String>,
    scope: String,
    credential: Option<Credential>,
    insecure: bool,
}

/// All tokens of the process.
pub(super) struct Tokens {
    known: Mutex<HashMap<Key, Arc<Flight<Token>>>>,
    turns: Semaphore,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            turns: Semaphore::new(MAX_AT_ONCE),
        }
    }
}

impl Tokens {
    /// A token for the request, other than one that was `rejected`.
    pub(super) async fn token(
        &self,
        connections: &Connections,
        counters: &Counters,
        request: &TokenRequest<'_>,
        rejected: Option<&Token>,
    ) -> Result<Token, Error> {
        let scope = format!("repository:{}:pull", request.repository);
        let lengths = ["realm", "service"].map(|name| request.challenge.parameter(name).map_or(0, str::len));
        if lengths.iter().any(|length| *length > MAX_PARAMETER_BYTES) {
            let text = format!("the registry's bearer challenge is longer than {MAX_PARAMETER_BYTES} bytes");
            return Err(Error::Refused(text));
        }
        let flight = self.flight(Key {
            registry: request.registry.origin().ascii_serialization(),
            realm: request
                .challenge
                .parameter("realm")
                .unwrap_or_default()
                .to_owned(),
            service: request.challenge.parameter("service").map(str::to_owned),
            scope: scope.clone(),
            credential: request.credential.cloned(),
            insecure: request.insecure,
        });
        let usable = |token: &Token| {
            token.expires > Instant::now() && rejected.is_none_or(|rejected| !rejected.is_same(token))
        };
        let lead = match flight.join(usable).await {
            Turn::Known(token) => return Ok(token),
            Turn::Failed(error) => return Err(error),
            Turn::Lead(lead) => lead,
        };
        let call = call(request, &scope)?;
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await.ok();
        match ask(connections, counters, &call, request.patience).await {
            Ok(token) => {
                lead.settle(token.clone());
                Ok(token)
            }
            Err(Refusal { error, for_all }) => {
                // Those who have more time than this caller try for themselves.
                if for_all {
                    lead.fail(error.clone());
                }
                Err(error)
            }
        }
    }

    fn flight(&self, key: Key) -> Arc<Flight<Token>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_TOKENS && !known.contains_key(&key) {
            known.retain(|_, flight| Arc::strong_count(flight) > 1);
        }
        known
            .entry(key)
            .or_insert_with(|| Arc::new(Flight::new()))
            .clone()
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// The request to the token service that a challenge names.
fn call<'a>(request: &TokenRequest<'a>, scope: &str) -> Result<Call<'a>, Error> {
    let realm = request.challenge.parameter("realm").unwrap_or_default();
    let mut url = Url::parse(realm)
        .ok()
        .filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| {
            Error::Malformed("the realm of the registry's bearer challenge is no URL".to_owned())
        })?;
    // A realm must not choose the credential that is shown to it. These setters fail for URLs without a host only.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    if request.registry.scheme() == "https" && url.scheme() != "https" && !request.insecure {
        // Or a registry could make this client show the credential to everybody on the way.
        let host = url.host_str().unwrap_or_default();
        return Err(Error::Refused(format!(
            "refusing to ask the token service {host} over plain http"
        )));
    }
    let service = request.challenge.parameter("service");
    let base = Call {
        method: Method::GET,
        url,
        accept: &[],
        authorization: None,
        form: None,
        insecure: request.insecure,
        registry: request.registry,
        reach: Some(request.reach),
    };
    if let Some(Credential::IdentityToken { token, .. }) = request.credential {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token")
            .append_pair("service", service.unwrap_or_default())
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", scope)
            .append_pair("refresh_token", token);
        return Ok(Call {
            method: Method::POST,
            form: Some(form.finish()),
            ..base
        });
    }
    let mut url = base.url.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(account) = request.credential.and_then(Credential::account) {
            query.append_pair("account", account);
        }
        query.append_pair("scope", scope);
        if let Some(service) = service {
            query.append_pair("service", service);
        }
    }
    Ok(Call {
        url,
        authorization: basic::authorization(request.credential),
        ..base
    })
}

/// Why there is no token.
struct Refusal {
    error: Error,
    /// Whoever asks would be told the same; otherwise it was this caller who had no more time.
    for_all: bool,
}

/// Asks the token service, again if that may help and there is time.
async fn ask(
    connections: &Connections,
    counters: &Counters,
    call: &Call<'_>,
    patience: Instant,
) -> Result<Token, Refusal> {
    let mut attempt = 0;
    loop {
        let (wait, error) = match ask_once(connections, call).await {
            Ok((status, _, body)) if status.is_success() => {
                return parse(&body).map_err(|error| Refusal { error, for_all: true });
            }
            Ok((status, headers, body)) => {
                let challenges = challenge::challenges(&headers);
                let error = Error::of_response(status, challenge::bearer_error(&challenges), &body);
                let asked = retry::retry_after(&headers, now());
                let wait = match status {
                    StatusCode::TOO_MANY_REQUESTS => {
                        Some(asked.unwrap_or_default().max(retry::backoff(attempt)))
                    }
                    _ if retry::is_momentary(status) && attempt < retry::QUICK_RETRIES => {
                        Some(asked.unwrap_or_default().max(retry::quick(attempt)))
                    }
                    _ => None,
                };
                (wait, error)
            }
            Err(failure) => {
                let again = failure.is_momentary() && attempt < retry::QUICK_RETRIES;
                let error = failure.error.of_request(&call.method, call.url.as_str());
                (again.then(|| retry::quick(attempt)), error)
            }
        };
        match wait {
            Some(wait) if Instant::now() + wait < patience => sleep(wait).await,
            _ => {
                let for_all = wait.is_none();
                return Err(Refusal { error, for_all });
            }
        }
        attempt += 1;
        counters.retries.fetch_add(1, Ordering::Relaxed);
    }
}

async fn ask_once(
    connections: &Connections,
    call: &Call<'_>,
) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
    let reply = connections.exchange(call).await?;
    let (status, headers) = (reply.response.status(), reply.response.headers().clone());
    let body = if status.is_success() {
        let patience = connections.patience();
        body::read(reply.response, "token", MAX_TOKEN_BYTES, patience, None).await?
    } else {
        body::read_error(reply.response, connections.patience()).await
    };
    Ok((status, headers, body))
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

fn parse(body: &[u8]) -> Result<Token, Error> {
    let answer: TokenAnswer = json::decode(body)
        .map_err(|error| Error::Malformed(format!("unable to decode token response: {error}")))?;
    let token = [answer.token, answer.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty());
    let token = token.ok_or_else(|| {
        Error::Malformed("authorization server did not include a token in the response".to_owned())
    })?;
    let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Error::Malformed("the token of the token service is no header value".to_owned()))?;
    authorization.set_sensitive(true);
    let seconds = answer
        .expires_in
        .as_ref()
        .and_then(serde_json::Value::as_u64)
        .unwrap_or_default();
    let lifetime = Duration::from_secs(seconds).clamp(MIN_LIFETIME, MAX_LIFETIME);
    Ok(Token {
        authorization,
        expires: Instant::now() + lifetime - MARGIN,
        accepted: Arc::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::WWW_AUTHENTICATE;

    fn challenge(header: &str) -> Challenge {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_str(header).expect("header"));
        challenge::challenges(&headers).remove(0)
    }

    fn called(
        realm: &str,
        registry: &str,
        credential: Option<&Credential>,
        insecure: bool,
    ) -> Result<(Method, String, Option<HeaderValue>, Option<String>), Error> {
        let challenge = challenge(&format!("Bearer realm=\"{realm}\",service=\"s\""));
        let registry = Url::parse(registry).expect("URL");
        let request = TokenRequest {
            challenge: &challenge,
            repository: "a/b",
            credential,
            insecure,
            registry: &registry,
            reach: Reach::Public,
            patience: Instant::now(),
        };
        let call = call(&request, "repository:a/b:pull")?;
        Ok((call.method, call.url.into(), call.authorization, call.form))
    }

    #[tokio::test]
    async fn a_token_is_asked_for_with_what_the_caller_has() {
        let https = "https://r.test/v2/";
        let (method, url, authorization, _) =
            called("https://t.test/token?x=1", https, None, false).expect("call");
        assert_eq!((method, authorization), (Method::GET, None));
        assert_eq!(
            url,
            "https://t.test/token?x=1&scope=repository%3Aa%2Fb%3Apull&service=s"
        );

        let ann = Credential::Basic {
            username: "ann".into(),
            password: "p".into(),
        };
        let (_, url, authorization, _) = called("https://t.test/", https, Some(&ann), false).expect("call");
        assert!(url.contains("account=ann"), "{url}");
        assert_eq!(authorization, basic::authorization(Some(&ann)));

        let refresh = Credential::IdentityToken {
            username: None,
            token: "r&r".into(),
        };
        let (method, url, authorization, form) =
            called("https://t.test/", https, Some(&refresh), false).expect("call");
        assert_eq!(
            (method, url.as_str(), authorization),
            (Method::POST, "https://t.test/", None)
        );
        let form = form.expect("form");
        assert!(
            form.contains("grant_type=refresh_token") && form.contains("refresh_token=r%26r"),
            "{form}"
        );
    }

    #[tokio::test]
    async fn a_credential_given_to_a_secure_registry_is_not_sent_in_clear() {
        let (secure, plain) = ("https://r.test/v2/", "http://r.test/v2/");
        assert!(called("http://t.test/", secure, None, false).is_err());
        assert!(called("http://t.test/", secure, None, true).is_ok());
        assert!(called("http://t.test/", plain, None, true).is_ok());
        for realm in ["", "/token", "file:///etc/passwd", "ftp://t.test/"] {
            assert!(called(realm, secure, None, true).is_err(), "{realm}");
        }
        let (_, url, authorization, _) = called("https://u:p@t.test/", secure, None, false).expect("call");
        assert!(
            url.starts_with("https://t.test/") && authorization.is_none(),
            "{url}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_read_in_both_spellings_and_live_for_a_minute_at_least() {
        let start = Instant::now();
        for (body, seconds) in [
            (r#"{"token":"t"}"#, 60),
            (r#"{"access_token":"t","expires_in":1}"#, 60),
            (r#"{"token":"","access_token":"t","expires_in":300}"#, 300),
            (r#"{"token":"t","expires_in":null,"issued_at":"never"}"#, 60),
            (r#"{"token":"t","expires_in":18446744073709551615}"#, 86400),
        ] {
            let token = parse(body.as_bytes()).expect(body);
            assert_eq!(token.authorization, "Bearer t");
            assert_eq!(
                token.expires - start + MARGIN,
                Duration::from_secs(seconds),
                "{body}"
            );
        }
        for bad in [
            "",
            "<html>",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":"a\nb"}"#,
            r#"{"token":5}"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
