//! What the etcd backend promises, against real etcd servers.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod etcd_server;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use imagestream_store::etcd::{EtcdError, EtcdOptions, EtcdStore, Precondition, Watch, WatchItem, Write};
use tokio::time::timeout;

fn options(members: &[etcd_server::Member]) -> EtcdOptions {
    let mut options = EtcdOptions::new(members.iter().map(etcd_server::Member::url));
    options.key_prefix = "/test".into();
    options
}

async fn single() -> (Vec<etcd_server::Member>, EtcdStore) {
    let members = vec![etcd_server::single().await];
    let store = EtcdStore::connect(options(&members)).await.expect("connect");
    (members, store)
}

fn put(key: &str, value: impl Into<Bytes>) -> Write {
    Write::Put(key.into(), value.into())
}

async fn next_commit(watch: &mut Watch) -> (u64, Vec<imagestream_store::etcd::Change>) {
    loop {
        let item = timeout(Duration::from_secs(30), watch.next())
            .await
            .expect("an event in time");
        match item.expect("watch is open").expect("no error") {
            WatchItem::Commit { revision, changes } => return (revision, changes),
            WatchItem::Progress(_) => {}
        }
    }
}

#[tokio::test]
async fn pages_of_a_list_show_one_revision_while_writes_go_on() {
    let (_members, store) = single().await;
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
    store
        .commit(&[], &[put("/a/3", "new"), Write::Delete("/a/4".into())])
        .await
        .expect("commit");

    let rest = store
        .list("/a/", Some("/a/1"), 10, Some(first.revision))
        .await
        .expect("second page");
    assert!(!rest.more);
    let all: Vec<_> = first
        .items
        .iter()
        .chain(&rest.items)
        .map(|item| (&*item.key, &*item.value))
        .collect();
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
    assert_eq!(now.items.len(), 4);
    assert_eq!(now.items[3].value, "new");
    assert_eq!(now.items[3].mod_revision, now.revision);
    assert!(now.items[3].create_revision < now.revision);
}

#[tokio::test]
async fn a_refused_commit_names_the_first_failed_precondition_and_writes_nothing() {
    let (_members, store) = single().await;
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
        .commit(&preconditions, &[put("/a", "2"), put("/d", "2")])
        .await
        .expect_err("conflict");
    let EtcdError::Conflict { key, index, current } = error else {
        panic!("{error}")
    };
    assert_eq!((&*key, index), ("/b", 1));
    assert_eq!(current.expect("exists").mod_revision, revision);
    assert_eq!(
        store.get("/a", None).await.expect("get").expect("exists").value,
        "1"
    );
    assert_eq!(store.get("/d", None).await.expect("get"), None);

    let preconditions = [
        Precondition::ModRevision("/a".into(), revision),
        Precondition::Absent("/d".into()),
    ];
    let next = store
        .commit(&preconditions, &[put("/a", "2"), Write::Delete("/b".into())])
        .await
        .expect("commit");
    assert_eq!(next, revision + 1, "one transaction, one revision");
    assert_eq!(
        store
            .get("/a", Some(revision))
            .await
            .expect("get")
            .expect("exists")
            .value,
        "1"
    );
}

#[tokio::test]
async fn transactions_beyond_the_limits_of_the_server_are_refused_whole() {
    let (members, store) = single().await;
    let before = store.current_revision().await.expect("revision");
    let many: Vec<Write> = (0..129).map(|index| put(&format!("/k/{index}"), "v")).collect();
    assert!(matches!(
        store.commit(&[], &many).await,
        Err(EtcdError::TooLarge(_))
    ));
    let large = [put("/k/large", vec![0; 1_572_865])];
    assert!(matches!(
        store.commit(&[], &large).await,
        Err(EtcdError::TooLarge(_))
    ));
    let twice = [put("/k/1", "a"), Write::Delete("/k/1".into())];
    assert!(matches!(
        store.commit(&[], &twice).await,
        Err(EtcdError::Invalid(_))
    ));
    assert!(matches!(store.commit(&[], &[]).await, Err(EtcdError::Invalid(_))));

    // With our limits set too high, the server's own refusal is just as clear.
    let mut generous = options(&members);
    generous.max_txn_ops = 1000;
    generous.max_request_bytes = 10 << 20;
    let generous = EtcdStore::connect(generous).await.expect("connect");
    assert!(matches!(
        generous.commit(&[], &many).await,
        Err(EtcdError::TooLarge(_))
    ));
    assert!(matches!(
        generous.commit(&[], &large).await,
        Err(EtcdError::TooLarge(_))
    ));

    assert_eq!(store.current_revision().await.expect("revision"), before);
    store
        .commit(&[], &many[..128])
        .await
        .expect("the limit itself is allowed");
}

