//! Reads, commits and upkeep over etcd's key-value service.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{Client, Compare, CompareOp, GetOptions, GetResponse, Txn, TxnOp, TxnOpResponse};
use tokio::time::{Instant, sleep, timeout_at};

use super::failure::Failure;
use super::model::{EtcdError, KeyValue, Page, Precondition, Write};
use super::options::EtcdOptions;
use super::watch::Watch;

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
/// [`EtcdError::OutcomeUnknown`]. Reads are linearizable and repeated with back-off until the request deadline.
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
    /// [`EtcdError::Refused`] for wrong options or credentials, [`EtcdError::Unavailable`] if nobody answers in time.
    pub async fn connect(options: EtcdOptions) -> Result<Self, EtcdError> {
        let connecting = Client::connect(options.endpoints.clone(), Some(options.connect_options()));
        let client = tokio::time::timeout(options.request_deadline, connecting)
            .await
            .map_err(|_| EtcdError::Unavailable("no answer within the request deadline".into()))?
            .map_err(|error| EtcdError::of_read(&error))?;
        Ok(Self { client, options })
    }

    /// The key's value now, or at a revision.
    ///
    /// # Errors
    /// [`EtcdError::Compacted`], [`EtcdError::FutureRevision`], [`EtcdError::Unavailable`], [`EtcdError::Refused`].
    pub async fn get(&self, key: &str, revision: Option<u64>) -> Result<Option<KeyValue>, EtcdError> {
        let options = GetOptions::new().with_revision(to_etcd(revision.unwrap_or(0))?);
        let answer = self.range(self.full_key(key), options).await?;
        Ok(self.items(answer)?.into_iter().next())
    }

    /// Up to `limit` keys under `prefix` that come after the key `after`, at `revision` or now.
    ///
    /// # Errors
    /// [`EtcdError::Compacted`] when the revision is gone, [`EtcdError::FutureRevision`],
    /// [`EtcdError::Unavailable`], [`EtcdError::Refused`].
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        revision: Option<u64>,
    ) -> Result<Page, EtcdError> {
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
        let limit = i64::try_from(limit).map_err(|_| EtcdError::Invalid("page size".into()))?;
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

    /// Commits all writes if every precondition holds and returns the revision of the commit.
    ///
    /// # Errors
    /// [`EtcdError::Conflict`] with the first precondition that failed; [`EtcdError::TooLarge`] beyond the server's
    /// limits; [`EtcdError::Invalid`] if one key is written twice or nothing is written;
    /// [`EtcdError::OutcomeUnknown`] when the answer was lost; [`EtcdError::Unavailable`], [`EtcdError::Refused`].
    pub async fn commit(&self, preconditions: &[Precondition], writes: &[Write]) -> Result<u64, EtcdError> {
        self.check_limits(preconditions, writes)?;
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
            .collect::<Result<Vec<_>, EtcdError>>()?;
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
                return Err(EtcdError::OutcomeUnknown(
                    "no answer within the request deadline".into(),
                ));
            }
            Ok(Err(error)) => {
                return Err(match Failure::of(&error) {
                    Failure::Unknown => EtcdError::OutcomeUnknown(error.to_string()),
                    _ => EtcdError::of_read(&error),
                });
            }
            Ok(Ok(answer)) => answer,
        };
        if answer.succeeded() {
            return header_revision(answer.header());
        }
        for (index, (precondition, read)) in preconditions.iter().zip(answer.op_responses()).enumerate() {
            let TxnOpResponse::Get(read) = read else { continue };
            let current = self.items(read)?.into_iter().next();
            let holds = match precondition {
                Precondition::Absent(_) => current.is_none(),
                Precondition::ModRevision(_, revision) => {
                    current.as_ref().map_or(0, |current| current.mod_revision) == *revision
                }
            };
            if !holds {
                let key = precondition.key().to_owned();
                return Err(EtcdError::Conflict {
                    key,
                    index,
                    current: current.map(Box::new),
                });
            }
        }
        Err(EtcdError::Refused(
            "a transaction failed though all its preconditions hold".into(),
        ))
    }

    /// Watches all keys under `prefix` for commits after `after`. See [`Watch`].
    pub fn watch(&self, prefix: &str, after: u64) -> Watch {
        Watch::start(self, prefix, after)
    }

    /// Drops all history before `revision`: older lists and watches then answer [`EtcdError::Compacted`].
    ///
    /// # Errors
    /// [`EtcdError::Compacted`] if that was done before, [`EtcdError::FutureRevision`],
    /// [`EtcdError::Unavailable`], [`EtcdError::Refused`].
    pub async fn compact(&self, revision: u64) -> Result<(), EtcdError> {
        let revision = to_etcd(revision)?;
        self.repeat(|| {
            let mut kv = self.client.kv_client();
            async move { kv.compact(revision, None).await }
        })
        .await
        .map(|_| ())
    }

    /// The revision of the latest commit to the cluster, confirmed by its leader.
    ///
    /// # Errors
    /// [`EtcdError::Unavailable`], [`EtcdError::Refused`].
    pub async fn current_revision(&self) -> Result<u64, EtcdError> {
        let mut key = self.full_key("");
        if key.is_empty() {
            key.push(0);
        }
        let answer = self.range(key, GetOptions::new().with_count_only()).await?;
        header_revision(answer.header())
    }

    /// Whether the cluster has a leader and answers within the request deadline.
    ///
    /// # Errors
    /// [`EtcdError::Unavailable`] or [`EtcdError::Refused`], with the reason.
    pub async fn health(&self) -> Result<(), EtcdError> {
        self.current_revision().await.map(|_| ())
    }

    /// Size of the answering member's database file, in bytes.
    ///
    /// # Errors
    /// [`EtcdError::Unavailable`], [`EtcdError::Refused`].
    pub async fn size(&self) -> Result<u64, EtcdError> {
        let status = self
            .repeat(|| {
                let mut maintenance = self.client.maintenance_client();
                async move { maintenance.status().await }
            })
            .await?;
        Ok(u64::try_from(status.db_size()).unwrap_or(0))
    }

    fn check_limits(&self, preconditions: &[Precondition], writes: &[Write]) -> Result<(), EtcdError> {
        if writes.is_empty() {
            return Err(EtcdError::Invalid("a transaction without a write".into()));
        }
        let mut keys = HashSet::with_capacity(writes.len());
        for write in writes {
            if !keys.insert(write.key()) {
                return Err(EtcdError::Invalid(format!("{:?} is written twice", write.key())));
            }
        }
        for (count, what) in [(preconditions.len(), "preconditions"), (writes.len(), "writes")] {
            if count > self.options.max_txn_ops {
                let limit = self.options.max_txn_ops;
                return Err(EtcdError::TooLarge(format!(
                    "{count} {what}, but etcd allows {limit}"
                )));
            }
        }
        let key_size = |key: &str| self.options.key_prefix.len() + key.len() + FRAMING;
        // A precondition's key is sent twice: to compare, and to read on refusal.
        let size = preconditions
            .iter()
            .map(|precondition| 2 * key_size(precondition.key()))
            .sum::<usize>()
            + writes
                .iter()
                .map(|write| match write {
                    Write::Put(key, value) => key_size(key) + value.len(),
                    Write::Delete(key) => key_size(key),
                })
                .sum::<usize>();
        let limit = self.options.max_request_bytes;
        if size > limit {
            return Err(EtcdError::TooLarge(format!(
                "{size} bytes, but etcd allows {limit}"
            )));
        }
        Ok(())
    }

    async fn range(&self, key: Vec<u8>, options: GetOptions) -> Result<GetResponse, EtcdError> {
        self.repeat(|| {
            let mut kv = self.client.kv_client().max_decoding_message_size(LARGEST_ANSWER);
            let (key, options) = (key.clone(), options.clone());
            async move { kv.get(key, Some(options)).await }
        })
        .await
    }

    /// Sends a request that may be applied more than once, until it is answered or its deadline passes.
    async fn repeat<T, F>(&self, send: impl Fn() -> F) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let deadline = Instant::now() + self.options.request_deadline;
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match timeout_at(deadline, send()).await {
                Err(_) => {
                    return Err(EtcdError::Unavailable(
                        "no answer within the request deadline".into(),
                    ));
                }
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => EtcdError::of_read(&error),
            };
            if !matches!(error, EtcdError::Unavailable(_)) || Instant::now() + pause >= deadline {
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
    pub(super) fn item(&self, item: etcd_client::KeyValue) -> Result<KeyValue, EtcdError> {
        let (create, modified) = (item.create_revision(), item.mod_revision());
        let (key, value) = item.into_key_value();
        let key = String::from_utf8(key).map_err(|_| EtcdError::Refused("a key is not UTF-8".into()))?;
        let key = key
            .strip_prefix(&self.options.key_prefix)
            .ok_or_else(|| EtcdError::Refused("a key outside of the key prefix".into()))?;
        Ok(KeyValue {
            key: key.to_owned(),
            value: Bytes::from(value),
            create_revision: from_etcd(create)?,
            mod_revision: from_etcd(modified)?,
        })
    }

    fn items(&self, mut answer: GetResponse) -> Result<Vec<KeyValue>, EtcdError> {
        answer
            .take_kvs()
            .into_iter()
            .map(|item| self.item(item))
            .collect()
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

pub(super) fn to_etcd(revision: u64) -> Result<i64, EtcdError> {
    i64::try_from(revision).map_err(|_| EtcdError::FutureRevision)
}

pub(super) fn from_etcd(revision: i64) -> Result<u64, EtcdError> {
    u64::try_from(revision).map_err(|_| EtcdError::Refused("a negative revision".into()))
}

fn header_revision(header: Option<&etcd_client::ResponseHeader>) -> Result<u64, EtcdError> {
    let header = header.ok_or_else(|| EtcdError::Refused("an answer without a header".into()))?;
    from_etcd(header.revision())
}
