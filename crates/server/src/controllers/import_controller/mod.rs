//! The import controller: what a stream wants and does not have is imported, as if a client had asked for it.
//!
//! It follows what is stored and not what happened: it lists all streams, then watches them, and lists again if it lost
//! the watch. A tag whose generation no import has dealt with is imported once the stream has been left alone for a
//! while. What failed is tried again, ever more rarely, for as long as it is wanted: what is wrong and since when stands
//! in the stream (conditions of tags, a [note](crate::image::repository_note) of the repository), how often it was tried
//! only in memory. A try that fails as the one before writes nothing.

mod answers;
mod backoff;
mod parked;
mod places;
mod queue;
mod request;
mod resting;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{once, select};
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::{ImageStream, ImageStreamImport};
use imagestream_apiserver::endpoint::WatchEvent;
use imagestream_apiserver::errors;
use imagestream_apiserver::metadata::text;
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio::task::{JoinError, yield_now};
use tokio::time::{Instant, sleep, sleep_until};

use self::answers::answers;
pub(super) use self::answers::is_refusal;
use self::backoff::Delays;
use self::parked::Obstacle;
use self::places::{PLACES, Places};
use self::queue::{News, Pace, Queue};
pub(super) use self::request::INSECURE;
use self::request::request;
use self::resting::Resting;
use self::wanted::{Source, Wanted, Wants};
pub(super) use self::wanted::{host, is_pending};
use super::Shared;
use super::heard::{BATCH, Event, PAUSE, both};
use super::workers::Workers;
use crate::context::Context;
use crate::core::namespaces::is_terminating;
use crate::image::stream_secrets::is_pull_secret;
use crate::image::stream_write::{readable, typed};

/// Imports what streams want, for as long as it is polled.
///
/// # Errors
/// Those of the store.
pub(super) async fn run(shared: Arc<Shared>) -> Result<(), Box<Status>> {
    run_with(shared, Delays::default()).await
}

async fn run_with(shared: Arc<Shared>, delays: Delays) -> Result<(), Box<Status>> {
    let mut controller = ImportController::new(shared, delays);
    loop {
        let events = controller.list().await?;
        controller.follow(events).await?;
        sleep(PAUSE).await;
        // Nobody tells what happened to secrets meanwhile.
        controller.queue.secrets_may_have_changed(Instant::now());
    }
}

/// What happened.
enum Heard {
    /// To a stream or a secret.
    Of(Event),
    /// To a namespace.
    Namespace(WatchEvent),
}

/// What came of an import.
type Outcome = Result<ImageStreamImport, Box<Status>>;

/// An import that goes on.
struct Begun {
    key: StreamKey,
    /// Which hosts are asked.
    hosts: BTreeSet<String>,
}

struct ImportController {
    shared: Arc<Shared>,
    queue: Queue,
    workers: Workers<Begun, Outcome>,
    /// What they take up at hosts.
    places: Places,
    /// Hosts that are left alone.
    resting: Resting,
}

/// What is known about a namespace.
enum Namespace {
    Alive,
    /// What is in it needs nothing any more.
    Ending,
    Unknown,
}

impl ImportController {
    fn new(shared: Arc<Shared>, delays: Delays) -> Self {
        let scheduled = &shared.settings.scheduled;
        let pace = Pace {
            quiet_period: shared.settings.quiet_period,
            delays,
            schedule: scheduled.enabled.then_some(scheduled.interval),
        };
        Self {
            queue: Queue::new(pace),
            workers: Workers::new(&shared.acting),
            places: Places::default(),
            resting: Resting::default(),
            shared,
        }
    }

    fn context(&self) -> &Context {
        &self.shared.context
    }

    /// Looks at all streams; returns what happens to them, and to secrets and namespaces, from then on.
    async fn list(&mut self) -> Result<impl StreamExt<Item = Heard> + Unpin + use<>, Box<Status>> {
        // First, so that none is missed that is written while streams are looked at.
        let secrets = self
            .context()
            .secrets
            .watch("", ListOptions::changes_from_now())
            .await?;
        let namespaces = self
            .context()
            .namespaces
            .watch("", ListOptions::changes_from_now())
            .await?;
        let streams = Arc::clone(&self.context().streams);
        let (found, revision) = streams
            .all("", &LabelSelector::default(), &FieldSelector::default())
            .await?;
        let mut are_there = BTreeSet::new();
        for (position, encoded) in found.iter().enumerate() {
            if let Some(stream) = readable(encoded.decode()) {
                let key = StreamKey::of(&stream);
                self.queue.see(&key, &stream, News::Listed, Instant::now());
                are_there.insert(key);
            }
            if position % BATCH == BATCH - 1 {
                yield_now().await;
            }
        }
        self.queue.retain(&are_there);
        let streams = streams.watch("", ListOptions::changes_after(revision)).await?;
        let over = once(async { Heard::Of(Event::Over) }).boxed();
        let namespaces = namespaces.map(Heard::Namespace).chain(over);
        Ok(select(both(streams, secrets).map(Heard::Of), namespaces))
    }

