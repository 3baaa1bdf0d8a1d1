//! The roles and bindings in force, found by whom they are for: [RBAC API objects](https://kubernetes.io/docs/reference/access-authn-authz/rbac/#api-overview).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use imagestream_api::field::quoted;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::aggregation::{self, Candidate};
use crate::authn::{UserInfo, user};

/// One object of the RBAC API group.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// Rules within a namespace.
    Role(Role),
    /// Rules in the whole cluster, or in the namespaces whose bindings refer to them.
    ClusterRole(ClusterRole),
    /// Grants a role within its namespace.
    RoleBinding(RoleBinding),
    /// Grants a cluster role everywhere.
    ClusterRoleBinding(ClusterRoleBinding),
}

/// The four kinds of objects, by which they are named for removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Role`
    Role,
    /// `ClusterRole`
    ClusterRole,
    /// `RoleBinding`
    RoleBinding,
    /// `ClusterRoleBinding`
    ClusterRoleBinding,
}

/// Where an object comes from. Of two objects of one name the fixed one is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The administrator's file: nobody changes it through the API.
    Fixed,
    /// The store.
    Stored,
}

/// The role that a binding refers to isn't there (or not yet).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingRole {
    /// No role of the name exists.
    #[error("{}.rbac.authorization.k8s.io {} not found", kind.to_lowercase(), quoted(name))]
    NotFound {
        /// `Role` or `ClusterRole`.
        kind: String,
        /// The name referred to.
        name: String,
    },
    /// The reference names a kind that isn't a role.
    #[error("unsupported role reference kind: {}", quoted(.0))]
    UnsupportedKind(String),
}

/// All roles and bindings. Lookups go from the user's name and groups to the bindings that name them, so
/// that their cost doesn't grow with the bindings of others.
#[derive(Debug, Default)]
pub struct Policy {
    /// Roles by namespace and name; cluster roles have the empty namespace.
    roles: HashMap<String, BTreeMap<String, Layers<RoleRules>>>,
    /// Bindings by namespace and name; cluster role bindings have the empty namespace.
    bindings: HashMap<String, HashMap<String, Layers<Arc<Binding>>>>,
    subjects: HashMap<String, Subjects>,
    /// The namespaces whose roles or bindings were written; the empty one for those of the cluster.
    touched: BTreeSet<String>,
    /// The rules of cluster roles that gather them from others, computed when first asked for.
    aggregated: OnceLock<HashMap<String, Vec<PolicyRule>>>,
}

/// What is known under one name, from either origin.
#[derive(Debug)]
struct Layers<T> {
    fixed: Option<T>,
    stored: Option<T>,
}

impl<T> Default for Layers<T> {
    fn default() -> Self {
        Self {
            fixed: None,
            stored: None,
        }
    }
}

impl<T> Layers<T> {
    fn in_force(&self) -> Option<&T> {
        self.fixed.as_ref().or(self.stored.as_ref())
    }

    fn layer(&mut self, origin: Origin) -> &mut Option<T> {
        match origin {
            Origin::Fixed => &mut self.fixed,
            Origin::Stored => &mut self.stored,
        }
    }

    fn has(&self, origin: Origin) -> bool {
        match origin {
            Origin::Fixed => self.fixed.is_some(),
            Origin::Stored => self.stored.is_some(),
        }
    }

    fn is_empty(&self) -> bool {
        self.fixed.is_none() && self.stored.is_none()
    }
}

#[derive(Debug)]
struct RoleRules {
    labels: Option<BTreeMap<String, String>>,
    rules: Vec<PolicyRule>,
    selectors: Option<Vec<LabelSelector>>,
}

/// A binding of either kind; one of the whole cluster has the empty namespace.
#[derive(Debug)]
pub(super) struct Binding {
    namespace: String,
    name: String,
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// The bindings of one namespace by whom they name, in the order of their own names.
#[derive(Debug, Default)]
struct Subjects {
    users: HashMap<String, BTreeMap<String, Arc<Binding>>>,
    groups: HashMap<String, BTreeMap<String, Arc<Binding>>>,
}

/// Whom a subject means, as the authenticator would name them.
enum Meant<'a> {
    User(std::borrow::Cow<'a, str>),
    Group(&'a str),
}

/// The user or group that a subject of a binding in the namespace means; none if it means nobody.
fn meant<'a>(subject: &'a Subject, namespace: &str) -> Option<Meant<'a>> {
    match subject.kind.as_str() {
        "User" => Some(Meant::User(subject.name.as_str().into())),
        "Group" => Some(Meant::Group(&subject.name)),
        "ServiceAccount" => {
            let own = subject
                .namespace
                .as_deref()
                .filter(|own| !own.is_empty())
                .unwrap_or(namespace);
            (!own.is_empty()).then(|| Meant::User(user::service_account_user_name(own, &subject.name).into()))
        }
        _ => None,
    }
}

fn metadata(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        ..ObjectMeta::default()
    }
}

