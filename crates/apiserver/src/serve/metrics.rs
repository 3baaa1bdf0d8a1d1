//! What a server tells about its work, in the [text format of Prometheus][1] and under the names that Kubernetes' own
//! servers use, where these have one.
//!
//! [1]: https://prometheus.io/docs/instrumenting/exposition_formats/

use std::time::Duration;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::api::Api;
use crate::request_info::RequestInfo;

/// Seconds: those of Kubernetes' own histogram.
const BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

/// What a request is counted under. All of it is the server's own: a client cannot invent a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Labels {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
}

impl Labels {
    /// Those of a request. What is no resource of this server has only a verb.
    pub(super) fn of(info: &RequestInfo, api: &Api) -> Self {
        let found = api.find(&info.group, &info.version, &info.resource, &info.subresource);
        let resource = found
            .filter(|_| info.is_resource)
            .map(|endpoint| endpoint.resource());
        let verb = match info.verb.as_str() {
            "get" => "GET",
            "list" => "LIST",
            "watch" => "WATCH",
            "create" | "post" => "POST",
            "update" | "put" => "PUT",
            "patch" => "PATCH",
            "delete" => "DELETE",
            "deletecollection" => "DELETECOLLECTION",
            "head" => "HEAD",
            "options" => "OPTIONS",
            _ => "OTHER",
        };
        Self {
            verb,
            group: resource.map_or("", |resource| resource.kind.group),
            version: resource.map_or("", |resource| resource.kind.version),
            resource: resource.map_or("", |resource| resource.plural),
            subresource: resource.map_or("", |resource| resource.subresource),
        }
    }
}

/// Why a request or connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    Unauthorized,
    Forbidden,
    TooManyRequests,
    TooManyWatches,
    BodyTooLarge,
    BodyTimeout,
    BodyMalformed,
    RequestTimeout,
    ConnectionLimit,
    HandshakeFailed,
    HandshakeTimeout,
}

impl Rejection {
    fn reason(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::TooManyRequests => "too_many_requests",
            Self::TooManyWatches => "too_many_watches",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyMalformed => "body_malformed",
            Self::RequestTimeout => "request_timeout",
            Self::ConnectionLimit => "connection_limit",
            Self::HandshakeFailed => "handshake_failed",
            Self::HandshakeTimeout => "handshake_timeout",
        }
    }
}

/// The counters of one server. Clones count together.
#[derive(Clone)]
pub(super) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    in_flight: IntGaugeVec,
    watches: IntGaugeVec,
    connections: IntGauge,
    rejected: IntCounterVec,
    panics: IntCounter,
    audit_events: IntCounter,
    audit_lost: IntCounter,
}

