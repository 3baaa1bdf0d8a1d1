//! Credentials of the local user.
