//! The consumer's end of a watch, the same for every backend.

use tokio::sync::mpsc;

use crate::model::{StoreError, WatchItem};

/// The producer's end of a watch.
pub(crate) type WatchSender = mpsc::Sender<Result<WatchItem, StoreError>>;

/// An ordered, gap-free stream of the commits under a prefix, each delivered once and whole.
///
/// A consumer that does not keep up holds the watch back, at no cost in memory; it learns that it was too slow by
/// [`StoreError::Compacted`] when history that it has not seen is gone.
#[derive(Debug)]
pub struct Watch {
    items: mpsc::Receiver<Result<WatchItem, StoreError>>,
}

impl Watch {
    /// A watch in which up to `buffered` items wait for the consumer, and the end to feed it from.
    pub(crate) fn channel(buffered: usize) -> (WatchSender, Self) {
        let (sender, items) = mpsc::channel(buffered);
        (sender, Self { items })
    }

    /// The next commit or progress mark; none after an error was delivered.
    ///
    /// Cancel safe: an item is either returned or still to come.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if commits that were not delivered are gone: list again.
    /// [`StoreError::Refused`], [`StoreError::Corrupt`] or [`StoreError::Unavailable`] (the store was closed) if no
    /// more can ever come.
    pub async fn next(&mut self) -> Option<Result<WatchItem, StoreError>> {
        self.items.recv().await
    }
}
