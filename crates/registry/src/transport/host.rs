//! What is known about a host: the way to it, what it wants to see, and how hard it may be asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::body::LargeBodies;
use super::challenge::Challenge;
use super::flight::Flight;
use super::resolve::Reach;
use super::throttle::{Counters, Throttle};
use crate::client::ClientOptions;
use crate::error::Error;
use crate::feedback::{HostFeedback, HostFeedbacks};

/// Most hosts that are remembered.
const MAX_HOSTS: usize = 4096;

/// One registry host.
#[derive(Debug)]
pub(super) struct Host {
    /// `host[:port]` as it was asked for.
    pub(super) name: String,
    pub(super) throttle: Throttle,
    pub(super) large_bodies: LargeBodies,
    secure: Flight<Arc<Route>>,
    insecure: Flight<Arc<Route>>,
    feedback: Mutex<HostFeedbacks>,
}

impl Host {
    /// What the host said last of how often it may be asked.
    pub(super) fn feedback(&self) -> HostFeedbacks {
        *self.feedback.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host answered a request of this method.
    pub(super) fn told(&self, method: &Method, feedback: HostFeedback) {
        let mut known = self.feedback.lock().unwrap_or_else(PoisonError::into_inner);
        match *method {
            Method::HEAD => known.head = feedback,
            _ => known.get = feedback,
        }
    }

    /// The way to the host, which depends on whether it must be secure.
    pub(super) fn route(&self, insecure: bool) -> &Flight<Arc<Route>> {
        if insecure { &self.insecure } else { &self.secure }
    }
}

/// A way to a host that works, and what was learned on it.
#[derive(Debug)]
pub(super) struct Route {
    /// `https://host/v2/` or `http://host/v2/`.
    pub(super) base: Url,
    /// The reach of its address.
    pub(super) reach: Reach,
    /// The outcome of asking whether it is a registry at all.
    pub(super) ping: Flight<()>,
    /// Whether it was asked what it wants to know of those who ask.
    pub(super) challenge: Flight<()>,
    is_registry: AtomicBool,
    challenges: Mutex<Arc<[Challenge]>>,
}

impl Route {
    pub(super) fn new(base: Url, reach: Reach) -> Self {
        Self {
            base,
            reach,
            ping: Flight::new(),
            challenge: Flight::new(),
            is_registry: AtomicBool::new(false),
            challenges: Mutex::new(Arc::default()),
        }
    }

    /// Whether something was seen here that only registries do.
    pub(super) fn is_registry(&self) -> bool {
        self.is_registry.load(Ordering::Relaxed)
    }

    /// Learns from an answer whether this is a registry.
    pub(super) fn see(&self, status: StatusCode, headers: &HeaderMap) {
        if looks_like_a_registry(status, headers) {
            self.is_registry.store(true, Ordering::Relaxed);
        }
    }

    /// The challenges of the last answer that had any.
    pub(super) fn challenges(&self) -> Arc<[Challenge]> {
        self.challenges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn learn(&self, challenges: Vec<Challenge>) {
        if !challenges.is_empty() {
            *self.challenges.lock().unwrap_or_else(PoisonError::into_inner) = challenges.into();
        }
    }
}

/// The [rule](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#determining-support) for an answer
/// to `/v2/`; other answers of a registry obey it as well, but for its errors.
pub(super) fn looks_like_a_registry(status: StatusCode, headers: &HeaderMap) -> bool {
    headers.contains_key("docker-distribution-api-version")
        || status.is_success()
        || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// All hosts of the process.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    known: Mutex<HashMap<String, Arc<Host>>>,
}

impl Hosts {
    /// What is known about `name`, if it was ever asked for anything.
    pub(super) fn known(&self, name: &str) -> Option<Arc<Host>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned()
    }

    /// What is known about `name`.
    pub(super) fn host(
        &self,
        name: &str,
        options: &ClientOptions,
        counters: &Arc<Counters>,
    ) -> Result<Arc<Host>, Error> {
        if !is_host(name) {
            return Err(Error::Refused(format!("{name:?} is not the host of a registry")));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_HOSTS && !known.contains_key(name) {
            known.retain(|_, host| Arc::strong_count(host) > 1);
        }
        let host = known.entry(name.to_owned()).or_insert_with(|| {
            let (first, max) = (options.first_in_flight_per_host, options.max_in_flight_per_host);
            Arc::new(Host {
                name: name.to_owned(),
                throttle: Throttle::new(first, max, counters.clone()),
                large_bodies: LargeBodies::default(),
                secure: Flight::new(),
                insecure: Flight::new(),
                feedback: Mutex::default(),
            })
        });
        Ok(host.clone())
    }
}

/// The port of `name`, if it is a number that no port can have.
pub(super) fn impossible_port(name: &str) -> Option<&str> {
    let (_, port) = name.rsplit_once(':')?;
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && port.parse::<u16>().is_err()).then_some(port)
}

/// Whether `name` is a host with perhaps a port, and nothing that would lead elsewhere in a URL.
fn is_host(name: &str) -> bool {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    name.len() <= 255
        && name.chars().all(harmless)
        && Url::parse(&format!("https://{name}/v2/")).is_ok_and(|url| url.path() == "/v2/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_port_above_65535_is_impossible() {
        assert_eq!(impossible_port("127.0.0.1:65536"), Some("65536"));
        for possible in ["127.0.0.1:65535", "r.test", "r.test:", "r.test:x", "[::1]:5000"] {
            assert_eq!(impossible_port(possible), None, "{possible}");
        }
    }

    #[test]
    fn a_host_is_a_host_and_nothing_else() {
        for good in [
            "r.test",
            "r.test:5000",
            "127.0.0.1:5000",
            "[::1]:5000",
            "localhost",
            "a_b.test",
        ] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "r.test/x",
            "me@r.test",
            "r.test?x",
            "r.test#x",
            "r test",
            "r.test:port",
            "a\\b",
            "%2f",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn registries_are_recognised_by_their_header_or_by_what_only_they_answer() {
        let mut headers = HeaderMap::new();
        let looks = |status: u16, headers: &HeaderMap| {
            looks_like_a_registry(StatusCode::from_u16(status).expect("status"), headers)
        };
        assert_eq!(
            [200, 401, 403, 404, 302, 500].map(|s| looks(s, &headers)),
            [true, true, true, false, false, false]
        );
        headers.insert(
            "docker-distribution-api-version",
            HeaderValue::from_static("registry/2.0"),
        );
        assert!(looks(404, &headers) && looks(500, &headers));
    }
}
