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
    judged: Messages<'s, ProbeIn>,
    rows: Messages<'s, TableChange>,
) -> Messages<'s, BookIn> {
    let rules = flow.flat_map(rows, |_, change| rule(change));
    let for_probe = flow.flat_map(rules.clone(), |_, change| Some(ProbeIn::Rule(Box::new(change))));
    let for_velocity = flow.flat_map(rules, |_, change| Some(VelocityIn::Rule(Box::new(change))));

    let probe_in = flow.merge(vec![judged, for_probe]);
    let (passing, probes) = flow.stateful_split(Probe::new(settings), probe_in, |_, out| match out {
        ProbeOut::Pass { message, verdicts } => (Some(ScreenIn::Pass { message, verdicts }), None),
        ProbeOut::Probe(probe) => (None, Some(VelocityIn::Probe(probe))),
    });

    let velocity_in = flow.merge(vec![probes, for_velocity]);
    let verdicts = flow
        .stateful_map(Velocity::new(settings), velocity_in, |_, verdict| Some(ScreenIn::Verdict(verdict)));

    let screen_in = flow.merge(vec![passing, verdicts]);
    let screen = Screen::new(settings.clone());
    let (screened, told) = flow.stateful_split(screen, screen_in, |_, out| match out {
        ScreenOut::ToBook(message) => (Some(message), None),
        ScreenOut::Out(output) => (None, Some(output)),
    });
    flow.deliver(STAGE, told);
    screened
}

/// A velocity rule that changed.
pub fn rule(change: TableChange) -> Option<TableChange> {
    (change.key.table() == ReferenceTable::VelocityRules).then_some(change)
}
