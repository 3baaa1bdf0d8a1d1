//! `v1` resourcequotas: how many objects a namespace may have.

use std::sync::Arc;

use imagestream_apiserver::form::Form;
use imagestream_apiserver::kind::{Kind, Resource};
use serde_json::{Value, json};

use crate::pending_schema::ANY;

static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ResourceQuota",
    schema: &ANY,
    package: "v1",
    description: "How much of something there may be in a namespace.",
};

/// Resource quotas.
pub static RESOURCE_QUOTAS: Resource = Resource {
    kind: &KIND,
    plural: "resourcequotas",
    subresource: "",
    singular: "resourcequota",
    list_kind: "ResourceQuotaList",
    short_names: &["quota"],
    categories: &[],
    namespaced: true,
};

/// The status of resource quotas.
pub static RESOURCE_QUOTAS_STATUS: Resource = Resource {
    kind: &KIND,
    plural: "resourcequotas",
    subresource: "status",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

/// How they are stored.
#[must_use]
pub fn form() -> Arc<dyn Form> {
    Arc::new(QuotaForm)
}

struct QuotaForm;

impl Form for QuotaForm {
    fn resource(&self) -> &'static Resource {
        &RESOURCE_QUOTAS
    }

    fn empty(&self) -> Value {
        json!({"metadata": {}, "spec": {}, "status": {}})
    }
}
