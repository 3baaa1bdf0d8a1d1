//! When is which registry asked whether a followed tag moved?
//!
//! A [`Scheduler`] knows what every stream follows and answers one question: [`poll`](Scheduler::poll), what is to
//! be done now. It does no I/O and has no clock: every method is told the time. Whoever drives it asks registries and
//! reports back:
//!
//! ```text
//! Scheduler::new(Options) -> Scheduler
//!
//! // What is followed. Equal calls change nothing.
//! set_stream(&mut self, stream: &str, tags: impl IntoIterator<Item = Followed<'_>>, now: Millis)
//! remove_stream(&mut self, stream: &str, now: Millis)
//!
//! // What to do now. Every Check and Fetch handed out must be reported once, whatever became of it.
//! poll(&mut self, now: Millis) -> Poll<'_>       // Check(Task), Fetch(Task) or Wait(Option<Millis>)
//! finished(&mut self, source: SourceId, now: Millis, outcome: Outcome, feedback: Feedback)
//! fetch_finished(&mut self, source: SourceId, now: Millis, result: Result<(), FailureKind>,
//!                gets: u32, feedback: Feedback)
//!
//! // Manifests that others GET from the host (imports of clients) count too.
//! may_fetch(&self, registry: &str, now: Millis) -> MayFetch                  // Allowed or At(Millis)
//! fetched(&mut self, registry: &str, now: Millis, gets: u32, feedback: Feedback)
//!
//! // A registry says that something was pushed. How many sources that concerns.
//! poke(&mut self, registry: &str, repository: &str, tag: Option<&str>, now: Millis) -> usize
//!
//! // Seen from outside.
//! next_due(&self, source: SourceRef<'_>, interval: Option<Duration>, now: Millis) -> Millis
//! hosts(&self, after: Option<&str>, limit: usize, now: Millis) -> Vec<HostStatus>
//! streams(&self, after: Option<&str>, limit: usize) -> impl Iterator<Item = &str>
//! stream(&self, name: &str) -> Option<impl Iterator<Item = TagStatus<'_>>>
//! totals(&self) -> Totals
//! ```
//!
//! # Rules
//!
//! - **One source, one request.** Tags of any number of streams that come from the same registry, repository and tag
//!   with equal credentials are one [source](SourceRef) and cost one check.
//! - **Spread.** A source's place in its interval is a stable hash of it, on absolute time: nothing bunches after a
//!   start, and a restart delays nothing by more than an interval. A check that came late (or early, after a push) is
//!   followed by the next one after 0.9 to 1.1 intervals, so that the source moves back to its place.
//! - **Each host by itself.** A host has its own queue, pace ([`HostBudget`]), pauses and failures. Hosts take turns.
//! - **Never above the budget**: in no minute more checks than allowed, also after an outage.
//! - **Manifests are dear, checks are not.** A `HEAD` says whether a tag moved; only then is the manifest fetched, and
//!   that waits in a queue of its own for what the registry says is left of its limit. A source waits there once, however
//!   often it moves meanwhile.

mod options;
mod report;
mod source;
mod time;

pub use options::{HostBudget, Options};
pub use report::{FailureKind, Feedback, MayFetch, Outcome, RateLimit};
pub use source::{Followed, SourceId, SourceRef, What};
pub use time::Millis;
