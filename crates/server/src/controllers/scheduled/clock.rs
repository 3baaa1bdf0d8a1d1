//! The time that the schedule counts in: the system's when it began, and what has passed since. Nobody can set it.

use std::time::SystemTime;

use imagestream_follow::Millis;
use jiff::Timestamp;
use tokio::time::Instant;

/// A clock that only goes forward.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    epoch: Millis,
    begun: Instant,
}

impl Clock {
    /// One that begins now.
    pub(super) fn begin() -> Self {
        Self::at(Timestamp::now())
    }

    fn at(now: Timestamp) -> Self {
        Self {
            epoch: Millis::of(SystemTime::from(now)),
            begun: Instant::now(),
        }
    }

    /// Now.
    pub(super) fn now(&self) -> Millis {
        self.epoch.after(self.begun.elapsed())
    }

    /// A moment as the system's clock would show it, if that goes on as it does; none beyond what it can show.
    pub(super) fn shown(&self, moment: Millis) -> Option<Timestamp> {
        self.shown_at(moment, Timestamp::now())
    }

    fn shown_at(&self, moment: Millis, system_now: Timestamp) -> Option<Timestamp> {
        let now = self.now();
        let (ahead, ago) = (moment.since(now), now.since(moment));
        system_now.checked_add(ahead).ok()?.checked_sub(ago).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_schedule_goes_on_when_the_system_clock_is_set() {
        let begun: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let clock = Clock::at(begun);
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), before.after(Duration::from_secs(60)));
        // The system's clock was set back by a day meanwhile: moments are told by what it says now.
        let set_back: Timestamp = "2026-01-01T03:05:05Z".parse().unwrap();
        let shown = |moment: Millis| clock.shown_at(moment, set_back).unwrap().to_string();
        assert_eq!(shown(before), "2026-01-01T03:04:05Z");
        assert_eq!(
            shown(clock.now().after(Duration::from_secs(600))),
            "2026-01-01T03:15:05Z"
        );
        assert_eq!(clock.shown_at(Millis(u64::MAX), set_back), None);
    }
}
