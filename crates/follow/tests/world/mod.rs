//! Registries and a clock that are numbers only: what a [`Scheduler`] asks for is answered after a while, by rules.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;

use imagestream_follow::{Asked, Feedback, Fetched, Millis, Poll, Scheduler, SourceId};

/// How long every request takes, in milliseconds.
pub(crate) const LATENCY: u64 = 50;

/// What answers.
pub(crate) trait Registries {
    /// The answer to a question that was asked at `asked` and is answered at `now`.
    fn ask(
        &mut self,
        scheduler: &Scheduler,
        source: SourceId,
        asked: Millis,
        now: Millis,
    ) -> (Asked, Feedback);

    /// The outcome of an import, and the requests that it took.
    fn fetch(&mut self, scheduler: &Scheduler, source: SourceId, now: Millis) -> (Fetched, u32, Feedback) {
        let _ = (scheduler, source, now);
        panic!("nothing moves here");
    }

    /// Those who follow a source were told that its host does not answer.
    fn tell(&mut self, scheduler: &Scheduler, source: SourceId, now: Millis) {
        let _ = (scheduler, source, now);
    }
}

/// What is under way.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) now: Millis,
    under_way: VecDeque<(Millis, Poll)>,
}

impl World {
    pub(crate) fn at(now: u64) -> Self {
        Self {
            now: Millis(now),
            under_way: VecDeque::new(),
        }
    }

    /// Lets time pass until `end`.
    pub(crate) fn run(&mut self, scheduler: &mut Scheduler, registries: &mut impl Registries, end: Millis) {
        loop {
            while self
                .under_way
                .front()
                .is_some_and(|(begun, _)| begun.0 + LATENCY <= self.now.0)
            {
                if let Some((begun, what)) = self.under_way.pop_front() {
                    self.finish(scheduler, registries, begun, what);
                }
            }
            let wake = match scheduler.poll(self.now) {
                Poll::Wait(wake) => wake,
                what => {
                    self.under_way.push_back((self.now, what));
                    continue;
                }
            };
            let answer = self.under_way.front().map(|(begun, _)| Millis(begun.0 + LATENCY));
            let next = [wake, answer].into_iter().flatten().min().unwrap_or(end);
            assert!(
                next > self.now,
                "the scheduler waits for {next:?} at {:?}",
                self.now
            );
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
        }
    }

    fn finish(&self, scheduler: &mut Scheduler, registries: &mut impl Registries, begun: Millis, what: Poll) {
        match what {
            Poll::Ask(source) => {
                let (outcome, feedback) = registries.ask(scheduler, source, begun, self.now);
                scheduler.asked(source, self.now, outcome, &feedback);
            }
            Poll::Fetch(source) => {
                let (outcome, requests, feedback) = registries.fetch(scheduler, source, self.now);
                scheduler.fetched(source, self.now, outcome, requests, &feedback);
            }
            Poll::Tell(source) => {
                registries.tell(scheduler, source, self.now);
                scheduler.told(source, self.now);
            }
            Poll::Wait(_) => {}
        }
    }
}
