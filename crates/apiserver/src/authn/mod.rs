//! Who makes a request, as <https://kubernetes.io/docs/reference/access-authn-authz/authentication/> defines it.

pub mod user;

pub use user::UserInfo;
