//! Random histories, run on a store and on a model of it: a map from every revision to all keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imagestream_store::{Change, KeyValue, Precondition, Store, StoreError, Write};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::changes_until;

/// Keys of the random histories: few, so that they meet, and some that are prefixes of others.
const KEYS: [&str; 6] = ["a", "a/b", "a/c", "b", "b0", "ä"];

#[derive(Debug, Clone)]
enum Step {
    /// Conditions (key, and whether the right revision is named), puts and deletes.
    Commit {
        conditions: Vec<(usize, bool)>,
        writes: BTreeMap<usize, Option<Vec<u8>>>,
    },
    /// Read all keys in pages of this size, this many revisions ago.
    List { prefix: usize, page: usize, ago: u64 },
    /// Read a key, this many revisions ago.
    Get { key: usize, ago: u64 },
    /// Compact to this many revisions ago.
    Compact { ago: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    let value = proptest::option::weighted(0.7, vec(any::<u8>(), 0..40));
    prop_oneof![
        6 => (
            vec((key.clone(), proptest::bool::weighted(0.8)), 0..3),
            proptest::collection::btree_map(key.clone(), value, 1..4),
        ).prop_map(|(conditions, writes)| Step::Commit { conditions, writes }),
        2 => (key.clone(), 0..4_usize, 0..12_u64).prop_map(|(prefix, page, ago)| Step::List { prefix, page, ago }),
        2 => (key, 0..12_u64).prop_map(|(key, ago)| Step::Get { key, ago }),
        1 => (2..20_u64).prop_map(|ago| Step::Compact { ago }),
    ]
}

type Keys = BTreeMap<String, KeyValue>;

/// What a store should hold: the keys at every revision from the start of the test.
struct Model {
    prefix: String,
    states: BTreeMap<u64, Keys>,
    changes: Vec<Change>,
    compacted: u64,
}

impl Model {
    fn revision(&self) -> u64 {
        *self.states.last_key_value().expect("a first state").0
    }

    fn key(&self, index: usize) -> String {
        format!("{}{}", self.prefix, KEYS[index])
    }

    fn at(&self, revision: u64) -> &Keys {
        &self.states[&revision]
    }

    /// The revision so many before the newest, but none of before the test.
    fn ago(&self, ago: u64) -> u64 {
        let first = *self.states.first_key_value().expect("a first state").0;
        self.revision().saturating_sub(ago).max(first)
    }

    fn commit(
        &mut self,
        preconditions: &[Precondition],
        writes: &[Write],
    ) -> Result<u64, (usize, Option<KeyValue>)> {
        let mut keys = self.at(self.revision()).clone();
        for (index, precondition) in preconditions.iter().enumerate() {
            let current = keys.get(precondition.key());
            let holds = match precondition {
                Precondition::Absent(_) => current.is_none(),
                Precondition::ModRevision(_, revision) => {
                    current.is_some_and(|item| item.mod_revision == *revision)
                }
            };
            if !holds {
                return Err((index, current.cloned()));
            }
        }
        let next = self.revision() + 1;
        let mut changed = false;
        for write in writes {
            let key = write.key().to_owned();
            let previous = keys.remove(&key);
            let current = match write {
                Write::Delete(_) => None,
                Write::Put(_, value) => Some(KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: previous.as_ref().map_or(next, |item| item.create_revision),
                    mod_revision: next,
                }),
            };
            keys.extend(current.clone().map(|item| (key.clone(), item)));
            if previous.is_some() || current.is_some() {
                changed = true;
                self.changes.push(Change {
                    key,
                    revision: next,
                    current,
                    previous,
                });
            }
        }
        if changed {
            self.states.insert(next, keys);
        }
        Ok(self.revision())
    }
}

