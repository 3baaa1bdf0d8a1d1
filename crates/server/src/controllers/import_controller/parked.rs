//! Streams that wait for something else than a moment. They cost nothing until it comes.

use std::collections::{BTreeSet, HashMap};

use imagestream_api::stream::source::StreamKey;
use tokio::time::Instant;

/// What keeps a stream that is due from being imported.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Obstacle {
    /// As many streams as may be are being imported from this host.
    BusyHost(String),
    /// This server does not know the namespace of the stream, of which it may not have heard yet.
    UnknownNamespace(String),
}

/// Streams, each with the moment at which it became due.
type Streams = BTreeSet<(Instant, StreamKey)>;

/// Streams by what they wait for.
#[derive(Debug, Default)]
pub(super) struct Parked {
    hosts: HashMap<String, Streams>,
    namespaces: HashMap<String, Streams>,
}

impl Parked {
    pub(super) fn insert(&mut self, obstacle: &Obstacle, since: Instant, key: StreamKey) {
        let (parked, name) = self.by(obstacle);
        parked.entry(name.to_owned()).or_default().insert((since, key));
    }

    pub(super) fn remove(&mut self, obstacle: &Obstacle, since: Instant, key: &StreamKey) {
        let (parked, name) = self.by(obstacle);
        if let Some(streams) = parked.get_mut(name) {
            streams.remove(&(since, key.clone()));
            if streams.is_empty() {
                parked.remove(name);
            }
        }
    }

    /// Of the streams that wait for a host which has a place by now, the one that became due first; and which host.
    ///
    /// Asks about each host that something waits for: these are the few that were busy not long ago.
    pub(super) fn first(&self, has_place: impl Fn(&str) -> bool) -> Option<(Instant, &StreamKey, &str)> {
        let hosts = self.hosts.iter().filter(|(host, _)| has_place(host));
        let first = hosts.filter_map(|(host, streams)| {
            let (since, key) = streams.first()?;
            Some((*since, key, &**host))
        });
        first.min()
    }

    /// Those that wait for a namespace, which do so no longer.
    pub(super) fn take_namespace(&mut self, namespace: &str) -> Streams {
        self.namespaces.remove(namespace).unwrap_or_default()
    }

    fn by<'a>(&mut self, obstacle: &'a Obstacle) -> (&mut HashMap<String, Streams>, &'a str) {
        match obstacle {
            Obstacle::BusyHost(host) => (&mut self.hosts, host),
            Obstacle::UnknownNamespace(namespace) => (&mut self.namespaces, namespace),
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.namespaces.is_empty()
    }
}
