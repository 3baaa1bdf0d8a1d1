//! What one caller at a time may rely on: snapshots, transactions, preconditions, limits, compaction.

use std::sync::Arc;

use bytes::Bytes;
use imagestream_store::{Precondition, Store, StoreError, Write};

use super::{delete, put};

pub(crate) async fn pages_of_a_list_show_one_revision_while_writes_go_on(store: Arc<dyn Store>) {
    for index in 0..5 {
        store
            .commit(&[], &[put(&format!("/a/{index}"), "old")])
            .await
            .expect("commit");
    }
    store
        .commit(&[], &[put("/b/0", "neighbour")])
        .await
        .expect("commit");
    let first = store.list("/a/", None, 2, None).await.expect("first page");
    assert!(first.more);
    let changes = [
        put("/a/11", "added"),
        put("/a/3", "new"),
        delete("/a/2"),
        delete("/a/4"),
    ];
    store.commit(&[], &changes).await.expect("commit");
    store.commit(&[], &[put("/a/4", "again")]).await.expect("commit");
    store.commit(&[], &[put("/a/3", "newer")]).await.expect("commit");

    let mut all = first.items.clone();
    loop {
        let after = all.last().expect("items").key.clone();
        let page = store
            .list("/a/", Some(&after), 1, Some(first.revision))
            .await
            .expect("page");
        assert_eq!(page.revision, first.revision);
        all.extend(page.items);
        if !page.more {
            break;
        }
    }
    let all: Vec<_> = all.iter().map(|item| (&*item.key, &*item.value)).collect();
    let old = b"old".as_slice();
    assert_eq!(
        all,
        [
            ("/a/0", old),
            ("/a/1", old),
            ("/a/2", old),
            ("/a/3", old),
            ("/a/4", old)
        ]
    );
    let now = store.list("/a/", None, 10, None).await.expect("list");
    let keys: Vec<_> = now.items.iter().map(|item| &*item.key).collect();
    assert_eq!(keys, ["/a/0", "/a/1", "/a/11", "/a/3", "/a/4"]);
    assert_eq!(now.items[3].mod_revision, now.revision);
    assert!(now.items[3].create_revision < now.revision);
    assert!(!now.more);
}

pub(crate) async fn a_list_is_limited_to_its_prefix_and_in_byte_order(store: Arc<dyn Store>) {
    let keys = [
        "/p",
        "/p/",
        "/p/ä",
        "/p/a",
        "/p/a/b",
        "/p/a-",
        "/p/\u{10ffff}",
        "/p0",
        "/q",
    ];
    let writes: Vec<Write> = keys.iter().map(|key| put(key, *key)).collect();
    store.commit(&[], &writes).await.expect("commit");
    let mut expected: Vec<_> = keys.iter().filter(|key| key.starts_with("/p/")).collect();
    expected.sort_unstable();
    for limit in [0, 1, 2, 6, 7] {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = store
                .list("/p/", after.as_deref(), limit, None)
                .await
                .expect("list");
            assert!(limit == 0 || page.items.len() <= limit);
            found.extend(page.items.iter().map(|item| item.key.clone()));
            after = found.last().cloned();
            if !page.more {
                break;
            }
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "pages of {limit}");
    }
    let before = store
        .list("/p/", Some("/a"), 0, None)
        .await
        .expect("a start before the prefix");
    assert_eq!(before.items.len(), expected.len());
    let behind = store
        .list("/p/", Some("/q"), 0, None)
        .await
        .expect("a start behind the prefix");
    assert_eq!((behind.items.len(), behind.more), (0, false));
}

