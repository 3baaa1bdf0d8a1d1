//! Backups of real stores; what is broken in between must be noticed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use imagestream_store::Write;
use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::core::seal::SecretSeal;

/// A data directory with objects, a sealed store and an authority.
async fn data_dir() -> (TempDir, SqliteStore) {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    let store = SqliteStore::open(data.join(STORE), SqliteOptions::default())
        .await
        .unwrap();
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    SecretSeal::open(&shared, &data, None).await.unwrap();
    for number in 0..20 {
        put(&store, &format!("/k/{number}")).await;
    }
    fs::create_dir(data.join(PKI)).unwrap();
    fs::write(data.join("pki/ca.crt"), "certificate").unwrap();
    fs::write(data.join("pki/.ca.key.12"), "half written").unwrap();
    fs::write(data.join("admin.kubeconfig"), "made at every start").unwrap();
    (parent, store)
}

async fn put(store: &SqliteStore, key: &str) {
    store
        .commit(&[], &[Write::Put(key.into(), key.to_owned().into())])
        .await
        .unwrap();
}

async fn made(parent: &TempDir) -> (PathBuf, Manifest) {
    let file = parent.path().join("b.tar");
    let manifest = backup(&parent.path().join("data"), &file, Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    (file, manifest)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_restored_is_what_was_there_while_the_store_is_in_use() {
    let (parent, store) = data_dir().await;
    let (file, manifest) = made(&parent).await;
    put(&store, "/k/later").await;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let inside: Vec<&str> = manifest.files.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(inside, ["store/imagestream.db", "pki/ca.crt", "secret.key"]);
    assert!(!manifest.secret_key_elsewhere);

    let target = parent.path().join("new/data");
    assert_eq!(restore(&file, &target).await.unwrap(), manifest);
    assert_eq!(target.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(
        fs::read_to_string(target.join("pki/ca.crt")).unwrap(),
        "certificate"
    );
    let key = target.join(SECRET_KEY);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read(&key).unwrap(),
        fs::read(parent.path().join("data/secret.key")).unwrap()
    );
    let copy = SqliteStore::open(target.join(STORE), SqliteOptions::default())
        .await
        .unwrap();
    assert_eq!(copy.current_revision().await.unwrap(), manifest.revision);
    let found = copy.list("/k/", None, 100, None).await.unwrap();
    assert_eq!(
        found.items.len(),
        20,
        "what was written after the backup is not in it"
    );
    assert_eq!(
        names(&parent.path().join("new")),
        ["data"],
        "nothing is left over"
    );
    assert_eq!(names(parent.path()), ["b.tar", "data", "new"]);
}

#[tokio::test]
async fn nothing_that_is_there_is_overwritten() {
    let (parent, _store) = data_dir().await;
    let (file, _) = made(&parent).await;
    let before = fs::read(&file).unwrap();
    let again = backup(&parent.path().join("data"), &file, Timestamp::UNIX_EPOCH).await;
    assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");
    assert_eq!(fs::read(&file).unwrap(), before);

    let occupied = restore(&file, &parent.path().join("data")).await;
    assert!(matches!(occupied, Err(BackupError::NotEmpty(_))), "{occupied:?}");
    let empty = parent.path().join("empty");
    fs::create_dir(&empty).unwrap();
    restore(&file, &empty).await.unwrap();
}

#[tokio::test]
async fn a_directory_without_a_store_is_no_backup() {
    let parent = tempfile::tempdir().unwrap();
    let result = backup(parent.path(), &parent.path().join("b"), Timestamp::UNIX_EPOCH).await;
    assert!(matches!(result, Err(BackupError::NoStore(_))), "{result:?}");
    assert!(names(parent.path()).is_empty());
}

#[tokio::test]
async fn a_key_that_is_elsewhere_is_told() {
    let (parent, _store) = data_dir().await;
    fs::remove_file(parent.path().join("data/secret.key")).unwrap();
    assert!(made(&parent).await.1.secret_key_elsewhere);
}

#[tokio::test]
async fn a_key_that_does_not_open_the_secrets_is_refused() {
    let (parent, _store) = data_dir().await;
    fs::write(parent.path().join("data/secret.key"), [7; 32]).unwrap();
    let (file, _) = made(&parent).await;
    let target = parent.path().join("new");
    let result = restore(&file, &target).await;
    assert!(
        matches!(result, Err(BackupError::Seal(SealError::OtherKey(_)))),
        "{result:?}"
    );
    assert!(!target.exists());
}

#[tokio::test]
async fn a_file_that_was_changed_cut_or_is_something_else_restores_nothing() {
    let (parent, _store) = data_dir().await;
    let (file, _) = made(&parent).await;
    let whole = fs::read(&file).unwrap();
    let target = parent.path().join("new");
    let at = |needle: &[u8]| {
        whole
            .windows(needle.len())
            .position(|window| window == needle)
            .unwrap()
    };
    let changed = |position: usize| {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        bytes
    };
    for (what, bytes, problem) in [
        (
            "a byte of the database",
            changed(at(b"SQLite format 3") + 5000),
            "store/imagestream.db is not what its checksum says",
        ),
        (
            "a byte of the authority",
            changed(
                whole
                    .windows(11)
                    .rposition(|window| window == b"certificate")
                    .unwrap(),
            ),
            "pki/ca.crt is not what its checksum says",
        ),
        (
            "the end",
            whole[..whole.len() / 2].to_vec(),
            "store/imagestream.db",
        ),
        ("something else", b"hello".to_vec(), ""),
        ("nothing", Vec::new(), "does not begin with manifest.json"),
        (
            "another format",
            {
                let mut bytes = whole.clone();
                bytes[at(b"\"format\": 1") + 10] = b'2';
                bytes
            },
            "has format 2",
        ),
        (
            "a place outside",
            String::from_utf8_lossy(&whole[..1536])
                .replace("pki/ca.crt", "../../a.crt")
                .into_bytes(),
            "",
        ),
    ] {
        fs::write(&file, bytes).unwrap();
        let error = restore(&file, &target).await.unwrap_err().to_string();
        assert!(error.contains(problem), "{what}: {error}");
        assert!(!target.exists(), "{what}");
    }
    assert_eq!(names(parent.path()), ["b.tar", "data"]);
}

#[test]
fn only_places_of_a_data_directory_are_restored() {
    for (path, ours) in [
        ("store/imagestream.db", true),
        ("secret.key", true),
        ("pki/ca.crt", true),
        ("pki/../../x", false),
        ("pki/", false),
        ("pki/.hidden", false),
        ("pki/a/b", false),
        ("/etc/passwd", false),
        ("store/other", false),
    ] {
        assert_eq!(is_ours(path), ours, "{path}");
    }
}
