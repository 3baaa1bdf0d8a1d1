//! `rbac.authorization.k8s.io` and `authorization.k8s.io`.
