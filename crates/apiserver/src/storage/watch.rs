//! Watches: the [changes after a revision][1] to the objects that a client selects.
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, stream};
use imagestream_store::cache::{CacheError, CachedChange, Entry, Watcher};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{Encoded, Objects, Selected, complete, failed};
use crate::endpoint::{Object, WatchEvent, WatchEvents};
use crate::errors;
use crate::options::{ListOptions, resource_version};

/// Time between bookmarks.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// How long a watch that has reached its end waits for what was committed before; then it tells what is known.
const PATIENCE_AT_END: Duration = Duration::from_secs(5);
/// Shortest time after which a watch ends that did not say when; another as long is added at random, so that
/// clients do not come back all at once.
const LEAST_SECONDS: u64 = 1800;
/// How an initial list ends in a watch that asked for one.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

struct Feed {
    objects: Arc<Objects>,
    scope: String,
    options: ListOptions,
    position: Position,
    queue: VecDeque<WatchEvent>,
    end: Instant,
    next_bookmark: Instant,
    /// Up to which revision a watch still tells that has reached its end.
    last: Option<u64>,
    is_over: bool,
}

enum Position {
    /// The watch begins after this revision.
    After(u64),
    Following(Box<Watcher<Selected>>),
}

impl Objects {
    /// Changes to objects of a namespace (all: empty), from the state that the options name.
    ///
    /// # Errors
    /// 400 for a field that can't be selected, 500 for a malformed resource version.
    pub async fn watch(
        self: &Arc<Self>,
        namespace: &str,
        options: ListOptions,
    ) -> Result<WatchEvents, Box<Status>> {
        self.check_fields(&options)?;
        let asked = resource_version(&options.resource_version)?;
        let lists_first = options.send_initial_events.unwrap_or(asked == 0);
        let seconds = options.timeout_seconds.unwrap_or_else(|| {
            LEAST_SECONDS + u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * LEAST_SECONDS / 256
        });
        let now = Instant::now();
        let mut feed = Feed {
            objects: Arc::clone(self),
            scope: self.scope(namespace),
            position: Position::After(asked),
            queue: VecDeque::new(),
            end: now + Duration::from_secs(seconds.min(u64::from(u32::MAX))),
            next_bookmark: now + BOOKMARK_INTERVAL,
            last: None,
            is_over: false,
            options,
        };
        if lists_first {
            feed.begin_with_list(asked).await?;
        } else if asked == 0 {
            self.ready().await?;
            feed.position = Position::After(self.cache.list("\0").revision);
        }
        Ok(Box::pin(stream::unfold(feed, |mut feed| async move {
            feed.next().await.map(|event| (event, feed))
        })))
    }

    fn change(
        &self,
        change: &CachedChange<Selected>,
        revision: u64,
        options: &ListOptions,
    ) -> Option<Transition> {
        let is_selected = |entry: &Option<Arc<Entry<Selected>>>| {
            entry.clone().filter(|entry| {
                self.is_selected(&entry.metadata, &options.label_selector, &options.field_selector)
            })
        };
        match (is_selected(&change.previous), is_selected(&change.current)) {
            (None, None) => None,
            (None, Some(current)) => Some(Transition::Added(current)),
            (Some(_), Some(current)) => Some(Transition::Modified(current)),
            (Some(previous), None) => Some(Transition::Deleted(previous, revision)),
        }
    }

    /// An object as it is shown, read at a revision at which it was so. Its own may be long compacted.
    async fn entry_shown(&self, entry: &Entry<Selected>, at: u64) -> Result<Encoded, Box<Status>> {
        if self.holds_values {
            return self.of_entry(entry, true);
        }
        let found = self.store.get(&entry.key, Some(at)).await.map_err(failed)?;
        match found {
            Some(item) => self.of_item(&item, true),
            None => Err(errors::expired("too old resource version").into()),
        }
    }
}

enum Transition {
    Added(Arc<Entry<Selected>>),
    Modified(Arc<Entry<Selected>>),
    Deleted(Arc<Entry<Selected>>, u64),
}

