//! Runs `imagestream serve` in a directory of its own and stops it, gently or not.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program;

/// The token of a member of `system:masters`.
pub const ADMIN: &str = "admin-token";
/// The token of `dev`, who may edit streams and read secrets in namespace `team`, and nothing elsewhere.
pub const DEV: &str = "dev-token";
/// The token of `viewer`, who may read streams in namespace `team`, but no secrets.
pub const VIEWER: &str = "viewer-token";
/// The token of `nobody`, who may see what the server offers, and nothing else.
pub const NOBODY: &str = "nobody-token";

const TOKENS: &str = "admin-token,admin,admin-uid,\"system:masters\"\n\
    dev-token,dev,dev-uid,\n\
    viewer-token,viewer,viewer-uid,\n\
    nobody-token,nobody,nobody-uid,\n";

const ROLES: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "tests:editor"}
rules:
- apiGroups: ["image.openshift.io"]
  resources: [imagestreams, imagestreamimages, imagestreammappings, imagestreamtags, imagetags, imagestreams/status]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
- {apiGroups: ["image.openshift.io"], resources: [imagestreamimports], verbs: [create]}
- {apiGroups: [""], resources: [secrets], verbs: [get, list, create, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "tests:viewer"}
rules:
- apiGroups: ["image.openshift.io"]
  resources: [imagestreams, imagestreamimages, imagestreamtags, imagetags]
  verbs: [get, list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "tests:discovery"}
rules:
- {nonResourceURLs: ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version", "/version/"], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "tests:discovery"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "tests:discovery"}
subjects: [{kind: Group, apiGroup: rbac.authorization.k8s.io, name: "system:authenticated"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: editors, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "tests:editor"}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: dev}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: viewers, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "tests:viewer"}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: viewer}]
"#;

/// How long a server may take to be ready, and to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory in which one server after another can run, with its users, roles and configuration.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    program: PathBuf,
    /// Where the next server listens; 0 lets it choose.
    port: u16,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// A new directory, for the program that [`program::path`] finds.
    ///
    /// # Panics
    /// If the directory can't be made.
    #[must_use]
    pub fn new() -> Self {
        Self::with_program(program::path(), std::env::temp_dir())
    }

    /// A new directory below `parent`, for this program.
    ///
    /// # Panics
    /// If the directory can't be made.
    #[must_use]
    pub fn with_program(program: PathBuf, parent: impl AsRef<Path>) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("imagestream-server-")
            .tempdir_in(parent)
            .expect("a temporary directory");
        let place = Self {
            directory,
            program,
            port: 0,
        };
        place.write("tokens.csv", TOKENS);
        place.write("roles.yaml", ROLES);
        place.write("config.yaml", &json!({}).to_string());
        place
    }

    /// Sets the configuration file.
    #[must_use]
    pub fn config(self, config: &Value) -> Self {
        // JSON is YAML.
        self.write("config.yaml", &config.to_string());
        self
    }

    /// A file in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file in the directory.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("write a file");
        path
    }

    /// Starts a server and returns when it is ready. One that starts where another was before waits until nobody else
    /// has that port: whoever connects to something is given any port that is free at that moment.
    ///
    /// # Panics
    /// If it ends, or isn't ready in time; its log is in the message.
    #[must_use]
    pub fn start(mut self) -> Server {
        let begun = Instant::now();
        loop {
            let logged = self.log().len();
            match self.try_start() {
                Ok(server) => return server,
                Err(place) => self = place,
            }
            let log = self.log();
            let is_taken = log[logged..].contains("Address already in use");
            assert!(
                is_taken && self.port != 0 && begun.elapsed() < PATIENCE,
                "the server did not become ready: {log}"
            );
            #[allow(clippy::disallowed_methods, reason = "waits for another process")]
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A server that is ready, or the place again if it did not become so.
    fn try_start(mut self) -> Result<Server, Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("server.log"))
            .expect("a log file");
        let begun = Instant::now();
        let mut process = Command::new(&self.program)
            .arg("serve")
            .arg("--data-dir")
            .arg(self.path("data"))
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .arg("--config")
            .arg(self.path("config.yaml"))
            .arg("--token-auth-file")
            .arg(self.path("tokens.csv"))
            .arg("--authorization-rbac-file")
            .arg(self.path("roles.yaml"))
            .env_clear()
            .env("HOME", self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("imagestream starts");
        let address = ready_address(&mut process);
        let ready_after = begun.elapsed();
        let Some(address) = address else {
            let _ = process.kill();
            let _ = process.wait();
            return Err(self);
        };
        self.port = address.port();
        Ok(Server {
            process: Some(process),
            address,
            ready_after,
            place: Some(self),
        })
    }

    /// What the servers of this place logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }
}

