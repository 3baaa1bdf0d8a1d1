//! Turns: whoever changes something waits for others who do, instead of running into conflicts with them.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Semaphore, SemaphorePermit};

/// So many things can be changed at the same time. Nothing relies on it: other servers and other ways of writing are kept
/// apart by the store's preconditions alone.
pub(crate) struct Lanes<const N: usize>([Semaphore; N]);

impl<const N: usize> Lanes<N> {
    /// All free.
    pub(crate) const fn new() -> Self {
        Self([const { Semaphore::const_new(1) }; N])
    }

    /// Waits for others who change what this names; they wait while the answer is held, in the order in which they came.
    pub(crate) async fn turn(&self, name: impl Hash) -> Option<SemaphorePermit<'_>> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % N as u64).unwrap_or_default();
        // It is never closed; without a permit conflicts are still noticed.
        self.0[lane].acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_waits_for_the_other_and_not_for_those_elsewhere() {
        let lanes: Lanes<1_024> = Lanes::new();
        let first = lanes.turn(("n", "s")).await;
        assert!(first.is_some());
        assert!(lanes.turn(("n", "s")).now_or_never().is_none());
        assert!(lanes.turn(("n", "t")).now_or_never().is_some());
        drop(first);
        assert!(lanes.turn(("n", "s")).now_or_never().is_some());
    }
}