#[tokio::test]
async fn a_watch_delivers_each_transaction_whole_with_previous_values() {
    let (_members, store) = single().await;
    let first = store
        .commit(&[], &[put("/w/a", "1"), put("/w/b", "1")])
        .await
        .expect("commit");
    let second = store
        .commit(
            &[],
            &[put("/w/a", "2"), Write::Delete("/w/b".into()), put("/other", "x")],
        )
        .await
        .expect("commit");
    let mut watch = store.watch("/w/", first - 1);
    let (revision, changes) = next_commit(&mut watch).await;
    assert_eq!(revision, first);
    assert!(changes.iter().all(|change| change.previous.is_none()));
    let (revision, changes) = next_commit(&mut watch).await;
    assert_eq!(revision, second);
    let seen: Vec<_> = changes
        .iter()
        .map(|change| {
            let current = change.current.as_ref().map(|item| item.value.clone());
            (
                &*change.key,
                current,
                change.previous.as_ref().map(|item| item.value.clone()),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("/w/a", Some("2".into()), Some("1".into())),
            ("/w/b", None, Some("1".into()))
        ]
    );
}

#[tokio::test]
async fn a_transaction_that_etcd_sends_in_fragments_is_delivered_as_one_commit() {
    let (_members, store) = single().await;
    let writes = |byte: u8| -> Vec<Write> {
        (0..100)
            .map(|index| put(&format!("/f/{index:03}"), vec![byte; 14_000]))
            .collect()
    };
    let mut revisions = Vec::new();
    for byte in 0..4 {
        revisions.push(store.commit(&[], &writes(byte)).await.expect("commit"));
    }
    let mut watch = store.watch("/f/", revisions[0] - 1);
    for (byte, expected) in (0..).zip(revisions) {
        let (revision, changes) = next_commit(&mut watch).await;
        assert_eq!((revision, changes.len()), (expected, 100));
        assert!(
            changes
                .iter()
                .all(|change| change.current.as_ref().is_some_and(|item| item.value[0] == byte))
        );
    }
}

#[tokio::test]
async fn compacted_revisions_are_reported_by_lists_and_watches() {
    let (_members, store) = single().await;
    let first = store.commit(&[], &[put("/c", "1")]).await.expect("commit");
    let last = store.commit(&[], &[put("/c", "2")]).await.expect("commit");
    store.compact(last).await.expect("compact");
    assert!(matches!(
        store.list("/c", None, 10, Some(first)).await,
        Err(EtcdError::Compacted)
    ));
    assert!(matches!(store.compact(first).await, Err(EtcdError::Compacted)));
    assert!(matches!(
        store.get("/c", Some(last + 10)).await,
        Err(EtcdError::FutureRevision)
    ));
    let mut watch = store.watch("/c", first - 1);
    assert!(matches!(watch.next().await, Some(Err(EtcdError::Compacted))));
    assert!(watch.next().await.is_none(), "a failed watch ends");
    assert_eq!(next_commit(&mut store.watch("/c", last - 1)).await.0, last);
}

#[tokio::test]
async fn key_prefixes_keep_two_users_of_a_cluster_apart() {
    let (members, store) = single().await;
    let mut other = options(&members);
    other.key_prefix = "/other".into();
    let other = EtcdStore::connect(other).await.expect("connect");
    store.commit(&[], &[put("/k", "mine")]).await.expect("commit");
    other
        .commit(&[Precondition::Absent("/k".into())], &[put("/k", "theirs")])
        .await
        .expect("commit");
    assert_eq!(
        store.get("/k", None).await.expect("get").expect("exists").value,
        "mine"
    );
    assert_eq!(store.list("", None, 10, None).await.expect("list").items.len(), 1);
}

#[tokio::test]
async fn requests_to_a_stopped_server_fail_within_their_deadline() {
    let (mut members, _) = single().await;
    let mut options = options(&members);
    options.request_deadline = Duration::from_millis(500);
    let store = EtcdStore::connect(options).await.expect("connect");
    store.health().await.expect("healthy");
    members[0].kill();
    let read = timeout(Duration::from_secs(5), store.get("/k", None))
        .await
        .expect("in time");
    assert!(matches!(read, Err(EtcdError::Unavailable(_))), "{read:?}");
    let commit = timeout(Duration::from_secs(5), store.commit(&[], &[put("/k", "v")]))
        .await
        .expect("in time");
    assert!(
        matches!(
            commit,
            Err(EtcdError::OutcomeUnknown(_) | EtcdError::Unavailable(_))
        ),
        "never reported as done or conflicting: {commit:?}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_right_one_accepted() {
    let members = vec![etcd_server::single().await];
    let mut admin = etcd_client::Client::connect([members[0].url()], None)
        .await
        .expect("connect");
    admin.user_add("root", "secret", None).await.expect("user");
    admin.role_add("root").await.expect("role");
    admin.user_grant_role("root", "root").await.expect("grant");
    admin.auth_enable().await.expect("enable");

    let mut wrong = options(&members);
    wrong.user = Some(("root".into(), "guess".into()));
    assert!(!format!("{wrong:?}").contains("guess"));
    assert!(matches!(
        EtcdStore::connect(wrong).await,
        Err(EtcdError::Refused(_))
    ));
    let mut right = options(&members);
    right.user = Some(("root".into(), "secret".into()));
    let store = EtcdStore::connect(right).await.expect("connect");
    store.commit(&[], &[put("/k", "v")]).await.expect("commit");
    let anonymous = EtcdStore::connect(options(&members)).await.expect("connect");
    assert!(matches!(
        anonymous.get("/k", None).await,
        Err(EtcdError::Refused(_))
    ));
}

fn certificates() -> etcd_server::Tls {
    let ca_key = rcgen::KeyPair::generate().expect("key");
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).expect("authority").pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().expect("key");
    let mut leaf = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("address");
    leaf.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let certificate = leaf.signed_by(&key, &issuer).expect("leaf").pem();
    etcd_server::Tls {
        ca: ca_pem,
        certificate,
        key: key.serialize_pem(),
    }
}

#[tokio::test]
async fn tls_needs_the_right_authority_and_a_client_certificate() {
    let tls = certificates();
    let mut with_tls = EtcdOptions::new([]);
    with_tls.ca_pem = Some(tls.ca.clone().into_bytes());
    with_tls.client_identity_pem = Some((tls.certificate.clone().into_bytes(), tls.key.clone().into_bytes()));
    let member = etcd_server::single_with_tls(tls);
    with_tls.endpoints = vec![member.url()];
    let store = EtcdStore::connect(with_tls.clone()).await.expect("connect");
    store
        .health()
        .await
        .expect("reads are repeated until the server is up");
    store.commit(&[], &[put("/k", "v")]).await.expect("commit");

    with_tls.request_deadline = Duration::from_secs(1);
    let mut anonymous = with_tls.clone();
    anonymous.client_identity_pem = None;
    let mut other_authority = with_tls;
    other_authority.ca_pem = Some(certificates().ca.into_bytes());
    for refused in [anonymous, other_authority] {
        let store = EtcdStore::connect(refused)
            .await
            .expect("connections are made later");
        assert!(matches!(
            store.get("/k", None).await,
            Err(EtcdError::Unavailable(_))
        ));
    }
}

/// Writes from several tasks while `disturb` runs, then checks that no acknowledged write is missing and that
/// the watch delivered exactly the commits that happened.
async fn nothing_is_lost<F: Future<Output = ()>>(store: &EtcdStore, disturb: F) {
    const WRITERS: usize = 4;
    let start = store.current_revision().await.expect("revision");
    let mut watch = store.watch("/load/", start);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, stopped) = (store.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut acknowledged = BTreeMap::new();
                for number in 0.. {
                    if *stopped.borrow() {
                        break;
                    }
                    let key = format!("/load/{writer}/{number:06}");
                    match store
                        .commit(&[Precondition::Absent(key.clone())], &[put(&key, "v")])
                        .await
                    {
                        Ok(revision) => assert!(acknowledged.insert(key, revision).is_none()),
                        Err(EtcdError::OutcomeUnknown(_) | EtcdError::Unavailable(_)) => {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                acknowledged
            })
        })
        .collect();
    disturb.await;
    stop.send(true).expect("writers listen");
    let mut acknowledged = BTreeMap::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("writer"));
    }
    assert!(!acknowledged.is_empty());
    let end = store.commit(&[], &[put("/load/end", "v")]).await.expect("commit");

    let stored: BTreeMap<String, u64> = store
        .list("/load/", None, 0, Some(end))
        .await
        .expect("list")
        .items
        .into_iter()
        .map(|item| (item.key, item.mod_revision))
        .collect();
    for (key, revision) in &acknowledged {
        assert_eq!(stored.get(key), Some(revision), "{key} was acknowledged");
    }
    let mut delivered = BTreeMap::new();
    let mut last = start;
    while last < end {
        let (revision, changes) = next_commit(&mut watch).await;
        assert!(revision > last, "{revision} after {last}");
        last = revision;
        for change in changes {
            assert!(
                delivered.insert(change.key, revision).is_none(),
                "delivered twice"
            );
        }
    }
    assert_eq!(delivered, stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_and_restarting_the_server_under_load_loses_and_doubles_nothing() {
    let (mut members, store) = single().await;
    let observer = store.clone();
    let disturbance = async {
        for _ in 0..3 {
            wait_for_commits(&observer, 100).await;
            members[0].kill();
            members[0].spawn();
            members[0].wait_until_serving().await;
        }
        wait_for_commits(&observer, 100).await;
    };
    Box::pin(nothing_is_lost(&store, disturbance)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_one_of_three_members_loses_and_doubles_nothing() {
    let mut members = etcd_server::cluster_of_three().await;
    let store = EtcdStore::connect(options(&members)).await.expect("connect");
    let observer = store.clone();
    let disturbance = async {
        for member in &mut members {
            wait_for_commits(&observer, 50).await;
            member.kill();
            wait_for_commits(&observer, 50).await;
            member.spawn();
            member.wait_until_serving().await;
        }
    };
    Box::pin(nothing_is_lost(&store, disturbance)).await;
}

/// Waits until the store has moved on by this many revisions, however often a read fails in between.
async fn wait_for_commits(store: &EtcdStore, count: u64) {
    let mut target = None;
    let waiting = async {
        loop {
            if let Ok(revision) = store.current_revision().await
                && revision >= *target.get_or_insert(revision + count)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(40), waiting)
        .await
        .expect("commits go on");
}
