//! What manifest lists were read, kept over restarts: a source that still names the same list then costs one `HEAD`.
//!
//! Streams record which member of a list was imported, but not of which list. So the store has a key for each source
//! that was seen to name one. It is written when the source names another list, and deleted when a controller begins and
//! nobody follows the source any more. A key that is missing or wrong costs one reading of a manifest.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use imagestream_api::digest::Digest;
use imagestream_import::Platform;
use imagestream_store::{Store, StoreError, Write};
use serde::{Deserialize, Serialize};

use super::followed::Name;
use super::settled::{Fixed, Manifest};

/// What all keys begin with; the source as registries are asked for it follows.
const PREFIX: &str = "/imagestream/lists/";
/// Keys that are read at once.
const PAGE: usize = 1_000;
/// Keys that are deleted in one transaction; every store allows as many.
const BATCH: usize = 100;

/// What is kept of a list.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The digest of the list.
    list: String,
    /// The digest of its member for the platform.
    member: String,
    /// The platform of the server that chose.
    platform: String,
}

/// The lists that sources were seen to name.
#[derive(Debug, Default)]
pub(super) struct Lists {
    known: HashMap<Name, (Manifest, bool)>,
}

fn key(name: &Name) -> String {
    let separator = if name.version.contains(':') { '@' } else { ':' };
    format!("{PREFIX}{}{separator}{}", name.repository, name.version)
}

fn name(key: &str) -> Option<Name> {
    let text = key.strip_prefix(PREFIX)?;
    let (repository, version) = text.split_once('@').or_else(|| text.rsplit_once(':'))?;
    Some(Name {
        repository: repository.to_owned(),
        version: version.to_owned(),
    })
}

impl Lists {
    /// Those of the store that were chosen from for this platform.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn load(store: &Arc<dyn Store>, platform: &Platform) -> Result<Self, StoreError> {
        let platform = platform.to_string();
        let mut known = HashMap::new();
        let (mut after, mut revision) = (None, None);
        loop {
            let page = store.list(PREFIX, after.as_deref(), PAGE, revision).await?;
            for found in &page.items {
                let kept = serde_json::from_slice::<Kept>(&found.value);
                // What can't be read, or was chosen for another platform, is found out again.
                if let (Some(name), Ok(kept)) = (name(&found.key), kept)
                    && kept.platform == platform
                {
                    let manifest = Manifest {
                        digest: Fixed::of(&kept.list),
                        member: Fixed::of(&kept.member),
                    };
                    known.insert(name, (manifest, false));
                }
            }
            (after, revision) = (
                page.items.last().map(|last| last.key.clone()),
                Some(page.revision),
            );
            if !page.more {
                return Ok(Self { known });
            }
        }
    }

    /// What a source was seen to name. It is in use from now on.
    pub(super) fn of(&mut self, name: &Name) -> Option<Manifest> {
        let (manifest, is_used) = self.known.get_mut(name)?;
        *is_used = true;
        Some(*manifest)
    }

    /// Deletes those that nobody has used.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn delete_unused(self, store: &Arc<dyn Store>) -> Result<(), StoreError> {
        let unused = self.known.into_iter().filter(|(_, (_, is_used))| !is_used);
        let deletions: Vec<Write> = unused.map(|(name, _)| Write::Delete(key(&name))).collect();
        for batch in deletions.chunks(BATCH) {
            store.commit(&[], batch).await?;
        }
        Ok(())
    }
}

/// Notes which manifest a source names now, and its member for the platform: the same if it is no list.
///
/// # Errors
/// Those of the store.
pub(super) async fn keep(
    store: &Arc<dyn Store>,
    name: &Name,
    manifest: &Digest,
    member: &Digest,
    platform: &Platform,
) -> Result<(), StoreError> {
    let write = if manifest == member {
        Write::Delete(key(name))
    } else {
        let kept = Kept {
            list: manifest.to_string(),
            member: member.to_string(),
            platform: platform.to_string(),
        };
        let value = serde_json::to_vec(&kept).map_err(|error| StoreError::Invalid(error.to_string()))?;
        Write::Put(key(name), Bytes::from(value))
    };
    store.commit(&[], &[write]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use imagestream_store::sqlite::{SqliteOptions, SqliteStore};

    use super::*;

    fn digest(of: char) -> Digest {
        Digest::parse(&format!("sha256:{}", of.to_string().repeat(64))).unwrap()
    }

    fn source(version: &str) -> Name {
        Name {
            repository: "r.test:5000/team/app".into(),
            version: version.into(),
        }
    }

    #[tokio::test]
    async fn lists_are_known_again_for_the_same_platform_until_nobody_uses_them() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path(), SqliteOptions::default())
            .await
            .unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let (amd, arm) = ("linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap());
        let by_digest = digest('c').to_string();
        for version in ["used", "unused", &by_digest] {
            keep(&store, &source(version), &digest('a'), &digest('b'), &amd)
                .await
                .unwrap();
        }
        keep(&store, &source("plain"), &digest('a'), &digest('a'), &amd)
            .await
            .unwrap();
        let known = Manifest {
            digest: Fixed::from(&digest('a')),
            member: Fixed::from(&digest('b')),
        };
        let mut lists = Lists::load(&store, &amd).await.unwrap();
        assert_eq!(lists.of(&source("used")), Some(known));
        assert_eq!(lists.of(&source(&by_digest)), Some(known));
        assert_eq!(lists.of(&source("plain")), None);
        let mut others = Lists::load(&store, &arm).await.unwrap();
        assert_eq!(others.of(&source("used")), None, "for another platform");
        lists.delete_unused(&store).await.unwrap();

        keep(&store, &source(&by_digest), &digest('d'), &digest('d'), &amd)
            .await
            .unwrap();
        let mut again = Lists::load(&store, &amd).await.unwrap();
        assert_eq!(again.of(&source("used")), Some(known));
        assert_eq!(again.of(&source("unused")), None);
        assert_eq!(again.of(&source(&by_digest)), None, "it is a list no more");
    }
}
