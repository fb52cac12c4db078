//! Kafka, and a schema registry beside it: what `embedded` is to one folder, for a cluster.
//!
//! ```text
//!   produce ── KafkaAppender ──┐            ┌── KafkaReader ── workers (bindings say from where; nothing is committed)
//!                              ├─ topics ───┤
//!   the pipeline ─ KafkaEpochs ┘            └── anyone who reads what is committed
//! ```
//!
//! Invariants: a run of epochs and the progress past it are one transaction; a generation that was fenced off can
//! commit nothing; a partition counts as drained only up to an end that was asked for after the clock. A crash
//! leaves a transaction that the next process undoes. Not promised: anything about topics that are
//! deleted and made again, or about readers that don't ask for committed records only.

mod admin;
mod append;
mod client;
mod compacted;
mod ends;
mod epochs;
mod error;
mod follow;
mod lags;
mod memory;
mod partition;
mod progress;
mod reader;
mod registry;
mod settings;
mod standing;
mod topics;
mod transaction;
mod view;
mod wake;
mod writers;

pub use append::KafkaAppender;
pub use client::Asking;
pub use epochs::KafkaEpochs;
pub use error::KafkaError;
pub use lags::Lags;
pub use progress::Progress;
pub use reader::{KafkaReader, ReaderOptions};
pub use registry::{ConfluentRegistry, RegistrySettings, Standing, SubjectState};
pub use settings::KafkaSettings;
pub use topics::{Plan, Step, TopicAsIs, TopicSpec, apply, plan};
pub use transaction::{BATCH_BYTES_MAX, RECORD_BYTES_MAX};
pub use view::KafkaView;
