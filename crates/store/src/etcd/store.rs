//! Reads, commits and upkeep over etcd's key-value service.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{Client, Compare, CompareOp, GetOptions, GetResponse, Txn, TxnOp, TxnOpResponse};
use tokio::time::{Instant, sleep, timeout_at};

use super::MARK;
use super::failure::Failure;
use super::options::EtcdOptions;
use super::watch::follow;
use crate::model::{KeyValue, Limits, Page, Precondition, StoreError, Write};
use crate::store::{Answer, Store};
use crate::watch::Watch;

/// Pause before the first retry of a read or reconnect; doubled each time up to [`LONGEST_PAUSE`].
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause between two retries.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Protobuf framing of one operation or precondition, in bytes, rounded up.
const FRAMING: usize = 64;
/// Largest answer that is accepted, in bytes.
pub(super) const LARGEST_ANSWER: usize = 256 << 20;

/// A store in an etcd cluster. Cheap to clone; all clones share their connections.
///
/// A commit is one etcd transaction, so it has one revision and is linearizable. It is durable on a majority
/// of members when acknowledged. Commits are never repeated: one whose answer was lost is reported as
/// [`StoreError::OutcomeUnknown`]. Reads are linearizable and repeated with back-off until the request deadline.
#[derive(Clone)]
pub struct EtcdStore {
    pub(super) client: Client,
    pub(super) options: EtcdOptions,
}

impl EtcdStore {
    /// Prepares connections to the cluster and, with a user, authenticates.
    ///
    /// Without a user nothing is sent yet: use [`EtcdStore::health`] to learn whether the cluster answers.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for wrong options or credentials, [`StoreError::Unavailable`] if nobody answers in time.
    pub async fn connect(options: EtcdOptions) -> Result<Self, StoreError> {
        let connecting = Client::connect(options.endpoints.clone(), Some(options.connect_options()));
        let client = tokio::time::timeout(options.request_deadline, connecting)
            .await
            .map_err(|_| StoreError::Unavailable("no answer within the request deadline".into()))?
            .map_err(|error| Failure::of_read(&error))?;
        Ok(Self { client, options })
    }

