//! Which credential is for which reference.
