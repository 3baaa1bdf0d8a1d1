//! Restoring a backup.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use imagestream_store::sqlite::DATABASE;
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};
use tempfile::TempDir;

use super::{
    BackupError, Entry, FORMAT, MANIFEST, MAX_SMALL_BYTES, Manifest, blocking, check_key, is_ours, parent,
    verified, work_directory,
};
use crate::data_dir::{SECRET_KEY, STORE};

/// Makes the data directory `data_dir` of the backup in `file`. Everything is unpacked beside it and verified there, by
/// the checksums of the backup and those of the store, before it gets its name.
///
/// # Errors
/// [`BackupError`]; `data_dir` is as it was then.
pub async fn restore(file: &Path, data_dir: &Path) -> Result<Manifest, BackupError> {
    check_target(data_dir)?;
    let beside = parent(data_dir);
    fs::create_dir_all(&beside).map_err(BackupError::file(&beside))?;
    let work = work_directory(&beside, ".imagestream-restore-")?;
    let (from, to) = (file.to_owned(), work.path().to_owned());
    let manifest = blocking(file, move || unpack(&from, &to)).await?;

    let content = verified(&work.path().join(STORE)).await?;
    if (content.revision, content.objects) != (manifest.revision, manifest.objects) {
        let problem = format!(
            "its store has {} objects at revision {}, but should have {} at {}",
            content.objects, content.revision, manifest.objects, manifest.revision
        );
        return Err(damaged(file)(problem));
    }
    if work.path().join(SECRET_KEY).exists() {
        check_key(work.path()).await?;
    }
    put_in_place(work, data_dir)?;
    Ok(manifest)
}

/// Nothing is there, or an empty directory. A server that runs has files in it.
fn check_target(data_dir: &Path) -> Result<(), BackupError> {
    match fs::read_dir(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackupError::file(data_dir)(error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(BackupError::NotEmpty(data_dir.to_owned())),
        },
    }
}

fn put_in_place(work: TempDir, data_dir: &Path) -> Result<(), BackupError> {
    let failed = BackupError::file(data_dir);
    // Replaces an empty directory, and nothing else: rename(2).
    fs::rename(work.path(), data_dir).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty => BackupError::NotEmpty(data_dir.to_owned()),
        io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => failed(io::Error::other(
            "a file system is mounted there: restore into a directory in it",
        )),
        _ => failed(error),
    })?;
    // It has another name now, so that there is nothing to remove.
    let _ = work.keep();
    sync(&parent(data_dir)).map_err(failed)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn damaged(file: &Path) -> impl Fn(String) -> BackupError + use<> {
    let path = file.to_owned();
    move |problem| BackupError::Damaged {
        path: path.clone(),
        problem,
    }
}

/// Unpacks what the manifest names, and nothing else, into an empty directory.
fn unpack(file: &Path, directory: &Path) -> Result<Manifest, BackupError> {
    let wrong = damaged(file);
    let broken = |error: io::Error| wrong(error.to_string());
    let opened = File::open(file).map_err(BackupError::file(file))?;
    let mut archive = Archive::new(io::BufReader::new(opened));
    let mut entries = archive.entries().map_err(broken)?;

    let first = entries.next().transpose().map_err(broken)?;
    let mut first = first
        .filter(|entry| entry.path_bytes().as_ref() == MANIFEST.as_bytes())
        .ok_or_else(|| wrong(format!("it does not begin with {MANIFEST}")))?;
    let mut text = Vec::new();
    first
        .by_ref()
        .take(MAX_SMALL_BYTES)
        .read_to_end(&mut text)
        .map_err(broken)?;
    let manifest = manifest(file, &text)?;

    let mut awaited = manifest.files.iter();
    for entry in entries {
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let expected = awaited
            .next()
            .filter(|expected| expected.path == name && entry.header().entry_type() == EntryType::Regular)
            .ok_or_else(|| wrong(format!("{name:?} is not where its manifest says")))?;
        unpack_one(&mut entry, expected, directory, file)?;
    }
    if let Some(missing) = awaited.next() {
        return Err(wrong(format!("{} is missing", missing.path)));
    }
    let failed = BackupError::file(directory);
    for name in fs::read_dir(directory).map_err(&failed)? {
        let path = name.map_err(&failed)?.path();
        if path.is_dir() {
            sync(&path).map_err(&failed)?;
        }
    }
    sync(directory).map_err(failed)?;
    Ok(manifest)
}

fn manifest(file: &Path, text: &[u8]) -> Result<Manifest, BackupError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    let wrong = |error: serde_json::Error| damaged(file)(format!("{MANIFEST}: {error}"));
    let Format { format } = serde_json::from_slice(text).map_err(wrong)?;
    if format != FORMAT {
        return Err(BackupError::Newer {
            path: file.to_owned(),
            format,
        });
    }
    let manifest: Manifest = serde_json::from_slice(text).map_err(wrong)?;
    if let Some(other) = manifest.files.iter().find(|entry| !is_ours(&entry.path)) {
        return Err(damaged(file)(format!(
            "{:?} is no file of a data directory",
            other.path
        )));
    }
    let database = format!("{STORE}/{DATABASE}");
    if !manifest.files.iter().any(|entry| entry.path == database) {
        return Err(damaged(file)(format!("{database} is missing")));
    }
    Ok(manifest)
}

fn unpack_one(
    content: &mut impl Read,
    expected: &Entry,
    directory: &Path,
    file: &Path,
) -> Result<(), BackupError> {
    let path: PathBuf = directory.join(&expected.path);
    let failed = BackupError::file(&path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent(&path))
        .map_err(&failed)?;
    let mode = if expected.path.ends_with(".crt") {
        0o644
    } else {
        0o600
    };
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&path)
        .map_err(&failed)?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = content
            .read(&mut buffer)
            .map_err(|error| damaged(file)(format!("{}: {error}", expected.path)))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        size += read as u64;
        target.write_all(&buffer[..read]).map_err(&failed)?;
    }
    if size != expected.size || super::hex(&hash.finalize()) != expected.sha256 {
        let problem = format!("the content of {} is not what its checksum says", expected.path);
        return Err(damaged(file)(problem));
    }
    target.sync_all().map_err(failed)
}
