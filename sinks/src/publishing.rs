//! What a publisher records: its place in the facts, and the steps it has been asked to do.
//!
//! ```text
//!   fact `requested` ─> open ─ begin ─> calling ─┬─ certainly nothing happened ─> open
//!        (with the position)│               │    └─ outcome ─> done ─ command in the log ─> gone
//!   fact `superseded` ──────┴─> gone        └──> withdrawn ─┬─ certainly nothing happened ─> gone
//!                                                           └─ outcome ─> done, as above
//! ```
//!
//! A step that is withdrawn begins no call any more: what the one that had begun came to is found out. A step that is `calling` or `withdrawn` when a publisher starts is in doubt: the process may have died on either side of the
//! network's answer.

use runtime::sink::SinkError;

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// Nothing has happened, or certainly nothing visible.
    Open,
    /// A call was begun and its end isn't known.
    Calling,
    /// The same, of one that isn't wanted any more.
    Withdrawn,
    /// The outcome is known, and not known to be in the log.
    Done,
}

impl StepState {
    /// As it is stored.
    pub fn word(self) -> &'static str {
        match self {
            StepState::Open => "open",
            StepState::Calling => "calling",
            StepState::Withdrawn => "withdrawn",
            StepState::Done => "done",
        }
    }

    /// Reads [`StepState::word`].
    pub fn parse(word: &str) -> Option<StepState> {
        let all = [StepState::Open, StepState::Calling, StepState::Withdrawn, StepState::Done];
        all.into_iter().find(|s| s.word() == word)
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
    /// A call is about to begin. Effective only where the step is still to be done, and wanted.
    Begin { key: StepKey, attempts: i64, now_ms: i64 },
    /// The call certainly did nothing.
    Failed { key: StepKey },
    /// The outcome. Effective only where there is none yet.
    Done { key: StepKey, outcome: String },
    /// The log has the outcome: the step is over.
    Told { key: StepKey },
    /// It isn't wanted any more. What has begun is told, and not begun again.
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

/// What both stores must do alike.
#[cfg(test)]
pub(crate) mod conformance {
    use super::*;

    fn key(step: &str, round: i64) -> StepKey {
        StepKey { step: step.to_owned(), round }
    }

    fn add(step: &str, round: i64) -> Change {
        Change::Add { key: key(step, round), request: format!("{{\"{step}\": {round}}}") }
    }

    fn position(next: u64) -> Change {
        Change::Position { topic: "facts.publications".to_owned(), partition: 3, next }
    }

    /// Steps as `step/round state attempts first outcome`.
    fn steps(ledger: &mut dyn Ledger) -> Vec<String> {
        let told = |step: Step| {
            let (key, outcome) = (step.key, step.outcome.unwrap_or_default());
            format!(
                "{}/{} {} {} {} {outcome}",
                key.step,
                key.round,
                step.state.word(),
                step.attempts,
                step.first_call_ms
            )
            .trim_end()
            .to_owned()
        };
        ledger.recorded().unwrap().steps.into_iter().map(told).collect()
    }

    /// The life of steps; each change is made twice, as after a lost answer.
    pub fn check(ledger: &mut dyn Ledger) {
        let twice = |ledger: &mut dyn Ledger, changes: &[Change]| {
            ledger.apply(changes).unwrap();
            ledger.apply(changes).unwrap();
        };
        assert_eq!(ledger.recorded().unwrap(), Recorded::default());
        assert_eq!(
            ledger.apply(&[add("b", 1), add("a", 1), add("b", 1), position(7)]).unwrap(),
            [true, true, false, true]
        );
        twice(ledger, &[add("a", 1), position(9)]);
        assert_eq!(steps(ledger), ["b/1 open 0 0", "a/1 open 0 0"]);
        assert_eq!(ledger.recorded().unwrap().positions, [("facts.publications".to_owned(), 3, 9)]);
        let begin = |attempts, now_ms| Change::Begin { key: key("b", 1), attempts, now_ms };
        twice(ledger, &[begin(1, 100)]);
        twice(ledger, &[begin(2, 200)]);
        assert_eq!(steps(ledger), ["b/1 calling 2 100", "a/1 open 0 0"]);
        // What has begun is withdrawn and not begun again; what hasn't is gone, and can't begin any more.
        twice(ledger, &[add("c", 1), Change::Begin { key: key("c", 1), attempts: 1, now_ms: 5 }]);
        let cancel = |step: &str| Change::Cancel { step: step.to_owned() };
        twice(ledger, &[cancel("c"), cancel("a")]);
        assert_eq!(steps(ledger), ["b/1 calling 2 100", "c/1 withdrawn 1 5"]);
        let again = Change::Begin { key: key("c", 1), attempts: 2, now_ms: 6 };
        assert_eq!(ledger.apply(std::slice::from_ref(&again)).unwrap(), [false]);
        twice(ledger, &[Change::Done { key: key("c", 1), outcome: "z".to_owned() }, cancel("c")]);
        assert_eq!(steps(ledger), ["b/1 calling 2 100", "c/1 done 1 5 z"]);
        twice(ledger, &[Change::Told { key: key("c", 1) }]);
        twice(ledger, &[add("d", 1), Change::Begin { key: key("d", 1), attempts: 1, now_ms: 5 }]);
        twice(ledger, &[cancel("d"), Change::Failed { key: key("d", 1) }]);
        assert_eq!(steps(ledger), ["b/1 calling 2 100"]);
        let late = Change::Begin { key: key("a", 1), attempts: 1, now_ms: 1 };
        let done = |outcome: &str| Change::Done { key: key("b", 1), outcome: outcome.to_owned() };
        assert_eq!(ledger.apply(&[late]).unwrap(), [false]);
        twice(ledger, &[Change::Failed { key: key("b", 1) }]);
        assert_eq!(steps(ledger), ["b/1 open 2 100"]);
        assert_eq!(
            ledger.apply(&[done("x"), done("x"), done("y"), begin(3, 1)]).unwrap(),
            [true, true, false, false]
        );
        assert_eq!(steps(ledger), ["b/1 done 2 100 x"]);
        twice(ledger, &[add("b", 2), Change::Told { key: key("b", 1) }]);
        assert_eq!(steps(ledger), ["b/2 open 0 0"]);
    }
}
