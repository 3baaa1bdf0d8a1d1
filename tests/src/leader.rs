//! Several servers on one etcd, of which one acts.

use std::time::{Duration, Instant};

use imagestream_testkit::etcd::Member;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::client::Client;
use crate::server::{ADMIN, Place, Server};

/// Longest wait for what must happen; a machine may be slow.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// What a server that acts shows among its metrics.
const ACTS: &str = "leader_election_master_status{name=\"controllers\"} 1";
/// What servers on one etcd have in common.
const SECRET_KEY: [u8; 32] = [7; 32];

/// Starts a server on this etcd. `config` has the rest of its configuration.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn start(etcd: &Member, mut config: Value) -> Server {
    let place = Place::new();
    let key_file = place.path("secret.key");
    std::fs::write(&key_file, SECRET_KEY).expect("a key");
    config["storage"] = json!({"kind": "etcd", "endpoints": [etcd.url()], "prefix": "/test"});
    config["secrets"] = json!({"keyFile": key_file});
    place.config(&config).start()
}

/// Starts two servers at the same time; the one that acts comes first.
///
/// # Panics
/// If neither acts.
pub async fn start_two(etcd: &Member, config: &Value) -> (Server, Server) {
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| start(etcd, config.clone()));
        (start(etcd, config.clone()), other.join().expect("a server"))
    });
    let begun = Instant::now();
    loop {
        if acts(&Client::new(&one, ADMIN)).await {
            return (one, other);
        }
        if acts(&Client::new(&other, ADMIN)).await {
            return (other, one);
        }
        assert!(begun.elapsed() < PATIENCE, "neither acts");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a server acts.
pub async fn acts(client: &Client) -> bool {
    let metrics = client.get("/metrics").await.text;
    metrics.lines().any(|line| line == ACTS)
}

/// Waits until a server acts.
///
/// # Panics
/// If it doesn't in time.
pub async fn until_it_acts(client: &Client) {
    let begun = Instant::now();
    while !acts(client).await {
        assert!(begun.elapsed() < PATIENCE, "it does not act");
        sleep(Duration::from_millis(50)).await;
    }
}
