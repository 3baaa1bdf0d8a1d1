//! A checker for recorded histories: is there an order of all operations that explains what each one saw?
//!
//! Linearizability as in Herlihy and Wing (<https://dl.acm.org/doi/10.1145/78969.78972>). Commits name their place in the
//! order by their revision, so that a history can be checked in one pass: an operation that began after another
//! had ended must not have an earlier place.

use std::collections::BTreeMap;
use std::time::Instant;

/// What one operation did or saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Did {
    /// Committed one key at this revision; if it was conditional, on this revision of the key (0: absent).
    Wrote {
        key: u8,
        revision: u64,
        deleted: bool,
        condition: Option<u64>,
    },
    /// Read, or was refused because of, this revision of the key (0: absent).
    Saw { key: u8, revision: u64 },
    /// Saw the revisions of all keys that exist, in a list at this revision.
    Listed { at: u64, keys: BTreeMap<u8, u64> },
}

/// An operation with the moments between which it took effect.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) did: Did,
}

/// For each key its revisions in order, and whether the key was deleted by each.
type Revisions = BTreeMap<u8, BTreeMap<u64, bool>>;

/// Checks a history of keys that did not exist before.
pub(crate) fn check(mut operations: Vec<Operation>) -> Result<(), String> {
    let mut revisions = Revisions::new();
    let mut taken = BTreeMap::new();
    for operation in &operations {
        if let Did::Wrote {
            key,
            revision,
            deleted,
            ..
        } = operation.did
        {
            revisions.entry(key).or_default().insert(revision, deleted);
            if taken.insert(revision, operation.did.clone()).is_some() {
                return Err(format!("revision {revision} was given to two commits"));
            }
        }
    }
    operations.sort_by_key(|operation| operation.began);
    let mut by_end: Vec<(Instant, usize)> = operations
        .iter()
        .map(|operation| operation.ended)
        .zip(0..)
        .collect();
    by_end.sort_unstable();
    // The place of each operation: the revision whose state it made or saw, and 0 for making, 1 for seeing it.
    let mut places = vec![(0, 0); operations.len()];
    let (mut floor, mut ended) = ((0, 0), 0);
    for (index, operation) in operations.iter().enumerate() {
        while by_end[ended].0 < operation.began {
            floor = floor.max(places[by_end[ended].1]);
            ended += 1;
        }
        places[index] = place(&operation.did, floor, &revisions)
            .ok_or_else(|| format!("{:?} after {floor:?} can't be explained", operation.did))?;
    }
    Ok(())
}

/// The earliest place not before `floor` that explains an operation.
fn place(did: &Did, floor: (u64, u8), revisions: &Revisions) -> Option<(u64, u8)> {
    match did {
        Did::Wrote {
            key,
            revision,
            condition,
            ..
        } => {
            if let Some(condition) = condition {
                let history = revisions.get(key)?;
                let last = history.range(..revision).next_back();
                let before = last.map_or(0, |(revision, deleted)| if *deleted { 0 } else { *revision });
                if before != *condition {
                    return None;
                }
            }
            ((*revision, 0) > floor).then_some((*revision, 0))
        }
        Did::Saw { key, revision } => {
            let empty = BTreeMap::new();
            let history = revisions.get(key).unwrap_or(&empty);
            // Each state of the key lasts from one revision to the one before the next.
            let starts = std::iter::once((0, true)).chain(history.iter().map(|(at, gone)| (*at, *gone)));
            starts
                .filter(|(at, gone)| if *gone { *revision == 0 } else { at == revision })
                .find_map(|(at, _)| {
                    let end = history.range(at + 1..).next().map_or(u64::MAX, |(next, _)| *next);
                    let place = floor.max((at, 1));
                    (place < (end, 0)).then_some(place)
                })
        }
        Did::Listed { at, keys } => {
            let state: BTreeMap<u8, u64> = revisions
                .iter()
                .filter_map(|(key, history)| {
                    let (revision, gone) = history.range(..=at).next_back()?;
                    (!gone).then_some((*key, *revision))
                })
                .collect();
            (state == *keys && (*at, 1) >= floor).then_some((*at, 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn operations(did: &[(u64, u64, Did)]) -> Vec<Operation> {
        let start = Instant::now();
        did.iter()
            .map(|(began, ended, did)| Operation {
                began: start + Duration::from_secs(*began),
                ended: start + Duration::from_secs(*ended),
                did: did.clone(),
            })
            .collect()
    }

    fn wrote(revision: u64, condition: Option<u64>) -> Did {
        Did::Wrote {
            key: 1,
            revision,
            deleted: false,
            condition,
        }
    }

    fn saw(revision: u64) -> Did {
        Did::Saw { key: 1, revision }
    }

    #[test]
    fn overlapping_operations_may_take_effect_in_either_order() {
        for seen in [0, 2] {
            check(operations(&[(0, 3, wrote(2, None)), (1, 2, saw(seen))])).expect("linearizable");
        }
    }

    #[test]
    fn a_stale_read_is_found() {
        check(operations(&[
            (0, 1, wrote(2, None)),
            (2, 3, wrote(3, None)),
            (4, 5, saw(2)),
        ]))
        .expect_err("stale");
    }

    #[test]
    fn a_read_older_than_another_read_is_found() {
        let stale = [(0, 9, wrote(2, None)), (1, 2, saw(2)), (3, 4, saw(0))];
        check(operations(&stale)).expect_err("went back");
    }

    #[test]
    fn a_lost_update_is_found() {
        let lost = [
            (0, 1, wrote(2, Some(0))),
            (2, 5, wrote(3, Some(2))),
            (2, 5, wrote(4, Some(2))),
        ];
        check(operations(&lost)).expect_err("both replaced revision 2");
    }

    #[test]
    fn revisions_against_the_order_of_time_are_found() {
        check(operations(&[(0, 1, wrote(3, None)), (2, 3, wrote(2, None))])).expect_err("backwards");
    }

    #[test]
    fn a_list_of_what_never_was_together_is_found() {
        let keys = BTreeMap::from([(1, 2)]);
        let listed = |at| Did::Listed {
            at,
            keys: keys.clone(),
        };
        let writes = [(0, 1, wrote(2, None)), (2, 3, wrote(3, None))];
        let torn: Vec<_> = writes.iter().cloned().chain([(0, 9, listed(3))]).collect();
        check(operations(&torn)).expect_err("torn");
        let whole: Vec<_> = writes.into_iter().chain([(0, 9, listed(2))]).collect();
        check(operations(&whole)).expect("linearizable");
    }
}
