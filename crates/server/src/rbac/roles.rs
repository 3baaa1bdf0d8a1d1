//! `rbac.authorization.k8s.io/v1` roles, clusterroles, rolebindings and clusterrolebindings.

use std::sync::Arc;

use imagestream_api::field::{FieldError, FieldValue, Path};
use imagestream_api::validation::metadata::NameRule;
use imagestream_apiserver::admission::Creation;
use imagestream_apiserver::endpoint::{Change, Endpoint, Object, Outcome, Pending, Reply, Request};
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::form::{Form, Plain};
use imagestream_apiserver::kind::{Column, Kind, Resource, Verb};
use imagestream_apiserver::metadata;
use imagestream_apiserver::options::{DeleteOptions, ListOptions, WriteOptions};
use imagestream_apiserver::rbac::escalation::{EscalationError, RoleGrant};
use imagestream_apiserver::rbac::policy::{Kind as PolicyKind, MissingRole, Object as PolicyObject};
use imagestream_apiserver::rbac::{Authorizer, GROUP, validation};
use imagestream_apiserver::storage::Objects;
use imagestream_apiserver::stored::Stored;
use imagestream_apiserver::strategy::{Strategy, done};
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::RoleRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status};
use serde_json::{Value, json};

use super::policy_sync::PolicySync;
use crate::age;
use crate::context::Context;
use crate::plain::{AGE, NAME, checked_new, checked_replacement, column, set_field, with_metadata};
use crate::schema;

static ROLE: Kind = Kind {
    group: "rbac.authorization.k8s.io",
    version: "v1",
    kind: "Role",
    schema: &schema::rbac::ROLE,
    package: "v1",
    description: "What may be done in a namespace.",
};

static CLUSTER_ROLE: Kind = Kind {
    group: "rbac.authorization.k8s.io",
    version: "v1",
    kind: "ClusterRole",
    schema: &schema::rbac::CLUSTER_ROLE,
    package: "v1",
    description: "What may be done, in the whole cluster or where a binding says.",
};

static ROLE_BINDING: Kind = Kind {
    group: "rbac.authorization.k8s.io",
    version: "v1",
    kind: "RoleBinding",
    schema: &schema::rbac::ROLE_BINDING,
    package: "v1",
    description: "Who has a role in a namespace.",
};

static CLUSTER_ROLE_BINDING: Kind = Kind {
    group: "rbac.authorization.k8s.io",
    version: "v1",
    kind: "ClusterRoleBinding",
    schema: &schema::rbac::CLUSTER_ROLE_BINDING,
    package: "v1",
    description: "Who has a role in the whole cluster.",
};

