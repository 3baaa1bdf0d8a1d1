//! Who makes a request, as <https://kubernetes.io/docs/reference/access-authn-authz/authentication/> defines it.

pub mod certificates;
pub mod impersonation;
pub mod tokens;
pub mod user;

pub use certificates::CertificateUser;
pub use impersonation::Impersonation;
pub use tokens::{TokenFile, Tokens};
pub use user::UserInfo;