    /// Imports what is due and listens, until the watch is lost.
    async fn follow(&mut self, mut events: impl StreamExt<Item = Heard> + Unpin) -> Result<(), Box<Status>> {
        loop {
            while self.workers.count() < PLACES
                && let Some(key) = self
                    .queue
                    .start(Instant::now(), |host| self.places.has_place(host))
            {
                self.import(key);
            }
            let next_due = self.queue.next_due().filter(|_| self.workers.count() < PLACES);
            tokio::select! {
                event = events.next() => match event {
                    None | Some(Heard::Of(Event::Over)) => return Ok(()),
                    Some(heard) => {
                        let lost = match heard {
                            Heard::Of(event) => self.hear(event),
                            Heard::Namespace(event) => self.hear_of_namespace(event),
                        };
                        if let Some(lost) = lost {
                            tracing::warn!(message = lost.message, "the import controller lost its watch");
                            return Ok(());
                        }
                    }
                },
                (begun, outcome) = self.workers.ended() => self.ended(&begun, outcome),
                () = sleep_until(next_due.unwrap_or_else(Instant::now)), if next_due.is_some() => {}
            }
        }
    }

    /// Learns of a change. Why the watch is over, if it is.
    fn hear(&mut self, event: Event) -> Option<Box<Status>> {
        let now = Instant::now();
        match event {
            Event::Stream(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                if let Some(stream) = readable(object.decode()) {
                    self.queue
                        .see(&StreamKey::of(&stream), &stream, News::Written, now);
                }
            }
            Event::Stream(WatchEvent::Deleted(object)) => {
                if let Some(stream) = readable(object.decode()) {
                    self.queue.forget(&StreamKey::of(&stream));
                }
            }
            Event::Secret(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                // One that can't be read lets nobody in.
                let secret = object.into_value().unwrap_or_default();
                if is_pull_secret(&secret) {
                    self.resting.forget(text(&secret, "namespace"));
                    for key in self.queue.secrets_changed(text(&secret, "namespace"), now) {
                        self.see_again(&key);
                    }
                }
            }
            Event::Secret(WatchEvent::Deleted(_))
            | Event::Stream(WatchEvent::Bookmark(_))
            | Event::Secret(WatchEvent::Bookmark(_))
            | Event::Over => {}
            Event::Stream(WatchEvent::Error(status)) | Event::Secret(WatchEvent::Error(status)) => {
                return Some(status);
            }
        }
        None
    }

