//! What was pushed a short while ago: a stream that comes to follow it only now may have what was there before.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use imagestream_follow::Millis;

use super::followed::Name;

/// How long a push is remembered: longer than an import takes that read what was there before.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);
/// Most pushes that are remembered. Of more the oldest are forgotten: their tags are looked at when they are due.
const MOST: usize = 4_096;

/// Pushes by the names of what was pushed.
#[derive(Debug, Default)]
pub(super) struct Pushed {
    last: HashMap<Name, Millis>,
    /// In the order in which they were told.
    order: VecDeque<(Millis, Name)>,
}

impl Pushed {
    /// Somebody says that this was pushed.
    pub(super) fn note(&mut self, name: &Name, now: Millis) {
        self.order.push_back((now, name.clone()));
        self.last.insert(name.clone(), now);
        self.forget(now);
    }

    /// Whether this was pushed a short while ago.
    pub(super) fn contains(&self, name: &Name, now: Millis) -> bool {
        let last = self.last.get(name);
        last.is_some_and(|last| now.since(*last) < REMEMBERED)
    }

    fn forget(&mut self, now: Millis) {
        while let Some((at, name)) = self.order.front()
            && (now.since(*at) >= REMEMBERED || self.order.len() > MOST)
        {
            // It may have been pushed again since.
            if self.last.get(name) == Some(at) {
                self.last.remove(name);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Name {
        Name {
            repository: "q.test/a".into(),
            version: number.to_string(),
        }
    }

    #[test]
    fn a_push_is_remembered_for_a_while_since_it_was_last_told() {
        let mut pushed = Pushed::default();
        let half = REMEMBERED / 2;
        let start = Millis(1_000_000);
        pushed.note(&name(1), start);
        pushed.note(&name(2), start);
        pushed.note(&name(2), start.after(half));
        assert!(pushed.contains(&name(1), start.after(half)));
        assert!(!pushed.contains(&name(3), start.after(half)));
        assert!(!pushed.contains(&name(1), start.after(REMEMBERED)));
        assert!(pushed.contains(&name(2), start.after(REMEMBERED)));
        pushed.note(&name(3), start.after(REMEMBERED));
        assert_eq!((pushed.last.len(), pushed.order.len()), (2, 2));
    }

    #[test]
    fn a_flood_of_pushes_is_remembered_no_further_than_there_is_room() {
        let mut pushed = Pushed::default();
        let now = Millis(1_000_000);
        for number in 0..3 * MOST {
            pushed.note(&name(number), now);
            pushed.note(&name(0), now);
        }
        assert!(pushed.order.len() <= MOST && pushed.last.len() <= MOST);
        assert!(pushed.contains(&name(3 * MOST - 1), now) && !pushed.contains(&name(1), now));
    }
}
