//! How many pushes a receiver takes: so many at once, and then so many a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Most pushes at once; one body may tell of as many.
pub(super) const BURST: u32 = 1_000;
/// Time until another one is taken.
pub(super) const EVERY: Duration = Duration::from_millis(100);

/// The pace of one receiver.
#[derive(Debug)]
pub(super) struct Pace {
    /// When all that may come at once may come again.
    rested: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            rested: Mutex::new(Instant::now()),
        }
    }

    /// Takes so many pushes, all or none.
    ///
    /// # Errors
    /// How long to wait before they can be taken.
    pub(super) fn take(&self, pushes: u32, now: Instant) -> Result<(), Duration> {
        // Nothing panics while it is held.
        let mut rested = self.rested.lock().unwrap_or_else(PoisonError::into_inner);
        let after = (*rested).max(now) + EVERY * pushes;
        match after.checked_duration_since(now + EVERY * BURST) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *rested = after;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_are_taken_at_once_and_then_a_few_a_second() {
        let pace = Pace::new();
        let start = Instant::now();
        assert_eq!(pace.take(BURST - 1, start), Ok(()));
        assert_eq!(pace.take(2, start), Err(EVERY), "all or none");
        assert_eq!(pace.take(1, start), Ok(()));
        assert_eq!(pace.take(10, start), Err(EVERY * 10));
        assert_eq!(pace.take(10, start + EVERY * 10), Ok(()));
        assert_eq!(pace.take(1, start + EVERY * 10), Err(EVERY));
        let later = start + Duration::from_secs(3_600);
        assert_eq!(pace.take(BURST, later), Ok(()), "rest is not saved up");
        assert_eq!(pace.take(1, later), Err(EVERY));
        assert_eq!(pace.take(0, later), Ok(()));
    }
}