impl Policy {
    /// A policy that grants nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an object, in place of the one of its name from the same origin.
    pub fn put(&mut self, object: Object, origin: Origin) {
        match object {
            Object::Role(role) => {
                let rules = RoleRules {
                    labels: None,
                    rules: role.rules.unwrap_or_default(),
                    selectors: None,
                };
                self.set_role(&role.metadata, origin, Some(rules));
            }
            Object::ClusterRole(role) => {
                let rules = RoleRules {
                    labels: role.metadata.labels.clone(),
                    rules: role.rules.unwrap_or_default(),
                    selectors: role
                        .aggregation_rule
                        .map(|rule| rule.cluster_role_selectors.unwrap_or_default()),
                };
                self.set_role(&in_cluster(role.metadata), origin, Some(rules));
            }
            Object::RoleBinding(binding) => {
                self.set_binding(
                    binding.metadata,
                    origin,
                    Some((binding.role_ref, binding.subjects)),
                );
            }
            Object::ClusterRoleBinding(binding) => {
                self.set_binding(
                    in_cluster(binding.metadata),
                    origin,
                    Some((binding.role_ref, binding.subjects)),
                );
            }
        }
    }

    /// Removes the object of that name that came from the origin, if there is one.
    pub fn remove(&mut self, kind: Kind, namespace: &str, name: &str, origin: Origin) {
        let metadata = metadata(namespace, name);
        match kind {
            Kind::Role => self.set_role(&metadata, origin, None),
            Kind::ClusterRole => self.set_role(&in_cluster(metadata), origin, None),
            Kind::RoleBinding => self.set_binding(metadata, origin, None),
            Kind::ClusterRoleBinding => self.set_binding(in_cluster(metadata), origin, None),
        }
    }

    /// Puts these objects in place of all that came from the origin.
    pub fn replace_all(&mut self, origin: Origin, objects: impl IntoIterator<Item = Object>) {
        let (mut roles, mut bindings) = (Vec::new(), Vec::new());
        for (namespace, named) in &self.roles {
            let own = named.iter().filter(|(_, layers)| layers.has(origin));
            roles.extend(own.map(|(name, _)| metadata(namespace, name)));
        }
        for (namespace, named) in &self.bindings {
            let own = named.iter().filter(|(_, layers)| layers.has(origin));
            bindings.extend(own.map(|(name, _)| metadata(namespace, name)));
        }
        for role in roles {
            self.set_role(&role, origin, None);
        }
        for binding in bindings {
            self.set_binding(binding, origin, None);
        }
        for object in objects {
            self.put(object, origin);
        }
    }

    /// The namespaces whose roles or bindings were written since this was last asked; the empty one for those of the cluster.
    pub(super) fn take_touched(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.touched)
    }

    fn set_role(&mut self, metadata: &ObjectMeta, origin: Origin, rules: Option<RoleRules>) {
        let (namespace, name) = (text(metadata.namespace.as_ref()), text(metadata.name.as_ref()));
        self.touched.insert(namespace.to_owned());
        if namespace.is_empty() {
            self.aggregated.take();
        }
        let roles = self.roles.entry(namespace.to_owned()).or_default();
        let layers = roles.entry(name.to_owned()).or_default();
        *layers.layer(origin) = rules;
        if layers.is_empty() {
            roles.remove(name);
        }
        if roles.is_empty() {
            self.roles.remove(namespace);
        }
    }

    fn set_binding(
        &mut self,
        metadata: ObjectMeta,
        origin: Origin,
        grant: Option<(RoleRef, Option<Vec<Subject>>)>,
    ) {
        let (namespace, name) = (
            metadata.namespace.unwrap_or_default(),
            metadata.name.unwrap_or_default(),
        );
        self.touched.insert(namespace.clone());
        let bindings = self.bindings.entry(namespace.clone()).or_default();
        let layers = bindings.entry(name.clone()).or_default();
        let before = layers.in_force().cloned();
        *layers.layer(origin) = grant.map(|(role, subjects)| {
            let subjects = subjects.unwrap_or_default();
            Arc::new(Binding {
                namespace: namespace.clone(),
                name: name.clone(),
                role,
                subjects,
            })
        });
        let after = layers.in_force().cloned();
        if layers.is_empty() {
            bindings.remove(&name);
        }
        if bindings.is_empty() {
            self.bindings.remove(&namespace);
        }
        let index = self.subjects.entry(namespace.clone()).or_default();
        if let Some(before) = before {
            index.forget(&before);
        }
        if let Some(after) = after {
            index.learn(&after);
        }
        if index.users.is_empty() && index.groups.is_empty() {
            self.subjects.remove(&namespace);
        }
    }

    /// The bindings that name the user: those of the cluster first, then those of the namespace.
    pub(super) fn bindings_of<'a>(
        &'a self,
        user: &'a UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Binding> {
        let cluster = self.subjects.get("");
        let namespaced = (!namespace.is_empty())
            .then(|| self.subjects.get(namespace))
            .flatten();
        cluster.into_iter().chain(namespaced).flat_map(move |subjects| {
            let by_name = subjects.users.get(&user.name);
            let by_group = user.groups.iter().filter_map(|group| subjects.groups.get(group));
            by_name
                .into_iter()
                .chain(by_group)
                .flat_map(|bindings| bindings.values().map(AsRef::as_ref))
        })
    }

    /// The rules of the role that a binding in the namespace refers to (empty for the whole cluster).
    ///
    /// # Errors
    /// The role isn't there.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Result<&[PolicyRule], MissingRole> {
        let missing = || MissingRole::NotFound {
            kind: role.kind.clone(),
            name: role.name.clone(),
        };
        match role.kind.as_str() {
            "Role" if namespace.is_empty() => Err(missing()),
            "Role" => self
                .role(namespace, &role.name)
                .map(|role| role.rules.as_slice())
                .ok_or_else(missing),
            "ClusterRole" => self.cluster_role_rules(&role.name).ok_or_else(missing),
            other => Err(MissingRole::UnsupportedKind(other.into())),
        }
    }

    /// The rules of a cluster role; of one that gathers them, those of all roles that its selectors match.
    #[must_use]
    pub fn cluster_role_rules(&self, name: &str) -> Option<&[PolicyRule]> {
        let role = self.role("", name)?;
        if role.selectors.is_none() {
            return Some(&role.rules);
        }
        self.aggregated
            .get_or_init(|| self.aggregate())
            .get(name)
            .map(Vec::as_slice)
    }

    fn role(&self, namespace: &str, name: &str) -> Option<&RoleRules> {
        self.roles.get(namespace)?.get(name)?.in_force()
    }

    fn aggregate(&self) -> HashMap<String, Vec<PolicyRule>> {
        let candidates: BTreeMap<&str, Candidate<'_>> = self
            .roles
            .get("")
            .into_iter()
            .flatten()
            .filter_map(|(name, layers)| {
                let RoleRules {
                    labels,
                    rules,
                    selectors,
                } = layers.in_force()?;
                Some((
                    name.as_str(),
                    Candidate {
                        labels: labels.as_ref(),
                        rules,
                        selectors: selectors.as_deref(),
                    },
                ))
            })
            .collect();
        candidates
            .iter()
            .filter(|(_, role)| role.selectors.is_some())
            .map(|(name, _)| ((*name).to_owned(), aggregation::gather(name, &candidates)))
            .collect()
    }
}

