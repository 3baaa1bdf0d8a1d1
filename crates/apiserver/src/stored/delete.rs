//! Deleting stored objects: preconditions, [finalizers][1], and collections.
//!
//! [1]: https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusDetails};
use serde_json::Value;

use super::Stored;
use crate::endpoint::{Endpoint, Object, Outcome, Request};
use crate::errors::{self, GroupResource};
use crate::garbage::{FOREGROUND, ORPHAN};
use crate::metadata::{self, text};
use crate::options::{DeleteOptions, ListOptions, PropagationPolicy};
use crate::storage::check_name;

impl Stored {
    pub(super) async fn delete_object(
        &self,
        request: &Request,
        options: DeleteOptions,
    ) -> Result<Outcome, Box<Status>> {
        self.delete_named(request, &request.info.namespace, &request.info.name, &options)
            .await
    }

    async fn delete_named(
        &self,
        request: &Request,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Outcome, Box<Status>> {
        check_name(name)?;
        let resource = self.resource();
        // Each failure means that another writer succeeded; the request's deadline ends it.
        loop {
            let Some(stored) = self.objects.get(namespace, name).await? else {
                return Err(resource.not_found(name).into());
            };
            self.check_preconditions(name, &stored.object, options)?;
            self.strategy.prepare_delete(request, &stored.object).await?;
            let mut object = stored.object.clone();
            self.set_finalizers(&mut object, options);
            if is_held(&object) || self.strategy.outlives_deletion(&object) {
                metadata::mark_deleted(&mut object, request.now);
                self.strategy.mark_deleted(&mut object);
                if options.dry_run || object == stored.object {
                    return Ok(self.staying(object, options));
                }
                if let Some(written) = self.objects.replace(object, stored.revision).await? {
                    return Ok(self.staying(written.object, options));
                }
                continue;
            }
            if options.dry_run
                || self
                    .objects
                    .remove(namespace, name, stored.revision)
                    .await?
                    .is_some()
            {
                return Ok(Outcome::Status(Box::new(errors::success(Some(StatusDetails {
                    name: Some(name.to_owned()),
                    group: Some(resource.kind.group.to_owned()).filter(|group| !group.is_empty()),
                    kind: Some(resource.plural.to_owned()),
                    uid: Some(text(&stored.object, "uid").to_owned()),
                    ..StatusDetails::default()
                })))));
            }
        }
    }

    /// The answer for an object that is not gone yet.
    fn staying(&self, object: Value, options: &DeleteOptions) -> Outcome {
        Outcome::Object {
            code: if options.tells_of_delay { 202 } else { 200 },
            object: self.show(object).into(),
        }
    }

    fn check_preconditions(
        &self,
        name: &str,
        stored: &Value,
        options: &DeleteOptions,
    ) -> Result<(), Box<Status>> {
        let kind = GroupResource::new(self.resource().kind.group, self.resource().kind.kind);
        let uid = text(stored, "uid");
        if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
            let error = format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might \
                 have been deleted and then recreated"
            );
            return Err(errors::conflict(kind, name, error).into());
        }
        let version = text(stored, "resourceVersion");
        if let Some(wanted) = options
            .resource_version
            .as_deref()
            .filter(|wanted| *wanted != version)
        {
            let error = format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
                 ({version}). The object might have been modified"
            );
            return Err(errors::conflict(kind, name, error).into());
        }
        Ok(())
    }

    fn set_finalizers(&self, object: &mut Value, options: &DeleteOptions) {
        if !self.strategy.collects_garbage() {
            return;
        }
        let wanted = match options.propagation_policy {
            Some(PropagationPolicy::Orphan) => Some(ORPHAN),
            Some(PropagationPolicy::Foreground) => Some(FOREGROUND),
            Some(PropagationPolicy::Background) => None,
            None => return,
        };
        let Some(metadata) = metadata::of(object) else {
            return;
        };
        let held = metadata.remove("finalizers");
        let held = held.as_ref().and_then(Value::as_array).into_iter().flatten();
        let mut finalizers: Vec<Value> = held
            .filter(|finalizer| !matches!(finalizer.as_str(), Some(ORPHAN | FOREGROUND)))
            .cloned()
            .collect();
        finalizers.extend(wanted.map(Value::from));
        if !finalizers.is_empty() {
            metadata.insert("finalizers".into(), finalizers.into());
        }
    }

    pub(super) async fn delete_all(
        &self,
        request: &Request,
        which: ListOptions,
        options: DeleteOptions,
    ) -> Result<Outcome, Box<Status>> {
        let mut list = self.objects.list(&request.info.namespace, &which).await?;
        let mut deleted = Vec::with_capacity(list.items.len());
        for item in std::mem::take(&mut list.items) {
            let object = item.into_value()?;
            let (namespace, name) = (text(&object, "namespace"), text(&object, "name"));
            match self.delete_named(request, namespace, name, &options).await {
                Ok(_) => deleted.push(Object::Value(object)),
                // Somebody else deleted it meanwhile.
                Err(status) if status.code == Some(404) => deleted.push(Object::Value(object)),
                Err(status) => return Err(status),
            }
        }
        list.items = deleted;
        Ok(Outcome::List(list))
    }
}

fn is_held(object: &Value) -> bool {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.is_some_and(|finalizers| !finalizers.is_empty())
}
