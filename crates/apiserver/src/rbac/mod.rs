//! Role-based access control, evaluated in-process, as <https://kubernetes.io/docs/reference/access-authn-authz/rbac/> defines it.

pub mod authorizer;
pub mod escalation;
pub mod load;
pub mod policy;
pub mod rules;
pub mod validation;

mod aggregation;

pub use authorizer::{Authorizer, Decision};
pub use policy::Policy;
pub use rules::{Attributes, Target};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";
