//! What is followed.

use std::time::Duration;

/// What can move, and as whom it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source<'a> {
    /// The registry.
    pub host: &'a str,
    /// The repository in it.
    pub repository: &'a str,
    /// What of the repository.
    pub what: What<'a>,
    /// Tells credentials from each other without being one. Streams with the same one share a source.
    pub credential: u64,
    /// Whether the registry may be spoken to insecurely.
    pub insecure: bool,
}

/// What of a repository is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What<'a> {
    /// Where a tag points to.
    Tag(&'a str),
    /// Which tags there are.
    Tags,
}

/// A tag of a stream, and the source that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed<'a> {
    /// The name of the stream's tag; for [`What::Tags`] whatever tells rules from each other. Once in a stream.
    pub tag: &'a str,
    /// What it follows.
    pub source: Source<'a>,
    /// How often the source is to be asked; as often as all if absent. The most frequent of all who follow a source
    /// counts.
    pub interval: Option<Duration>,
}

/// A source that a [`Scheduler`](crate::Scheduler) knows. It stays the same for as long as somebody follows the source or
/// something is under way for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub(crate) u32);
