//! What controllers hear of that follow streams and the secrets that these are imported with.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::{once, select};
use imagestream_apiserver::endpoint::{WatchEvent, WatchEvents};

/// Pause before streams are listed again after a watch was lost.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// Streams of a list that are looked at without letting others do something.
pub(super) const BATCH: usize = 64;

/// What happened.
pub(super) enum Event {
    Stream(WatchEvent),
    Secret(WatchEvent),
    /// One of both watches ends.
    Over,
}

/// Both watches as one.
pub(super) fn both(streams: WatchEvents, secrets: WatchEvents) -> impl StreamExt<Item = Event> + Unpin {
    let over = || once(async { Event::Over }).boxed();
    let streams = streams.map(Event::Stream).chain(over());
    let secrets = secrets.map(Event::Secret).chain(over());
    select(streams, secrets)
}
