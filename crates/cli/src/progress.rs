//! A progress bar on standard error, if that is a terminal.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use imagestream_import::Progress;
use imagestream_registry::Client;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const REFRESH: Duration = Duration::from_millis(100);

/// Shows how far `work` is until it ends.
pub(crate) async fn shown<T>(work: impl Future<Output = T>, client: &Client, progress: &Progress) -> T {
    if !stderr().is_terminal() {
        return work.await;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} images  {msg}") {
        bar.set_style(style);
    }
    let mut ticks = tokio::time::interval(REFRESH);
    tokio::pin!(work);
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            _ = ticks.tick() => {
                let activity = client.activity();
                bar.set_length(progress.planned() as u64);
                bar.set_position(progress.done() as u64);
                let mut message = format!("{} in flight", activity.in_flight);
                if activity.retries > 0 {
                    message.push_str(&format!(", {} retries", activity.retries));
                }
                if activity.waiting_for_rate_limit > 0 {
                    message.push_str(&format!(", {} waiting for the rate limit", activity.waiting_for_rate_limit));
                }
                bar.set_message(message);
                bar.tick();
            }
        }
    };
    bar.finish_and_clear();
    result
}
