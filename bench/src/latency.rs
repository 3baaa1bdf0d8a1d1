//! Throughput and latency of many operations of one kind.

use std::time::{Duration, Instant};

use crate::Result;

/// Throughput and latency of one kind of operation.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Operations a second, all clients together.
    pub per_second: f64,
    /// The median.
    pub p50: Duration,
    /// What one of a hundred takes longer than.
    pub p99: Duration,
}

impl Figures {
    /// Of operations that took this long each, and `elapsed` together.
    #[must_use]
    pub fn of(mut latencies: Vec<Duration>, elapsed: Duration) -> Self {
        latencies.sort_unstable();
        Self {
            per_second: latencies.len() as f64 / elapsed.as_secs_f64(),
            p50: quantile(&latencies, 50),
            p99: quantile(&latencies, 99),
        }
    }

    /// Prints a line of a table.
    pub fn row(&self, name: &str) {
        println!(
            "{name:<34} {:>12.0}/s  p50 {:>10.1?}  p99 {:>10.1?}",
            self.per_second, self.p50, self.p99
        );
    }
}

/// What `percent` of these are not longer than.
#[must_use]
pub fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

/// Milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Runs `operation(client, number)` from this many tasks while `go_on(elapsed, number)`.
///
/// # Errors
/// The first of the operations'.
pub async fn measure<F, Fut>(
    clients: usize,
    go_on: impl Fn(Duration, usize) -> bool + Clone + Send + 'static,
    operation: F,
) -> Result<Figures>
where
    F: Fn(usize, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (operation, go_on) = (operation.clone(), go_on.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while go_on(start.elapsed(), latencies.len()) {
                    let begun = Instant::now();
                    operation(client, latencies.len()).await?;
                    latencies.push(begun.elapsed());
                }
                Result::Ok(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(Figures::of(latencies, start.elapsed()))
}
