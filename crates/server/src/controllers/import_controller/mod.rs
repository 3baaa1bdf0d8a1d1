//! The import controller: what a stream wants and does not have is imported, as if a client had asked for it.
//!
//! It follows what is stored and not what happened: it lists all streams, then watches them, and lists again if it lost
//! the watch. A tag whose generation no import has dealt with is imported once the stream has been left alone for a
//! while. What failed is tried again, ever more rarely, for as long as it is wanted: what is wrong and since when stands
//! in the stream (conditions of tags, a [note](crate::image::repository_note) of the repository), how often it was tried
//! only in memory. A try that fails as the one before writes nothing.

mod backoff;
mod queue;
mod request;
mod wanted;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::StreamExt;
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::{ImageStream, ImageStreamImport};
use imagestream_apiserver::endpoint::WatchEvent;
use imagestream_apiserver::errors;
use imagestream_apiserver::metadata::text;
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until};

use self::backoff::Delays;
use self::queue::{News, Pace, Queue};
use self::request::request;
use self::wanted::Source;
use super::heard::{BATCH, Event, PAUSE, both};
use super::{Origin, Shared};
use crate::context::Context;
use crate::core::namespaces::is_terminating;
use crate::image::stream_write::typed;

/// Most streams that are imported at once.
const WORKERS: usize = 50;
/// Most of them that ask one host: one that never answers must not keep the others waiting.
const WORKERS_OF_A_HOST: usize = 25;

/// Imports what streams want, for as long as it is polled.
///
/// # Errors
/// Those of the store.
pub(super) async fn run(shared: Arc<Shared>) -> Result<(), Box<Status>> {
    run_with(shared, Delays::default()).await
}

async fn run_with(shared: Arc<Shared>, delays: Delays) -> Result<(), Box<Status>> {
    let scheduled = &shared.settings.scheduled;
    let pace = Pace {
        quiet_period: shared.settings.quiet_period,
        delays,
        schedule: scheduled.enabled.then_some(scheduled.interval),
    };
    let mut controller = ImportController {
        queue: Queue::new(pace),
        workers: JoinSet::new(),
        hosts: HashMap::new(),
        shared,
    };
    loop {
        let events = controller.list().await?;
        controller.follow(events).await?;
        sleep(PAUSE).await;
    }
}

/// An import that has ended.
struct Ended {
    key: StreamKey,
    /// Which hosts were asked.
    hosts: BTreeSet<String>,
    outcome: Result<ImageStreamImport, Box<Status>>,
}

struct ImportController {
    shared: Arc<Shared>,
    queue: Queue,
    workers: JoinSet<Ended>,
    /// How many of them ask each host.
    hosts: HashMap<String, usize>,
}

impl ImportController {
    fn context(&self) -> &Context {
        &self.shared.context
    }

