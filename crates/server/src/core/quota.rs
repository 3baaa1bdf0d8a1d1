//! How much of each [quota][1] is used. A creation is charged before it is carried out, in one transaction with the
//! quota, so that two at once can't both take the last place. What is there is counted when something is deleted, when
//! nothing comes of a charge, and at the start: a status that somebody wrote stays until then.
//!
//! [1]: https://kubernetes.io/docs/concepts/policy/resource-quotas/#object-count-quota

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::select_all;
use imagestream_api::quantity::Quantity;
use imagestream_apiserver::admission::Admitted;
use imagestream_apiserver::endpoint::WatchEvent;
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::kind::Resource;
use imagestream_apiserver::metadata::text;
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use imagestream_apiserver::storage::{Objects, failed};
use imagestream_store::{Precondition, StoreError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::resource_quotas::amounts_at;
use crate::context::Context;

/// What comes together is counted together, after this time.
const ROUND: Duration = Duration::from_millis(100);
/// Rounds for which a count waits until no charge is being made.
const PATIENT_ROUNDS: u32 = 20;
/// Time beyond that of the longest import after which a charge counts as abandoned.
const GRACE: Duration = Duration::from_secs(10);
/// Pause before watching again after a watch was lost.
const PAUSE: Duration = Duration::from_secs(1);

/// What somebody is about to create.
#[derive(Debug)]
pub(crate) struct Charge {
    /// Where.
    pub(crate) namespace: String,
    /// The resource of the object.
    pub(crate) of: &'static Resource,
    /// Its name.
    pub(crate) name: String,
    /// Under which names quotas count it.
    pub(crate) counted_as: Vec<String>,
}

/// What matters of an object that is counted.
#[derive(Deserialize)]
struct Counted {
    metadata: CountedName,
}

#[derive(Deserialize)]
struct CountedName {
    namespace: String,
    name: String,
}

/// A charge whose object has not been seen yet.
struct Open {
    charge: Arc<Charge>,
    until: Instant,
    /// Whether it may have to be made again.
    is_being_made: bool,
}

/// Keeps the use of all quotas.
pub struct Quotas {
    context: Arc<Context>,
    open: Mutex<Vec<Open>>,
    /// Charges that were ever begun.
    begun: AtomicU64,
    /// Where something is to be counted again that nobody is told of by a watch.
    disturbed: Mutex<Changes>,
    /// Wakes whoever counts when there is such a place.
    disturbance: Notify,
}

/// The names under which things were counted that have changed, for each namespace.
#[derive(Default)]
struct Changes(BTreeMap<String, BTreeSet<String>>);

impl Changes {
    fn add(&mut self, namespace: &str, names: impl IntoIterator<Item = String>) {
        self.0.entry(namespace.to_owned()).or_default().extend(names);
    }

    fn extend(&mut self, others: Self) {
        for (namespace, names) in others.0 {
            self.add(&namespace, names);
        }
    }
}

/// A charge is being made for as long as this lives, also if whoever makes it goes away.
struct Making<'a> {
    quotas: &'a Quotas,
    charge: &'a Arc<Charge>,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.quotas.made(self.charge);
    }
}

/// The names under which quotas count the objects of a resource.
pub(crate) fn names_of(resource: &Resource) -> Vec<String> {
    let mut names = vec![format!("count/{}", resource.group_resource())];
    match (resource.kind.group, resource.plural) {
        ("", "secrets" | "resourcequotas") => names.push(resource.plural.into()),
        (imagestream_api::types::GROUP, "imagestreams") => names.push("openshift.io/imagestreams".into()),
        _ => {}
    }
    names
}

