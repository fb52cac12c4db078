//! Images and posts: what the decided facts ask for, done outside the dataflow, and told back through the log.
//!
//! ```text
//!   facts.publications ── follow ──> ledger: step is open ──> images ─ draw, store ────────┐
//!    (up to the decided frontier)                        └──> channel, one task each:      ├─> ledger: done ─> tell ─┐
//!                                                              limits, intent, call, again ┘                         │
//!   commands.publication_results <──────────────────────────────────────────────── derived command_id ───────────────┘
//! ```
//!
//! Invariants: only what is decided is acted upon, and only by the newest generation. No call begins before its
//! intent is durable. A channel waits for nobody but itself. The dataflow waits for none of this:
//! threads that post stand back from those that decide, and threads that draw take what everybody else leaves.
//! Old results, which are drawn and not posted, hold up no fresh one ([`turns`]).
//!
//! A crash leaves steps open, in doubt or done. Open ones are done, done ones are told again in the same bytes,
//! and those in doubt are treated as their network allows (`docs/publishing.md`). A replay and `verify` have no
//! publisher, so they call nobody.

mod channel;
mod follow;
mod images;
mod judge;
mod keeper;
mod parts;
mod settings;
pub mod standing;
mod status;
mod steps;
mod tell;
mod turns;

pub use parts::PublisherParts;
pub use settings::PublishingSettings;
pub use status::{ChannelFigures, PublisherFigures, PublisherStatus};
pub use steps::{announcement, post_of, secret_name};

use follow::Follower;
use keeper::Keeper;
use parts::Context;
use runtime::snapshot::background::stand_back;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tell::Teller;
use tokio::runtime::Runtime;

/// How long an orderly end waits for calls that have begun.
const CALLS_MAX: Duration = Duration::from_secs(15);

/// A running publisher. Dropped, it begins nothing more, lets calls that have begun come to their end, and stops.
pub struct Publisher {
    stop: Arc<AtomicBool>,
    busy: Arc<AtomicUsize>,
    status: Arc<PublisherStatus>,
    follower: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
    // Dropped after the runtime, the one that asks the other first: what tasks have said is recorded and told.
    _teller: Teller,
    _keeper: Keeper,
}

impl Publisher {
    /// Starts it. What an earlier one left is taken up first.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start(parts: PublisherParts) -> std::io::Result<Publisher> {
        let PublisherParts { ledger, reader, append, ids, images, templates, settings, decided } = parts;
        let stop = Arc::new(AtomicBool::new(false));
        let status = Arc::new(PublisherStatus::default());
        let busy = Arc::new(AtomicUsize::new(0));
        let keeper = Keeper::start(ledger, Arc::clone(&stop), Arc::clone(&status))?;
        let teller = Teller::start(append, ids, keeper.asks(), Arc::clone(&stop))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("publisher")
            .on_thread_start(stand_back)
            .enable_all()
            .build()?;
        let context = Context {
            asks: keeper.asks(),
            tells: teller.tells(),
            images,
            templates,
            settings: Arc::new(settings),
            status: Arc::clone(&status),
            stop: Arc::clone(&stop),
            busy: Arc::clone(&busy),
        };
        let follower = Follower::new(reader, decided, context, runtime.handle().clone());
        let thread =
            std::thread::Builder::new().name("publications".to_owned()).spawn(move || follower.run())?;
        let (follower, runtime) = (Some(thread), Some(runtime));
        Ok(Publisher { stop, busy, status, follower, runtime, _teller: teller, _keeper: keeper })
    }

    /// Its figures, to be watched while it runs.
    pub fn status(&self) -> Arc<PublisherStatus> {
        Arc::clone(&self.status)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.follower.take() {
            thread.thread().unpark();
            // One that panicked has said so where panics are said.
            let _ = thread.join();
        }
        let since = Instant::now();
        while self.busy.load(Ordering::SeqCst) > 0 && since.elapsed() < CALLS_MAX {
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}
