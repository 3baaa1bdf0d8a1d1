//! `projectrequests`: a namespace of one's own, in which one may do everything.

use std::sync::Arc;

use imagestream_apiserver::endpoint::{Endpoint, Outcome, Reply, Request};
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::kind::{Kind, Resource, Verb};
use imagestream_apiserver::metadata;
use imagestream_apiserver::options::{ListOptions, WriteOptions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Value, json};

use super::projects::of_project;
use super::{DISPLAY_NAME, GROUP, project};
use crate::context::Context;
use crate::schema;

/// What the project is for.
const DESCRIPTION: &str = "openshift.io/description";
/// Who asked for it.
const REQUESTER: &str = "openshift.io/requester";
/// The role that the requester has in it, and the name of the binding that gives it.
const ADMIN: &str = "admin";

static KIND: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "ProjectRequest",
    schema: &schema::project::PROJECT_REQUEST,
    package: "v1",
    description: "Asks for a project of one's own.",
};

static PROJECT_REQUESTS: Resource = Resource {
    kind: &KIND,
    plural: "projectrequests",
    subresource: "",
    singular: "projectrequest",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

pub(super) fn endpoint(context: &Arc<Context>, namespaces: &Arc<dyn Endpoint>) -> Arc<dyn Endpoint> {
    Arc::new(ProjectRequests {
        context: Arc::clone(context),
        namespaces: Arc::clone(namespaces),
    })
}

struct ProjectRequests {
    context: Arc<Context>,
    namespaces: Arc<dyn Endpoint>,
}

impl ProjectRequests {
    async fn make(
        &self,
        request: &Request,
        asked: &Value,
        options: WriteOptions,
    ) -> Result<Outcome, Box<Status>> {
        metadata::refuse_generated_name(asked)?;
        let name = metadata::text(asked, "name").to_owned();
        let namespace = namespace(asked, &request.user.name);
        let namespace = self
            .namespaces
            .normalise(namespace)
            .map_err(errors::bad_request)?;
        let is_dry_run = options.dry_run;
        let made = self.namespaces.create(request, namespace, options).await;
        let made = made.map_err(|status| {
            if status.reason.as_deref() == Some("AlreadyExists") {
                // In the singular, as clients know it.
                errors::already_exists(GroupResource::new(GROUP, "project"), &name).into()
            } else {
                of_project(status)
            }
        });
        let Outcome::Object { object, .. } = made? else {
            return Err(errors::internal_error("a namespace was made that is no object").into());
        };
        if !is_dry_run && let Err(status) = self.admit(request, &name).await {
            self.undo(&name).await;
            return Err(status);
        }
        Ok(Outcome::created(project(object)?))
    }

    /// Lets the requester do everything in the project.
    async fn admit(&self, request: &Request, name: &str) -> Result<(), Box<Status>> {
        let mut binding = json!({
            "metadata": {"name": ADMIN, "namespace": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ADMIN},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": request.user.name}],
        });
        metadata::identify(&mut binding, request.now);
        let [_, _, bindings, _] = &self.context.rbac;
        bindings.create(binding).await.map(drop)
    }

    /// Removes a project that its requester could do nothing in.
    async fn undo(&self, name: &str) {
        let removed = match self.context.namespaces.get("", name).await {
            Ok(Some(stored)) => self
                .context
                .namespaces
                .remove("", name, stored.revision)
                .await
                .map(drop),
            Ok(None) => Ok(()),
            Err(status) => Err(status),
        };
        if let Err(status) = removed {
            let why = status.message.unwrap_or_default();
            tracing::warn!(%name, %why, "a project was left behind whose requester could not be let in");
        }
    }
}

/// The namespace that is asked for.
fn namespace(asked: &Value, user: &str) -> Value {
    let text = |field: &str| asked.get(field).and_then(Value::as_str).unwrap_or_default();
    json!({
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {
            "name": metadata::text(asked, "name"),
            "annotations": {
                DESCRIPTION: text("description"),
                DISPLAY_NAME: text("displayName"),
                REQUESTER: user,
            },
        },
    })
}

impl Endpoint for ProjectRequests {
    fn resource(&self) -> &'static Resource {
        &PROJECT_REQUESTS
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Create, Verb::List]
    }

    /// Whether the user may ask for projects: who may not does not get here.
    fn list<'a>(&'a self, _: &'a Request, _: ListOptions) -> Reply<'a> {
        Box::pin(std::future::ready(Ok(Outcome::success())))
    }

    fn create<'a>(&'a self, request: &'a Request, object: Value, options: WriteOptions) -> Reply<'a> {
        Box::pin(async move { self.make(request, &object, options).await })
    }
}