/// Roles.
pub static ROLES: Resource = Resource {
    kind: &ROLE,
    plural: "roles",
    subresource: "",
    singular: "role",
    list_kind: "RoleList",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

/// Cluster roles.
pub static CLUSTER_ROLES: Resource = Resource {
    kind: &CLUSTER_ROLE,
    plural: "clusterroles",
    subresource: "",
    singular: "clusterrole",
    list_kind: "ClusterRoleList",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// Role bindings.
pub static ROLE_BINDINGS: Resource = Resource {
    kind: &ROLE_BINDING,
    plural: "rolebindings",
    subresource: "",
    singular: "rolebinding",
    list_kind: "RoleBindingList",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

/// Cluster role bindings.
pub static CLUSTER_ROLE_BINDINGS: Resource = Resource {
    kind: &CLUSTER_ROLE_BINDING,
    plural: "clusterrolebindings",
    subresource: "",
    singular: "clusterrolebinding",
    list_kind: "ClusterRoleBindingList",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// How roles, cluster roles, role bindings and cluster role bindings are stored, in this order.
#[must_use]
pub fn forms() -> [Arc<dyn Form>; 4] {
    [
        Arc::new(Plain(&ROLES)),
        Arc::new(Plain(&CLUSTER_ROLES)),
        Arc::new(Plain(&ROLE_BINDINGS)),
        Arc::new(Plain(&CLUSTER_ROLE_BINDINGS)),
    ]
}

/// Which of the four kinds an object is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RoleKind {
    Role,
    ClusterRole,
    RoleBinding,
    ClusterRoleBinding,
}

impl RoleKind {
    pub(super) fn of_policy(self) -> PolicyKind {
        match self {
            Self::Role => PolicyKind::Role,
            Self::ClusterRole => PolicyKind::ClusterRole,
            Self::RoleBinding => PolicyKind::RoleBinding,
            Self::ClusterRoleBinding => PolicyKind::ClusterRoleBinding,
        }
    }

    /// Reads an object of this kind, with defaults.
    pub(super) fn read(self, object: Value) -> Result<PolicyObject, String> {
        let failed = |error: serde_json::Error| error.to_string();
        let mut object = match self {
            Self::Role => PolicyObject::Role(serde_json::from_value(object).map_err(failed)?),
            Self::ClusterRole => PolicyObject::ClusterRole(serde_json::from_value(object).map_err(failed)?),
            Self::RoleBinding => PolicyObject::RoleBinding(serde_json::from_value(object).map_err(failed)?),
            Self::ClusterRoleBinding => {
                PolicyObject::ClusterRoleBinding(serde_json::from_value(object).map_err(failed)?)
            }
        };
        validation::set_defaults(&mut object);
        Ok(object)
    }
}

/// An object as it is stored and shown.
pub(super) fn to_value(object: &PolicyObject) -> Result<Value, String> {
    let written = match object {
        PolicyObject::Role(role) => serde_json::to_value(role),
        PolicyObject::ClusterRole(role) => serde_json::to_value(role),
        PolicyObject::RoleBinding(binding) => serde_json::to_value(binding),
        PolicyObject::ClusterRoleBinding(binding) => serde_json::to_value(binding),
    };
    let mut value = written.map_err(|error| error.to_string())?;
    let is_role = matches!(object, PolicyObject::Role(_) | PolicyObject::ClusterRole(_));
    if let Some(fields) = value.as_object_mut().filter(|_| is_role) {
        fields.entry("rules").or_insert(Value::Null);
    }
    // A service account is in the core group, which is not written.
    let subjects = value.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten().filter_map(Value::as_object_mut) {
        subject.retain(|field, value| field != "apiGroup" || value != "");
    }
    Ok(value)
}

/// The endpoints of the four kinds.
pub(super) fn endpoints(context: &Arc<Context>, sync: &Arc<PolicySync>) -> Vec<Arc<dyn Endpoint>> {
    let kinds = [
        RoleKind::Role,
        RoleKind::ClusterRole,
        RoleKind::RoleBinding,
        RoleKind::ClusterRoleBinding,
    ];
    let endpoint = |(kind, objects): (RoleKind, &Arc<Objects>)| {
        let strategy = RoleStrategy {
            kind,
            resource: objects.resource(),
            context: Arc::clone(context),
        };
        let endpoint = InForce {
            kind,
            stored: Stored::new(Arc::clone(objects), Arc::new(strategy)),
            sync: Arc::clone(sync),
            authorizer: Arc::clone(&context.authorizer),
        };
        Arc::new(endpoint) as Arc<dyn Endpoint>
    };
    kinds.into_iter().zip(&context.rbac).map(endpoint).collect()
}

/// What is checked of roles and bindings: their form, and that nobody grants what they don't have.
struct RoleStrategy {
    kind: RoleKind,
    resource: &'static Resource,
    context: Arc<Context>,
}

impl RoleStrategy {
    fn read(&self, object: &Value) -> Result<PolicyObject, Box<Status>> {
        self.kind
            .read(object.clone())
            .map_err(|error| errors::bad_request(error).into())
    }

    /// Whether the user may grant what the object grants.
    fn check_grant(&self, request: &Request, object: &PolicyObject) -> Result<(), Box<Status>> {
        let authorizer = &self.context.authorizer;
        let user = &request.user;
        let name_of = |metadata: &ObjectMeta| metadata.name.clone().unwrap_or_default();
        let namespace_of = |metadata: &ObjectMeta| metadata.namespace.clone().unwrap_or_default();
        let (name, granted) = match object {
            PolicyObject::Role(role) => {
                let (namespace, name) = (namespace_of(&role.metadata), name_of(&role.metadata));
                let grant = RoleGrant {
                    namespace: &namespace,
                    name: &name,
                    rules: role.rules.as_deref().unwrap_or_default(),
                    aggregates: false,
                };
                let granted = authorizer.may_grant_role(user, grant);
                (name, granted)
            }
            PolicyObject::ClusterRole(role) => {
                let name = name_of(&role.metadata);
                let grant = RoleGrant {
                    namespace: "",
                    name: &name,
                    rules: role.rules.as_deref().unwrap_or_default(),
                    aggregates: role.aggregation_rule.is_some(),
                };
                let granted = authorizer.may_grant_role(user, grant);
                (name, granted)
            }
            PolicyObject::RoleBinding(binding) => {
                let namespace = namespace_of(&binding.metadata);
                let granted = authorizer.may_bind_role(user, &namespace, &binding.role_ref);
                (name_of(&binding.metadata), granted)
            }
            PolicyObject::ClusterRoleBinding(binding) => {
                let granted = authorizer.may_bind_role(user, "", &binding.role_ref);
                (name_of(&binding.metadata), granted)
            }
        };
        granted.map_err(|error| {
            let status = match &error {
                EscalationError::MissingRole(MissingRole::NotFound { kind, name }) => {
                    let plural = format!("{}s", kind.to_lowercase());
                    errors::not_found(GroupResource::new(GROUP, &plural), name)
                }
                _ => errors::forbidden(self.resource.group_resource(), &name, error),
            };
            Box::new(status)
        })
    }
}

/// Whether two objects differ in nothing but what garbage collection changes.
///
/// Anything else counts as granting anew: a label of a cluster role, for example, decides which roles gather its rules.
fn differs_for_collector_only(object: &Value, stored: &Value) -> bool {
    let content = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = metadata::of(&mut object) {
            for field in [
                "ownerReferences",
                "finalizers",
                "managedFields",
                "resourceVersion",
            ] {
                metadata.remove(field);
            }
        }
        metadata::tidy(&mut object);
        object
    };
    content(object) == content(stored)
}

/// The role that a binding refers to, which never changes.
fn role_ref(object: &PolicyObject) -> Option<&RoleRef> {
    match object {
        PolicyObject::Role(_) | PolicyObject::ClusterRole(_) => None,
        PolicyObject::RoleBinding(binding) => Some(&binding.role_ref),
        PolicyObject::ClusterRoleBinding(binding) => Some(&binding.role_ref),
    }
}

impl Strategy for RoleStrategy {
    fn normalise(&self, object: Value) -> Result<Value, String> {
        to_value(&self.kind.read(with_metadata(object)?)?)
    }

    fn prepare_create<'a>(&'a self, request: &'a Request, object: Value) -> Pending<'a, Value> {
        let prepare = || {
            let read = self.read(&object)?;
            checked_new(
                self.resource,
                NameRule::PathSegment,
                &object,
                validation::validate(&read),
            )?;
            self.check_grant(request, &read)
        };
        done(prepare().map(|()| object))
    }

    fn prepare_update<'a>(
        &'a self,
        request: &'a Request,
        object: Value,
        stored: &'a Value,
    ) -> Pending<'a, Value> {
        let prepare = || {
            let (read, before) = (self.read(&object)?, self.read(stored)?);
            checked_replacement(self.resource, &object, stored, || {
                let mut errors = validation::validate(&read);
                if let Some(role) = role_ref(&read).filter(|role| Some(*role) != role_ref(&before)) {
                    let path = Path::root("roleRef");
                    // Kubernetes shows the fields by their names in Go.
                    let value = json!({"APIGroup": role.api_group, "Kind": role.kind, "Name": role.name});
                    errors.push(FieldError::invalid(
                        &path,
                        FieldValue::json(&value),
                        "cannot change roleRef",
                    ));
                }
                errors
            })?;
            if differs_for_collector_only(&object, stored) {
                return Ok(());
            }
            self.check_grant(request, &read)
        };
        done(prepare().map(|()| object))
    }

    fn creates_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> Option<&'static [Column]> {
        static OF_ROLES: [Column; 2] = [NAME, column("Created At", "date", "When the role was created.")];
        const fn wide(name: &'static str, description: &'static str) -> Column {
            let mut wide = column(name, "string", description);
            wide.priority = 1;
            wide
        }
        static OF_BINDINGS: [Column; 6] = [
            NAME,
            column("Role", "string", "The role that is granted."),
            AGE,
            wide("Users", "The users who have it."),
            wide("Groups", "The groups whose members have it."),
            wide("ServiceAccounts", "The service accounts that have it."),
        ];
        Some(match self.kind {
            RoleKind::Role | RoleKind::ClusterRole => &OF_ROLES,
            RoleKind::RoleBinding | RoleKind::ClusterRoleBinding => &OF_BINDINGS,
        })
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let name = metadata::text(object, "name").into();
        match self.kind {
            RoleKind::Role | RoleKind::ClusterRole => {
                vec![name, metadata::text(object, "creationTimestamp").into()]
            }
            RoleKind::RoleBinding | RoleKind::ClusterRoleBinding => {
                let of = |field: &str| object.pointer(field).and_then(Value::as_str).unwrap_or_default();
                let role = format!("{}/{}", of("/roleRef/kind"), of("/roleRef/name"));
                let [users, groups, accounts] =
                    ["User", "Group", "ServiceAccount"].map(|kind| subjects(object, kind));
                vec![name, role.into(), age::of(object, now), users, groups, accounts]
            }
        }
    }
}

