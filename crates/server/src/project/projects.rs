//! `projects`: namespaces, of which everybody sees those that they may see.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use imagestream_apiserver::authn::UserInfo;
use imagestream_apiserver::endpoint::{Endpoint, Object, ObjectList, Outcome, Reply, Request, WatchEvent};
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::kind::{Column, Kind, Resource, Verb};
use imagestream_apiserver::metadata;
use imagestream_apiserver::options::{DeleteOptions, ListOptions, resource_version};
use imagestream_apiserver::rbac::{Attributes, Target};
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use imagestream_apiserver::storage::Objects;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{DISPLAY_NAME, GROUP, project};
use crate::context::Context;
use crate::plain::{NAME, column};
use crate::rbac::PolicySync;
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
pub(crate) static PROJECTS: Resource = Resource {
    kind: &KIND,
    plural: "projects",
    subresource: "",
    singular: "project",
    list_kind: "ProjectList",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

pub(super) fn endpoint(
    context: &Arc<Context>,
    namespaces: &Arc<dyn Endpoint>,
    policy: &Arc<PolicySync>,
) -> Arc<dyn Endpoint> {
    Arc::new(Projects {
        context: Arc::clone(context),
        namespaces: Arc::clone(namespaces),
        policy: Arc::clone(policy),
    })
}

struct Projects {
    context: Arc<Context>,
    namespaces: Arc<dyn Endpoint>,
    policy: Arc<PolicySync>,
}

impl Projects {
    async fn list(&self, request: &Request, options: ListOptions) -> Result<Outcome, Box<Status>> {
        // All at once: a page would end at, and name, whatever namespace comes next, seen or not.
        let options = ListOptions {
            limit: None,
            continue_token: String::new(),
            ..options
        };
        let Outcome::List(list) = self.namespaces.list(request, options).await? else {
            return Err(errors::internal_error("a list of namespaces is no list").into());
        };
        // Those of whoever has just lost the right to see them are shown at no later revision than that at which they had it:
        // a watch that goes on from here can tell that they went.
        self.policy.catch_up().await?;
        let mut items = Vec::new();
        for namespace in list.items {
            let project = project(namespace)?;
            if is_visible(&self.context, &request.user, metadata::text(&project, "name")) {
                items.push(project.into());
            }
        }
        Ok(Outcome::List(ObjectList {
            items,
            revision: list.revision,
            ..ObjectList::default()
        }))
    }

    async fn watch(&self, request: &Request, options: ListOptions) -> Result<Outcome, Box<Status>> {
        let (context, user) = (Arc::clone(&self.context), request.user.clone());
        // From before it is found out what may be seen, so that no change of that is missed.
        let changes = changes_of(context.authorizer.changes());
        let from = match options.send_initial_events {
            // The client is told everything anew.
            Some(true) => 0,
            _ => resource_version(&options.resource_version)?,
        };
        // The client has listed before what it goes on to watch.
        let (seen, listed) = match from {
            0 => (HashMap::new(), HashSet::new()),
            from => self.visible_at(&user, from).await?,
        };
        let mut view = View {
            seen,
            is_visible: {
                let context = Arc::clone(&context);
                move |name: &str| is_visible(&context, &user, name)
            },
        };
        let (labels, fields) = (options.label_selector.clone(), options.field_selector.clone());
        let Outcome::Watch(events) = self.namespaces.watch(request, options).await? else {
            return Err(errors::internal_error("a watch of namespaces is no watch").into());
        };
        // Rights that changed between the client's list and now are told first.
        let changes = stream::iter([Input::Begin(listed)]).chain(changes.map(Input::Policy));
        let events = events.map(Input::Event).chain(stream::iter([Input::End]));
        let inputs = stream::select(changes, events);
        let inputs = inputs.take_while(|input| std::future::ready(!matches!(input, Input::End)));
        let shown = inputs.map(move |input| {
            let found = match input {
                Input::End => Ok(Vec::new()),
                Input::Event(event) => Ok(view.shown(event).into_iter().collect()),
                Input::Begin(listed) => touched(&context.namespaces, "", &labels, &fields)
                    .and_then(|all| view.judged(all, |name| listed.contains(name))),
                Input::Policy(namespace) => touched(&context.namespaces, &namespace, &labels, &fields)
                    .and_then(|touched| view.judged(touched, |_| true)),
            };
            stream::iter(found.unwrap_or_else(|status| vec![WatchEvent::Error(status)]))
        });
        Ok(Outcome::Watch(shown.flatten().boxed()))
    }

    /// The namespaces that the user may have seen at a revision, and all that there were, as far as that is remembered.
    async fn visible_at(
        &self,
        user: &UserInfo,
        revision: u64,
    ) -> Result<(HashMap<String, u64>, HashSet<String>), Box<Status>> {
        self.policy.catch_up().await?;
        let policy = self.policy.before(revision)?;
        let namespaces = &self.context.namespaces;
        namespaces.ready().await?;
        let (present, _) = namespaces.changed_since(0);
        let mut names = HashSet::from_iter(present);
        for (name, earlier) in namespaces
            .before(revision)?
            .into_iter()
            .flat_map(|changed| changed.objects)
        {
            if earlier.is_some() {
                names.insert(name);
            } else {
                names.remove(&name);
            }
        }
        let authorizer = &self.context.authorizer;
        let is_visible = |name: &str| {
            let mut sights = sights(user, name);
            sights.any(|sight| authorizer.allows_or_did(&policy, &sight))
        };
        let seen = names.iter().filter(|name| is_visible(name));
        let seen = seen.map(|name| (name.clone(), revision)).collect();
        Ok((seen, names))
    }

    async fn delete(&self, request: &Request, options: DeleteOptions) -> Result<Outcome, Box<Status>> {
        // The answer is the project as it ends: by its uid kubectl knows which one it waits for.
        let outcome = self.namespaces.delete(request, options).await;
        outcome.map_err(of_project).and_then(as_project)
    }
}

/// What a watch of projects follows.
enum Input {
    /// It begins after a list, at which there were these namespaces.
    Begin(HashSet<String>),
    /// Something happened to a namespace.
    Event(WatchEvent),
    /// Roles or bindings of a namespace were written, or, if it is empty, those of the cluster.
    Policy(String),
    /// Nothing more happens.
    End,
}

/// The namespaces of which roles or bindings are written; an empty name for all of them.
fn changes_of(changes: broadcast::Receiver<String>) -> impl Stream<Item = String> + Send {
    stream::unfold(changes, |mut changes| async {
        let namespace = match changes.recv().await {
            Ok(namespace) => namespace,
            // Some were missed: any may have changed.
            Err(RecvError::Lagged(_)) => String::new(),
            Err(RecvError::Closed) => return None,
        };
        Some((namespace, changes))
    })
}

/// The namespace that is named, or all, as far as the selectors choose them.
fn touched(
    namespaces: &Objects,
    name: &str,
    labels: &LabelSelector,
    fields: &FieldSelector,
) -> Result<Vec<Object>, Box<Status>> {
    let found = if name.is_empty() {
        namespaces.all_selected("", labels, fields)?
    } else {
        let found = namespaces.selected("", name, labels, fields)?;
        found.into_iter().collect()
    };
    Ok(found.into_iter().map(Object::from).collect())
}

/// What one watch has shown of the namespaces, and in which revision. Who loses the right to see one sees it go, and who
/// gets it sees it come.
struct View<F> {
    seen: HashMap<String, u64>,
    is_visible: F,
}

impl<F: Fn(&str) -> bool> View<F> {
    /// A change to a namespace as a change to what is seen of it, if it is one.
    fn shown(&mut self, event: WatchEvent) -> Option<WatchEvent> {
        let (object, is_new, is_deleted) = match event {
            WatchEvent::Bookmark(mark) => {
                let mark = project(mark.into());
                return Some(mark.map_or_else(WatchEvent::Error, WatchEvent::Bookmark));
            }
            WatchEvent::Error(status) => return Some(WatchEvent::Error(status)),
            WatchEvent::Added(object) => (object, true, false),
            WatchEvent::Modified(object) => (object, false, false),
            WatchEvent::Deleted(object) => (object, false, true),
        };
        let object = match project(object) {
            Ok(object) => object,
            Err(status) => return Some(WatchEvent::Error(status)),
        };
        let (name, revision) = (metadata::text(&object, "name"), revision_of(&object));
        let seen = self.seen.get(name).copied();
        if seen.is_some_and(|seen| revision <= seen) {
            // It was shown as it is now, or later, when its user got the right to see it.
            return None;
        }
        match (seen, !is_deleted && (self.is_visible)(name)) {
            (None, false) => None,
            (_, true) => {
                let is_new = is_new || seen.is_none();
                self.seen.insert(name.to_owned(), revision);
                Some(if is_new {
                    WatchEvent::Added(object.into())
                } else {
                    WatchEvent::Modified(object.into())
                })
            }
            (Some(_), false) => {
                self.seen.remove(name);
                // Its user saw it to its end.
                let was_visible = is_deleted && (self.is_visible)(name);
                let last = if was_visible { object.into() } else { gone(&object) };
                Some(WatchEvent::Deleted(last))
            }
        }
    }

    /// What comes and what goes of those of the namespaces that are chosen, now that others may see them.
    fn judged(
        &mut self,
        namespaces: Vec<Object>,
        is_chosen: impl Fn(&str) -> bool,
    ) -> Result<Vec<WatchEvent>, Box<Status>> {
        let mut events = Vec::new();
        let projects = namespaces.into_iter().map(project);
        let mut projects = projects.collect::<Result<Vec<_>, _>>()?;
        // Who goes on from the last one that they heard of must have heard of the others.
        projects.sort_by_key(revision_of);
        for object in projects {
            let name = metadata::text(&object, "name");
            if !is_chosen(name) {
                continue;
            }
            match (self.seen.contains_key(name), (self.is_visible)(name)) {
                (true, true) | (false, false) => {}
                (false, true) => {
                    self.seen.insert(name.to_owned(), revision_of(&object));
                    events.push(WatchEvent::Added(object.into()));
                }
                (true, false) => {
                    self.seen.remove(name);
                    events.push(WatchEvent::Deleted(gone(&object)));
                }
            }
        }
        Ok(events)
    }
}

/// What is told of a project that its user may not see any more: which one it was.
fn gone(object: &Value) -> Object {
    let text = |field| metadata::text(object, field);
    let named = json!({"name": text("name"), "uid": text("uid"), "resourceVersion": text("resourceVersion"),
                       "creationTimestamp": null});
    json!({"kind": "Project", "apiVersion": "project.openshift.io/v1", "metadata": named, "spec": {}, "status": {}})
        .into()
}

fn revision_of(object: &Value) -> u64 {
    metadata::text(object, "resourceVersion")
        .parse()
        .unwrap_or_default()
}

/// Whether the user may see the namespace, or its project.
fn is_visible(context: &Context, user: &UserInfo, name: &str) -> bool {
    sights(user, name).any(|sight| context.authorizer.authorize(&sight).allowed)
}

/// What a user must be allowed, one of it, to see a namespace.
fn sights<'a>(user: &'a UserInfo, name: &'a str) -> impl Iterator<Item = Attributes<'a>> {
    let resources = [(GROUP, "projects"), ("", "namespaces")];
    resources.into_iter().map(move |(group, resource)| Attributes {
        user,
        verb: "get",
        target: Target::Resource {
            group,
            resource,
            subresource: "",
            namespace: name,
            name,
        },
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
fn of_project(mut status: Box<Status>) -> Box<Status> {
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

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use imagestream_apiserver::endpoint::Object;

    use super::*;

    fn namespace(name: &str) -> Object {
        at_revision(name, 10)
    }

    fn at_revision(name: &str, revision: u64) -> Object {
        let metadata = json!({"name": name, "resourceVersion": revision.to_string()});
        json!({"kind": "Namespace", "apiVersion": "v1", "metadata": metadata}).into()
    }

    fn project(word: &'static str) -> Option<(&'static str, String)> {
        Some((word, "Project".to_owned()))
    }

    /// What is shown of an event: the type and the kind.
    fn seen(event: Option<WatchEvent>) -> Option<(&'static str, String)> {
        let (word, object) = match event? {
            WatchEvent::Added(object) => ("added", object),
            WatchEvent::Modified(object) => ("modified", object),
            WatchEvent::Deleted(object) => ("deleted", object),
            WatchEvent::Bookmark(object) => ("bookmark", object.into()),
            WatchEvent::Error(status) => panic!("{status:?}"),
        };
        let object = object.into_value().unwrap();
        assert_eq!(object["apiVersion"], "project.openshift.io/v1");
        Some((word, object["kind"].as_str().unwrap().to_owned()))
    }

    #[test]
    fn a_watch_shows_only_what_its_user_sees_and_lets_go_what_they_see_no_more() {
        let allowed = RefCell::new(vec!["mine", "listed"]);
        let mut view = View {
            seen: HashMap::from([("listed".to_owned(), 9)]),
            is_visible: |name: &str| allowed.borrow().contains(&name),
        };
        let revision = Cell::new(10);
        let namespace = |name: &str| {
            revision.set(revision.get() + 1);
            at_revision(name, revision.get())
        };
        let mut show = |event| seen(view.shown(event));
        assert_eq!(show(WatchEvent::Added(namespace("mine"))), project("added"));
        assert_eq!(show(WatchEvent::Modified(namespace("mine"))), project("modified"));
        assert_eq!(
            show(WatchEvent::Modified(namespace("listed"))),
            project("modified")
        );
        assert_eq!(show(WatchEvent::Added(namespace("theirs"))), None);
        assert_eq!(show(WatchEvent::Deleted(namespace("theirs"))), None);
        allowed.borrow_mut().push("theirs");
        assert_eq!(show(WatchEvent::Modified(namespace("theirs"))), project("added"));
        allowed.borrow_mut().clear();
        assert_eq!(show(WatchEvent::Modified(namespace("mine"))), project("deleted"));
        // It was gone for this user when it went for everybody.
        assert_eq!(show(WatchEvent::Deleted(namespace("mine"))), None);
        assert_eq!(show(WatchEvent::Deleted(namespace("listed"))), project("deleted"));
        let bookmark = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}});
        assert_eq!(show(WatchEvent::Bookmark(bookmark)), project("bookmark"));
    }

    #[test]
    fn who_gets_or_loses_a_right_is_told_though_nobody_wrote_the_namespace() {
        let allowed = RefCell::new(vec!["listed", "given"]);
        let mut view = View {
            seen: HashMap::from([("listed".to_owned(), 9), ("taken".to_owned(), 9)]),
            is_visible: |name: &str| allowed.borrow().contains(&name),
        };
        let all = || ["listed", "given", "taken", "theirs"].map(namespace).into();
        let nothing = view.judged(all(), |name| name == "theirs").unwrap();
        assert!(nothing.is_empty());
        let events = view.judged(all(), |_| true).unwrap().into_iter();
        let events: Vec<_> = events.map(|event| seen(Some(event))).collect();
        assert_eq!(events, [project("added"), project("deleted")]);
        let again = view.judged(all(), |_| true).unwrap();
        assert!(again.is_empty(), "once is enough");
        // What had happened before is in what was shown.
        let mut show = |event| seen(view.shown(event));
        for revision in [8, 10] {
            assert_eq!(show(WatchEvent::Modified(at_revision("given", revision))), None);
        }
        assert_eq!(
            show(WatchEvent::Modified(at_revision("given", 11))),
            project("modified")
        );
        allowed.borrow_mut().clear();
        let written_since = json!({"kind": "Namespace", "apiVersion": "v1",
            "metadata": {"name": "given", "uid": "u", "resourceVersion": "12", "annotations": {"secret": "x"}}});
        let mut events = view.judged(vec![written_since.into()], |_| true).unwrap();
        assert_eq!(events.len(), 1);
        let Some(WatchEvent::Deleted(last)) = events.pop() else {
            panic!("it is gone");
        };
        assert_eq!(
            last.into_value().unwrap(),
            json!({"kind": "Project", "apiVersion": "project.openshift.io/v1", "spec": {}, "status": {},
                   "metadata": {"name": "given", "uid": "u", "resourceVersion": "12", "creationTimestamp": null}}),
            "what was written after the right was lost is not told"
        );
    }
}
