//! Tells of what the server did to objects, as [events][1]: a bounded queue, of which a task writes one after the other. What
//! tells is never kept waiting, and never fails because of it: what finds the queue full is counted and forgotten.
//!
//! The same that happens to the same object again is the same event, which counts. Events of one object come at most so
//! many at once, as [client-go][2] has it.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
//! [2]: https://pkg.go.dev/k8s.io/client-go/tools/record#EventCorrelator

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use imagestream_apiserver::metadata;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use moka::sync::Cache;
use prometheus::{IntCounter, Registry};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::namespaces::is_terminating;
use crate::context::Context;

/// Who reports what the server does.
const COMPONENT: &str = "imagestream";
/// Happenings that wait to be written.
const QUEUE: usize = 1000;
/// Longest message, in bytes.
const MAX_MESSAGE: usize = 1024;
/// Events, and objects of events, that are remembered.
const REMEMBERED: u64 = 4096;
/// How long an event can be counted on; it is kept for as long after it happened last.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// Events of one object that are written at once.
const BURST: f64 = 25.0;
/// Seconds after which one more of it may be.
const REFILL: f64 = 300.0;

/// Something that happened to an object.
#[derive(Debug, Clone)]
pub(crate) struct Happening {
    /// The object: `kind`, `apiVersion`, `namespace`, `name`, `uid` and `resourceVersion`.
    pub(crate) object: Value,
    /// Whether somebody should look after it.
    pub(crate) is_warning: bool,
    /// What happened, in a word for programs.
    pub(crate) reason: &'static str,
    /// What happened, in a sentence for people.
    pub(crate) message: String,
    /// When.
    pub(crate) at: Timestamp,
}

impl Happening {
    fn text(&self, field: &str) -> &str {
        self.object.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// What makes another happening the same one.
    fn identity(&self) -> String {
        let parts = [
            self.text("namespace"),
            self.text("uid"),
            self.reason,
            &self.message,
        ];
        // No part but the last can hold a line break.
        parts.join("\n")
    }
}

/// What happened and is yet to be written.
pub struct EventRecorder {
    queue: Mutex<VecDeque<Happening>>,
    arrived: Notify,
    dropped: IntCounter,
}

impl EventRecorder {
    /// An empty one.
    ///
    /// # Errors
    /// Never: the name of its counter is one.
    pub fn new() -> prometheus::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            arrived: Notify::new(),
            dropped: IntCounter::new(
                "imagestream_events_dropped_total",
                "Events that were not written because there were too many, or the store refused them.",
            )?,
        })
    }

    /// Shows at `/metrics` how many events were not written.
    ///
    /// # Errors
    /// If something is shown there under the same name.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.dropped.clone()))
    }

    /// Tells of something. Returns at once, whatever becomes of it.
    pub(crate) fn tell(&self, mut happening: Happening) {
        shorten(&mut happening.message);
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() < QUEUE {
            queue.push_back(happening);
            drop(queue);
            self.arrived.notify_one();
        } else {
            drop(queue);
            self.dropped.inc();
        }
    }

    /// How much is yet to be written.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn next(&self) -> Option<Happening> {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

fn shorten(message: &mut String) {
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE - "…".len())
            .rev()
            .find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or(0));
        message.push('…');
    }
}

/// Writes what is told, until its future is dropped.
pub(super) async fn write(context: Arc<Context>) {
    let correlator = Correlator::new();
    let recorder = &context.recorder;
    loop {
        while let Some(happening) = recorder.next() {
            if !correlator.admits(&happening) {
                recorder.dropped.inc();
                continue;
            }
            if let Err(status) = correlator.write(&context, &happening).await {
                recorder.dropped.inc();
                let why = status.message.unwrap_or_default();
                tracing::debug!(reason = happening.reason, %why, "an event could not be written");
            }
        }
        recorder.arrived.notified().await;
    }
}

/// What was written lately.
struct Correlator {
    /// Names of events.
    names: Cache<String, String>,
    /// How many events an object may have at once, and when that was counted.
    budgets: Cache<String, (f64, Timestamp)>,
}

impl Correlator {
    fn new() -> Self {
        Self {
            names: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_idle(MEMORY)
                .build(),
            // By the time that one is forgotten it is full again.
            budgets: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_idle(3 * MEMORY)
                .build(),
        }
    }

