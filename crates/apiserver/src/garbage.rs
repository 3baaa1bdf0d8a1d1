//! What happens to the dependents of an object that goes: [garbage collection][1], for the kinds that this server has.
//!
//! An object depends on those that its `ownerReferences` name. `Background` deletes dependents afterwards,
//! `Foreground` before, `Orphan` makes them forget their owner. Owners of kinds that this server does not have are
//! nobody's business here.
//!
//! [1]: https://kubernetes.io/docs/concepts/architecture/garbage-collection/

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::select_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use crate::endpoint::{Object, WatchEvent};
use crate::metadata::{self, text};
use crate::options::ListOptions;
use crate::storage::{Objects, Stored};

/// The finalizer that keeps an object until its dependents have forgotten it.
pub const ORPHAN: &str = "orphan";
/// The finalizer that keeps an object until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";

/// What comes together is dealt with together: a round follows the first deletion after this time.
const ROUND: Duration = Duration::from_secs(2);
/// Pause before watching again after a watch was lost.
const PAUSE: Duration = Duration::from_secs(1);

/// An object that goes, by uid.
enum Going {
    /// It is gone.
    Gone,
    /// It waits for its dependents, at this place.
    Waiting {
        kind: usize,
        namespace: String,
        name: String,
        finalizer: &'static str,
    },
}

/// Deals with the dependents of all objects among `kinds` that are deleted, until its future is dropped.
pub async fn collect(kinds: Vec<Arc<Objects>>) {
    // What goes is not forgotten when something fails: that it went is told only once.
    let mut going = BTreeMap::new();
    loop {
        if let Err(status) = follow(&kinds, &mut going).await {
            tracing::warn!(message = status.message, "garbage collection lost its watch");
        }
        sleep(PAUSE).await;
    }
}

async fn follow(kinds: &[Arc<Objects>], going: &mut BTreeMap<String, Going>) -> Result<(), Box<Status>> {
    let mut watches = Vec::with_capacity(kinds.len());
    // What is kept on disk is too much to be read for this; it can be a dependent, but not an owner.
    let owners = kinds
        .iter()
        .enumerate()
        .filter(|(_, objects)| objects.is_in_memory());
    for (kind, objects) in owners {
        // With all that is there: a deletion may have begun before this process did.
        let events = objects.watch("", ListOptions::endless_watch()).await?;
        watches.push(events.map(move |event| (kind, event)).boxed());
    }
    let mut watches = select_all(watches);
    // Owners may have gone while nobody watched.
    for uid in absent_owners(kinds).await? {
        going.entry(uid).or_insert(Going::Gone);
    }
    let mut round = (!going.is_empty()).then(|| Instant::now() + ROUND);
    loop {
        let next = round.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            event = watches.next() => match event {
                Some((_, WatchEvent::Error(status))) => return Err(status),
                Some((kind, event)) => {
                    if let Some((uid, object)) = observe(kind, event)? {
                        going.insert(uid, object);
                        round.get_or_insert_with(|| Instant::now() + ROUND);
                    }
                }
                None => return Ok(()),
            },
            () = sleep_until(next) => {
                // A dependent that was written before its owner went must be seen: each kind is followed by itself.
                for objects in kinds {
                    objects.ready().await?;
                }
                let mut settled = BTreeSet::new();
                for (uid, object) in &*going {
                    if settle(kinds, uid, object).await? {
                        settled.insert(uid.clone());
                    }
                }
                going.retain(|uid, _| !settled.contains(uid));
                round = (!going.is_empty()).then(|| Instant::now() + ROUND);
            }
        }
    }
}

/// The uids of owners that are gone, of objects that have no other.
async fn absent_owners(kinds: &[Arc<Objects>]) -> Result<BTreeSet<String>, Box<Status>> {
    for objects in kinds {
        objects.ready().await?;
    }
    let mut absent = BTreeSet::new();
    for objects in kinds {
        for dependent in objects.owned().await? {
            if has_other_owner(kinds, &dependent.object, "").await? {
                continue;
            }
            let owners = dependent
                .object
                .pointer("/metadata/ownerReferences")
                .and_then(Value::as_array);
            let uids = owners
                .into_iter()
                .flatten()
                .filter_map(|owner| owner.get("uid")?.as_str());
            absent.extend(uids.map(str::to_owned));
        }
    }
    Ok(absent)
}

