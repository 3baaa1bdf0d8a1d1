//! `v1` secrets: credentials for registries, above all.

use std::sync::Arc;

use imagestream_apiserver::form::Form;
use imagestream_apiserver::kind::{Kind, Resource};
use imagestream_apiserver::storage::Seal;

use crate::pending_schema::ANY;

static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Secret",
    schema: &ANY,
    package: "v1",
    description: "Data that is not for everybody: credentials for a registry, for example.",
};

/// Secrets.
pub static SECRETS: Resource = Resource {
    kind: &KIND,
    plural: "secrets",
    subresource: "",
    singular: "secret",
    list_kind: "SecretList",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

/// How they are stored: sealed.
#[must_use]
pub fn form(seal: Arc<dyn Seal>) -> Arc<dyn Form> {
    Arc::new(SecretForm(seal))
}

struct SecretForm(Arc<dyn Seal>);

impl Form for SecretForm {
    fn resource(&self) -> &'static Resource {
        &SECRETS
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name", "metadata.namespace", "type"]
    }

    fn seal(&self) -> Option<&dyn Seal> {
        Some(&*self.0)
    }
}
