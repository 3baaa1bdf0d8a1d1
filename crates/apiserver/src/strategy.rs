//! How the objects of a stored resource differ from those of any other: what is checked and filled in before they are
//! stored and which verbs there are. [`Stored`](crate::stored::Stored) makes an endpoint of it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;

use crate::endpoint::{Pending, Request};
use crate::kind::{Column, Verb};

/// What is particular about a stored resource.
pub trait Strategy: Send + Sync + 'static {
    /// What can be done with it.
    fn verbs(&self) -> &'static [Verb] {
        Verb::ALL
    }

    /// As [`Endpoint::normalise`](crate::endpoint::Endpoint::normalise).
    ///
    /// # Errors
    /// Why it is no object of the kind.
    fn normalise(&self, object: Value) -> Result<Value, String> {
        Ok(object)
    }

    /// The object to store for one that a client creates: everything filled in, everything checked.
    ///
    /// Metadata is complete by then (name, namespace, uid, time of creation), but not checked.
    ///
    /// # Errors
    /// What is wrong with it.
    fn prepare_create<'a>(&'a self, request: &'a Request, object: Value) -> Pending<'a, Value>;

    /// Makes room for the object that is about to be stored under a new name. Not called if nothing is to be stored.
    ///
    /// # Errors
    /// Why it can't be stored.
    fn before_create<'a>(&'a self, _object: &'a Value) -> Pending<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The object to store in place of `stored`; metadata that clients can't change is already that of `stored`
    /// where the client left it out. If it equals `stored`, nothing is written.
    ///
    /// # Errors
    /// What is wrong with it.
    fn prepare_update<'a>(
        &'a self,
        request: &'a Request,
        object: Value,
        stored: &'a Value,
    ) -> Pending<'a, Value>;

    /// Whether the object may go.
    ///
    /// # Errors
    /// Why not.
    fn prepare_delete<'a>(&'a self, _request: &'a Request, _stored: &'a Value) -> Pending<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Whether a PUT or an apply creates an object that does not exist.
    fn creates_on_update(&self) -> bool {
        false
    }

    /// Whether a PUT without a resource version overwrites whatever is there. Otherwise it is refused with 422.
    fn updates_blindly(&self) -> bool {
        true
    }

    /// Whether dependents are collected, so that a deletion with `Foreground` or `Orphan` adds a finalizer.
    fn collects_garbage(&self) -> bool {
        true
    }

    /// Whether a deleted object stays until somebody else takes it away, though no finalizer in its metadata holds it.
    fn outlives_deletion(&self, _object: &Value) -> bool {
        false
    }

    /// Changes an object that stays for a while after its deletion; its metadata says so already.
    fn mark_deleted(&self, _object: &mut Value) {}

    /// As [`Endpoint::columns`](crate::endpoint::Endpoint::columns).
    fn columns(&self) -> Option<&'static [Column]> {
        None
    }

    /// As [`Endpoint::cells`](crate::endpoint::Endpoint::cells).
    fn cells(&self, _object: &Value, _now: Timestamp) -> Vec<Value> {
        Vec::new()
    }
}

/// A status that a strategy answers at once.
pub fn done<'a, T: Send + 'a>(result: Result<T, Box<Status>>) -> Pending<'a, T> {
    Box::pin(std::future::ready(result))
}
