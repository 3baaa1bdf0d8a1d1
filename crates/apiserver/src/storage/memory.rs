//! What memory tells at once, without asking the store whether it is behind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::{Encoded, Objects};
use crate::selectors::field::FieldSelector;
use crate::selectors::label::LabelSelector;

impl Objects {
    /// An object as it is shown, if there was one that the selectors choose when memory last heard of the store; see
    /// [`Objects::ready`]. Not for objects that are kept on disk.
    ///
    /// # Errors
    /// 500 if it can't be read.
    pub fn selected(
        &self,
        namespace: &str,
        name: &str,
        labels: &LabelSelector,
        fields: &FieldSelector,
    ) -> Result<Option<Encoded>, Box<Status>> {
        let entry = self.cache.get(&self.key(namespace, name));
        let selected = entry.filter(|entry| self.is_selected(&entry.metadata, labels, fields));
        selected.map(|entry| self.of_entry(&entry, true)).transpose()
    }

    /// All objects as they are shown of a namespace (all: empty) that the selectors chose when memory last heard of the
    /// store. Not for objects that are kept on disk.
    ///
    /// # Errors
    /// 500 if one can't be read.
    pub fn all_selected(
        &self,
        namespace: &str,
        labels: &LabelSelector,
        fields: &FieldSelector,
    ) -> Result<Vec<Encoded>, Box<Status>> {
        let snapshot = self.cache.list(&self.scope(namespace));
        let entries = snapshot.entries.iter();
        let chosen = entries.filter(|entry| self.is_selected(&entry.metadata, labels, fields));
        chosen.map(|entry| self.of_entry(entry, true)).collect()
    }
}
