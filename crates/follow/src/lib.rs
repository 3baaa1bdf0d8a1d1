//! When which registry is asked whether something moved.
//!
//! Streams follow *sources*: a tag in a registry, or the tags of a repository. A [`Scheduler`] knows who follows what and
//! says which source is due. It does no I/O and has no clock: whoever uses it tells it the time, does what it says, and
//! tells it how that went.
//!
//! ```text
//! set_stream, remove_stream          what is followed
//! poll     -> Ask(source)            ask it with one request, then `asked`
//!          -> Fetch(source)          it has moved: import it, then `fetched`
//!          -> Tell(source)           its host does not answer: say so to who follows it, then `told`
//!          -> Wait(until)            nothing to do before then, unless something else is called
//! sent                               what was asked or imported took more than one request
//! poke                               somebody says that something was pushed
//! visit, visited                    requests that belong to no source: the pages of lists
//! host_reports, stream_report        how it goes
//! ```
//!
//! # Rules
//!
//! - Streams that follow one source with the same credential cost one request.
//! - A source is due once in its interval, at a moment in it that depends on its name alone. So the requests are spread
//!   evenly, and a scheduler that begins anew delays nobody by more than an interval.
//! - Each host has a budget of requests, those of checks, fetches and visits together, and its own queues. What one host
//!   makes us wait for delays no other.
//! - A host that refuses is left alone for as long as it says. One that can't be reached is asked with one request at a
//!   time, ever more rarely, until it answers. Those who follow what becomes due meanwhile are told; it is asked
//!   within the budget as soon as the host answers.
//! - Many registries count fetches but not checks. What a host tells of its quota decides when fetches begin; until
//!   then they wait, and one that waits stands for all moves of its source.
//! - A poke brings the next check of a source forward, and does no more than that.

mod host;
mod options;
mod quota;
mod report;
mod scheduler;
mod source;
mod table;
mod time;

pub use options::{HostBudget, Options};
pub use quota::{Feedback, Quota};
pub use report::{HostReport, Last, TagReport, Throttled, Why};
pub use scheduler::{Asked, Failure, Fetched, Poll, Scheduler, Visit};
pub use source::{Followed, Source, SourceId, What};
pub use time::Millis;
