//! Runs the [`kubectl`](https://kubernetes.io/docs/reference/kubectl/) that is installed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Set to 1 where missing tools are a failure and no reason to skip.
const REQUIRE: &str = "IMAGESTREAM_REQUIRE_TOOLS";

/// Whether kubectl is installed; says so if not.
///
/// # Panics
/// If it is missing and `IMAGESTREAM_REQUIRE_TOOLS` is 1.
#[must_use]
pub fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join("kubectl").is_file()) {
        return true;
    }
    let required = std::env::var(REQUIRE).is_ok_and(|value| value == "1");
    assert!(!required, "{REQUIRE}=1, but kubectl is not installed");
    println!("skipped, for want of kubectl");
    false
}

/// kubectl as one user: a configuration, and a home directory without anybody's own.
#[derive(Debug)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    home: TempDir,
}

/// What a finished command printed.
#[derive(Debug)]
pub struct Output {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Kubectl {
    /// For the user of this configuration file.
    ///
    /// # Panics
    /// If there can be no temporary directory.
    #[must_use]
    pub fn new(kubeconfig: PathBuf) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        Self { kubeconfig, home }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// The minor version: 20 for Kubernetes 1.20.
    ///
    /// # Panics
    /// If kubectl doesn't tell.
    #[must_use]
    pub fn minor_version(&self) -> u32 {
        let version: Value = serde_json::from_str(&self.ok(&["version", "--client", "-o", "json"]))
            .expect("kubectl prints JSON");
        let minor = version["clientVersion"]["minor"].as_str().expect("a version");
        minor.trim_end_matches('+').parse().expect("a number")
    }

    /// Runs a command with this on its standard input.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        self.finish(self.command(arguments), input)
    }

    /// Runs a command with a shell command line as the editor.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn run_with_editor(&self, arguments: &[&str], editor: &str) -> Output {
        let mut command = self.command(arguments);
        command.env("KUBE_EDITOR", editor);
        self.finish(command, "")
    }

    fn finish(&self, mut command: Command, input: &str) -> Output {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A command that doesn't read its input closes the pipe.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("kubectl ends");
        Output {
            code: output.status.code().expect("kubectl exits by itself"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output of a command that must succeed.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.ok_with(arguments, "")
    }

    /// The same, with this on standard input.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn ok_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run_with(arguments, input);
        assert_eq!(output.code, 0, "kubectl {arguments:?}: {output:?}");
        output.stdout
    }

    /// Standard output of a command that must succeed and print JSON.
    ///
    /// # Panics
    /// If it doesn't.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// Standard error of a command that must fail.
    ///
    /// # Panics
    /// If it succeeds.
    #[must_use]
    pub fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run_with(arguments, "");
        assert_ne!(output.code, 0, "kubectl {arguments:?}: {output:?}");
        output.stderr
    }

    /// Starts a command that goes on printing.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn follow(&self, arguments: &[&str]) -> Following {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Following { child, lines }
    }
}

/// A running command; killed when dropped.
#[derive(Debug)]
pub struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    /// The next line that contains `text`.
    ///
    /// # Panics
    /// If none comes within 30 seconds.
    #[must_use]
    pub fn line_with(&self, text: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(30)) {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line with {text:?} among {seen:?}");
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