pub(crate) async fn a_refused_commit_names_the_first_failed_precondition_and_writes_nothing(
    store: Arc<dyn Store>,
) {
    let revision = store
        .commit(&[], &[put("/a", "1"), put("/b", "1")])
        .await
        .expect("commit");
    let preconditions = [
        Precondition::ModRevision("/a".into(), revision),
        Precondition::Absent("/b".into()),
        Precondition::ModRevision("/c".into(), 7),
    ];
    let error = store
        .commit(&preconditions, &[put("/a", "2"), put("/d", "2"), delete("/b")])
        .await
        .expect_err("conflict");
    let StoreError::Conflict { key, index, current } = error else {
        panic!("{error}")
    };
    assert_eq!((&*key, index), ("/b", 1));
    let current = current.expect("exists");
    assert_eq!((current.mod_revision, &*current.value), (revision, &b"1"[..]));
    assert_eq!(
        store.get("/a", None).await.expect("get").expect("exists").value,
        "1"
    );
    assert_eq!(store.get("/d", None).await.expect("get"), None);
    assert!(store.get("/b", None).await.expect("get").is_some());
    assert_eq!(store.current_revision().await.expect("revision"), revision);

    let missing = store
        .commit(&[Precondition::ModRevision("/c".into(), 7)], &[put("/c", "2")])
        .await;
    assert!(matches!(missing, Err(StoreError::Conflict { current: None, .. })));
    let preconditions = [
        Precondition::ModRevision("/a".into(), revision),
        Precondition::Absent("/d".into()),
        Precondition::ModRevision("/e".into(), 0),
    ];
    let next = store
        .commit(&preconditions, &[put("/a", "2"), delete("/b")])
        .await
        .expect("commit");
    assert_eq!(next, revision + 1);
}

pub(crate) async fn a_commit_has_one_revision_for_all_its_writes(store: Arc<dyn Store>) {
    let first = store.commit(&[], &[put("/t/0", "x")]).await.expect("commit");
    let writes: Vec<Write> = (0..100).map(|index| put(&format!("/t/{index}"), "y")).collect();
    let second = store.commit(&[], &writes).await.expect("commit");
    assert_eq!(second, first + 1);
    let page = store.list("/t/", None, 0, None).await.expect("list");
    assert_eq!(page.items.len(), 100);
    assert!(
        page.items
            .iter()
            .all(|item| item.mod_revision == second && item.value == "y")
    );
}

pub(crate) async fn a_transaction_that_changes_nothing_has_no_revision_of_its_own(store: Arc<dyn Store>) {
    let first = store.commit(&[], &[put("/k", "x")]).await.expect("commit");
    let nothing = store.commit(&[], &[delete("/none")]).await.expect("commit");
    assert_eq!(nothing, first);
    let same = store.commit(&[], &[put("/k", "x")]).await.expect("commit");
    assert_eq!(same, first + 1, "the same value again is a change");
}

pub(crate) async fn a_key_remembers_its_creation_until_it_is_deleted(store: Arc<dyn Store>) {
    let created = store.commit(&[], &[put("/k", "1")]).await.expect("commit");
    let changed = store.commit(&[], &[put("/k", "2")]).await.expect("commit");
    let item = store.get("/k", None).await.expect("get").expect("exists");
    assert_eq!((item.create_revision, item.mod_revision), (created, changed));
    let deleted = store.commit(&[], &[delete("/k")]).await.expect("commit");
    assert_eq!(store.get("/k", None).await.expect("get"), None);
    let again = store.commit(&[], &[put("/k", "3")]).await.expect("commit");
    let item = store.get("/k", None).await.expect("get").expect("exists");
    assert_eq!((item.create_revision, item.mod_revision), (again, again));
    assert_eq!(again, deleted + 1);
}

pub(crate) async fn every_revision_can_be_read_until_it_is_compacted(store: Arc<dyn Store>) {
    let start = store.current_revision().await.expect("revision");
    let mut values = Vec::new();
    for number in 0..10_u8 {
        let write = if number % 4 == 3 {
            delete("/k")
        } else {
            put("/k", vec![number])
        };
        let revision = store.commit(&[], &[write]).await.expect("commit");
        values.push((revision, (number % 4 != 3).then_some(number)));
    }
    let read = async |revision| {
        let got = store.get("/k", Some(revision)).await?;
        let page = store.list("/k", None, 0, Some(revision)).await?;
        assert_eq!(page.items.first(), got.as_ref(), "list and get agree");
        Ok::<_, StoreError>(got.map(|item| item.value[0]))
    };
    assert_eq!(read(start).await.expect("the beginning"), None);
    for (revision, value) in &values {
        assert_eq!(read(*revision).await.expect("history"), *value);
    }
    let (compacted, _) = values[6];
    store.compact(compacted).await.expect("compact");
    for (revision, value) in &values {
        match read(*revision).await {
            Ok(found) => {
                assert!(*revision >= compacted);
                assert_eq!(found, *value);
            }
            Err(StoreError::Compacted) => assert!(*revision < compacted),
            Err(error) => panic!("{error}"),
        }
    }
    let (last, _) = values[9];
    assert!(matches!(
        store.compact(compacted).await,
        Err(StoreError::Compacted)
    ));
    assert!(matches!(
        store.compact(last + 1).await,
        Err(StoreError::FutureRevision)
    ));
    assert!(matches!(read(last + 1).await, Err(StoreError::FutureRevision)));
    assert!(matches!(
        store.list("/", None, 1, Some(last + 1)).await,
        Err(StoreError::FutureRevision)
    ));
}

