//! Creating and changing stored objects: metadata, strategy, one conditional write; [conflicts][1] are told or repeated.
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions

use std::sync::Arc;

use imagestream_api::field::{FieldError, Path};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;

use super::Stored;
use crate::admission::Creation;
use crate::endpoint::{Change, Endpoint, Outcome, Request};
use crate::errors::{self, GroupResource};
use crate::metadata::{self, text};
use crate::options::WriteOptions;
use crate::storage::{check_name, complete, encode};

/// How often another name is made up when the generated one is taken.
const NAME_ATTEMPTS: usize = 8;

impl Stored {
    pub(super) async fn create_object(
        &self,
        request: &Request,
        mut object: Value,
        options: WriteOptions,
        creation: Creation<'_>,
    ) -> Result<Outcome, Box<Status>> {
        metadata::identify(&mut object, request.now);
        let mut attempts = 0;
        loop {
            let mut named = object.clone();
            let is_generated = metadata::generate_name(&mut named);
            attempts += 1;
            let result = self.create_named(request, named, &options, creation).await;
            match result {
                Err(status) if is_generated && status.reason.as_deref() == Some("AlreadyExists") => {
                    if attempts >= NAME_ATTEMPTS {
                        let name = status
                            .details
                            .and_then(|details| details.name)
                            .unwrap_or_default();
                        let resource = self.resource().group_resource();
                        return Err(errors::generated_name_exists(resource, &name).into());
                    }
                }
                other => return other,
            }
        }
    }

    async fn create_named(
        &self,
        request: &Request,
        object: Value,
        options: &WriteOptions,
        creation: Creation<'_>,
    ) -> Result<Outcome, Box<Status>> {
        let mut object = self.strategy.prepare_create(request, object).await?;
        if !text(&object, "resourceVersion").is_empty() {
            return Err(errors::untyped("resourceVersion should not be set on objects to be created").into());
        }
        metadata::tidy(&mut object);
        let admitted = creation.admit_valid(&object).await?;
        if options.dry_run {
            let (namespace, name) = (text(&object, "namespace"), text(&object, "name"));
            if self.objects.shown(namespace, name).await?.is_some() {
                return Err(errors::already_exists(self.resource().group_resource(), name).into());
            }
            complete(&mut object, self.resource(), None);
            return Ok(Outcome::created(self.show(object)));
        }
        self.strategy.before_create(&object).await?;
        let created = self.objects.create_and_show(object, self.part.is_some()).await?;
        admitted.stored();
        Ok(Outcome::created(created))
    }

    pub(super) async fn update_object(
        &self,
        request: &Request,
        change: Arc<dyn Change>,
        options: WriteOptions,
    ) -> Result<Outcome, Box<Status>> {
        let (namespace, name) = (&request.info.namespace, &request.info.name);
        check_name(name)?;
        let resource = self.resource();
        // Each failure means that another writer succeeded; the request's deadline ends it.
        loop {
            let Some(stored) = self.objects.get(namespace, name).await? else {
                let creates = change.may_create() && self.strategy.creates_on_update();
                // A part never makes the whole.
                if self.part.is_some() || (!creates && !change.creates_always()) {
                    return Err(resource.not_found(name).into());
                }
                let mut object = change.wanted(None)?;
                metadata::accept_new(&mut object, resource, request)?;
                let creation = change.creation();
                creation.admit(&object).await?;
                return self.create_object(request, object, options, creation).await;
            };
            let shown = self.show(stored.object.clone());
            let wanted = change.wanted(Some(&shown))?;
            let object = self.replacement(request, wanted, &stored.object, change.is_for_uid())?;
            let mut object = self
                .strategy
                .prepare_update(request, object, &stored.object)
                .await?;
            metadata::tidy(&mut object);
            if encode(&object)? == encode(&stored.object)? {
                return Ok(Outcome::ok(shown));
            }
            if options.dry_run {
                complete(&mut object, resource, Some(stored.revision));
                return Ok(Outcome::ok(self.show(object)));
            }
            if is_released(&object) && !self.strategy.outlives_deletion(&object) {
                if self
                    .objects
                    .remove(namespace, name, stored.revision)
                    .await?
                    .is_some()
                {
                    complete(&mut object, resource, Some(stored.revision));
                    return Ok(Outcome::ok(self.show(object)));
                }
            } else if let Some(written) = self.objects.replace(object, stored.revision).await? {
                return Ok(Outcome::ok(self.show(written.object)));
            }
        }
    }

    /// What the client wants in place of `stored`, if it may be put there.
    fn replacement(
        &self,
        request: &Request,
        mut wanted: Value,
        stored: &Value,
        is_for_uid: bool,
    ) -> Result<Value, Box<Status>> {
        let resource = self.resource().group_resource();
        let name = &request.info.name;
        let uid = text(&wanted, "uid");
        let stored_uid = text(stored, "uid");
        if is_for_uid && !uid.is_empty() && uid != stored_uid {
            let key = self.objects.key(&request.info.namespace, name);
            let error = format!(
                "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: \
                 Precondition failed: UID in precondition: {uid}, UID in object meta: {stored_uid}"
            );
            return Err(errors::conflict(resource, name, error).into());
        }
        let version = text(&wanted, "resourceVersion");
        if version.is_empty() || version == "0" {
            if !self.strategy.updates_blindly() {
                let path = Path::root("metadata").child("resourceVersion");
                let error = FieldError::invalid(&path, 0, "must be specified for an update");
                let kind = GroupResource::new(resource.group, resource.resource);
                return Err(errors::invalid(kind, name, &[error]).into());
            }
            if let Some(metadata) = metadata::of(&mut wanted) {
                metadata.insert("resourceVersion".into(), text(stored, "resourceVersion").into());
            }
        } else if version != text(stored, "resourceVersion") {
            return Err(errors::conflict(resource, name, errors::MODIFIED).into());
        }
        metadata::keep_stored(&mut wanted, stored);
        Ok(wanted)
    }
}

/// Whether an object waits for its deletion and nothing holds it any more.
pub(super) fn is_released(object: &Value) -> bool {
    let metadata = object.get("metadata");
    let finalizers = metadata
        .and_then(|metadata| metadata.get("finalizers"))
        .and_then(Value::as_array);
    !text(object, "deletionTimestamp").is_empty() && finalizers.is_none_or(Vec::is_empty)
}
