//! A revisioned key-value store with watch, over SQLite or etcd.

pub mod cache;
pub mod etcd;