    /// One range request: up to `limit` pairs, marks included.
    async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        revision: Option<u64>,
    ) -> Result<Page, StoreError> {
        let full_prefix = self.full_key(prefix);
        // The smallest key greater than `after` is `after` with a zero byte appended.
        let start = match after {
            Some(after) if after >= prefix => {
                let mut key = self.full_key(after);
                key.push(0);
                key
            }
            _ => full_prefix.clone(),
        };
        let start = if start.is_empty() { vec![0] } else { start };
        let limit = i64::try_from(limit).map_err(|_| StoreError::Invalid("page size".into()))?;
        let options = GetOptions::new()
            .with_range(end_of_prefix(&full_prefix))
            .with_limit(limit)
            .with_revision(to_etcd(revision.unwrap_or(0))?);
        let answer = self.range(start, options).await?;
        let revision = match revision {
            Some(revision) => revision,
            None => header_revision(answer.header())?,
        };
        let more = answer.more();
        Ok(Page {
            items: self.items(answer)?,
            revision,
            more,
        })
    }

    /// What a transaction's refusal says: the first of its preconditions that does not hold.
    fn conflict(
        &self,
        preconditions: &[Precondition],
        reads: Vec<TxnOpResponse>,
    ) -> Result<StoreError, StoreError> {
        for (index, (precondition, read)) in preconditions.iter().zip(reads).enumerate() {
            let TxnOpResponse::Get(read) = read else { continue };
            let current = self.items(read)?.into_iter().next();
            if !precondition.holds(current.as_ref().map(|current| current.mod_revision)) {
                return Ok(StoreError::Conflict {
                    key: precondition.key().to_owned(),
                    index,
                    current: current.map(Box::new),
                });
            }
        }
        Err(StoreError::Refused(
            "a transaction failed though all its preconditions hold".into(),
        ))
    }

    async fn range(&self, key: Vec<u8>, options: GetOptions) -> Result<GetResponse, StoreError> {
        self.repeat(|| {
            let mut kv = self.client.kv_client().max_decoding_message_size(LARGEST_ANSWER);
            let (key, options) = (key.clone(), options.clone());
            async move { kv.get(key, Some(options)).await }
        })
        .await
    }

    /// Sends a request that may be applied more than once, until it is answered or its deadline passes.
    async fn repeat<T, F>(&self, send: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let deadline = Instant::now() + self.options.request_deadline;
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match timeout_at(deadline, send()).await {
                Err(_) => {
                    return Err(StoreError::Unavailable(
                        "no answer within the request deadline".into(),
                    ));
                }
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => Failure::of_read(&error),
            };
            if !matches!(error, StoreError::Unavailable(_)) || Instant::now() + pause >= deadline {
                return Err(error);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    pub(super) fn full_key(&self, key: &str) -> Vec<u8> {
        [self.options.key_prefix.as_bytes(), key.as_bytes()].concat()
    }

    /// Our form of an etcd key-value pair, without the key prefix.
    pub(super) fn item(&self, item: etcd_client::KeyValue) -> Result<KeyValue, StoreError> {
        let (create, modified) = (item.create_revision(), item.mod_revision());
        let (key, value) = item.into_key_value();
        let key = String::from_utf8(key).map_err(|_| StoreError::Refused("a key is not UTF-8".into()))?;
        let key = key
            .strip_prefix(&self.options.key_prefix)
            .ok_or_else(|| StoreError::Refused("a key outside of the key prefix".into()))?;
        Ok(KeyValue {
            key: key.to_owned(),
            value: Bytes::from(value),
            create_revision: from_etcd(create)?,
            mod_revision: from_etcd(modified)?,
        })
    }

    /// The pairs of an answer, marks included.
    fn items(&self, mut answer: GetResponse) -> Result<Vec<KeyValue>, StoreError> {
        answer
            .take_kvs()
            .into_iter()
            .map(|item| self.item(item))
            .collect()
    }
}

impl Store for EtcdStore {
    fn get<'a>(&'a self, key: &'a str, revision: Option<u64>) -> Answer<'a, Option<KeyValue>> {
        Box::pin(async move {
            let options = GetOptions::new().with_revision(to_etcd(revision.unwrap_or(0))?);
            let answer = self.range(self.full_key(key), options).await?;
            Ok(self.items(answer)?.into_iter().next())
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
        revision: Option<u64>,
    ) -> Answer<'a, Page> {
        Box::pin(async move {
            let mut after = after.map(str::to_owned);
            let mut revision = revision;
            loop {
                let mut page = self.page(prefix, after.as_deref(), limit, revision).await?;
                revision = Some(page.revision);
                after = page.items.last().map(|item| item.key.clone());
                page.items.retain(|item| !item.key.ends_with(MARK));
                // A page of marks alone would leave the caller without a key to go on from.
                if !page.items.is_empty() || !page.more {
                    return Ok(page);
                }
            }
        })
    }

    fn commit<'a>(&'a self, preconditions: &'a [Precondition], writes: &'a [Write]) -> Answer<'a, u64> {
        Box::pin(async move {
            let key_size = |key: &str| self.options.key_prefix.len() + key.len() + FRAMING;
            // A precondition's key is sent twice: to compare, and to read on refusal.
            self.limits()
                .check(preconditions, writes, |key| 2 * key_size(key), key_size)?;
            let compares = preconditions
                .iter()
                .map(|precondition| {
                    let revision = match precondition {
                        Precondition::Absent(_) => 0,
                        Precondition::ModRevision(_, revision) => *revision,
                    };
                    let key = self.full_key(precondition.key());
                    Ok(Compare::mod_revision(key, CompareOp::Equal, to_etcd(revision)?))
                })
                .collect::<Result<Vec<_>, StoreError>>()?;
            let operations: Vec<TxnOp> = writes
                .iter()
                .map(|write| match write {
                    Write::Put(key, value) => TxnOp::put(self.full_key(key), value.as_ref(), None),
                    Write::Delete(key) => TxnOp::delete(self.full_key(key), None),
                })
                .collect();
            // On refusal the same transaction reads the keys, so that the failed precondition is named truthfully.
            let reads: Vec<TxnOp> = preconditions
                .iter()
                .map(|precondition| TxnOp::get(self.full_key(precondition.key()), None))
                .collect();
            let transaction = Txn::new().when(compares).and_then(operations).or_else(reads);

            let deadline = Instant::now() + self.options.request_deadline;
            let mut kv = self.client.kv_client().max_decoding_message_size(LARGEST_ANSWER);
            let answer = match timeout_at(deadline, kv.txn(transaction)).await {
                Err(_) => {
                    return Err(StoreError::OutcomeUnknown(
                        "no answer within the request deadline".into(),
                    ));
                }
                Ok(Err(error)) => {
                    return Err(match Failure::of(&error) {
                        Failure::Unknown => StoreError::OutcomeUnknown(error.to_string()),
                        _ => Failure::of_read(&error),
                    });
                }
                Ok(Ok(answer)) => answer,
            };
            if answer.succeeded() {
                return header_revision(answer.header());
            }
            Err(self.conflict(preconditions, answer.op_responses())?)
        })
    }

    fn watch(&self, prefix: &str, after: u64) -> Watch {
        follow(self, prefix, after)
    }

    fn request_progress<'a>(&'a self, prefix: &'a str) -> Answer<'a, u64> {
        Box::pin(async move {
            let mark = [Write::Put(format!("{prefix}{MARK}"), Bytes::new())];
            self.commit(&[], &mark).await
        })
    }

    fn compact(&self, revision: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let revision = to_etcd(revision)?;
            self.repeat(|| {
                let mut kv = self.client.kv_client();
                async move { kv.compact(revision, None).await }
            })
            .await
            .map(|_| ())
        })
    }

    fn current_revision(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut key = self.full_key("");
            if key.is_empty() {
                key.push(0);
            }
            let answer = self.range(key, GetOptions::new().with_count_only()).await?;
            header_revision(answer.header())
        })
    }

    fn health(&self) -> Answer<'_, ()> {
        Box::pin(async move { self.current_revision().await.map(|_| ()) })
    }

    fn size(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            let status = self
                .repeat(|| {
                    let mut maintenance = self.client.maintenance_client();
                    async move { maintenance.status().await }
                })
                .await?;
            Ok(u64::try_from(status.db_size()).unwrap_or(0))
        })
    }

    fn limits(&self) -> Limits {
        Limits {
            operations: self.options.max_txn_ops,
            bytes: self.options.max_request_bytes,
        }
    }
}

impl std::fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdStore")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The end of the key range that holds every key with this prefix (`\0`: no end).
pub(super) fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

pub(super) fn to_etcd(revision: u64) -> Result<i64, StoreError> {
    i64::try_from(revision).map_err(|_| StoreError::FutureRevision)
}

pub(super) fn from_etcd(revision: i64) -> Result<u64, StoreError> {
    u64::try_from(revision).map_err(|_| StoreError::Refused("a negative revision".into()))
}

fn header_revision(header: Option<&etcd_client::ResponseHeader>) -> Result<u64, StoreError> {
    let header = header.ok_or_else(|| StoreError::Refused("an answer without a header".into()))?;
    from_etcd(header.revision())
}
