//! Asks a server, as the user that a [kubeconfig](https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/)
//! names in its current context.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::exit::Error;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
}

/// A server, and who asks.
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<String>,
}

impl Client {
    /// The server and the user of the current context of a file: this one, else the one that `KUBECONFIG` names, else
    /// that of the data directory in the current directory.
    ///
    /// # Errors
    /// [`Error::Usage`] if the file can't be used.
    pub(crate) fn open(kubeconfig: Option<&Path>) -> Result<Self, Error> {
        let path = match kubeconfig {
            Some(path) => path.to_owned(),
            None => default_path(),
        };
        let wrong = |problem: &dyn std::fmt::Display| Error::Usage(format!("{}: {problem}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(&error))?;
        // The text of the error may quote a credential.
        let config: Config = serde_saphyr::from_str(&text).map_err(|_| wrong(&"it is no kubeconfig"))?;
        let named = |what: &str, name: &str| wrong(&format!("there is no {what} {name:?}"));
        let context = config
            .contexts
            .into_iter()
            .find(|context| context.name == config.current_context)
            .ok_or_else(|| named("context", &config.current_context))?
            .context;
        let cluster = config
            .clusters
            .into_iter()
            .find(|cluster| cluster.name == context.cluster)
            .ok_or_else(|| named("cluster", &context.cluster))?
            .cluster;
        let user = config.users.into_iter().find(|user| user.name == context.user);
        let user = user.map(|user| user.user).unwrap_or_default();
        if !cluster.server.starts_with("https://") {
            return Err(wrong(&format!("{:?} is no https:// URL", cluster.server)));
        }
        let directory = path.parent().unwrap_or(Path::new("."));
        Self::new(&cluster, &user, directory).map_err(|problem| wrong(&problem))
    }

    fn new(cluster: &Cluster, user: &User, directory: &Path) -> Result<Self, String> {
        let part =
            |data: &Option<String>, file: &Option<PathBuf>| part(data.as_deref(), file.as_deref(), directory);
        // Another part of the process may have chosen a provider already: then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            // Credentials go to this server only.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(authority) = part(
            &cluster.certificate_authority_data,
            &cluster.certificate_authority,
        )? {
            let certificates = reqwest::Certificate::from_pem_bundle(&authority)
                .map_err(|_| "the certificate of its authority can't be read".to_owned())?;
            http = http.tls_certs_only(certificates);
        }
        if cluster.insecure_skip_tls_verify {
            http = http.tls_danger_accept_invalid_certs(true);
        }
        let certificate = part(&user.client_certificate_data, &user.client_certificate)?;
        let key = part(&user.client_key_data, &user.client_key)?;
        if let (Some(mut pem), Some(key)) = (certificate, key) {
            pem.push(b'\n');
            pem.extend(key);
            let identity = reqwest::Identity::from_pem(&pem)
                .map_err(|_| "the user's certificate or key can't be read".to_owned())?;
            http = http.identity(identity);
        }
        let token = match (&user.token, &user.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => Some(read(file, directory)?).map(|token| {
                let token = String::from_utf8_lossy(&token);
                token.trim().to_owned()
            }),
            (None, None) => None,
        };
        Ok(Self {
            http: http.build().map_err(|error| error.to_string())?,
            server: cluster.server.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// What the server answers to a `GET` of this path and query.
    ///
    /// # Errors
    /// [`Error::Failure`] if it does not answer, or with something else than JSON or success; with its own words.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Failure(format!("{}: {error}", self.server));
        let mut url = url::Url::parse(&format!("{}{path}", self.server)).map_err(|error| failed(&error))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.answer(self.http.get(url)).await
    }

    /// What the server answers to a `POST` of JSON to this path, within a time.
    ///
    /// # Errors
    /// As with [`Client::get`].
    pub(crate) async fn post(&self, path: &str, body: &Value, within: Duration) -> Result<Value, Error> {
        let request = self
            .http
            .post(format!("{}{path}?timeout={}s", self.server, within.as_secs()))
            .header("content-type", "application/json")
            .timeout(within + CONNECT)
            .body(body.to_string());
        self.answer(request).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Failure(format!("{}: {error}", self.server));
        let mut request = request.header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let mut response = request
            .send()
            .await
            .map_err(|error| failed(&causes(&error.without_url())))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| failed(&causes(&error.without_url())))?
        {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(failed(&"the answer is too large"));
            }
            body.extend_from_slice(&chunk);
        }
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|_| failed(&format!("{status}, and no JSON: is it imagestream?")))?;
        if status.is_success() {
            return Ok(answer);
        }
        let message = answer.get("message").and_then(Value::as_str);
        Err(failed(&message.unwrap_or(status.as_str())))
    }
}

fn default_path() -> PathBuf {
    let configured = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty());
    let first = configured.and_then(|paths| std::env::split_paths(&paths).next());
    first.unwrap_or_else(|| Path::new(crate::arguments::DATA_DIR).join("admin.kubeconfig"))
}

/// A part of a kubeconfig that stands in it or in a file.
fn part(data: Option<&str>, file: Option<&Path>, directory: &Path) -> Result<Option<Vec<u8>>, String> {
    match (data, file) {
        (Some(data), _) => STANDARD
            .decode(data.trim())
            .map(Some)
            .map_err(|_| "what should be base64 is not".to_owned()),
        (None, Some(file)) => read(file, directory).map(Some),
        (None, None) => Ok(None),
    }
}

/// A file that is named relative to the kubeconfig.
fn read(file: &Path, directory: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(directory.join(file)).map_err(|error| format!("{}: {error}", file.display()))
}

/// An error with what is behind it: alone it says only that something went wrong.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
