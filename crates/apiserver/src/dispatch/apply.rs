//! PATCH with a configuration to [apply](https://kubernetes.io/docs/reference/using-api/server-side-apply/).

use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;

use super::change::tracked;
use crate::admission::{Admission, Creation};
use crate::decode;
use crate::endpoint::{Change, Endpoint, Request};
use crate::errors;
use crate::managed_fields;
use crate::metadata;
use crate::options::{FieldValidation, WriteOptions};

/// A configuration that is merged into whatever is there.
pub(super) struct Applied {
    endpoint: Arc<dyn Endpoint>,
    request: Arc<Request>,
    admission: Arc<dyn Admission>,
    options: WriteOptions,
    config: Value,
    /// The keys that the client wrote twice, where that is an error.
    duplicates: Option<String>,
}

impl Applied {
    pub(super) fn new(
        endpoint: &Arc<dyn Endpoint>,
        request: &Arc<Request>,
        admission: &Arc<dyn Admission>,
        options: &WriteOptions,
        body: &Bytes,
    ) -> Result<Self, Box<Status>> {
        let undecodable =
            |error: &str| Box::new(errors::bad_request(format!("error decoding YAML: {error}")));
        let (config, mut duplicates) = decode::untyped_yaml(body).map_err(|error| undecodable(&error))?;
        if !config.is_object() {
            return Err(undecodable("a configuration is an object"));
        }
        match options.field_validation {
            FieldValidation::Strict => {}
            FieldValidation::Warn => duplicates
                .take()
                .into_iter()
                .for_each(|warning| request.warn(warning)),
            FieldValidation::Ignore => duplicates = None,
        }
        Ok(Self {
            endpoint: Arc::clone(endpoint),
            request: Arc::clone(request),
            admission: Arc::clone(admission),
            options: options.clone(),
            config,
            duplicates,
        })
    }
}

impl Change for Applied {
    fn wanted(&self, current: Option<&Value>) -> Result<Value, Box<Status>> {
        let endpoint = &*self.endpoint;
        let object = tracked(endpoint, &self.request, &self.options, |tracking| {
            managed_fields::apply(current, &self.config, tracking, self.options.force)
        })?;
        // Conflicts are told first.
        if let Some(duplicates) = &self.duplicates {
            let message = format!("error strict decoding YAML: error converting YAML to JSON: {duplicates}");
            return Err(errors::bad_request(message).into());
        }
        let mut object = endpoint.normalise(object).map_err(|error| {
            errors::untyped(format_args!(
                "failed to convert new typed object to object: {error}"
            ))
        })?;
        let uid = metadata::text(&object, "uid");
        if current.is_none() && !uid.is_empty() {
            let (resource, name) = (endpoint.resource().group_resource(), &self.request.info.name);
            let error = format_args!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(errors::conflict(resource, name, error).into());
        }
        metadata::accept_replacement(&mut object, endpoint.resource(), &self.request)?;
        if let Some(current) = current {
            managed_fields::keep_times(current, &mut object);
        }
        Ok(object)
    }

    fn creation(&self) -> Creation<'_> {
        Creation::new(&*self.admission, &self.request, self.endpoint.resource())
    }

    fn is_repeatable(&self) -> bool {
        metadata::text(&self.config, "resourceVersion").is_empty()
    }

    fn creates_always(&self) -> bool {
        true
    }
}
