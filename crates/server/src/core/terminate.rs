//! The [end of namespaces][1]: everything in a terminating namespace is deleted, then the namespace itself.
//!
//! What is to be done is in the store alone, so that it goes on after a crash: a namespace is terminating until it is
//! gone, and each transaction holds only as long as it is.
//!
//! [1]: https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use imagestream_apiserver::endpoint::{Object, WatchEvent};
use imagestream_apiserver::metadata;
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use imagestream_apiserver::storage::{Objects, Stored, failed};
use imagestream_store::{Precondition, StoreError, Write};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::namespaces::{FINALIZER, finalizers, is_terminating};
use crate::context::Context;
use crate::plain::set_field;

/// Objects that are deleted in one transaction.
const BATCH: usize = 50;
/// How often a namespace is looked at in a row: once to delete what is in it, once to see that nothing is left, and once
/// more if something came between.
const PASSES: usize = 3;
/// Pause before a namespace is looked at again that could not be emptied: something in it waits for somebody.
const PAUSE: Duration = Duration::from_secs(1);

/// Ends namespaces that are terminating, until its future is dropped.
pub(super) async fn terminate(context: Arc<Context>) {
    loop {
        if let Err(status) = follow(&context).await {
            tracing::warn!(message = status.message, "the end of namespaces lost its watch");
        }
        sleep(PAUSE).await;
    }
}

async fn follow(context: &Context) -> Result<(), Box<Status>> {
    // With all that are there: one may have been terminating before this process began.
    let mut events = context.namespaces.watch("", ListOptions::endless_watch()).await?;
    let mut ending = BTreeSet::new();
    loop {
        let event = if ending.is_empty() {
            events.next().await
        } else {
            tokio::select! {
                event = events.next() => event,
                () = sleep(PAUSE) => Some(WatchEvent::Bookmark(Value::Null)),
            }
        };
        match event {
            None => return Ok(()),
            Some(WatchEvent::Error(status)) => return Err(status),
            Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                ending.extend(ending_name(object)?);
            }
            Some(WatchEvent::Deleted(_) | WatchEvent::Bookmark(_)) => {}
        }
        for name in ending.clone() {
            match end(context, &name).await {
                Ok(true) => {
                    ending.remove(&name);
                }
                Ok(false) => {}
                Err(status) => {
                    tracing::warn!(
                        namespace = name,
                        message = status.message,
                        "a namespace can't be ended yet"
                    );
                }
            }
        }
    }
}

fn ending_name(object: Object) -> Result<Option<String>, Box<Status>> {
    let object = object.into_value()?;
    Ok(is_terminating(&object).then(|| metadata::text(&object, "name").to_owned()))
}

/// Deletes what is in a terminating namespace, and the namespace once it is empty. Whether nothing is left to do.
async fn end(context: &Context, name: &str) -> Result<bool, Box<Status>> {
    for _ in 0..PASSES {
        let Some(namespace) = context.namespaces.get("", name).await? else {
            return Ok(true);
        };
        let is_ours = finalizers(&namespace.object)
            .iter()
            .any(|finalizer| finalizer == FINALIZER);
        if !is_terminating(&namespace.object) || !is_ours {
            return Ok(true);
        }
        let key = context.namespaces.key("", name);
        let unchanged = Precondition::ModRevision(key, namespace.revision);
        let mut is_empty = true;
        for objects in contents(context) {
            is_empty &= clear(&objects, name, &unchanged).await?;
        }
        if is_empty && finish(context, namespace, unchanged).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes what is left in a namespace that does not exist; nothing if it exists.
///
/// A request that was let in before a namespace ended may have been carried out after it.
///
/// # Errors
/// Those of the store.
pub(crate) async fn clear_remains(context: &Context, name: &str) -> Result<(), Box<Status>> {
    let absent = Precondition::Absent(context.namespaces.key("", name));
    for objects in contents(context) {
        clear(&objects, name, &absent).await?;
    }
    Ok(())
}

fn contents(context: &Context) -> impl Iterator<Item = Arc<Objects>> {
    context
        .kinds()
        .into_iter()
        .filter(|objects| objects.resource().namespaced)
}

/// Deletes the objects of a kind in a namespace as long as `condition` holds; those with finalizers are marked. Whether
/// there were none.
async fn clear(objects: &Objects, namespace: &str, condition: &Precondition) -> Result<bool, Box<Status>> {
    let (found, _) = objects
        .all(namespace, &LabelSelector::default(), &FieldSelector::default())
        .await?;
    let mut batch = vec![condition.clone()];
    let mut deletions = Vec::new();
    for encoded in &found {
        let object = encoded.to_value()?;
        if object.pointer("/metadata/finalizers").is_some() {
            let marked = mark(objects, object, encoded.revision(), condition)?;
            if let Some((preconditions, write)) = marked {
                commit(objects, &preconditions, &[write]).await?;
            }
            continue;
        }
        let key = objects.key_of(&object);
        batch.push(Precondition::ModRevision(key.clone(), encoded.revision()));
        deletions.push(Write::Delete(key));
        if deletions.len() == BATCH {
            commit(objects, &batch, &deletions).await?;
            batch.truncate(1);
            deletions.clear();
        }
    }
    if !deletions.is_empty() {
        commit(objects, &batch, &deletions).await?;
    }
    Ok(found.is_empty())
}

/// The write that tells those who hold an object that it is to go, if they have not been told.
#[allow(clippy::type_complexity, reason = "the parts of one transaction")]
fn mark(
    objects: &Objects,
    mut object: Value,
    revision: u64,
    condition: &Precondition,
) -> Result<Option<(Vec<Precondition>, Write)>, Box<Status>> {
    if !metadata::text(&object, "deletionTimestamp").is_empty() {
        return Ok(None);
    }
    metadata::mark_deleted(&mut object, Timestamp::now());
    let unchanged = Precondition::ModRevision(objects.key_of(&object), revision);
    Ok(Some((vec![condition.clone(), unchanged], objects.put(&object)?)))
}

/// Commits, or does nothing if something changed meanwhile: it is looked at again.
async fn commit(objects: &Objects, conditions: &[Precondition], writes: &[Write]) -> Result<(), Box<Status>> {
    match objects.store().commit(conditions, writes).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Takes the server's finalizer away, and the namespace if that was the last.
async fn finish(context: &Context, namespace: Stored, unchanged: Precondition) -> Result<bool, Box<Status>> {
    let mut object = namespace.object;
    let others: Vec<Value> = finalizers(&object)
        .iter()
        .filter(|finalizer| *finalizer != FINALIZER)
        .cloned()
        .collect();
    let is_held = !others.is_empty() || object.pointer("/metadata/finalizers").is_some();
    let write = if is_held {
        set_field(&mut object, "spec", Some(&json!({"finalizers": others})));
        context.namespaces.put(&object)?
    } else {
        Write::Delete(context.namespaces.key_of(&object))
    };
    match context.store.commit(&[unchanged], &[write]).await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}
