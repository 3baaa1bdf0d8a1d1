//! The audit log: one JSON line for each request, of what was asked and by whom, never what was sent: the shape is
//! that of [audit.k8s.io/v1 events](https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/) at the
//! level `Metadata`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::metrics::Metrics;

mod event;

pub(super) use event::{Event, ObjectRef, ResponseStatus, User, shortened};

/// Events that may wait for the disk. More are lost, and counted.
const QUEUE: usize = 10_000;
/// Events that are written at once.
const BATCH: usize = 256;

/// Where audit events are written.
pub struct AuditSink {
    writer: Box<dyn Write + Send + Sync>,
}

impl AuditSink {
    /// Appends to a file, which only its owner can read if it is new; `-` is standard output.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::new(io::stdout()));
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self::new(file))
    }

    /// Writes to whatever takes bytes. Each write ends with a whole line.
    pub fn new(writer: impl Write + Send + Sync + 'static) -> Self {
        Self {
            writer: Box::new(writer),
        }
    }
}

enum Message {
    Event(Box<Event>),
    /// Answered when everything before it was written.
    Flush(oneshot::Sender<()>),
}

/// The queue in front of a sink.
pub(super) struct AuditLog {
    queue: mpsc::Sender<Message>,
    metrics: Metrics,
}

impl AuditLog {
    /// Starts the thread that writes: a disk may be slow, and requests don't wait for it.
    pub(super) fn start(sink: AuditSink, metrics: Metrics) -> io::Result<Self> {
        let (queue, events) = mpsc::channel(QUEUE);
        let counted = metrics.clone();
        thread::Builder::new()
            .name("audit-log".into())
            .spawn(move || write_all(sink, events, &counted))?;
        Ok(Self { queue, metrics })
    }

    /// Takes an event for writing; loses it if too many wait.
    pub(super) fn record(&self, event: Box<Event>) {
        if self.queue.try_send(Message::Event(event)).is_err() {
            self.metrics.audit_lost(1);
        }
    }

    /// Waits until everything recorded so far was written, but no longer than this.
    pub(super) async fn flush(&self, patience: Duration) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        let flushed = async {
            self.queue.send(Message::Flush(done)).await.map_err(|_| ())?;
            written.await.map_err(|_| ())
        };
        match tokio::time::timeout(patience, flushed).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(io::Error::other("the audit log could not be written to its end")),
        }
    }
}

/// Writes until the last sender is gone.
fn write_all(mut sink: AuditSink, mut messages: mpsc::Receiver<Message>, metrics: &Metrics) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut lines = Vec::new();
    let mut is_torn = false;
    while messages.blocking_recv_many(&mut batch, BATCH) > 0 {
        lines.clear();
        let mut count = 0;
        let mut flushed = Vec::new();
        // Whoever reads the log line by line loses one line, not two.
        if is_torn {
            lines.push(b'\n');
        }
        for message in batch.drain(..) {
            match message {
                Message::Flush(done) => flushed.push(done),
                Message::Event(event) => match serde_json::to_writer(&mut lines, &event) {
                    Ok(()) => {
                        lines.push(b'\n');
                        count += 1;
                    }
                    Err(_) => metrics.audit_lost(1),
                },
            }
        }
        match sink.writer.write_all(&lines).and_then(|()| sink.writer.flush()) {
            Ok(()) => {
                is_torn = false;
                metrics.audit_written(count);
            }
            Err(error) => {
                if !is_torn {
                    tracing::error!(%error, "the audit log can't be written; events are lost until it can");
                }
                is_torn = true;
                metrics.audit_lost(count);
            }
        }
        for done in flushed {
            // Nobody waits any more.
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Fails while it is told to.
    #[derive(Clone, Default)]
    struct Disk {
        written: Arc<Mutex<Vec<u8>>>,
        is_full: Arc<Mutex<bool>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.written.lock().unwrap();
            if *self.is_full.lock().unwrap() {
                if written.ends_with(b"\n") || written.is_empty() {
                    written.extend_from_slice(&bytes[..5]);
                    return Ok(5);
                }
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn event(id: &str) -> Box<Event> {
        Box::new(Event {
            audit_id: id.into(),
            ..Event::default()
        })
    }

    #[tokio::test]
    async fn events_are_lines_and_a_full_disk_tears_one_line_only() {
        let disk = Disk::default();
        let metrics = Metrics::new().unwrap();
        let log = AuditLog::start(AuditSink::new(disk.clone()), metrics.clone()).unwrap();
        let wait = Duration::from_secs(10);
        log.record(event("a"));
        log.flush(wait).await.unwrap();
        *disk.is_full.lock().unwrap() = true;
        log.record(event("b"));
        log.flush(wait).await.unwrap();
        *disk.is_full.lock().unwrap() = false;
        log.record(event("c"));
        log.flush(wait).await.unwrap();

        let written = String::from_utf8(disk.written.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = written.lines().collect();
        assert_eq!(lines.len(), 3, "{written}");
        assert!(lines[0].contains(r#""auditID":"a""#) && lines[2].contains(r#""auditID":"c""#));
        assert_eq!(lines[1], r#"{"kin"#);
        let shown = metrics.text().unwrap();
        assert!(shown.contains("apiserver_audit_event_total 2\n"), "{shown}");
        assert!(shown.contains("apiserver_audit_lost_total 1\n"), "{shown}");
    }

    #[tokio::test]
    async fn a_log_that_does_not_keep_up_loses_events_and_counts_them() {
        let disk = Disk::default();
        let metrics = Metrics::new().unwrap();
        let log = AuditLog::start(AuditSink::new(disk.clone()), metrics.clone()).unwrap();
        let stuck = disk.written.lock().unwrap();
        for _ in 0..QUEUE + 2 * BATCH {
            log.record(event("x"));
        }
        let shown = metrics.text().unwrap();
        drop(stuck);
        assert!(!shown.contains("apiserver_audit_lost_total 0\n"), "{shown}");
    }
}
