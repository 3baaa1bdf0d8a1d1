//! What is written down about one request: metrics and an audit event, when its answer is over.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::audit::{AuditLog, Event, ObjectRef, ResponseStatus, User, shortened};
use super::metrics::{Labels, Metrics, Present, Rejection};
use super::patience::OpenRequest;
use crate::authn::UserInfo;
use crate::rbac::Decision;
use crate::request_info::RequestInfo;

/// Where requests are written down.
pub(super) struct Records {
    pub(super) metrics: Metrics,
    pub(super) audit: Option<AuditLog>,
}

/// A request from its head to the end of its answer. Dropping it writes it down, however it ended.
pub(super) struct Exchange {
    records: Arc<Records>,
    labels: Labels,
    started: Instant,
    code: Option<u16>,
    event: Option<Box<Event>>,
    watch: Option<Present>,
    _open: OpenRequest,
}

/// What is known of a request before anything is decided about it.
pub(super) struct Received<'a> {
    pub(super) info: &'a RequestInfo,
    pub(super) labels: Labels,
    /// The path, and the query where that is nobody's secret.
    pub(super) uri: String,
    pub(super) user_agent: &'a str,
    pub(super) source: String,
    pub(super) now: Timestamp,
    pub(super) id: String,
    /// Probes ask every few seconds and nothing comes of it: they are counted but not audited.
    pub(super) is_probe: bool,
}

impl Exchange {
    pub(super) fn begin(records: &Arc<Records>, open: OpenRequest, received: Received<'_>) -> Self {
        let is_audited = records.audit.is_some() && !received.is_probe;
        let event = is_audited.then(|| {
            Box::new(Event {
                audit_id: received.id,
                request_uri: received.uri,
                verb: received.info.verb.clone(),
                source_ips: [received.source],
                user_agent: shortened(received.user_agent),
                object_ref: ObjectRef::of(received.info),
                request_received_timestamp: received.now,
                ..Event::default()
            })
        });
        Self {
            records: Arc::clone(records),
            labels: received.labels,
            started: Instant::now(),
            code: None,
            event,
            watch: None,
            _open: open,
        }
    }

    /// Who asks, before impersonation.
    pub(super) fn authenticated(&mut self, user: &UserInfo) {
        if let Some(event) = &mut self.event {
            event.user = User::from(user);
        }
    }

    /// As whom they ask.
    pub(super) fn impersonated(&mut self, user: &UserInfo) {
        if let Some(event) = &mut self.event {
            event.impersonated_user = Some(User::from(user));
        }
    }

    /// Whether they may.
    pub(super) fn decided(&mut self, decision: &Decision) {
        let Some(event) = &mut self.event else {
            return;
        };
        let word = if decision.allowed { "allow" } else { "forbid" };
        event
            .annotations
            .insert("authorization.k8s.io/decision", word.into());
        event
            .annotations
            .insert("authorization.k8s.io/reason", decision.reason.clone());
    }

    /// It is turned away.
    pub(super) fn rejected(&self, why: Rejection) {
        self.records.metrics.rejected(why);
    }

    /// It met a programming error.
    pub(super) fn panicked(&self) {
        self.records.metrics.panicked();
    }

    /// A watch is open from now on.
    pub(super) fn watching(&mut self) {
        self.watch = Some(self.records.metrics.watch(self.labels));
    }

    /// The status of the answer is known.
    pub(super) fn answered(&mut self, code: u16) {
        self.code = Some(code);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Records { metrics, audit } = &*self.records;
        metrics.answered(self.labels, self.code, self.started.elapsed());
        if let (Some(log), Some(mut event)) = (audit, self.event.take()) {
            event.stage_timestamp = Timestamp::now();
            event.response_status = self.code.map(ResponseStatus::new);
            log.record(event);
        }
    }
}
