//! What a source that has moved names now, read once and recorded in all streams that follow it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::Time;
use imagestream_import::check::Check;
use imagestream_import::{Wanted, most_copies};
use jiff::Timestamp;
use tokio::time::Instant;

use super::bring::{Brought, Found, How, bring, follower, needed};
use super::followed::Followed;
use super::look::{CHECK, Following, Look, Outcome, Said, Seen};
use super::settled::FailureKind;

/// Longest reading of what one import needs.
const FETCH: Duration = Duration::from_secs(120);
/// How long a registry has let somebody see an image who was let see it: as long as an import may take.
const FRESH: Duration = Duration::from_secs(60);

impl Look {
    /// Reads what the source was seen to name, and records it in all tags that are not there. However many streams that
    /// are, what is the same for them is asked for once. A registry that wants to be left alone stops it: what is left is
    /// done when that may be asked again.
    pub(super) async fn fetch(&mut self, seen: Seen, followers: &impl Following, said: &mut Said) -> Outcome {
        let shared = Arc::clone(&self.shared);
        let engine = &shared.context.engine;
        let (reference, rules) = (self.reference.clone(), Arc::clone(&self.rules));
        let (credentials, insecure) = (Arc::clone(&self.credentials), self.insecure);
        let check = |patience| Check {
            reference: &reference,
            insecure,
            rules: &rules,
            credentials: &credentials,
            deadline: Instant::now() + patience,
        };
        let mut sighting = seen.sighting;
        if seen.at.elapsed() > FRESH {
            // What others have read meanwhile is only for those who may still see it.
            sighting = match said.by(engine.check(&check(CHECK)).await) {
                Ok(sighting) => sighting,
                Err(error) => return self.note(followers, &error, said).await,
            };
        }
        let check = check(FETCH);
        let reading = match said.by(engine.read(&check, &sighting).await) {
            Ok(reading) => reading,
            Err(error) => return self.note(followers, &error, said).await,
        };
        let named = reading.named();
        let is_mine = |tag: &Followed| self.is_mine(tag);
        let is_behind = |tag: &Followed| {
            let wanted = named.recorded(tag.mode, &tag.platform);
            is_mine(tag) && (tag.recorded.failure.is_some() || tag.recorded.image != wanted.as_str())
        };
        let mut imported = Brought::NOTHING;
        let mut wanted: HashMap<Wanted, Vec<StreamKey>> = HashMap::new();
        for key in followers() {
            let Some((stream, tags)) = follower(&shared, &key).await else {
                continue;
            };
            for (tag, wants) in needed(&shared, &stream, tags, &reading, &is_mine) {
                match wants.filter(|_| is_behind(&tag)) {
                    Some(wants) => {
                        let streams = wanted.entry(wants).or_default();
                        if streams.last() != Some(&key) {
                            streams.push(key.clone());
                        }
                    }
                    None => imported.is_complete &= !is_behind(&tag),
                }
            }
        }
        let now = Time(Timestamp::now());
        for (wanted, streams) in wanted {
            let read = reading.read(&wanted, &now, Instant::now() + FETCH).await;
            let Ok(result) = said.by(read) else {
                self.settled = self.settled.unknown();
                return Outcome::RateLimited;
            };
            let found = Found {
                reading: &reading,
                wanted: &wanted,
                result: &result,
                at_once: most_copies(&result),
                is_mine: &is_mine,
            };
            imported = imported.and(bring(&shared, &streams, is_behind, How::Record(&found)).await);
        }
        self.remember(named).await;
        if !imported.is_complete {
            self.settled = self.settled.unknown();
        }
        match imported.tags {
            // Why is in the streams or in the log. It is tried again soon.
            0 if !imported.is_complete => Outcome::Failed(FailureKind::Other),
            0 => Outcome::Unchanged,
            tags => Outcome::Imported { tags },
        }
    }
}