impl Quotas {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
            open: Mutex::default(),
            begun: AtomicU64::new(0),
            disturbed: Mutex::default(),
            disturbance: Notify::new(),
        }
    }

    /// Charges all quotas of a namespace, or, for a dry run, only sees whether it could.
    ///
    /// `asked` and `name` are what the client wants to create, for the error. If nothing comes of it the charge is
    /// forgotten and what is there is counted.
    ///
    /// # Errors
    /// 403 if a quota is used up; those of the store.
    pub(crate) async fn charge(
        self: &Arc<Self>,
        charge: Charge,
        asked: GroupResource<'_>,
        name: &str,
        dry_run: bool,
    ) -> Result<Admitted, Box<Status>> {
        let quotas = &self.context.resource_quotas;
        let charge = Arc::new(charge);
        // Each failure means that another charge succeeded; the request's deadline ends it.
        loop {
            let (mut conditions, mut writes) = (Vec::new(), Vec::new());
            for encoded in all(quotas, &charge.namespace).await? {
                let mut quota = encoded.to_value()?;
                let is_charged = charged(&mut quota, &charge.counted_as)
                    .map_err(|error| errors::forbidden(asked, name, error))?;
                if is_charged {
                    conditions.push(Precondition::ModRevision(
                        quotas.key_of(&quota),
                        encoded.revision(),
                    ));
                    writes.push(quotas.put(&quota)?);
                }
            }
            if dry_run || writes.is_empty() {
                return Ok(Admitted::freely());
            }
            // Open before it is charged: who counts in between counts it.
            let until = Instant::now() + self.context.import_timeout + GRACE;
            self.open(Open {
                charge: Arc::clone(&charge),
                until,
                is_being_made: true,
            });
            let _making = Making {
                quotas: self,
                charge: &charge,
            };
            match self.context.store.commit(&conditions, &writes).await {
                Ok(_) => {
                    let quotas = Arc::clone(self);
                    let charge = Arc::clone(&charge);
                    return Ok(Admitted::or_else(move || quotas.take_back(&charge)));
                }
                Err(StoreError::Conflict { .. }) => {
                    self.settle(|open| Arc::ptr_eq(open, &charge));
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// The status of a quota: what it limits, and how much of that is used. Use that is `known` is not counted again.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn status(
        &self,
        quota: &Value,
        known: &Map<String, Value>,
    ) -> Result<Value, Box<Status>> {
        let namespace = text(quota, "namespace");
        let hard = amounts_at(quota, "/spec/hard");
        let mut used = Map::new();
        for name in hard.keys() {
            let amount = match known.get(name) {
                Some(amount) => amount.clone(),
                None => Quantity::count(self.used(namespace, name).await?)
                    .to_string()
                    .into(),
            };
            used.insert(name.clone(), amount);
        }
        Ok(json!({"hard": hard, "used": used}))
    }

    /// How many objects there are, or will be soon, that are counted under a name.
    async fn used(&self, namespace: &str, name: &str) -> Result<usize, Box<Status>> {
        let mut used = 0;
        for objects in counted_kinds(&self.context) {
            if names_of(objects.resource()).iter().any(|counted| counted == name) {
                used += objects.count(namespace).await?;
                used += self.open_charges(&objects, namespace, name);
            }
        }
        Ok(used)
    }

    fn open_charges(&self, objects: &Objects, namespace: &str, name: &str) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.iter().map(|open| &open.charge);
        open.filter(|charge| {
            let is_there = objects.contains(namespace, &charge.name);
            charge.namespace == namespace
                && std::ptr::eq(charge.of, objects.resource())
                && charge.counted_as.iter().any(|counted| counted == name)
                && !is_there
        })
        .count()
    }

    fn open(&self, open: Open) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(open);
    }

    fn made(&self, charge: &Arc<Charge>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = open.iter_mut();
        if let Some(open) = open.find(|open| Arc::ptr_eq(&open.charge, charge)) {
            open.is_being_made = false;
        }
    }

    /// How many charges were begun; nothing if one is being made in this namespace.
    fn settled(&self, namespace: &str) -> Option<u64> {
        let begun = self.begun.load(Ordering::SeqCst);
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_being_made = |open: &Open| open.is_being_made && open.charge.namespace == namespace;
        (!open.iter().any(is_being_made)).then_some(begun)
    }

    /// Forgets the first open charge that fits, and returns it.
    fn settle(&self, fits: impl Fn(&Arc<Charge>) -> bool) -> Option<Arc<Charge>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let position = open.iter().position(|open| fits(&open.charge))?;
        Some(open.swap_remove(position).charge)
    }

    /// Forgets the charge for an object that was created or deleted; the names under which it is to be counted again.
    ///
    /// A new object is counted only where nobody was charged for it.
    fn seen(&self, of: &'static Resource, object: &CountedName, is_new: bool) -> Vec<String> {
        let charge = self.settle(|charge| {
            std::ptr::eq(charge.of, of) && charge.namespace == object.namespace && charge.name == object.name
        });
        let charged_as = charge.filter(|_| is_new).map(|charge| charge.counted_as.clone());
        let charged_as = charged_as.unwrap_or_default();
        let mut names = names_of(of);
        names.retain(|name| !charged_as.contains(name));
        names
    }

    /// Forgets a charge that nothing came of, and has what is there counted.
    fn take_back(&self, charge: &Arc<Charge>) {
        self.settle(|open| Arc::ptr_eq(open, charge));
        self.disturbed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(&charge.namespace, charge.counted_as.iter().cloned());
        self.disturbance.notify_one();
    }

    /// What was disturbed since this was asked last, and what was charged and nothing came of it.
    fn disturbed(&self, now: Instant) -> Changes {
        let mut disturbed = self.disturbed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = std::mem::take(&mut *disturbed);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for Open { charge, .. } in open.extract_if(.., |open| open.until <= now) {
            changes.add(&charge.namespace, charge.counted_as.iter().cloned());
        }
        changes
    }

    /// Compares what was charged with what is there, whenever that changes, until its future is dropped.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            if let Err(status) = self.follow().await {
                tracing::warn!(message = status.message, "quotas lost their watch");
            }
            sleep(PAUSE).await;
        }
    }

    async fn follow(&self) -> Result<(), Box<Status>> {
        let mut watches = Vec::new();
        for objects in counted_kinds(&self.context) {
            let of = objects.resource();
            watches.push(
                objects
                    .watch("", ListOptions::changes_from_now())
                    .await?
                    .map(move |event| (of, event))
                    .boxed(),
            );
        }
        let mut watches = select_all(watches);
        let mut changed = Changes::default();
        for encoded in all(&self.context.resource_quotas, "").await? {
            let quota = encoded.to_value()?;
            let names = amounts_at(&quota, "/spec/hard").keys().cloned();
            changed.add(text(&quota, "namespace"), names);
        }
        let mut round = Instant::now();
        // Rounds in a row that left something to be counted.
        let mut rounds = 0;
        loop {
            tokio::select! {
                event = watches.next() => {
                    let Some((of, event)) = event else {
                        return Ok(());
                    };
                    let (object, is_new) = match event {
                        WatchEvent::Added(object) => (object, true),
                        WatchEvent::Deleted(object) => (object, false),
                        WatchEvent::Modified(_) | WatchEvent::Bookmark(_) => continue,
                        WatchEvent::Error(status) => return Err(status),
                    };
                    let Counted { metadata } = object.decode()?;
                    let names = self.seen(of, &metadata, is_new);
                    if names.is_empty() {
                        continue;
                    }
                    if changed.0.is_empty() {
                        round = Instant::now() + ROUND;
                    }
                    changed.add(&metadata.namespace, names);
                }
                () = self.disturbance.notified() => {
                    if changed.0.is_empty() {
                        round = Instant::now() + ROUND;
                    }
                    changed.extend(self.disturbed(Instant::now()));
                }
                () = sleep_until(round) => {
                    changed.extend(self.disturbed(Instant::now()));
                    for (namespace, names) in std::mem::take(&mut changed).0 {
                        if !self.recount(&namespace, &names, rounds < PATIENT_ROUNDS).await? {
                            changed.add(&namespace, names);
                        }
                    }
                    rounds = if changed.0.is_empty() { 0 } else { rounds + 1 };
                    round = Instant::now() + if changed.0.is_empty() { PAUSE } else { ROUND };
                }
            }
        }
    }

    /// Writes what is used under any of `names` in a namespace into the quotas that limit it; what else they say stays.
    /// Whether that is certain and nothing came between.
    ///
    /// A charge that is being made is counted, as it may be in the quota that was read; if it was overtaken and is made
    /// again it would find itself counted, and be refused for that. So whoever `is_patient` leaves what is uncertain for
    /// the next round.
    async fn recount(
        &self,
        namespace: &str,
        names: &BTreeSet<String>,
        is_patient: bool,
    ) -> Result<bool, Box<Status>> {
        let quotas = &self.context.resource_quotas;
        let mut is_done = true;
        for encoded in all(quotas, namespace).await? {
            let mut quota = encoded.to_value()?;
            let mut limited = amounts_at(&quota, "/spec/hard").keys();
            if !limited.any(|name| names.contains(name)) {
                continue;
            }
            let before = self.settled(namespace);
            let mut known = amounts_at(&quota, "/status/used").clone();
            known.retain(|name, _| !names.contains(name));
            let status = self.status(&quota, &known).await?;
            let is_certain = before.is_some() && before == self.settled(namespace);
            is_done &= is_certain;
            if quota.get("status") != Some(&status) && (is_certain || !is_patient) {
                crate::plain::set_field(&mut quota, "status", Some(&status));
                is_done &= quotas.replace(quota, encoded.revision()).await?.is_some();
            }
        }
        Ok(is_done)
    }
}

