//! What has changed since a revision.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::{Encoded, Objects};

/// What has changed after a revision, as it was then.
#[derive(Debug)]
pub struct Earlier {
    /// The keys, without the prefix of all, and what was stored under them; nothing if there was none.
    pub objects: Vec<(String, Option<Encoded>)>,
    /// The revision up to which all changes are among them.
    pub reached: u64,
}

impl Objects {
    /// The keys, without the prefix of all, of the objects that were written after a revision, and the revision that this
    /// is true for: when memory last heard of the store; see [`Objects::ready`].
    pub fn changed_since(&self, revision: u64) -> (Vec<String>, u64) {
        let snapshot = self.cache.list(&self.prefix);
        let changed = snapshot
            .entries
            .iter()
            .filter(|entry| entry.mod_revision > revision);
        let key = |key: &str| key.strip_prefix(&self.prefix).unwrap_or(key).to_owned();
        let changed = changed.map(|entry| key(&entry.key)).collect();
        (changed, snapshot.revision)
    }

    /// What has changed after a revision, as memory last heard of the store; see [`Objects::ready`]. Nothing if that is more
    /// than is remembered. Not for objects that are kept on disk.
    ///
    /// # Errors
    /// 500 if an object can't be read.
    pub fn before(&self, revision: u64) -> Result<Option<Earlier>, Box<Status>> {
        let Ok(changed) = self.cache.changed_after(revision) else {
            return Ok(None);
        };
        let mut objects = Vec::with_capacity(changed.entries.len());
        for (key, entry) in changed.entries {
            let key = key.strip_prefix(&self.prefix).unwrap_or(&key).to_owned();
            let entry = entry.map(|entry| self.of_entry(&entry, false)).transpose()?;
            objects.push((key, entry));
        }
        Ok(Some(Earlier {
            objects,
            reached: changed.reached,
        }))
    }
}