    /// Looks at all streams; returns what happens to them, and to secrets, from then on.
    async fn list(&mut self) -> Result<impl StreamExt<Item = Event> + Unpin + use<>, Box<Status>> {
        let streams = Arc::clone(&self.context().streams);
        let (found, revision) = streams
            .all("", &LabelSelector::default(), &FieldSelector::default())
            .await?;
        let mut are_there = BTreeSet::new();
        for (position, encoded) in found.iter().enumerate() {
            if let Some(stream) = readable(encoded.to_value()) {
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
        let secrets = self
            .context()
            .secrets
            .watch("", ListOptions::changes_from_now())
            .await?;
        Ok(both(streams, secrets))
    }

    /// Imports what is due and listens, until the watch is lost.
    async fn follow(&mut self, mut events: impl StreamExt<Item = Event> + Unpin) -> Result<(), Box<Status>> {
        loop {
            while self.workers.len() < WORKERS
                && let Some(key) = self.queue.start(Instant::now())
            {
                self.import(key);
            }
            let next_due = self.queue.next_due().filter(|_| self.workers.len() < WORKERS);
            tokio::select! {
                event = events.next() => match event {
                    None | Some(Event::Over) => return Ok(()),
                    Some(event) => {
                        if let Some(lost) = self.hear(event) {
                            tracing::warn!(message = lost.message, "the import controller lost its watch");
                            return Ok(());
                        }
                    }
                },
                Some(ended) = self.workers.join_next(), if !self.workers.is_empty() => match ended {
                    Ok(ended) => self.ended(&ended),
                    Err(error) => return Err(errors::internal_error(error).into()),
                },
                () = sleep_until(next_due.unwrap_or_else(Instant::now)), if next_due.is_some() => {}
            }
        }
    }

    /// Learns of a change. Why the watch is over, if it is.
    fn hear(&mut self, event: Event) -> Option<Box<Status>> {
        let now = Instant::now();
        match event {
            Event::Stream(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                if let Some(stream) = readable(object.into_value()) {
                    self.queue
                        .see(&StreamKey::of(&stream), &stream, News::Written, now);
                }
            }
            Event::Stream(WatchEvent::Deleted(object)) => {
                if let Some(stream) = readable(object.into_value()) {
                    self.queue.forget(&StreamKey::of(&stream));
                }
            }
            Event::Secret(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                // One that can't be read lets nobody in.
                let namespace = object.into_value().unwrap_or_default();
                for key in self.queue.secrets_changed(text(&namespace, "namespace"), now) {
                    self.see_again(&key);
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

    /// Begins to import a stream that is due.
    fn import(&mut self, key: StreamKey) {
        let now = Instant::now();
        let no_wait = |_: &str| None;
        let found = self.read(&key);
        let Some(stream) = found.filter(|_| self.is_alive(&key.namespace)) else {
            self.queue.ended(&key, None, no_wait, now);
            self.queue.forget(&key);
            return;
        };
        if !self.queue.is_current(&key, &stream) {
            // Somebody has just written it, which means that it is not quiet.
            self.queue.ended(&key, None, no_wait, now);
            self.queue.see(&key, &stream, News::Written, now);
            return;
        }
        let wants = self.queue.wants(&stream);
        let sources = self.queue.choose(&key, &wants, now);
        let is_full = wants.is_full && sources.contains(&Source::Repository);
        let Some(import) = request(&stream, &sources, is_full) else {
            self.queue.ended(&key, None, no_wait, now);
            self.queue.see(&key, &stream, News::Again, now);
            return;
        };
        let of_sources = sources.iter().filter_map(|source| wants.sources.get(source));
        let hosts: BTreeSet<String> = of_sources.map(|wanted| wanted.host.clone()).collect();
        let is_busy = |host: &String| {
            self.hosts
                .get(host)
                .is_some_and(|busy| *busy >= WORKERS_OF_A_HOST)
        };
        if hosts.iter().any(is_busy) {
            self.queue.postpone(&key, now);
            self.queue.see(&key, &stream, News::Again, now);
            return;
        }
        for host in &hosts {
            *self.hosts.entry(host.clone()).or_default() += 1;
        }
        let StreamKey { namespace, name } = &key;
        tracing::info!(%namespace, %name, partial = !is_full, sources = sources.len(), "importing a stream");
        let shared = Arc::clone(&self.shared);
        self.workers.spawn(async move {
            let mut outcome = shared.importer.import(import, Origin::Wanted).await;
            // What was written must be in memory before it is decided what is left to do.
            if let Err(status) = shared.context.streams.ready().await {
                outcome = Err(status);
            }
            Ended { key, hosts, outcome }
        });
    }

    /// Learns how an import went.
    fn ended(&mut self, ended: &Ended) {
        let Ended { key, hosts, outcome } = ended;
        for host in hosts {
            if let Some(busy) = self.hosts.get_mut(host) {
                *busy -= 1;
                if *busy == 0 {
                    self.hosts.remove(host);
                }
            }
        }
        if let Err(status) = outcome {
            let StreamKey { namespace, name } = key;
            let why = status.message.as_deref().unwrap_or_default();
            tracing::warn!(%namespace, %name, why, "could not import a stream");
        }
        let now = Instant::now();
        let client = self.shared.context.engine.client();
        let asked_to_wait = |host: &str| {
            let said = client.feedback(host);
            said.get.retry_after.max(said.head.retry_after)
        };
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
        readable(object.transpose()?)
    }

    /// Whether a namespace is to stay. What is in one that is going away needs nothing any more.
    fn is_alive(&self, namespace: &str) -> bool {
        let found = self.context().namespaces.in_memory("", namespace);
        matches!(found, Ok(Some(found)) if !is_terminating(&found.object))
    }
}

/// A stream that was read. One that can't be read must not keep others from being imported.
fn readable(object: Result<Value, Box<Status>>) -> Option<ImageStream> {
    match object.and_then(typed) {
        Ok(stream) => Some(stream),
        Err(status) => {
            tracing::error!(message = status.message, "a stored stream can't be read");
            None
        }
    }
}

#[cfg(test)]
mod tests;