fn counted_kinds(context: &Context) -> impl Iterator<Item = Arc<Objects>> {
    context
        .kinds()
        .into_iter()
        .filter(|objects| objects.resource().namespaced)
}

async fn all(
    objects: &Objects,
    namespace: &str,
) -> Result<Vec<imagestream_apiserver::storage::Encoded>, Box<Status>> {
    let (found, _) = objects
        .all(namespace, &LabelSelector::default(), &FieldSelector::default())
        .await?;
    Ok(found)
}

/// Charges one quota with one object. Whether it counts such objects.
///
/// # Errors
/// Why it can't be charged.
fn charged(quota: &mut Value, counted_as: &[String]) -> Result<bool, String> {
    let name = text(quota, "name").to_owned();
    let hard = amounts_at(quota, "/status/hard");
    let used = amounts_at(quota, "/status/used");
    let amount = |amounts: &Map<String, Value>, name: &str| {
        amounts
            .get(name)
            .and_then(Value::as_str)
            .and_then(|text| Quantity::parse(text).ok())
    };
    let mut changed = used.clone();
    let mut is_charged = false;
    let mut unknown = Vec::new();
    let mut exceeded = Vec::new();
    for resource in BTreeSet::from_iter(counted_as) {
        let Some(limit) = amount(hard, resource) else {
            continue;
        };
        let Some(before) = amount(used, resource) else {
            unknown.push(resource.as_str());
            continue;
        };
        is_charged = true;
        let after = before.plus_one();
        if after > limit {
            exceeded.push((resource, before, limit));
        }
        changed.insert(resource.clone(), after.to_string().into());
    }
    if !unknown.is_empty() {
        return Err(format!(
            "status unknown for quota: {name}, resources: {}",
            unknown.join(",")
        ));
    }
    if !exceeded.is_empty() {
        let listed = |of: fn(&(&String, Quantity, Quantity)) -> String| {
            let listed: Vec<String> = exceeded.iter().map(of).collect();
            listed.join(",")
        };
        return Err(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            listed(|(resource, ..)| format!("{resource}=1")),
            listed(|(resource, used, _)| format!("{resource}={used}")),
            listed(|(resource, _, limit)| format!("{resource}={limit}")),
        ));
    }
    if let Some(status) = quota.get_mut("status").and_then(Value::as_object_mut) {
        status.insert("used".into(), changed.into());
    }
    Ok(is_charged)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "callers make them in place")]
    fn quota(hard: Value, used: Value) -> Value {
        json!({"metadata": {"name": "q"}, "status": {"hard": hard, "used": used}})
    }

    #[test]
    fn a_quota_is_charged_until_it_is_used_up_and_says_for_what() {
        let names = names_of(&crate::image::image_streams::IMAGE_STREAMS);
        let (streams, count) = (
            "openshift.io/imagestreams",
            "count/imagestreams.image.openshift.io",
        );
        let mut free = quota(
            json!({streams: "2", "cpu": "1"}),
            json!({streams: "1", "cpu": "0"}),
        );
        assert_eq!(charged(&mut free, &names), Ok(true));
        assert_eq!(free["status"]["used"], json!({streams: "2", "cpu": "0"}));
        assert_eq!(
            charged(&mut free, &names).unwrap_err(),
            "exceeded quota: q, requested: openshift.io/imagestreams=1, used: openshift.io/imagestreams=2, limited: \
             openshift.io/imagestreams=2"
        );
        let mut both = quota(
            json!({streams: "1k", count: "1"}),
            json!({streams: "1k", count: "7"}),
        );
        assert_eq!(
            charged(&mut both, &names).unwrap_err(),
            "exceeded quota: q, requested: count/imagestreams.image.openshift.io=1,openshift.io/imagestreams=1, used: \
             count/imagestreams.image.openshift.io=7,openshift.io/imagestreams=1k, limited: \
             count/imagestreams.image.openshift.io=1,openshift.io/imagestreams=1k"
        );
        let mut other = quota(json!({"cpu": "0"}), json!({"cpu": "0"}));
        assert_eq!(charged(&mut other, &names), Ok(false));
        let mut fresh = quota(json!({streams: "1"}), json!({}));
        assert_eq!(
            charged(&mut fresh, &names).unwrap_err(),
            "status unknown for quota: q, resources: openshift.io/imagestreams"
        );
    }

    #[test]
    fn an_object_is_counted_under_its_general_and_its_own_name() {
        assert_eq!(
            names_of(&crate::core::secrets::SECRETS),
            ["count/secrets", "secrets"]
        );
        assert_eq!(
            names_of(&crate::rbac::roles::ROLES),
            ["count/roles.rbac.authorization.k8s.io"]
        );
    }
}
