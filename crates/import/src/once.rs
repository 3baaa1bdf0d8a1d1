//! Work that many ask for and that is done once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

/// Results by key. The first to ask does the work while the others wait; if it goes away, the next takes over.
#[derive(Debug)]
pub(crate) struct Once<K, V> {
    cells: Mutex<HashMap<K, Arc<OnceCell<V>>>>,
}

impl<K, V> Default for Once<K, V> {
    fn default() -> Self {
        Self {
            cells: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash, V: Clone> Once<K, V> {
    /// The result for `key`, which `work` makes if nobody has before.
    pub(crate) async fn get(&self, key: K, work: impl Future<Output = V>) -> V {
        let cell = {
            // The map is whole even if a panic poisoned the lock: nothing below can panic half-way.
            let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(key).or_default())
        };
        cell.get_or_init(|| work).await.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_is_done_once_for_all_who_ask_and_taken_over_from_one_who_leaves() {
        let once = Once::<&str, usize>::default();
        let runs = AtomicUsize::new(0);
        let (enter, entered) = tokio::sync::oneshot::channel();
        let first = once.get("a", async {
            enter.send(()).unwrap();
            std::future::pending().await
        });
        tokio::select! {
            _ = first => unreachable!("the first never ends"),
            _ = entered => {}
        }
        let work = || async {
            tokio::task::yield_now().await;
            runs.fetch_add(1, Ordering::Relaxed) + 1
        };
        let (one, two, other) = tokio::join!(
            once.get("a", work()),
            once.get("a", work()),
            once.get("b", work())
        );
        assert_eq!(one, two);
        assert_ne!(one, other);
        assert_eq!(runs.load(Ordering::Relaxed), 2);
    }
}
