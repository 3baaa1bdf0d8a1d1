//! Starts a real [`docker-registry`](https://distribution.github.io/distribution/about/configuration/) on a free
//! loopback port and fills it with [`skopeo`](https://github.com/containers/skopeo), so that tests don't only
//! agree with this crate's own idea of a registry.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::auth::{Auth, TokenService};
use crate::content::Content;
use crate::registry::TestRegistry;
use crate::tls::{ServerIdentity, TokenSigner};

/// The user that registries with credentials know.
pub const USERNAME: &str = "reader";
/// Their password.
pub const PASSWORD: &str = "a password: with colon";
/// How long a registry may take to listen.
const START_TIME: Duration = Duration::from_secs(30);
/// Set to 1 where missing tools are a failure and no reason to skip.
const REQUIRE: &str = "IMAGESTREAM_REQUIRE_TOOLS";

/// Whether the programs that this module starts are installed; says so if not.
///
/// # Panics
/// If one is missing and `IMAGESTREAM_REQUIRE_TOOLS` is 1.
#[must_use]
pub fn tools_are_installed() -> bool {
    let missing: Vec<&str> = ["docker-registry", "skopeo", "htpasswd"]
        .into_iter()
        .filter(|program| !is_installed(program))
        .collect();
    if missing.is_empty() {
        return true;
    }
    let required = std::env::var(REQUIRE).is_ok_and(|value| value == "1");
    assert!(!required, "{REQUIRE}=1, but not installed: {missing:?}");
    println!("skipped, for want of {missing:?}");
    false
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// How the registry knows who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Credentials {
    /// It doesn't ask.
    #[default]
    None,
    /// HTTP Basic against an htpasswd file.
    Basic,
    /// Signed tokens from a token service in this process.
    Token,
}

/// What to start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Speak TLS with a certificate of an authority of its own.
    pub tls: bool,
    /// Who may read and write.
    pub credentials: Credentials,
}

/// Who is told of what is pushed.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Where notifications are posted to.
    pub url: String,
    /// The value of their `Authorization` header.
    pub authorization: String,
    /// PEM file of the authority that the listener's certificate is of.
    pub ca_file: PathBuf,
}

/// A running `docker-registry`; killed when dropped.
pub struct RealRegistry {
    process: Child,
    address: SocketAddr,
    directory: TempDir,
    options: Options,
    // Held for as long as the registry may send clients to it.
    _token_service: Option<TestRegistry>,
}

impl RealRegistry {
    /// Starts an empty registry and returns when it listens.
    ///
    /// # Panics
    /// If it doesn't start.
    #[must_use]
    pub fn start(options: Options) -> Self {
        Self::start_telling(options, None)
    }

