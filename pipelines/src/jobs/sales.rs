//! The sales job: orders in, decisions, stock and tickets out.
//!
//! ```text
//!   commands.* ── dedup ── fresh ──> desk ── judged ──> (fraud) ──> book ──┐
//!                   │ duplicates      ↑ │ early, late      │ ↑      ↑      │
//!   oltp.public.* ──┼── table ────────┴─┼──────────────────┼─┴──────┘      ├── sales ──> commissions ──┐
//!   undecodable ──┐ │                   │                  │               │                          │
//!                 └─┴───────────────────┴──────────────────┴───────────────┴──────────────────────────┴──> facts, rows, dead letters
//! ```
//!
//! Dedup is keyed by command, the desk by order (with the reference tables on every worker), the book by
//! tenant: a tenant's stock, limits and order lives are one sequence, so what it decides is what a single
//! program reading the log in order would decide.

use super::{commissions, draws, fraud};
use connectors::decode::Input;
use operators::book::Book;
use operators::dedup::Dedup;
use operators::desk::Desk;
use operators::messages::{BookIn, CommandMsg, DedupOut, DeskIn, DeskOut, Output, TableChange};
use operators::screening;
use operators::settings::Settings;
use operators::table::Table;
use operators::velocity::messages::ProbeIn;
use runtime::run::Job;
use runtime::{Flow, Messages};
use schemas::facts::DeadLetter;
use schemas::reference::ReferenceTable;
use schemas::rows::DeadLetterRow;
use schemas::{Fact, Row};

/// Input topics, in the order of their `TopicId`s. The order is part of every result: append only.
pub const TOPICS: [&str; 12] = [
    "oltp.public.offers",
    "oltp.public.partners",
    "oltp.public.customers",
    "commands.orders",
    "commands.payments",
    commissions::TOPICS[0],
    commissions::TOPICS[1],
    fraud::TOPIC,
    draws::TOPICS[0],
    draws::TOPICS[1],
    draws::TOPICS[2],
    draws::TOPICS[3],
];

/// Order of items that have the same cause.
mod stage {
    pub const INPUT: u8 = 0;
    pub const DEDUP: u8 = 1;
    pub const DESK: u8 = 2;
    pub const SCREENING: u8 = 3;
    pub const BOOK: u8 = 4;
}

/// Order validation and inventory.
pub struct Sales {
    pub settings: Settings,
}

impl Job for Sales {
    type Record = Input;
    type Item = Output;

    fn build<'s>(&self, flow: &mut Flow<'s, Output>, source: Messages<'s, Input>) {
        let (commands, others) = flow.split(source, |_, input| match input {
            Input::Command { .. } => (command(input), None),
            other => (None, Some(other)),
        });
        let undecodable = flow.flat_map(others.clone(), |_, input| dead_letter(input));
        let changes = flow.flat_map(others, |_, input| changes(input));

        let (fresh, others) =
            flow.stateful_split(Dedup::new(self.settings.clone()), commands, |_, out| match out {
                DedupOut::Fresh(message) if !message.command.is_of_draws() => {
                    (Some(DeskIn::Command(message)), None)
                }
                other => (None, Some(other)),
            });
        let (of_draws, repeated) = flow.split(others, |_, out| match out {
            DedupOut::Fresh(message) => (Some(message), None),
            DedupOut::Out(output) => (None, Some(output)),
        });

        let rows = flow.stateful(Table::default(), changes);
        let for_desk = flow.flat_map(rows.clone(), |_, change| to_desk_table(change));
        let for_book = flow.flat_map(rows.clone(), |_, change| to_book(change));

        let desk_in = flow.merge(vec![fresh, for_desk]);
        let desk = Desk::new(self.settings.clone());
        let (judged, answered) = if self.settings.fraud_screening {
            let (judged, answered) =
                flow.stateful_split(desk, desk_in, |_, out| sent_and_said(out, ProbeIn::Judged));
            (fraud::wire(flow, &self.settings, judged, rows.clone()), answered)
        } else {
            let (judged, answered) = flow.stateful_split(desk, desk_in, |_, out| sent_and_said(out, |to| to));
            self.tell_screening(flow, judged.clone());
            (judged, answered)
        };

