//! `user.openshift.io/v1` users: there is one for everybody who asks, namely themselves, whose name is `~`.

use std::sync::Arc;

use imagestream_apiserver::endpoint::{Endpoint, Outcome, Reply, Request};
use imagestream_apiserver::kind::{Kind, Resource, Verb};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Value, json};

use crate::schema;

/// The name of whoever asks.
const ONESELF: &str = "~";

static KIND: Kind = Kind {
    group: "user.openshift.io",
    version: "v1",
    kind: "User",
    schema: &schema::project::USER,
    package: "v1",
    description: "Somebody who is authenticated.",
};

static USERS: Resource = Resource {
    kind: &KIND,
    plural: "users",
    subresource: "",
    singular: "user",
    list_kind: "UserList",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// The endpoint.
pub(crate) fn endpoint() -> Arc<dyn Endpoint> {
    Arc::new(Users)
}

struct Users;

impl Users {
    fn oneself(request: &Request) -> Result<Outcome, Box<Status>> {
        let user = &request.user;
        // Users are not kept here, so that of others nothing is known.
        if request.info.name != ONESELF && request.info.name != user.name {
            return Err(USERS.not_found(&request.info.name).into());
        }
        let mut groups = user.groups.clone();
        groups.sort();
        let mut metadata = json!({"name": user.name, "creationTimestamp": null});
        if !user.uid.is_empty() {
            metadata["uid"] = user.uid.clone().into();
        }
        Ok(Outcome::ok(json!({
            "kind": "User",
            "apiVersion": "user.openshift.io/v1",
            "metadata": metadata,
            "identities": Value::Null,
            "groups": groups,
        })))
    }
}

impl Endpoint for Users {
    fn resource(&self) -> &'static Resource {
        &USERS
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Get]
    }

    fn get<'a>(&'a self, request: &'a Request) -> Reply<'a> {
        Box::pin(std::future::ready(Self::oneself(request)))
    }
}
