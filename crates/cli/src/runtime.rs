//! What commands other than `serve` run on.

use crate::exit::Error;

/// One thread: the work is waiting for others.
///
/// # Errors
/// [`Error::Failure`] if there can be none.
pub(crate) fn one_thread() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Failure(format!("can't start: {error}")))
}
