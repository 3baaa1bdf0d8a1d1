//! Starts real etcd servers for tests: free loopback ports, data in a temporary directory, killed on drop.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// How long a member may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a member that starts.
const PAUSE: Duration = Duration::from_millis(20);
/// How often ports are chosen for a new cluster.
const CHOICES: usize = 5;

/// Whether etcd can be run. If not, says that the test is skipped.
///
/// # Panics
/// If it can't and `IMAGESTREAM_REQUIRE_TOOLS` is 1.
#[must_use]
pub fn installed() -> bool {
    let found = Command::new("etcd")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        let required = std::env::var_os("IMAGESTREAM_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(!required, "etcd is not installed (Debian package etcd-server)");
        println!("skipped: etcd is not installed (Debian package etcd-server)");
    }
    found
}

/// One etcd member: its ports and data directory stay the same over restarts.
#[derive(Debug)]
pub struct Member {
    name: String,
    client_port: u16,
    peer_port: u16,
    cluster: String,
    directory: tempfile::TempDir,
    process: Option<Child>,
    tls: Option<Tls>,
}

/// What a member and its clients need to speak TLS, each side with a certificate of one authority.
#[derive(Debug, Clone)]
pub struct Tls {
    /// PEM of the authority.
    pub ca: String,
    /// PEM of a certificate for 127.0.0.1.
    pub certificate: String,
    /// PEM of its key.
    pub key: String,
}

impl Member {
    /// The URL that clients connect to.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    /// Starts the process without waiting for it to serve.
    ///
    /// # Panics
    /// If it runs, or can't be started.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "member is running");
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = Command::new("etcd");
        if let Some(tls) = &self.tls {
            for (file, pem) in [
                ("ca", &tls.ca),
                ("certificate", &tls.certificate),
                ("key", &tls.key),
            ] {
                std::fs::write(self.directory.path().join(file), pem).expect("write PEM");
            }
            command
                .arg("--client-cert-auth")
                .arg("--trusted-ca-file")
                .arg(self.directory.path().join("ca"))
                .arg("--cert-file")
                .arg(self.directory.path().join("certificate"))
                .arg("--key-file")
                .arg(self.directory.path().join("key"));
        }
        let child = command
            .arg("--name")
            .arg(&self.name)
            .arg("--data-dir")
            .arg(self.directory.path().join("data"))
            .args([
                "--listen-client-urls",
                &self.url(),
                "--advertise-client-urls",
                &self.url(),
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args([
                "--initial-cluster",
                &self.cluster,
                "--initial-cluster-state",
                "new",
            ])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(["--log-level", "error", "--logger", "zap"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed (Debian package etcd-server)");
        self.process = Some(child);
    }

    /// Kills the process (SIGKILL) and reaps it; the data stays.
    ///
    /// # Panics
    /// If that fails.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().expect("kill etcd");
            child.wait().expect("reap etcd");
        }
    }

    /// Waits until this member answers a linearizable read, as its [health check][1] makes one; one that speaks TLS only
    /// until it accepts connections. A member whose process ends is started again.
    ///
    /// [1]: https://etcd.io/docs/v3.4/op-guide/monitoring/#health-check
    ///
    /// # Panics
    /// If it does not in time.
    pub async fn wait_until_serving(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.comes_to_serve(deadline).await {
            // Somebody else holds a port of a member that starts again: he may be gone soon.
            assert!(Instant::now() < deadline, "etcd at {} ends", self.url());
            tokio::time::sleep(PAUSE).await;
            self.spawn();
        }
    }

    /// Waits until this member serves; false if its process ends instead.
    async fn comes_to_serve(&mut self, deadline: Instant) -> bool {
        loop {
            let answers = tokio::time::timeout(Duration::from_secs(5), self.answers()).await;
            // Whoever answers at the port of a process that is gone is somebody else.
            if self.has_ended() {
                return false;
            }
            if let Ok(Ok(true)) = answers {
                return true;
            }
            assert!(Instant::now() < deadline, "etcd at {} does not serve", self.url());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether its process is gone without having been killed.
    fn has_ended(&mut self) -> bool {
        let ended = self
            .process
            .as_mut()
            .is_some_and(|child| child.try_wait().expect("own child").is_some());
        if ended {
            self.process = None;
        }
        ended
    }

    async fn answers(&self) -> std::io::Result<bool> {
        let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.client_port)).await?;
        if self.tls.is_some() {
            return Ok(true);
        }
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.contains("\"health\":\"true\""))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A serving single-member etcd.
///
/// # Panics
/// If none comes to serve.
pub async fn single() -> Member {
    serving(1, None).await.remove(0)
}

/// A single-member etcd that asks its clients for a certificate; it accepts connections, but may not serve yet.
///
/// # Panics
/// If none comes to do so.
pub async fn single_with_tls(tls: &Tls) -> Member {
    serving(1, Some(tls)).await.remove(0)
}

/// A serving three-member cluster.
///
/// # Panics
/// If none comes to serve.
pub async fn cluster_of_three() -> Vec<Member> {
    serving(3, None).await
}

/// A cluster that serves. Between the choice of a port and its use somebody else may take it; then there is another
/// cluster with other ports.
async fn serving(count: usize, tls: Option<&Tls>) -> Vec<Member> {
    for _ in 0..CHOICES {
        let mut members = prepare(count);
        for member in &mut members {
            member.tls = tls.cloned();
            member.spawn();
        }
        let deadline = Instant::now() + PATIENCE;
        let mut serves = true;
        for member in &mut members {
            serves = serves && member.comes_to_serve(deadline).await;
        }
        if serves {
            return members;
        }
    }
    panic!("etcd ended {CHOICES} times");
}

fn prepare(count: usize) -> Vec<Member> {
    // All listeners are held until every port is chosen, so that no port is chosen twice.
    let listeners: Vec<TcpListener> = (0..count * 2)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    let ports: Vec<u16> = listeners
        .iter()
        .map(|listener| listener.local_addr().expect("bound").port())
        .collect();
    let cluster = (0..count)
        .map(|index| format!("m{index}=http://127.0.0.1:{}", ports[index * 2 + 1]))
        .collect::<Vec<_>>()
        .join(",");
    (0..count)
        .map(|index| Member {
            name: format!("m{index}"),
            client_port: ports[index * 2],
            peer_port: ports[index * 2 + 1],
            cluster: cluster.clone(),
            directory: tempfile::tempdir().expect("temporary directory"),
            process: None,
            tls: None,
        })
        .collect()
}
