//! How far back the event table reaches: what is due for compaction, and the sweep of what was compacted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use super::options::SqliteOptions;
use super::row::Tip;

/// Events deleted in one go between two groups of commits.
const SWEEP: u32 = 500;
/// Free pages returned to the file system in one go.
const VACUUM: u32 = 500;
/// Free pages that are kept to be used again; a quarter of the file is kept too.
const KEPT_PAGES: u64 = 1000;
/// Samples of the revision that are taken in one span of the history's age.
const SAMPLES: u32 = 20;

/// What the writer knows of its event table.
pub(super) struct History {
    age: Duration,
    most: u64,
    /// Events in the table.
    events: u64,
    /// Revisions and when they were current. Only this process's clock counts, so a restart makes history last longer.
    samples: VecDeque<(Instant, u64)>,
    /// Whether events may be left that were compacted, or pages that are free.
    unswept: bool,
}

impl History {
    pub(super) fn open(connection: &Connection, options: &SqliteOptions) -> rusqlite::Result<Self> {
        Ok(Self {
            age: options.history_age,
            most: options.history_events,
            events: connection.query_row("SELECT count(*) FROM event", (), |row| row.get(0))?,
            samples: VecDeque::new(),
            unswept: true,
        })
    }

    /// How often [`History::due`] wants to be asked.
    pub(super) fn interval(&self) -> Duration {
        (self.age / SAMPLES).clamp(Duration::from_millis(10), Duration::from_secs(60))
    }

    /// Notes that events were added.
    pub(super) fn added(&mut self, events: usize) {
        self.events += events as u64;
    }

    /// Notes that a compaction left something to sweep.
    pub(super) fn compacted(&mut self) {
        self.unswept = true;
    }

    /// The revision to compact to because of age or count, if there is one.
    pub(super) fn due(
        &mut self,
        connection: &Connection,
        now: Instant,
        tip: Tip,
    ) -> rusqlite::Result<Option<u64>> {
        let mut target = tip.compacted;
        while let Some(&(then, revision)) = self.samples.front()
            && now.duration_since(then) >= self.age
        {
            target = target.max(revision);
            self.samples.pop_front();
        }
        if self
            .samples
            .back()
            .is_none_or(|(_, revision)| *revision < tip.revision)
        {
            self.samples.push_back((now, tip.revision));
        }
        if self.events > self.most && !self.unswept {
            // A tenth more than necessary, so that the next time is not at once.
            let surplus = self.events - self.most / 10 * 9;
            let revision: Option<u64> = connection
                .prepare_cached("SELECT revision FROM event ORDER BY revision, position LIMIT 1 OFFSET ?1")?
                .query_row([surplus - 1], |row| row.get(0))
                .optional()?;
            target = target.max(revision.unwrap_or(0));
        }
        Ok((target > tip.compacted).then_some(target))
    }

    /// Whether [`History::sweep`] has something to do.
    pub(super) fn unswept(&self) -> bool {
        self.unswept
    }

    /// Deletes some events that were compacted, then frees some pages; [`History::unswept`] tells whether more are left.
    pub(super) fn sweep(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        // Whatever goes wrong, the next compaction sweeps again.
        self.unswept = false;
        let deleted = connection
            .prepare_cached(
                "DELETE FROM event WHERE revision <= (SELECT max(revision) FROM
                   (SELECT revision FROM event WHERE revision <= (SELECT compacted FROM meta)
                    ORDER BY revision, position LIMIT ?1))",
            )?
            .execute([SWEEP])?;
        self.events = self.events.saturating_sub(deleted as u64);
        if deleted > 0 {
            self.unswept = true;
            return Ok(());
        }
        let pages = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
        let (free, all) = (pages("freelist_count")?, pages("page_count")?);
        if free > KEPT_PAGES.max(all / 4) {
            let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM})"))?;
            let mut steps = vacuum.query(())?;
            // Each step frees one page.
            while steps.next()?.is_some() {}
            self.unswept = true;
        }
        Ok(())
    }
}
