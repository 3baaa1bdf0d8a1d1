//! What many callers at once may rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use imagestream_store::{Precondition, Store, StoreError, Write};

use super::history::{Did, Operation, check};
use super::{delete, next_commit, put};

pub(crate) async fn hundreds_of_increments_of_one_key_are_all_counted(store: Arc<dyn Store>) {
    const WRITERS: u32 = 200;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut seen = store.get("/count", None).await.expect("get");
                loop {
                    let (count, precondition) = match &seen {
                        None => (0, Precondition::Absent("/count".into())),
                        Some(item) => {
                            let count: u32 = std::str::from_utf8(&item.value)
                                .expect("text")
                                .parse()
                                .expect("number");
                            (
                                count,
                                Precondition::ModRevision("/count".into(), item.mod_revision),
                            )
                        }
                    };
                    match store
                        .commit(&[precondition], &[put("/count", (count + 1).to_string())])
                        .await
                    {
                        Ok(revision) => return revision,
                        Err(StoreError::Conflict { current, .. }) => seen = current.map(|item| *item),
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    let mut revisions = BTreeSet::new();
    for writer in writers {
        assert!(
            revisions.insert(writer.await.expect("writer")),
            "a revision given twice"
        );
    }
    let item = store.get("/count", None).await.expect("get").expect("exists");
    assert_eq!(item.value, WRITERS.to_string());
    assert_eq!(Some(&item.mod_revision), revisions.last());
}

pub(crate) async fn hundreds_of_writers_on_many_keys_get_distinct_revisions(store: Arc<dyn Store>) {
    const WRITERS: usize = 300;
    const EACH: usize = 5;
    let start = store.current_revision().await.expect("revision");
    let mut watch = store.watch("/n/", start);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut committed = Vec::new();
                for number in 0..EACH {
                    let key = format!("/n/{writer}/{number}");
                    let absent = [Precondition::Absent(key.clone())];
                    let revision = store.commit(&absent, &[put(&key, "v")]).await.expect("commit");
                    committed.push((revision, key));
                }
                committed
            })
        })
        .collect();
    let mut committed = BTreeMap::new();
    for writer in writers {
        committed.extend(writer.await.expect("writer"));
    }
    assert_eq!(committed.len(), WRITERS * EACH, "one revision each");
    for (revision, key) in &committed {
        let (delivered, changes) = next_commit(&mut watch).await;
        assert_eq!((delivered, &changes[0].key, changes.len()), (*revision, key, 1));
    }
    let listed = store.list("/n/", None, 0, None).await.expect("list");
    let listed: BTreeMap<_, _> = listed
        .items
        .into_iter()
        .map(|item| (item.mod_revision, item.key))
        .collect();
    assert_eq!(listed, committed);
}

pub(crate) async fn money_moved_between_two_keys_is_never_seen_in_flight(store: Arc<dyn Store>) {
    const TOTAL: u8 = 100;
    store
        .commit(&[], &[put("/m/a", vec![TOTAL]), put("/m/b", vec![0])])
        .await
        .expect("commit");
    let movers: Vec<_> = (0..8_u8)
        .map(|mover| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut moved = 0;
                while moved < 20 {
                    let page = store.list("/m/", None, 0, None).await.expect("list");
                    let [a, b] = &page.items[..] else {
                        panic!("two keys")
                    };
                    assert_eq!(a.value[0] + b.value[0], TOTAL);
                    let amount = (mover + moved) % 7 % (a.value[0] + 1);
                    let unchanged =
                        [a, b].map(|item| Precondition::ModRevision(item.key.clone(), item.mod_revision));
                    let writes = [
                        put("/m/a", vec![a.value[0] - amount]),
                        put("/m/b", vec![b.value[0] + amount]),
                    ];
                    match store.commit(&unchanged, &writes).await {
                        Ok(_) => moved += 1,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for mover in movers {
        mover.await.expect("mover");
    }
}

pub(crate) async fn recorded_histories_are_linearizable(store: Arc<dyn Store>) {
    const CLIENTS: u64 = 12;
    const EACH: u64 = 60;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut recorded = Vec::new();
                // The revision of each key that this client saw last, to base conditional writes on.
                let mut known = [0; 4];
                let mut random = client + 1;
                for _ in 0..EACH {
                    // xorshift: any mix will do, the same in each run.
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let key = (random % 4) as u8;
                    let began = Instant::now();
                    let did = act(&*store, random / 4 % 8, key, &mut known).await;
                    recorded.push(Operation {
                        began,
                        ended: Instant::now(),
                        did,
                    });
                }
                recorded
            })
        })
        .collect();
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.await.expect("client"));
    }
    let wrote = |operation: &&Operation| matches!(operation.did, Did::Wrote { .. });
    assert!(
        history.iter().filter(wrote).count() > 100,
        "a history worth checking"
    );
    if let Err(found) = check(history) {
        panic!("{found}");
    }
}

/// One operation of a client, and what it did.
async fn act(store: &dyn Store, kind: u64, key: u8, known: &mut [u64; 4]) -> Did {
    let name = format!("/l/{key}");
    let expected = known[usize::from(key)];
    let (write, condition): (Write, _) = match kind {
        0 | 1 => {
            let found = store.get(&name, None).await.expect("get");
            let revision = found.map_or(0, |item| item.mod_revision);
            known[usize::from(key)] = revision;
            return Did::Saw { key, revision };
        }
        2 => {
            let page = store.list("/l/", None, 0, None).await.expect("list");
            let number = |key: &str| key[3..].parse::<u8>().expect("a number");
            let keys = page
                .items
                .iter()
                .map(|item| (number(&item.key), item.mod_revision))
                .collect();
            return Did::Listed {
                at: page.revision,
                keys,
            };
        }
        3 => (put(&name, "put"), None),
        4 if expected != 0 => (delete(&name), Some(expected)),
        _ => (put(&name, "conditional"), Some(expected)),
    };
    let preconditions: Vec<_> = condition
        .map(|revision| Precondition::ModRevision(name, revision))
        .into_iter()
        .collect();
    let deleted = matches!(write, Write::Delete(_));
    match store.commit(&preconditions, &[write]).await {
        Ok(revision) => {
            known[usize::from(key)] = if deleted { 0 } else { revision };
            Did::Wrote {
                key,
                revision,
                deleted,
                condition,
            }
        }
        Err(StoreError::Conflict { current, .. }) => {
            let revision = current.map_or(0, |item| item.mod_revision);
            assert_ne!(revision, expected, "a conflict with what was expected");
            known[usize::from(key)] = revision;
            Did::Saw { key, revision }
        }
        Err(error) => panic!("{error}"),
    }
}