impl Subjects {
    fn learn(&mut self, binding: &Arc<Binding>) {
        for subject in &binding.subjects {
            let bindings = match meant(subject, &binding.namespace) {
                Some(Meant::User(name)) => self.users.entry(name.into_owned()).or_default(),
                Some(Meant::Group(name)) => self.groups.entry(name.to_owned()).or_default(),
                None => continue,
            };
            bindings.insert(binding.name.clone(), Arc::clone(binding));
        }
    }

    fn forget(&mut self, binding: &Binding) {
        for subject in &binding.subjects {
            let (index, name) = match meant(subject, &binding.namespace) {
                Some(Meant::User(name)) => (&mut self.users, name),
                Some(Meant::Group(name)) => (&mut self.groups, name.into()),
                None => continue,
            };
            if let Some(bindings) = index.get_mut(name.as_ref()) {
                bindings.remove(&binding.name);
                if bindings.is_empty() {
                    index.remove(name.as_ref());
                }
            }
        }
    }
}

impl Binding {
    pub(super) fn role(&self) -> &RoleRef {
        &self.role
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Says which binding grants what to whom, in the words of Kubernetes' audit annotations.
    pub(super) fn describe<'a>(&'a self, user: &'a UserInfo) -> impl fmt::Display + 'a {
        Grant { binding: self, user }
    }

    fn first_subject_of(&self, user: &UserInfo) -> Option<&Subject> {
        self.subjects
            .iter()
            .find(|subject| match meant(subject, &self.namespace) {
                Some(Meant::User(name)) => name == user.name,
                Some(Meant::Group(name)) => user.is_member_of(name),
                None => false,
            })
    }
}

struct Grant<'a> {
    binding: &'a Binding,
    user: &'a UserInfo,
}

impl fmt::Display for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Binding {
            namespace,
            name,
            role,
            ..
        } = self.binding;
        let (kind, shown_name) = if namespace.is_empty() {
            ("ClusterRoleBinding", name.clone())
        } else {
            ("RoleBinding", format!("{name}/{namespace}"))
        };
        write!(
            f,
            "{kind} {} of {} {}",
            quoted(&shown_name),
            role.kind,
            quoted(&role.name)
        )?;
        let Some(subject) = self.binding.first_subject_of(self.user) else {
            return Ok(());
        };
        let subject_name = match subject.kind.as_str() {
            "ServiceAccount" => {
                let own = subject
                    .namespace
                    .as_deref()
                    .filter(|own| !own.is_empty())
                    .unwrap_or(namespace);
                format!("{}/{own}", subject.name)
            }
            _ => subject.name.clone(),
        };
        write!(f, " to {} {}", subject.kind, quoted(&subject_name))
    }
}

fn in_cluster(metadata: ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        namespace: None,
        ..metadata
    }
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}