    /// Learns of a change of a namespace. Why the watch is over, if it is.
    fn hear_of_namespace(&mut self, event: WatchEvent) -> Option<Box<Status>> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                // Nothing can be done in one that can't be read.
                let namespace = object.into_value().unwrap_or_default();
                self.queue.namespace_is_known(text(&namespace, "name"));
            }
            // Its streams are gone before it is.
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Some(status),
        }
        None
    }

    /// Begins to import a stream that is due.
    fn import(&mut self, key: StreamKey) {
        let now = Instant::now();
        let no_wait = |_: &str| None;
        let Some(stream) = self.read(&key) else {
            self.queue.ended(&key, None, no_wait, now);
            self.queue.forget(&key);
            return;
        };
        match self.namespace(&key.namespace) {
            Namespace::Alive => {}
            Namespace::Ending => {
                self.queue.ended(&key, None, no_wait, now);
                self.queue.forget(&key);
                return;
            }
            Namespace::Unknown => {
                let namespace = key.namespace.clone();
                self.queue.park(&key, Obstacle::UnknownNamespace(namespace));
                return;
            }
        }
        if !self.queue.is_current(&key, &stream) {
            // Somebody has just written it, which means that it is not quiet.
            self.queue.ended(&key, None, no_wait, now);
            self.queue.see(&key, &stream, News::Written, now);
            return;
        }
        let wants = self.queue.wants(&stream);
        let mut sources = self.queue.choose(&key, &wants, now);
        let is_full = wants.is_full && sources.contains(&Source::Repository);
        if let Some(until) = self.leave_alone(&key.namespace, &wants, &mut sources, is_full, now) {
            self.queue.put_off(&key, until);
            return;
        }
        let Some(import) = request(&stream, &sources, is_full) else {
            self.queue.ended(&key, None, no_wait, now);
            self.queue.see(&key, &stream, News::Again, now);
            return;
        };
        let of_sources = sources.iter().filter_map(|source| wants.sources.get(source));
        let hosts: BTreeSet<String> = of_sources.map(|wanted| wanted.host.clone()).collect();
        if let Some(busy) = hosts.iter().find(|host| !self.places.has_place(host)) {
            self.queue.park(&key, Obstacle::BusyHost(busy.clone()));
            return;
        }
        let StreamKey { namespace, name } = &key;
        tracing::info!(%namespace, %name, partial = !is_full, sources = sources.len(), "importing a stream");
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let outcome = shared.importer.import(&stream, import).await;
            // What was written must be in memory before it is decided what is left to do.
            shared.context.streams.ready().await?;
            outcome
        };
        self.begin(Begun { key, hosts }, work);
    }

    /// Takes out the sources whose hosts want to be left alone. If that leaves nothing to be imported now: until when.
    fn leave_alone(
        &self,
        namespace: &str,
        wants: &Wants,
        sources: &mut BTreeSet<Source>,
        is_full: bool,
        now: Instant,
    ) -> Option<Instant> {
        let board = &self.shared.board;
        let rest = |source: &Source| {
            let Wanted {
                host, is_scheduled, ..
            } = wants.sources.get(source)?;
            // The schedule does not know by whose credentials a host is used up: only what it would read itself waits for it.
            let of_schedule = is_scheduled.then(|| board.reads_wait_until(host, now)).flatten();
            self.resting.until(host, namespace, now).max(of_schedule)
        };
        if is_full {
            // What is left of it would not be known to be wanted. A tag that is refused fails or waits as in any import.
            return rest(&Source::Repository);
        }
        let rests: Vec<(Source, Instant)> = sources
            .iter()
            .filter_map(|source| Some((source.clone(), rest(source)?)))
            .collect();
        let first = rests.iter().map(|(_, until)| *until).min();
        for (source, _) in &rests {
            sources.remove(source);
        }
        first.filter(|_| sources.is_empty())
    }

    /// Lets an import go on beside others.
    fn begin(&mut self, begun: Begun, work: impl Future<Output = Outcome> + Send + 'static) {
        self.places.take(&begun.hosts);
        self.workers.begin(begun, work);
    }

    /// Learns how an import went.
    fn ended(&mut self, begun: &Begun, outcome: Result<Outcome, JoinError>) {
        let Begun { key, hosts } = begun;
        let outcome = &outcome.unwrap_or_else(|error| Err(errors::internal_error(error).into()));
        let now = Instant::now();
        let client = self.shared.context.engine.client();
        let refuses = |host: &str| client.feedback(host).is_refusal();
        let asked_to_wait = |host: &str| client.feedback(host).retry_after();
        let answers = match outcome {
            Ok(import) => answers(import, refuses),
            Err(status) => {
                let StreamKey { namespace, name } = key;
                let why = status.message.as_deref().unwrap_or_default();
                tracing::warn!(%namespace, %name, why, "could not import a stream");
                BTreeMap::new()
            }
        };
        self.places.give_back(hosts, &answers);
        for (host, answer) in &answers {
            if answer.has_refused {
                self.resting
                    .refused(host, &key.namespace, asked_to_wait(host), now);
            } else if answer.has_answered {
                self.resting.answered(host, &key.namespace);
            }
        }
        self.queue.ended(key, Some(outcome), asked_to_wait, now);
        self.see_again(key);
    }

    fn see_again(&mut self, key: &StreamKey) {
        match self.read(key) {
            Some(stream) => self.queue.see(key, &stream, News::Again, Instant::now()),
            None => self.queue.forget(key),
        }
    }

    /// A stream as memory knows it.
    fn read(&self, key: &StreamKey) -> Option<ImageStream> {
        let stored = self.context().streams.in_memory(&key.namespace, &key.name);
        let object = stored.map(|stored| stored.map(|stored| stored.object));
        readable(object.transpose()?.and_then(typed))
    }

    /// A namespace as memory knows it.
    fn namespace(&self, namespace: &str) -> Namespace {
        match self.context().namespaces.in_memory("", namespace) {
            Ok(Some(found)) if is_terminating(&found.object) => Namespace::Ending,
            Ok(Some(_)) => Namespace::Alive,
            Ok(None) => Namespace::Unknown,
            Err(status) => {
                tracing::error!(
                    namespace,
                    message = status.message,
                    "a stored namespace can't be read"
                );
                Namespace::Unknown
            }
        }
    }
}

#[cfg(test)]
mod tests;