async fn run(store: &dyn Store, steps: Vec<Step>) -> Result<(), TestCaseError> {
    static CASE: AtomicU64 = AtomicU64::new(0);
    let case = CASE.fetch_add(1, Ordering::Relaxed);
    // Something to start from, and to compact away.
    let start = store
        .commit(&[], &[Write::Put("/start".into(), case.to_string().into())])
        .await
        .expect("commit");
    let mut model = Model {
        prefix: format!("/case/{case}/"),
        states: BTreeMap::from([(start, Keys::new())]),
        changes: Vec::new(),
        compacted: 0,
    };
    for step in steps {
        apply(store, &mut model, step).await?;
        prop_assert_eq!(
            store.current_revision().await.expect("revision"),
            model.revision()
        );
    }
    let end = model.revision();
    for after in start.max(model.compacted)..end {
        let expected: Vec<_> = model
            .changes
            .iter()
            .filter(|change| change.revision > after)
            .cloned()
            .collect();
        let mut watch = store.watch(&model.prefix, after);
        prop_assert_eq!(changes_until(&mut watch, end).await, expected, "after {}", after);
    }
    Ok(())
}

async fn apply(store: &dyn Store, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    match step {
        Step::Commit { conditions, writes } => {
            let keys = model.at(model.revision());
            let preconditions: Vec<_> = conditions
                .into_iter()
                .map(|(index, right)| {
                    let key = model.key(index);
                    match keys.get(&key) {
                        Some(item) if right => Precondition::ModRevision(key, item.mod_revision),
                        None if !right => Precondition::ModRevision(key, model.revision()),
                        _ => Precondition::Absent(key),
                    }
                })
                .collect();
            let writes: Vec<_> = writes
                .into_iter()
                .map(|(index, value)| match value {
                    Some(value) => Write::Put(model.key(index), value.into()),
                    None => Write::Delete(model.key(index)),
                })
                .collect();
            let did = match store.commit(&preconditions, &writes).await {
                Ok(revision) => Ok(revision),
                Err(StoreError::Conflict { index, current, .. }) => Err((index, current.map(|item| *item))),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            prop_assert_eq!(did, model.commit(&preconditions, &writes));
        }
        Step::List { prefix, page, ago } => {
            let (prefix, at) = (model.key(prefix), model.ago(ago));
            let mut found = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let answer = store.list(&prefix, after.as_deref(), page, Some(at)).await;
                if at < model.compacted {
                    prop_assert!(matches!(answer, Err(StoreError::Compacted)));
                    return Ok(());
                }
                let answer = answer.expect("list");
                prop_assert_eq!(answer.revision, at);
                found.extend(answer.items);
                after = found.last().map(|item: &KeyValue| item.key.clone());
                if !answer.more {
                    break;
                }
            }
            let expected: Vec<_> = model
                .at(at)
                .values()
                .filter(|item| item.key.starts_with(&prefix))
                .cloned()
                .collect();
            prop_assert_eq!(found, expected);
        }
        Step::Get { key, ago } => {
            let (key, at) = (model.key(key), model.ago(ago));
            match store.get(&key, Some(at)).await {
                Ok(found) => {
                    prop_assert!(at >= model.compacted);
                    prop_assert_eq!(found.as_ref(), model.at(at).get(&key));
                }
                Err(StoreError::Compacted) => prop_assert!(at < model.compacted),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
        Step::Compact { ago } => {
            let at = model.ago(ago);
            match store.compact(at).await {
                Ok(()) => {
                    prop_assert!(at > model.compacted);
                    model.compacted = at;
                }
                Err(StoreError::Compacted) => prop_assert!(at <= model.compacted),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
    }
    Ok(())
}

pub(crate) async fn random_histories_match_the_model(store: Arc<dyn Store>) {
    let long = std::env::var_os("IMAGESTREAM_LONG_TESTS").is_some_and(|value| value == "1");
    let runtime = tokio::runtime::Handle::current();
    let cases = tokio::task::spawn_blocking(move || {
        let config = Config {
            cases: if long { 500 } else { 30 },
            failure_persistence: None,
            max_shrink_iters: 200,
            ..Config::default()
        };
        TestRunner::new(config).run(&vec(step(), 1..30), |steps| runtime.block_on(run(&*store, steps)))
    });
    if let Err(failed) = cases.await.expect("the runner") {
        panic!("{failed}");
    }
}
