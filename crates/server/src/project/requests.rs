//! `projectrequests`: makes a namespace for whoever asks, and makes them its administrator. What is made is what
//! [OpenShift makes][1] where no template was configured.
//!
//! [1]: https://docs.redhat.com/en/documentation/openshift_container_platform/latest/html/building_applications/projects#configuring-project-creation

use std::sync::Arc;

use imagestream_api::field::{FieldError, Path};
use imagestream_api::validation::metadata::NameRule;
use imagestream_apiserver::admission::Creation;
use imagestream_apiserver::endpoint::{Endpoint, Outcome, Reply, Request};
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::kind::{Kind, Resource, Verb};
use imagestream_apiserver::metadata::{self, text};
use imagestream_apiserver::options::{ListOptions, WriteOptions};
use imagestream_apiserver::rbac::{Attributes, GROUP as RBAC_GROUP, Target};
use imagestream_apiserver::storage::failed;
use imagestream_store::{Precondition, StoreError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Value, json};

use super::{DISPLAY_NAME, GROUP, project};
use crate::context::Context;
use crate::core::namespaces;
use crate::plain::{checked_new, with_metadata};
use crate::rbac::PolicySync;
use crate::schema;

/// What the project is for.
const DESCRIPTION: &str = "openshift.io/description";
/// Who asked for it.
const REQUESTER: &str = "openshift.io/requester";
/// What whoever asks for a project is in it, and what the binding is called that says so.
const ROLE: &str = "admin";
/// Names that no project gets: they look as if they were the platform's own.
const RESERVED: [&str; 3] = ["openshift", "kubernetes", "kube"];
/// Shortest name.
const MIN_NAME: usize = 2;

static PROJECT_REQUEST: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "ProjectRequest",
    schema: &schema::project::PROJECT_REQUEST,
    package: "v1",
    description: "Asks for a project of one's own.",
};

static PROJECT_REQUESTS: Resource = Resource {
    kind: &PROJECT_REQUEST,
    plural: "projectrequests",
    subresource: "",
    singular: "projectrequest",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

pub(super) fn endpoint(context: &Arc<Context>, policy: &Arc<PolicySync>) -> Arc<dyn Endpoint> {
    Arc::new(ProjectRequests {
        context: Arc::clone(context),
        policy: Arc::clone(policy),
    })
}

struct ProjectRequests {
    context: Arc<Context>,
    policy: Arc<PolicySync>,
}

impl ProjectRequests {
    async fn grant(
        &self,
        request: &Request,
        mut object: Value,
        options: WriteOptions,
    ) -> Result<Outcome, Box<Status>> {
        metadata::generate_name(&mut object);
        checked_new(&PROJECT_REQUESTS, NameRule::Label, &object, mistakes(&object))?;
        let name = text(&object, "name").to_owned();
        if let Some(why) = reserved(&name) {
            return Err(errors::forbidden(in_errors(), &name, why).into());
        }
        let taken = || Box::new(errors::already_exists(in_errors(), &name));
        if self.context.namespaces.get("", &name).await?.is_some() {
            return Err(taken());
        }
        let user = &request.user.name;
        let mut namespace = namespaces::fresh(wanted_namespace(&object, user))?;
        metadata::identify(&mut namespace, request.now);
        if options.dry_run {
            return Ok(Outcome::created(project(namespace.into())?));
        }
        namespaces::clear_remains(&self.context, &name).await?;
        let mut binding = admin_binding(&name, user);
        metadata::identify(&mut binding, request.now);
        let [_, _, bindings, _] = &self.context.rbac;
        let writes = [self.context.namespaces.put(&namespace)?, bindings.put(&binding)?];
        let absent = Precondition::Absent(writes[0].key().to_owned());
        let revision = match self.context.store.commit(&[absent], &writes).await {
            Ok(revision) => revision,
            Err(StoreError::Conflict { .. }) => return Err(taken()),
            Err(error) => return Err(failed(error)),
        };
        // Whoever is told of the project can work in it.
        self.policy.refresh_role_binding(&name, ROLE).await?;
        let stored = self.context.namespaces.stored(namespace, revision);
        Ok(Outcome::created(project(stored.object.into())?))
    }

    /// Whether the user may ask for a project: what clients ask before they offer it.
    fn may_ask(&self, request: &Request) -> Result<Outcome, Box<Status>> {
        let target = Target::Resource {
            group: GROUP,
            resource: PROJECT_REQUESTS.plural,
            subresource: "",
            namespace: "",
            name: "",
        };
        let user = &request.user;
        let verb = "create";
        let decision = self
            .context
            .authorizer
            .authorize(&Attributes { user, verb, target });
        if decision.allowed {
            return Ok(Outcome::success());
        }
        let why = "You may not request a new project via this API.";
        let mut status = errors::forbidden(PROJECT_REQUESTS.group_resource(), "", why);
        status.message = Some(why.into());
        Err(status.into())
    }
}

/// What refusals call a project.
fn in_errors() -> GroupResource<'static> {
    GroupResource::new(GROUP, "project")
}

