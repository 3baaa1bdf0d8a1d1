//! `imagestream backup` and `imagestream restore`.

use imagestream_server::backup::{self, BackupError, Manifest};
use jiff::Timestamp;

use crate::arguments::{BackupArguments, RestoreArguments};
use crate::exit::{Error, Exit};
use crate::output;
use crate::runtime::one_thread;

/// Copies a data directory into a file.
///
/// # Errors
/// [`Error::Failure`] if there is no backup then.
pub(crate) fn backup(arguments: &BackupArguments) -> Result<Exit, Error> {
    let work = backup::backup(&arguments.data_dir, &arguments.file, Timestamp::now());
    let manifest = finished(work)?;
    if manifest.secret_key_elsewhere {
        eprintln!(
            "note: the key that secrets are encrypted with is in a file elsewhere, and not in this backup"
        );
    }
    let file = arguments.file.display();
    output::print(&format!("{file}: {}\n", summary(&manifest)))?;
    Ok(Exit::Success)
}

/// Makes a data directory of a file.
///
/// # Errors
/// [`Error::Failure`] if nothing was restored.
pub(crate) fn restore(arguments: &RestoreArguments) -> Result<Exit, Error> {
    let manifest = finished(backup::restore(&arguments.file, &arguments.data_dir))?;
    if manifest.secret_key_elsewhere {
        eprintln!(
            "note: the key that secrets are encrypted with was not in this backup: start with --secret-key-file"
        );
    }
    let directory = arguments.data_dir.display();
    output::print(&format!("{directory}: {}\n", summary(&manifest)))?;
    Ok(Exit::Success)
}

fn finished(work: impl Future<Output = Result<Manifest, BackupError>>) -> Result<Manifest, Error> {
    let runtime = one_thread()?;
    runtime
        .block_on(work)
        .map_err(|error| Error::Failure(error.to_string()))
}

fn summary(manifest: &Manifest) -> String {
    let bytes: u64 = manifest.files.iter().map(|file| file.size).sum();
    format!(
        "{} objects at revision {}, {bytes} bytes, as of {}",
        manifest.objects, manifest.revision, manifest.created
    )
}
