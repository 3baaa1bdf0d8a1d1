//! The tags of a stream in one cell: the latest ones, and how many more there are.

use std::cmp::Reverse;

use crate::types::ImageStreamStatus;

/// The width to be filled, in bytes.
const WIDTH: isize = 40;
/// A tag that leaves this much or less of the width unused is not cut into, nor does one stand out by more.
const SLACK: isize = 10;

pub(super) fn tag_list(status: &ImageStreamStatus) -> String {
    let mut tags: Vec<_> = status
        .tags
        .iter()
        .map(|(tag, history)| {
            let created = history.items.first().and_then(|event| event.created.as_ref());
            (Reverse(created.map(|time| time.0.as_second())), tag.as_str())
        })
        .collect();
    tags.sort_unstable();
    let tags: Vec<&str> = tags.into_iter().map(|(_, tag)| tag).collect();
    let shown = count_shown(&tags);
    let list = tags[..shown].join(",");
    match tags.len() - shown {
        0 => list,
        more => format!("{list} + {more} more..."),
    }
}

fn count_shown(tags: &[&str]) -> usize {
    let mut remaining = WIDTH;
    for (index, tag) in tags.iter().enumerate() {
        let length = isize::try_from(tag.len()).unwrap_or(isize::MAX / 2);
        remaining -= length + 1;
        if remaining >= 0 {
            continue;
        }
        let much_is_left = remaining + length > SLACK;
        let stands_out_little = -remaining <= SLACK;
        let is_shown = index == 0 || (much_is_left && stands_out_little);
        return index + usize::from(is_shown);
    }
    tags.len()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn list(tags: &[(&str, Option<&str>)]) -> String {
        let histories: Vec<Value> = tags
            .iter()
            .map(|(tag, minute)| {
                let created = minute.map(|minute| format!("2024-01-01T13:{minute}:00Z"));
                json!({"tag": tag, "items": [{"created": created}]})
            })
            .collect();
        tag_list(&serde_json::from_value(json!({"tags": histories})).unwrap())
    }

    #[test]
    fn newer_tags_come_first_and_equally_old_ones_by_name() {
        for (tags, expected) in [
            (
                [
                    ("other", Some("52")),
                    ("latest", Some("53")),
                    ("third", Some("54")),
                ],
                "third,latest,other",
            ),
            (
                [
                    ("other", Some("52")),
                    ("latest", Some("52")),
                    ("third", Some("53")),
                ],
                "third,latest,other",
            ),
            ([("b", None), ("c", Some("00")), ("a", None)], "c,a,b"),
        ] {
            assert_eq!(list(&tags), expected);
        }
        assert_eq!(list(&[]), "");
    }

    #[test]
    fn tags_fill_forty_columns_more_or_less() {
        let of_length = |length: usize, name: char| name.to_string().repeat(length);
        for (lengths, expected, why) in [
            (vec![39], 1, "exactly"),
            (vec![19, 19], 2, "exactly"),
            (vec![100, 1], 1, "the first is shown whatever its length"),
            (vec![26, 1, 20], 2, "10 are left unused: not too much"),
            (vec![25, 1, 20], 3, "11 are left, and 9 stand out"),
            (vec![25, 1, 22], 2, "11 are left, but 11 would stand out"),
            (
                vec![25, 1, 20, 1],
                3,
                "after one that stands out there is no room",
            ),
        ] {
            let names: Vec<String> = lengths
                .iter()
                .zip('a'..)
                .map(|(length, name)| of_length(*length, name))
                .collect();
            let tags: Vec<(&str, Option<&str>)> = names.iter().map(|name| (name.as_str(), None)).collect();
            let shown = names[..expected].join(",");
            let more = names.len() - expected;
            let expected = if more == 0 {
                shown
            } else {
                format!("{shown} + {more} more...")
            };
            assert_eq!(list(&tags), expected, "{why}: {lengths:?}");
        }
    }
}
