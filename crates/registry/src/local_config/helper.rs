//! Credential helpers: programs `docker-credential-NAME` that are asked for one server at a time, by the
//! [protocol of Docker](https://github.com/docker/docker-credential-helpers#development).

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::Credential;
use crate::json;

/// How long a helper may take. Some ask a cloud, some wait for a key to be unlocked.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most that a helper may answer, in bytes.
const MAX_ANSWER: u64 = 64 << 10;
/// The most of a helper's own message that is shown, in characters.
const MAX_MESSAGE: usize = 200;
/// User name by which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// Why a credential helper gave no answer. The texts hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The name is none of a helper, so no program is looked for.
    #[error("invalid name of a credential helper: {0:?}")]
    Name(String),
    /// There is no such program.
    #[error("credential helper docker-credential-{0} is not in PATH")]
    Missing(String),
    /// The program could not be run.
    #[error("credential helper docker-credential-{name}: {source}")]
    Run {
        /// Name of the helper.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The program took too long and was stopped.
    #[error("credential helper docker-credential-{0} gave no answer in time")]
    Timeout(String),
    /// The program says that it failed.
    #[error("credential helper docker-credential-{name} failed: {message}")]
    Failed {
        /// Name of the helper.
        name: String,
        /// What it says, cut short and without control characters.
        message: String,
    },
    /// The answer is too long or not of the protocol.
    #[error("credential helper docker-credential-{0}: error decoding its answer")]
    Answer(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

type Asked = Arc<OnceCell<Option<Credential>>>;

/// The helpers on a search path, each asked once for each server.
#[derive(Default)]
pub(super) struct Helpers {
    path: Option<OsString>,
    timeout: Option<Duration>,
    asked: Mutex<HashMap<(String, String), Asked>>,
}

impl Helpers {
    pub(super) fn new(path: Option<OsString>) -> Self {
        Self {
            path,
            ..Self::default()
        }
    }

    #[cfg(test)]
    pub(super) fn with_timeout(path: OsString, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..Self::new(Some(path))
        }
    }

    /// What the helper `name` has for `server`. Concurrent questions run the program once; failures are not kept.
    pub(super) async fn get(&self, name: &str, server: &str) -> Result<Option<Credential>, HelperError> {
        let asked = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(asked.entry((name.into(), server.into())).or_default())
        };
        asked.get_or_try_init(|| self.ask(name, server)).await.cloned()
    }

    async fn ask(&self, name: &str, server: &str) -> Result<Option<Credential>, HelperError> {
        let program = self.find(name)?;
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        let (succeeded, answer) = tokio::time::timeout(timeout, run(program, server))
            .await
            .map_err(|_| HelperError::Timeout(name.into()))?
            .map_err(|source| HelperError::Run {
                name: name.into(),
                source,
            })?;
        if answer.len() as u64 > MAX_ANSWER {
            return Err(HelperError::Answer(name.into()));
        }
        if !succeeded {
            let message = shown(&answer);
            // This sentence is the protocol's way to say "none".
            if message.contains("credentials not found") {
                return Ok(None);
            }
            return Err(HelperError::Failed {
                name: name.into(),
                message,
            });
        }
        let Answer { username, secret } =
            json::decode(&answer).map_err(|_| HelperError::Answer(name.into()))?;
        Ok(match (username.as_str(), secret.as_str()) {
            ("", "") | (TOKEN_USER, "") => None,
            (TOKEN_USER, _) => Some(Credential::IdentityToken {
                username: None,
                token: secret,
            }),
            _ => Some(Credential::Basic {
                username,
                password: secret,
            }),
        })
    }

    /// The program of the helper. Relative directories of the search path are passed over: a helper must not be what
    /// lies in the directory that one happens to stand in.
    fn find(&self, name: &str) -> Result<PathBuf, HelperError> {
        let well_formed = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !well_formed {
            return Err(HelperError::Name(name.into()));
        }
        let program = format!("docker-credential-{name}");
        self.path
            .iter()
            .flat_map(std::env::split_paths)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(&program))
            .find(|file| file.is_file())
            .ok_or_else(|| HelperError::Missing(name.into()))
    }
}

/// Runs `program get` with `server` as its input; whether it succeeded, and the beginning of its output. The program
/// is killed when the caller stops waiting.
async fn run(program: PathBuf, server: &str) -> io::Result<(bool, Vec<u8>)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let write = async {
        match stdin {
            Some(mut stdin) => match stdin.write_all(server.as_bytes()).await {
                // A helper may answer without reading the question.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                done => done,
            },
            None => Ok(()),
        }
    };
    let read = async {
        let mut answer = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(MAX_ANSWER + 1).read_to_end(&mut answer).await?;
        }
        Ok(answer)
    };
    let ((), answer) = tokio::try_join!(write, read)?;
    if answer.len() as u64 > MAX_ANSWER {
        return Ok((false, answer));
    }
    Ok((child.wait().await?.success(), answer))
}

/// What may go to a terminal of what a program says.
fn shown(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    text.trim()
        .chars()
        .take(MAX_MESSAGE)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
