//! The directory that holds everything a server keeps: what is where in it, and the lock that lets one process in.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::start::StartError;

/// The directory of the SQLite store.
pub(crate) const STORE: &str = "store";
/// The directory of certificates and their keys.
pub(crate) const PKI: &str = "pki";
/// The key of secrets, where no other is configured.
pub(crate) const SECRET_KEY: &str = "secret.key";
/// The file for `kubectl`.
const KUBECONFIG: &str = "admin.kubeconfig";
/// Locked while a server runs; holds its process id.
const LOCK: &str = "server.lock";

/// A data directory that is this process' own. The lock ends with this value, or with the process.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory for its owner alone, or takes the one that is there as it is; and locks it.
    ///
    /// # Errors
    /// [`StartError::InUse`] if another server runs on it; [`StartError::File`] if it can't be used.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        make(path).map_err(StartError::file(path))?;
        let lock_path = path.join(LOCK);
        let failed = || StartError::file(&lock_path);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StartError::InUse {
                    path: path.to_owned(),
                    process: owner(&lock),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        let note = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        note(&mut lock).map_err(failed())?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.path.join(PKI)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path.join(KUBECONFIG)
    }
}

fn make(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return DirBuilder::new().recursive(true).mode(0o700).create(path);
    }
    let metadata = path.metadata()?;
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if metadata.permissions().mode() & 0o022 != 0 {
        tracing::warn!(path = %path.display(), "other users may write to the data directory");
    }
    Ok(())
}

/// The process id that whoever holds the lock wrote into the file.
fn owner(lock: &File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
    use super::*;

    #[test]
    fn one_process_at_a_time_has_a_directory_and_the_next_is_told_which() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let refused = DataDir::open(&path).unwrap_err().to_string();
        let expected = format!(
            "{} is in use by another server (process {})",
            path.display(),
            std::process::id()
        );
        assert_eq!(refused, expected);
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = DataDir::open(file.path()).unwrap_err().to_string();
        assert!(refused.ends_with("not a directory"), "{refused}");
    }
}
