//! Who owns which fields: the entries of `metadata.managedFields`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::set::Set;

/// Entries for updates that an object has at most. Older ones are put together, so that controllers with ever new
/// names can't make an object grow.
const MAX_UPDATERS: usize = 10;
/// In whose name they are put together.
const ANCIENT: &str = "ancient-changes";
/// The format of the sets.
const FIELDS_V1: &str = "FieldsV1";

/// How a manager sets fields. Entries are sorted by it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Whose entry it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) manager: String,
    pub(super) operation: Operation,
    /// Empty for who applies: whatever the version, there is one configuration.
    api_version: String,
    pub(super) subresource: String,
}

impl Id {
    pub(super) fn new(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        Self {
            manager: manager.to_owned(),
            operation,
            api_version: match operation {
                Operation::Apply => String::new(),
                Operation::Update => api_version.to_owned(),
            },
            subresource: subresource.to_owned(),
        }
    }
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) fields: Set,
    /// The version in which the fields are named.
    pub(super) api_version: String,
    /// As it is written.
    pub(super) time: Option<String>,
}

/// All entries of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Managers(pub(super) BTreeMap<Id, Entry>);

impl Managers {
    /// Reads `metadata.managedFields`; nothing is no entries.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn from_json(entries: Option<&Value>) -> Result<Self, String> {
        let entries = entries.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut managers = Self::default();
        for (place, entry) in entries.iter().enumerate() {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".into()),
            };
            if text("apiVersion").is_empty() {
                return Err("apiVersion must not be empty".into());
            }
            match text("fieldsType") {
                FIELDS_V1 => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {place}")),
                other => {
                    return Err(format!(
                        "invalid fieldsType {other:?} in managed fields entry {place}"
                    ));
                }
            }
            let fields = match entry.get("fieldsV1") {
                None | Some(Value::Null) => Set::default(),
                Some(fields) => Set::from_json(fields).map_err(|error| {
                    format!("error decoding set of managed fields entry {place}: {error}")
                })?,
            };
            let id = Id::new(
                text("manager"),
                operation,
                text("apiVersion"),
                text("subresource"),
            );
            managers.0.insert(
                id,
                Entry {
                    fields,
                    api_version: text("apiVersion").to_owned(),
                    time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
                },
            );
        }
        Ok(managers)
    }

    /// As `metadata.managedFields` has it; nothing if there is no entry.
    pub(super) fn to_json(&self) -> Option<Value> {
        let mut entries: Vec<(&Id, &Entry)> = self.0.iter().collect();
        entries.sort_by_cached_key(|(id, entry)| {
            (
                id.operation,
                seconds(entry),
                &id.manager,
                &entry.api_version,
                &id.subresource,
            )
        });
        let entries: Vec<Value> = entries
            .into_iter()
            .map(|(id, entry)| written(id, entry))
            .collect();
        (!entries.is_empty()).then_some(Value::Array(entries))
    }

    /// Puts the oldest entries for updates together until there are not too many.
    pub(super) fn cap(&mut self) {
        let updaters = self.0.iter().filter(|(id, _)| id.operation == Operation::Update);
        let mut oldest: Vec<(i64, Id)> = updaters.map(|(id, entry)| (seconds(entry), id.clone())).collect();
        let mut excess = oldest.len().saturating_sub(MAX_UPDATERS);
        oldest.sort();
        // What is in different versions can't be put together.
        let mut first_of: BTreeMap<String, Id> = BTreeMap::new();
        for (_, id) in oldest {
            if excess == 0 {
                return;
            }
            let Some(first) = first_of.get(&id.api_version).cloned() else {
                first_of.insert(id.api_version.clone(), id);
                continue;
            };
            let Some(entry) = self.0.remove(&id) else {
                continue;
            };
            let ancient = Id::new(ANCIENT, Operation::Update, &id.api_version, "");
            let together = self.0.remove(&ancient).or_else(|| self.0.remove(&first));
            let fields = together.map_or_else(Set::default, |other| other.fields);
            let entry = Entry {
                fields: fields.union(&entry.fields),
                ..entry
            };
            self.0.insert(ancient, entry);
            excess -= 1;
        }
    }
}

/// Whether these entries ask for all entries to be forgotten: one entry with nothing in it, or none.
pub(super) fn is_reset(entries: &Value) -> bool {
    match entries.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([Value::Object(entry)]) => entry
            .values()
            .all(|value| value.is_null() || value.as_str().is_some_and(str::is_empty)),
        _ => false,
    }
}

