//! Where a reference is pulled from.
