//! How far an import is, for those who watch it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the items of one import while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    planned: AtomicUsize,
    done: AtomicUsize,
}

impl Progress {
    /// Items known so far; a repository adds its tags once they are listed.
    pub fn planned(&self) -> usize {
        self.planned.load(Ordering::Relaxed)
    }

    /// Items that were read or failed.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn add_planned(&self, items: usize) {
        self.planned.fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn add_done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}