/// The subjects of a kind in a binding, for a table.
fn subjects(object: &Value, kind: &str) -> Value {
    let subjects = object.get("subjects").and_then(Value::as_array);
    let of_kind = subjects
        .into_iter()
        .flatten()
        .filter(|subject| subject["kind"] == kind);
    let text = |subject: &Value, field: &str| {
        subject
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let names: Vec<String> = of_kind
        .map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", text(subject, "namespace"), text(subject, "name")),
            _ => text(subject, "name"),
        })
        .collect();
    names.join(", ").into()
}

/// A stored kind whose changes are in force by the time they are answered.
struct InForce {
    kind: RoleKind,
    stored: Stored,
    sync: Arc<PolicySync>,
    authorizer: Arc<Authorizer>,
}

impl InForce {
    /// A role with the rules that it has by now, if it gathers them from others. They are not stored.
    fn gathered(&self, object: Object) -> Result<Object, Box<Status>> {
        if self.kind != RoleKind::ClusterRole {
            return Ok(object);
        }
        let mut value = object.into_value()?;
        if value.get("aggregationRule").is_some() {
            let name = metadata::text(&value, "name");
            let rules = self
                .authorizer
                .read(|policy| policy.cluster_role_rules(name).map(|rules| json!(rules)));
            set_field(&mut value, "rules", Some(&rules.unwrap_or_default()));
        }
        Ok(value.into())
    }

