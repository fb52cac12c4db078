//! The keeper of the ledger: one thread that records for all tasks, several changes in one commit.
//!
//! A task goes on when its change is durable. A store that is away is tried for as long as the publisher runs; a
//! newer generation ends it: no answer comes any more, and so no call begins.

use super::status::PublisherStatus;
use runtime::sink::SinkError;
use sinks::publishing::{Change, Ledger, Recorded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Changes of one commit.
const CHANGES_MAX: usize = 500;
const RETRY: Duration = Duration::from_millis(300);

/// The publisher has stopped: nothing is recorded any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped;

enum Ask {
    Recorded(oneshot::Sender<Recorded>),
    Apply(Vec<Change>, oneshot::Sender<Vec<bool>>),
}

/// Asks the keeper.
#[derive(Clone)]
pub struct Asks(mpsc::UnboundedSender<Ask>);

impl Asks {
    /// Records changes; which of them were effective.
    pub async fn apply(&self, changes: Vec<Change>) -> Result<Vec<bool>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Apply(changes, reply)).map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// The same, for threads.
    pub fn apply_blocking(&self, changes: Vec<Change>) -> Result<Vec<bool>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Apply(changes, reply)).map_err(|_| Stopped)?;
        answer.blocking_recv().map_err(|_| Stopped)
    }

    /// Everything that isn't over.
    pub fn recorded_blocking(&self) -> Result<Recorded, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Recorded(reply)).map_err(|_| Stopped)?;
        answer.blocking_recv().map_err(|_| Stopped)
    }
}

/// The thread. Ends when nobody asks any more.
pub struct Keeper {
    asks: Option<Asks>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub fn start(
        mut ledger: Box<dyn Ledger>,
        stop: Arc<AtomicBool>,
        status: Arc<PublisherStatus>,
    ) -> std::io::Result<Keeper> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let work = move || {
            while let Some(first) = receiver.blocking_recv() {
                let asked = gather(first, &mut receiver);
                if let Err(error) = answer(ledger.as_mut(), asked, &stop) {
                    // What waits in the channel gets no answer, and whoever asks learns that it is over.
                    return status.stopped(&error.to_string());
                }
            }
        };
        let thread = std::thread::Builder::new().name("publisher-ledger".to_owned()).spawn(work)?;
        Ok(Keeper { asks: Some(Asks(sender)), thread: Some(thread) })
    }

    pub fn asks(&self) -> Asks {
        self.asks.clone().expect("it is given up only when the keeper is dropped")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.asks.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so where panics are said.
            let _ = thread.join();
        }
    }
}

/// What is asked for by now, up to a commit's worth.
fn gather(first: Ask, receiver: &mut mpsc::UnboundedReceiver<Ask>) -> Vec<Ask> {
    let size = |ask: &Ask| if let Ask::Apply(changes, _) = ask { changes.len() } else { 0 };
    let (mut changes, mut asked) = (size(&first), vec![first]);
    while changes < CHANGES_MAX
        && let Ok(ask) = receiver.try_recv()
    {
        changes += size(&ask);
        asked.push(ask);
    }
    asked
}

fn answer(ledger: &mut dyn Ledger, asked: Vec<Ask>, stop: &AtomicBool) -> Result<(), SinkError> {
    let (mut all, mut replies) = (Vec::new(), Vec::new());
    for ask in asked {
        match ask {
            Ask::Recorded(reply) => {
                // Whoever left doesn't want to know.
                let _ = reply.send(patiently(stop, || ledger.recorded())?);
            }
            Ask::Apply(changes, reply) => {
                replies.push((changes.len(), reply));
                all.extend(changes);
            }
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    let mut effective = patiently(stop, || ledger.apply(&all))?;
    for (count, reply) in replies {
        let rest = effective.split_off(count);
        let _ = reply.send(effective);
        effective = rest;
    }
    Ok(())
}

/// Again and again while the store is away, and a last time once the publisher stops.
fn patiently<T>(stop: &AtomicBool, mut call: impl FnMut() -> Result<T, SinkError>) -> Result<T, SinkError> {
    loop {
        let stopping = stop.load(Ordering::SeqCst);
        match call() {
            Err(SinkError::Retry { source, .. }) if !stopping => {
                tracing::warn!(problem = %source, "what is published can't be recorded just now");
                std::thread::sleep(RETRY);
            }
            done => return done,
        }
    }
}
