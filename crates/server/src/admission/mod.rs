//! [Admission][1] of writes to a server that stands alone: whether an update may create, namespaces,
//! and quotas when the object is known to be valid.
//!
//! [1]: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/

mod creation;
mod lifecycle;
mod quota;

use std::sync::Arc;

use imagestream_apiserver::admission::{Admission, Admitted};
use imagestream_apiserver::endpoint::{Pending, Request};
use imagestream_apiserver::errors::GroupResource;
use imagestream_apiserver::kind::{Resource, Verb};
use imagestream_apiserver::metadata;
use serde_json::Value;

use crate::context::Context;
use crate::core::quota::Quotas;

/// What lets writes pass.
pub struct Standalone {
    context: Arc<Context>,
    quotas: Arc<Quotas>,
}

impl Standalone {
    /// The admission of a server.
    #[must_use]
    pub fn new(context: &Arc<Context>, quotas: &Arc<Quotas>) -> Self {
        Self {
            context: Arc::clone(context),
            quotas: Arc::clone(quotas),
        }
    }
}

impl Admission for Standalone {
    fn admit<'a>(
        &'a self,
        request: &'a Request,
        resource: &'static Resource,
        verb: Verb,
        object: Option<&'a Value>,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            let write = Write {
                request,
                resource,
                verb,
                object,
            };
            creation::admit(&self.context, &write)?;
            lifecycle::admit(&self.context, &write).await
        })
    }

    fn admit_valid<'a>(
        &'a self,
        request: &'a Request,
        resource: &'static Resource,
        object: &'a Value,
    ) -> Pending<'a, Admitted> {
        Box::pin(async move {
            let write = Write {
                request,
                resource,
                verb: Verb::Create,
                object: Some(object),
            };
            quota::admit(&self.context, &self.quotas, &write).await
        })
    }
}

/// A write, before it is carried out.
struct Write<'a> {
    request: &'a Request,
    resource: &'static Resource,
    verb: Verb,
    object: Option<&'a Value>,
}

impl Write<'_> {
    fn group_resource(&self) -> GroupResource<'static> {
        self.resource.group_resource()
    }

    /// The name of the object, as errors tell it: what a generated one begins with, if there is none yet.
    fn name(&self) -> &str {
        let of_object = |field| self.object.map_or("", |object| metadata::text(object, field));
        [
            &*self.request.info.name,
            of_object("name"),
            of_object("generateName"),
        ]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or("Unknown!")
    }
}