        let book_in = flow.merge(vec![judged, for_book]);
        let mut booked = flow.stateful(Book::new(self.settings.clone()), book_in);

        if self.settings.commission_statements {
            let (on, sales) = flow.tap(booked, commissions::sale);
            commissions::wire(flow, &self.settings, sales, rows.clone());
            booked = on;
        }
        if self.settings.draws {
            let (on, sold) = flow.tap(booked, draws::sold);
            draws::wire(flow, &self.settings, of_draws, sold, rows, tell);
            booked = on;
        }

        for (stage, outputs) in [
            (stage::INPUT, undecodable),
            (stage::DEDUP, repeated),
            (stage::DESK, answered),
            (stage::BOOK, booked),
        ] {
            let told = flow.amend(outputs, tell);
            flow.deliver(stage, told);
        }
    }
}

impl Sales {
    /// What another pipeline's fraud job counts and judges, where this one has none.
    fn tell_screening<'s>(&self, flow: &mut Flow<'s, Output>, judged: Messages<'s, BookIn>) {
        let settings = self.settings.clone();
        let told = flow.flat_map(judged, move |at, message| {
            screening::fact_of(*at, &message, &settings).map(Output::Fact)
        });
        flow.deliver(stage::SCREENING, told);
    }
}

/// The command a record carries.
pub fn command(input: Input) -> Option<CommandMsg> {
    match input {
        Input::Command { command, payload_hash, raw, retry_of } => {
            Some(CommandMsg { command, payload_hash, raw, retry_of })
        }
        _ => None,
    }
}

/// The changes of reference rows a record carries.
pub fn changes(input: Input) -> Vec<schemas::reference::Change> {
    match input {
        Input::Changes(changes) => changes,
        _ => Vec::new(),
    }
}

fn dead_letter(input: Input) -> Option<Output> {
    match input {
        Input::Bad(letter) => Some(Output::DeadLetter(letter)),
        _ => None,
    }
}

/// What the desk sends towards the book, as whoever comes next takes it, and what it says itself.
fn sent_and_said<M>(out: DeskOut, to: impl Fn(BookIn) -> M) -> (Option<M>, Option<Output>) {
    match out {
        DeskOut::ToBook(message) => (Some(to(message)), None),
        DeskOut::Out(output) => (None, Some(output)),
    }
}

/// What an order names: its offer, its partner, its customer.
pub fn to_desk_table(change: TableChange) -> Option<DeskIn> {
    use ReferenceTable::{Customers, Offers, Partners};
    matches!(change.key.table(), Offers | Partners | Customers).then(|| DeskIn::Change(Box::new(change)))
}

/// The book keeps stock by offer and limits by customer.
fn to_book(change: TableChange) -> Option<BookIn> {
    use ReferenceTable::{Customers, Offers};
    matches!(change.key.table(), Offers | Customers).then(|| BookIn::Change(Box::new(change)))
}

/// A dead letter is a record of its topic, and besides a row of its table.
fn tell(output: &mut Output) -> Option<Output> {
    let Output::DeadLetter(letter) = output else { return None };
    letter.cut_to_fit();
    let row = Output::Row(Row::DeadLetter(Box::new(row_of(letter))));
    let Output::DeadLetter(letter) = std::mem::replace(output, row) else { unreachable!("seen above") };
    Some(std::mem::replace(output, Output::Fact(Fact::DeadLetter(letter))))
}

fn row_of(letter: &DeadLetter) -> DeadLetterRow {
    DeadLetterRow {
        id: letter.id.clone(),
        topic: letter.topic.clone(),
        partition: letter.partition,
        offset: letter.offset,
        reason: letter.reason.clone(),
        payload: letter.payload.clone(),
        first_seen_ms: letter.record_time_ms,
        attempts: 1,
        status: "open".into(),
    }
}
