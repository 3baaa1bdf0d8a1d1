//! Time and memory of a process, as the system accounts them
//! ([getrusage](https://man7.org/linux/man-pages/man2/getrusage.2.html)).
//!
//! The system knows figures of all children together, so that each measured program is the only child of a process
//! that does nothing else: this program, called with [`MEASURE`].

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use imagestream_bench::Result;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde_json::{Value, json};

/// First argument of the process that runs and measures one program: `FILE PROGRAM ARGUMENTS…`, where FILE takes the
/// program's standard output.
pub(crate) const MEASURE: &str = "--measure";
/// First argument of the process that makes three round trips: `HOST REPOSITORY`.
pub(crate) const FLOOR: &str = "--floor";

/// What a program took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Seconds of processor time, user and system.
    pub(crate) cpu: f64,
    /// Largest resident memory, in 10^6 bytes.
    pub(crate) peak_mb: f64,
}

impl Figures {
    /// Adds a program that ran after this one.
    pub(crate) fn add(&mut self, next: &Self) {
        self.wall += next.wall;
        self.cpu += next.cpu;
        self.peak_mb = self.peak_mb.max(next.peak_mb);
    }

    /// The median of each figure.
    pub(crate) fn median(runs: &mut [Self]) -> Self {
        let mut middle = |figure: fn(&Self) -> f64| {
            runs.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
            runs.get(runs.len() / 2).map_or(f64::NAN, figure)
        };
        Self {
            wall: middle(|figures| figures.wall),
            cpu: middle(|figures| figures.cpu),
            peak_mb: middle(|figures| figures.peak_mb),
        }
    }
}

/// Runs a program that has to succeed, and returns its figures and its standard output.
pub(crate) fn measure(program: &Path, arguments: &[&str]) -> Result<(Figures, Vec<u8>)> {
    let mut file = tempfile::NamedTempFile::new()?;
    let report = Command::new(std::env::current_exe()?)
        .arg(MEASURE)
        .arg(file.path())
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !report.status.success() {
        return Err(format!("{} {arguments:?} failed", program.display()).into());
    }
    let report: Value = serde_json::from_slice(&report.stdout)?;
    let figure = |name: &str| report[name].as_f64().ok_or("a figure is missing");
    let figures = Figures {
        wall: figure("wall")?,
        cpu: figure("cpu")?,
        peak_mb: figure("peak_mb")?,
    };
    let mut output = Vec::new();
    file.read_to_end(&mut output)?;
    Ok((figures, output))
}

/// The other side of [`measure`].
pub(crate) fn run_and_report(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let file = arguments.next().ok_or("a file for the output")?;
    let program = arguments.next().ok_or("a program")?;
    let output = std::fs::File::create(file)?;
    let begun = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output)
        .status()?;
    let wall = begun.elapsed().as_secs_f64();
    if !status.success() {
        return Err(format!("it ended with {status}").into());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    // Kilobytes of 1024 bytes each.
    let peak =
        i32::try_from(usage.max_rss()).map_or(f64::NAN, |kilobytes| f64::from(kilobytes) * 1024.0 / 1e6);
    let cpu = i32::try_from(micros).map_or(f64::NAN, |micros| f64::from(micros) / 1e6);
    println!("{}", json!({"wall": wall, "cpu": cpu, "peak_mb": peak}));
    Ok(())
}

/// The least that any client has to do: one connection, and on it the tags, then a manifest, then its config.
pub(crate) fn three_round_trips(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let mut next = || arguments.next().and_then(|text| text.into_string().ok());
    let (host, repository) = next().zip(next()).ok_or("a host and a repository")?;
    let mut connection = BufReader::new(TcpStream::connect(&host)?);
    connection.get_ref().set_nodelay(true)?;
    let base = format!("/v2/{repository}");
    let tags = get(&mut connection, &host, &format!("{base}/tags/list"))?;
    let tag = tags["tags"][0].as_str().ok_or("no tags")?;
    let manifest = get(&mut connection, &host, &format!("{base}/manifests/{tag}"))?;
    let digest = manifest["config"]["digest"].as_str().ok_or("no config")?;
    let config = get(&mut connection, &host, &format!("{base}/blobs/{digest}"))?;
    match config["architecture"].is_string() {
        true => Ok(()),
        false => Err("not a config".into()),
    }
}

fn get(connection: &mut BufReader<TcpStream>, host: &str, path: &str) -> Result<Value> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes())?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err("the connection ended".into());
        }
        match line.trim_end().split_once(": ") {
            Some(("content-length", value)) => length = value.parse()?,
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}