impl Metrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let of_request = ["verb", "group", "version", "resource", "subresource"];
        let of_answer = ["verb", "group", "version", "resource", "subresource", "code"];
        let metrics = Self {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                Opts::new(
                    "apiserver_request_total",
                    "Requests by what they asked for and the status of the answer; 0 if the client did not wait for it.",
                ),
                &of_answer,
            )?,
            durations: HistogramVec::new(
                HistogramOpts::new(
                    "apiserver_request_duration_seconds",
                    "Seconds from the head of a request to the end of its answer; without watches.",
                )
                .buckets(BUCKETS.into()),
                &of_request,
            )?,
            in_flight: IntGaugeVec::new(
                Opts::new(
                    "apiserver_current_inflight_requests",
                    "Requests that are worked on, without watches.",
                ),
                &["request_kind"],
            )?,
            watches: IntGaugeVec::new(
                Opts::new("apiserver_longrunning_requests", "Watches that are open."),
                &of_request,
            )?,
            connections: IntGauge::new("apiserver_connections", "Connections that are open.")?,
            rejected: IntCounterVec::new(
                Opts::new(
                    "apiserver_rejected_total",
                    "Requests and connections that were turned away, by reason.",
                ),
                &["reason"],
            )?,
            panics: IntCounter::new(
                "apiserver_panics_total",
                "Requests that were answered with 500 because of a programming error.",
            )?,
            audit_events: IntCounter::new("apiserver_audit_event_total", "Events written to the audit log.")?,
            audit_lost: IntCounter::new(
                "apiserver_audit_lost_total",
                "Events that could not be written to the audit log.",
            )?,
        };
        let collectors: [Box<dyn prometheus::core::Collector>; 9] = [
            Box::new(metrics.requests.clone()),
            Box::new(metrics.durations.clone()),
            Box::new(metrics.in_flight.clone()),
            Box::new(metrics.watches.clone()),
            Box::new(metrics.connections.clone()),
            Box::new(metrics.rejected.clone()),
            Box::new(metrics.panics.clone()),
            Box::new(metrics.audit_events.clone()),
            Box::new(metrics.audit_lost.clone()),
        ];
        for collector in collectors {
            metrics.registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// Where others can register what they count.
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Everything, as Prometheus reads it.
    pub(super) fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// A request is over. `code` is that of the answer, if there was one.
    pub(super) fn answered(&self, labels: Labels, code: Option<u16>, took: Duration) {
        let Labels {
            verb,
            group,
            version,
            resource,
            subresource,
        } = labels;
        let code = code.unwrap_or_default().to_string();
        self.requests
            .with_label_values(&[verb, group, version, resource, subresource, &code])
            .inc();
        if verb != "WATCH" {
            self.durations
                .with_label_values(&[verb, group, version, resource, subresource])
                .observe(took.as_secs_f64());
        }
    }

    /// Counts a request as being worked on for as long as the answer is kept.
    pub(super) fn in_flight(&self, is_write: bool) -> Present {
        let kind = if is_write { "mutating" } else { "readOnly" };
        Present::of(self.in_flight.with_label_values(&[kind]))
    }

    /// Counts a watch as open for as long as the answer is kept.
    pub(super) fn watch(&self, labels: Labels) -> Present {
        Present::of(self.watches.with_label_values(&[
            labels.verb,
            labels.group,
            labels.version,
            labels.resource,
            labels.subresource,
        ]))
    }

    /// Counts a connection as open for as long as the answer is kept.
    pub(super) fn connection(&self) -> Present {
        Present::of(self.connections.clone())
    }

    pub(super) fn rejected(&self, why: Rejection) {
        self.rejected.with_label_values(&[why.reason()]).inc();
    }

    pub(super) fn panicked(&self) {
        self.panics.inc();
    }

    pub(super) fn audit_written(&self, events: u64) {
        self.audit_events.inc_by(events);
    }

    pub(super) fn audit_lost(&self, events: u64) {
        self.audit_lost.inc_by(events);
    }
}

/// One more in a gauge, until it is dropped.
pub(super) struct Present(IntGauge);

impl Present {
    fn of(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_never_what_a_client_made_up() {
        let labels = |method, path| Labels::of(&RequestInfo::new(method, path, ""), &Api::default());
        let nothing = Labels {
            verb: "GET",
            group: "",
            version: "",
            resource: "",
            subresource: "",
        };
        assert_eq!(labels("GET", "/apis/evil.io/v1/things/x"), nothing);
        assert_eq!(labels("GET", "/evil"), nothing);
        assert_eq!(
            labels("BREW", "/evil"),
            Labels {
                verb: "OTHER",
                ..nothing
            }
        );
    }

    #[test]
    fn gauges_follow_what_is_there() {
        let metrics = Metrics::new().unwrap();
        let shown = |count: u8| {
            let text = metrics.text().unwrap();
            assert!(
                text.contains(&format!("apiserver_connections {count}\n")),
                "{text}"
            );
        };
        let (first, second) = (metrics.connection(), metrics.connection());
        shown(2);
        drop(first);
        shown(1);
        drop(second);
        shown(0);
    }
}
