//! Hears of the tags that registries say were pushed, whichever server they said it to, and has them looked at.

use std::sync::Arc;

use imagestream_api::reference::ImageReference;
use imagestream_apiserver::storage::failed;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::Shared;
use crate::notifications;

/// The host that streams may name in place of `docker.io`, beside those that are read as that.
const HUB: &str = "registry-1.docker.io";

/// Listens for as long as it is polled.
///
/// # Errors
/// Those of the store.
pub(super) async fn run(shared: Arc<Shared>) -> Result<(), Box<Status>> {
    // If nothing is followed on a schedule, there is nobody to tell.
    let is_followed = shared.settings.scheduled.enabled;
    let listen = notifications::follow(&shared.context.store, |tag| !is_followed || tell(&shared, tag));
    listen.await.map_err(failed)
}

/// Tells the schedule and the rules of a tag. Whether both have heard it: one may not be up yet, or have too much to hear.
fn tell(shared: &Shared, tag: &ImageReference) -> bool {
    let by_rules = shared.rule_pokes.poke(tag);
    names(tag)
        .iter()
        .fold(by_rules, |heard, name| shared.board.poke(name) && heard)
}

/// What the schedule calls a tag, which is by the host that its stream names.
fn names(tag: &ImageReference) -> Vec<String> {
    let mut names = vec![tag.exact()];
    if tag.is_docker_hub() {
        let other = ImageReference {
            registry: HUB.into(),
            ..tag.clone()
        };
        names.push(other.exact());
    }
    names
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use imagestream_store::Write;
    use tokio::time::{Instant, sleep};
    use tokio_util::task::AbortOnDropHandle;

    use super::super::{ImportMetrics, scheduled};
    use super::*;
    use crate::image::testing::TestServer;
    use crate::settings::ControllerSettings;

    /// Longest wait for what must happen.
    const PATIENCE: Duration = Duration::from_secs(120);

    fn shared(server: &TestServer, settings: &ControllerSettings) -> Arc<Shared> {
        let metrics = ImportMetrics::register(&prometheus::Registry::new()).unwrap();
        Shared::new(&server.context, settings, metrics, &Arc::default()).unwrap()
    }

    /// Notes that something was pushed.
    async fn note(server: &TestServer) -> &'static str {
        const KEY: &str = "/imagestream/notifications/x";
        let write = Write::Put(KEY.into(), Bytes::from_static(b"q.test/a:1"));
        server.context.store.commit(&[], &[write]).await.unwrap();
        KEY
    }

    async fn is_noted(server: &TestServer, key: &str) -> bool {
        server.context.store.get(key, None).await.unwrap().is_some()
    }

    async fn until_taken(server: &TestServer, key: &str) {
        let begun = Instant::now();
        while is_noted(server, key).await {
            assert!(begun.elapsed() < PATIENCE, "it is not taken");
            sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_push_stays_noted_until_the_schedule_has_heard_of_it() {
        let server = TestServer::start().await;
        let shared = shared(&server, &ControllerSettings::default());
        let tag = ImageReference::parse("q.test/a:1").unwrap();
        assert!(!tell(&shared, &tag), "nobody listens yet");
        let key = note(&server).await;
        let listening = AbortOnDropHandle::new(tokio::spawn(run(Arc::clone(&shared))));
        // The rules are told of what the schedule has not heard.
        let begun = Instant::now();
        while shared.rule_pokes.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "it is not told");
            sleep(Duration::from_millis(10)).await;
        }
        assert!(is_noted(&server, key).await);
        let looking = AbortOnDropHandle::new(tokio::spawn(scheduled::run(Arc::clone(&shared))));
        until_taken(&server, key).await;
        drop((listening, looking));
    }

    #[tokio::test]
    async fn a_push_is_forgotten_where_nothing_is_followed() {
        let server = TestServer::start().await;
        let mut settings = ControllerSettings::default();
        settings.scheduled.enabled = false;
        let key = note(&server).await;
        let shared = shared(&server, &settings);
        let _listening = AbortOnDropHandle::new(tokio::spawn(run(shared)));
        until_taken(&server, key).await;
    }

    #[test]
    fn a_tag_of_docker_hub_is_looked_at_under_both_hosts() {
        let names = |text: &str| names(&ImageReference::parse(text).unwrap());
        assert_eq!(names("q.test/a:1"), ["q.test/a:1"]);
        assert_eq!(
            names("docker.io/library/nginx:1"),
            [
                "docker.io/library/nginx:1",
                "registry-1.docker.io/library/nginx:1"
            ]
        );
    }
}
