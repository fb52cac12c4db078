//! A sink whose commits are told as spans, for each traced command that has facts among what is committed.
//!
//! ```text
//!   record's traceparent
//!     └─ decide <topic>          from the record's timestamp until the last sink has its first facts
//!          ├─ commit facts       of the run of epochs that holds them
//!          └─ commit serving
//! ```
//!
//! What a sink has already is not committed again, so a replay after a crash tells no span twice; and the ids of
//! those that were not told before the crash are what facts in the log already name as their parent.

use operators::messages::Output;
use runtime::Epoch;
use runtime::sink::{EpochItems, Sink, SinkError};
use runtime::trace::{Said, Span, SpanKind, Traced, TracedRecords, Tracer};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// See the module.
pub struct Committing {
    inner: Box<dyn Sink<Output>>,
    records: Arc<TracedRecords>,
    tracer: Arc<dyn Tracer>,
    /// What the last one has is decided.
    last: bool,
}

/// A traced command that has facts in a run.
struct Command<'a> {
    place: (&'a str, u32, u64),
    traced: Traced,
    /// The first of its facts.
    epoch: Epoch,
    facts: i64,
}

impl Committing {
    /// Tells of what `inner` commits.
    pub fn new(
        inner: Box<dyn Sink<Output>>,
        records: Arc<TracedRecords>,
        tracer: Arc<dyn Tracer>,
        last: bool,
    ) -> Self {
        Committing { inner, records, tracer, last }
    }

    /// Traced commands in a run, in the order of their first facts.
    fn commands<'a>(&self, run: &'a [EpochItems<Output>]) -> Vec<Command<'a>> {
        let (mut commands, mut known): (Vec<Command>, HashMap<_, usize>) = Default::default();
        if self.records.is_empty() {
            return commands;
        }
        for (epoch, item) in run.iter().flat_map(|e| e.items.iter().map(|item| (e.epoch, item))) {
            let Output::Fact(fact) = &item.body else { continue };
            let place = fact.caused_by();
            let Some(traced) = self.records.of(place).filter(|traced| traced.sent.sampled) else { continue };
            let at = *known.entry(place).or_insert_with(|| {
                commands.push(Command { place, traced, epoch, facts: 0 });
                commands.len() - 1
            });
            commands[at].facts += 1;
        }
        commands
    }

    fn tell(&self, command: &Command<'_>, start: SystemTime, end: SystemTime) {
        let decision = command.traced.decision;
        let (name, epoch) = (self.inner.name(), command.epoch.0 as i64);
        self.tracer.ended(Span {
            name: format!("commit {name}"),
            kind: SpanKind::Internal,
            context: decision.derived(format!("{name}/{epoch}").as_bytes()),
            state: command.traced.state.clone(),
            parent: Some(decision.span_id),
            start,
            end,
            attributes: vec![
                ("tombola.epoch", Said::Int(epoch)),
                ("tombola.facts", Said::Int(command.facts)),
            ],
            failed: false,
        });
        if self.last && self.records.tell(command.place) {
            self.tell_decision(command, start, end);
        }
    }

    fn tell_decision(&self, command: &Command<'_>, start: SystemTime, end: SystemTime) {
        let (topic, partition, offset) = command.place;
        let sent_ms = u64::try_from(command.traced.timestamp_ms).unwrap_or(0);
        self.tracer.ended(Span {
            name: format!("decide {topic}"),
            kind: SpanKind::Consumer,
            context: command.traced.decision,
            state: command.traced.state.clone(),
            parent: Some(command.traced.sent.span_id),
            // A producer's clock may be ahead of ours.
            start: start.min(UNIX_EPOCH + Duration::from_millis(sent_ms)),
            end,
            attributes: vec![
                ("messaging.operation.type", Said::Text("process".to_owned())),
                ("messaging.destination.name", Said::Text(topic.to_owned())),
                ("messaging.destination.partition.id", Said::Text(partition.to_string())),
                ("messaging.kafka.offset", Said::Int(offset as i64)),
                ("tombola.epoch", Said::Int(command.epoch.0 as i64)),
            ],
            failed: false,
        });
    }
}

impl Sink<Output> for Committing {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn committed(&mut self) -> Result<Epoch, SinkError> {
        self.inner.committed()
    }

    fn commit_interval(&self) -> Duration {
        self.inner.commit_interval()
    }

    fn commit(&mut self, run: &[EpochItems<Output>]) -> Result<(), SinkError> {
        let commands = self.commands(run);
        let start = SystemTime::now();
        self.inner.commit(run)?;
        let end = SystemTime::now();
        commands.iter().for_each(|command| self.tell(command, start, end));
        Ok(())
    }
}