/// What is wrong with a request, beside its metadata.
fn mistakes(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = text(object, "name");
    if (1..MIN_NAME).contains(&name.len()) {
        let detail = format!("must be at least {MIN_NAME} characters long");
        errors.push(FieldError::invalid(
            &Path::root("metadata").child("name"),
            name,
            detail,
        ));
    }
    let displayed = field(object, "displayName");
    if displayed.contains(['\n', '\t']) {
        let detail = "may not contain a new line or tab";
        errors.push(FieldError::invalid(&Path::root("displayName"), displayed, detail));
    }
    errors
}

/// Why nobody gets a project of this name, if nobody does.
fn reserved(name: &str) -> Option<String> {
    RESERVED.into_iter().find_map(|word| {
        let rest = name.strip_prefix(word)?;
        match rest.chars().next() {
            None => Some(format!("cannot request a project with the name \"{name}\"")),
            Some('-') => Some(format!("cannot request a project starting with \"{word}-\"")),
            Some(_) => None,
        }
    })
}

fn field<'v>(object: &'v Value, name: &str) -> &'v str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn wanted_namespace(object: &Value, user: &str) -> Value {
    json!({"metadata": {"name": text(object, "name"), "annotations": {
        DESCRIPTION: field(object, "description"),
        DISPLAY_NAME: field(object, "displayName"),
        REQUESTER: user,
    }}})
}

fn admin_binding(namespace: &str, user: &str) -> Value {
    json!({
        "metadata": {"name": ROLE, "namespace": namespace},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": ROLE},
        "subjects": [{"apiGroup": RBAC_GROUP, "kind": "User", "name": user}],
    })
}

impl Endpoint for ProjectRequests {
    fn resource(&self) -> &'static Resource {
        &PROJECT_REQUESTS
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Create, Verb::List]
    }

    fn normalise(&self, object: Value) -> Result<Value, String> {
        with_metadata(object)
    }

    fn list<'a>(&'a self, request: &'a Request, _: ListOptions) -> Reply<'a> {
        Box::pin(std::future::ready(self.may_ask(request)))
    }

    fn create<'a>(
        &'a self,
        request: &'a Request,
        object: Value,
        options: WriteOptions,
        _: Creation<'a>,
    ) -> Reply<'a> {
        Box::pin(self.grant(request, object, options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_the_platforms_own_are_nobodys() {
        for (name, why) in [
            ("team", None),
            ("kubeflow", None),
            ("my-kube-team", None),
            ("kube", Some("cannot request a project with the name \"kube\"")),
            (
                "openshift-infra",
                Some("cannot request a project starting with \"openshift-\""),
            ),
        ] {
            assert_eq!(reserved(name).as_deref(), why, "{name}");
        }
    }

    #[test]
    fn a_name_has_two_characters_and_a_displayed_one_is_on_one_line() {
        let found = |name: &str, displayed: &str| {
            let object = json!({"metadata": {"name": name}, "displayName": displayed});
            let errors = mistakes(&object);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found("ab", "A B"), Vec::<String>::new());
        assert_eq!(
            found("a", "A\tB"),
            [
                r#"metadata.name: Invalid value: "a": must be at least 2 characters long"#,
                r#"displayName: Invalid value: "A\tB": may not contain a new line or tab"#
            ]
        );
    }
}
