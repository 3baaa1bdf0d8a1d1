//! Role-based access control, evaluated in-process, as <https://kubernetes.io/docs/reference/access-authn-authz/rbac/> defines it.
