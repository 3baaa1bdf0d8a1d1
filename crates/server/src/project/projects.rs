//! `projects`: namespaces, of which everybody sees those that they may see.

use std::sync::Arc;

use futures::StreamExt;
use imagestream_apiserver::authn::UserInfo;
use imagestream_apiserver::endpoint::{Endpoint, ObjectList, Outcome, Reply, Request, WatchEvent};
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::kind::{Column, Kind, Resource, Verb};
use imagestream_apiserver::metadata;
use imagestream_apiserver::options::{DeleteOptions, ListOptions};
use imagestream_apiserver::rbac::{Attributes, Target};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Value, json};

use super::{DISPLAY_NAME, GROUP, project};
use crate::context::Context;
use crate::plain::{NAME, column};
use crate::schema;

static KIND: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "Project",
    schema: &schema::project::PROJECT,
    package: "v1",
    description: "A namespace, with what people call it.",
};

/// Projects.
pub(super) static PROJECTS: Resource = Resource {
    kind: &KIND,
    plural: "projects",
    subresource: "",
    singular: "project",
    list_kind: "ProjectList",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

pub(super) fn endpoint(context: &Arc<Context>, namespaces: &Arc<dyn Endpoint>) -> Arc<dyn Endpoint> {
    Arc::new(Projects {
        context: Arc::clone(context),
        namespaces: Arc::clone(namespaces),
    })
}

struct Projects {
    context: Arc<Context>,
    namespaces: Arc<dyn Endpoint>,
}

impl Projects {
    async fn list(&self, request: &Request, options: ListOptions) -> Result<Outcome, Box<Status>> {
        let Outcome::List(list) = self.namespaces.list(request, options).await? else {
            return Err(errors::internal_error("a list of namespaces is no list").into());
        };
        let mut items = Vec::new();
        for namespace in list.items {
            let project = project(namespace)?;
            if is_visible(&self.context, &request.user, &project) {
                items.push(project.into());
            }
        }
        // How many there are that the user may not see is not theirs to know.
        Ok(Outcome::List(ObjectList {
            items,
            remaining: None,
            ..list
        }))
    }

    async fn watch(&self, request: &Request, options: ListOptions) -> Result<Outcome, Box<Status>> {
        let Outcome::Watch(events) = self.namespaces.watch(request, options).await? else {
            return Err(errors::internal_error("a watch of namespaces is no watch").into());
        };
        let (context, user) = (Arc::clone(&self.context), request.user.clone());
        let shown = events.filter_map(move |event| {
            let shown = shown(&context, &user, event);
            std::future::ready(shown)
        });
        Ok(Outcome::Watch(shown.boxed()))
    }

    async fn delete(&self, request: &Request, options: DeleteOptions) -> Result<Outcome, Box<Status>> {
        let outcome = self.namespaces.delete(request, options).await;
        outcome.map_err(of_project).and_then(as_project)
    }
}

/// An event of a namespace as its project's, if the user may see it. What a user may see is asked with each event: a
/// role that is taken away hides what comes after.
fn shown(context: &Context, user: &UserInfo, event: WatchEvent) -> Option<WatchEvent> {
    let (object, make): (_, fn(_) -> WatchEvent) = match event {
        WatchEvent::Added(object) => (object, WatchEvent::Added),
        WatchEvent::Modified(object) => (object, WatchEvent::Modified),
        WatchEvent::Deleted(object) => (object, WatchEvent::Deleted),
        WatchEvent::Bookmark(mut mark) => {
            if let Some(fields) = mark.as_object_mut() {
                fields.insert("kind".into(), "Project".into());
                fields.insert("apiVersion".into(), PROJECTS.kind.api_version().into());
            }
            return Some(WatchEvent::Bookmark(mark));
        }
        WatchEvent::Error(status) => return Some(WatchEvent::Error(status)),
    };
    match project(object) {
        Ok(project) => is_visible(context, user, &project).then(|| make(project.into())),
        Err(status) => Some(WatchEvent::Error(status)),
    }
}

/// Whether the user may see the namespace, or its project.
fn is_visible(context: &Context, user: &UserInfo, project: &Value) -> bool {
    let name = metadata::text(project, "name");
    [(GROUP, "projects"), ("", "namespaces")]
        .into_iter()
        .any(|(group, resource)| {
            let target = Target::Resource {
                group,
                resource,
                subresource: "",
                namespace: name,
                name,
            };
            let attributes = Attributes {
                user,
                verb: "get",
                target,
            };
            context.authorizer.authorize(&attributes).allowed
        })
}

fn as_project(outcome: Outcome) -> Result<Outcome, Box<Status>> {
    match outcome {
        Outcome::Object { code, object } => Ok(Outcome::Object {
            code,
            object: project(object)?.into(),
        }),
        other => Ok(other),
    }
}

/// A status about a namespace as one about its project.
pub(super) fn of_project(mut status: Box<Status>) -> Box<Status> {
    let resource: GroupResource<'_> = PROJECTS.group_resource();
    if let Some(message) = &mut status.message {
        *message = message.replacen("namespaces ", &format!("{resource} "), 1);
    }
    if let Some(details) = &mut status.details {
        details.group = Some(GROUP.into());
        if details.kind.as_deref() == Some("namespaces") {
            details.kind = Some("projects".into());
        }
    }
    status
}

impl Endpoint for Projects {
    fn resource(&self) -> &'static Resource {
        &PROJECTS
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Delete, Verb::Get, Verb::List, Verb::Watch]
    }

    fn names_namespaces(&self) -> bool {
        true
    }

    fn empty(&self) -> Value {
        json!({"metadata": {}, "spec": {}, "status": {}})
    }

    fn get<'a>(&'a self, request: &'a Request) -> Reply<'a> {
        Box::pin(async move {
            let outcome = self.namespaces.get(request).await;
            outcome.map_err(of_project).and_then(as_project)
        })
    }

    fn list<'a>(&'a self, request: &'a Request, options: ListOptions) -> Reply<'a> {
        Box::pin(self.list(request, options))
    }

    fn watch<'a>(&'a self, request: &'a Request, options: ListOptions) -> Reply<'a> {
        Box::pin(self.watch(request, options))
    }

    fn delete<'a>(&'a self, request: &'a Request, options: DeleteOptions) -> Reply<'a> {
        Box::pin(self.delete(request, options))
    }

    fn columns(&self) -> Option<&'static [Column]> {
        const SHOWN: Column = column("Display Name", "string", "What people call the project.");
        const STATUS: Column = column("Status", "string", "Whether the project is in use or ends.");
        Some(&[NAME, SHOWN, STATUS])
    }

    fn cells(&self, object: &Value, _: Timestamp) -> Vec<Value> {
        let display_name = object
            .get("metadata")
            .and_then(|metadata| metadata.get("annotations"))
            .and_then(|annotations| annotations.get(DISPLAY_NAME))
            .cloned()
            .unwrap_or_else(|| "".into());
        let phase = object.pointer("/status/phase").cloned().unwrap_or_default();
        vec![metadata::text(object, "name").into(), display_name, phase]
    }
}
