//! What a publisher records: its place in the facts, and the steps it has been asked to do.
//!
//! ```text
//!   fact `requested` ─> open ─ begin ─> calling ─┬─ certainly nothing happened ─> open
//!        (with the position)                     └─ outcome ─> done ─ command in the log ─> gone
//! ```
//!
//! A step that is `calling` when a publisher starts is in doubt: the process may have died on either side of the
//! network's answer.

use runtime::sink::SinkError;

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// Nothing has happened, or certainly nothing visible.
    Open,
    /// A call was begun and its end isn't known.
    Calling,
    /// The outcome is known, and not known to be in the log.
    Done,
}

impl StepState {
    /// As it is stored.
    pub fn word(self) -> &'static str {
        match self {
            StepState::Open => "open",
            StepState::Calling => "calling",
            StepState::Done => "done",
        }
    }

    /// Reads [`StepState::word`].
    pub fn parse(word: &str) -> Option<StepState> {
        [StepState::Open, StepState::Calling, StepState::Done].into_iter().find(|s| s.word() == word)
    }
}

/// Which step: of a draw's revision an image or a post, and the round in which it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepKey {
    /// `image:<tenant>/<draw>/<revision>/<template>/<locale>` or `post:<tenant>/<draw>/<revision>/<channel>`.
    pub step: String,
    pub round: i64,
}

/// One step as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub key: StepKey,
    /// The fact that asks for it, as JSON.
    pub request: String,
    pub state: StepState,
    pub attempts: i64,
    /// When it was first called; 0 before.
    pub first_call_ms: i64,
    /// The command that tells the outcome, as JSON, once there is one.
    pub outcome: Option<String>,
}

/// A change of what is recorded. Made twice, each is as if made once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A step is asked for. One that is known stays as it is.
    Add { key: StepKey, request: String },
    /// A call is about to begin. Effective only where the step is still to be done.
    Begin { key: StepKey, attempts: i64, now_ms: i64 },
    /// The call certainly did nothing.
    Failed { key: StepKey },
    /// The outcome. Effective only where there is none yet.
    Done { key: StepKey, outcome: String },
    /// The log has the outcome: the step is over.
    Told { key: StepKey },
    /// It isn't wanted any more. What has begun goes on.
    Cancel { step: String },
    /// Facts before `next` are taken.
    Position { topic: String, partition: u32, next: u64 },
}

/// Everything that is recorded and not over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// In the order in which they were asked for.
    pub steps: Vec<Step>,
    pub positions: Vec<(String, u32, u64)>,
}

/// Where a publisher records: durable on return, fenced by the pipeline's generation. Calls may block.
pub trait Ledger: Send {
    /// Everything that isn't over.
    ///
    /// # Errors
    /// [`SinkError::Fenced`] where a newer generation runs.
    fn recorded(&mut self) -> Result<Recorded, SinkError>;

    /// Makes changes in one transaction; which of them were effective. After `Retry` the same call may be made
    /// again, whether the first one went in or not.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn apply(&mut self, changes: &[Change]) -> Result<Vec<bool>, SinkError>;
}
