//! The scheduled import controller: looks at the sources of tags with `importPolicy.scheduled`, and imports what moved.
//!
//! Streams are listed and watched as the import controller does it. [`imagestream_follow`] decides when each source is
//! looked at, and how hard each host is asked; streams that follow one image with equal credentials cost one look. A
//! `look` is one `HEAD`; only if that finds something else than is recorded, manifests are read, once for all who
//! follow the source, and recorded as imports of the controllers' user. Nothing is written when nothing moved.

mod board;
mod bring;
mod clock;
pub(super) mod credentials;
mod fetch;
mod followed;
mod lists;
mod look;
mod metrics;
mod pushed;
mod report;
mod settled;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use imagestream_api::reference::ImageReference;
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::{ImageStream, Status};
use imagestream_apiserver::endpoint::WatchEvent;
use imagestream_apiserver::errors;
use imagestream_apiserver::metadata::text;
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use imagestream_apiserver::storage::failed;
use imagestream_follow::{HostBudget, Options, SourceId};
use imagestream_registry::sources::{PullBy, RegistryRules};
use tokio::sync::mpsc;
use tokio::task::{JoinError, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

pub(crate) use self::board::Board;
pub(crate) use self::metrics::FollowMetrics;
pub(crate) use self::report::StatusEndpoint;
pub(super) use self::turns::HostTurns;

use self::board::{Begun, Done, Next, SourceKey};
use self::bring::followed_of;
use self::credentials::NamespaceCredentials;
use self::followed::{Name, followed};
use self::lists::Lists;
use self::look::{Look, Looked};
use self::settled::{FailureKind, Settled};
use super::Shared;
use super::heard::{BATCH, Event, PAUSE, both};
use super::workers::Workers;
use crate::context::Context;
use crate::image::policy;
use crate::image::stream_secrets::is_pull_secret;
use crate::image::stream_write::{SCHEDULED, key_of, mentioning, readable};

/// Most looks at once: more than many hosts need that don't answer.
const AT_ONCE: usize = 2_048;
/// Time between two readings of the cluster's registry configuration.
const REFRESH: Duration = Duration::from_secs(2);
/// Time between two looks whether more is kept than is needed.
const TIDYING: Duration = Duration::from_secs(15);
/// Namespaces whose credentials may be remembered though nothing is followed in them.
const SPARE_NAMESPACES: usize = 1_024;

/// Follows what streams want to have followed, for as long as it is polled.
///
/// # Errors
/// Those of the store.
pub(super) async fn run(shared: Arc<Shared>) -> Result<(), Box<Status>> {
    if !shared.settings.scheduled.enabled {
        return std::future::pending().await;
    }
    let (mut controller, mut pokes) = Scheduled::begin(shared).await?;
    loop {
        let events = controller.list().await?;
        controller.follow(events, &mut pokes).await?;
        sleep(PAUSE).await;
    }
}

/// A look that goes on.
struct Doing {
    id: SourceId,
    key: SourceKey,
    host: String,
    done: Done,
    /// What was remembered of the source when it began.
    settled: Settled,
}

/// Why the controller lists again.
enum Interrupted {
    WatchLost,
    RulesChanged,
}

struct Scheduled {
    shared: Arc<Shared>,
    /// What is on the board; gone from there when the controller ends.
    place: board::Place,
    credentials: NamespaceCredentials,
    registry_rules: Arc<RegistryRules>,
    looks: Workers<Doing, Looked>,
}

impl Scheduled {
    /// Takes its place on the board; what is said to have been pushed is heard from then on.
    async fn begin(shared: Arc<Shared>) -> Result<(Self, mpsc::Receiver<Name>), Box<Status>> {
        let settings = &shared.settings.scheduled;
        let context = &shared.context;
        let default = Options::default();
        let lists = Lists::load(&context.store, context.engine.platform()).await;
        let (place, pokes) = shared.board.begin(
            lists.map_err(failed)?,
            Options {
                interval: settings.interval,
                minimum_interval: settings.minimum_interval,
                host: HostBudget {
                    checks_per_minute: settings.checks_per_minute_per_host,
                    ..default.host
                },
                ..default
            },
        );
        let controller = Self {
            credentials: NamespaceCredentials::new(context),
            registry_rules: Arc::new(policy::rules(context).await?),
            looks: Workers::new(&shared.acting),
            place,
            shared,
        };
        Ok((controller, pokes))
    }

    fn context(&self) -> &Context {
        &self.shared.context
    }

    /// Reads all streams; returns what happens to them, and to secrets, from then on.
    async fn list(&mut self) -> Result<impl StreamExt<Item = Event> + Unpin + use<>, Box<Status>> {
        let secrets = self
            .context()
            .secrets
            .watch("", ListOptions::changes_from_now())
            .await?;
        self.credentials.forget_all();
        let streams = Arc::clone(&self.context().streams);
        let all = (LabelSelector::default(), FieldSelector::default());
        let (found, revision) = streams.all("", &all.0, &all.1).await?;
        let mut gone = self.place.lock().streams.clone();
        for (position, encoded) in found.into_iter().enumerate() {
            if let Some(stream) = readable(mentioning(encoded.into(), &[SCHEDULED])) {
                gone.remove(&StreamKey::of(&stream));
                self.see(&stream).await?;
            }
            if position % BATCH == BATCH - 1 {
                yield_now().await;
            }
        }
        for key in gone {
            self.place.lock().forget(&key);
        }
        let lists = self.place.lock().take_lists();
        let deleted = lists.delete_unused(&self.context().store).await;
        deleted.map_err(failed)?;
        let streams = streams.watch("", ListOptions::changes_after(revision)).await?;
        Ok(both(streams, secrets))
    }

    /// Looks at what is due and listens, until everything has to be listed again.
    async fn follow(
        &mut self,
        mut events: impl StreamExt<Item = Event> + Unpin,
        pokes: &mut mpsc::Receiver<Name>,
    ) -> Result<(), Box<Status>> {
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tidying = interval(TIDYING);
        tidying.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = self.begin_looks().await?;
            tokio::select! {
                event = events.next() => {
                    let interrupted = match event {
                        None | Some(Event::Over) => Some(Interrupted::WatchLost),
                        Some(event) => self.hear(event).await?,
                    };
                    if let Some(Interrupted::WatchLost) = interrupted {
                        return Ok(());
                    }
                }
                (doing, looked) = self.looks.ended() => self.ended(doing, looked),
                Some(name) = pokes.recv() => {
                    if let Some(reference) = name.reference() {
                        let host = host(&reference, &self.registry_rules);
                        self.place.lock().poke(&host, &name);
                    }
                }
                _ = tidying.tick() => self.tidy(),
                _ = refresh.tick() => {
                    if let Some(Interrupted::RulesChanged) = self.refresh().await? {
                        return Ok(());
                    }
                }
                () = wait_until(next) => {}
            }
        }
    }

    /// Begins all looks that are due; when there may be more.
    async fn begin_looks(&mut self) -> Result<Option<Instant>, Box<Status>> {
        while self.looks.count() < AT_ONCE {
            let next = self.place.lock().next();
            match next {
                Next::Look(begun) => self.begin_look(*begun).await?,
                Next::Wait(time) => return Ok(time.map(|time| Instant::now() + time)),
            }
        }
        // The end of one makes room for others.
        Ok(None)
    }

    async fn begin_look(&mut self, begun: Begun) -> Result<(), Box<Status>> {
        let Begun {
            id,
            key,
            host,
            settled,
            work,
            namespace,
        } = begun;
        let Some(reference) = key.name.reference() else {
            // It was made of a reference.
            return Err(errors::internal_error(format!("{:?} is no reference", key.name)).into());
        };
        let credentials = self.credentials.of(&self.shared.context, &namespace).await?;
        let look = Look {
            shared: Arc::clone(&self.shared),
            reference,
            name: key.name.clone(),
            insecure: key.insecure,
            credentials,
            rules: Arc::clone(&self.registry_rules),
            settled,
        };
        let doing = Doing {
            id,
            key,
            host,
            done: Done::of(&work),
            settled,
        };
        let state = self.place.handle();
        self.looks.begin(doing, async move {
            let followers = || state.lock().followers(id);
            Box::pin(look.work(work, followers)).await
        });
        Ok(())
    }

    /// A look has ended.
    fn ended(&self, doing: Doing, looked: Result<Looked, JoinError>) {
        let Doing {
            id,
            key,
            host,
            done,
            settled,
        } = doing;
        let looked = looked.unwrap_or_else(|error| {
            // A mistake that only this source leads to must not keep the others from being followed, nor have it forgotten
            // which hosts want to be left alone.
            tracing::error!(%error, "a look at a source ended by a mistake");
            Looked::by_mistake(settled)
        });
        self.place.lock().ended(id, &key, &host, done, looked);
    }

    /// Learns of a change.
    async fn hear(&mut self, event: Event) -> Result<Option<Interrupted>, Box<Status>> {
        match event {
            Event::Stream(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                if let Some(stream) = readable(mentioning(object, &[SCHEDULED])) {
                    self.see(&stream).await?;
                }
            }
            Event::Stream(WatchEvent::Deleted(object)) => {
                let object = object.into_value()?;
                let key = key_of(&object);
                self.place.lock().forget(&key);
            }
            Event::Secret(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                let secret = object.into_value()?;
                self.secrets_changed(text(&secret, "namespace"), is_pull_secret(&secret))
                    .await?;
            }
            Event::Secret(WatchEvent::Deleted(object)) => {
                let secret = object.into_value()?;
                self.secrets_changed(text(&secret, "namespace"), false).await?;
            }
            Event::Stream(WatchEvent::Bookmark(_)) | Event::Secret(WatchEvent::Bookmark(_)) | Event::Over => {
            }
            Event::Stream(WatchEvent::Error(status)) | Event::Secret(WatchEvent::Error(status)) => {
                tracing::warn!(
                    message = status.message,
                    "the scheduled import controller lost its watch"
                );
                return Ok(Some(Interrupted::WatchLost));
            }
        }
        Ok(None)
    }

    /// Follows what a stream wants to have followed.
    async fn see(&mut self, stream: &ImageStream) -> Result<(), Box<Status>> {
        let key = StreamKey::of(stream);
        let tags = followed_of(self.context(), stream).await;
        if tags.is_empty() {
            self.place.lock().forget(&key);
            return Ok(());
        }
        let credentials = self.credentials.of(&self.shared.context, &key.namespace).await?;
        let rules = &self.registry_rules;
        let tags: Vec<_> = tags
            .into_iter()
            .map(|tag| {
                let fingerprint = self.credentials.fingerprint(&credentials, &tag.reference, rules);
                (tag, fingerprint)
            })
            .collect();
        self.place
            .lock()
            .set(&key, &tags, |tag| host(&tag.reference, rules));
        Ok(())
    }

    /// Streams of a namespace may share other sources than before. If one `may_let_in`, what was refused is looked at soon.
    async fn secrets_changed(&mut self, namespace: &str, may_let_in: bool) -> Result<(), Box<Status>> {
        if !self.credentials.forget(namespace) {
            return Ok(());
        }
        let all = (LabelSelector::default(), FieldSelector::default());
        let (found, _) = self.context().streams.all(namespace, &all.0, &all.1).await?;
        for encoded in found {
            if let Some(stream) = readable(mentioning(encoded.into(), &[SCHEDULED])) {
                self.see(&stream).await?;
                if may_let_in {
                    self.look_at_refused(&stream);
                }
            }
        }
        Ok(())
    }

    /// Has the tags of a stream looked at soon that nobody was let in to.
    fn look_at_refused(&self, stream: &ImageStream) {
        let (mode, own) = (self.context().import_mode, self.context().engine.platform());
        let tags = followed(stream, mode, own).into_iter();
        for tag in tags.filter(|tag| tag.recorded.says(FailureKind::Unauthorized)) {
            let host = host(&tag.reference, &self.registry_rules);
            self.place.lock().poke(&host, &tag.name);
        }
    }

    /// Drops what is kept for hosts and namespaces that are gone.
    fn tidy(&mut self) {
        let mut state = self.place.lock();
        state.tidy();
        let streams = state.streams.len();
        drop(state);
        if self.credentials.count() > streams + SPARE_NAMESPACES {
            self.credentials.forget_all();
        }
    }

    /// Looks whether the administrator changed something.
    async fn refresh(&mut self) -> Result<Option<Interrupted>, Box<Status>> {
        let rules = policy::rules(self.context()).await?;
        if rules == *self.registry_rules {
            return Ok(None);
        }
        self.registry_rules = Arc::new(rules);
        Ok(Some(Interrupted::RulesChanged))
    }
}

/// Where an image is asked for, in this order.
fn candidates(reference: &ImageReference, rules: &RegistryRules) -> Vec<ImageReference> {
    let by = match reference.id.is_empty() {
        true => PullBy::Tag,
        false => PullBy::Digest,
    };
    rules.pull_sources(reference, by).candidates
}

/// The host that is asked first for an image.
fn host(reference: &ImageReference, rules: &RegistryRules) -> String {
    candidates(reference, rules)
        .first()
        .unwrap_or(reference)
        .contacted_host()
        .to_owned()
}

async fn wait_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
