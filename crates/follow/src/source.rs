//! What is asked of a registry, and by which tag of a stream.

use std::time::Duration;

/// What a registry is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What<'a> {
    /// One tag: a `HEAD` of its manifest.
    Tag(&'a str),
    /// Which tags there are, for streams that follow tags by rule.
    Tags,
}

/// One thing that can be asked with one request. Tags with equal sources are asked about once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceRef<'a> {
    /// The registry, `host[:port]`.
    pub registry: &'a str,
    /// The repository in it.
    pub repository: &'a str,
    /// The tag, or all of them.
    pub what: What<'a>,
    /// A fingerprint of the credentials that are used: what others may see is not what we may.
    pub credential: u64,
    /// Whether plain HTTP and unknown certificates are allowed.
    pub insecure: bool,
}

/// One tag of a stream, and what it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed<'a> {
    /// The stream's tag, or what the stream calls the rule.
    pub tag: &'a str,
    /// What it follows.
    pub source: SourceRef<'a>,
    /// How often it wants to be checked, if otherwise than the rest. Never less than
    /// [`minimum_interval`](crate::Options::minimum_interval).
    pub interval: Option<Duration>,
}

/// A source's short name, for as long as it is followed or asked. Short names are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub(crate) u32);
