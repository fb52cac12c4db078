//! The teller: outcomes go into the log as commands, and steps that are told are over.
//!
//! A crash between the two tells an outcome again, in the same bytes under the same `command_id`: a duplicate.

use super::keeper::Asks;
use crate::demo::record::Body;
use crate::stores::Append;
use connectors::embedded::NewRecord;
use runtime::killpoint;
use schemas::{Command, SchemaIds};
use sinks::publishing::{Change, StepKey};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

const RETRY: Duration = Duration::from_millis(300);
/// Outcomes that are told at once.
const TOGETHER_MAX: usize = 500;

/// An outcome that is recorded.
pub struct Told {
    pub key: StepKey,
    pub command: Command,
    pub at_ms: i64,
}

/// Tells the teller.
pub type Tells = Sender<Told>;

/// The thread. Ends when nobody tells any more.
pub struct Teller {
    tells: Option<Tells>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    pub fn start(
        append: Box<dyn Append>,
        ids: SchemaIds,
        asks: Asks,
        stop: Arc<AtomicBool>,
    ) -> std::io::Result<Teller> {
        let (tells, told) = channel();
        let work = move || run(append, &ids, &asks, &stop, &told);
        let thread = std::thread::Builder::new().name("publisher-teller".to_owned()).spawn(work)?;
        Ok(Teller { tells: Some(tells), thread: Some(thread) })
    }

    pub fn tells(&self) -> Tells {
        self.tells.clone().expect("it is given up only when the teller is dropped")
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        drop(self.tells.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so where panics are said.
            let _ = thread.join();
        }
    }
}

fn run(mut append: Box<dyn Append>, ids: &SchemaIds, asks: &Asks, stop: &AtomicBool, told: &Receiver<Told>) {
    while let Ok(first) = told.recv() {
        let mut together = vec![first];
        together.extend(told.try_iter().take(TOGETHER_MAX));
        let topic = together[0].command.record().topic();
        let record = |told: &Told| Body::Command(told.command.clone()).encode(ids, told.at_ms);
        let records: Vec<NewRecord> = together.iter().map(record).collect();
        killpoint::reach("publish.before_tell");
        loop {
            let stopping = stop.load(Ordering::SeqCst);
            match append.append_many(&[(topic, &records)]) {
                Ok(_) => break,
                // Recorded as they are, they are told by the next publisher.
                Err(_) if stopping => return,
                Err(error) => {
                    tracing::warn!(%error, "what was published can't be told just now");
                    std::thread::sleep(RETRY);
                }
            }
        }
        killpoint::reach("publish.after_tell");
        let over = together.into_iter().map(|told| Change::Told { key: told.key }).collect();
        if asks.apply_blocking(over).is_err() {
            return;
        }
    }
}