    /// Whether the object may have one more event.
    fn admits(&self, happening: &Happening) -> bool {
        let object = happening.text("uid").to_owned();
        let (left, counted) = self.budgets.get(&object).unwrap_or((BURST, happening.at));
        let passed = happening.at.duration_since(counted).as_secs_f64().max(0.0);
        let left = (left + passed / REFILL).min(BURST);
        let is_admitted = left >= 1.0;
        let left = if is_admitted { left - 1.0 } else { left };
        self.budgets.insert(object, (left, happening.at.max(counted)));
        is_admitted
    }

    async fn write(&self, context: &Context, happening: &Happening) -> Result<(), Box<Status>> {
        let namespace = happening.text("namespace");
        // Nothing is to be in a namespace that ends.
        let found = context.namespaces.get("", namespace).await?;
        if found.is_none_or(|found| is_terminating(&found.object)) {
            return Ok(());
        }
        let identity = happening.identity();
        if let Some(name) = self.names.get(&identity)
            && let Some(stored) = context.events.get(namespace, &name).await?
        {
            let counted = again(stored.object, happening);
            if context.events.replace(counted, stored.revision).await?.is_some() {
                return Ok(());
            }
        }
        let name = format!(
            "{}.{:x}",
            happening.text("name"),
            happening.at.as_nanosecond() + i128::from(uuid::Uuid::new_v4().as_bytes()[0])
        );
        context.events.create(first(&name, happening)).await?;
        self.names.insert(identity, name);
        Ok(())
    }
}

/// An event that happens for the first time.
fn first(name: &str, happening: &Happening) -> Value {
    let at = metadata::time(happening.at);
    let mut event = json!({
        "metadata": {"name": name, "namespace": happening.text("namespace")},
        "involvedObject": happening.object,
        "reason": happening.reason,
        "message": happening.message,
        "source": {"component": COMPONENT},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "type": if happening.is_warning { "Warning" } else { "Normal" },
        "eventTime": null,
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
    });
    metadata::identify(&mut event, happening.at);
    event
}

/// An event that happened once more.
fn again(mut event: Value, happening: &Happening) -> Value {
    let count = event.get("count").and_then(Value::as_i64).unwrap_or(1);
    if let Some(fields) = event.as_object_mut() {
        fields.insert("count".into(), count.saturating_add(1).into());
        fields.insert("lastTimestamp".into(), metadata::time(happening.at).into());
        fields.insert("involvedObject".into(), happening.object.clone());
    }
    event
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn happening(uid: &str, message: &str) -> Happening {
        Happening {
            object: json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "namespace": "n", "name": "s",
                           "uid": uid, "resourceVersion": "7"}),
            is_warning: true,
            reason: "ImportFailed",
            message: message.into(),
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_full_queue_forgets_and_counts() {
        let recorder = EventRecorder::new().unwrap();
        for number in 0..QUEUE + 3 {
            recorder.tell(happening("u", &number.to_string()));
        }
        assert_eq!(recorder.dropped.get(), 3);
        assert_eq!(recorder.next().unwrap().message, "0");
        recorder.tell(happening("u", "there is room again"));
        assert_eq!(recorder.dropped.get(), 3);
    }

    #[test]
    fn one_object_has_so_many_events_at_once_and_others_do_not_suffer() {
        let correlator = Correlator::new();
        let mut loud = happening("loud", "m");
        let admitted = (0..100).filter(|_| correlator.admits(&loud)).count();
        assert_eq!(admitted, 25);
        assert!(correlator.admits(&happening("quiet", "m")));
        loud.at += SignedDuration::from_secs(299);
        assert!(!correlator.admits(&loud));
        loud.at += SignedDuration::from_secs(2);
        assert!(correlator.admits(&loud));
        assert!(!correlator.admits(&loud));
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let mut message = "ä".repeat(MAX_MESSAGE);
        shorten(&mut message);
        assert!(message.len() <= MAX_MESSAGE && message.ends_with("ä…"));
        let mut short = "short".to_owned();
        shorten(&mut short);
        assert_eq!(short, "short");
    }

    #[test]
    fn what_happens_again_is_counted_in_the_same_event() {
        let mut later = happening("u", "m");
        let event = first("s.1", &later);
        assert_eq!((&event["count"], &event["type"]), (&json!(1), &json!("Warning")));
        later.at += SignedDuration::from_secs(60);
        later.object["resourceVersion"] = "9".into();
        let counted = again(event.clone(), &later);
        assert_eq!(counted["count"], 2);
        assert_eq!(counted["firstTimestamp"], event["firstTimestamp"]);
        assert_eq!(counted["lastTimestamp"], "2026-01-01T00:01:00Z");
        assert_eq!(counted["involvedObject"]["resourceVersion"], "9");
        assert_eq!(counted["metadata"], event["metadata"]);
    }
}
