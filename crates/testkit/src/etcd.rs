//! Starts real etcd servers for tests: free loopback ports, data in a temporary directory, killed on drop.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
#[derive(Debug)]
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

    /// Waits until this member answers a linearizable read, as its [health check][1] makes one. Not for one that speaks
    /// TLS.
    ///
    /// [1]: https://etcd.io/docs/v3.4/op-guide/monitoring/#health-check
    ///
    /// # Panics
    /// If it does not in time.
    pub async fn wait_until_serving(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let health = tokio::time::timeout(Duration::from_secs(5), self.health()).await;
            if let Ok(Ok(health)) = health
                && health.contains("\"health\":\"true\"")
            {
                return;
            }
            assert!(Instant::now() < deadline, "etcd at {} does not serve", self.url());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn health(&self) -> std::io::Result<String> {
        let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.client_port)).await?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
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
pub async fn single() -> Member {
    let mut members = prepare(1);
    let mut member = members.remove(0);
    member.spawn();
    member.wait_until_serving().await;
    member
}

/// A single-member etcd that asks its clients for a certificate; not yet known to serve.
#[must_use]
pub fn single_with_tls(tls: Tls) -> Member {
    let mut members = prepare(1);
    let mut member = members.remove(0);
    member.tls = Some(tls);
    member.spawn();
    member
}

/// A serving three-member cluster.
pub async fn cluster_of_three() -> Vec<Member> {
    let mut members = prepare(3);
    members.iter_mut().for_each(Member::spawn);
    for member in &members {
        member.wait_until_serving().await;
    }
    members
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