pub(crate) async fn malformed_and_oversized_transactions_are_refused_whole(store: Arc<dyn Store>) {
    let before = store.current_revision().await.expect("revision");
    let limits = store.limits();
    let many: Vec<Write> = (0..=limits.operations)
        .map(|index| put(&format!("/k/{index}"), "v"))
        .collect();
    let conditions: Vec<Precondition> = many
        .iter()
        .map(|write| Precondition::Absent(write.key().into()))
        .collect();
    let large = [put("/k/large", vec![0; limits.bytes + 1])];
    for (preconditions, writes) in [(&[][..], &many[..]), (&conditions, &many[..1]), (&[], &large)] {
        let refused = store.commit(preconditions, writes).await;
        assert!(matches!(refused, Err(StoreError::TooLarge(_))), "{refused:?}");
    }
    let twice = [put("/k/1", "a"), delete("/k/1")];
    let unnamed = [put("", "a")];
    for writes in [&twice[..], &unnamed, &[]] {
        let refused = store.commit(&[], writes).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    }
    assert_eq!(store.current_revision().await.expect("revision"), before);
    let allowed = &many[..limits.operations];
    let revision = store
        .commit(&[], allowed)
        .await
        .expect("the limit itself is allowed");
    assert_eq!(revision, before + 1);
    let stored = store.list("/k/", None, 0, None).await.expect("list");
    assert_eq!(stored.items.len(), limits.operations);
}

pub(crate) async fn values_of_any_bytes_come_back(store: Arc<dyn Store>) {
    let values: Vec<Bytes> = [
        Bytes::new(),
        Bytes::from_static(b"\0"),
        Bytes::from_static(b"\xff\xfe not UTF-8"),
        (0..=255).collect::<Vec<u8>>().into(),
        vec![7; 300_000].into(),
    ]
    .into();
    for (index, value) in values.iter().enumerate() {
        let key = format!("/v/{index}");
        store
            .commit(&[], &[put(&key, value.clone())])
            .await
            .expect("commit");
        store.commit(&[], &[put(&key, "other")]).await.expect("commit");
        let revision = store
            .commit(&[], &[put(&key, value.clone())])
            .await
            .expect("commit");
        for at in [None, Some(revision), Some(revision - 2)] {
            let item = store.get(&key, at).await.expect("get").expect("exists");
            assert_eq!(&item.value, value);
        }
    }
}

pub(crate) async fn health_size_and_revision_are_told(store: Arc<dyn Store>) {
    store.health().await.expect("healthy");
    let before = store.size().await.expect("size");
    assert!(before > 0);
    let mut last = store.current_revision().await.expect("revision");
    for index in 0..8 {
        let value: Vec<u8> = (0..1_000_000_u32)
            .map(|byte| (byte.wrapping_mul(2_654_435_761 + index) >> 24) as u8)
            .collect();
        let revision = store
            .commit(&[], &[put(&format!("/large/{index}"), value)])
            .await
            .expect("commit");
        assert!(revision > last);
        assert_eq!(store.current_revision().await.expect("revision"), revision);
        last = revision;
    }
    // A backend may move what it has acknowledged from its log into its file a moment later.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let after = store.size().await.expect("size");
        if after >= before + 4_000_000 {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "grew from {before} to {after} bytes"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
