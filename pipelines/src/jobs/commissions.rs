//! The commissions job: confirmed sales and refunds in, statements and their deltas out.
//!
//! ```text
//!   sales, refunds ───────────────> intake ─┬─ updates ──> figures (relation) ──┐
//!   partners, rates, periods ──┬──────↑     └─ counts, sums, causes ────────────┼──> statements ──> facts, rows
//!                              └─ marks, to every worker ───────────────────────┘
//! ```
//!
//! It runs in one dataflow with the sales job, or alone on what that one said: a sale is taken from the
//! order's fact, and its place among the changes of rates, plans and months follows from the fact.

use operators::commission::figures::figures;
use operators::commission::intake::{Intake, IntakeIn, IntakeOut};
use operators::commission::statements::{Statements, StatementsIn};
use operators::commission::{Mark, Sale};
use operators::messages::{Output, TableChange};
use operators::settings::Settings;
use runtime::{Flow, Messages};
use schemas::Fact;

/// Tables it follows besides `partners`.
pub const TOPICS: [&str; 2] = ["oltp.public.commission_rates", "oltp.public.commission_periods"];

/// Items of the same cause come after those of the sales job.
const STAGE: u8 = 5;

/// Wires the job. `changes` may be of any table.
pub fn wire<'s>(
    flow: &mut Flow<'s, Output>,
    settings: &Settings,
    sales: Messages<'s, Box<Sale>>,
    changes: Messages<'s, TableChange>,
) {
    let told = statements(flow, settings, sales, changes);
    flow.deliver(STAGE, told);
}

/// Its operators alone: what they tell, whatever a dataflow delivers.
pub fn statements<'s, I: Clone + 'static>(
    flow: &mut Flow<'s, I>,
    settings: &Settings,
    sales: Messages<'s, Box<Sale>>,
    changes: Messages<'s, TableChange>,
) -> Messages<'s, Output> {
    let marks = flow.flat_map(changes.clone(), |_, change| mark(&change).map(StatementsIn::Mark));
    let changes = flow.flat_map(changes, |_, change| table(change));
    let sales = flow.flat_map(sales, |_, sale| Some(IntakeIn::Sale(sale)));
    let taken = flow.merge(vec![sales, changes]);
    let (traded, updates) = flow.stateful_split(Intake::default(), taken, |_, out| match out {
        IntakeOut::Traded(traded) => (Some(StatementsIn::Traded(traded)), None),
        IntakeOut::Update(update) => (None, Some(update)),
    });
    let computed = flow.relation("commissions", updates, figures);
    let computed = flow.flat_map(computed, |_, figure| Some(StatementsIn::Figure(Box::new(figure))));

    let statements_in = flow.merge(vec![marks, traded, computed]);
    flow.stateful(Statements::new(settings.clone()), statements_in)
}

/// What an output of the sales job says of commission.
pub fn sale(output: &Output) -> Option<Box<Sale>> {
    match output {
        Output::Fact(Fact::Order(fact)) => Sale::of(fact).map(Box::new),
        _ => None,
    }
}

fn mark(change: &TableChange) -> Option<Mark> {
    Mark::of(&change.key, change.row.as_ref())
}

/// A change goes to the row's owner, and every worker hears that there was one.
fn table(change: TableChange) -> impl Iterator<Item = IntakeIn> {
    let mark = mark(&change);
    let own = mark.as_ref().is_some_and(|mark| !matches!(mark, Mark::Period { .. }));
    let change = own.then_some(IntakeIn::Change(change));
    change.into_iter().chain(mark.map(|_| IntakeIn::Mark))
}
