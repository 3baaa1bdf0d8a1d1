//! Keeps the authorizer's policy as the stored roles and bindings say.
//!
//! A change is dealt with by reading the object again while nobody else can change the policy: whoever comes late finds
//! the present state and can't bring back what was revoked.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream::select_all;
use imagestream_apiserver::endpoint::{Object, WatchEvent};
use imagestream_apiserver::metadata::text;
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::rbac::Authorizer;
use imagestream_apiserver::rbac::policy::{Origin, Policy};
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use imagestream_apiserver::storage::Objects;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::roles::RoleKind;
use crate::context::Context;

/// Pause before watching again after a watch was lost.
const PAUSE: Duration = Duration::from_millis(500);

/// See the [module](self).
pub(crate) struct PolicySync {
    authorizer: Arc<Authorizer>,
    kinds: [Kind; 4],
    /// What is in force.
    known: Mutex<BTreeSet<(RoleKind, String, String)>>,
}

/// The stored objects of one kind.
struct Kind {
    kind: RoleKind,
    objects: Arc<Objects>,
    /// A revision at which everything that was stored is in force.
    settled: AtomicU64,
}

impl Kind {
    fn of(kind: RoleKind, objects: &Arc<Objects>) -> Self {
        Self {
            kind,
            objects: Arc::clone(objects),
            settled: AtomicU64::new(0),
        }
    }
}

impl PolicySync {
    pub(super) fn new(context: &Context) -> Self {
        let [roles, cluster_roles, role_bindings, cluster_role_bindings] = &context.rbac;
        Self {
            authorizer: Arc::clone(&context.authorizer),
            kinds: [
                Kind::of(RoleKind::Role, roles),
                Kind::of(RoleKind::ClusterRole, cluster_roles),
                Kind::of(RoleKind::RoleBinding, role_bindings),
                Kind::of(RoleKind::ClusterRoleBinding, cluster_role_bindings),
            ],
            known: Mutex::default(),
        }
    }

    /// Puts everything that is stored in force.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn refresh_all(&self) -> Result<(), Box<Status>> {
        for Kind {
            kind,
            objects,
            settled,
        } in &self.kinds
        {
            let (items, revision) = objects
                .all("", &LabelSelector::default(), &FieldSelector::default())
                .await?;
            for item in items {
                let object = match item.to_value() {
                    Ok(object) => object,
                    Err(status) => {
                        let why = status.message.unwrap_or_default();
                        tracing::error!(why, "a stored role or binding can't be read and grants nothing");
                        continue;
                    }
                };
                self.apply(*kind, text(&object, "namespace"), text(&object, "name"));
            }
            settled.fetch_max(revision, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Puts everything in force that was stored when this was called.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn catch_up(&self) -> Result<(), Box<Status>> {
        try_join_all(self.kinds.iter().map(|kind| kind.objects.ready())).await?;
        for Kind {
            kind,
            objects,
            settled,
        } in &self.kinds
        {
            let Some(changed) = objects.before(settled.load(Ordering::SeqCst))? else {
                // More than is remembered.
                self.refresh_known().await?;
                return self.refresh_all().await;
            };
            for (key, _) in changed.objects {
                let (namespace, name) = key.split_once('/').unwrap_or(("", &key));
                self.apply(*kind, namespace, name);
            }
            settled.fetch_max(changed.reached, Ordering::SeqCst);
        }
        Ok(())
    }

    /// The roles and bindings that have changed after a revision, as they were then; none if that is no longer known.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn before(&self, revision: u64) -> Result<Policy, Box<Status>> {
        let mut policy = Policy::new();
        for Kind { kind, objects, .. } in &self.kinds {
            let changed = objects.before(revision)?;
            for (_, object) in changed.into_iter().flat_map(|changed| changed.objects) {
                // What can't be read granted nothing.
                if let Some(object) = object
                    && let Ok(object) = kind.read(object.to_value()?)
                {
                    policy.put(object, Origin::Stored);
                }
            }
        }
        Ok(policy)
    }

    /// Puts in force what is stored of one object now.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn refresh(
        &self,
        kind: RoleKind,
        namespace: &str,
        name: &str,
    ) -> Result<(), Box<Status>> {
        self.objects(kind).ready().await?;
        self.apply(kind, namespace, name);
        Ok(())
    }

    /// Puts in force what is stored of a role binding now.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn refresh_role_binding(&self, namespace: &str, name: &str) -> Result<(), Box<Status>> {
        self.refresh(RoleKind::RoleBinding, namespace, name).await
    }

    fn objects(&self, kind: RoleKind) -> &Objects {
        let [roles, cluster_roles, role_bindings, cluster_role_bindings] = &self.kinds;
        let found = match kind {
            RoleKind::Role => roles,
            RoleKind::ClusterRole => cluster_roles,
            RoleKind::RoleBinding => role_bindings,
            RoleKind::ClusterRoleBinding => cluster_role_bindings,
        };
        &found.objects
    }

    /// Puts in force what memory knows of one object. What can't be read grants nothing.
    fn apply(&self, kind: RoleKind, namespace: &str, name: &str) {
        self.authorizer.update(|policy| {
            // Noted in the same order as it comes in force: what is not known could not be revoked later.
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (kind, namespace.to_owned(), name.to_owned());
            let stored = self.objects(kind).in_memory(namespace, name);
            let stored = stored.map_err(|status| status.message.unwrap_or_default());
            match stored.and_then(|stored| stored.map(|stored| kind.read(stored.object)).transpose()) {
                Ok(Some(object)) => {
                    policy.put(object, Origin::Stored);
                    known.insert(key);
                    return;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(
                        namespace,
                        name,
                        error,
                        "a stored role or binding can't be read and grants nothing"
                    );
                }
            }
            policy.remove(kind.of_policy(), namespace, name, Origin::Stored);
            known.remove(&key);
        });
    }

    /// Follows what other servers of the same store write, for as long as it is polled.
    pub(super) async fn follow(self: Arc<Self>) {
        loop {
            if let Err(status) = self.follow_once().await {
                tracing::warn!(message = status.message, "lost the watch of roles and bindings");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow_once(&self) -> Result<(), Box<Status>> {
        let mut watches = Vec::with_capacity(self.kinds.len());
        for Kind { kind, objects, .. } in &self.kinds {
            let kind = *kind;
            let events = objects.watch("", ListOptions::endless_watch()).await?;
            watches.push(events.map(move |event| (kind, event)).boxed());
        }
        // What was deleted while nobody watched is not among the events.
        self.refresh_known().await?;
        let mut watches = select_all(watches);
        while let Some((kind, event)) = watches.next().await {
            let object = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                    object
                }
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => return Err(status),
            };
            let object = Object::into_value(object)?;
            self.apply(kind, text(&object, "namespace"), text(&object, "name"));
        }
        Ok(())
    }

    async fn refresh_known(&self) -> Result<(), Box<Status>> {
        for Kind { objects, .. } in &self.kinds {
            objects.ready().await?;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (kind, namespace, name) in known {
            self.apply(kind, &namespace, &name);
        }
        Ok(())
    }
}
