//! Serves the sample content on a loopback port, for trying things out and for end-to-end tests.
//!
//! Usage: `sample-registry [PORT]`; without a port, or with 0, it takes a free one. The only line on standard
//! output is `sample registry at 127.0.0.1:PORT`. SIGTERM and SIGINT end it.

use std::io::Write as _;
use std::process::ExitCode;

use imagestream_testkit::registry::TestRegistry;
use imagestream_testkit::samples;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let port = match arguments.next().as_deref().map(str::parse::<u16>) {
        None => 0,
        Some(Ok(port)) if arguments.next().is_none() => port,
        _ => {
            eprintln!("usage: sample-registry [PORT]");
            return ExitCode::from(2);
        }
    };
    match serve(port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sample-registry: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(port: u16) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Signals are caught before the line goes out: whoever has read it may end this process properly.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let registry = TestRegistry::builder(samples::demo())
            .port(port)
            .without_record()
            .try_start()?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "sample registry at {}", registry.host())?;
        out.flush()?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