/// Whether two lists of entries are the same but for times.
pub(super) fn differ_in_times_only(one: &Value, other: &Value) -> bool {
    match (Managers::from_json(Some(one)), Managers::from_json(Some(other))) {
        (Ok(one), Ok(other)) => {
            one.0.len() == other.0.len()
                && one
                    .0
                    .iter()
                    .zip(&other.0)
                    .all(|((id, entry), (other_id, other))| {
                        id == other_id
                            && entry.fields == other.fields
                            && entry.api_version == other.api_version
                    })
        }
        _ => false,
    }
}

fn seconds(entry: &Entry) -> i64 {
    let time = entry
        .time
        .as_deref()
        .and_then(|time| time.parse::<Timestamp>().ok());
    time.map_or(0, Timestamp::as_second)
}

fn written(id: &Id, entry: &Entry) -> Value {
    let mut written = Map::new();
    let mut text = |name: &str, text: &str| {
        if !text.is_empty() {
            written.insert(name.into(), text.into());
        }
    };
    text("manager", &id.manager);
    text("operation", id.operation.as_str());
    text("apiVersion", &entry.api_version);
    text("time", entry.time.as_deref().unwrap_or_default());
    text("fieldsType", FIELDS_V1);
    text("subresource", &id.subresource);
    written.insert("fieldsV1".into(), entry.fields.to_json());
    Value::Object(written)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, version: &str, minute: usize, field: &str) -> Value {
        json!({"manager": manager, "operation": "Update", "apiVersion": version, "fieldsType": "FieldsV1",
            "time": format!("2026-01-01T00:{minute:02}:00Z"), "fieldsV1": {format!("f:{field}"): {}}})
    }

    #[test]
    fn entries_are_sorted_by_operation_time_and_name() {
        let apply = |manager: &str| {
            json!({"manager": manager, "operation": "Apply", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {}})
        };
        let entries = json!([
            entry("b", "v1", 1, "x"),
            entry("a", "v1", 1, "x"),
            entry("z", "v1", 0, "x"),
            apply("late")
        ]);
        let managers = Managers::from_json(Some(&entries)).unwrap();
        let names: Vec<Value> = managers
            .to_json()
            .unwrap()
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["manager"].clone())
            .collect();
        assert_eq!(names, ["late", "z", "a", "b"]);
    }

    #[test]
    fn the_oldest_updates_are_put_together_when_there_are_too_many() {
        let entries: Vec<Value> = (0..13)
            .map(|place| {
                entry(
                    &format!("m{place:02}"),
                    if place == 1 { "v2" } else { "v1" },
                    place,
                    &format!("x{place}"),
                )
            })
            .collect();
        let mut managers = Managers::from_json(Some(&entries.into())).unwrap();
        managers.cap();
        let written = managers.to_json().unwrap();
        let names: Vec<&str> = written
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["manager"].as_str().unwrap())
            .collect();
        assert_eq!(names.len(), MAX_UPDATERS);
        assert_eq!(names[..2], ["m01", ANCIENT]);
        let ancient = &written[1];
        assert_eq!(ancient["time"], "2026-01-01T00:04:00Z");
        assert_eq!(
            ancient["fieldsV1"],
            json!({"f:x0": {}, "f:x2": {}, "f:x3": {}, "f:x4": {}})
        );
    }

    #[test]
    fn very_many_updates_are_put_together() {
        // With a copy of what is together already for each this would take minutes.
        let mut managers = Managers::default();
        for number in 0..20_000 {
            let entry = entry(&format!("m{number}"), "v1", 0, &format!("x{number}"));
            let one = Managers::from_json(Some(&json!([entry]))).unwrap();
            managers.0.extend(one.0);
        }
        managers.cap();
        assert_eq!(managers.0.len(), MAX_UPDATERS);
        let paths = managers.0.values().map(|entry| entry.fields.paths().len());
        assert_eq!(paths.sum::<usize>(), 20_000);
    }

    #[test]
    fn entries_that_make_no_sense_are_refused() {
        for (entry, error) in [
            (
                json!({"operation": "Delete"}),
                "operation must be `Apply` or `Update`",
            ),
            (json!({"operation": "Apply"}), "apiVersion must not be empty"),
            (
                json!({"operation": "Apply", "apiVersion": "v1"}),
                "missing fieldsType in managed fields entry 0",
            ),
            (
                json!({"operation": "Apply", "apiVersion": "v1", "fieldsType": "X"}),
                "invalid fieldsType \"X\" in managed fields entry 0",
            ),
        ] {
            assert_eq!(Managers::from_json(Some(&json!([entry]))), Err(error.into()));
        }
        assert_eq!(Managers::from_json(None), Ok(Managers::default()));
    }

    #[test]
    fn an_empty_entry_resets_and_others_do_not() {
        assert!(is_reset(&json!([])));
        assert!(is_reset(&json!([{}])));
        assert!(!is_reset(&json!([{}, {}])));
        assert!(!is_reset(&json!([{"manager": "a"}])));
        assert!(!is_reset(&Value::Null));
    }
}
