//! Hears of the tags that registries say were pushed, whichever server they said it to, and has them looked at.

use std::sync::Arc;
use std::time::Duration;

use imagestream_api::reference::ImageReference;
use imagestream_apiserver::storage::failed;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio::time::sleep;

use super::Shared;
use crate::notifications;

/// Time between two looks whether the controller of scheduled tags is up.
const PAUSE: Duration = Duration::from_millis(50);
/// The host that streams may name in place of `docker.io`, beside those that are read as that.
const HUB: &str = "registry-1.docker.io";

/// Listens for as long as it is polled.
///
/// # Errors
/// Those of the store.
pub(super) async fn run(shared: Arc<Shared>) -> Result<(), Box<Status>> {
    // What nobody hears is not repeated. If nothing is followed on a schedule, there is nobody to hear it.
    while shared.settings.scheduled.enabled && !shared.board.is_running() {
        sleep(PAUSE).await;
    }
    let listen = notifications::follow(&shared.context.store, |tag| {
        shared.rule_pokes.poke(tag);
        for name in names(tag) {
            shared.board.poke(&name);
        }
    });
    listen.await.map_err(failed)
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
    use super::*;

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