/// Where the server listens, as its only line on standard output says.
fn ready_address(process: &mut Child) -> Option<SocketAddr> {
    let mut output = BufReader::new(process.stdout.take()?);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // The receiver has given up if this can't be sent.
        if output.read_line(&mut line).is_ok() {
            let _ = sender.send(line);
        }
        // Reads on, so that the server never waits for a full pipe.
        let _ = std::io::copy(&mut output, &mut std::io::sink());
    });
    let line = receiver.recv_timeout(PATIENCE).ok()?;
    line.trim_end()
        .strip_prefix("imagestream ready at https://")?
        .parse()
        .ok()
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Option<Child>,
    address: SocketAddr,
    ready_after: Duration,
    place: Option<Place>,
}

impl Server {
    /// Starts a server in a new [`Place`].
    #[must_use]
    pub fn start() -> Self {
        Place::new().start()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Time from the start of the process until it said that it is ready.
    #[must_use]
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its directory.
    ///
    /// # Panics
    /// Never while it runs.
    #[must_use]
    pub fn place(&self) -> &Place {
        self.place.as_ref().expect("only a stopped server has none")
    }

    /// PEM of the authority that clients have to trust.
    ///
    /// # Panics
    /// If it isn't there.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        std::fs::read_to_string(self.place().path("data/pki/ca.crt")).expect("the server wrote its authority")
    }

    /// The administrator's file, which the server wrote.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.place().path("data/admin.kubeconfig")
    }

    /// A file for the user with this token, who works in this namespace.
    #[must_use]
    pub fn kubeconfig_of(&self, token: &str, namespace: &str) -> PathBuf {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "clusters": [{"name": "tests", "cluster": {
                "server": self.url(),
                "certificate-authority": self.place().path("data/pki/ca.crt"),
            }}],
            "users": [{"name": "tests", "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests", "namespace": namespace}}],
        });
        self.place()
            .write(&format!("{token}.kubeconfig"), &config.to_string())
    }

    /// Its process.
    ///
    /// # Panics
    /// Never while it runs.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process
            .as_ref()
            .expect("only a stopped server has none")
            .id()
    }

    /// Resident memory in bytes ([proc](https://man7.org/linux/man-pages/man5/proc_pid_status.5.html)).
    ///
    /// # Panics
    /// If the process has ended.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: u64 = line
            .and_then(|line| line.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .expect("a number of kilobytes");
        kilobytes * 1024
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    /// If it doesn't exit with 0 in time.
    #[must_use]
    pub fn stop(mut self) -> Place {
        let pid = i32::try_from(self.pid()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the server runs");
        let begun = Instant::now();
        let mut process = self.process.take().expect("it runs");
        let status: ExitStatus = loop {
            if let Some(status) = process.try_wait().expect("own child") {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                let _ = process.kill();
                let _ = process.wait();
                panic!("the server does not end: {}", self.place().log());
            }
            #[allow(clippy::disallowed_methods, reason = "waits for another process")]
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "{status}: {}", self.place().log());
        self.place.take().expect("it ran somewhere")
    }

    /// Ends it in the middle of whatever it does.
    ///
    /// # Panics
    /// If it has ended already.
    #[must_use]
    pub fn kill(mut self) -> Place {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("own child");
        process.wait().expect("own child");
        self.place.take().expect("it ran somewhere")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking()
            && let Some(place) = &self.place
        {
            let log = place.log();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            for line in tail.iter().rev() {
                eprintln!("server: {line}");
            }
        }
    }
}
