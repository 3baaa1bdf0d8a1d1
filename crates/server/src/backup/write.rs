//! Writing a backup.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use imagestream_store::sqlite::{DATABASE, SqliteStore};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::{NamedTempFile, TempDir};

use super::{
    BackupError, Content, Entry, FORMAT, MANIFEST, MAX_SMALL_BYTES, Manifest, blocking, is_ours, parent,
    verified, work_directory,
};
use crate::data_dir::{PKI, SECRET_KEY, STORE};

/// Copies what a server keeps in `data_dir` into `file`, whether the server runs or not: all objects as they are at one
/// moment. The copy of the store is opened and read before the file appears; it needs as much space beside the file
/// meanwhile as the store takes.
///
/// # Errors
/// [`BackupError`]; there is no file then.
pub async fn backup(data_dir: &Path, file: &Path, now: Timestamp) -> Result<Manifest, BackupError> {
    let store = data_dir.join(STORE);
    if !store.join(DATABASE).exists() {
        return Err(BackupError::NoStore(data_dir.to_owned()));
    }
    if file.exists() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let beside = parent(file);
    let work = work_directory(&beside, ".imagestream-backup-")?;
    let copy = work.path().join(STORE);
    SqliteStore::backup_of(&store, &copy).await?;
    let content = verified(&copy).await?;

    let (data_dir, file) = (data_dir.to_owned(), file.to_owned());
    let path = file.clone();
    blocking(&path, move || archive(&data_dir, &work, content, &file, now)).await
}

/// A file that goes into the archive.
struct Source {
    at: PathBuf,
    entry: Entry,
}

fn archive(
    data_dir: &Path,
    work: &TempDir,
    content: Content,
    file: &Path,
    now: Timestamp,
) -> Result<Manifest, BackupError> {
    let mut sources = vec![source(work.path(), &format!("{STORE}/{DATABASE}"), u64::MAX)?];
    for name in small_files(data_dir)? {
        // Copied first: what is hashed is what is written, whatever a server that starts meanwhile renews.
        let to = work.path().join(&name);
        let directory = parent(&to);
        fs::create_dir_all(&directory).map_err(BackupError::file(&directory))?;
        fs::copy(data_dir.join(&name), &to).map_err(BackupError::file(&to))?;
        sources.push(source(work.path(), &name, MAX_SMALL_BYTES)?);
    }
    let has_key = sources.iter().any(|source| source.entry.path == SECRET_KEY);
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        created: now.to_string(),
        revision: content.revision,
        objects: content.objects,
        secret_key_elsewhere: content.has_sealed_secrets && !has_key,
        files: sources.iter().map(|source| source.entry.clone()).collect(),
    };

    let beside = parent(file);
    let failed = BackupError::file(file);
    // Readable for its owner alone, from the beginning.
    let mut target = NamedTempFile::new_in(&beside).map_err(&failed)?;
    write(target.as_file_mut(), &manifest, &sources, now).map_err(&failed)?;
    target
        .persist_noclobber(file)
        .map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(file.to_owned()),
            _ => failed(error.error),
        })?;
    File::open(&beside)
        .and_then(|directory| directory.sync_all())
        .map_err(&failed)?;
    Ok(manifest)
}

/// The certificates and keys of a data directory, by their place in it.
fn small_files(data_dir: &Path) -> Result<Vec<String>, BackupError> {
    let mut names = Vec::new();
    let pki = data_dir.join(PKI);
    match fs::read_dir(&pki) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(BackupError::file(&pki)(error)),
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(BackupError::file(&pki))?;
                // Files that are being replaced have names that begin with a dot.
                let name = format!("{PKI}/{}", entry.file_name().to_string_lossy());
                if is_ours(&name) {
                    names.push(name);
                }
            }
        }
    }
    if data_dir.join(SECRET_KEY).exists() {
        names.push(SECRET_KEY.into());
    }
    names.sort();
    Ok(names)
}

fn source(directory: &Path, name: &str, limit: u64) -> Result<Source, BackupError> {
    let at = directory.join(name);
    let failed = BackupError::file(&at);
    let mut file = File::open(&at).map_err(&failed)?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut buffer).map_err(&failed)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        size += read as u64;
        if size > limit {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
    }
    Ok(Source {
        at,
        entry: Entry {
            path: name.to_owned(),
            size,
            sha256: super::hex(&hash.finalize()),
        },
    })
}

fn write(file: &mut File, manifest: &Manifest, sources: &[Source], now: Timestamp) -> io::Result<()> {
    let mut archive = Builder::new(io::BufWriter::new(&mut *file));
    let header = |path: &str, size: u64| {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_path(path)?;
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or_default());
        header.set_cksum();
        io::Result::Ok(header)
    };
    let mut text = serde_json::to_vec_pretty(manifest)?;
    text.push(b'\n');
    archive.append(&header(MANIFEST, text.len() as u64)?, text.as_slice())?;
    for source in sources {
        let entry = &source.entry;
        let content = File::open(&source.at)?.take(entry.size);
        archive.append(&header(&entry.path, entry.size)?, content)?;
    }
    archive.into_inner()?.flush()?;
    file.sync_all()
}
