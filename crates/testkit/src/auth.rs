//! Who may read: no one asks, Basic, or Bearer with a token service of its own
//! ([token authentication](https://distribution.github.io/distribution/spec/auth/token/),
//! [refresh tokens](https://distribution.github.io/distribution/spec/auth/oauth/)).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::tls::TokenSigner;

/// How the registry asks for credentials.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// Everyone may read.
    #[default]
    None,
    /// HTTP Basic.
    Basic {
        /// The one user.
        username: String,
        /// Their password.
        password: String,
    },
    /// Bearer tokens from the registry's own `/token`.
    Bearer(TokenService),
}

impl Auth {
    /// HTTP Basic for one user.
    #[must_use]
    pub fn basic(username: &str, password: &str) -> Self {
        Self::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        }
    }

    /// Bearer tokens for one user.
    #[must_use]
    pub fn bearer(username: &str, password: &str) -> Self {
        Self::Bearer(TokenService::new().account(username, password))
    }

    /// Bearer tokens that everyone gets, as public repositories give them.
    #[must_use]
    pub fn bearer_for_everyone() -> Self {
        Self::Bearer(TokenService::new().anonymous("*"))
    }

    /// Bearer tokens in exchange for a refresh token (an identity token in client configuration).
    #[must_use]
    pub fn bearer_with_refresh(refresh_token: &str) -> Self {
        Self::Bearer(TokenService::new().refresh_token(refresh_token))
    }
}

/// Whose word the token service takes, and what its tokens look like.
#[derive(Debug, Clone)]
pub struct TokenService {
    pub(crate) service: String,
    pub(crate) realm: Option<String>,
    accounts: Vec<(String, String)>,
    refresh_tokens: Vec<String>,
    anonymous: Vec<String>,
    expires_in: Duration,
    announce_expiry: bool,
    field: TokenField,
    signer: Option<Arc<TokenSigner>>,
}

/// Which field of the answer holds the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenField {
    /// `token` alone.
    Token,
    /// `access_token` alone.
    AccessToken,
    /// Both, with the same value.
    #[default]
    Both,
}

impl Default for TokenService {
    fn default() -> Self {
        Self::new()
    }
}

impl TokenService {
    /// A service that gives a token to no one, for five minutes.
    #[must_use]
    pub fn new() -> Self {
        Self {
            service: "test-registry".to_owned(),
            realm: None,
            accounts: Vec::new(),
            refresh_tokens: Vec::new(),
            anonymous: Vec::new(),
            expires_in: Duration::from_secs(300),
            announce_expiry: true,
            field: TokenField::default(),
            signer: None,
        }
    }

    /// Lets this user read everything.
    #[must_use]
    pub fn account(mut self, username: &str, password: &str) -> Self {
        self.accounts.push((username.to_owned(), password.to_owned()));
        self
    }

    /// Lets whoever has this refresh token read everything.
    #[must_use]
    pub fn refresh_token(mut self, token: &str) -> Self {
        self.refresh_tokens.push(token.to_owned());
        self
    }

    /// Lets everyone read repositories that fit, where `*` stands for any run of characters.
    #[must_use]
    pub fn anonymous(mut self, pattern: &str) -> Self {
        self.anonymous.push(pattern.to_owned());
        self
    }

    /// Tokens end after this time.
    #[must_use]
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = time;
        self
    }

    /// Leaves `expires_in` out of the answer.
    #[must_use]
    pub fn without_announced_expiry(mut self) -> Self {
        self.announce_expiry = false;
        self
    }

    /// Names the token in this field only.
    #[must_use]
    pub fn token_field(mut self, field: TokenField) -> Self {
        self.field = field;
        self
    }

    /// Sends clients to another realm.
    #[must_use]
    pub fn realm(mut self, url: &str) -> Self {
        self.realm = Some(url.to_owned());
        self
    }

    /// Names the service.
    #[must_use]
    pub fn service(mut self, name: &str) -> Self {
        name.clone_into(&mut self.service);
        self
    }

    /// Makes signed tokens that a real registry accepts.
    #[must_use]
    pub fn signed_by(mut self, signer: Arc<TokenSigner>) -> Self {
        self.signer = Some(signer);
        self
    }

    fn knows(&self, username: &str, password: &str) -> bool {
        self.accounts
            .iter()
            .any(|(name, word)| name == username && word == password)
    }
}

/// The tokens that were given out.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    issued: HashMap<String, Grant>,
    count: u64,
}

#[derive(Debug)]
struct Grant {
    repositories: Vec<String>,
    expires: Instant,
}

/// A request to the token service, whichever way it came.
#[derive(Debug, Default)]
pub(crate) struct TokenRequest {
    pub(crate) authorization: Option<String>,
    pub(crate) post: bool,
    /// Parameters of the query, or of the form.
    pub(crate) parameters: Vec<(String, String)>,
}

