//! What the etcd backend promises, against real etcd servers.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod suite;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imagestream_store::etcd::{EtcdOptions, EtcdStore};
use imagestream_store::{Precondition, Store, StoreError, Write};
use imagestream_testkit::etcd as etcd_server;
use suite::{Fixture, next_commit, put};
use tokio::time::timeout;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

async fn etcd() -> Option<Fixture> {
    let (members, store) = single().await?;
    Some(Fixture::new(Arc::new(store), members))
}

suite::every_promise!(etcd);

fn options(members: &[etcd_server::Member]) -> EtcdOptions {
    let mut options = EtcdOptions::new(members.iter().map(etcd_server::Member::url));
    options.key_prefix = "/test".into();
    options
}

/// A server and a store in it; none if etcd is not installed.
async fn single() -> Option<(Vec<etcd_server::Member>, EtcdStore)> {
    if !etcd_server::installed() {
        return None;
    }
    let members = vec![etcd_server::single().await];
    let store = EtcdStore::connect(options(&members)).await.expect("connect");
    Some((members, store))
}

/// Waits until a server that has just been started answers, however short the deadline of one request is.
async fn until_healthy(store: &EtcdStore) {
    let begun = Instant::now();
    while let Err(error) = store.health().await {
        assert!(begun.elapsed() < PATIENCE, "{error}");
    }
}

#[tokio::test]
async fn limits_set_higher_than_those_of_the_server_still_refuse_clearly() {
    let Some((members, store)) = single().await else {
        return;
    };
    let before = store.current_revision().await.expect("revision");
    let mut generous = options(&members);
    generous.max_txn_ops = 1000;
    generous.max_request_bytes = 10 << 20;
    let generous = EtcdStore::connect(generous).await.expect("connect");
    let many: Vec<Write> = (0..129).map(|index| put(&format!("/k/{index}"), "v")).collect();
    let large = [put("/k/large", vec![0; 1_572_865])];
    for writes in [&many[..], &large] {
        let refused = generous.commit(&[], writes).await;
        assert!(matches!(refused, Err(StoreError::TooLarge(_))), "{refused:?}");
    }
    assert_eq!(store.current_revision().await.expect("revision"), before);
}

#[tokio::test]
async fn a_transaction_that_etcd_sends_in_fragments_is_delivered_as_one_commit() {
    let Some((_members, store)) = single().await else {
        return;
    };
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
async fn key_prefixes_keep_two_users_of_a_cluster_apart() {
    let Some((members, store)) = single().await else {
        return;
    };
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
    let Some((mut members, _)) = single().await else {
        return;
    };
    let mut options = options(&members);
    options.request_deadline = Duration::from_millis(500);
    let store = EtcdStore::connect(options).await.expect("connect");
    until_healthy(&store).await;
    members[0].kill();
    let read = timeout(Duration::from_secs(30), store.get("/k", None))
        .await
        .expect("in time");
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let commit = timeout(Duration::from_secs(30), store.commit(&[], &[put("/k", "v")]))
        .await
        .expect("in time");
    assert!(
        matches!(
            commit,
            Err(StoreError::OutcomeUnknown(_) | StoreError::Unavailable(_))
        ),
        "never reported as done or conflicting: {commit:?}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_right_one_accepted() {
    if !etcd_server::installed() {
        return;
    }
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
        Err(StoreError::Refused(_))
    ));
    let mut right = options(&members);
    right.user = Some(("root".into(), "secret".into()));
    let store = EtcdStore::connect(right).await.expect("connect");
    store.commit(&[], &[put("/k", "v")]).await.expect("commit");
    let anonymous = EtcdStore::connect(options(&members)).await.expect("connect");
    assert!(matches!(
        anonymous.get("/k", None).await,
        Err(StoreError::Refused(_))
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
    if !etcd_server::installed() {
        return;
    }
    let tls = certificates();
    let mut with_tls = EtcdOptions::new([]);
    with_tls.ca_pem = Some(tls.ca.clone().into_bytes());
    with_tls.client_identity_pem = Some((tls.certificate.clone().into_bytes(), tls.key.clone().into_bytes()));
    let member = etcd_server::single_with_tls(&tls).await;
    with_tls.endpoints = vec![member.url()];
    let store = EtcdStore::connect(with_tls.clone()).await.expect("connect");
    until_healthy(&store).await;
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
            Err(StoreError::Unavailable(_))
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
                        Err(StoreError::OutcomeUnknown(_) | StoreError::Unavailable(_)) => {
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
    let Some((mut members, store)) = single().await else {
        return;
    };
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
    if !etcd_server::installed() {
        return;
    }
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
    timeout(Duration::from_secs(90), waiting)
        .await
        .expect("commits go on");
}
