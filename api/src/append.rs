//! Commands into the log: what comes at the same time goes in together.
//!
//! ```text
//!   request ─┐
//!   request ─┼─ queue (bounded) ─> one thread: take all that wait ─ one durable append ─> each its place
//!   request ─┘
//! ```
//!
//! While one append waits for the disk the next batch gathers, so a thousand clients cost as many commits
//! as the disk has time for. A request is answered only when its record is durable; one that finds the queue full is
//! turned away at once. A crash loses what was not answered: its client sends it again with the same key.

use crate::backend::{Append, Backend, Failed, NewRecord, Place};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// Requests that may wait.
const QUEUE_MAX: usize = 8_192;
/// Records of one append.
const BATCH_MAX: usize = 4_096;
/// How long the thread rests before it opens a failed store again.
const REOPEN_AFTER: Duration = Duration::from_millis(200);

struct Job {
    record: NewRecord,
    placed: oneshot::Sender<Result<Place, Failed>>,
}

/// The queue's entry. Clones share it.
#[derive(Clone)]
pub struct Appender {
    queue: SyncSender<Job>,
}

impl Appender {
    /// Starts the thread; it ends with the last clone.
    ///
    /// # Errors
    /// Where the system refuses a thread.
    pub fn start(backend: Arc<dyn Backend>) -> std::io::Result<Appender> {
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("api-append".to_owned())
            .spawn(move || run(backend.as_ref(), &jobs))?;
        Ok(Appender { queue })
    }

    /// Appends a record; its place once it is durable.
    ///
    /// # Errors
    /// [`Failed::Away`]: it may have arrived all the same. Sent again with the same `command_id` it does no harm.
    pub async fn append(&self, record: NewRecord) -> Result<Place, Failed> {
        let (placed, answer) = oneshot::channel();
        self.queue.try_send(Job { record, placed }).map_err(|error| match error {
            TrySendError::Full(_) => Failed::Away("the queue of appends is full".to_owned()),
            TrySendError::Disconnected(_) => Failed::Away("the appending thread has ended".to_owned()),
        })?;
        answer.await.unwrap_or_else(|_| Err(Failed::Away("the appending thread has ended".to_owned())))
    }
}

fn run(backend: &dyn Backend, jobs: &Receiver<Job>) {
    let mut appender: Option<Box<dyn Append>> = None;
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter().take(BATCH_MAX - 1));
        let (records, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|job| (job.record, job.placed)).unzip();
        let appended = append(backend, &mut appender, &records);
        if appended.is_err() {
            // After a failure nothing of its connection is used again.
            appender = None;
            std::thread::sleep(REOPEN_AFTER);
        }
        for (at, waiting) in waiting.into_iter().enumerate() {
            let placed = appended.as_ref().map(|places| places[at]).map_err(Clone::clone);
            // A client that has left will ask again.
            let _ = waiting.send(placed);
        }
    }
}

fn append(
    backend: &dyn Backend,
    appender: &mut Option<Box<dyn Append>>,
    records: &[NewRecord],
) -> Result<Vec<Place>, Failed> {
    if appender.is_none() {
        *appender = Some(backend.appender()?);
    }
    let places = appender.as_mut().map_or_else(|| Ok(Vec::new()), |open| open.append(records))?;
    assert_eq!(places.len(), records.len(), "every record that was appended has a place");
    Ok(places)
}
