//! The checks of a transaction that every backend makes before it sends anything.

use std::collections::HashSet;

use crate::model::{Limits, Precondition, StoreError, Write};

impl Limits {
    /// Whether the transaction is well formed and within the limits.
    ///
    /// `precondition_bytes` and `write_bytes` are what the backend adds to each key.
    pub(crate) fn check(
        self,
        preconditions: &[Precondition],
        writes: &[Write],
        precondition_bytes: impl Fn(&str) -> usize,
        write_bytes: impl Fn(&str) -> usize,
    ) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Err(StoreError::Invalid("a transaction without a write".into()));
        }
        let mut keys = HashSet::with_capacity(writes.len());
        for write in writes {
            if !keys.insert(write.key()) {
                return Err(StoreError::Invalid(format!("{:?} is written twice", write.key())));
            }
        }
        let named = preconditions
            .iter()
            .map(Precondition::key)
            .chain(writes.iter().map(Write::key));
        if named.into_iter().any(str::is_empty) {
            return Err(StoreError::Invalid("an empty key".into()));
        }
        for (count, what) in [(preconditions.len(), "preconditions"), (writes.len(), "writes")] {
            if count > self.operations {
                let allowed = self.operations;
                return Err(StoreError::TooLarge(format!(
                    "{count} {what}, but the store allows {allowed}"
                )));
            }
        }
        let conditions = preconditions
            .iter()
            .map(|precondition| precondition_bytes(precondition.key()));
        let changes = writes.iter().map(|write| {
            let value = match write {
                Write::Put(_, value) => value.len(),
                Write::Delete(_) => 0,
            };
            write_bytes(write.key()) + value
        });
        let size = conditions.chain(changes).sum::<usize>();
        if size > self.bytes {
            let allowed = self.bytes;
            return Err(StoreError::TooLarge(format!(
                "{size} bytes, but the store allows {allowed}"
            )));
        }
        Ok(())
    }
}
