//! `rbac.authorization.k8s.io/v1` roles, clusterroles, rolebindings and clusterrolebindings.

use std::sync::Arc;

use imagestream_apiserver::form::{Form, Plain};
use imagestream_apiserver::kind::{Kind, Resource};

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
