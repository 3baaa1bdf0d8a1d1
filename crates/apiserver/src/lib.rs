//! Generic Kubernetes API machinery: what an API server does with any resource, whatever the resource is.
//!
//! The rules are those of the [Kubernetes API conventions] and the [API concepts] pages; each module
//! names the page it follows. A resource plugs in from another crate: nothing here knows a group or a kind
//! beyond the ones that every API server has (RBAC, access reviews, `metav1`).
//!
//! [Kubernetes API conventions]: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
//! [API concepts]: https://kubernetes.io/docs/reference/using-api/api-concepts/

pub mod admission;
pub mod api;
pub mod atomic_file;
pub mod authn;
pub mod decode;
pub mod discovery;
pub mod dispatch;
pub mod endpoint;
pub mod errors;
pub mod form;
pub mod garbage;
pub mod kind;
pub mod kubeconfig;
pub mod managed_fields;
pub mod metadata;
pub mod negotiation;
pub mod openapi;
pub mod options;
pub mod ordered;
pub mod patch;
pub mod paths;
pub mod pki;
pub mod protobuf;
pub mod rbac;
pub mod request_info;
pub mod respond;
#[cfg(test)]
mod samples;
pub mod schema;
pub mod selectors;
pub mod serve;
pub mod storage;
pub mod stored;
pub mod strategy;