/// Whether an event is about an object that goes.
fn observe(kind: usize, event: WatchEvent) -> Result<Option<(String, Going)>, Box<Status>> {
    let (object, is_gone) = match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
        WatchEvent::Deleted(object) => (object, true),
        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => return Ok(None),
    };
    if let (Object::Encoded(encoded), false) = (&object, is_gone)
        && !encoded.mentions("\"deletionTimestamp\"")
    {
        return Ok(None);
    }
    let object = object.into_value()?;
    let uid = text(&object, "uid").to_owned();
    if is_gone {
        return Ok(Some((uid, Going::Gone)));
    }
    let finalizer = [FOREGROUND, ORPHAN]
        .into_iter()
        .find(|finalizer| holds(&object, finalizer));
    let waiting = finalizer.filter(|_| !text(&object, "deletionTimestamp").is_empty());
    Ok(waiting.map(|finalizer| {
        let going = Going::Waiting {
            kind,
            namespace: text(&object, "namespace").to_owned(),
            name: text(&object, "name").to_owned(),
            finalizer,
        };
        (uid, going)
    }))
}

fn holds(object: &Value, finalizer: &str) -> bool {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.into_iter().flatten().any(|held| held == finalizer)
}

/// Deals with the dependents of an object. Whether nothing is left to do.
async fn settle(kinds: &[Arc<Objects>], uid: &str, going: &Going) -> Result<bool, Box<Status>> {
    let orphans = matches!(
        going,
        Going::Waiting {
            finalizer: ORPHAN,
            ..
        }
    );
    let mut is_settled = true;
    for objects in kinds {
        for dependent in objects.owned_by(uid).await? {
            is_settled &= if orphans || has_other_owner(kinds, &dependent.object, uid).await? {
                forget_owner(objects, dependent, uid).await?
            } else {
                // A dependent that something holds back is asked about again in the next round.
                delete(objects, dependent).await?
            };
        }
    }
    match going {
        Going::Waiting {
            kind,
            namespace,
            name,
            finalizer,
        } if is_settled => release(&kinds[*kind], namespace, name, uid, finalizer).await,
        _ => Ok(is_settled),
    }
}

/// Whether an object has an owner that stays, besides the one with this uid. One of a kind that this server does not have
/// is taken to stay.
async fn has_other_owner(kinds: &[Arc<Objects>], object: &Value, uid: &str) -> Result<bool, Box<Status>> {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    for owner in owners.into_iter().flatten() {
        let field = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or_default();
        if field("uid") == uid {
            continue;
        }
        let of_kind = kinds.iter().find(|objects| {
            let kind = objects.resource().kind;
            kind.kind == field("kind") && kind.api_version() == field("apiVersion")
        });
        let Some(objects) = of_kind else {
            return Ok(true);
        };
        // An owner is in the namespace of its dependents, or in none.
        let found = objects.get(text(object, "namespace"), field("name")).await?;
        let stays = |found: &Stored| {
            let goes_with_dependents =
                !text(&found.object, "deletionTimestamp").is_empty() && holds(&found.object, FOREGROUND);
            text(&found.object, "uid") == field("uid") && !goes_with_dependents
        };
        if found.as_ref().is_some_and(stays) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn forget_owner(objects: &Objects, mut dependent: Stored, uid: &str) -> Result<bool, Box<Status>> {
    if let Some(Value::Array(owners)) =
        metadata::of(&mut dependent.object).and_then(|metadata| metadata.get_mut("ownerReferences"))
    {
        owners.retain(|owner| owner.get("uid").and_then(Value::as_str) != Some(uid));
    }
    metadata::tidy(&mut dependent.object);
    Ok(objects
        .replace(dependent.object, dependent.revision)
        .await?
        .is_some())
}

/// Deletes an object, or has it wait for whoever holds it. Whether it is gone.
async fn delete(objects: &Objects, mut dependent: Stored) -> Result<bool, Box<Status>> {
    let (namespace, name) = (
        text(&dependent.object, "namespace").to_owned(),
        text(&dependent.object, "name").to_owned(),
    );
    let finalizers = dependent
        .object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    if finalizers.is_none_or(Vec::is_empty) {
        return Ok(objects
            .remove(&namespace, &name, dependent.revision)
            .await?
            .is_some());
    }
    if text(&dependent.object, "deletionTimestamp").is_empty() {
        metadata::mark_deleted(&mut dependent.object, jiff::Timestamp::now());
        objects.replace(dependent.object, dependent.revision).await?;
    }
    Ok(false)
}

/// Takes the finalizer from an object whose dependents are settled, and deletes it if nothing else holds it.
async fn release(
    objects: &Objects,
    namespace: &str,
    name: &str,
    uid: &str,
    finalizer: &str,
) -> Result<bool, Box<Status>> {
    let Some(mut stored) = objects.get(namespace, name).await? else {
        return Ok(true);
    };
    if text(&stored.object, "uid") != uid {
        return Ok(true);
    }
    let Some(Value::Array(finalizers)) =
        metadata::of(&mut stored.object).and_then(|metadata| metadata.get_mut("finalizers"))
    else {
        return Ok(true);
    };
    finalizers.retain(|held| held != finalizer);
    if finalizers.is_empty() {
        return Ok(objects.remove(namespace, name, stored.revision).await?.is_some());
    }
    Ok(objects.replace(stored.object, stored.revision).await?.is_some())
}
