//! Tasks of a controller that go on beside each other, and what each of them works on.
//!
//! A task that panics ends with an error of its own: a mistake that only one piece of work leads to keeps no other from
//! being done.

use std::collections::HashMap;

use tokio::task::{self, JoinError, JoinSet};
use tokio_util::task::TaskTracker;

/// Tasks that work on `W` and return `T`. They are aborted when this is dropped.
pub(super) struct Workers<W, T> {
    tasks: JoinSet<T>,
    works: HashMap<task::Id, W>,
    acting: TaskTracker,
}

impl<W, T: Send + 'static> Workers<W, T> {
    /// None yet. `acting` is told of each for as long as it acts.
    pub(super) fn new(acting: &TaskTracker) -> Self {
        Self {
            tasks: JoinSet::new(),
            works: HashMap::new(),
            acting: acting.clone(),
        }
    }

    /// Begins a task.
    pub(super) fn begin(&mut self, work: W, task: impl Future<Output = T> + Send + 'static) {
        let begun = self.tasks.spawn(self.acting.track_future(task));
        self.works.insert(begun.id(), work);
    }

    /// How many go on.
    pub(super) fn count(&self) -> usize {
        self.works.len()
    }

    /// What they work on.
    #[cfg(test)]
    pub(super) fn works(&self) -> impl Iterator<Item = &W> {
        self.works.values()
    }

    /// The next task that has ended: what it worked on, and what it returned. Waits for ever if none goes on.
    ///
    /// Cancel safe: a task is either returned or still to come.
    pub(super) async fn ended(&mut self) -> (W, Result<T, JoinError>) {
        loop {
            let (id, outcome) = match self.tasks.join_next_with_id().await {
                Some(Ok((id, outcome))) => (id, Ok(outcome)),
                Some(Err(error)) => (error.id(), Err(error)),
                None => std::future::pending().await,
            };
            if let Some(work) = self.works.remove(&id) {
                return (work, outcome);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_task_ends_with_what_it_worked_on_also_by_a_panic() {
        #![allow(clippy::panic, reason = "a task that panics is what is tested")]
        let acting = TaskTracker::new();
        let mut workers = Workers::new(&acting);
        workers.begin("a", async { 1 });
        workers.begin("b", async { panic!("a mistake") });
        assert_eq!((workers.count(), acting.len()), (2, 2));
        let mut ended = Vec::new();
        for _ in 0..2 {
            let (work, outcome) = workers.ended().await;
            ended.push((work, outcome.ok()));
        }
        ended.sort_unstable();
        assert_eq!(ended, [("a", Some(1)), ("b", None)]);
        assert_eq!((workers.count(), acting.len()), (0, 0));
    }
}
