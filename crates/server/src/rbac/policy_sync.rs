//! Keeps the authorizer's policy as the stored roles and bindings say.
//!
//! Each change is dealt with by reading the object again, one at a time: whoever comes late finds the present state
//! and can't bring back what was revoked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::select_all;
use imagestream_apiserver::endpoint::{Object, WatchEvent};
use imagestream_apiserver::metadata::text;
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::rbac::Authorizer;
use imagestream_apiserver::rbac::policy::Origin;
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use imagestream_apiserver::storage::Objects;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio::sync::Mutex;

use super::roles::RoleKind;
use crate::context::Context;

/// Pause before watching again after a watch was lost.
const PAUSE: Duration = Duration::from_millis(500);

/// See the [module](self).
pub(super) struct PolicySync {
    authorizer: Arc<Authorizer>,
    kinds: [(RoleKind, Arc<Objects>); 4],
    /// What is in force. Whoever holds it is the one who changes the policy.
    known: Mutex<BTreeSet<(RoleKind, String, String)>>,
}

impl PolicySync {
    pub(super) fn new(context: &Context) -> Self {
        let [roles, cluster_roles, role_bindings, cluster_role_bindings] = &context.rbac;
        Self {
            authorizer: Arc::clone(&context.authorizer),
            kinds: [
                (RoleKind::Role, Arc::clone(roles)),
                (RoleKind::ClusterRole, Arc::clone(cluster_roles)),
                (RoleKind::RoleBinding, Arc::clone(role_bindings)),
                (RoleKind::ClusterRoleBinding, Arc::clone(cluster_role_bindings)),
            ],
            known: Mutex::default(),
        }
    }

    /// Puts everything that is stored in force.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn refresh_all(&self) -> Result<(), Box<Status>> {
        for (kind, objects) in &self.kinds {
            let (items, _) = objects
                .all("", &LabelSelector::default(), &FieldSelector::default())
                .await?;
            for item in items {
                let object = item.to_value()?;
                self.refresh(*kind, text(&object, "namespace"), text(&object, "name"))
                    .await?;
            }
        }
        Ok(())
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
        let mut known = self.known.lock().await;
        let objects = self
            .kinds
            .iter()
            .find(|(known, _)| *known == kind)
            .map(|(_, objects)| objects);
        let stored = match objects {
            Some(objects) => objects.get(namespace, name).await?,
            None => None,
        };
        let object = stored.and_then(|stored| match kind.read(stored.object) {
            Ok(object) => Some(object),
            Err(error) => {
                tracing::error!(%namespace, %name, %error, "a stored role or binding can't be read and grants nothing");
                None
            }
        });
        let key = (kind, namespace.to_owned(), name.to_owned());
        if object.is_some() {
            known.insert(key);
        } else {
            known.remove(&key);
        }
        self.authorizer.update(|policy| match object {
            Some(object) => policy.put(object, Origin::Stored),
            None => policy.remove(kind.of_policy(), namespace, name, Origin::Stored),
        });
        Ok(())
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
        for (kind, objects) in &self.kinds {
            let kind = *kind;
            let events = objects.watch("", ListOptions::default()).await?;
            watches.push(events.map(move |event| (kind, event)).boxed());
        }
        // What was deleted while nobody watched is not among the events.
        self.forget_deleted().await?;
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
            self.refresh(kind, text(&object, "namespace"), text(&object, "name"))
                .await?;
        }
        Ok(())
    }

    async fn forget_deleted(&self) -> Result<(), Box<Status>> {
        let known = self.known.lock().await.clone();
        for (kind, namespace, name) in known {
            self.refresh(kind, &namespace, &name).await?;
        }
        Ok(())
    }
}
