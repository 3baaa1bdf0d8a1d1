//! `rbac.authorization.k8s.io` and `authorization.k8s.io`: who may do what, and questions about that.

pub mod roles;
