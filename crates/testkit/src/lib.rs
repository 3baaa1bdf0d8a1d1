//! A scriptable registry, and helpers that start real servers, for tests.