impl Feed {
    /// Sends what is there now as additions.
    async fn begin_with_list(&mut self, asked: u64) -> Result<(), Box<Status>> {
        if asked > 0 {
            self.objects.check_reached(asked).await?;
        }
        let list = ListOptions {
            label_selector: self.options.label_selector.clone(),
            field_selector: self.options.field_selector.clone(),
            ..ListOptions::default()
        };
        // The scope ends with the namespace, which is empty for all.
        let namespace = self.scope.strip_prefix(&*self.objects.prefix).unwrap_or_default();
        let list = self.objects.list(namespace.trim_end_matches('/'), &list).await?;
        let revision = list.revision.unwrap_or_default();
        self.queue.extend(list.items.into_iter().map(WatchEvent::Added));
        if self.options.send_initial_events == Some(true) && self.options.allow_watch_bookmarks {
            let mut bookmark = self.bookmark(revision);
            if let Some(metadata) = crate::metadata::of(&mut bookmark) {
                metadata.insert("annotations".into(), json!({INITIAL_EVENTS_END: "true"}));
            }
            self.queue.push_back(WatchEvent::Bookmark(bookmark));
        }
        self.position = Position::After(revision);
        Ok(())
    }

    fn bookmark(&self, revision: u64) -> Value {
        let mut object = self.objects.form.empty();
        complete(&mut object, self.objects.resource, Some(revision));
        object
    }

    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            match self.advance().await {
                Ok(true) => {}
                Ok(false) => self.is_over = true,
                // After what came before it.
                Err(status) => {
                    self.is_over = true;
                    self.queue.push_back(WatchEvent::Error(status));
                }
            }
        }
    }

    /// Waits for something to send. Whether the watch goes on.
    ///
    /// A watch tells all that was committed before its end, also if this server was too busy to do so in time: a client
    /// that asks for a short one may take what it says for all that there is.
    async fn advance(&mut self) -> Result<bool, Box<Status>> {
        if self.last.is_none() && Instant::now() >= self.end {
            let cache = &self.objects.cache;
            let last = cache.wait_until_current(Instant::now() + PATIENCE_AT_END).await;
            self.last = Some(last.unwrap_or_else(|_| cache.list("\0").revision));
        }
        let watcher = match &mut self.position {
            Position::Following(watcher) => watcher,
            Position::After(revision) => {
                let revision = *revision;
                match self.objects.cache.watch(&self.scope, revision, self.end).await {
                    Ok(watcher) => {
                        self.position = Position::Following(Box::new(watcher));
                        return Ok(true);
                    }
                    // If the revision did not happen in time there is nothing to say.
                    Err(CacheError::Behind) => return Ok(self.last.is_none()),
                    Err(CacheError::Stopped) => return Ok(false),
                    Err(CacheError::TooOld) => {
                        let current = self.objects.cache.list("\0").revision;
                        return Err(errors::too_old_resource_version(revision, current).into());
                    }
                }
            }
        };
        let wake = if self.options.allow_watch_bookmarks {
            self.next_bookmark.min(self.end)
        } else {
            self.end
        };
        let commit = match self.last {
            Some(last) if watcher.position() >= last => return Ok(false),
            Some(_) => match watcher.next().now_or_never() {
                None => return Ok(false),
                commit => commit,
            },
            None => tokio::select! {
                commit = watcher.next() => Some(commit),
                () = sleep_until(wake) => None,
            },
        };
        let position = watcher.position();
        let Some(commit) = commit else {
            if Instant::now() >= self.end {
                return Ok(true);
            }
            self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
            let bookmark = self.bookmark(position);
            self.queue.push_back(WatchEvent::Bookmark(bookmark));
            return Ok(true);
        };
        let commit = match commit {
            Ok(commit) => commit,
            Err(CacheError::Stopped | CacheError::Behind) => return Ok(false),
            Err(CacheError::TooOld) => {
                let current = self.objects.cache.list("\0").revision;
                return Err(errors::too_old_resource_version(position, current).into());
            }
        };
        for change in &commit.changes {
            if !change.key().starts_with(&self.scope) {
                continue;
            }
            let event = match self.objects.change(change, commit.revision, &self.options) {
                None => continue,
                Some(Transition::Added(entry)) => {
                    WatchEvent::Added(self.shown(&entry, commit.revision).await?)
                }
                Some(Transition::Modified(entry)) => {
                    WatchEvent::Modified(self.shown(&entry, commit.revision).await?)
                }
                Some(Transition::Deleted(entry, revision)) => {
                    let before = revision.saturating_sub(1);
                    let last = self.objects.entry_shown(&entry, before).await?.at(revision);
                    WatchEvent::Deleted(Object::Encoded(last))
                }
            };
            self.queue.push_back(event);
        }
        Ok(true)
    }

    async fn shown(&self, entry: &Entry<Selected>, at: u64) -> Result<Object, Box<Status>> {
        self.objects.entry_shown(entry, at).await.map(Object::Encoded)
    }
}
