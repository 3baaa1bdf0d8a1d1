//! Encryption of secrets in the store: [AES-256-GCM][1] with a key from a file.
//!
//! A sealed value is one byte that says which form this is (`1`), four bytes that name the key, a random nonce of
//! twelve bytes, and the ciphertext with its tag. The key under which the value is stored is authenticated with it, so
//! that nobody who can write to the store can pass one secret off as another.
//!
//! [1]: https://doi.org/10.6028/NIST.SP.800-38D

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use imagestream_apiserver::atomic_file;
use imagestream_apiserver::storage::Seal;
use imagestream_store::{Precondition, Store, StoreError, Write};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use crate::data_dir::SECRET_KEY;

/// The length of a key in bytes.
const KEY_LENGTH: usize = 32;
/// The form of sealed values.
const VERSION: u8 = 1;
const KEY_ID_LENGTH: usize = 4;
const HEAD_LENGTH: usize = 1 + KEY_ID_LENGTH + NONCE_LEN;
/// Where a store keeps what only the right key opens.
pub(crate) const CHECK_KEY: &str = "/imagestream/secret-key-check";
const CHECK_TEXT: &[u8] = b"secrets of this store are sealed with this key";

/// Why secrets can't be sealed and opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key can't be read.
    #[error("the key of secrets can't be read from {}: {source}", path.display())]
    Unreadable {
        /// Where it should be.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// The key can't be written.
    #[error("a key for secrets can't be written to {}: {source}", path.display())]
    Unwritable {
        /// Where it should be.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// The file is no key.
    #[error("{} is no key of secrets: it must have exactly {KEY_LENGTH} bytes", .0.display())]
    Malformed(PathBuf),
    /// The store holds secrets, and the key that they are sealed with is gone.
    #[error(
        "the secrets in the store are sealed with a key that is not there: restore {} from a backup, or name the file \
         that holds the key",
        .0.display()
    )]
    Missing(PathBuf),
    /// The store's secrets are sealed with another key.
    #[error("the secrets in the store are sealed with another key than the one in {}", .0.display())]
    OtherKey(PathBuf),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// The store did not answer.
    #[error("whether the key of secrets is the right one can't be told: {0}")]
    Store(#[from] StoreError),
}

/// Seals with one key.
pub struct SecretSeal {
    key: LessSafeKey,
    id: [u8; KEY_ID_LENGTH],
    random: SystemRandom,
}

impl SecretSeal {
    /// The seal of a store's secrets: with the key in `key_file`, or else with the one in the data directory, which is
    /// made if the store was never sealed.
    ///
    /// # Errors
    /// There is no key where one must be, or another than the store's secrets are sealed with.
    pub async fn open(
        store: &Arc<dyn Store>,
        data_dir: &Path,
        key_file: Option<&Path>,
    ) -> Result<Self, SealError> {
        let is_new = store.get(CHECK_KEY, None).await?.is_none();
        let path = key_file.map_or_else(|| data_dir.join(SECRET_KEY), Path::to_owned);
        let key = match read_key(&path)? {
            Some(key) => key,
            None if !is_new => return Err(SealError::Missing(path)),
            None if key_file.is_some() => {
                let source = io::Error::from(io::ErrorKind::NotFound);
                return Err(SealError::Unreadable { path, source });
            }
            None => make_key(&path)?,
        };
        let seal = Self::new(&key)?;
        seal.check(store, path).await?;
        Ok(seal)
    }

    /// The seal of a key.
    fn new(key: &[u8; KEY_LENGTH]) -> Result<Self, SealError> {
        let mut hash = Sha256::new();
        hash.update(b"imagestream secret key id\0");
        hash.update(key);
        let mut id = [0; KEY_ID_LENGTH];
        id.copy_from_slice(&hash.finalize()[..KEY_ID_LENGTH]);
        // The length is the algorithm's, which is all that it asks for.
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealError::NoRandomness)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            id,
            random: SystemRandom::new(),
        })
    }

    /// Sees to it that the store remembers this key, if it does not remember another one.
    async fn check(&self, store: &Arc<dyn Store>, path: PathBuf) -> Result<(), SealError> {
        loop {
            if let Some(item) = store.get(CHECK_KEY, None).await? {
                return match self.open_value(CHECK_KEY, &item.value) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(SealError::OtherKey(path)),
                };
            }
            let sealed = self
                .seal_value(CHECK_KEY, CHECK_TEXT)
                .map_err(|_| SealError::NoRandomness)?;
            let write = Write::Put(CHECK_KEY.into(), sealed);
            match store
                .commit(&[Precondition::Absent(CHECK_KEY.into())], &[write])
                .await
            {
                Ok(_) => return Ok(()),
                // Another server was faster; perhaps with another key.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn authenticated(&self, key: &str) -> Aad<Vec<u8>> {
        Aad::from([&[VERSION], &self.id[..], key.as_bytes()].concat())
    }

    fn seal_value(&self, key: &str, plain: &[u8]) -> Result<Bytes, String> {
        let failed = |_| "a secret can't be sealed".to_owned();
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(failed)?;
        let mut sealed = Vec::with_capacity(HEAD_LENGTH + plain.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                self.authenticated(key),
                &mut sealed[HEAD_LENGTH..],
            )
            .map_err(failed)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed.into())
    }

    fn open_value(&self, key: &str, sealed: &[u8]) -> Result<Bytes, String> {
        let Some((head, body)) = sealed
            .split_at_checked(HEAD_LENGTH)
            .filter(|(head, _)| head[0] == VERSION)
        else {
            return Err(format!("what is stored at {key} is no sealed secret"));
        };
        let (id, nonce) = head[1..].split_at(KEY_ID_LENGTH);
        if id != self.id {
            return Err(format!("the secret at {key} is sealed with another key"));
        }
        let damaged = |_| format!("the secret at {key} is damaged");
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(damaged)?;
        let mut body = body.to_vec();
        let length = self
            .key
            .open_in_place(nonce, self.authenticated(key), &mut body)
            .map_err(damaged)?
            .len();
        body.truncate(length);
        Ok(body.into())
    }
}

