//! The read side of the OCI and Docker registry protocol.
