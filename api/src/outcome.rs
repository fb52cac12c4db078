//! What becomes of a command whose client waits.
//!
//! ```text
//!   said ─────────────────────────────────────────────> that
//!   silence ─ its order (its draw) has a row as of F ─┬─ something said up to F ─> that
//!           │                                         └─ nothing ───────────────> unchanged, the row
//!           └ no row: it waits for its order ─────────> look again, until time runs out
//! ```
//!
//! Some commands bring nothing about, and no fact says so: a cancel of an order that has ended, a declined payment for
//! which nothing is held, a source that says again what it said. That is known where its epoch is decided and what it
//! speaks of has a row: such a command waits for nothing. One that places an order is always told of, sooner or later.
//!
//! Not promised: an order that has ended so long ago that it may be forgotten, and a draw without a row to judge by, have
//! rows in the tables and make a command wait for them all the same. For such orders the dead letter is waited for; for
//! such draws the answer is that nothing changed, and the dead letter comes after it.

use crate::app::App;
use crate::waiting::{Decision, Waiting, Word};
use schemas::rows::Value as Cell;
use schemas::{Command, tables};
use serde_json::Value;
use std::time::Duration;

/// How often an order is looked for that wasn't there.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Waits for it, as long as it takes; nothing where it can't be known.
pub async fn became(app: &App, command: &Command, mut waiting: Waiting) -> Option<Decision> {
    if let Word::Said(decision) = waiting.word().await? {
        return Some(decision);
    }
    if matches!(command, Command::PlaceOrder(_)) {
        return said(waiting.word().await);
    }
    loop {
        if let Some((epoch, row)) = standing(app, command).await {
            return said_up_to(app, epoch, waiting).await.or(Some(Decision::Unchanged { epoch, row }));
        }
        tokio::select! {
            biased;
            word = waiting.word() => return said(word),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn said(word: Option<Word>) -> Option<Decision> {
    match word? {
        Word::Said(decision) => Some(decision),
        Word::Silence => None,
    }
}

/// What was said of it in epochs up to this one: a row may be newer than what was told when it was read.
async fn said_up_to(app: &App, epoch: u64, mut waiting: Waiting) -> Option<Decision> {
    let mut through = app.decided.through();
    tokio::select! {
        biased;
        word = waiting.word() => return said(word),
        _ = through.wait_for(|through| *through >= epoch) => {}
    }
    // Whoever waits was told before it was said how far.
    tokio::select! {
        biased;
        word = waiting.word() => said(word),
        () = std::future::ready(()) => None,
    }
}

/// The row of what a settled command speaks of, and the frontier it is as of.
async fn standing(app: &App, command: &Command) -> Option<(u64, Value)> {
    let text = |text: &schemas::Text| Cell::Text(text.clone());
    let (table, id) =
        if command.is_of_draws() { (&tables::DRAWS, "draw_id") } else { (&tables::ORDERS, "order_id") };
    let filters = vec![("tenant", text(command.tenant())), (id, text(command.subject_id()))];
    let (frontier, row) = crate::reads::first(app, table, filters).await.ok()??;
    let since_ms = app.decided.standing().now_ms - app.settings.order_retention_ms;
    let remembered = command.is_of_draws() || row["placed_at_ms"].as_i64().is_some_and(|at| at > since_ms);
    remembered.then_some((frontier, row))
}