impl TokenRequest {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.parameters
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Tokens {
    /// Answers a token request: status and JSON body. `token_bytes` makes the token that long.
    pub(crate) fn answer(
        &mut self,
        service: &TokenService,
        request: &TokenRequest,
        token_bytes: Option<usize>,
        now: Instant,
    ) -> (u16, Value) {
        let refused = |message: &str| {
            (
                401,
                json!({"errors": [{"code": "UNAUTHORIZED", "message": message}]}),
            )
        };
        let trusted = if request.post {
            match request.parameter("grant_type") {
                Some("refresh_token") => {
                    let token = request.parameter("refresh_token").unwrap_or_default();
                    if !service.refresh_tokens.iter().any(|known| known == token) {
                        return refused("unknown refresh token");
                    }
                    true
                }
                Some("password") => {
                    let field = |name| request.parameter(name).unwrap_or_default();
                    if !service.knows(field("username"), field("password")) {
                        return refused("incorrect username or password");
                    }
                    true
                }
                _ => return (400, json!({"error": "unsupported_grant_type"})),
            }
        } else {
            match &request.authorization {
                None => false,
                Some(value) => match basic(value) {
                    Some((username, password)) if service.knows(&username, &password) => true,
                    _ => return refused("incorrect username or password"),
                },
            }
        };
        if request.parameter("service") != Some(&service.service) {
            return (400, json!({"details": "unknown service"}));
        }
        let scopes: Vec<(String, Vec<String>)> = request
            .all("scope")
            .flat_map(|scopes| scopes.split(' '))
            .filter_map(|scope| {
                let (repository, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
                let allowed = trusted
                    || service
                        .anonymous
                        .iter()
                        .any(|pattern| crate::fault::fits(pattern, repository));
                let actions = actions
                    .split(',')
                    .filter(|action| allowed && (trusted || *action == "pull"))
                    .map(str::to_owned)
                    .collect();
                Some((repository.to_owned(), actions))
            })
            .collect();
        // Nobody in particular, nothing to give: services refuse rather than give an empty token.
        if !trusted && scopes.iter().all(|(_, actions)| actions.is_empty()) && service.anonymous.is_empty() {
            return refused("authentication required");
        }
        self.count += 1;
        let mut token = match &service.signer {
            Some(signer) => signer.token(&service.service, &scopes, service.expires_in, self.count),
            None => format!("token-{}", self.count),
        };
        if let Some(bytes) = token_bytes {
            token = format!("{token}-{}", "x".repeat(bytes.saturating_sub(token.len() + 1)));
        }
        let repositories = scopes
            .into_iter()
            .filter(|(_, actions)| actions.iter().any(|action| action == "pull"))
            .map(|(repository, _)| repository)
            .collect();
        let grant = Grant {
            repositories,
            expires: now + service.expires_in,
        };
        self.issued.insert(token.clone(), grant);
        let mut body = json!({});
        if request.post {
            body["access_token"] = json!(token);
            body["token_type"] = json!("Bearer");
            if let Some(token) = request.parameter("refresh_token") {
                body["refresh_token"] = json!(token);
            }
        } else {
            if service.field != TokenField::AccessToken {
                body["token"] = json!(token);
            }
            if service.field != TokenField::Token {
                body["access_token"] = json!(token);
            }
        }
        if service.announce_expiry {
            body["expires_in"] = json!(service.expires_in.as_secs());
        }
        (200, body)
    }

    /// Makes every token that was given out worthless.
    pub(crate) fn revoke_all(&mut self) {
        self.issued.clear();
    }

    /// How many tokens were given out.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Whether the token opens the repository (or, without one, `/v2/`); if not, the `error` of the challenge.
    fn check(&self, token: &str, repository: Option<&str>, now: Instant) -> Result<(), &'static str> {
        let grant = self.issued.get(token).ok_or("invalid_token")?;
        if grant.expires <= now {
            return Err("invalid_token");
        }
        match repository {
            Some(name) if !grant.repositories.iter().any(|held| held == name) => Err("insufficient_scope"),
            _ => Ok(()),
        }
    }
}

/// Checks a request; if it may not pass, the `WWW-Authenticate` value of the 401.
pub(crate) fn check(
    auth: &Auth,
    tokens: &Tokens,
    authorization: Option<&str>,
    repository: Option<&str>,
    own_url: &str,
    now: Instant,
) -> Result<(), String> {
    match auth {
        Auth::None => Ok(()),
        Auth::Basic { username, password } => {
            let sent = authorization.and_then(basic);
            if sent.is_some_and(|(name, word)| name == *username && word == *password) {
                Ok(())
            } else {
                Err("Basic realm=\"test registry\"".to_owned())
            }
        }
        Auth::Bearer(service) => {
            let realm = service
                .realm
                .clone()
                .unwrap_or_else(|| format!("{own_url}/token"));
            let mut challenge = format!("Bearer realm=\"{realm}\",service=\"{}\"", service.service);
            if let Some(name) = repository {
                challenge.push_str(&format!(",scope=\"repository:{name}:pull\""));
            }
            let Some(value) = authorization else {
                return Err(challenge);
            };
            let token = value.strip_prefix("Bearer ").unwrap_or_default();
            tokens
                .check(token, repository, now)
                .map_err(|error| format!("{challenge},error=\"{error}\""))
        }
    }
}

/// User name and password of a Basic `Authorization` value.
fn basic(value: &str) -> Option<(String, String)> {
    let decoded = BASE64_STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}
