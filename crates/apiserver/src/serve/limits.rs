//! How much is worked on at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::options::ServeOptions;
use crate::authn::{UserInfo, user};

/// Health checks that run at once: these are open to everyone, and each may ask the store.
const MAX_HEALTH_CHECKS: usize = 64;

/// The places for requests.
pub(super) struct Limits {
    requests: Arc<Semaphore>,
    /// For those who may do everything: they must be able to put an overloaded server right.
    reserve: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    health: Arc<Semaphore>,
}

/// A place, until it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

impl Limits {
    pub(super) fn new(options: &ServeOptions) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            requests: places(options.max_in_flight),
            reserve: places(options.max_in_flight.div_ceil(10)),
            watches: places(options.max_watches),
            health: places(MAX_HEALTH_CHECKS),
        }
    }

    /// A place for a request, if there is one.
    pub(super) fn request(&self, user: &UserInfo) -> Option<Place> {
        take(&self.requests).or_else(|| {
            user.is_member_of(user::MASTERS)
                .then(|| take(&self.reserve))
                .flatten()
        })
    }

    /// A place for a watch, if there is one.
    pub(super) fn watch(&self) -> Option<Place> {
        take(&self.watches)
    }

    /// A place for a health check, if there is one.
    pub(super) fn health(&self) -> Option<Place> {
        take(&self.health)
    }
}

fn take(places: &Arc<Semaphore>) -> Option<Place> {
    Arc::clone(places).try_acquire_owned().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_server_still_has_places_for_those_who_may_do_everything() {
        let limits = Limits::new(&ServeOptions {
            max_in_flight: 2,
            ..ServeOptions::default()
        });
        let ann = UserInfo {
            name: "ann".into(),
            ..UserInfo::default()
        };
        let admin = UserInfo {
            groups: vec![user::MASTERS.into()],
            ..UserInfo::default()
        };
        let places = [limits.request(&ann), limits.request(&ann)];
        assert!(places.iter().all(Option::is_some));
        assert!(limits.request(&ann).is_none());
        let reserved = limits.request(&admin);
        assert!(reserved.is_some() && limits.request(&admin).is_none());
        drop(places);
        assert!(limits.request(&ann).is_some());
    }
}
