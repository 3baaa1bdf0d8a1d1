//! The end of a server: who waits for it, and how it is told.

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Tells all parts of a server that it is about to end. Clones speak of the same server.
///
/// Whatever would go on for ever (a watch, a loop in the background) ends when it begins; what a client waits for is
/// finished.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    begun: CancellationToken,
}

impl Shutdown {
    /// Begins it. There is no way back.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until it begins.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// As [`Shutdown::begun`], for what outlives this value.
    pub(super) fn begun_owned(&self) -> WaitForCancellationFutureOwned {
        self.begun.clone().cancelled_owned()
    }
}
