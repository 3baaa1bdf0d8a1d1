//! A store in an etcd cluster: transactions, snapshot lists and watches over etcd's v3 API.
//!
//! Progress marks are those that etcd sends on its own, and the sight of a key that [`request_progress`] writes: on
//! request, versions without the fix of <https://github.com/etcd-io/etcd/issues/15220> may send a mark ahead of
//! events that are still under way.
//!
//! [`request_progress`]: crate::Store::request_progress

mod failure;
mod options;
mod store;
mod watch;

pub use options::EtcdOptions;
pub use store::EtcdStore;

/// Ends a key that is written only to be seen in the watch: it is in no list, and a progress mark in a watch.
const MARK: &str = "\0mark";
