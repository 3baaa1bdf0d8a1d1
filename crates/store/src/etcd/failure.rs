//! What a failed etcd request means: retry it, give up, or admit that nobody knows what happened.
//!
//! The texts are those of etcd's `rpctypes` package, which are part of its API
//! (<https://pkg.go.dev/go.etcd.io/etcd/api/v3/v3rpc/rpctypes>).

use std::io;

use crate::StoreError;

/// The meaning of one failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request never reached a member, or a member refused it without applying it; trying again may help.
    NotApplied,
    /// The connection or the quorum went away: the request may or may not have been applied.
    Unknown,
    /// The revision asked for is gone.
    Compacted,
    /// The revision asked for has not happened yet.
    Future,
    /// The request is larger than the server's limits.
    TooLarge,
    /// The server's space quota is used up.
    Full,
    /// The server keeps refusing: credentials, quota, arguments.
    Refused,
}

impl Failure {
    /// The meaning of an error that etcd or the connection to it returned.
    pub(super) fn of(error: &etcd_client::Error) -> Self {
        match error {
            etcd_client::Error::GRpcStatus(status) => {
                let message = status.message();
                if message.contains("required revision has been compacted") {
                    Self::Compacted
                } else if message.contains("required revision is a future revision") {
                    Self::Future
                } else if message.contains("too many operations in txn request")
                    || message.contains("request is too large")
                {
                    Self::TooLarge
                } else if message.contains("database space exceeded") {
                    Self::Full
                } else if message.contains("too many requests")
                    || message.contains("no leader")
                    || refused_connection(status)
                {
                    Self::NotApplied
                } else {
                    // By number: the crate does not re-export the codes' type.
                    match i32::from(status.code()) {
                        // invalid argument, not found, exists, denied, exhausted, precondition,
                        // out of range, unimplemented, unauthenticated
                        3 | 5 | 6 | 7 | 8 | 9 | 11 | 12 | 16 => Self::Refused,
                        _ => Self::Unknown,
                    }
                }
            }
            etcd_client::Error::TransportError(_)
            | etcd_client::Error::IoError(_)
            | etcd_client::Error::WatchError(_) => Self::Unknown,
            _ => Self::Refused,
        }
    }

    /// The error for a request that can be repeated without harm: a read, a compaction, a watch.
    pub(super) fn of_read(error: &etcd_client::Error) -> StoreError {
        match Self::of(error) {
            Self::Compacted => StoreError::Compacted,
            Self::Future => StoreError::FutureRevision,
            Self::TooLarge => StoreError::TooLarge(error.to_string()),
            Self::Full => StoreError::Full(error.to_string()),
            Self::Refused => StoreError::Refused(error.to_string()),
            Self::NotApplied | Self::Unknown => StoreError::Unavailable(error.to_string()),
        }
    }
}

/// Whether the TCP connection itself was refused, so that nothing was sent.
fn refused_connection(status: &(dyn std::error::Error + 'static)) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionRefused;
        }
        source = error.source();
    }
    false
}
