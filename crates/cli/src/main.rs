//! The program `imagestream`: reads its arguments, runs a command, ends with the command's exit code.

mod arguments;
mod backup;
mod client;
mod config;
mod exit;
mod import;
mod output;
mod progress;
mod prune;
mod runtime;
mod serve;
mod status;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Nothing but warnings unless asked for; the log never goes where the result goes.
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("IMAGESTREAM_LOG").unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .init();
    let result = match arguments.command {
        Command::Import(arguments) => import::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Prune(arguments) => prune::run(&arguments),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Completion { shell } => {
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "imagestream",
                &mut std::io::stdout(),
            );
            Ok(exit::Exit::Success)
        }
        Command::Version => output::print(&format!("imagestream {}\n", env!("CARGO_PKG_VERSION")))
            .map(|()| exit::Exit::Success),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error}");
            error.exit().into()
        }
    }
}