    /// The same with somebody who is told of what is pushed.
    ///
    /// # Panics
    /// If it doesn't start.
    #[must_use]
    pub fn start_telling(options: Options, listener: Option<&Listener>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        let write = |name: &str, content: &str| {
            std::fs::write(at(name), content).expect("write a file");
            at(name)
        };
        let mut http = json!({"addr": "127.0.0.1:0"});
        if options.tls {
            let identity = ServerIdentity::generate();
            write("ca.crt", &identity.ca_pem);
            http["tls"] = json!({
                "certificate": write("server.crt", &identity.certificate_pem),
                "key": write("server.key", &identity.key_pem),
            });
        }
        let mut config = json!({
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": at("storage")}, "cache": {"blobdescriptor": "inmemory"}},
            "http": http,
        });
        let mut token_service = None;
        match options.credentials {
            Credentials::None => {}
            Credentials::Basic => {
                let users = write("htpasswd", &htpasswd());
                config["auth"] = json!({"htpasswd": {"realm": "tests", "path": users}});
            }
            Credentials::Token => {
                let signer = Arc::new(TokenSigner::generate("tests"));
                let roots = write("token.crt", &signer.certificate_pem());
                let service = TestRegistry::start(Content::new());
                service.set_auth(Auth::Bearer(
                    TokenService::new()
                        .account(USERNAME, PASSWORD)
                        .anonymous("public/*")
                        .signed_by(signer),
                ));
                config["auth"] = json!({"token": {
                    "realm": format!("{}/token", service.url()),
                    "service": "test-registry",
                    "issuer": "tests",
                    "rootcertbundle": roots,
                }});
                token_service = Some(service);
            }
        }
        let mut command = Command::new("docker-registry");
        if let Some(listener) = listener {
            config["notifications"] = json!({"endpoints": [{
                "name": "listener",
                "url": listener.url,
                "headers": {"Authorization": [listener.authorization]},
                "timeout": "30s",
                "threshold": 3,
                "backoff": "100ms",
            }]});
            command.env("SSL_CERT_FILE", &listener.ca_file);
        }
        // JSON is YAML.
        let file = write("config.yml", &config.to_string());
        let mut process = command
            .arg("serve")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts");
        match listening_address(&mut process) {
            Ok(address) => Self {
                process,
                address,
                directory,
                options,
                _token_service: token_service,
            },
            Err(log) => {
                let _ = process.kill();
                let _ = process.wait();
                panic!("docker-registry does not listen: {log}");
            }
        }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// PEM file of the authority that clients have to trust, with TLS.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// A file of credentials in the form of
    /// [containers-auth.json](https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md), with the
    /// right ones for this registry; without any if it doesn't ask.
    #[must_use]
    pub fn auth_file(&self) -> PathBuf {
        let auths = match self.options.credentials {
            Credentials::None => json!({}),
            Credentials::Basic | Credentials::Token => {
                let auth = BASE64_STANDARD.encode(format!("{USERNAME}:{PASSWORD}"));
                json!({self.host(): {"auth": auth}})
            }
        };
        self.write("auth.json", &json!({"auths": auths}))
    }

    /// A file of credentials that holds none.
    #[must_use]
    pub fn empty_auth_file(&self) -> PathBuf {
        self.write("no-auth.json", &json!({"auths": {}}))
    }

    /// Pushes all of `content` with `skopeo sync`, lists with all their members, digests unchanged.
    ///
    /// # Panics
    /// If skopeo fails.
    pub fn fill(&self, content: &Content) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let trees = content.write_sync_trees(directory.path()).expect("write content");
        for (tree, parent) in trees {
            let output = Command::new("skopeo")
                .args(["sync", "--src", "dir", "--dest", "docker", "--all"])
                .args(["--preserve-digests", "--dest-tls-verify=false", "--dest-authfile"])
                .arg(self.auth_file())
                .arg(tree)
                .arg(format!("{}/{parent}", self.host()))
                .stdin(Stdio::null())
                .output()
                .expect("skopeo starts");
            assert!(
                output.status.success(),
                "skopeo sync: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }

    /// What `skopeo inspect` reports of `REPOSITORY:TAG` or `REPOSITORY@DIGEST`.
    #[must_use]
    pub fn inspect(&self, reference: &str) -> Value {
        self.skopeo_inspect(&["--no-tags"], reference)
    }

    /// The same with `RepoTags`: all tags of the repository.
    #[must_use]
    pub fn inspect_with_tags(&self, reference: &str) -> Value {
        self.skopeo_inspect(&[], reference)
    }

    /// What `skopeo inspect --config` reports: the config of the image for this platform.
    #[must_use]
    pub fn inspect_config(&self, reference: &str) -> Value {
        self.skopeo_inspect(&["--config"], reference)
    }

    /// What `skopeo inspect --raw` reports: the manifest as it is.
    #[must_use]
    pub fn inspect_raw(&self, reference: &str) -> Value {
        self.skopeo_inspect(&["--raw"], reference)
    }

    fn skopeo_inspect(&self, options: &[&str], reference: &str) -> Value {
        let output = Command::new("skopeo")
            .args(["--override-os", "linux", "--override-arch", "amd64"])
            .args(["inspect", "--tls-verify=false", "--authfile"])
            .arg(self.auth_file())
            .args(options)
            .arg(format!("docker://{}/{reference}", self.host()))
            .stdin(Stdio::null())
            .output()
            .expect("skopeo starts");
        assert!(
            output.status.success(),
            "skopeo inspect: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("skopeo prints JSON")
    }

    fn write(&self, name: &str, content: &Value) -> PathBuf {
        let path: PathBuf = Path::new(self.directory.path()).join(name);
        std::fs::write(&path, content.to_string()).expect("write a file");
        path
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A line of an htpasswd file; registries take bcrypt only.
fn htpasswd() -> String {
    let output = Command::new("htpasswd")
        .args(["-Bbn", USERNAME, PASSWORD])
        .output()
        .expect("htpasswd starts");
    assert!(output.status.success(), "htpasswd fails");
    String::from_utf8(output.stdout).expect("htpasswd prints text")
}

/// Where the registry listens, as its log says: it has chosen a free port itself, so no one else can have it.
/// The error is the log.
fn listening_address(process: &mut Child) -> Result<SocketAddr, String> {
    let log = BufReader::new(process.stderr.take().ok_or("no log")?);
    let (sender, receiver) = mpsc::channel();
    // The thread reads on, so that the registry never waits for a full pipe; it ends with the registry.
    std::thread::spawn(move || {
        let mut seen = String::new();
        for line in log.lines().map_while(Result::ok) {
            if let Some(address) = address_in(&line) {
                let _ = sender.send(Ok(address));
            }
            if seen.len() < 1 << 16 {
                seen.push_str(&line);
                seen.push('\n');
            }
        }
        let _ = sender.send(Err(seen));
    });
    receiver
        .recv_timeout(START_TIME)
        .unwrap_or_else(|_| Err(format!("nothing after {} s", START_TIME.as_secs())))
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let rest = line.split("listening on ").nth(1)?;
    rest.split(['"', ',', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_log() {
        let line = r#"time="2024-05-01T12:00:00Z" level=info msg="listening on 127.0.0.1:4711, tls" go.version=go1.19"#;
        assert_eq!(address_in(line), Some("127.0.0.1:4711".parse().unwrap()));
        assert_eq!(address_in("level=info msg=\"using inmemory cache\""), None);
    }
}
