//! How the program ends: exit codes, and errors that end it early.

use std::process::ExitCode;

/// Exit codes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Success,
    /// Something failed.
    Failure,
    /// The arguments or the configuration can't be used.
    Usage,
    /// The user interrupted the program.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Interrupted => 130,
        })
    }
}

/// An error that ends the program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What the user gave can't be used; says what to do.
    #[error("{0}")]
    Usage(String),
    /// What the user gave is fine, but it can't be done.
    #[error("{0}")]
    Failure(String),
}

impl Error {
    /// The exit code for this error.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Failure(_) => Exit::Failure,
        }
    }
}