impl Seal for SecretSeal {
    fn seal(&self, key: &str, plain: &[u8]) -> Result<Bytes, String> {
        self.seal_value(key, plain)
    }

    fn open(&self, key: &str, sealed: &Bytes) -> Result<Bytes, String> {
        self.open_value(key, sealed)
    }
}

/// The key in a file, if there is the file.
fn read_key(path: &Path) -> Result<Option<[u8; KEY_LENGTH]>, SealError> {
    let unreadable = |source| SealError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut content = Vec::with_capacity(KEY_LENGTH + 1);
    file.take(KEY_LENGTH as u64 + 1)
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    match content.try_into() {
        Ok(key) => Ok(Some(key)),
        Err(_) => Err(SealError::Malformed(path.to_owned())),
    }
}

fn make_key(path: &Path) -> Result<[u8; KEY_LENGTH], SealError> {
    let mut key = [0; KEY_LENGTH];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| SealError::NoRandomness)?;
    let unwritable = |source| SealError::Unwritable {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(unwritable)?;
    }
    atomic_file::write(path, &key, 0o600).map_err(unwritable)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]
    use std::os::unix::fs::PermissionsExt;

    use imagestream_store::sqlite::{SqliteOptions, SqliteStore};

    use super::*;

    fn seal(byte: u8) -> SecretSeal {
        SecretSeal::new(&[byte; KEY_LENGTH]).unwrap()
    }

    #[test]
    fn what_was_sealed_is_opened_and_shows_nothing_before() {
        let plain = b"{\"data\":{\"password\":\"cGFzc3dvcmQ=\"}}";
        let sealed = seal(1).seal("/secrets/n/a", plain).unwrap();
        assert_eq!(seal(1).open("/secrets/n/a", &sealed).unwrap(), plain[..]);
        assert!(
            !sealed
                .windows(8)
                .any(|window| plain.windows(8).any(|part| part == window))
        );
        let again = seal(1).seal("/secrets/n/a", plain).unwrap();
        assert_ne!(
            sealed[HEAD_LENGTH..],
            again[HEAD_LENGTH..],
            "each write has its own nonce"
        );
    }

    #[test]
    fn a_secret_opens_only_with_its_key_in_its_place_and_unchanged() {
        let sealed = seal(1).seal("/secrets/n/a", b"x").unwrap();
        assert_eq!(
            seal(2).open("/secrets/n/a", &sealed).unwrap_err(),
            "the secret at /secrets/n/a is sealed with another key"
        );
        assert_eq!(
            seal(1).open("/secrets/n/b", &sealed).unwrap_err(),
            "the secret at /secrets/n/b is damaged",
            "moved from another key"
        );
        for position in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[position] ^= 1;
            assert!(
                seal(1).open("/secrets/n/a", &changed.into()).is_err(),
                "byte {position}"
            );
        }
        for length in 0..sealed.len() {
            assert!(
                seal(1).open("/secrets/n/a", &sealed.slice(..length)).is_err(),
                "{length} bytes"
            );
        }
    }

    async fn store(directory: &Path) -> Arc<dyn Store> {
        Arc::new(
            SqliteStore::open(directory, SqliteOptions::default())
                .await
                .unwrap(),
        )
    }

    #[tokio::test]
    async fn a_key_is_made_once_for_its_owner_alone_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path();
        let store = store(data_dir).await;
        let first = SecretSeal::open(&store, data_dir, None).await.unwrap();
        let path = data_dir.join(SECRET_KEY);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = first.seal("/k", b"x").unwrap();
        let second = SecretSeal::open(&store, data_dir, None).await.unwrap();
        assert_eq!(second.open("/k", &sealed).unwrap(), b"x"[..]);
    }

    #[tokio::test]
    async fn a_missing_or_another_key_is_told_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path();
        let store = store(data_dir).await;
        let path = data_dir.join("key");
        let problem = async |file: Option<&Path>| match SecretSeal::open(&store, data_dir, file).await {
            Ok(_) => String::new(),
            Err(error) => error.to_string().replace(&*data_dir.to_string_lossy(), "DIR"),
        };
        assert!(
            problem(Some(&path))
                .await
                .starts_with("the key of secrets can't be read from DIR/key: ")
        );
        fs::write(&path, [7; KEY_LENGTH + 1]).unwrap();
        assert_eq!(
            problem(Some(&path)).await,
            "DIR/key is no key of secrets: it must have exactly 32 bytes"
        );
        fs::write(&path, [7; KEY_LENGTH]).unwrap();
        assert_eq!(problem(Some(&path)).await, "");
        assert_eq!(
            problem(None).await,
            "the secrets in the store are sealed with a key that is not there: restore DIR/secret.key from a backup, \
             or name the file that holds the key"
        );
        assert!(
            !data_dir.join(SECRET_KEY).exists(),
            "no new key hides that the old one is gone"
        );
        fs::write(&path, [8; KEY_LENGTH]).unwrap();
        assert_eq!(
            problem(Some(&path)).await,
            "the secrets in the store are sealed with another key than the one in DIR/key"
        );
    }
}
