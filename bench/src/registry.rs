//! The registry's process, `bench-registry`, seen from a benchmark.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Result;

/// A running registry; killed when dropped.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// `127.0.0.1:PORT`.
    pub host: String,
}

impl Registry {
    /// Starts a registry that holds this many tags of `bench/many`, each an image of its own.
    ///
    /// # Errors
    /// If it doesn't start.
    pub fn start(tags: usize) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("bench-registry");
        let mut process = Command::new(program)
            .arg(tags.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().ok_or("no pipe")?;
        let output = BufReader::new(process.stdout.take().ok_or("no pipe")?);
        let mut registry = Self {
            process,
            input,
            output,
            host: String::new(),
        };
        registry.host = registry.line()?;
        Ok(registry)
    }

    /// Waits this many milliseconds before each answer from now on.
    ///
    /// # Errors
    /// If it has ended.
    pub fn set_latency(&mut self, millis: u64) -> Result<()> {
        writeln!(self.input, "latency {millis}")?;
        self.line()?;
        Ok(())
    }

    /// Requests since the last call, and the most that were answered at the same time.
    ///
    /// # Errors
    /// If it has ended.
    pub fn take(&mut self) -> Result<(u64, u64)> {
        writeln!(self.input, "take")?;
        let line = self.line()?;
        let (requests, in_flight) = line.split_once(' ').ok_or("two numbers")?;
        Ok((requests.parse()?, in_flight.parse()?))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("the registry has ended".into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
