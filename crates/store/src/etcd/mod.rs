//! A store in an etcd cluster: transactions, snapshot lists and watches over etcd's v3 API.
//!
//! Progress marks are only those that etcd sends on its own: on request, versions without the fix of
//! <https://github.com/etcd-io/etcd/issues/15220> may send a mark ahead of events that are still under way.

mod failure;
mod model;
mod options;
mod store;
mod watch;

pub use model::{Change, EtcdError, KeyValue, Page, Precondition, WatchItem, Write};
pub use options::EtcdOptions;
pub use store::EtcdStore;
pub use watch::Watch;
