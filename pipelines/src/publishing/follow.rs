//! Follows `facts.publications` up to the decided frontier, and hands each step to whoever does it.
//!
//! A fact is taken when the step it asks for and the place after it are recorded, in one commit. So each is
//! taken once, whatever happens to the process.
//!
//! What an earlier publisher left waits until the facts are taken that were in the log at the start: one of them may
//! say that its result was corrected.

use super::channel::Channel;
use super::keeper::Stopped;
use super::parts::Context;
use super::turns::Turns;
use super::{images, steps};
use crate::stores::clickhouse::FactsReader;
use runtime::shared::Shared;
use runtime::source::LogError;
use runtime::{Offset, PartitionId, killpoint};
use schemas::Fact;
use schemas::draws::{PublicationFact, PublicationKind};
use sinks::publishing::{Change, Recorded, Step, StepKey, StepState};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// The topic it follows: the only one its reader reads.
pub const TOPIC: &str = "facts.publications";

const FETCH_RECORDS: usize = 500;
const WAIT_MS: u64 = 20;
/// More than a round of all partitions: a commit is made again at once, and the same facts aren't read later.
const HANDED_MAX: usize = 100_000;
const RETRY: Duration = Duration::from_millis(500);

/// A step with the fact that asks for it.
pub struct Request {
    pub step: Step,
    pub fact: PublicationFact,
}

/// The newest steps that were handed out in this process.
#[derive(Default)]
struct Handed {
    known: HashSet<StepKey>,
    order: VecDeque<StepKey>,
}

impl Handed {
    /// Notes a step; whether it wasn't there.
    fn is_new(&mut self, key: &StepKey) -> bool {
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key.clone());
        if self.order.len() > HANDED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// Steps that wait for the facts that were in the log at the start.
#[derive(Default)]
struct Held {
    requests: Vec<Request>,
    /// Where each partition ended, once that is known.
    ends: BTreeMap<PartitionId, u64>,
}

impl Held {
    /// Whether a partition, read up to here, has all of those facts.
    fn has_read(&mut self, partition: PartitionId, read_to: u64, end: Offset) -> bool {
        end != Offset::MAX && read_to >= *self.ends.entry(partition).or_insert(end.0)
    }
}

/// The thread's own.
pub struct Follower {
    reader: FactsReader,
    decided: Arc<Shared>,
    context: Context,
    runtime: Handle,
    next: BTreeMap<PartitionId, u64>,
    /// By tenant and channel.
    channels: HashMap<String, mpsc::UnboundedSender<Request>>,
    handed: Handed,
    held: Option<Held>,
    /// Images are drawn so many at a time: it's work for the processor.
    drawing: Turns,
}

/// Why it doesn't go on.
enum Failure {
    Log(LogError),
    Stopped,
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Failure::Log(error)
    }
}

impl From<Stopped> for Failure {
    fn from(_: Stopped) -> Self {
        Failure::Stopped
    }
}

impl Follower {
    pub fn new(reader: FactsReader, decided: Arc<Shared>, context: Context, runtime: Handle) -> Self {
        let drawing = Turns::new(2);
        let (next, channels) = (BTreeMap::new(), HashMap::new());
        let (handed, held) = (Handed::default(), None);
        Follower { reader, decided, context, runtime, next, channels, handed, held, drawing }
    }

    /// Until the publisher stops.
    pub fn run(mut self) {
        let mut begun = false;
        while !self.stopping() {
            let round = if begun { self.round() } else { self.begin().map(|()| true) };
            match round {
                Ok(taken) => {
                    begun = true;
                    if !taken {
                        self.reader.wait(WAIT_MS);
                    }
                }
                Err(Failure::Stopped) => return,
                Err(Failure::Log(LogError::Retry(problem))) => {
                    tracing::warn!(%problem, "facts of publications can't be read just now");
                    std::thread::park_timeout(RETRY);
                }
                Err(Failure::Log(error)) => return self.context.status.stopped(&error.to_string()),
            }
        }
    }

    fn stopping(&self) -> bool {
        self.context.stop.load(Ordering::SeqCst)
    }

    /// Takes up what an earlier publisher left.
    fn begin(&mut self) -> Result<(), Failure> {
        let Recorded { steps, positions } = self.context.asks.recorded_blocking()?;
        for (topic, partition, next) in positions {
            if topic == TOPIC {
                self.next.insert(PartitionId { topic: runtime::TopicId(0), partition }, next);
            }
        }
        self.held = (!steps.is_empty()).then(Held::default);
        for step in steps {
            match serde_json::from_str(&step.request) {
                Ok(fact) => {
                    self.handed.is_new(&step.key);
                    self.hand_out(Request { step, fact });
                }
                Err(error) => {
                    tracing::error!(%error, step = step.key.step, "what a step asks for can't be read");
                }
            }
        }
        Ok(())
    }

