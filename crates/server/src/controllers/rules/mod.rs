//! The rules controller: follows the rules by which streams want the tags of repositories.
//!
//! Streams are listed and watched as the import controller does it. `schedule` decides when each repository is listed: at
//! once for a rule that is new or changed, when something was pushed to it, and else once in the interval of its rules.
//! `list` lists it within the budget of its host, for all rules at once, and `apply` edits the streams; the import
//! controller imports the tags that are new.

mod apply;
mod list;
mod report;
mod schedule;
mod work;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use imagestream_api::follow_rules::{PROBLEMS_ANNOTATION, RULES_ANNOTATION};
use imagestream_api::reference::ImageReference;
use imagestream_api::stream::source::StreamKey;
use imagestream_apiserver::endpoint::{WatchEvent, WatchEvents};
use imagestream_apiserver::errors;
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio::sync::Notify;
use tokio::task::{JoinError, yield_now};
use tokio::time::{Instant, sleep, sleep_until};

use self::apply::tell;
use self::list::{Followed, Lister};
use self::schedule::{Done, Pace, Schedule, Seen};
use self::work::Work;
use super::Shared;
use super::heard::{BATCH, PAUSE};
use super::scheduled::HostTurns;
use super::scheduled::credentials::NamespaceCredentials;
use super::workers::Workers;
use crate::image::stream_write::{key_of, mentioning, readable};

pub(crate) use self::report::RuleBoard;

/// Streams without these need nothing here.
const MATTERS: [&str; 2] = [RULES_ANNOTATION, PROBLEMS_ANNOTATION];
/// Most repositories that are listed at once: more than some hosts take up that never answer.
const WORKERS: usize = 200;
/// Most repositories that wait for the controller to hear that something was pushed to them; others wait in the store.
const MAX_POKES: usize = 10_000;

/// Repositories that something was pushed to.
#[derive(Default)]
pub(crate) struct Pokes {
    repositories: Mutex<BTreeSet<String>>,
    wake: Notify,
}

impl Pokes {
    /// Something was pushed to the repository of this tag: rules that name it are followed soon. Whether that was heard;
    /// if not, too many wait, and it has to be told again.
    pub(crate) fn poke(&self, tag: &ImageReference) -> bool {
        let repository = schedule::repository(tag);
        let mut repositories = self.lock();
        if repositories.len() >= MAX_POKES && !repositories.contains(&repository) {
            return false;
        }
        repositories.insert(repository);
        self.wake.notify_one();
        true
    }

    /// Waits for some.
    async fn take(&self) -> BTreeSet<String> {
        loop {
            let taken = std::mem::take(&mut *self.lock());
            if !taken.is_empty() {
                return taken;
            }
            self.wake.notified().await;
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // A set of strings is never half-changed.
        self.repositories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the rules of streams for as long as it is polled.
///
/// # Errors
/// Those of the store.
pub(super) async fn run(shared: Arc<Shared>) -> Result<(), Box<Status>> {
    if !shared.settings.scheduled.enabled {
        return std::future::pending().await;
    }
    let mut controller = Rules::new(&shared);
    loop {
        let events = controller.list().await?;
        controller.follow(events).await?;
        sleep(PAUSE).await;
    }
}

/// What came of work.
type Outcome = Result<Followed, Box<Status>>;

struct Rules<'a> {
    shared: Arc<Shared>,
    /// What is on the board; gone from there when the controller ends.
    place: report::Place<'a>,
    workers: Workers<Work, Outcome>,
    /// Tells whose credentials are equal.
    credentials: Arc<NamespaceCredentials>,
}

impl<'a> Rules<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        let settings = &shared.settings.scheduled;
        let pace = Pace {
            interval: settings.interval,
            minimum_interval: settings.minimum_interval,
        };
        Self {
            place: shared.board.rules.begin(Schedule::new(pace)),
            workers: Workers::new(&shared.acting),
            credentials: Arc::new(NamespaceCredentials::new(&shared.context)),
            shared: Arc::clone(shared),
        }
    }

    /// Looks at all streams; returns what happens to them from then on.
    async fn list(&mut self) -> Result<WatchEvents, Box<Status>> {
        let streams = Arc::clone(&self.shared.context.streams);
        let (found, revision) = streams
            .all("", &LabelSelector::default(), &FieldSelector::default())
            .await?;
        let mut are_there = BTreeSet::new();
        for (position, encoded) in found.into_iter().enumerate() {
            if let Some(stream) = readable(mentioning(encoded.into(), &MATTERS)) {
                let key = StreamKey::of(&stream);
                self.place.lock().see(&key, &stream, Seen::Listed, Instant::now());
                are_there.insert(key);
            }
            if position % BATCH == BATCH - 1 {
                yield_now().await;
            }
        }
        self.place.lock().retain(&are_there, Instant::now());
        streams.watch("", ListOptions::changes_after(revision)).await
    }

