//! What a server knows of marks without asking the store.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::prune::marks::Snapshot;

/// How long it is remembered that an image was marked: longer than any request lasts that saw the image before.
const REMEMBERED: Duration = Duration::from_secs(2 * 60 * 60);

/// Images to beware of, and the state of the store that they belong to.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The revision of the state; none if there is none.
    revision: Option<u64>,
    /// Images that are marked, or no longer since then.
    marked: HashMap<Box<str>, Option<Instant>>,
    /// Whether some of them are still marked.
    has_marks: bool,
    /// Until when some are remembered that are not.
    remembered_until: Option<Instant>,
    /// Until when to beware of all images, because there were marks that were not seen.
    of_all_until: Option<Instant>,
}

impl Known {
    /// What a server that begins knows. Nobody can have relied on what marks said before.
    pub(super) fn first(snapshot: &Snapshot, now: Instant) -> Self {
        let mut known = Self::default();
        known.learn(snapshot, now);
        known.of_all_until = None;
        known
    }

    /// Takes in what was read. Snapshots must come in order.
    pub(super) fn learn(&mut self, snapshot: &Snapshot, now: Instant) {
        let seen = self.revision.unwrap_or(0);
        if snapshot.state.is_some_and(|(_, state)| state.ended > seen) {
            self.of_all_until = Some(now + REMEMBERED);
        }
        self.revision = snapshot.state.map(|(revision, _)| revision);
        for gone in self.marked.values_mut() {
            gone.get_or_insert(now);
        }
        self.has_marks = !snapshot.marks.is_empty();
        for image in snapshot.images() {
            self.marked.insert(image.into(), None);
        }
        self.marked
            .retain(|_, gone| gone.is_none_or(|gone| now.duration_since(gone) < REMEMBERED));
        if !self.marked.is_empty() {
            self.remembered_until = Some(now + REMEMBERED);
        }
    }

    /// The revision of the state; none if there is none.
    pub(super) fn revision(&self) -> Option<u64> {
        self.revision
    }

    /// Whether there is nothing to beware of. What needs not be remembered any longer is forgotten then.
    pub(super) fn is_calm(&mut self, now: Instant) -> bool {
        let is_past = |until: Option<Instant>| until.is_none_or(|until| now >= until);
        if self.has_marks || !is_past(self.remembered_until) {
            return false;
        }
        self.marked = HashMap::new();
        is_past(self.of_all_until)
    }

    /// Whether an image may have been deleted since a request began that goes on now, or be about to.
    pub(super) fn is_suspect(&self, image: &str, now: Instant) -> bool {
        self.of_all_until.is_some_and(|until| now < until)
            || self
                .marked
                .get(image)
                .is_some_and(|gone| gone.is_none_or(|gone| now.duration_since(gone) < REMEMBERED))
    }

    /// Has an image looked at closely for a while.
    pub(super) fn suspect(&mut self, image: &str, now: Instant) {
        self.remembered_until = Some(now + REMEMBERED);
        self.marked.entry(image.into()).or_insert(Some(now));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

    use imagestream_store::KeyValue;

    use super::*;
    use crate::prune::marks::{State, key};

    fn snapshot(revision: u64, ended: u64, images: &[&str]) -> Snapshot {
        let mark = |image: &&str| KeyValue {
            key: key(image),
            value: "".into(),
            create_revision: 1,
            mod_revision: 1,
        };
        Snapshot {
            state: Some((revision, State { ended })),
            marks: images.iter().map(mark).collect(),
        }
    }

    #[test]
    fn a_mark_is_remembered_for_a_while_after_it_ended() {
        let now = Instant::now();
        let mut known = Known::first(&Snapshot::default(), now);
        assert!(known.is_calm(now));
        known.learn(&snapshot(5, 0, &["a"]), now);
        assert!(known.is_suspect("a", now + 2 * REMEMBERED), "it is still marked");
        assert!(!known.is_suspect("b", now));
        let later = now + REMEMBERED;
        known.learn(&snapshot(8, 5, &[]), later);
        assert!(known.is_suspect("a", later) && !known.is_suspect("b", later));
        assert!(!known.is_suspect("a", later + REMEMBERED));
        assert!(known.is_calm(later + REMEMBERED) && known.marked.is_empty());
    }

    #[test]
    fn who_missed_marks_bewares_of_all_images_for_a_while_but_not_who_has_only_begun() {
        let now = Instant::now();
        let mut known = Known::first(&snapshot(5, 3, &[]), now);
        assert!(known.is_calm(now));
        // Marks were made at 7 and ended at 9.
        known.learn(&snapshot(9, 7, &[]), now);
        assert!(known.is_suspect("anything", now));
        assert!(known.is_calm(now + REMEMBERED));
        assert!(!known.is_suspect("anything", now + REMEMBERED));
    }
}
