//! A data directory in one file, and back: [`backup`] and [`restore`].
//!
//! The file is a [tar](https://www.gnu.org/software/tar/manual/html_node/Standard.html) archive: first
//! `manifest.json`, which says what follows with sizes and SHA-256 checksums; then the database, the server's authority
//! (`pki/`) and the key of secrets, under their names in the data directory. `tar` lists and unpacks it.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imagestream_store::sqlite::{DATABASE, OpenError, SqliteOptions, SqliteStore};
use imagestream_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::core::seal::{CHECK_KEY, SealError};
use crate::data_dir::{PKI, SECRET_KEY, STORE};

mod restore;
mod write;

pub use restore::restore;
pub use write::backup;

/// The form of the file. Another number is another form.
const FORMAT: u32 = 1;
/// The first entry of the file.
const MANIFEST: &str = "manifest.json";
/// Largest manifest, certificate or key in bytes.
const MAX_SMALL_BYTES: u64 = 1 << 20;
/// Objects that are read at once to verify them.
const PAGE: usize = 500;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The form of the file: 1.
    pub format: u32,
    /// The version of the program that wrote it.
    pub version: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// The newest revision that it shows.
    pub revision: u64,
    /// How many keys are in the store.
    pub objects: u64,
    /// Whether secrets are encrypted with a key that is in a file elsewhere, and so not in the backup.
    pub secret_key_elsewhere: bool,
    /// What follows in the file, in this order.
    pub files: Vec<Entry>,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its place in the data directory.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
}

/// Why there is no backup, or why it can't be restored. The data directory is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or directory can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory has no store.
    #[error("there is no store in {}; objects in etcd are backed up with `etcdctl snapshot save`", .0.display())]
    NoStore(PathBuf),
    /// The file that should be written is there.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The directory that should be made is there and holds something.
    #[error("{} is not empty: move away what is in it first", .0.display())]
    NotEmpty(PathBuf),
    /// The file is no whole backup.
    #[error("{} is no whole backup: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A newer program wrote the file.
    #[error("{} has format {format}, and this version knows format {FORMAT} only: use a newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The copy of the store can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store can't be copied or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key in the backup is not the one that its secrets are encrypted with.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl BackupError {
    fn file(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File {
            path: path.clone(),
            source,
        }
    }
}

/// Runs what blocks on the disk.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(BackupError::file(path)(io::Error::other(error))),
    }
}

/// The directory that a file or directory is in.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => ".".into(),
    }
}

/// A directory for its owner alone, which is removed with the value.
fn work_directory(parent: &Path, prefix: &str) -> Result<TempDir, BackupError> {
    tempfile::Builder::new()
        .prefix(prefix)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(BackupError::file(parent))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a data directory may hold a file in this place: nothing else gets out of a backup, wherever it came from.
fn is_ours(path: &str) -> bool {
    if path == SECRET_KEY || path == format!("{STORE}/{DATABASE}") {
        return true;
    }
    path.strip_prefix(PKI)
        .and_then(|rest| rest.strip_prefix('/'))
        .is_some_and(|name| {
            !name.is_empty()
                && !name.starts_with('.')
                && name.chars().all(|character| {
                    character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_')
                })
        })
}

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    revision: u64,
    objects: u64,
    has_sealed_secrets: bool,
}

/// Opens a store that nobody else uses, with the checks that belong to it, and reads every object, whose checksums are
/// checked by that. Afterwards the database is whole without other files.
async fn verified(directory: &Path) -> Result<Content, BackupError> {
    let store = SqliteStore::open(directory, SqliteOptions::default()).await?;
    let content = content(&store).await;
    store.close().await;
    let content = content?;
    let log = directory.join(format!("{DATABASE}-wal"));
    match log.metadata() {
        Ok(log) if log.len() > 0 => {
            Err(StoreError::Unavailable("the copy of the store could not be closed properly".into()).into())
        }
        _ => Ok(content),
    }
}

async fn content(store: &SqliteStore) -> Result<Content, StoreError> {
    let revision = store.current_revision().await?;
    let (mut objects, mut after): (u64, Option<String>) = (0, None);
    loop {
        let page = store.list("", after.as_deref(), PAGE, Some(revision)).await?;
        objects += page.items.len() as u64;
        after = page.items.last().map(|item| item.key.clone());
        if !page.more || after.is_none() {
            break;
        }
    }
    let has_sealed_secrets = store.get(CHECK_KEY, None).await?.is_some();
    Ok(Content {
        revision,
        objects,
        has_sealed_secrets,
    })
}

/// Whether the key of secrets in a data directory is the right one for the store in it.
async fn check_key(data_dir: &Path) -> Result<(), BackupError> {
    let store = SqliteStore::open(data_dir.join(STORE), SqliteOptions::default()).await?;
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let checked = crate::core::seal::SecretSeal::open(&shared, data_dir, None).await;
    store.close().await;
    checked?;
    Ok(())
}

#[cfg(test)]
mod tests;
