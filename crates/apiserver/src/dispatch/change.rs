//! PUT and PATCH as [changes](Change) of whatever is there, and who owns which field afterwards.

use std::sync::Arc;

use bytes::Bytes;
use imagestream_api::field::{FieldError, Path};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;

use crate::admission::{Admission, Creation};
use crate::decode::{self, LEGACY_SCHEME, Target};
use crate::endpoint::{Change, Endpoint, Request};
use crate::errors::{self, GroupResource};
use crate::managed_fields::{self, Tracking};
use crate::metadata;
use crate::negotiation::PatchType;
use crate::options::{FieldValidation, WriteOptions};
use crate::patch::Patch;

/// Notes in an object's metadata who set its fields.
pub(super) fn track(
    endpoint: &dyn Endpoint,
    request: &Request,
    options: &WriteOptions,
    live: Option<&Value>,
    object: &mut Value,
) {
    tracked(endpoint, request, options, |tracking| {
        managed_fields::track(live, object, tracking);
    });
}

/// Does something that depends on who writes what.
pub(super) fn tracked<T>(
    endpoint: &dyn Endpoint,
    request: &Request,
    options: &WriteOptions,
    write: impl FnOnce(&Tracking<'_>) -> T,
) -> T {
    let resource = endpoint.resource();
    let manager = if options.field_manager.is_empty() {
        managed_fields::default_manager(&request.user_agent)
    } else {
        options.field_manager.clone()
    };
    write(&Tracking {
        manager: &manager,
        kind: resource.kind,
        subresource: resource.subresource,
        now: request.now,
        empty: &endpoint.empty(),
    })
}

/// A whole object in place of another.
pub(super) struct Put {
    pub(super) endpoint: Arc<dyn Endpoint>,
    pub(super) request: Arc<Request>,
    pub(super) admission: Arc<dyn Admission>,
    pub(super) options: WriteOptions,
    /// Decoded and defaulted, for the object that the URL names.
    pub(super) object: Value,
}

impl Change for Put {
    fn wanted(&self, current: Option<&Value>) -> Result<Value, Box<Status>> {
        let mut object = self.object.clone();
        track(
            &*self.endpoint,
            &self.request,
            &self.options,
            current,
            &mut object,
        );
        Ok(object)
    }

    fn creation(&self) -> Creation<'_> {
        Creation::new(&*self.admission, &self.request, self.endpoint.resource())
    }

    fn is_repeatable(&self) -> bool {
        metadata::text(&self.object, "resourceVersion").is_empty()
    }

    fn is_for_uid(&self) -> bool {
        true
    }
}

/// A change to parts of an object.
pub(super) struct Patched {
    endpoint: Arc<dyn Endpoint>,
    request: Arc<Request>,
    admission: Arc<dyn Admission>,
    options: WriteOptions,
    patch: Patch,
    /// What is wrong with the patch itself: the keys that occur twice.
    duplicates: Vec<String>,
    names_version: bool,
}

impl Patched {
    pub(super) fn new(
        endpoint: &Arc<dyn Endpoint>,
        request: &Arc<Request>,
        admission: &Arc<dyn Admission>,
        options: &WriteOptions,
        patch_type: PatchType,
        body: &Bytes,
    ) -> Result<Self, Box<Status>> {
        let (patch, duplicates) = match patch_type {
            PatchType::Json => Patch::json(body)?,
            PatchType::Merge => Patch::merge(body)?,
            PatchType::StrategicMerge => Patch::strategic(body)?,
            // That is [`Applied`](super::apply::Applied).
            PatchType::Apply => return Err(errors::unsupported_patch_type().into()),
        };
        let names_version = match &patch {
            Patch::Merge(value) | Patch::Strategic(value) => {
                !metadata::text(value, "resourceVersion").is_empty()
            }
            Patch::Json(operations) => operations
                .iter()
                .any(|operation| operation.path().as_str() == "/metadata/resourceVersion"),
        };
        Ok(Self {
            endpoint: Arc::clone(endpoint),
            request: Arc::clone(request),
            admission: Arc::clone(admission),
            options: options.clone(),
            patch,
            duplicates,
            names_version,
        })
    }
}

impl Change for Patched {
    fn wanted(&self, current: Option<&Value>) -> Result<Value, Box<Status>> {
        let resource = self.endpoint.resource();
        let Some(current) = current else {
            return Err(resource.not_found(&self.request.info.name).into());
        };
        let kind = resource.kind;
        let patched = self.patch.apply(current.clone(), kind.schema)?;
        let invalid = |error: String| {
            let error = FieldError::invalid(&Path::root("patch"), patched.shown().as_str(), error);
            Box::new(errors::invalid(GroupResource::new("", ""), "", &[error]))
        };
        let target = Target {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
            schema: kind.schema,
            is_registered: &|_| false,
            package: kind.package,
            scheme: LEGACY_SCHEME,
        };
        let decoded =
            decode::from_value(patched.object.clone(), &target).map_err(|error| invalid(error.message))?;
        let findings = self.duplicates.iter().chain(&decoded.strict_errors);
        match self.options.field_validation {
            FieldValidation::Strict => {
                let findings: Vec<&str> = findings.map(String::as_str).collect();
                if !findings.is_empty() {
                    return Err(invalid(format!("strict decoding error: {}", findings.join(", "))));
                }
            }
            FieldValidation::Warn => findings.for_each(|finding| self.request.warn(finding)),
            FieldValidation::Ignore => {}
        }
        let mut object = self.endpoint.normalise(decoded.value).map_err(invalid)?;
        metadata::accept_replacement(&mut object, resource, &self.request)?;
        track(
            &*self.endpoint,
            &self.request,
            &self.options,
            Some(current),
            &mut object,
        );
        Ok(object)
    }

    fn creation(&self) -> Creation<'_> {
        Creation::new(&*self.admission, &self.request, self.endpoint.resource())
    }

    fn is_repeatable(&self) -> bool {
        !self.names_version
    }

    fn may_create(&self) -> bool {
        false
    }
}