    async fn after(&self, request: &Request, outcome: Outcome) -> Result<Outcome, Box<Status>> {
        let namespace = &request.info.namespace;
        match &outcome {
            Outcome::Object { object, .. } => {
                let object = object.clone().into_value()?;
                self.sync
                    .refresh(self.kind, namespace, metadata::text(&object, "name"))
                    .await?;
            }
            Outcome::List(list) => {
                for item in &list.items {
                    let object = item.clone().into_value()?;
                    let namespace = metadata::text(&object, "namespace");
                    self.sync
                        .refresh(self.kind, namespace, metadata::text(&object, "name"))
                        .await?;
                }
            }
            Outcome::Status(_) => {
                self.sync
                    .refresh(self.kind, namespace, &request.info.name)
                    .await?;
            }
            Outcome::Watch(_) => {}
        }
        Ok(outcome)
    }
}

impl Endpoint for InForce {
    fn resource(&self) -> &'static Resource {
        self.stored.resource()
    }

    fn verbs(&self) -> &'static [Verb] {
        self.stored.verbs()
    }

    fn normalise(&self, object: Value) -> Result<Value, String> {
        self.stored.normalise(object)
    }

    fn empty(&self) -> Value {
        self.stored.empty()
    }

    fn get<'a>(&'a self, request: &'a Request) -> Reply<'a> {
        Box::pin(async move {
            match self.stored.get(request).await? {
                Outcome::Object { code, object } => Ok(Outcome::Object {
                    code,
                    object: self.gathered(object)?,
                }),
                other => Ok(other),
            }
        })
    }

    fn list<'a>(&'a self, request: &'a Request, options: ListOptions) -> Reply<'a> {
        Box::pin(async move {
            let mut outcome = self.stored.list(request, options).await?;
            if let Outcome::List(list) = &mut outcome {
                let items = std::mem::take(&mut list.items).into_iter();
                list.items = items.map(|item| self.gathered(item)).collect::<Result<_, _>>()?;
            }
            Ok(outcome)
        })
    }

    fn watch<'a>(&'a self, request: &'a Request, options: ListOptions) -> Reply<'a> {
        self.stored.watch(request, options)
    }

    fn create<'a>(
        &'a self,
        request: &'a Request,
        object: Value,
        options: WriteOptions,
        creation: Creation<'a>,
    ) -> Reply<'a> {
        Box::pin(async move {
            let outcome = self.stored.create(request, object, options, creation).await?;
            self.after(request, outcome).await
        })
    }

    fn update<'a>(
        &'a self,
        request: &'a Request,
        change: Arc<dyn Change>,
        options: WriteOptions,
    ) -> Reply<'a> {
        Box::pin(async move {
            let outcome = self.stored.update(request, change, options).await?;
            self.after(request, outcome).await
        })
    }

    fn delete<'a>(&'a self, request: &'a Request, options: DeleteOptions) -> Reply<'a> {
        Box::pin(async move {
            let outcome = self.stored.delete(request, options).await?;
            self.after(request, outcome).await
        })
    }

    fn delete_collection<'a>(
        &'a self,
        request: &'a Request,
        which: ListOptions,
        options: DeleteOptions,
    ) -> Reply<'a> {
        Box::pin(async move {
            let outcome = self.stored.delete_collection(request, which, options).await?;
            self.after(request, outcome).await
        })
    }

    fn columns(&self) -> Option<&'static [Column]> {
        self.stored.columns()
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        self.stored.cells(object, now)
    }
}