    /// Takes what is decided; whether there was anything.
    fn round(&mut self) -> Result<bool, Failure> {
        for partition in self.reader.partitions()? {
            self.next.entry(partition).or_insert(0);
        }
        // Before anything is read: what is read beyond it is left for later.
        let decided = self.decided.decided.load(Ordering::SeqCst);
        self.reader.begin_round(crate::clock_ms())?;
        let (mut changes, mut requested, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let mut all_read = true;
        for (&partition, &from) in &self.next {
            let fetch = self.reader.fetch(partition, Offset(from), FETCH_RECORDS)?;
            let (mut next, last) = (from, fetch.records.last().map_or(from, |last| last.offset.0 + 1));
            for record in fetch.records.into_iter().take_while(|record| record.body.epoch <= decided) {
                next = record.offset.0 + 1;
                if let Fact::Publication(fact) = record.body.fact
                    && let Some(change) = steps::change(&fact)
                {
                    requested.push((changes.len(), *fact));
                    changes.push(change);
                }
            }
            let read_to = if next == last { fetch.next.0 } else { next };
            if let Some(held) = &mut self.held {
                all_read &= held.has_read(partition, read_to, fetch.end);
            }
            if next > from {
                let (topic, n) = (TOPIC.to_owned(), partition.partition);
                changes.push(Change::Position { topic, partition: n, next });
            }
            // Behind what holds nothing (the markers of transactions), too: a reader that is asked for it again goes back and
            // throws away what is on its way.
            ends.push((partition, read_to));
        }
        let any = !changes.is_empty();
        if any {
            self.take(changes, requested)?;
        }
        self.next.extend(ends);
        if all_read && let Some(held) = self.held.take() {
            held.requests.into_iter().for_each(|request| self.begin_step(request));
        }
        Ok(any)
    }

    fn take(
        &mut self,
        changes: Vec<Change>,
        requested: Vec<(usize, PublicationFact)>,
    ) -> Result<(), Failure> {
        killpoint::reach("publish.before_take");
        let effective = self.context.asks.apply_blocking(changes.clone())?;
        killpoint::reach("publish.after_take");
        for (at, fact) in requested {
            // One that wasn't effective may have been recorded by a commit whose answer was lost.
            if let Change::Add { key, request } = &changes[at]
                && (self.handed.is_new(key) || effective[at])
            {
                self.hand_out(Request { step: new_step(key.clone(), request.clone()), fact });
            }
        }
        Ok(())
    }

    fn hand_out(&mut self, request: Request) {
        if request.step.state == StepState::Done {
            return self.tell_again(&request);
        }
        self.context.status.change(|figures| figures.waiting += 1);
        match &mut self.held {
            Some(held) => held.requests.push(request),
            None => self.begin_step(request),
        }
    }

    fn begin_step(&mut self, request: Request) {
        match request.fact.kind {
            PublicationKind::Image => {
                let (context, drawing) = (self.context.clone(), self.drawing.clone());
                self.runtime.spawn(images::publish(context, drawing, request));
            }
            PublicationKind::Post => self.queue(request),
        }
    }

    /// Recorded and perhaps not told: it is told again as it was.
    fn tell_again(&self, request: &Request) {
        let outcome = request.step.outcome.as_deref().unwrap_or_default();
        match images::told(&request.step.key, outcome) {
            // Without a teller the publisher stops, and the next one tells it.
            Ok(told) => drop(self.context.tells.send(told)),
            Err(error) => tracing::error!(%error, "the outcome of a step can't be read"),
        }
    }

    fn queue(&mut self, mut request: Request) {
        let channel = request.fact.channel.clone().unwrap_or_default();
        let name = steps::secret_name(&request.fact.tenant, &channel);
        let asked_ms = request.fact.at_ms;
        self.context.status.change_channel(&name, |channel| channel.asked_ms.push_back(asked_ms));
        for _ in 0..2 {
            let queue = self.channels.entry(name.clone()).or_insert_with(|| {
                let (queue, requests) = mpsc::unbounded_channel();
                self.runtime.spawn(Channel::new(self.context.clone(), name.clone()).run(requests));
                queue
            });
            match queue.send(request) {
                Ok(()) => return,
                // The channel's task has ended: begin another.
                Err(back) => {
                    self.channels.remove(&name);
                    request = back.0;
                }
            }
        }
    }
}

fn new_step(key: StepKey, request: String) -> Step {
    Step { key, request, state: StepState::Open, attempts: 0, first_call_ms: 0, outcome: None }
}
