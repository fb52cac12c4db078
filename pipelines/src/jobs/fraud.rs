//! The fraud job: valid orders in, the same orders with the strongest action of the rules that fired out.
//!
//! ```text
//!   desk ── judged ──> probe ── Pass ──────────────────────────────> screen ──> book
//!                        └── Probe ──> velocity ── Verdict ────────────┘ └──> facts.fraud, fraud_alerts
//!   velocity_rules ──────┴────────────────┘ (to every worker)
//! ```
//!
//! Probe and screen are keyed by order, as the desk is, so that orders stay where they are; velocity is keyed
//! by what is counted. Nothing flows back: an order waits in the book for its review, not here.

use operators::messages::{BookIn, Output, TableChange};
use operators::probe::Probe;
use operators::screen::Screen;
use operators::settings::Settings;
use operators::velocity::Velocity;
use operators::velocity::messages::{ProbeIn, ProbeOut, ScreenIn, ScreenOut, VelocityIn};
use runtime::{Flow, Messages};
use schemas::reference::ReferenceTable;

/// The table it follows.
pub const TOPIC: &str = "oltp.public.velocity_rules";

/// Items of the same cause come after the desk's and before the book's.
const STAGE: u8 = 3;

/// Wires the job between desk and book. `rows` may be of any table.
pub fn wire<'s>(
    flow: &mut Flow<'s, Output>,
    settings: &Settings,
    judged: Messages<'s, BookIn>,
    rows: Messages<'s, TableChange>,
) -> Messages<'s, BookIn> {
    let rules = flow.flat_map(rows, |_, change| rule(change));
    let for_probe = flow.flat_map(rules.clone(), |_, change| Some(ProbeIn::Rule(change)));
    let for_velocity = flow.flat_map(rules, |_, change| Some(VelocityIn::Rule(change)));

    let judged = flow.flat_map(judged, |_, message| Some(ProbeIn::Judged(message)));
    let probe_in = flow.merge(vec![judged, for_probe]);
    let probed = flow.stateful(Probe::new(settings), probe_in);
    let (passing, probes) = flow.branch(probed, |out| matches!(out, ProbeOut::Probe(_)));
    let passing = flow.flat_map(passing, |_, out| pass(out));
    let probes = flow.flat_map(probes, |_, out| probe(out));

    let velocity_in = flow.merge(vec![probes, for_velocity]);
    let verdicts = flow.stateful(Velocity::new(settings), velocity_in);
    let verdicts = flow.flat_map(verdicts, |_, verdict| Some(ScreenIn::Verdict(verdict)));

    let screen_in = flow.merge(vec![passing, verdicts]);
    let screened = flow.stateful(Screen::new(settings.clone()), screen_in);
    let (told, screened) = flow.branch(screened, |out| matches!(out, ScreenOut::ToBook(_)));
    let told = flow.flat_map(told, |_, out| answer(out));
    flow.deliver(STAGE, told);
    flow.flat_map(screened, |_, out| to_book(out))
}

/// A velocity rule that changed.
pub fn rule(change: TableChange) -> Option<TableChange> {
    (change.key.table() == ReferenceTable::VelocityRules).then_some(change)
}

fn pass(out: ProbeOut) -> Option<ScreenIn> {
    match out {
        ProbeOut::Pass { message, verdicts } => Some(ScreenIn::Pass { message, verdicts }),
        ProbeOut::Probe(_) => None,
    }
}

fn probe(out: ProbeOut) -> Option<VelocityIn> {
    match out {
        ProbeOut::Probe(probe) => Some(VelocityIn::Probe(probe)),
        ProbeOut::Pass { .. } => None,
    }
}

fn to_book(out: ScreenOut) -> Option<BookIn> {
    match out {
        ScreenOut::ToBook(message) => Some(message),
        ScreenOut::Out(_) => None,
    }
}

fn answer(out: ScreenOut) -> Option<Output> {
    match out {
        ScreenOut::Out(output) => Some(output),
        ScreenOut::ToBook(_) => None,
    }
}
