//! The history of a tag: how an event is added to it.

use crate::types::{NamedTagEventList, TagEvent};

/// Adds `event` as the newest of `history`; whether that changed anything.
///
/// An event with the reference or the image of the newest one updates it in place, keeping since when it is there;
/// any other is put before it. Conditions go away with any change.
pub fn add_event(history: &mut NamedTagEventList, event: TagEvent) -> bool {
    let Some(newest) = history.items.first_mut() else {
        history.items.push(event);
        history.conditions.clear();
        return true;
    };
    let same_reference = newest.docker_image_reference == event.docker_image_reference;
    let same_image = newest.image == event.image;
    match (same_reference, same_image) {
        (true, true) if newest.generation == event.generation => return false,
        (false, false) => history.items.insert(0, event),
        _ => {
            newest.docker_image_reference = event.docker_image_reference;
            newest.image = event.image;
            newest.generation = event.generation;
        }
    }
    history.conditions.clear();
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{TagEventCondition, Time};

    type Row = (&'static str, &'static str, i64);
    /// Newest event before, event added, events with the second they were created in, whether it changed.
    type Case = (Option<Row>, Row, &'static [(Row, i64)], bool);

    fn event((reference, image, generation): Row, second: i64) -> TagEvent {
        TagEvent {
            created: Some(Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())),
            docker_image_reference: reference.into(),
            image: image.into(),
            generation,
        }
    }

    #[test]
    fn an_event_is_collapsed_into_the_newest_one_unless_reference_and_image_differ() {
        let rows: [Case; 7] = [
            (None, ("a", "1", 1), &[(("a", "1", 1), 2)], true),
            (Some(("a", "1", 1)), ("a", "1", 1), &[(("a", "1", 1), 1)], false),
            (Some(("a", "1", 1)), ("a", "1", 2), &[(("a", "1", 2), 1)], true),
            (Some(("a", "1", 1)), ("a", "2", 2), &[(("a", "2", 2), 1)], true),
            (Some(("a", "1", 1)), ("b", "1", 2), &[(("b", "1", 2), 1)], true),
            (
                Some(("a", "1", 1)),
                ("b", "2", 2),
                &[(("b", "2", 2), 2), (("a", "1", 1), 1)],
                true,
            ),
            (Some(("a", "", 1)), ("a", "sha", 2), &[(("a", "sha", 2), 1)], true),
        ];
        for (before, added, after, changed) in rows {
            let mut history = NamedTagEventList {
                tag: "t".into(),
                items: before.map(|row| event(row, 1)).into_iter().collect(),
                conditions: vec![TagEventCondition::default()],
            };
            assert_eq!(
                add_event(&mut history, event(added, 2)),
                changed,
                "{before:?} + {added:?}"
            );
            let expected: Vec<_> = after.iter().map(|(row, second)| event(*row, *second)).collect();
            assert_eq!(history.items, expected, "{before:?} + {added:?}");
            assert_eq!(history.conditions.is_empty(), changed, "{before:?} + {added:?}");
        }
    }
}