    /// Follows what is due and listens, until the watch is lost.
    async fn follow(&mut self, mut events: WatchEvents) -> Result<(), Box<Status>> {
        let shared = Arc::clone(&self.shared);
        loop {
            while self.workers.count() < WORKERS
                && let Some(work) = self.start()
            {
                self.begin(work);
            }
            let next = self.place.lock().next_due();
            let next = next.filter(|_| self.workers.count() < WORKERS);
            tokio::select! {
                event = events.next() => match event {
                    Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                        if let Some(stream) = readable(mentioning(object, &MATTERS)) {
                            let key = StreamKey::of(&stream);
                            self.place
                                .lock()
                                .see(&key, &stream, Seen::Changed, Instant::now());
                        }
                    }
                    Some(WatchEvent::Deleted(object)) => {
                        let object = object.into_value()?;
                        self.place.lock().forget(&key_of(&object), Instant::now());
                    }
                    Some(WatchEvent::Bookmark(_)) => {}
                    Some(WatchEvent::Error(status)) => {
                        tracing::warn!(message = status.message, "the rules controller lost its watch");
                        return Ok(());
                    }
                    None => return Ok(()),
                },
                (work, outcome) = self.workers.ended() => self.end(&work, outcome),
                repositories = shared.rule_pokes.take() => {
                    for repository in repositories {
                        self.place.lock().poke(&repository, Instant::now());
                    }
                }
                () = wait_until(next) => {}
            }
        }
    }

    fn start(&self) -> Option<Work> {
        self.place.lock().start(Instant::now())
    }

    fn begin(&mut self, work: Work) {
        let shared = Arc::clone(&self.shared);
        let credentials = Arc::clone(&self.credentials);
        let to_do = work.clone();
        self.workers.begin(work, async move {
            let context = &shared.context;
            match &to_do {
                Work::List(repository, followers) => {
                    let lister = Lister {
                        context,
                        turns: &HostTurns::new(&shared.board),
                        credentials: &credentials,
                    };
                    Box::pin(lister.follow(repository, followers)).await
                }
                Work::Tell(key, _) => tell(context, key).await.map(|_| Followed::default()),
            }
        });
    }

    /// Work ended. A mistake that only these rules lead to does not keep the others from being followed.
    fn end(&self, work: &Work, outcome: Result<Outcome, JoinError>) {
        let outcome = outcome.unwrap_or_else(|error| Err(errors::internal_error(error).into()));
        let done = match &outcome {
            Ok(followed) => {
                if let Work::List(repository, _) = work {
                    tracing::debug!(?repository, ?followed, "followed the rules for a repository");
                }
                match followed.left_alone {
                    Some(until) => Done::LeftAlone(until),
                    None if followed.left_behind > 0 => Done::Partly,
                    None => Done::Fully,
                }
            }
            Err(status) => {
                tracing::warn!(message = status.message, "could not follow rules");
                Done::Partly
            }
        };
        self.place.lock().ended(work, done, Instant::now());
    }
}

async fn wait_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use imagestream_testkit::content::Content;
    use imagestream_testkit::registry::TestRegistry;
    use serde_json::json;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::controllers::ImportMetrics;
    use crate::image::testing::TestServer;
    use crate::settings::{ControllerSettings, ScheduledSettings};

    /// Longest wait for what must happen.
    const PATIENCE: Duration = Duration::from_secs(120);

    #[tokio::test]
    async fn a_list_that_panics_is_made_again_and_disturbs_no_other() {
        #![allow(clippy::panic, reason = "a list that panics is what is tested")]
        let registry = TestRegistry::start(Content::new().dangling_tag("a/b", "1"));
        let server = TestServer::start().await;
        let rules = format!(
            "[{{name: r, repository: {}/a/b, match: {{glob: '*'}}, importPolicy: {{insecure: true}}}}]",
            registry.host()
        );
        let stream = json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
            "metadata": {"name": "s", "annotations": {RULES_ANNOTATION: rules}}});
        server.post("admin", "imagestreams", &stream, 201).await;
        let settings = ControllerSettings {
            scheduled: ScheduledSettings {
                // What was not done is tried again then, if that is sooner than after a pause.
                interval: Duration::from_millis(200),
                minimum_interval: Duration::from_millis(1),
                ..ScheduledSettings::default()
            },
            ..ControllerSettings::default()
        };
        let metrics = ImportMetrics::register(&prometheus::Registry::new()).unwrap();
        let shared = Shared::new(&server.context, &settings, metrics, &Arc::default()).unwrap();
        let schedule =
            AbortOnDropHandle::new(tokio::spawn(super::super::scheduled::run(Arc::clone(&shared))));
        let mut controller = Rules::new(&shared);
        let events = controller.list().await.unwrap();
        let work = controller.start().unwrap();
        controller.workers.begin(work, async { panic!("a mistake") });
        let followed = async {
            loop {
                let (_, stream) = server.get("imagestreams/s").await;
                if stream["spec"]["tags"][0]["name"] == "1" {
                    break;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            ended = controller.follow(events) => panic!("it ends: {ended:?}"),
            followed = tokio::time::timeout(PATIENCE, followed) => followed.unwrap(),
        }
        drop(schedule);
    }

    #[tokio::test]
    async fn pushes_that_are_too_many_have_to_be_told_again() {
        let pokes = Pokes::default();
        let tag = |number: usize| ImageReference::parse(&format!("q.test/a{number}:1")).unwrap();
        assert!((0..MAX_POKES).all(|number| pokes.poke(&tag(number))));
        assert!(!pokes.poke(&tag(MAX_POKES)));
        assert!(pokes.poke(&tag(0)), "it waits already");
        assert_eq!(pokes.take().await.len(), MAX_POKES);
        assert!(pokes.poke(&tag(MAX_POKES)));
    }
}
