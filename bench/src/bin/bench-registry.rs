//! A registry in a process of its own, so that its work isn't counted as the work of what is measured.
//!
//! Usage: `bench-registry TAGS`. It prints its `HOST:PORT`, then answers each line on standard input with one line:
//! `latency MILLISECONDS` waits that long before every answer from now on, `take` tells the number of requests since
//! the last `take` and the most that were answered at the same time. It ends with its input.

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use imagestream_testkit::content::Content;
use imagestream_testkit::registry::TestRegistry;

fn main() -> Result<(), Box<dyn Error>> {
    let tags = std::env::args()
        .nth(1)
        .ok_or("usage: bench-registry TAGS")?
        .parse()?;
    let content = Content::new().tags("bench/many", tags);
    let registry = TestRegistry::builder(content).without_record().try_start()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", registry.host())?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("latency", millis)) => {
                registry.set_latency(Duration::from_millis(millis.parse()?));
                writeln!(out, "ok")?;
            }
            None if line == "take" => {
                writeln!(out, "{} {}", registry.request_count(), registry.max_in_flight())?;
                registry.clear_requests();
            }
            _ => return Err(format!("no such command: {line}").into()),
        }
        out.flush()?;
    }
    Ok(())
}
