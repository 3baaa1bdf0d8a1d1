//! What has the last word on a write after the request was decoded: [admission][1].
//!
//! [1]: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/

use std::fmt;

use serde_json::Value;

use crate::endpoint::{Pending, Request};
use crate::kind::{Resource, Verb};

/// Lets writes pass, or refuses them.
pub trait Admission: Send + Sync + 'static {
    /// Asked before an endpoint is.
    ///
    /// `object` is what the client sent, decoded and defaulted, but not validated; there is none for a deletion, nor
    /// for an update, whose object is only known once it is made. An update or a patch that turns out to create what it
    /// names is asked about again, as a creation with its object: by then nobody has looked whether its user may create.
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

    /// Asked about a new object that is valid, right before it is stored: what costs its owner something is for here, so
    /// that nobody pays for a mistake.
    ///
    /// # Errors
    /// Why it is not created.
    fn admit_valid<'a>(
        &'a self,
        _request: &'a Request,
        _resource: &'static Resource,
        _object: &'a Value,
    ) -> Pending<'a, Admitted> {
        Box::pin(std::future::ready(Ok(Admitted::freely())))
    }
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

/// The creation of one object, for whoever carries it out and asks on the way.
#[derive(Clone, Copy)]
pub struct Creation<'a> {
    admission: &'a dyn Admission,
    request: &'a Request,
    resource: &'static Resource,
}

impl<'a> Creation<'a> {
    /// What is created by `request`, an object of `resource`.
    #[must_use]
    pub fn new(admission: &'a dyn Admission, request: &'a Request, resource: &'static Resource) -> Self {
        Self {
            admission,
            request,
            resource,
        }
    }

    /// As [`Admission::admit`]. Of a POST this was asked before the endpoint was.
    ///
    /// # Errors
    /// Why the object is not created.
    pub fn admit(self, object: &'a Value) -> Pending<'a, ()> {
        self.admission
            .admit(self.request, self.resource, Verb::Create, Some(object))
    }

    /// As [`Admission::admit_valid`].
    ///
    /// # Errors
    /// Why the object is not created.
    pub fn admit_valid(self, object: &'a Value) -> Pending<'a, Admitted> {
        self.admission.admit_valid(self.request, self.resource, object)
    }
}

/// That a new object may be stored, and what was done in view of that. It is taken back when this is dropped, unless
/// the object was [stored](Self::stored): also if whoever creates it goes away.
#[must_use = "what was done for the object is taken back when this is dropped"]
pub struct Admitted(Option<Box<dyn FnOnce() + Send>>);

impl Admitted {
    /// There is nothing to be taken back.
    pub fn freely() -> Self {
        Self(None)
    }

    /// Calls `take_back` if nothing comes of it.
    pub fn or_else(take_back: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(take_back)))
    }

    /// The object was stored.
    pub fn stored(mut self) {
        self.0 = None;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(take_back) = self.0.take() {
            take_back();
        }
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.0.is_some() { "on trust" } else { "freely" };
        write!(f, "Admitted({word})")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn what_was_done_for_an_object_is_taken_back_unless_it_was_stored() {
        let taken_back = Arc::new(AtomicU32::new(0));
        let admitted = || {
            let taken_back = Arc::clone(&taken_back);
            Admitted::or_else(move || {
                taken_back.fetch_add(1, Ordering::SeqCst);
            })
        };
        admitted().stored();
        assert_eq!(taken_back.load(Ordering::SeqCst), 0);
        drop(admitted());
        assert_eq!(taken_back.load(Ordering::SeqCst), 1);
    }
}
