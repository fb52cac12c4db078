//! Results of draws, as a person reports them: one source's word, like any feed's.

use crate::app::{Answering, App, Call, wait_of};
use crate::commands::{clock_ms, given, submit, whose};
use crate::fields::invalid;
use schemas::Command;
use schemas::draws::{DigitPrize, ReportResult};
use std::sync::Arc;

/// `POST /v1/draws/results`.
pub fn report(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        let (tenant, ids) = whose(&call)?;
        let b = &call.body;
        let prizes: Option<Vec<DigitPrize>> =
            b.value("prizes").map(|prizes| serde_json::from_value(prizes.clone())).transpose().map_err(
                |problem| {
                    invalid("prizes", &format!("send a list of {{tier, numbers: [digits]}}: {problem}"))
                },
            )?;
        let result = ReportResult {
            command_id: ids.command,
            tenant,
            draw_id: b.text("draw_id").unwrap_or_default(),
            source: b.text("source").unwrap_or_default(),
            numbers: b.smalls("numbers")?,
            bonus: b.smalls("bonus")?,
            prizes: prizes.unwrap_or_default(),
            jackpot_minor: b.int("jackpot_minor"),
            currency: b.text("currency"),
            drawn_at_ms: b.int("drawn_at_ms").unwrap_or_default(),
            reported_at_ms: b.int("reported_at_ms").unwrap_or_default(),
        };
        let mut given = given(result, |result| &mut result.reported_at_ms, Command::ReportResult);
        if let Command::ReportResult(result) = &mut given.command
            && result.drawn_at_ms == 0
        {
            result.drawn_at_ms = clock_ms();
        }
        submit(&app, given, wait_of(&app, &call)).await
    })
}
