//! What has the last word on a write after the request was decoded: [admission][1].
//!
//! [1]: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/

use serde_json::Value;

use crate::endpoint::{Pending, Request};
use crate::kind::{Resource, Verb};

/// Lets writes pass, or refuses them.
pub trait Admission: Send + Sync + 'static {
    /// Asked before an endpoint is.
    ///
    /// `object` is what the client sent, decoded and defaulted; there is none for a deletion, nor for an update,
    /// whose object is only known once it is made. An update or a patch that turns out to create what it names is
    /// asked about again, as a creation with its object: by then nobody has looked whether its user may create.
    ///
    /// # Errors
    /// Why the request is refused.
    fn admit<'a>(
        &'a self,
        request: &'a Request,
        resource: &'static Resource,
        verb: Verb,
        object: Option<&'a Value>,
    ) -> Pending<'a, ()>;
}

/// Lets everything pass.
pub struct AdmitAll;

impl Admission for AdmitAll {
    fn admit<'a>(
        &'a self,
        _: &'a Request,
        _: &'static Resource,
        _: Verb,
        _: Option<&'a Value>,
    ) -> Pending<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
