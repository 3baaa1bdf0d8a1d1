//! `imagestream serve`: the API server, until it is told to stop.

use std::process;

use imagestream_server::StartError;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::ServeArguments;
use crate::config::serve_settings;
use crate::exit::{Error, Exit};
use crate::output;

/// Runs the command. One line on standard output says when the server answers.
///
/// # Errors
/// [`Error::Usage`] for settings that can't be used, [`Error::Failure`] if the server can't start.
pub(crate) fn run(arguments: &ServeArguments) -> Result<Exit, Error> {
    let settings = serve_settings(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Failure(format!("can't start: {error}")))?;
    runtime.block_on(async {
        let failed = |error: &dyn std::fmt::Display| Error::Failure(format!("can't serve: {error}"));
        // Asked for before anything is opened, so that no signal is missed.
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed(&error))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed(&error))?;
        let server = Box::pin(imagestream_server::start(settings))
            .await
            .map_err(|error| match error {
                StartError::Setting { .. } => Error::Usage(error.to_string()),
                _ => failed(&error),
            })?;
        output::print(&format!("imagestream ready at {}\n", server.url()))?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // A second signal does not wait for what is under way.
            tokio::spawn(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                process::exit(1);
            });
        };
        server.run(shutdown).await.map_err(|error| failed(&error))
    })?;
    Ok(Exit::Success)
}
